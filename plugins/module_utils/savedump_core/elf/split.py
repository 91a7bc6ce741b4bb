# SPDX-License-Identifier: Apache-2.0
"""Split DWARF: what a compiler left out of an object file (-gsplit-dwarf) lies in a .dwo for each unit, or in one .dwp
for all (DWARF 5 sections 7.3.2, 7.3.5 and 7.5.1; for DWARF 4, GCC's DebugFission: gcc.gnu.org/wiki/DebugFission and
DebugFissionDWP).

Only the header of each unit and its first entry are read, and those only where .debug_abbrev has an entry that names a
.dwo: the debug information of a program that is not split costs next to nothing, however large it is.
"""

import bisect
import itertools
import os
import re
import struct
from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from .header import HEADER_SIZE, ReadAt, parse_header
from .sections import content_reader, sections

DW_UT_skeleton, DW_UT_split_compile = 4, 5
_HAVE_ID = (DW_UT_skeleton, DW_UT_split_compile)
_COMP_DIR, _STR_OFFSETS_BASE, _DWO_NAME = 0x1B, 0x72, 0x76
_GNU_DWO_NAME, _GNU_DWO_ID = 0x2130, 0x2131

# Bytes that a unit has after its length, at least: version, offset, size of an address.
_LEAST = 7
# Units of one file, and those of them that are elsewhere: Chromium has some 50,000.
MAX_UNITS, MAX_SKELETONS = 1 << 18, 1 << 16
# Rows of the hash table of a .dwp, which is at least half as large again as it has units.
MAX_SLOTS = 1 << 20
# Of one entry in .debug_abbrev; real ones have some fifteen attributes.
_MAX_ATTRIBUTES = 64
# Entries of .debug_abbrev looked at in the search for those of the units, and for one of them.
_MAX_ENTRIES, _MAX_ENTRIES_EACH = 1 << 17, 1 << 8
_MAX_STRING = 4096
# A unit's entry comes early in its abbreviations, for a compiler meets it first.
_NEAR = 1 << 12
_WINDOW = 1 << 16
# Room for a unit's header and the attributes of its first entry, two inline strings included.
_ENOUGH = 10 << 10
# DW_AT_dwo_name or DW_AT_GNU_dwo_name in .debug_abbrev, followed by a form that a string can have. The first is one
# byte, which may as well be an abbreviation's code: then a tag, whether it has children, and an attribute follow.
_NAMES_DWO = re.compile(
    rb"\x76[\x08\x0e\x1a\x1f\x25-\x28](?!\x01|\x00[^\x00])|\xb0\x42(?:[\x08\x0e\x1a\x1f\x25-\x28]|\x82\x3e)", re.DOTALL
)
# The ID's own attribute, for the units of a .dwo of DWARF 4: data8.
_HAS_ID = re.compile(rb"\xb1\x42\x07")

# Forms whose values have one size (DWARF 5 section 7.5.6); "o" stands for an offset, "a" for an address.
_FIXED = {
    0x01: "a", 0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x0E: "o", 0x10: "o", 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8,
    0x17: "o", 0x19: 0, 0x1C: 4, 0x1D: "o", 0x1E: 16, 0x1F: "o", 0x20: 8, 0x21: 0, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3,
    0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4, 0x1F20: "o", 0x1F21: "o",
}  # fmt: skip
_ULEB = (0x0D, 0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23, 0x1F01, 0x1F02)
_BLOCKS = {0x03: 2, 0x04: 4, 0x0A: 1}
_FORM_STRING, _FORM_INDIRECT, _FORM_IMPLICIT = 0x08, 0x16, 0x21
_IN_STR, _IN_LINE_STR = 0x0E, 0x1F
_STRX = (0x1A, 0x25, 0x26, 0x27, 0x28, 0x1F02)
_GNU_STR_INDEX = 0x1F02


class Skeleton(NamedTuple):
    """A unit that is elsewhere."""

    dwo_id: int
    paths: Tuple[str, ...]
    """Where the compiler put it: comp_dir/dwo_name, then dwo_name as it stands."""


class _Bad(Exception):
    """Debug information that makes no sense here; what was read before counts."""


