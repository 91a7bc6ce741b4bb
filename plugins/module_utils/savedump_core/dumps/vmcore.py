# SPDX-License-Identifier: Apache-2.0
"""A crashed kernel's memory as ELF: /proc/vmcore, what QEMU's dump-guest-memory writes, makedumpfile -E.

In makedumpfile's, p_memsz > p_filesz means "left out by the dump level", never zero. QEMU's has e_phoff 192 and
e_ehsize 8 (QEMU dump/dump.c since 7.2), which nothing here minds.
"""

import bisect
import struct
from array import array
from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..elf import notes
from ..elf.header import (
    ET_CORE,
    HEADER_SIZE,
    MAX_SEGMENTS,
    PT_LOAD,
    PT_NOTE,
    Header,
    parse_header,
    segment_count,
    segment_size,
)
from ..errors import BadDump
from ..kernel.capture import Capture, LoadedRange
from ..model import Dump
from ..sysroot import Sysroot
from . import _kernel

KIND = "vmcore-elf"

# makedumpfile.h, DUMP_ELF_INCOMPLETE: set in e_flags when the disk was full.
_INCOMPLETE = 1
_PT_NULL = 0
# Headers read at a time, of up to MAX_SEGMENTS.
_BATCH = 4096
# Program headers come by rising address in every honest dump, but for the kernel's own; sorting a million that do not
# would take 200 MiB.
_MAX_UNSORTED = 1 << 17
MAX_NOTES = 1 << 16
MAX_VMCOREINFO = 1 << 20
# Ranges given to the reader of the kernel's memory: makedumpfile cuts few into many, which are joined again.
MAX_MAPPED = 1 << 12

_KERNEL_NOTES = (b"VMCOREINFO", b"QEMU", b"Xen", b"XEN CORE")
_FOREIGN_NOTES = (b"FreeBSD", b"NetBSD-CORE", b"OpenBSD", b"QNX")
_NT_SOLARIS = (10, 13)


class _Row(NamedTuple):
    """One program header, with the physical address that a core of a process does not have."""

    type: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


def sniff(source: Any) -> bool:
    """True for an ELF core of a kernel."""
    return is_kernel(source)


def open_dump(source: Any, sysroot: Sysroot) -> Dump:
    """Raises BadDump for one cut within its program headers."""
    source.random_access()
    return _kernel.kernel_dump(source, KIND, open_elf(source, source))


def is_kernel(data: Any) -> bool:
    """By its notes; where they do not tell, by addresses: a process's core has no physical ones, and on machines of 64
    bits none that are the kernel's, save by damage."""
    header = parse_header(data.read_at(0, HEADER_SIZE))
    if header is None or header.type != ET_CORE or header.phentsize != segment_size(header):
        return False
    loads = high = physical = 0
    budget = iter(range(MAX_NOTES))
    for row in _rows(data, header):
        if row.type == PT_NOTE:
            told = _told_by_notes(data, header, row, budget)
            if told is not None:
                return told
        elif row.type == PT_LOAD:
            loads += 1
            high += row.vaddr >> (header.bits - 1)
            physical += bool(row.paddr)
    return loads > 0 and (2 * physical > loads or (header.bits == 64 and high == loads))


def _told_by_notes(data: Any, header: Header, row: _Row, budget: Iterator[int]) -> Optional[bool]:
    try:
        for _number, note in zip(budget, notes.walk(data.read_at, header.order, row.offset, row.filesz, row.align)):
            if note.name.startswith(_KERNEL_NOTES):
                return True
            if note.name.startswith(_FOREIGN_NOTES):
                return False
            if note.name == b"CORE" and note.type == notes.NT_PRPSINFO:
                # s390's /proc/vmcore has one for the kernel (arch/s390/kernel/crash_dump.c, nt_prpsinfo).
                info = notes.info(data.read_at(note.offset, min(note.size, 1024)), header)
                return info is not None and info.comm == b"vmlinux"
            if note.name == b"CORE" and note.type in (notes.NT_AUXV, notes.NT_FILE, notes.NT_SIGINFO) + _NT_SOLARIS:
                return False
    except notes.NoteError:
        pass
    return None


