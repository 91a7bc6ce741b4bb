# SPDX-License-Identifier: Apache-2.0
"""The words of `savedump archive`: what is there, what is missing, and what next."""

import os

import pytest

from savedump_core.cli import archive
from support import elfwriter
from support.command import savedump

# Of a program Linux dumps no more than the first page, unless told otherwise.
PAGE = 4096
PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20, padding=PAGE)
UNPROVEN = elfwriter.elf_file()
NEXT = "1 file missing; give --search-path DIR and run it again"
LATER = "savedump: or later, on any machine: python3 -m savedump_core complete archive-core.77.tar.gz"


@pytest.fixture
def crash(tmp_path):
    """crash(PROGRAM): core.77 in the current folder, of a process of this program."""

    def make(image, dumped=True):
        modules = [elfwriter.Mapped(b"/no/such/prog", 0x400000, image[:PAGE], dumped=dumped)]
        elfwriter.process_core(modules=modules, pid=77).write(str(tmp_path / "core.77"))

    os.mkdir(str(tmp_path / "builds"))
    make(PROGRAM)
    make.folder = tmp_path
    return make


def test_after_gaps_it_says_what_next(crash):
    done = savedump("core.77", cwd=str(crash.folder))
    assert done.status == 3 and done.error.splitlines()[-2:] == ["savedump: " + NEXT, LATER]
    assert "what nothing proves" not in done.error


def test_of_what_is_not_there_yet_nothing_can_be_completed(crash, tmp_path):
    done = savedump("archive", "core.77", "--dry-run", cwd=str(tmp_path))
    assert done.status == 3 and done.last == "savedump: " + NEXT
    done = savedump("archive", "core.77", "-o", "my folder.tar", cwd=str(tmp_path))
    assert done.last.endswith(" complete 'my folder.tar'")


@pytest.mark.parametrize(
    "detail, told",
    [("2233", " (build ID 2233)"), ("none", " (build ID none)"), ("CRC 00112233", " (CRC 00112233)"),
     ("a file for i386", " (a file for i386)"), ("", "")],
)  # fmt: skip
def test_what_was_there_instead_differs_by_its_build_id_or_by_something_else(detail, told):
    attempt = {"finder": "as-mapped", "path": "/bin/prog", "outcome": "other-build-id", "detail": detail}
    gap = {"module": "/bin/prog", "kind": "loaded", "build_id": "11", "status": "mismatch", "attempts": [attempt]}
    assert archive.gap_lines(gap)[1:] == ["    as-mapped /bin/prog: other-build-id" + told]


def test_a_gap_names_the_package_and_the_command_that_fills_it():
    attempt = {"finder": "as-mapped", "path": "/bin/prog", "outcome": "other-build-id", "detail": "22"}
    gap = {"module": "/bin/prog", "kind": "loaded", "build_id": "11", "status": "mismatch", "attempts": [attempt]}
    tried = [
        "savedump: /bin/prog (loaded, build ID 11): mismatch",
        "    as-mapped /bin/prog: other-build-id (build ID 22)",
    ]
    # Manifests of older versions have neither key.
    assert archive.gap_lines(gap) == archive.gap_lines(dict(gap, package=None, command=None)) == tried
    package = {"name": "prog-dbgsym", "version": "1:2-3", "kind": "deb"}
    assert archive.gap_lines(dict(gap, package=package, command="apt-get install prog-dbgsym=1:2-3")) == tried + [
        "    package prog-dbgsym 1:2-3",
        "    to fill it: apt-get install prog-dbgsym=1:2-3",
    ]


