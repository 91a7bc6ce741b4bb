# SPDX-License-Identifier: Apache-2.0
"""Files rebuilt from what a dump holds of them: byte by byte, and with what a debugger needs to read them."""

import os
import re
import shutil
import subprocess

import pytest

from savedump_core import search as searching
from savedump_core.dumps import open_dump
from savedump_core.elf.file import describe
from savedump_core.finders import from_dump
from savedump_core.model import ABSENT, BY_DUMP, LOADED, Attempt, Candidate, Found, Missing, Piece, SearchOptions, Want
from savedump_core.source import open_source
from savedump_core.sysroot import Held, Roots, Sysroot, reader
from support import elfwriter
from support.elfwriter import ABIS, Mapped

ID, OTHER = b"\x11" * 20, b"\x22" * 20
BASE = 0x400000




@pytest.fixture
def rebuilt(tmp_path):
    """rebuilt(pieces, dump, **want): what the finder proposes; a file's bytes, or the Attempt."""

    def propose(pieces, dump, **want):
        asked = dict(dict(kind=LOADED, module="prog", build_id=None, paths=("/opt/prog",)), **want)
        roots = Roots(Sysroot(str(tmp_path)), dump=dump and (lambda at, size: dump[at : at + size]))
        found = list(from_dump.candidates(Want(pieces=tuple(pieces), **asked), roots))
        if not found:
            return None
        (one,) = found
        if isinstance(one, Attempt):
            return one
        assert isinstance(one, Candidate) and one.descriptor is not None
        try:
            assert os.fstat(one.descriptor).st_nlink == 0
            return os.pread(one.descriptor, 1 << 26, 0), one
        finally:
            os.close(one.descriptor)

    return propose


FILE = elfwriter.elf_file(build_id=ID, padding=0x3000)


def test_one_piece(rebuilt):
    content, one = rebuilt([Piece(0, 0x100, len(FILE), True)], bytes(0x100) + FILE)
    assert content == FILE and (one.path, one.origin) == ("/opt/prog", "rebuilt from the dump: /opt/prog")


def test_pieces_in_any_order_of_the_dump(rebuilt):
    dump = FILE[0x1000:] + bytes(0x200) + FILE[:0x1000]
    pieces = [Piece(0, len(FILE) - 0x1000 + 0x200, 0x1000, False), Piece(0x1000, 0, len(FILE) - 0x1000, True)]
    assert rebuilt(pieces, dump)[0] == FILE


def test_what_could_not_be_written_to_counts_where_both_are_there(rebuilt):
    dump = FILE + b"\xff" * 0x1000
    pieces = [Piece(0, 0, len(FILE), False), Piece(0x1000, len(FILE), 0x1000, True)]
    assert rebuilt(pieces, dump)[0] == FILE


def test_holes_that_a_hostile_dump_claims_are_not_made_again_and_again(tmp_path):
    """A page at the end of each of a thousand files of 8 GiB costs the dump nothing, and hashing them a day."""
    far, page = 3 << 30, 0x1000
    abi = ABIS["x86_64"]
    loads = [(0, 0), (far, page)]
    table = b"".join(
        elfwriter.segment_header(abi, elfwriter.Segment(elfwriter.PT_LOAD, at, bytes(page), page, page), offset)
        for offset, at in loads
    )
    image = (elfwriter.file_header(abi, elfwriter.ET_DYN, 2, abi.header_size) + table).ljust(page, b"\0")
    dump = image + bytes(page)
    roots = Roots(Sysroot(str(tmp_path)), dump=lambda at, size: dump[at : at + size])
    pieces = (Piece(0, 0, page, False), Piece(far, page, page, False))
    came = []
    for number in range(4):
        want = Want(kind=LOADED, module="m%d" % number, build_id=None, paths=("/opt/m%d" % number,), pieces=pieces)
        (one,) = from_dump.candidates(want, roots)
        came.append(getattr(one, "detail", "rebuilt"))
        if isinstance(one, Candidate):
            os.close(one.descriptor)
    assert came[:2] == ["rebuilt"] * 2 and all("were rebuilt already" in each for each in came[2:])


