# SPDX-License-Identifier: Apache-2.0
"""What an ELF file says of itself: IDs, links to debug information, how that is kept."""

import os
import shutil
import subprocess

import pytest

from savedump_core.elf.file import AltLink, describe
from support import elfwriter

ID, CHECKSUM = b"\x11" * 20, bytes(range(20))


def of(data):
    return describe(lambda at, size: data[at : at + size], len(data))


def with_sections(*sections, **how):
    return of(elfwriter.elf_file(sections=[elfwriter.Section(*section) for section in sections], **how))


GO = elfwriter.Note(b"Go", 4, b"action/content")
PACKAGE = elfwriter.Note(b"FDO", 0xCAFE1A7E, b'{"type":"deb"}\0')


def test_go_build_id_and_package_in_segments():
    found = of(elfwriter.elf_file(notes=[GO, PACKAGE]))
    assert (found.build_id, found.go_build_id) == (None, b"action/content")
    assert found.package_note.rstrip(b"\0") == b'{"type":"deb"}'


def test_go_build_id_and_package_in_sections():
    sections = [
        elfwriter.Section(name, elfwriter.note_bytes(elfwriter.X86_64, [note]), type=elfwriter.SHT_NOTE, align=4)
        for name, note in ((".note.go.buildid", GO), (".note.package", PACKAGE))
    ]
    found = of(elfwriter.elf_file(build_id=ID, sections=sections))
    assert (found.build_id, found.go_build_id) == (ID, b"action/content")
    assert found.package_note.rstrip(b"\0") == b'{"type":"deb"}'


def test_go(tmp_path):
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    (tmp_path / "main.go").write_text("package main\nfunc main() { panic(1) }\n")
    env = dict(os.environ, HOME=str(tmp_path), GOCACHE=str(tmp_path / "cache"), GO111MODULE="off", CGO_ENABLED="0")
    subprocess.run(["go", "build", "-o", "prog", "main.go"], cwd=str(tmp_path), env=env, check=True)
    shown = subprocess.run(["go", "tool", "buildid", "prog"], cwd=str(tmp_path), env=env, stdout=subprocess.PIPE)
    found = of((tmp_path / "prog").read_bytes())
    assert found.go_build_id == shown.stdout.strip() and found.build_id is None


@pytest.mark.parametrize("order", ["little", "big"])
def test_link_by_debug_sup(order):
    content = (5).to_bytes(2, order) + b"\0../.dwz/x.debug\0\x14" + CHECKSUM
    found = with_sections((".debug_sup", content), build_id=ID)
    assert found.alt_link == AltLink(b"../.dwz/x.debug", CHECKSUM) and found.build_id == ID


def test_supplementary_file_is_known_by_its_checksum():
    found = with_sections((".debug_sup", b"\5\0\1\0\x14" + CHECKSUM))
    assert (found.alt_link, found.build_id) == (None, CHECKSUM)


def test_own_build_id_comes_before_the_checksum():
    assert with_sections((".debug_sup", b"\5\0\1\0\x14" + CHECKSUM), build_id=ID).build_id == ID


@pytest.mark.parametrize(
    "content",
    [b"", b"\5\0", b"\5\0\0x.debug", b"\5\0\0x.debug\0", b"\5\0\0x.debug\0\x14short", b"\5\0\0\0\x14" + CHECKSUM,
     b"\6\0\0x\0\x14" + CHECKSUM, b"\5\0\2x\0\x14" + CHECKSUM, b"\5\0\0x\0\0", b"\5\0\0x\0\xff" + b"x" * 300],
)  # fmt: skip
def test_debug_sup_that_makes_no_sense(content):
    found = with_sections((".debug_sup", content))
    assert (found.alt_link, found.build_id) == (None, None)


def test_gnu_altlink_comes_before_debug_sup():
    sup = elfwriter.Section(".debug_sup", b"\5\0\0x\0\x14" + CHECKSUM)
    assert of(elfwriter.elf_file(altlink=("y", ID), sections=[sup])).alt_link == AltLink(b"y", ID)


@pytest.mark.parametrize(
    "section, features",
    [
        ((".gnu_debugdata", b"\xfd7zXZ"), ("mini-debug-info",)),
        ((".gnu_debugdata", b""), ()),
        ((".zdebug_info", b"ZLIB" + b"\0" * 20), ("zlib-gnu",)),
        ((".debug_cu_index", b"\2" + b"\0" * 15), ("dwp",)),
        ((".debug_info", b"\0" * 40), ()),
    ],
)
def test_features(section, features):
    assert with_sections(section).features == features


@pytest.mark.parametrize("kind, features", [(1, ("zlib",)), (2, ("zstd",)), (3, ())])
def test_how_sections_are_compressed(kind, features):
    content = kind.to_bytes(4, "little") + b"\0" * 30
    section = elfwriter.Section(".debug_line", content, flags=0x800)
    assert of(elfwriter.elf_file(sections=[section])).features == features


@pytest.fixture
def pair(tmp_path):
    """Two programs whose debug information has something in common."""
    text = "#include <stdio.h>\n#include <signal.h>\nint %s(FILE *f, siginfo_t *s) { return s->si_signo; }\n"
    for name in ("one", "two"):
        (tmp_path / (name + ".c")).write_text(text % name + "int main(void) { return 0; }\n")
        subprocess.run(
            ["gcc", "-g", "-gdwarf-5", "-Wl,--build-id", "-o", name, name + ".c"], cwd=str(tmp_path), check=True
        )
    return tmp_path


@pytest.mark.parametrize("standard", [False, True], ids=["gnu", "dwarf5"])
def test_dwz(pair, standard):
    if shutil.which("dwz") is None:
        pytest.skip("dwz is not installed")
    words = ["dwz"] + ["--dwarf-5"] * standard + ["-m", "shared", "-M", "../.dwz/shared", "one", "two"]
    subprocess.run(words, cwd=str(pair), check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    link = of((pair / "one").read_bytes()).alt_link
    shared = of((pair / "shared").read_bytes())
    assert link == AltLink(b"../.dwz/shared", shared.build_id) and len(shared.build_id) == 20
    assert shared.alt_link is None and shared.has_debug_info


def test_debug_sup_in_compressed_files(pair):
    """The link is small, and stays as it is when the rest is compressed."""
    if shutil.which("dwz") is None:
        pytest.skip("dwz is not installed")
    for words in (["dwz", "--dwarf-5", "-m", "shared", "-M", "../x", "one", "two"],
                  ["objcopy", "--compress-debug-sections=zlib", "one"]):  # fmt: skip
        subprocess.run(words, cwd=str(pair), check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    found = of((pair / "one").read_bytes())
    assert found.alt_link.path == b"../x"


def test_a_stripped_file_is_known_by_its_segments(pair):
    """Without section headers: sstrip and its like."""
    data = bytearray((pair / "one").read_bytes())
    before = of(bytes(data)).build_id
    data[40:48] = bytes(8)
    data[60:64] = bytes(4)
    assert before is not None and of(bytes(data)).build_id == before
