# SPDX-License-Identifier: Apache-2.0
"""kernel/btf.py: members of structs, past types of every kind."""

import struct

import pytest
from savedump_core.kernel import btf
from savedump_core.kernel.btf import Member
from savedump_core.kernel.vmcoreinfo import Unreadable
from support import kernelbtf


def opened(data, order="<"):
    return btf.Btf(lambda at, size: data[at : at + size], len(data), order)


def every_kind(order="<"):
    """One type of each kind before the struct that is looked for."""
    types = kernelbtf.Btf(order)
    number = types.integer("int", 4)
    types.pointer(number)
    types.array(number, 3)
    types.enum("colours", 3)
    types.enum("wide", 2, kind=19)
    types.raw(7, 0, b"")  # forward
    types.typedef("number_t", number)
    for kind in (9, 10, 11, 12, 16, 18):  # volatile, const, restrict, function, float, type tag
        types.raw(kind, 0, b"")
    types.raw(13, 2, bytes(16))  # function prototype
    types.raw(14, 0, bytes(4))  # variable
    types.raw(15, 2, bytes(24))  # section
    types.raw(17, 0, bytes(4))  # declaration tag
    return types, number


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("header", [24, 32])
def test_a_struct_behind_every_kind(order, header):
    types, number = every_kind(order)
    wanted = types.struct("wanted", 24, [("one", 0, number), ("two", 64, number)])
    types.struct("unwanted", 8, [("one", 32, number)])
    found = opened(types.bytes(header), order).find("wanted")
    assert found.size == 24
    assert found.members == {"one": Member(0, number), "two": Member(8, number)}
    assert found.offset("absent") is None
    assert wanted


def test_members_of_anonymous_ones_are_its_own():
    types, number = every_kind()
    deep = types.struct("", 8, [("low", 0, number), ("high", 32, number)])
    union = types.struct("", 8, [("", 0, types.typedef("", deep)), ("whole", 0, number)], kind=5)
    types.struct("wanted", 24, [("first", 0, number), ("", 64, union), ("last", 128, number)])
    found = opened(types.bytes()).find("wanted")
    offsets = {name: member.offset for name, member in found.members.items() if name}
    assert offsets == {"first": 0, "low": 8, "high": 12, "whole": 8, "last": 16}


def test_bitfields_keep_their_width_beside_the_offset():
    types, number = every_kind()
    types.struct("wanted", 8, [("flag", 3 << 24 | 40, number)], flag=1)
    assert opened(types.bytes()).find("wanted").members["flag"].offset == 5


def test_elements_of_an_array_behind_a_typedef():
    types, number = every_kind()
    memory = types.typedef("memories", types.array(number, 7))
    types.struct("wanted", 8, [("mem", 0, memory), ("plain", 32, number)])
    read = opened(types.bytes())
    members = read.find("wanted").members
    assert read.elements(members["mem"].type) == 7
    with pytest.raises(Unreadable):
        read.elements(members["plain"].type)


def test_a_name_that_only_ends_alike_is_another():
    types, number = every_kind()
    types.struct("my_module", 8, [("no", 0, number)])
    types.typedef("module", number)
    types.enum("module", 3)
    types.struct("module", 0, [])
    types.struct("module", 16, [("yes", 64, number)])
    assert "yes" in opened(types.bytes()).find("module").members
    with pytest.raises(Unreadable, match="no struct modul"):
        opened(types.bytes()).find("modul")


@pytest.mark.parametrize("cut", [0, 10, 24, 40, 200])
def test_cut(cut):
    types, number = every_kind()
    types.struct("wanted", 8, [("one", 0, number)])
    with pytest.raises(Unreadable, match="damaged"):
        opened(types.bytes()[:cut])


def changed(position, value):
    types, number = every_kind()
    types.struct("wanted", 8, [("one", 0, number)])
    raw = bytearray(types.bytes())
    struct.pack_into("<I", raw, position, value)
    return bytes(raw)


@pytest.mark.parametrize("position, value", [(0, 0), (4, 20), (4, 1 << 20), (12, 0xFFFFFFF0), (16, 0), (20, 1 << 30)])
def test_a_header_that_does_not_hold(position, value):
    with pytest.raises(Unreadable):
        opened(changed(position, value)).find("wanted")


@pytest.mark.parametrize("info", [0x1F << 24, 20 << 24, 4 << 24 | 0xFFFF])
def test_a_type_that_does_not_hold(info):
    with pytest.raises(Unreadable, match="kind|overrun"):
        opened(changed(24 + 4, info)).find("wanted")


def test_a_web_of_anonymous_structs_ends():
    """Each has ten of the next one: ten thousand million members."""
    types = kernelbtf.Btf()
    number = types.integer("int", 4)
    inner = types.struct("", 4, [("leaf", 0, number)])
    for _ in range(10):
        inner = types.struct("", 4, [("", 0, inner)] * 10)
    types.struct("wanted", 4, [("", 0, inner)])
    with pytest.raises(Unreadable, match="more members"):
        opened(types.bytes()).find("wanted")


def test_one_that_contains_itself_ends():
    types = kernelbtf.Btf()
    types.struct("", 4, [("", 0, 1)])
    types.struct("wanted", 4, [("", 0, 1)])
    with pytest.raises(Unreadable, match="more members"):
        opened(types.bytes()).find("wanted")


def test_no_more_is_read_than_is_needed(monkeypatch):
    """In a dump of LZO pages each MB takes a quarter of a second."""
    monkeypatch.setattr(btf, "_STEP", 4096)
    types, number = every_kind()
    types.struct("wanted", 8, [("one", 0, number)])
    for filler in range(5000):
        types.struct("filler_%d" % filler, 8, [("one", 0, number)])
    data = types.bytes()
    asked = []

    def read(at, size):
        asked.append(size)
        return data[at : at + size]

    kernel = btf.Btf(read, len(data), "<")
    assert kernel.find("wanted").size == 8
    assert sum(asked) < 10000 < len(data) // 10
    assert kernel.find("filler_4999").size == 8
    with pytest.raises(Unreadable):
        kernel.find("filler_5000")
    assert sum(asked) == len(data)