@pytest.mark.parametrize("pieces, why", [
    ([], "not all of it was dumped"),
    ([Piece(0x1000, 0x1000, 0x1000, False)], "not all of it was dumped"),
    ([Piece(0, 0, 0x1000, False)], "not all of it was dumped"),
    ([Piece(0, 0, 0x1000, False), Piece(0x1001, 0x1001, len(FILE), False)], "not all of it was dumped"),
    ([Piece(0, 0, 0x40, False)], "the program headers are not in the dump"),
    ([Piece(0, 8, 0x1000, False)], "the ELF header is not in the dump"),
    ([Piece(0, 0, len(FILE), False), Piece(0x1000, len(FILE) - 1, 0x1000, False)], "cannot be read at byte"),
    ([Piece(0, 0, 1 << 50, False)], "it would have"),
])  # fmt: skip
def test_what_cannot_be_rebuilt_is_said(pieces, why, rebuilt):
    attempt = rebuilt(pieces, FILE)
    assert attempt.outcome == ABSENT and why in attempt.detail


def test_not_asked(rebuilt):
    whole = [Piece(0, 0, len(FILE), False)]
    assert rebuilt(whole, None) is None
    assert rebuilt(whole, FILE, kind="debug") is None
    assert rebuilt(whole, FILE, release="6.1.0") is None


def search_in(core, tmp_path, held):
    with open_source(core.write(str(tmp_path / "core"))) as source:
        dump = open_dump(source, Sysroot(str(tmp_path / "empty")))
        options = SearchOptions(sysroot=str(tmp_path / "empty"))
        return searching.search(dump, options, held, read_at=source.read_at).files


@pytest.mark.parametrize("abi", ["x86_64", "i386", "s390x", "aarch64", "ppc64", "mips", "riscv64", "armeb"])
def test_search_of_every_layout(abi, tmp_path):
    content = elfwriter.elf_file(ABIS[abi], build_id=ID, padding=0x3000)
    core = elfwriter.process_core(ABIS[abi], [Mapped(b"/opt/prog (deleted)", BASE, content)])
    with Held() as held:
        file = search_in(core, tmp_path, held)[0].file
        assert isinstance(file, Found) and (file.matched_by, file.build_id) == (BY_DUMP, ID)
        elf = describe(reader(file.descriptor), file.size)
    assert (elf.build_id, elf.header.machine_name) == (ID, abi.replace("armeb", "arm"))


def test_notes_that_the_process_changed_are_no_match(tmp_path):
    """A rebuilt file, too, has to have the build ID that is wanted: a want of another process's is not met."""
    core = elfwriter.process_core(modules=[Mapped(b"/opt/prog", BASE, elfwriter.elf_file(build_id=ID))])
    with open_source(core.write(str(tmp_path / "core"))) as source, Held() as held:
        dump = open_dump(source, Sysroot("/"))
        module = dump.modules[0]._replace(build_id=OTHER)
        options = SearchOptions(sysroot=str(tmp_path))
        file = searching.search(dump._replace(modules=(module,)), options, held, read_at=source.read_at).files[0].file
    assert isinstance(file, Missing) and file.status == "mismatch"
    assert (file.attempts[-1].finder, file.attempts[-1].detail) == ("from-dump", ID.hex())


# --- what debuggers read, in files of a real compiler and linker ---------------------------------------------------

SOURCE = """
int counter = 1;
__thread int own = 2;
__attribute__((noinline)) int first(int n) { return n + counter; }
__attribute__((noinline)) int second(int n) { return first(n) * own; }
"""


def command(*words):
    return subprocess.run(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=True
    ).stdout


