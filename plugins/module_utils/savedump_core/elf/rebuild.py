# SPDX-License-Identifier: Apache-2.0
"""A section table for a file that was put together from its loaded segments.

No section header is ever loaded, and gdb 13 finds nothing without: no unwind information, no symbol, no build ID. All
that it needs is in the segments and is told by the program headers and the dynamic section. (gABI, "Dynamic Section";
LSB Core, "Exception Frames", for .eh_frame_hdr; the GNU hash table as in glibc elf/dl-lookup.c.)
"""

import bisect
import struct
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from .file import SHT_NOBITS, SHT_NOTE, SHT_PROGBITS
from .header import (
    PF_W,
    PF_X,
    PT_DYNAMIC,
    PT_INTERP,
    PT_LOAD,
    PT_NOTE,
    Header,
    ReadAt,
    Segment,
)  # fmt: skip
from .image import DT_DEBUG, DT_STRTAB

Patch = Tuple[int, bytes]

PT_GNU_EH_FRAME = 0x6474E550
SHT_SYMTAB, SHT_STRTAB, SHT_DYNAMIC = 2, 3, 6
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHN_LORESERVE, SHN_ABS = 0xFF00, 0xFFF1
STT_TLS = 6
DT_HASH, DT_PLTGOT, DT_SYMTAB, DT_RELA, DT_STRSZ, DT_REL, DT_JMPREL = 4, 3, 6, 7, 10, 17, 23
DT_VERSYM, DT_GNU_HASH = 0x6FFFFFF0, 0x6FFFFEF5
# What glibc relocates in place (elf/get-dynamic-info.h, ADJUST_DYN_INFO).
_RELOCATED = (DT_HASH, DT_PLTGOT, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_REL, DT_JMPREL, DT_VERSYM, DT_GNU_HASH)
# DW_EH_PE_pcrel | DW_EH_PE_sdata4, which is all that ld, gold, mold and lld write for eh_frame_ptr.
_PCREL_SDATA4 = 0x1B
MAX_EH_FRAME = 256 << 20
MAX_SYMBOLS = 1 << 19
MAX_STRINGS = 64 << 20
MAX_NOTES = 8


class _Section(NamedTuple):
    name: str
    type: int
    flags: int
    vaddr: int
    offset: int
    size: int
    align: int = 1
    entsize: int = 0


def finish(read_at: ReadAt, header: Header, segments: List[Segment], end: int, bias: Optional[int]) -> List[Patch]:
    """What to write over a file of `end` bytes that has its loaded segments and nothing else: (offset, bytes). `bias`
    is what was added to its addresses when it was loaded, None if that is not known."""
    return _Table(read_at, header, segments, bias).patches(end)