def _rows(data: Any, header: Header) -> Iterator[_Row]:
    """The program headers, as many as are there."""
    size, count = segment_size(header), min(segment_count(header, data.read_at), MAX_SEGMENTS)
    for first in range(0, count, _BATCH):
        raw = data.read_at(header.phoff + first * size, min(_BATCH, count - first) * size)
        whole = memoryview(raw)[: len(raw) // size * size]
        if header.bits == 64:
            for row in struct.iter_unpack(header.order + "I4xQQQQQQ", whole):
                yield _Row(*row)
        else:
            for kind, offset, vaddr, paddr, filesz, memsz, align in struct.iter_unpack(header.order + "6I4xI", whole):
                yield _Row(kind, offset, vaddr, paddr, filesz, memsz, align)
        if len(raw) < min(_BATCH, count - first) * size:
            return


def open_elf(data: Any, source: Any) -> _kernel.Container:
    """`data` has read_at and size: the source itself, or the ELF file within it."""
    header = parse_header(data.read_at(0, HEADER_SIZE))
    if header is None:
        raise BadDump("%s: the ELF header is cut" % source.path)
    if header.phentsize != segment_size(header):
        raise BadDump("%s: damaged ELF header (e_phentsize is %d)" % (source.path, header.phentsize))
    count = segment_count(header, data.read_at)
    if not 0 < count <= MAX_SEGMENTS:
        raise BadDump("%s: damaged ELF header (%d program headers)" % (source.path, count))
    warnings: List[str] = []
    memory = _Memory(data, source)
    vmcoreinfo: Optional[bytes] = None
    seen = empty = outside = 0
    end = header.phoff + count * segment_size(header)
    mapped: List[LoadedRange] = []
    budget = iter(range(MAX_NOTES))
    for row in _rows(data, header):
        seen += 1
        empty += row.type == _PT_NULL
        if row.type not in (PT_NOTE, PT_LOAD):
            continue
        if row.offset + row.filesz >= 1 << 62 or row.paddr + max(row.memsz, row.filesz) > header.mask:
            outside += 1
            continue
        end = max(end, row.offset + row.filesz)
        if row.type == PT_LOAD:
            memory.add(row)
            _add_mapped(mapped, header, row)
        else:
            if vmcoreinfo is None:
                walk = notes.walk(data.read_at, header.order, row.offset, row.filesz, row.align)
                vmcoreinfo = find_vmcoreinfo(data, zip(budget, walk), warnings)
    if outside:
        warnings.append("%d program headers reach beyond any memory or file" % outside)
    if not memory.arrange():
        raise BadDump("%s: damaged program headers (%d in no order)" % (source.path, count))
    if data is source:
        source.expect(end)
    flags = _flags(data, header)
    capture = Capture(
        machine=header.machine_name,
        bits=header.bits,
        order=header.order,
        read=memory.read,
        stored=memory.stored,
        vmcoreinfo=vmcoreinfo,
        mapped=tuple(mapped),
    )
    why = _incomplete_why(data, end, flags, seen, count, empty)
    return _kernel.Container(capture=capture, incomplete_why=why, warnings=tuple(warnings))


def _flags(data: Any, header: Header) -> int:
    raw = data.read_at(48 if header.bits == 64 else 36, 4)
    return struct.unpack(header.order + "I", raw)[0] if len(raw) == 4 else 0


def _incomplete_why(data: Any, end: int, flags: int, seen: int, count: int, empty: int) -> Optional[str]:
    reasons = []
    marked = flags & _INCOMPLETE
    if marked:
        reasons.append("makedumpfile marked it incomplete: its disk was full")
    if seen < count or empty:
        left = seen - empty
        more = "" if marked else ": makedumpfile was stopped before its end"
        reasons.append("%d of %d program headers were written%s" % (left, count, more))
    if data.size < end:
        missing = end - data.size
        reasons.append(
            "%s%d of %d bytes are there, %d (%.1f %%) are missing"
            % ("" if marked else "it is cut: ", data.size, end, missing, 100.0 * missing / end)
        )
    return "; ".join(reasons) or None


def find_vmcoreinfo(
    data: Any, walk: Iterable[Tuple[int, notes.Note]], warnings: List[str]
) -> Optional[bytes]:  # fmt: skip
    """The descriptor of the VMCOREINFO note among these, which are numbered (kernel/crash_core.c)."""
    try:
        for _number, note in walk:
            if note.name == b"VMCOREINFO":
                if note.size > MAX_VMCOREINFO:
                    raise notes.NoteError("the VMCOREINFO note has %d bytes" % note.size)
                found: bytes = data.read_at(note.offset, note.size)
                return found
    except notes.NoteError as error:
        if len(warnings) < _kernel.MAX_WARNINGS:
            warnings.append(str(error))
    return None


def _add_mapped(mapped: List[LoadedRange], header: Header, row: _Row) -> None:
    """Keep a range of kernel addresses, joined to the last where it goes on."""
    if not row.vaddr >> (header.bits - 1) or not row.memsz:
        return
    last = mapped[-1] if mapped else None
    if last and last.vaddr + last.size == row.vaddr and last.paddr + last.size == row.paddr:
        mapped[-1] = last._replace(size=last.size + row.memsz)
    elif len(mapped) < MAX_MAPPED:
        mapped.append(LoadedRange(vaddr=row.vaddr, paddr=row.paddr, size=row.memsz))


class _Memory:
    """Physical memory by PT_LOAD. Those may lie over each other: /proc/vmcore has the kernel's text in a segment of its
    own. A million of them stay small in arrays."""

    def __init__(self, data: Any, source: Any) -> None:
        self._data = data
        self._source = source
        # What is in the file: start, end and file offset of runs that do not overlap, once they are arranged.
        self._starts, self._ends, self._offsets = array("Q"), array("Q"), array("Q")
        # What was memory: runs that do not touch.
        self._ram_starts, self._ram_ends = array("Q"), array("Q")
        self._sizes = array("Q")

    def add(self, row: _Row) -> None:
        self._starts.append(row.paddr)
        self._ends.append(row.paddr + row.filesz)
        self._offsets.append(row.offset)
        self._sizes.append(max(row.memsz, row.filesz))

    def arrange(self) -> bool:
        """Sort, and cut what overlaps; False for too many segments in no order."""
        starts, ends, offsets = self._starts, self._ends, self._offsets
        order: Any = range(len(starts))
        if any(starts[index] > starts[index + 1] for index in range(len(starts) - 1)):
            if len(starts) > _MAX_UNSORTED:
                return False
            order = sorted(order, key=starts.__getitem__)
        self._starts, self._ends, self._offsets = array("Q"), array("Q"), array("Q")
        reached = ram = 0
        for index in order:
            start, end, until = starts[index], ends[index], starts[index] + self._sizes[index]
            if not self._ram_ends or start > ram:
                self._ram_starts.append(start)
                self._ram_ends.append(until)
                ram = until
            elif until > ram:
                self._ram_ends[-1] = ram = until
            # Everything between this start and what was reached is in an earlier segment: they are sorted.
            begin = max(start, reached)
            if end > begin:
                self._starts.append(begin)
                self._ends.append(end)
                self._offsets.append(offsets[index] + begin - start)
                reached = end
        self._sizes = array("Q")
        return True

    def read(self, address: int, size: int) -> bytes:
        """Capture.read."""
        parts = []
        while size > 0:
            index = bisect.bisect_right(self._starts, address) - 1
            if index < 0 or address >= self._ends[index]:
                raise self._absent(address)
            inside = address - self._starts[index]
            part = self._data.read_at(self._offsets[index] + inside, min(size, self._ends[index] - address))
            if not part:
                raise _kernel.cut_off(self._source, address)
            parts.append(part)
            address += len(part)
            size -= len(part)
        return b"".join(parts)

    def _absent(self, address: int) -> _kernel.NotDumped:
        index = bisect.bisect_right(self._ram_starts, address) - 1
        if index >= 0 and address < self._ram_ends[index]:
            return _kernel.left_out(address)
        return _kernel.no_memory(address)

    def stored(self) -> Iterator[Tuple[int, int]]:
        """Capture.stored."""
        size = self._data.size
        for start, end, offset in zip(self._starts, self._ends, self._offsets):
            if offset < size:
                yield start, min(end - start, size - offset)
