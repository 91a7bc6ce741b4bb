# SPDX-License-Identifier: Apache-2.0
"""The headers of a kdump-compressed file (makedumpfile diskdump_mod.h; QEMU include/sysemu/dump.h), versions 1 to 6, of
32 and 64 bit machines of both byte orders, and of its forebear diskdump.

Nothing in the file says how wide a word is or which byte comes first: that reading is taken whose numbers fit together.
"""

import itertools
import struct
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from ..elf import notes
from ..errors import BadDump
from ..kernel.capture import Utsname
from . import _kernel

KDUMP, DISKDUMP = b"KDUMP   ", b"DISKDUMP"
HEAD = 464

ZLIB, LZO, SNAPPY, INCOMPLETE, ZSTD = 1, 2, 4, 8, 0x20
METHODS = ((ZLIB, "zlib"), (LZO, "lzo"), (SNAPPY, "snappy"), (ZSTD, "zstd"))

_UTSNAME_AT, _UTSNAME_FIELD = 12, 65
_MIN_BLOCK, _MAX_BLOCK = 1 << 10, 1 << 20
# QEMU's notes lie in the sub-header: some 1.5 KiB for each processor.
_MAX_SUB_BLOCKS = 1 << 16
# 64 TiB of memory in pages of 4 KiB: a bitmap of 2 GiB. No machine has that much.
MAX_PAGES = 1 << 34
_SUB_HEADER = 128
_MAX_NOTES = 64

_I386 = ("i386", "i486", "i586", "i686")
# NT_PRSTATUS has another size on each machine (include/linux/elfcore.h with arch/*/include/asm/elf.h).
_PRSTATUS = {
    (336, "<"): "x86_64", (144, "<"): "i386", (392, "<"): "aarch64", (148, "<"): "arm", (336, ">"): "s390x",
    (504, "<"): "ppc64le", (504, ">"): "ppc64", (376, "<"): "riscv64", (480, "<"): "loongarch64",
}  # fmt: skip


class KdumpHeader(NamedTuple):
    """Both headers, as far as the version has their fields."""

    diskdump: bool
    version: int
    order: str
    bits: int
    strings: bytes
    """The six strings of utsname as they stand there: parts of a set have the same."""
    timestamp: Tuple[int, int]
    status: int
    block_size: int
    sub_blocks: int
    bitmap_blocks: int
    max_mapnr: int
    phys_base: Optional[int]
    dump_level: Optional[int]
    split: bool
    start_pfn: int
    """Of the pages that this file has descriptors for."""
    end_pfn: int
    vmcoreinfo: Tuple[int, int]
    """Offset and size; size 0 if it has none."""
    notes: Tuple[int, int]
    eraseinfo: Tuple[int, int]

    @property
    def utsname(self) -> Optional[Utsname]:
        size = _UTSNAME_FIELD
        return _kernel.utsname([self.strings[at : at + size] for at in range(0, 6 * size, size)])

    @property
    def bitmap_size(self) -> int:
        """Bytes of one bitmap. There are two, of the pages there were and of those dumped, save in an old diskdump
        (crash diskdump.c, dump_is_partial)."""
        return self.bitmap_blocks * self.block_size // (2 if self._two_bitmaps else 1)

    @property
    def bitmap_at(self) -> int:
        """Where the bitmap of dumped pages begins."""
        first = (1 + self.sub_blocks) * self.block_size
        return first + (self.bitmap_size if self._two_bitmaps else 0)

    @property
    def descriptors_at(self) -> int:
        return (1 + self.sub_blocks + self.bitmap_blocks) * self.block_size

    @property
    def _two_bitmaps(self) -> bool:
        return self.bitmap_blocks >= 2 * _blocks_for(self.max_mapnr, self.block_size)

    @property
    def machine(self) -> Optional[str]:
        """As elf.header.Header.machine_name; None if utsname does not say."""
        name = self.utsname.machine if self.utsname else ""
        if name in _I386:
            return "i386"
        if name.startswith("armv"):
            return "arm"
        if name == "aarch64_be":
            return "aarch64"
        if name in ("mips", "mips64") and self.order == "<":
            return name + "el"
        return name if name and name.lower() != "unknown" else None


def _blocks_for(pages: int, block_size: int) -> int:
    return (pages + 8 * block_size - 1) // (8 * block_size)


def is_kdump(head: bytes) -> bool:
    return head[:8] in (KDUMP, DISKDUMP)


def read_header(data: Any, path: str) -> KdumpHeader:
    """Raises BadDump if the numbers make no sense in any word size and byte order."""
    head = data.read_at(0, HEAD)
    if len(head) < HEAD:
        raise BadDump("%s is cut within its header: nothing of the kernel is left" % path)
    readings = list(_readings(head))
    if not readings:
        raise BadDump("%s: damaged kdump header (no block size, bitmap and version that fit together)" % path)
    header = min(readings, key=_unlikely)
    found = _with_sub_header(header, data.read_at(header.block_size, _SUB_HEADER), data.size)
    if found.max_mapnr > MAX_PAGES or not 0 <= found.start_pfn <= found.end_pfn:
        raise BadDump(
            "%s: damaged kdump header (%d pages, from 0x%x to 0x%x)"
            % (path, found.max_mapnr, found.start_pfn, found.end_pfn)
        )
    return found


