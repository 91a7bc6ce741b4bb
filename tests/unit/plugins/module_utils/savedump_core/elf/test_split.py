# SPDX-License-Identifier: Apache-2.0
"""Split DWARF as real compilers write it, as the standard allows it, and as nobody should."""

import os
import random
import shutil
import struct
import subprocess

import pytest

from savedump_core.elf import sections as elf_sections
from savedump_core.elf import split
from savedump_core.elf.file import describe
from support import elfwriter

ONE = "struct point { int x, y; }; int one(struct point *at) { char room[MARK]; return at->x + sizeof room; }\n"
TWO = "int one(void *); int main(void) { return one(0); }\n"


def reader(data):
    return lambda at, size: data[at : at + size] if at < 1 << 62 and size > 0 else b""


def skeletons(data):
    return split.skeletons(reader(data), len(data))


def units(data):
    return split.units(reader(data), len(data))


def run(*words, **how):
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


class Built:
    """A program of two objects, compiled in a folder of its own."""

    def __init__(self, folder, *options, absolute=False, mark=1, more=0):
        self.folder = folder
        (folder / "obj").mkdir(parents=True)
        self.objects = []
        further = [("further%d" % number, "int further%d(void) { return 1; }\n" % number) for number in range(more)]
        for name, text in [("one", ONE), ("two", TWO)] + further:
            (folder / (name + ".c")).write_text(text)
            made = "obj/%s.o" % name
            self.objects.append(str(folder / made) if absolute else made)
            run("gcc", "-g", "-DMARK=%d" % mark, *options, "-c", name + ".c", "-o", self.objects[-1], cwd=str(folder))
        run("gcc", "-o", "prog", *self.objects, cwd=str(folder))

    def read(self, name):
        return (self.folder / name).read_bytes()


@pytest.fixture(params=[4, 5], ids=["dwarf4", "dwarf5"])
def version(request):
    return "-gdwarf-%d" % request.param


def test_relative_names(tmp_path, version):
    built = Built(tmp_path / "x", version, "-gsplit-dwarf")
    found = skeletons(built.read("prog"))
    assert [one.paths for one in found] == [
        ("%s/obj/%s.dwo" % (built.folder, name), "obj/%s.dwo" % name) for name in ("one", "two")
    ]
    for one in found:
        assert units(built.read(one.paths[1])) == {one.dwo_id}


def test_absolute_names(tmp_path, version):
    built = Built(tmp_path / "x", version, "-gsplit-dwarf", absolute=True)
    assert [one.paths for one in skeletons(built.read("prog"))] == [
        ("%s/obj/%s.dwo" % (built.folder, name),) for name in ("one", "two")
    ]