class _Table:
    def __init__(self, read_at: ReadAt, header: Header, segments: List[Segment], bias: Optional[int]) -> None:
        self._read_at = read_at
        self._header = header
        self._segments = segments
        self._loads = sorted((one for one in segments if one.type == PT_LOAD), key=lambda one: one.vaddr)
        self._bias = bias or 0
        self._values: Dict[int, int] = {}
        self._sections: List[_Section] = [_Section("", 0, 0, 0, 0, 0, 0)]

    def patches(self, end: int) -> List[Patch]:
        patches = self._dynamic()
        self._add_known()
        self._fill()
        return patches + self._tail(end)

    def _offset_of(self, vaddr: int) -> Optional[int]:
        """Where the file holds this address."""
        for load in self._loads:
            if load.vaddr <= vaddr < load.vaddr + load.filesz:
                return load.offset + vaddr - load.vaddr
        return None

    def _rest(self, vaddr: int) -> int:
        """Bytes from this address to the end of its segment's part of the file."""
        for load in self._loads:
            if load.vaddr <= vaddr < load.vaddr + load.filesz:
                return load.vaddr + load.filesz - vaddr
        return 0

    def _dynamic(self) -> List[Patch]:
        """Read the dynamic section, and give it back as it was before the dynamic linker had it."""
        segment = next((one for one in self._segments if one.type == PT_DYNAMIC), None)
        if segment is None:
            return []
        pair = struct.Struct(self._header.order + self._header.word[1] * 2)
        data = bytearray(self._read_at(segment.offset, min(segment.filesz, 1 << 16)))
        for at in range(0, len(data) - pair.size + 1, pair.size):
            tag, value = pair.unpack_from(data, at)
            if not tag:
                break
            if tag in _RELOCATED and self._offset_of(value) is None:
                original = (value - self._bias) & self._header.mask
                value = original if self._offset_of(original) is not None else value
            if tag == DT_DEBUG:
                value = 0
            pair.pack_into(data, at, tag, value)
            self._values.setdefault(tag, value)
        return [(segment.offset, bytes(data))]

    def _add(self, section: _Section) -> None:
        """Unless it does not lie within one segment, or over another."""
        over = any(one.vaddr < section.vaddr + section.size and section.vaddr < one.vaddr + one.size
                   for one in self._sections[1:])  # fmt: skip
        if section.size and section.size <= self._rest(section.vaddr) and not over:
            self._sections.append(section)

    def _add_known(self) -> None:
        """What the program headers and the dynamic section name."""
        notes = 0
        for segment in self._segments:
            if segment.type == PT_NOTE and notes < MAX_NOTES:
                notes += 1
                self._add_segment(".note" + (".%d" % notes if notes > 1 else ""), SHT_NOTE, segment)
            elif segment.type == PT_INTERP:
                self._add_segment(".interp", SHT_PROGBITS, segment)
            elif segment.type == PT_DYNAMIC:
                self._add_segment(".dynamic", SHT_DYNAMIC, segment, 2 * self._header.word_size)
            elif segment.type == PT_GNU_EH_FRAME:
                self._add_segment(".eh_frame_hdr", SHT_PROGBITS, segment)
                self._add_eh_frame(segment)
        strings, size = self._values.get(DT_STRTAB, 0), self._values.get(DT_STRSZ, 0)
        at = self._offset_of(strings)
        if at is not None and size <= MAX_STRINGS:
            self._add(_Section(".dynstr", SHT_STRTAB, SHF_ALLOC, strings, at, size))

    def _add_segment(self, name: str, kind: int, segment: Segment, entsize: int = 0) -> None:
        flags = SHF_ALLOC | (SHF_WRITE if segment.flags & PF_W else 0)
        # More than this is no alignment, but would be read as one.
        align = segment.align if segment.align in (1, 2, 4, 8, 16) else 4
        self._add(_Section(name, kind, flags, segment.vaddr, segment.offset, segment.filesz, align, entsize))

    def _add_eh_frame(self, segment: Segment) -> None:
        """.eh_frame_hdr tells where .eh_frame begins; it ends with a length of zero, or with its segment."""
        order = self._header.order
        head = self._read_at(segment.offset, 8)
        if len(head) < 8 or head[0] != 1 or head[1] != _PCREL_SDATA4:
            return
        start = (segment.vaddr + 4 + struct.unpack_from(order + "i", head, 4)[0]) & self._header.mask
        at = self._offset_of(start)
        if at is None:
            return
        data = self._read_at(at, min(self._rest(start), MAX_EH_FRAME))
        length = struct.Struct(order + "I")
        size = 0
        while size + 4 <= len(data):
            (count,) = length.unpack_from(data, size)
            size += 4
            if not count or count == 0xFFFFFFFF or size + count > len(data):
                break
            size += count
        self._add(_Section(".eh_frame", SHT_PROGBITS, SHF_ALLOC, start, at, size, self._header.word_size))

    def _fill(self) -> None:
        """Name what is left of each segment by its flags."""
        known = sorted(self._sections[1:], key=lambda one: one.vaddr)
        for load in self._loads:
            flags = SHF_ALLOC | (SHF_WRITE if load.flags & PF_W else 0) | (SHF_EXECINSTR if load.flags & PF_X else 0)
            name = ".text" if load.flags & PF_X else ".data" if load.flags & PF_W else ".rodata"
            at, end = load.vaddr, load.vaddr + load.filesz
            if load.offset == 0:
                at += min(self._header.phoff + self._header.phnum * self._header.phentsize, load.filesz)
            for one in [one for one in known if load.vaddr <= one.vaddr < end] + [None]:
                until = end if one is None else one.vaddr
                if until > at:
                    self._append(_Section(name, SHT_PROGBITS, flags, at, load.offset + at - load.vaddr, until - at))
                at = max(at, until + (one.size if one else 0))
            if load.memsz > load.filesz:
                offset = load.offset + load.filesz
                self._append(_Section(".bss", SHT_NOBITS, flags, end, offset, load.memsz - load.filesz))

    def _append(self, section: _Section) -> None:
        same = sum(1 for one in self._sections if one.name.split(".")[1:2] == [section.name[1:]])
        name = "%s.%d" % (section.name, same + 1) if same else section.name
        self._sections.append(section._replace(name=name))

    def _index_of(self, name: str) -> int:
        return next((index for index, one in enumerate(self._sections) if one.name == name), 0)

    def _symbol_count(self) -> int:
        """DT_HASH has as many chains as there are symbols. In a DT_GNU_HASH, the last chain's end is the last one."""
        order, word = self._header.order, self._header.word_size
        at = self._offset_of(self._values.get(DT_HASH, 0))
        if DT_HASH in self._values and at is not None:
            head = self._read_at(at, 8)
            return struct.unpack(order + "II", head)[1] if len(head) == 8 else 0
        at = self._offset_of(self._values.get(DT_GNU_HASH, 0))
        head = self._read_at(at, 16) if DT_GNU_HASH in self._values and at is not None else b""
        if at is None or len(head) < 16:
            return 0
        buckets, first, bloom, _shift = struct.unpack(order + "IIII", head)
        at += 16 + bloom * word
        raw = self._read_at(at, 4 * buckets) if buckets <= MAX_SYMBOLS else b""
        last = max([one for (one,) in struct.iter_unpack(order + "I", raw[: len(raw) & ~3])] or [0])
        if last < first:
            return first
        while last < MAX_SYMBOLS:
            raw = self._read_at(at + 4 * (buckets + last - first), 4)
            last += 1
            if len(raw) < 4 or struct.unpack(order + "I", raw)[0] & 1:
                break
        return last

    def _symbols(self) -> Iterator[Tuple[int, int, int, int, int, int]]:
        """(name, value, size, info, other, section) of each defined symbol. The numbers of sections that the file gives
        are of a table that is lost: those of the new one take their place."""
        at, wide = self._offset_of(self._values.get(DT_SYMTAB, 0)), self._header.bits == 64
        count = self._symbol_count() if DT_SYMTAB in self._values and at is not None else 0
        step = 24 if wide else 16
        raw = self._read_at(at, min(count, MAX_SYMBOLS) * step) if at is not None and count else b""
        places = sorted((one.vaddr, index) for index, one in enumerate(self._sections) if index)
        starts = [vaddr for vaddr, _index in places]
        layout = self._header.order + ("IBBHQQ" if wide else "IIIBBH")
        for row in struct.iter_unpack(layout, raw[: len(raw) // step * step]):
            name, info, other, section, value, size = row if wide else (row[0], row[3], row[4], row[5], row[1], row[2])
            if not section or info & 15 == STT_TLS:
                continue
            place = bisect.bisect_right(starts, value) - 1
            if section >= SHN_LORESERVE or place < 0:
                yield name, value, size, info, other, SHN_ABS
            else:
                yield name, value, size, info, other, places[place][1]

    def _tail(self, end: int) -> List[Patch]:
        """The symbols, the names of sections, the table, and the ELF header's fields that lead there."""
        order, wide, word = self._header.order, self._header.bits == 64, self._header.word_size
        strings = self._index_of(".dynstr")
        rows = sorted(self._symbols(), key=lambda row: row[3] >> 4 != 0) if strings else []
        symbols = bytearray(24 if wide else 16)
        for name, value, size, info, other, section in rows:
            if wide:
                symbols += struct.pack(order + "IBBHQQ", name, info, other, section, value, size)
            else:
                symbols += struct.pack(order + "IIIBBH", name, value, size, info, other, section)
        at = -(-end // 8) * 8
        if rows:
            entry = 24 if wide else 16
            self._sections.append(_Section(".symtab", SHT_SYMTAB, 0, 0, at, len(symbols), word, entry))
        else:
            symbols.clear()
        names = b"\0" + b"".join(one.name.encode("ascii") + b"\0" for one in self._sections[1:]) + b".shstrtab\0"
        names_at = at + len(symbols)
        self._sections.append(_Section(".shstrtab", SHT_STRTAB, 0, 0, names_at, len(names)))
        table_at = -(-(names_at + len(names)) // 8) * 8
        table = bytearray()
        name_at = 0
        for one in self._sections:
            link = strings if one.type in (SHT_SYMTAB, SHT_DYNAMIC) else 0
            info = 1 + sum(1 for row in rows if row[3] >> 4 == 0) if one.type == SHT_SYMTAB else 0
            table += struct.pack(
                order + ("IIQQQQIIQQ" if wide else "10I"), name_at, one.type, one.flags, one.vaddr, one.offset,
                one.size, link, info, one.align, one.entsize,
            )  # fmt: skip
            name_at += len(one.name) + 1
        count = len(self._sections)
        fields = struct.pack(order + "HHH", 64 if wide else 40, count, count - 1)
        return [
            (at, bytes(symbols)),
            (names_at, names),
            (table_at, bytes(table)),
            (40 if wide else 32, struct.pack(self._header.word, table_at)),
            (58 if wide else 46, fields),
        ]