class _Unit(NamedTuple):
    """The header of one unit."""

    version: int
    kind: int
    """DW_UT_…; 0 before DWARF 5."""
    abbreviations: int
    """Where its entries' layouts begin in .debug_abbrev."""
    dwo_id: Optional[int]
    wide: bool
    """64-bit DWARF: offsets have 8 bytes."""
    address: int
    """Bytes in an address."""
    entry: int
    """Where its first entry begins in `head`."""
    head: bytes
    """Its first bytes."""


class _Contents:
    """The sections of one file by name, opened when first read; `suffix` is ".dwo" for those that were split off."""

    def __init__(self, read_at: ReadAt, size: int, suffix: bytes) -> None:
        self.header = parse_header(read_at(0, HEADER_SIZE))
        self._read_at, self._suffix = read_at, suffix
        self._known: Dict[bytes, Optional[ReadAt]] = {}
        self._sections = {
            section.name.replace(b".zdebug_", b".debug_"): section
            for section in (sections(self.header, read_at) if self.header else ())
            if section.has_bytes and section.offset + section.size <= size
        }

    def has(self, name: bytes) -> bool:
        return name + self._suffix in self._sections

    def read(self, name: bytes, at: int, size: int) -> bytes:
        """Bytes of a section; none if it is not there, or cannot be decompressed."""
        name += self._suffix
        if name not in self._known:
            section = self._sections.get(name)
            self._known[name] = (
                content_reader(section, self.header, self._read_at) if section and self.header else None
            )
        reader = self._known[name]
        return reader(at, size) if reader is not None else b""

    def whole(self, name: bytes) -> Iterator[Tuple[int, bytes]]:
        """A section in windows that overlap by more than an attribute."""
        at, window = 0, 1 << 20
        while True:
            data = self.read(name, at, window)
            yield at, data
            if len(data) < window:
                return
            at += window - 16

    @property
    def order(self) -> str:
        return "<" if self.header is None else self.header.order


def skeletons(read_at: ReadAt, size: int) -> List[Skeleton]:
    """The skeleton units of an ELF file of `size` bytes, in its order; none if its debug information is not split, or
    makes no sense; MAX_SKELETONS at most. Nothing that code refers to by address is in such a file without a
    .debug_addr."""
    contents = _Contents(read_at, size, b"")
    if not contents.has(b".debug_addr") or not contents.has(b".debug_info"):
        return []
    found: Dict[int, Skeleton] = {}
    layouts = _Layouts(contents, _NAMES_DWO)
    for unit in _units(contents):
        if unit.kind not in (0, DW_UT_skeleton) or not layouts.may_have(unit.abbreviations):
            continue
        try:
            values = layouts.values(unit)
            one = _skeleton(contents, unit, values)
        except (_Bad, struct.error):
            continue
        if one is not None:
            found.setdefault(one.dwo_id, one)
            if len(found) == MAX_SKELETONS:
                break
    return list(found.values())


def units(read_at: ReadAt, size: int) -> FrozenSet[int]:
    """The dwo IDs of the units that a .dwo or .dwp of `size` bytes holds."""
    contents = _Contents(read_at, size, b"")
    if contents.has(b".debug_cu_index"):
        return frozenset(_indexed(contents))
    contents = _Contents(read_at, size, b".dwo")
    if not contents.has(b".debug_info"):
        return frozenset()
    found = set()
    layouts = _Layouts(contents, _HAS_ID)
    for unit in _units(contents):
        dwo_id = unit.dwo_id if unit.kind == DW_UT_split_compile else None
        if not unit.kind and layouts.may_have(unit.abbreviations):
            try:
                dwo_id = _number(contents.order, layouts.values(unit).get(_GNU_DWO_ID))
            except (_Bad, struct.error):
                continue
        if dwo_id is not None:
            found.add(dwo_id)
    return frozenset(found)