def test_ids_are_those_that_readelf_shows(tmp_path, version):
    """Not only the same number read twice."""
    built = Built(tmp_path / "x", version, "-gsplit-dwarf")
    text = subprocess.run(
        ["readelf", "--debug-dump=info", str(built.folder / "obj/one.dwo")], stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    (one_id,) = units(built.read("obj/one.dwo"))
    shown = [line.split()[-1] for line in text.splitlines() if "DWO ID" in line or "GNU_dwo_id" in line]
    # readelf 2.40 prints no ID of a unit of DWARF 5; then the program and the .dwo have to agree, which they do above.
    assert shown in ([], ["0x%x" % one_id])


def test_another_build_has_other_ids(tmp_path, version):
    first = Built(tmp_path / "x", version, "-gsplit-dwarf")
    second = Built(tmp_path / "y", version, "-gsplit-dwarf", mark=2)
    assert not units(first.read("obj/one.dwo")) & units(second.read("obj/one.dwo"))


def test_units_of_types_are_not_wanted(tmp_path, version):
    built = Built(tmp_path / "x", version, "-gsplit-dwarf", "-fdebug-types-section")
    found = skeletons(built.read("prog"))
    assert len(found) == 2
    assert units(built.read("obj/one.dwo")) == {found[0].dwo_id}


def test_split_dwarf_in_the_object_file_itself(tmp_path, version):
    """clang's -gsplit-dwarf=single; gcc's own assembler text has both halves, too, and objcopy takes them apart."""
    built = Built(tmp_path / "x", version, "-gsplit-dwarf")
    run("gcc", "-g", version, "-gsplit-dwarf", "-DMARK=1", "-S", "one.c", "-o", "one.s", cwd=str(built.folder))
    run("as", "one.s", "-o", "both.o", cwd=str(built.folder))
    assert len(units(built.read("both.o"))) == 1


# Small sections stay as they are, for compression makes them no smaller: so there are some more units.
_MANY = 12


@pytest.mark.parametrize("way", ["zlib", "zlib-gnu", "zstd"])
def test_compressed(tmp_path, version, way):
    built = Built(tmp_path / "x", version, "-gsplit-dwarf", "-include", "stdio.h", "-fno-eliminate-unused-debug-types",
                  more=_MANY)  # fmt: skip
    plain = skeletons(built.read("prog")), units(built.read("obj/one.dwo"))
    for name, section in (("prog", "debug_info"), ("obj/one.dwo", "debug_info.dwo")):
        run("objcopy", "--compress-debug-sections=" + way, name, cwd=str(built.folder))
        done = subprocess.run(["readelf", "-SW", str(built.folder / name)], stdout=subprocess.PIPE, check=True)
        (row,) = [line for line in done.stdout.decode().splitlines() if section + " " in line]
        assert "zdebug" in row if way == "zlib-gnu" else " C" in row or " EC" in row
    assert len(plain[0]) == 2 + _MANY
    assert (skeletons(built.read("prog")), units(built.read("obj/one.dwo"))) == plain
    assert way in describe(reader(built.read("prog")), len(built.read("prog"))).features


def test_zstd_that_this_host_cannot_read_is_said(tmp_path, monkeypatch):
    built = Built(tmp_path / "x", "-gdwarf-5", "-gsplit-dwarf", more=_MANY)
    run("objcopy", "--compress-debug-sections=zstd", "prog", cwd=str(built.folder))
    data = built.read("prog")
    assert "split-unknown" not in describe(reader(data), len(data)).features
    monkeypatch.setattr(elf_sections, "_libzstd", lambda: None)
    assert "split-unknown" in describe(reader(data), len(data)).features
    assert skeletons(data) == []


@pytest.mark.parametrize("tool, version", [("dwp", 4), ("llvm-dwp", 4), ("llvm-dwp", 5)])
def test_packages(tmp_path, tool, version):
    if shutil.which(tool) is None:
        pytest.skip("%s is not installed" % tool)
    built = Built(tmp_path / "x", "-gdwarf-%d" % version, "-gsplit-dwarf")
    run(tool, "obj/one.dwo", "obj/two.dwo", "-o", "prog.dwp", cwd=str(built.folder))
    package = built.read("prog.dwp")
    assert units(package) == {one.dwo_id for one in skeletons(built.read("prog"))}
    assert "dwp" in describe(reader(package), len(package)).features
    run(tool, "obj/one.dwo", "-o", "half.dwp", cwd=str(built.folder))
    assert units(built.read("half.dwp")) == units(built.read("obj/one.dwo"))


def test_what_is_not_split(tmp_path, version):
    assert skeletons(Built(tmp_path / "x", version).read("prog")) == []
    assert units(Built(tmp_path / "y", version).read("prog")) == frozenset()
    assert skeletons(b"no ELF") == [] and units(b"") == frozenset()


def test_what_is_not_split_is_not_read(tmp_path):
    """Without .debug_addr nothing is split: then no more than the section headers are read."""
    data = Built(tmp_path / "x", "-gdwarf-5").read("prog")
    asked = []

    def read_at(at, size):
        asked.append(size)
        return reader(data)(at, size)

    assert split.skeletons(read_at, len(data)) == []
    assert sum(asked) < 1 << 13


# What the standard allows, in either byte order, either DWARF and by every form.

ORDERS = {"<": elfwriter.ABIS["x86_64"], ">": elfwriter.ABIS["s390x"]}
STRING, STRP, LINE_STRP, STRX, STRX1, STRX2, STRX3, STRX4, GNU_STR = (
    0x08, 0x0E, 0x1F, 0x1A, 0x25, 0x26, 0x27, 0x28, 0x1F02,
)  # fmt: skip
NAME, FOLDER, ID = b"x/unit.dwo", b"/src/folder", 0x1122334455667788


def uleb(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


class Writer:
    """A file with one skeleton, after a unit that is none."""

    def __init__(self, order, wide, version, form):
        self.order, self.wide, self.version, self.form = order, wide, version, form

    def pack(self, letters, *values):
        return struct.pack(self.order + letters.replace("O", "Q" if self.wide else "I"), *values)

    def unit(self, kind, code, body, abbreviations=0):
        if self.version == 5:
            head = self.pack("HBBO", 5, kind, 8, abbreviations) + (self.pack("Q", ID) if kind in (4, 5) else b"")
        else:
            head = self.pack("HOB", 4, abbreviations, 8)
        content = head + uleb(code) + body
        return (b"\xff" * 4 if self.wide else b"") + self.pack("O", len(content)) + content

    def value(self, text):
        """Of the form, with what it stands for in the sections below."""
        index = {NAME: 1, FOLDER: 2}[text]
        at = {NAME: 3, FOLDER: 3 + len(NAME) + 1}[text]
        width = {STRX1: 1, STRX2: 2, STRX3: 3, STRX4: 4}.get(self.form)
        if width:
            return index.to_bytes(width, "little" if self.order == "<" else "big")
        if self.form in (STRX, GNU_STR):
            return uleb(index)
        return text + b"\0" if self.form == STRING else self.pack("O", at)

    def sections(self, suffix=""):
        new = self.version == 5
        named, ident = (0x76, None) if new else (0x2130, 0x2131)
        # A unit with an attribute of every odd form before what is looked for.
        layout = uleb(7) + uleb(0x4A if new else 0x11) + b"\0"
        body = b""
        for attribute, form, value in self.odd():
            layout += uleb(attribute) + uleb(form)
            body += value
        base = 16 if self.wide else 8
        if new:
            layout += uleb(0x72) + uleb(0x17)
            body += self.pack("O", base)
        layout += uleb(0x1B) + uleb(self.form) + uleb(named) + uleb(self.form)
        body += self.value(FOLDER) + self.value(NAME)
        if ident:
            layout += uleb(ident) + uleb(0x07)
            body += self.pack("Q", ID)
        layout += b"\0\0"
        other = uleb(1) + uleb(0x11) + b"\1" + uleb(0x03) + uleb(STRING) + b"\0\0"
        text = b"..\0" + NAME + b"\0" + FOLDER + b"\0"
        offsets = (self.pack("OHH", 4 + 3 * 4, 5, 0) if new else b"") + self.pack("OOO", 0, 3, 3 + len(NAME) + 1)
        if new and self.wide:
            offsets = b"\xff" * 4 + offsets
        info = self.unit(1, 1, b"plain.c\0") + self.unit(4, 7, body)
        return [
            elfwriter.Section(name + suffix, data)
            for name, data in (
                (".debug_info", info), (".debug_abbrev", other + layout + b"\0"), (".debug_addr", b"\0" * 16),
                (".debug_str", text), (".debug_line_str", text), (".debug_str_offsets", offsets),
            )
        ]  # fmt: skip

    def odd(self):
        implicit = [(0x3E, 0x21, b"")] if self.version == 5 else []
        del implicit  # its value stands in the layout: covered by gcc's own files
        return [
            (0x03, STRING, b"name.c\0"), (0x13, 0x05, b"ab"), (0x52, 0x01, b"\0" * 8), (0x02, 0x18, uleb(3) + b"abc"),
            (0x02, 0x0A, b"\2ab"), (0x02, 0x03, self.pack("H", 300) + b"x" * 300), (0x34, 0x0C, b"\1"),
            (0x34, 0x19, b""), (0x1C, 0x0D, b"\x80\x7f"), (0x1C, 0x0F, uleb(1 << 40)), (0x10, 0x17, self.pack("O", 9)),
            (0x49, 0x13, b"\0" * 4), (0x49, 0x20, b"\0" * 8), (0x49, 0x10, self.pack("O", 1)),
            (0x49, 0x16, uleb(0x0B) + b"\7"), (0x02, 0x09, uleb(1) + b"z"), (0x11, 0x1F01, uleb(3)),
        ]  # fmt: skip

    def file(self):
        return elfwriter.elf_file(ORDERS[self.order], sections=self.sections())


FORMS = [(5, form) for form in (STRING, STRP, LINE_STRP, STRX, STRX1, STRX2, STRX3, STRX4)]
FORMS += [(4, form) for form in (STRING, STRP, GNU_STR)]


@pytest.mark.parametrize("version, form", FORMS, ids=["%d-%x" % pair for pair in FORMS])
@pytest.mark.parametrize("wide", [False, True], ids=["32", "64"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_every_form(order, wide, version, form):
    writer = Writer(order, wide, version, form)
    (found,) = skeletons(writer.file())
    assert found.dwo_id == ID
    assert found.paths == (os.fsdecode(FOLDER + b"/" + NAME), os.fsdecode(NAME))


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("version", [2, 5])
def test_an_index_in_either_byte_order(order, version):
    head = struct.pack(order + "IIII", 2, 1, 1, 4) if version == 2 else struct.pack(order + "HHIII", 5, 0, 1, 1, 4)
    slots = struct.pack(order + "4Q", 0, ID, 0, 99) + struct.pack(order + "4I", 0, 1, 0, 0)
    data = elfwriter.elf_file(ORDERS[order], sections=[elfwriter.Section(".debug_cu_index", head + slots)])
    assert units(data) == {ID}


@pytest.mark.parametrize("slots", [1 << 31, 0xFFFFFFFF, 5])
def test_an_index_that_claims_more_than_it_has(slots):
    content = struct.pack("<IIII", 2, 1, 1, slots) + b"\1" * 48
    data = elfwriter.elf_file(sections=[elfwriter.Section(".debug_cu_index", content)])
    assert units(data) == frozenset()


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_raised_whatever_the_bytes(seed):
    """Debug information cut anywhere, and with bytes changed: fewer units, or other ones, but an answer."""
    chance = random.Random(seed)
    writer = Writer(chance.choice("<>"), chance.random() < 0.5, *chance.choice(FORMS))
    for suffix in ("", ".dwo"):
        damaged = []
        for section in writer.sections(suffix):
            data = bytearray(section.data)
            for _ in range(chance.randrange(6)):
                data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            damaged.append(section._replace(data=bytes(data[: chance.randrange(len(data) + 1)])))
        data = elfwriter.elf_file(ORDERS[writer.order], sections=damaged)
        assert isinstance(skeletons(data), list) and isinstance(units(data), frozenset)


def test_many_units_are_counted_and_then_left():
    """Each of the smallest size there is, without end."""
    writer = Writer("<", False, 4, STRING)
    info = writer.unit(0, 1, b"") * (split.MAX_UNITS + 10)
    sections = [one._replace(data=info) if one.name == ".debug_info" else one for one in writer.sections()]
    assert skeletons(elfwriter.elf_file(sections=sections)) == []


@pytest.mark.parametrize("claim", [1 << 40, (128 << 20) + 1, 0])
def test_a_compressed_section_that_claims_too_much_is_not_read(claim):
    import zlib

    packed = struct.pack("<IIQQ", 1, 0, claim, 1) + zlib.compress(b"\0" * (1 << 20))
    sections = [
        elfwriter.Section(".debug_info", packed, flags=0x800), elfwriter.Section(".debug_addr", b"\0" * 16),
        elfwriter.Section(".debug_abbrev", packed, flags=0x800),
    ]  # fmt: skip
    assert skeletons(elfwriter.elf_file(sections=sections)) == []
