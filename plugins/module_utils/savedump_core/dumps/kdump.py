# SPDX-License-Identifier: Apache-2.0
"""kdump-compressed: what makedumpfile -c, -l, -p, -z (or none) writes, QEMU's kdump-*, and diskdump, its forebear.

A set that `makedumpfile --split` wrote is one dump: all its files lie in one folder and say which pages they have.
"""

import bisect
from typing import Any, Iterator, List, Optional, Sequence, Tuple

from ..elf import notes
from ..kernel.capture import Capture, NotDumped
from ..model import Dump
from ..sysroot import Sysroot
from . import _kdump_split, _kernel
from ._kdump_header import (
    INCOMPLETE,
    METHODS,
    KdumpHeader,
    is_kdump,
    machine_by_notes,
    read_header,
)
from ._kdump_pages import Lost, Pages
from .vmcore import MAX_NOTES, MAX_VMCOREINFO, find_vmcoreinfo

KIND = "kdump-compressed"
DISKDUMP_KIND = "diskdump"

_NEWEST_VERSION = 6
_YEAR_2500 = 1 << 34
# What tells the machine in VMCOREINFO (arch/*/kernel/crash_core.c, vmcore_info.c): names that only it writes.
_TELLING = (
    (b"NUMBER(kimage_voffset)=", "aarch64"), (b"NUMBER(KERNEL_IMAGE_SIZE)=", "x86_64"),
    (b"SYMBOL(init_top_pgt)=", "x86_64"), (b"NUMBER(satp)=", "riscv64"), (b"SYMBOL(lowcore_ptr)=", "s390x"),
)  # fmt: skip


def sniff(source: Any) -> bool:
    """True for both signatures."""
    return is_kdump(source.read_at(0, 8))


def open_dump(source: Any, sysroot: Sysroot) -> Dump:
    """Raises BadDump if the header is cut or makes no sense. A part of a set brings the others along."""
    source.random_access()
    header = read_header(source, source.path)
    # No page takes more than itself and its descriptor.
    source.expect(header.descriptors_at + header.max_mapnr * (header.block_size + 32))
    container = open_kdump(source, source, header)
    return _kernel.kernel_dump(source, DISKDUMP_KIND if header.diskdump else KIND, container)


def open_kdump(data: Any, source: Any, header: Optional[KdumpHeader] = None) -> _kernel.Container:
    """`data` has read_at and size: the source itself, or the file that a flattened one holds."""
    header = header or read_header(data, source.path)
    parts = [_kdump_split.Part(source, data, header)]
    split_why: Optional[str] = None
    if header.split:
        parts, split_why = _kdump_split.whole_set(source, data, header)
    warnings: List[str] = []
    if header.version > _NEWEST_VERSION:
        warnings.append("header version %d is newer than %d, the last one known" % (header.version, _NEWEST_VERSION))
    if header.eraseinfo[1]:
        warnings.append("data was erased from it on purpose (makedumpfile --config)")
    memory = _Memory([Pages(part.data, part.source, part.header) for part in parts])
    vmcoreinfo = _vmcoreinfo(data, header, warnings)
    capture = Capture(
        machine=header.machine or _told(vmcoreinfo) or machine_by_notes(data, header) or "unknown",
        bits=header.bits,
        order=header.order,
        read=memory.read,
        stored=memory.stored,
        page_size=header.block_size,
        vmcoreinfo=vmcoreinfo,
        utsname=header.utsname,
        phys_base=header.phys_base,
        dump_level=header.dump_level,
        compression=next((name for flag, name in METHODS if header.status & flag), None),
        crash_time=header.timestamp[0] if 0 < header.timestamp[0] < _YEAR_2500 else None,
    )
    why = "; ".join(_reasons(memory.files, split_why))
    others = tuple(_kernel.part_of(part.source) for part in parts if part.source is not source)
    return _kernel.Container(capture=capture, incomplete_why=why or None, warnings=tuple(warnings), parts=others)


def _vmcoreinfo(data: Any, header: KdumpHeader, warnings: List[str]) -> Optional[bytes]:
    offset, size = header.vmcoreinfo
    if 0 < size <= MAX_VMCOREINFO:
        return data.read_at(offset, size) or None
    if size:
        warnings.append("damaged header: VMCOREINFO of %d bytes" % size)
    walk = notes.walk(data.read_at, header.order, header.notes[0], header.notes[1])
    return find_vmcoreinfo(data, zip(range(MAX_NOTES), walk), warnings)


def _told(vmcoreinfo: Optional[bytes]) -> Optional[str]:
    return next((machine for text, machine in _TELLING if text in (vmcoreinfo or b"")), None)


def _reasons(files: Sequence[Pages], split_why: Optional[str]) -> Iterator[str]:
    if split_why:
        yield split_why
    marked = any(one.header.status & INCOMPLETE for one in files)
    if marked:
        yield "makedumpfile marked it incomplete: its disk was full"
    if not all(one.bitmap.whole for one in files):
        yield "it is cut within its bitmap, so that no page can be found"
        return
    found = [one.lost() for one in files]
    lost = Lost(
        pages=sum(one.pages for one in found),
        of=sum(one.of for one in found),
        exact=all(one.exact for one in found),
        size=sum(one.size for one in found),
        zeroed=sum(one.zeroed for one in found),
    )
    if lost.zeroed:
        yield "the last %s%d of %d pages are zeros in the file: they never reached the disk" % (
            "" if lost.exact else "at least ", lost.zeroed, lost.of)  # fmt: skip
    if not lost.of:
        yield "it has no page of memory"
    elif lost.pages:
        yield "%s%s%d of %d pages (%.1f %%)%s are missing" % (
            "" if marked else "it is cut: ",
            "" if lost.exact else "at least ",
            lost.pages,
            lost.of,
            100.0 * lost.pages / lost.of,
            ", %d bytes," % lost.size if lost.size else "",
        )


class _Memory:
    """Physical memory by the files that hold it."""

    def __init__(self, files: Sequence[Pages]) -> None:
        self.files = sorted(files, key=lambda one: one.header.start_pfn)
        self._firsts = [one.header.start_pfn for one in self.files]
        self._block = self.files[0].header.block_size

    def read(self, address: int, size: int) -> bytes:
        """Capture.read."""
        parts = []
        while size > 0:
            pfn, inside = divmod(address, self._block)
            part = self._page(pfn)[inside : inside + size]
            parts.append(part)
            address += len(part)
            size -= len(part)
        return b"".join(parts)

    def _page(self, pfn: int) -> bytes:
        one = self.files[max(bisect.bisect_right(self._firsts, pfn) - 1, 0)]
        if one.bitmap.has(pfn) and not one.header.start_pfn <= pfn < one.header.end_pfn:
            raise NotDumped("the page at 0x%x is in a file of the set that is missing" % (pfn * self._block))
        return one.page(pfn)

    def stored(self) -> Iterator[Tuple[int, int]]:
        """Capture.stored."""
        for one in self.files:
            for pfn, count in one.bitmap.runs(one.header.start_pfn, one.header.end_pfn):
                yield pfn * self._block, count * self._block