def test_unproven_files_have_an_option_of_their_own(crash, tmp_path):
    # No page of it is in the dump to compare it with.
    crash(UNPROVEN, dumped=False)
    (tmp_path / "root/no/such").mkdir(parents=True)
    (tmp_path / "root/no/such/prog").write_bytes(UNPROVEN)
    done = savedump("core.77", "--sysroot", "root", cwd=str(tmp_path))
    assert done.status == 3 and done.last == LATER
    assert done.error.splitlines()[-2].endswith(NEXT + ", or --allow-unverified for what nothing proves")
    assert savedump("core.77", "--sysroot", "root", "--allow-unverified", cwd=str(tmp_path)).status == 0


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_one_that_is_there_with_gaps_is_called_so(crash, tmp_path, more):
    savedump("core.77", cwd=str(tmp_path))
    done = savedump("archive", "core.77", *more, cwd=str(tmp_path))
    assert done.status == 3
    assert done.out == "archive is there already, with gaps: archive-core.77.tar.gz\n"
    lines = done.error.splitlines()
    assert lines[0] == "savedump: /no/such/prog (loaded, build ID %s): missing" % ("11" * 20)
    assert lines[-2:] == ["savedump: " + NEXT, LATER]
    assert savedump("archive", "core.77", "-q", *more, cwd=str(tmp_path)) == (3, "", "")


def test_one_that_is_there_and_complete(crash, tmp_path):
    (tmp_path / "builds/prog").write_bytes(PROGRAM)
    assert savedump("core.77", cwd=str(tmp_path)).status == 3
    done = savedump("core.77", "--search-path", "builds", cwd=str(tmp_path))
    assert done.status == 0 and "archive created: archive-core.77.tar.gz" in done.out
    # The archive is complete, whatever this host has lost since.
    assert savedump("core.77", cwd=str(tmp_path)) == (0, "archive is there already: archive-core.77.tar.gz\n", "")


@pytest.mark.parametrize(
    "output, archive_format",
    [
        ("x.tar", "tar"), ("x.tar.gz", "tar.gz"), ("x.tgz", "tar.gz"), ("x.tar.zst", "tar.zst"), ("x.bin", "tar.gz"),
        ("-", "tar.gz"), (".", "tar.gz"),
    ],
)  # fmt: skip
def test_format_by_the_ending(output, archive_format):
    assert archive._format(output) == archive_format


def test_format_by_the_ending_gives_way_to_the_one_named(crash, tmp_path):
    savedump("archive", "core.77", "-o", "x.tar", cwd=str(tmp_path))
    assert (tmp_path / "x.tar").read_bytes()[257:262] == b"ustar"
    savedump("archive", "core.77", "-o", "y.tar", "--format", "tar.gz", cwd=str(tmp_path))
    assert (tmp_path / "y.tar").read_bytes()[:2] == b"\x1f\x8b"
    (tmp_path / "folder.tar").mkdir()
    savedump("archive", "core.77", "-o", "folder.tar", cwd=str(tmp_path))
    assert os.listdir(str(tmp_path / "folder.tar")) == ["archive-core.77.tar.gz"]


def test_level_that_is_none_is_refused_before_all_else(crash, tmp_path):
    done = savedump("archive", "core.77", "--level", "99", cwd=str(tmp_path))
    assert done == (64, "", "savedump: tar.gz has no level 99; choose 1 to 9\n")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_folder_that_takes_no_files(crash, tmp_path):
    done = savedump("archive", "core.77", "-o", "/proc", cwd=str(tmp_path))
    assert done.status == 73
    assert done.last.startswith("savedump: cannot write into /proc: ") and done.last.endswith("(-o; in Ansible dest)")


def test_archive_in_place_of_a_dump(crash, tmp_path):
    savedump("core.77", cwd=str(tmp_path))
    for verb in ([], ["archive"]):
        done = savedump(*verb + ["archive-core.77.tar.gz"], cwd=str(tmp_path))
        assert done.status == 65 and done.out == ""
        assert "is no dump but an archive of savedump's" in done.last
        assert "python3 -m savedump_core open archive-core.77.tar.gz" in done.last


def test_folder_in_place_of_a_dump(tmp_path):
    (tmp_path / "my cores").mkdir()
    for verb in ([], ["inspect"]):
        done = savedump(*verb + ["my cores"], cwd=str(tmp_path))
        assert done.status == 65 and done.last.endswith("python3 -m savedump_core find 'my cores'")