def as_loaded(content, bias):
    """(pieces, dump): a core's bytes that hold the segments of this library as they lie in memory, the pointers of its
    dynamic section relocated as glibc does."""
    content = bytearray(content)
    header = elfwriter.X86_64
    count = int.from_bytes(content[56:58], "little")
    rows = [content[64 + 56 * index : 120 + 56 * index] for index in range(count)]
    fields = [[int.from_bytes(row[at : at + size], "little") for at, size in ((0, 4), (4, 4), (8, 8), (16, 8), (32, 8))]
              for row in rows]  # fmt: skip
    for kind, _flags, offset, _vaddr, size in fields:
        for at in range(offset, offset + size, 16) if kind == elfwriter.PT_DYNAMIC else ():
            tag = int.from_bytes(content[at : at + 8], "little")
            if tag in (4, 5, 6, 7, 0x6FFFFEF5, 0x6FFFFFF0):
                value = int.from_bytes(content[at + 8 : at + 16], "little")
                content[at + 8 : at + 16] = (value + bias).to_bytes(8, "little")
    loads = [row for row in fields if row[0] == elfwriter.PT_LOAD]
    segments = [
        elfwriter.Segment(elfwriter.PT_LOAD, bias + vaddr, bytes(content[at : at + size]), flags=flags)
        for _kind, flags, at, vaddr, size in loads
    ]
    dump = elfwriter.assemble(header, elfwriter.ET_CORE, segments).to_bytes()
    pieces, position = [], 64 + 56 * len(segments)
    for _kind, flags, at, _vaddr, size in loads:
        pieces.append(Piece(at, position, size, bool(flags & 2)))
        position += size
    return sorted(pieces), dump


@pytest.fixture(params=["-Wl,--hash-style=gnu", "-Wl,--hash-style=sysv", "-Wl,-z,noseparate-code", "-s"])
def library(request, tmp_path):
    if shutil.which("gcc") is None or os.uname().machine != "x86_64":
        pytest.skip("needs gcc on x86-64")
    (tmp_path / "a.c").write_text(SOURCE)
    path = tmp_path / "liba.so"
    command("gcc", "-O2", "-fomit-frame-pointer", "-shared", "-fPIC", "-Wl,--build-id", "-o", path, tmp_path / "a.c",
            request.param)  # fmt: skip
    return path


def test_rebuilt_library_has_its_symbols_its_build_id_and_its_unwind_information(library, rebuilt, tmp_path):
    content, _one = rebuilt(*as_loaded(library.read_bytes(), 0x7F1234560000))
    copy = tmp_path / "copy.so"
    copy.write_bytes(content)

    def symbols(path, table):
        row = re.compile(r"^ +\d+: (\w+) +(\d+) (\w+) +(\w+) +\w+ +(?!UND)\w+ (\w+)$", re.M)
        rows = row.findall(command("readelf", "-W", table, path))
        return {row for row in rows if row[2] != "TLS"}

    assert "first" in {row[4] for row in symbols(library, "--dyn-syms")}
    assert symbols(copy, "-s") == symbols(library, "--dyn-syms")
    build_id = re.search(r"Build ID: (\w+)", command("readelf", "-n", library)).group(1)
    assert build_id in command("readelf", "-n", copy)
    frames = re.compile(r"FDE cie=.*")
    assert frames.findall(command("readelf", "-wf", copy)) == frames.findall(command("readelf", "-wf", library)) != []
    # The dynamic section is again as the linker wrote it.
    wanted = re.compile(r"\((?:STRTAB|SYMTAB|HASH|GNU_HASH|RELA)\) +(0x\w+)")
    assert wanted.findall(command("readelf", "-dW", copy)) == wanted.findall(command("readelf", "-dW", library)) != []
    # And eu-elflint's opinion of what is the same in both: no section lies where no segment does.
    assert "Warning" not in command("readelf", "-WlS", copy)


def test_loaded_bytes_are_the_files(library, rebuilt):
    original = library.read_bytes()
    pieces, dump = as_loaded(original, 0)
    content, _one = rebuilt(pieces, dump)
    for piece in pieces:
        start = max(piece.offset, 64)
        assert content[start : piece.offset + piece.size] == original[start : piece.offset + piece.size]


def test_hostile_tables_end(library, rebuilt):
    """Every word of the dynamic section and of the tables set to what hurts most: it ends, with a file or without."""
    original = library.read_bytes()
    pieces, dump = as_loaded(original, 0)
    for value in (b"\xff", b"\x7f", b"\x00", b"\x01"):
        for piece in pieces:
            hurt = bytearray(dump)
            first = piece.at + (0x400 if piece.offset == 0 else 0)
            hurt[first : piece.at + piece.size] = value * (piece.at + piece.size - first)
            assert rebuilt(pieces, bytes(hurt)) is not None
