# SPDX-License-Identifier: Apache-2.0
"""What a core is said to hold of the files that were mapped."""

import gzip

import pytest

from savedump_core.dumps import _pieces, open_dump
from savedump_core.source import open_source
from savedump_core.sysroot import Sysroot
from support import elfwriter
from support.elfwriter import PT_LOAD, PT_NOTE, FileRow, R, Segment, W, X, X86_64

BASE = 0x400000
ID = b"\x11" * 20
GO = elfwriter.Note(b"Go", 4, b"action/content")


def program(notes=(), dynamic=(), loads=None, size=0x5000):
    """A file of 0x5000 bytes: header page, code from 0x1000 to 0x2800, data from 0x3000 on, of which the process makes
    the beginning read-only (RELRO)."""
    note = elfwriter.note_bytes(X86_64, notes)
    table = b"".join(X86_64.pack("WW", *entry) for entry in dynamic) + bytes(16)
    loads = loads or [
        Segment(PT_LOAD, BASE, offset=0, filesz=0x1000, flags=R),
        Segment(PT_LOAD, BASE + 0x1000, offset=0x1000, filesz=0x1800, flags=R | X),
        Segment(PT_LOAD, BASE + 0x3000, offset=0x3000, filesz=0x2000, memsz=0x4000, flags=R | W),
    ]
    segments = loads + [Segment(PT_NOTE, BASE + 0x800, note, offset=0x800, align=4),
                        Segment(elfwriter.PT_DYNAMIC, BASE + 0x3000, table, offset=0x3000, align=8)]  # fmt: skip
    content = elfwriter.assemble(X86_64, elfwriter.ET_EXEC, segments).to_bytes().ljust(size, b"\0")
    return content[:0x1000] + bytes(range(256)) * 24 + content[0x2800:]



# As the kernel lists it: RELRO has split the data, and .bss begins in the last page of the file's.
WHOLE = ((0, 0x1000, R, True), (0x1000, 0x2000, R | X, True), (0x3000, 0x1000, R, True), (0x4000, 0x1000, R | W, True))
HEADER = tuple((at, size, flags, at == 0 or bool(at >= 0x3000)) for at, size, flags, _dumped in WHOLE)


