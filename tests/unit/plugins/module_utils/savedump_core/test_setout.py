# SPDX-License-Identifier: Apache-2.0
"""What one host has of the files that another host's archive lacks: by build ID alone, a decoy beside each."""

import hashlib
import lzma
import os
import stat
import subprocess

import pytest

from savedump_core import setout
from savedump_core.errors import UsageError
from savedump_core.model import SearchOptions
from support import elfwriter

RIGHT, WRONG, SHARED = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)


def elf(build_id=RIGHT, *sections):
    return elfwriter.elf_file(build_id=build_id, sections=list(sections))


def want(build_id=RIGHT, kind="loaded", module="/opt/app/libx.so", **more):
    return dict({"build_id": build_id.hex(), "kind": kind, "module": module}, **more)


@pytest.fixture
def here(tmp_path):
    class Here:
        root, dest = tmp_path / "root", tmp_path / "out"

        def put(self, where, content):
            at = self.root / where.lstrip("/")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(content)
            return at

        def set_out(self, *wants, **more):
            dest = more.pop("dest", str(self.dest))
            return setout.set_out(wants, dest, SearchOptions(sysroot=str(self.root), **more))

    Here.root.mkdir()
    Here.dest.mkdir(mode=0o700)
    return Here()


def test_the_very_file_is_copied_byte_by_byte(here):
    at = here.put("/opt/app/libx.so", elf())
    done = here.set_out(want())
    (file,) = done["files"]
    copy = here.dest / "buildid" / RIGHT.hex() / "executable"
    assert (file["at"], file["path"], file["name"]) == (str(at), str(copy), "buildid/%s/executable" % RIGHT.hex())
    assert copy.read_bytes() == elf()
    assert (file["size"], file["sha256"]) == (len(elf()), hashlib.sha256(elf()).hexdigest())
    assert (file["build_id"], file["kind"], file["module"]) == (RIGHT.hex(), "loaded", "/opt/app/libx.so")
    assert done["missing"] == [] and done["changed"] is True
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == stat.S_IMODE(copy.parent.parent.stat().st_mode) == 0o700
    assert os.listdir(str(copy.parent)) == ["executable"]


def test_a_decoy_at_the_path_stays_where_it_is(here):
    here.put("/opt/app/libx.so", elf(WRONG))
    done = here.set_out(want())
    assert done["files"] == [] and done["changed"] is False
    (gap,) = done["missing"]
    assert gap["build_id"] == RIGHT.hex()
    assert [(a["outcome"], a["detail"]) for a in gap["attempts"] if a["outcome"] != "absent"] == [
        ("other-build-id", WRONG.hex())
    ]
    assert os.listdir(str(here.dest)) == []


def test_a_file_without_build_id_is_none(here):
    here.put("/opt/app/libx.so", elf(None))
    assert here.set_out(want())["files"] == []


def test_by_any_of_its_paths_and_each_file_once(here):
    at = here.put("/opt/other/name.so", elf())
    done = here.set_out(want(), want(module="libx.so", paths=["/opt/other/name.so"]))
    assert [file["at"] for file in done["files"]] == [str(at)]
    assert done["missing"] == []


def test_without_a_path_by_the_build_id_tree(here):
    at = here.put("/usr/lib/debug/.build-id/11/%s.debug" % ("11" * 19), elf(RIGHT, DEBUG_SECTION))
    done = here.set_out(want(kind="debug"), want())
    assert [(file["at"], file["name"].rpartition("/")[2]) for file in done["files"]] == [(str(at), "debuginfo")]
    assert [gap["kind"] for gap in done["missing"]] == ["loaded"]


def test_the_stripped_file_is_not_taken_for_debug_information(here):
    here.put("/opt/app/libx.so", elf())
    here.put("/usr/lib/debug/.build-id/11/%s.debug" % ("11" * 19), elf())
    assert here.set_out(want(kind="debug"))["files"] == []


def test_what_dwz_split_off_comes_along(here):
    link = elfwriter.Section(".gnu_debugaltlink", b"/usr/lib/debug/.dwz/shared.debug\0" + SHARED)
    here.put("/usr/lib/debug/.build-id/11/%s.debug" % ("11" * 19), elf(RIGHT, DEBUG_SECTION, link))
    shared = here.put("/usr/lib/debug/.dwz/shared.debug", elf(SHARED, DEBUG_SECTION))
    done = here.set_out(want(kind="debug"))
    assert [(file["kind"], file["build_id"]) for file in done["files"]] == [
        ("debug", RIGHT.hex()), ("supplementary", SHARED.hex())
    ]  # fmt: skip
    assert (here.dest / "buildid" / SHARED.hex() / "debuginfo").read_bytes() == shared.read_bytes()

    shared.write_bytes(elf(WRONG, DEBUG_SECTION))
    done = here.set_out(want(kind="debug"))
    assert [file["kind"] for file in done["files"]] == ["debug"]
    assert [gap["build_id"] for gap in done["missing"]] == [SHARED.hex()]


