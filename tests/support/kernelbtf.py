# SPDX-License-Identifier: Apache-2.0
"""A writer of BTF for tests, and of what it says of struct module (Documentation/bpf/btf.rst, linux/module.h)."""

import struct
from typing import Dict, List, NamedTuple, Sequence, Tuple


class ModuleLayout(NamedTuple):
    """Of struct module in one kernel; what comes first has always been where it is."""

    kind: str = "core_layout"
    """Or "mem", as since 6.4."""
    pointers: bool = False
    """Notes' attributes as a list of pointers, as since 6.14."""
    size: int = 512
    list: int = 8
    name: int = 24
    srcversion: int = 120
    taints: int = 200
    notes_attrs: int = 208
    areas: int = 256


def module_btf(layout: ModuleLayout, order: str = "<") -> bytes:
    """The BTF of a kernel with this layout, larger than the least that a search believes."""
    types = Btf(order)
    number = types.integer("unsigned int", 4)
    for filler in range(3000):
        types.struct("filler_%d" % filler, 8, [("one", 0, number), ("two", 32, number)])
    pointer = types.pointer(0)
    names = types.array(number, 14)
    attribute = types.struct(
        "bin_attribute", 24, [("attr", 0, pointer), ("private", 64, pointer), ("size", 128, number)]
    )
    group = types.struct("attribute_group", 16, [("name", 0, pointer), ("bin_attrs", 64, pointer)])
    attrs = types.array(attribute, 0)
    if layout.pointers:
        types.struct("module_notes_attrs", 16, [("grp", 0, group), ("attrs", 128, attrs)])
    else:
        types.struct("module_notes_attrs", 16, [("dir", 0, pointer), ("notes", 64, number), ("attrs", 128, attrs)])
    piece = types.struct("module_memory", 24, [("base", 0, pointer), ("size", 64, number)])
    core = types.struct("module_layout", 24, [("base", 0, pointer), ("size", 64, number)])
    area = types.array(types.typedef("memories", piece), 7) if layout.kind == "mem" else core
    # A part of the members stands in an anonymous union of anonymous structs, as some kernels have them.
    inner = types.struct("", 16, [("taints", 0, number), ("notes_attrs", 64, pointer)])
    union = types.struct("", 16, [("", 0, inner), ("other", 0, number)], kind=5)
    types.struct("module", layout.size, [
        ("state", 0, number), ("list", 8 * layout.list, group), ("name", 8 * layout.name, names),
        ("srcversion", 8 * layout.srcversion, pointer), ("", 8 * layout.taints, union),
        ("mem" if layout.kind == "mem" else "core_layout", 8 * layout.areas, area),
    ])  # fmt: skip
    return types.bytes()


class Btf:
    """Types of BTF, numbered from 1."""

    def __init__(self, order: str = "<") -> None:
        self._order = order
        self._types: List[bytes] = []
        self._strings = b"\0"
        self._known: Dict[str, int] = {"": 0}

    def _add(self, name: str, kind: int, vlen: int, size: int, rest: bytes = b"", flag: int = 0) -> int:
        info = kind << 24 | vlen | flag << 31
        self._types.append(struct.pack(self._order + "III", self._string(name), info, size) + rest)
        return len(self._types)

    def _string(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = len(self._strings)
            self._strings += name.encode() + b"\0"
        return self._known[name]

    def integer(self, name: str, size: int) -> int:
        return self._add(name, 1, 0, size, struct.pack(self._order + "I", 8 * size))

    def pointer(self, to: int) -> int:
        return self._add("", 2, 0, to)

    def typedef(self, name: str, to: int) -> int:
        return self._add(name, 8, 0, to)

    def array(self, of: int, count: int) -> int:
        return self._add("", 3, 0, 0, struct.pack(self._order + "III", of, 1, count))

    def struct(
        self, name: str, size: int, members: Sequence[Tuple[str, int, int]], kind: int = 4, flag: int = 0
    ) -> int:
        """Members as (name, offset in bits, type)."""
        raw = b"".join(
            struct.pack(self._order + "III", self._string(one), kind_of, bits) for one, bits, kind_of in members
        )
        return self._add(name, kind, len(members), size, raw, flag)

    def enum(self, name: str, values: int, kind: int = 6) -> int:
        return self._add(name, kind, values, 4, bytes((8 if kind == 6 else 12) * values))

    def raw(self, kind: int, vlen: int, rest: bytes) -> int:
        return self._add("", kind, vlen, 0, rest)

    def bytes(self, header_size: int = 24) -> bytes:
        types = b"".join(self._types)
        head = struct.pack(
            self._order + "HBBIIIII", 0xEB9F, 1, 0, header_size, 0, len(types), len(types), len(self._strings)
        )
        return head.ljust(header_size, b"\0") + types + self._strings