def core(content, mappings=WHOLE, moved=0, path=b"/opt/prog"):
    """A core with the file mapped as told; `moved` is added to what NT_FILE says of offsets."""
    rows, segments = [], []
    for offset, size, flags, dumped in mappings:
        rows.append(FileRow(BASE + offset, BASE + offset + size, (offset + (moved if offset else 0)) // 4096, path))
        data = content[offset : offset + size].ljust(size, b"\0") if dumped else b""
        segments.append(Segment(PT_LOAD, BASE + offset, data, memsz=size, flags=flags, align=4096))
    notes = [elfwriter.prstatus(X86_64, 1), elfwriter.nt_file(X86_64, rows),
             elfwriter.auxv(X86_64, [(elfwriter.AT_PHDR, BASE + 64)])]  # fmt: skip
    note = Segment(PT_NOTE, 0, elfwriter.note_bytes(X86_64, notes), memsz=0, flags=0, align=4)
    return elfwriter.assemble(X86_64, elfwriter.ET_CORE, [note] + segments)


@pytest.fixture
def opened(tmp_path):
    """opened(core): its module, the dump and what reads it."""

    def read(made, pack=False):
        path = made.write(str(tmp_path / "core"))
        if pack:
            with open(path, "rb") as plain, gzip.open(path + ".gz", "wb") as packed:
                packed.write(plain.read())
            path += ".gz"
        source = open_source(path)
        sources.append(source)
        dump = open_dump(source, Sysroot(str(tmp_path)))
        return dump.modules[0], dump, source

    sources = []
    yield read
    for source in sources:
        source.close()


def held(module):
    return [(piece.offset, piece.size, piece.writable) for piece in module.pieces]


def test_everything_of_a_nameless_file_with_what_is_writable_by_its_own_headers(opened):
    content = program()
    module, _dump, source = opened(core(content))
    assert held(module) == [(0, 0x1000, False), (0x1000, 0x1800, False), (0x3000, 0x1000, True), (0x4000, 0x1000, True)]
    for piece in module.pieces:
        assert source.read_at(piece.at, piece.size) == content[piece.offset : piece.offset + piece.size]


def test_only_what_can_be_compared_where_not_all_was_dumped(opened):
    assert held(opened(core(program(), HEADER))[0]) == [(0, 0x1000, False)]


@pytest.mark.parametrize("note", [elfwriter.build_id_note(ID), GO])
def test_file_with_an_id_only_if_it_can_be_rebuilt(note, opened):
    assert opened(core(program([note]), HEADER))[0].pieces == ()
    assert len(opened(core(program([note])))[0].pieces) == 4


def test_build_ids_of_both_kinds(opened):
    module = opened(core(program([GO, elfwriter.build_id_note(ID)])))[0]
    assert (module.build_id, module.build_id_why, module.go_build_id) == (ID, None, GO.desc)
    module = opened(core(program([GO])))[0]
    assert (module.build_id, module.build_id_why) == (None, "it has Go's own build ID only")
    assert module.go_build_id == GO.desc


def test_code_that_was_relocated_is_no_proof(opened):
    """DT_TEXTREL, and DF_TEXTREL of DT_FLAGS, which newer linkers write: the header still is."""
    for entry in ((22, 0), (30, 4)):
        assert [one for one in held(opened(core(program(dynamic=[entry])))[0]) if not one[2]] == [(0, 0x1000, False)]
    assert len([one for one in held(opened(core(program(dynamic=[(30, 8)])))[0]) if not one[2]]) == 2


def test_file_that_was_mapped_to_be_read_has_its_header_only(opened):
    """The program headers say where a program lies that is run, not one that is looked at."""
    looked_at = ((0, 0x5000, R, True),)
    assert held(opened(core(program(), looked_at))[0]) == [(0, 0x1000, False)]
    assert held(opened(core(program(), moved=0x10000))[0]) == [(0, 0x1000, False)]


def test_file_that_is_mapped_again_is_looked_for_once(tmp_path):
    """30,000 mappings of one file are a real case."""
    content = program()
    rows = [FileRow(BASE + at, BASE + at + size, at // 4096, b"/opt/prog") for at, size, _flags, _dumped in WHOLE]
    loads = [
        Segment(PT_LOAD, BASE + at, content[at : at + size].ljust(size, b"\0"), flags=flags, align=4096)
        for at, size, flags, _dumped in WHOLE
    ]
    for number in range(8):
        base = BASE // 2 + number * 0x2000
        rows.append(FileRow(base, base + 4096, 0, b"/opt/prog"))
        loads.insert(0, Segment(PT_LOAD, base, content[:4096], flags=R | (number & 1) * W, align=4096))
    note = Segment(PT_NOTE, 0, elfwriter.note_bytes(X86_64, [elfwriter.nt_file(X86_64, rows)]), memsz=0, align=4)
    made = elfwriter.assemble(X86_64, elfwriter.ET_CORE, [note] + loads)
    with open_source(made.write(str(tmp_path / "core"))) as source:
        modules = open_dump(source, Sysroot(str(tmp_path))).modules
    assert len(modules) == 9 and len({module.pieces for module in modules}) == 1
    assert len(modules[0].pieces) == 4


def test_program_headers_that_were_not_dumped(opened):
    content = bytearray(program())
    content[32:40] = X86_64.pack("W", 0x2900)
    without_code = tuple((at, size, flags, at != 0x1000) for at, size, flags, _dumped in WHOLE)
    assert held(opened(core(bytes(content), without_code))[0]) == [(0, 0x1000, False)]


def test_segments_in_disorder_are_not_believed(opened):
    loads = [Segment(PT_LOAD, BASE, offset=0, filesz=0x1000, flags=R),
             Segment(PT_LOAD, BASE, offset=0x1000, filesz=0x1000, flags=R | X)]  # fmt: skip
    assert held(opened(core(program(loads=loads)))[0]) == [(0, 0x1000, False)]


def test_segment_that_claims_more_than_there_is(opened):
    loads = [Segment(PT_LOAD, BASE, offset=0, filesz=0x1000, flags=R),
             Segment(PT_LOAD, BASE + 0x1000, offset=0x1000, filesz=1 << 60, flags=R | X)]  # fmt: skip
    module = opened(core(program([elfwriter.build_id_note(ID)], loads=loads)))[0]
    assert module.pieces == ()


def test_images_over_each_other_share_nothing(tmp_path):
    """Images that all claim the same memory cost no more than one of them, and each its first page."""
    count = 200
    body = b"".join(
        elfwriter.assemble(
            X86_64, elfwriter.ET_DYN,
            [Segment(PT_LOAD, 0, offset=0, filesz=(count - index) * 4096, flags=R)],
        ).to_bytes().ljust(4096, b"\0")
        for index in range(count)
    )  # fmt: skip
    rows = [FileRow(BASE + i * 4096, BASE + (i + 1) * 4096, 0, b"/lib/%d" % i) for i in range(count)]
    note = Segment(PT_NOTE, 0, elfwriter.note_bytes(X86_64, [elfwriter.nt_file(X86_64, rows)]), memsz=0, align=4)
    made = elfwriter.assemble(X86_64, elfwriter.ET_CORE, [note, Segment(PT_LOAD, BASE, body, flags=R, align=4096)])
    with open_source(made.write(str(tmp_path / "core"))) as source:
        dump = open_dump(source, Sysroot(str(tmp_path)))
    assert len(dump.modules) == count
    held = sum(piece.size for module in dump.modules for piece in module.pieces)
    assert held <= len(body) + count * 4096


def test_compressed_dump_is_compared_as_far_as_it_can_be_kept(opened, monkeypatch):
    module, dump, source = opened(core(program()), pack=True)
    assert len(held(module)) == 4 and dump.warnings == ()
    before = source._passes
    for piece in tuple(module.pieces) * 5:
        assert len(source.read_at(piece.at, piece.size)) == piece.size
    assert source._passes - before <= 1
    monkeypatch.setattr(_pieces, "MAX_COMPARED", 0x2000)
    module, dump, _source = opened(core(program()), pack=True)
    assert held(module) == [(0, 0x1000, False)]
    assert "compared by its first page only, for the dump is compressed" in dump.warnings[0]