def test_only_to_say_what_is_here(here):
    at = here.put("/opt/app/libx.so", elf())
    done = here.set_out(want(), want(SHARED), dest=None)
    (file,) = done["files"]
    assert (file["at"], file["path"], file["sha256"], file["size"]) == (str(at), None, None, len(elf()))
    assert done["changed"] is False and len(done["missing"]) == 1
    assert os.listdir(str(here.dest)) == []


def test_a_second_time_changes_nothing(here):
    here.put("/opt/app/libx.so", elf())
    first = here.set_out(want())
    copy = here.dest / "buildid" / RIGHT.hex() / "executable"
    before = copy.stat()
    again = here.set_out(want())
    assert again["changed"] is False
    assert again["files"] == first["files"]
    assert (copy.stat().st_ino, copy.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    copy.write_bytes(elf()[:-1] + b"!")  # same size
    assert here.set_out(want())["changed"] is True
    assert copy.read_bytes() == elf()


def test_a_deleted_program_that_still_runs(here, tmp_path):
    """The host has upgraded it meanwhile; a process still has the old one."""
    source, program = tmp_path / "sleeper.c", tmp_path / "opt sleeper"
    source.write_text('#include <unistd.h>\nint main(void) { write(1, "up", 2); pause(); return 0; }\n')
    subprocess.check_call(["gcc", "-Wl,--build-id=0x" + "5a" * 20, "-o", str(program), str(source)])
    content = program.read_bytes()
    running = subprocess.Popen([str(program)], stdout=subprocess.PIPE)
    try:
        assert running.stdout.read(2) == b"up"
        program.unlink()
        asked = want(b"\x5a" * 20, module=str(program))
        done = setout.set_out([asked], str(here.dest), SearchOptions())
        (file,) = done["files"]
        assert (here.dest / file["name"]).read_bytes() == content
        program.write_bytes(elf(WRONG))
        assert len(setout.set_out([asked], None, SearchOptions())["files"]) == 1
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def test_a_compressed_kernel_module_is_set_out_unpacked(here):
    release = "6.1.0-9-test"
    here.put("/lib/modules/%s/kernel/fs/oops.ko.xz" % release, lzma.compress(elf()))
    here.put("/lib/modules/%s/updates/oops.ko.xz" % release, lzma.compress(elf(WRONG)))
    done = here.set_out(want(module="oops", release=release))
    (file,) = done["files"]
    assert (here.dest / file["name"]).read_bytes() == elf()
    assert (file["size"], file["sha256"]) == (len(elf()), hashlib.sha256(elf()).hexdigest())


def test_links_in_the_way_are_not_followed(here, tmp_path):
    here.put("/opt/app/libx.so", elf())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (here.dest / "buildid").symlink_to(elsewhere)
    assert here.set_out(want())["files"] == []
    assert os.listdir(str(elsewhere)) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"build_id": "", "kind": "loaded"},
        {"build_id": "../../../../etc", "kind": "loaded"},
        {"build_id": "1", "kind": "loaded"},
        {"build_id": "zz" * 20, "kind": "loaded"},
        {"build_id": "11" * 20, "kind": "split"},
        {"build_id": "11" * 20},
        {"build_id": None, "kind": "debug"},
    ],
)
def test_what_cannot_be_looked_for_is_said(here, asked):
    with pytest.raises(UsageError):
        here.set_out(asked)


def test_paths_are_hints_and_lead_nowhere_else(here, tmp_path):
    """A hostile archive asks for a device, a FIFO, a relative path and one with a NUL byte."""
    os.mkfifo(str(here.root / "fifo"))
    (tmp_path / "outside").write_bytes(elf())
    (here.root / "link").symlink_to("../outside")
    hints = ["/fifo", "fifo", "/../outside", "/link", "/a\0b", "/dev/zero"]
    done = here.set_out(want(paths=hints, module="../outside"), want(SHARED, module="/fifo"))
    assert done["files"] == []
    assert {a["outcome"] for a in done["missing"][0]["attempts"]} <= {"absent", "refused"}