def _readings(head: bytes) -> Iterator[KdumpHeader]:
    for bits, order in ((64, "<"), (64, ">"), (32, "<"), (32, ">")):
        version = struct.unpack_from(order + "i", head, 8)[0]
        seconds, micros = struct.unpack_from(order + ("qq" if bits == 64 else "ii"), head, 408 if bits == 64 else 404)
        at = 424 if bits == 64 else 412
        status, block_size, sub_blocks, bitmap_blocks, max_mapnr = struct.unpack_from(order + "IIIII", head, at)
        if (
            0 <= version < 256
            and _MIN_BLOCK <= block_size <= _MAX_BLOCK
            and not block_size & (block_size - 1)
            and 0 < sub_blocks <= _MAX_SUB_BLOCKS
            and bitmap_blocks
        ):
            yield KdumpHeader(
                diskdump=head[:8] == DISKDUMP, version=version, order=order, bits=bits,
                strings=head[_UTSNAME_AT : _UTSNAME_AT + 6 * _UTSNAME_FIELD], timestamp=(seconds, micros),
                status=status, block_size=block_size, sub_blocks=sub_blocks, bitmap_blocks=bitmap_blocks,
                max_mapnr=max_mapnr, phys_base=None, dump_level=None, split=False, start_pfn=0, end_pfn=max_mapnr,
                vmcoreinfo=(0, 0), notes=(0, 0), eraseinfo=(0, 0),
            )  # fmt: skip


def _unlikely(header: KdumpHeader) -> int:
    """0 where the bitmap is just as large as the pages need, which no wrong reading is by chance."""
    blocks = _blocks_for(header.max_mapnr, header.block_size)
    return 0 if blocks and header.bitmap_blocks in (blocks, 2 * blocks) else 1


def _with_sub_header(header: KdumpHeader, raw: bytes, file_size: int) -> KdumpHeader:
    """The header with the fields of struct kdump_sub_header that its version has."""
    raw = raw.ljust(_SUB_HEADER, b"\0")
    if header.diskdump or header.version < 1:
        return header
    order, word = header.order, "Q" if header.bits == 64 else "I"
    phys_base, level, split, start, end = struct.unpack_from(order + word + "iI" + 2 * word, raw)
    # phys_base is unsigned long; an x86_64 kernel below the address it was linked for has a "negative" one.
    if phys_base >> 63:
        phys_base -= 1 << 64
    header = header._replace(phys_base=phys_base, dump_level=level)
    wide = _offsets(header, raw, file_size)
    if header.version >= 6 and wide.max_mapnr:
        header = header._replace(max_mapnr=wide.max_mapnr, end_pfn=wide.max_mapnr)
        start, end = wide.start_pfn, wide.end_pfn
    if header.version >= 2 and split:
        header = header._replace(split=True, start_pfn=start, end_pfn=end)
    else:
        header = header._replace(end_pfn=header.max_mapnr)
    pairs = [pair if header.version >= since else (0, 0) for since, pair in zip((3, 4, 5), wide.pairs)]
    return header._replace(vmcoreinfo=pairs[0], notes=pairs[1], eraseinfo=pairs[2])


class _Wide(NamedTuple):
    pairs: List[Tuple[int, int]]
    """(offset, size) of VMCOREINFO, notes and eraseinfo."""
    start_pfn: int
    end_pfn: int
    max_mapnr: int


def _offsets(header: KdumpHeader, raw: bytes, file_size: int) -> _Wide:
    """The tail of the sub-header. off_t has 64 bits everywhere; i386 aligns it to 4 bytes, every other 32-bit machine
    to 8, and QEMU packs it on all."""
    if header.bits == 64:
        row = struct.unpack_from(header.order + "9Q", raw, 32)
        return _Wide([row[0:2], row[2:4], row[4:6]], *row[6:9])
    readings = []
    for at, layout in ((20, "QIQIQI3Q"), (24, "QI4xQI4xQI4x3Q")):
        row = struct.unpack_from(header.order + layout, raw, at)
        readings.append(_Wide([row[0:2], row[2:4], row[4:6]], *row[6:9]))
    if header.machine != "i386":
        readings.reverse()
    # Where one points out of the file, the other is the right one.
    return min(readings, key=lambda one: any(offset + size > file_size for offset, size in one.pairs))


def machine_by_notes(data: Any, header: KdumpHeader) -> Optional[str]:
    """By the size of a processor's registers, for QEMU, which leaves utsname empty."""
    offset, size = header.notes
    try:
        for note in itertools.islice(notes.walk(data.read_at, header.order, offset, size), _MAX_NOTES):
            if note.name == b"CORE" and note.type == notes.NT_PRSTATUS:
                return _PRSTATUS.get((note.size, header.order))
    except notes.NoteError:
        pass
    return None
