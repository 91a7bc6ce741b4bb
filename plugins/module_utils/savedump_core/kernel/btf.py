# SPDX-License-Identifier: Apache-2.0
"""BTF, the type information that a running kernel carries: where the members of its structs are.

Format: Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
"""

import struct
from array import array
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from .vmcoreinfo import Unreadable

MAGIC = 0xEB9F
# Distributions' kernels have 3 to 10 MB of it.
MAX_BYTES = 32 << 20
HEADER_SIZE = 24
_HEADER = "HBBIIIII"
_MAX_HEADER = 256
# Struct module, the largest read here, has some 90 members.
_MAX_MEMBERS = 4096
_MAX_DEPTH = 16
_MAX_NAME = 256
_STEP = 1 << 16

_ARRAY, _STRUCT, _UNION = 3, 4, 5
_MODIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag
# Bytes that follow the 12 of every type, by kind; and those for each of its vlen members.
_KINDS = 20
_FIXED = [{1: 4, 3: 12, 14: 4, 17: 4}.get(kind, 0) for kind in range(_KINDS)]
_EACH = [{4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}.get(kind, 0) for kind in range(_KINDS)]


class Header(NamedTuple):
    """Where the parts of a BTF blob are, from its start."""

    types: int
    types_end: int
    strings: int
    end: int


class Member(NamedTuple):
    """A struct's member; those of anonymous structs and unions within it count as its own."""

    offset: int
    type: int


class Struct(NamedTuple):
    """A struct's layout, in bytes."""

    size: int
    members: Dict[str, Member]

    def offset(self, name: str) -> Optional[int]:
        return self.members[name].offset if name in self.members else None


def parse_header(head: bytes, order: str) -> Optional[Header]:
    """Of the first HEADER_SIZE bytes; None if that is no kernel's BTF."""
    if len(head) < HEADER_SIZE:
        return None
    magic, version, flags, size, types, types_size, strings, strings_size = struct.unpack_from(order + _HEADER, head)
    if magic != MAGIC or version != 1 or flags or not HEADER_SIZE <= size <= _MAX_HEADER:
        return None
    if types % 4 or types + types_size > strings or strings + strings_size > MAX_BYTES:
        return None
    return Header(size + types, size + types + types_size, size + strings, size + strings + strings_size)


class Btf:
    """The types of one kernel.

    What a kernel's structs need stands in the first fifth of its types and of its strings, for the compiler met it
    first; so it is read from its start on as far as it is asked for, for a page of a dump may be dear. All raise
    Unreadable for bytes that are not BTF, and what `read` raises.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, order: str) -> None:
        """read(offset, size) gives bytes of the blob of `size` bytes."""
        header = parse_header(read(0, min(size, HEADER_SIZE)), order)
        if header is None or header.end > size:
            raise Unreadable("the kernel's BTF is damaged")
        self._types = _Growing(read, header.types, header.types_end)
        self._strings = _Growing(read, header.strings, header.end)
        self._type = struct.Struct(order + "III")
        self._u32 = struct.Struct(order + "I")
        self._at = array("I", (0,))
        """Where each type begins, as far as that is known; type 0 is void and takes no place."""
        self._next = 0

    def find(self, name: str) -> Struct:
        """The first struct of this name that has members. Raises Unreadable if there is none."""
        wanted = self._strings.find(b"\0" + name.encode() + b"\0") + 1
        number = 1
        while wanted and self._reach(number):
            position = self._at[number]
            number += 1
            if self._u32.unpack_from(self._types.data, position)[0] == wanted:
                _name, kind, count, size = self._read(position)
                if kind == _STRUCT and count:
                    members: List[Tuple[str, Member]] = []
                    self._collect(position, 0, members, _MAX_DEPTH)
                    return Struct(size=size, members=dict(members))
        raise Unreadable("the kernel's BTF has no struct %s" % name)

    def elements(self, kind_of: int) -> int:
        """How many elements an array type has."""
        position = self._resolve(kind_of)
        if position is None or self._read(position)[1] != _ARRAY:
            raise Unreadable("the kernel's BTF has no array where one belongs")
        return self._u32.unpack_from(self._types.data, position + 20)[0]

    def _reach(self, number: int) -> bool:
        """Finds out where the types up to this one begin; False if there are not so many. 100,000 take 0.1 s on
        Python 3.11."""
        positions, types, unpack = self._at, self._types, self._u32.unpack_from
        at = self._next
        while len(positions) <= number:
            if at >= types.size:
                return False
            types.upto(at + 12)
            info = unpack(types.data, at + 4)[0]
            kind = info >> 24 & 0x1F
            if kind >= _KINDS:
                raise Unreadable("the kernel's BTF has types of kind %d, which are not known here" % kind)
            end = at + 12 + _FIXED[kind] + (info & 0xFFFF) * _EACH[kind]
            types.upto(end)
            positions.append(at)
            self._next = at = end
        return True

    def _read(self, position: int) -> Tuple[int, int, int, int]:
        """Name's offset, kind, number of members, size or type."""
        name, info, size = self._type.unpack_from(self._types.data, position)
        return name, info >> 24 & 0x1F, info & 0xFFFF, size

    def _resolve(self, number: int) -> Optional[int]:
        """Position of the type behind typedefs and qualifiers; None for void or a number out of range."""
        for _depth in range(_MAX_DEPTH):
            if not number or not self._reach(number):
                return None
            position = self._at[number]
            _name, kind, _count, target = self._read(position)
            if kind not in _MODIFIERS:
                return position
            number = target
        return None

    def _collect(self, position: int, base: int, members: List[Tuple[str, Member]], depth: int) -> None:
        _name, info, _size = self._type.unpack_from(self._types.data, position)
        bitfields = info >> 31  # then an offset's upper 8 bits are the field's width
        for index in range(info & 0xFFFF):
            if len(members) >= _MAX_MEMBERS or not depth:
                raise Unreadable("a struct of the kernel's BTF has more members than any kernel's")
            name, kind_of, bits = self._type.unpack_from(self._types.data, position + 12 + 12 * index)
            offset = base + (bits & 0xFFFFFF if bitfields else bits) // 8
            inner = None if name else self._resolve(kind_of)
            if inner is not None and self._read(inner)[1] in (_STRUCT, _UNION):
                # Counted, so that a web of anonymous structs ends.
                members.append(("", Member(offset, kind_of)))
                self._collect(inner, offset, members, depth - 1)
            else:
                members.append((self._string(name), Member(offset, kind_of)))

    def _string(self, offset: int) -> str:
        self._strings.upto(min(offset + _MAX_NAME, self._strings.size))
        end = self._strings.data.find(b"\0", offset, offset + _MAX_NAME)
        return self._strings.data[offset:end].decode("utf-8", "surrogateescape") if end >= 0 else ""


class _Growing:
    """A part of a blob, read from its start on as far as it is asked for."""

    def __init__(self, read: Callable[[int, int], bytes], start: int, end: int) -> None:
        self._read = read
        self._start = start
        self.size = end - start
        self.data = bytearray()

    def upto(self, end: int) -> None:
        """Raises Unreadable if it is not so long."""
        if end > self.size:
            raise Unreadable("the kernel's BTF overruns itself")
        while len(self.data) < end:
            at = len(self.data)
            self.data += self._read(self._start + at, min(_STEP, self.size - at))

    def find(self, needle: bytes) -> int:
        """As bytes.find."""
        at = self.data.find(needle)
        while at < 0 and len(self.data) < self.size:
            seen = max(0, len(self.data) - len(needle))
            self.upto(min(len(self.data) + _STEP, self.size))
            at = self.data.find(needle, seen)
        return at