def _indexed(contents: _Contents) -> List[int]:
    """The signatures in .debug_cu_index: a hash table whose empty slots have row 0. The version is a word in GCC's
    (2), half a word and padding in DWARF 5's."""
    order = contents.order
    head = contents.read(b".debug_cu_index", 0, 16)
    if len(head) < 16:
        return []
    word, half = struct.unpack_from(order + "I", head)[0], struct.unpack_from(order + "H", head)[0]
    slots = struct.unpack_from(order + "I", head, 12)[0]
    if (word != 2 and half != 5) or slots > MAX_SLOTS:
        return []
    signatures = contents.read(b".debug_cu_index", 16, 8 * slots)
    rows = contents.read(b".debug_cu_index", 16 + 8 * slots, 4 * slots)
    if len(signatures) < 8 * slots or len(rows) < 4 * slots:
        return []
    pairs = zip(struct.iter_unpack(order + "Q", signatures), struct.iter_unpack(order + "I", rows))
    return [signature for (signature,), (row,) in pairs if row]


def _units(contents: _Contents) -> Iterator[_Unit]:
    """The units of .debug_info, up to where they stop making sense."""
    at, base, window = 0, 0, contents.read(b".debug_info", 0, _WINDOW)
    for _count in range(MAX_UNITS):
        if at + _ENOUGH > base + len(window) == base + _WINDOW or at > base + len(window):
            base, window = at, contents.read(b".debug_info", at, _WINDOW)
        try:
            unit, length = _unit(contents.order, window, at - base)
        except (_Bad, struct.error):
            return
        if unit is not None:
            yield unit
        at += length


def _unit(order: str, data: bytes, start: int) -> Tuple[Optional[_Unit], int]:
    """The header at `start`, if its version is known, and the size of the unit. Raises _Bad or struct.error."""
    (length,) = struct.unpack_from(order + "I", data, start)
    wide = length == 0xFFFFFFFF
    at = start + 4
    if wide:
        (length,) = struct.unpack_from(order + "Q", data, at)
        at = start + 12
    whole = at - start + length
    if length < _LEAST or not wide and length >= 0xFFFFFFF0 or whole > 1 << 62:
        raise _Bad
    offset = "Q" if wide else "I"
    (version,) = struct.unpack_from(order + "H", data, at)
    kind, dwo_id = 0, None
    if version == 5:
        layout = order + "HBB" + offset
        _version, kind, address, abbreviations = struct.unpack_from(layout, data, at)
        at += struct.calcsize(layout)
        if kind in _HAVE_ID:
            (dwo_id,) = struct.unpack_from(order + "Q", data, at)
            at += 8
    elif 2 <= version <= 4:
        layout = order + "H" + offset + "B"
        _version, abbreviations, address = struct.unpack_from(layout, data, at)
        at += struct.calcsize(layout)
    else:
        return None, whole
    head = data[start : start + min(whole, _ENOUGH)]
    return _Unit(version, kind, abbreviations, dwo_id, wide, address, at - start, head), whole


class _Layouts:
    """.debug_abbrev, as far as units of interest need it."""

    def __init__(self, contents: _Contents, interest: "re.Pattern[bytes]") -> None:
        self._contents = contents
        self._known: Dict[Tuple[int, int], Tuple[Tuple[int, int, bool], ...]] = {}
        self._budget = _MAX_ENTRIES
        hits = (
            at + match.start() for at, data in contents.whole(b".debug_abbrev") for match in interest.finditer(data)
        )
        self._hits = sorted(set(itertools.islice(hits, _MAX_ENTRIES)))

    def may_have(self, offset: int) -> bool:
        """Whether what is looked for stands near the beginning of the abbreviations at `offset`."""
        index = bisect.bisect_left(self._hits, offset)
        return index < len(self._hits) and self._hits[index] - offset < _NEAR

    def values(self, unit: _Unit) -> Dict[int, Tuple[int, bytes]]:
        """Attribute to (form, bytes) of a unit's first entry."""
        code, at = _uleb(unit.head, unit.entry)
        key = unit.abbreviations, code
        if key not in self._known:
            self._known[key] = self._attributes(*key)
        values: Dict[int, Tuple[int, bytes]] = {}
        for attribute, form, implicit in self._known[key]:
            if form == _FORM_INDIRECT:
                form, at = _uleb(unit.head, at)
            end = _end_of(self._contents.order, unit, form, at) if not implicit else at
            if end > len(unit.head):
                raise _Bad
            values[attribute] = form, unit.head[at:end]
            at = end
        return values

    def _attributes(self, offset: int, wanted: int) -> Tuple[Tuple[int, int, bool], ...]:
        """The (attribute, form, whether its value stands here) of the entry with this code."""
        data = self._contents.read(b".debug_abbrev", offset, 2 * _NEAR)
        at = 0
        for _count in range(_MAX_ENTRIES_EACH):
            self._budget -= 1
            code, at = _uleb(data, at)
            if not code or self._budget < 0:
                break
            _tag, at = _uleb(data, at)
            at += 1
            attributes = []
            for _each in range(_MAX_ATTRIBUTES):
                attribute, at = _uleb(data, at)
                form, at = _uleb(data, at)
                if form == _FORM_IMPLICIT:
                    _value, at = _uleb(data, at)
                if not attribute and not form:
                    break
                attributes.append((attribute, form, form == _FORM_IMPLICIT))
            else:
                break
            if code == wanted:
                return tuple(attributes)
        raise _Bad


def _end_of(order: str, unit: _Unit, form: int, at: int) -> int:
    """Where a value of this form that begins at `at` ends."""
    head = unit.head
    size = _FIXED.get(form)
    if size == "o":
        return at + (8 if unit.wide else 4)
    if size == "a":
        return at + unit.address
    if isinstance(size, int):
        return at + size
    if form in _ULEB:
        return _uleb(head, at)[1]
    if form == _FORM_STRING:
        end = head.find(b"\0", at, at + _MAX_STRING + 1)
        if end < 0:
            raise _Bad
        return end + 1
    if form in _BLOCKS:
        width = _BLOCKS[form]
        return at + width + int.from_bytes(head[at : at + width], "little" if order == "<" else "big")
    if form in (0x09, 0x18):
        length, at = _uleb(head, at)
        return at + length
    raise _Bad


def _skeleton(contents: _Contents, unit: _Unit, values: Dict[int, Tuple[int, bytes]]) -> Optional[Skeleton]:
    dwo_id = unit.dwo_id
    if dwo_id is None:
        dwo_id = _number(contents.order, values.get(_GNU_DWO_ID))
    base = _number(contents.order, values.get(_STR_OFFSETS_BASE))
    name = _string(contents, unit, values.get(_DWO_NAME) or values.get(_GNU_DWO_NAME), base)
    if dwo_id is None or not name:
        return None
    folder = _string(contents, unit, values.get(_COMP_DIR), base)
    whole = os.path.join(folder, name)
    return Skeleton(dwo_id=dwo_id, paths=(whole, name) if whole != name else (name,))


def _string(contents: _Contents, unit: _Unit, value: Optional[Tuple[int, bytes]], base: Optional[int]) -> str:
    """The text of an attribute; "" if it has none, or none that can be read."""
    if value is None:
        return ""
    form, raw = value
    if form == _FORM_STRING:
        return os.fsdecode(raw[:-1])
    number = _uleb(raw, 0)[0] if form in _ULEB else _number(contents.order, value)
    section = b".debug_line_str" if form == _IN_LINE_STR else b".debug_str"
    if form in _STRX and number is not None:
        width = 8 if unit.wide else 4
        if base is None:
            # Past the header of the only table, if it does not say; GCC's has no header.
            base = 0 if form == _GNU_STR_INDEX or unit.version < 5 else 2 * width
        raw = contents.read(b".debug_str_offsets", base + number * width, width)
        number = _number(contents.order, (form, raw)) if len(raw) == width else None
    elif form not in (_IN_STR, _IN_LINE_STR):
        return ""
    if number is None:
        return ""
    text, nul, _rest = contents.read(section, number, _MAX_STRING).partition(b"\0")
    return os.fsdecode(text) if nul else ""


def _number(order: str, value: Optional[Tuple[int, bytes]]) -> Optional[int]:
    if value is None or not 0 < len(value[1]) <= 8:
        return None
    return int.from_bytes(value[1], "little" if order == "<" else "big")


def _uleb(data: bytes, at: int) -> Tuple[int, int]:
    """The number at `at` (ULEB128, of 64 bits at most) and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Bad
