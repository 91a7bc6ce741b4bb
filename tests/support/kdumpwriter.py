# SPDX-License-Identifier: Apache-2.0
"""Writers of kernel crash dumps' bytes for tests: kdump-compressed of every version, word size, byte order and
compression, sets as `makedumpfile --split` makes them, ELF vmcores, and the flattened form of each.

Nothing here reads, and nothing is shared with the code under test. lzo, snappy and zstd pages are written with one run
of literals and one of zeros; what real compressors write is in the tests themselves.

Layouts: makedumpfile diskdump_mod.h and makedumpfile.h; QEMU include/sysemu/dump.h; System V gABI.
"""

import struct
import zlib
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

ZLIB, LZO, SNAPPY, INCOMPLETE, ZSTD = 1, 2, 4, 8, 0x20
FLAGS = {"none": 0, "zlib": ZLIB, "lzo": LZO, "snappy": SNAPPY, "zstd": ZSTD}
PT_LOAD, PT_NOTE = 1, 4

Memory = Dict[int, bytes]
"""Page frame number to the page's content."""


def _halves(page: bytes) -> Tuple[bytes, int]:
    """What stands as it is, and how many zeros follow that repeat its last byte. A page without is not packed."""
    head = (page.rstrip(b"\0") + b"\0").ljust(20, b"\0")
    return head, len(page) - len(head)


def lzo(page: bytes) -> bytes:
    """Documentation/staging/lzo.rst: 19 literals or more, a match of 34 bytes or more at distance 1, the end."""
    head, zeros = _halves(page)
    literals, match = divmod(len(head) - 19, 255), divmod(zeros - 34, 255)
    return (
        b"\0" + bytes(literals[0]) + bytes([literals[1] + 1]) + head
        + b"\x20" + bytes(match[0]) + bytes([match[1] + 1, 0, 0]) + b"\x11\0\0"
    )  # fmt: skip


def snappy(page: bytes) -> bytes:
    """format_description.txt: the length as a varint, a literal with a length of two bytes, copies of up to 64."""
    head, zeros = _halves(page)
    size, varint = len(page), b""
    while size >= 0x80:
        varint += bytes([size & 0x7F | 0x80])
        size >>= 7
    packed = varint + bytes([size, 61 << 2]) + struct.pack("<H", len(head) - 1) + head
    for length in [64] * (zeros // 64) + [zeros % 64] * bool(zeros % 64):
        packed += bytes([(length - 1) << 2 | 2, 1, 0])
    return packed


def zstd(page: bytes) -> bytes:
    """RFC 8878: a frame of one segment, its content's size in two bytes, a raw block and one of a byte repeated."""
    head, zeros = _halves(page)
    raw, run = (len(head) << 3).to_bytes(3, "little"), (zeros << 3 | 3).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", len(page) - 256) + raw + head + run + b"\0"


PACK = {"zlib": zlib.compress, "lzo": lzo, "snappy": snappy, "zstd": zstd}


def note(order: str, name: bytes, kind: int, desc: bytes) -> bytes:
    padded = name + b"\0"
    return (
        struct.pack(order + "III", len(padded), len(desc), kind)
        + padded.ljust((len(padded) + 3) & ~3, b"\0")
        + desc.ljust((len(desc) + 3) & ~3, b"\0")
    )


class Kdump(NamedTuple):
    """What a kdump-compressed file is to be."""

    memory: Memory
    version: int = 6
    bits: int = 64
    order: str = "<"
    block: int = 4096
    pack: str = "zlib"
    machine: bytes = b"x86_64"
    release: bytes = b"6.1.0-test"
    max_mapnr: Optional[int] = None
    """None: just enough for the last page."""
    part: Optional[Tuple[int, int]] = None
    """First and last page frame of a part of a set."""
    vmcoreinfo: bytes = b""
    notes: bytes = b""
    phys_base: int = 0x2C00000
    level: int = 31
    timestamp: int = 0
    status: int = 0
    """Flags besides the compression's."""
    excluded: Sequence[int] = ()
    """Page frames that were memory and were left out."""
    aligned: Optional[bool] = None
    """Whether a 32-bit machine's off_t is aligned to 8; None: as its ABI says."""
    signature: bytes = b"KDUMP   "
    bare: int = 0
    """How many of the last descriptors stay empty, with no data: what a writer leaves that was killed."""


class Pieces(NamedTuple):
    """The parts of a file in the order in which makedumpfile writes them."""

    front: bytes
    """Headers, VMCOREINFO, notes, bitmaps."""
    descriptors_at: int
    descriptors: bytes
    data_at: int
    data: bytes

    def to_bytes(self) -> bytes:
        return self.front.ljust(self.descriptors_at, b"\0") + self.descriptors + self.data


def kdump(what: Kdump) -> Pieces:
    """The file, in pieces."""
    pages = (what.max_mapnr or max(what.memory) + 1) if what.memory else what.max_mapnr or 1
    bitmap_blocks = -(-pages // (8 * what.block))
    area = what.vmcoreinfo.ljust((len(what.vmcoreinfo) + 7) & ~7, b"\0") + what.notes
    sub_blocks = 1 + -(-len(area) // what.block)
    dumped = sorted(what.memory)
    bitmaps = bytearray(2 * bitmap_blocks * what.block)
    for pfn in dumped + list(what.excluded):
        bitmaps[pfn >> 3] |= 1 << (pfn & 7)
    for pfn in dumped:
        bitmaps[bitmap_blocks * what.block + (pfn >> 3)] |= 1 << (pfn & 7)
    front = _header(what, sub_blocks, 2 * bitmap_blocks, pages).ljust(what.block, b"\0")
    front += (_sub_header(what, pages).ljust(what.block, b"\0") + area).ljust(sub_blocks * what.block, b"\0")
    front += bytes(bitmaps)
    own = [pfn for pfn in dumped if what.part is None or what.part[0] <= pfn < what.part[1]]
    descriptors_at = len(front)
    data_at = descriptors_at + 24 * len(own)
    descriptors, data = _pages(what, own, data_at)
    return Pieces(front, descriptors_at, descriptors, data_at, data)


def _header(what: Kdump, sub_blocks: int, bitmap_blocks: int, pages: int) -> bytes:
    strings = (b"Linux", b"host.example.org", what.release, b"#1 SMP test", what.machine, b"(none)")
    wide = what.bits == 64
    return (
        what.signature
        + struct.pack(what.order + "i", what.version)
        + b"".join(text.ljust(65, b"\0") for text in strings)
        + bytes(6 if wide else 2)
        + struct.pack(what.order + ("qq" if wide else "ii"), what.timestamp, 0)
        + struct.pack(
            what.order + "IiiIIIIIIi", what.status | FLAGS[what.pack], what.block, sub_blocks, bitmap_blocks,
            min(pages, 0xFFFFFFFF), 0, 0, 0, 0, 1,
        )
    )  # fmt: skip


def _sub_header(what: Kdump, pages: int) -> bytes:
    word, first, end = "Q" if what.bits == 64 else "I", *(what.part or (0, 0))
    raw = struct.pack(what.order + word + "ii" + 2 * word, what.phys_base, what.level, int(bool(what.part)), first, end)
    vmcoreinfo_at = 2 * what.block
    notes_at = vmcoreinfo_at + (len(what.vmcoreinfo) + 7 & ~7)
    pairs = [(vmcoreinfo_at, len(what.vmcoreinfo), 3), (notes_at, len(what.notes), 4), (0, 0, 5)]
    aligned = what.aligned if what.aligned is not None else what.machine not in (b"i386", b"i686")
    pad = what.bits == 32 and aligned
    raw += bytes(4) if pad else b""
    for offset, size, since in pairs:
        if what.version >= since:
            raw += struct.pack(what.order + "Q" + word, offset if size else 0, size) + (bytes(4) if pad else b"")
    if what.version >= 6:
        raw += struct.pack(what.order + "QQQ", first, end, pages)
    word_size = what.bits // 8
    return raw[: {0: 0, 1: word_size + 4, 2: 3 * word_size + 8}.get(what.version)]


def _pages(what: Kdump, own: List[int], data_at: int) -> Tuple[bytes, bytes]:
    descriptors, data = [], b""
    zero_at = None
    for number, pfn in enumerate(own):
        page = what.memory[pfn]
        if number >= len(own) - what.bare:
            descriptors.append(bytes(24))
            continue
        stored, flags = page, 0
        if what.pack != "none" and (what.pack == "zlib" or _halves(page)[1] >= 34):
            packed = PACK[what.pack](page)
            # As makedumpfile does: what is not shorter stays as it is.
            if len(packed) < len(page):
                stored, flags = packed, FLAGS[what.pack]
        if not page.strip(b"\0") and zero_at is not None:
            offset = zero_at
        else:
            offset = data_at + len(data)
            data += stored
            if not page.strip(b"\0"):
                zero_at = offset
        descriptors.append(struct.pack(what.order + "QIIQ", offset, len(stored), flags, 0))
    return b"".join(descriptors), data


def split(what: Kdump, cuts: Iterable[int]) -> List[bytes]:
    """The files of a set, cut at these page frames."""
    edges = [0] + list(cuts) + [what.max_mapnr or max(what.memory) + 1]
    return [kdump(what._replace(part=(first, end))).to_bytes() for first, end in zip(edges, edges[1:])]


class Load(NamedTuple):
    """One PT_LOAD of a vmcore."""

    paddr: int
    data: bytes
    vaddr: int = 0
    memsz: Optional[int] = None
    """None: as many as the data has bytes."""


class Vmcore(NamedTuple):
    """What an ELF vmcore is to be."""

    loads: Sequence[Load]
    notes: bytes = b""
    bits: int = 64
    order: str = "<"
    machine: int = 62
    flags: int = 0
    phoff: Optional[int] = None
    """QEMU since 7.2: 192, with e_ehsize 8 and section headers before it."""
    xnum: bool = False
    """PN_XNUM: the count stands in section header 0."""


def vmcore(what: Vmcore) -> bytes:
    wide = what.bits == 64
    header_size, entry, section = (64, 56, 64) if wide else (52, 32, 40)
    phoff = what.phoff or (header_size + section if what.xnum else header_size)
    count = 1 + len(what.loads)
    at = phoff + count * entry
    rows = [_segment(what, PT_NOTE, at, 0, 0, len(what.notes), len(what.notes))]
    body, at = what.notes, at + len(what.notes)
    pad = -at % 4096
    body, at = body + bytes(pad), at + pad
    for load in what.loads:
        memsz = len(load.data) if load.memsz is None else load.memsz
        rows.append(_segment(what, PT_LOAD, at, load.vaddr, load.paddr, len(load.data), memsz))
        body, at = body + load.data, at + len(load.data)
    shoff = header_size if what.xnum or what.phoff else 0
    ident = b"\x7fELF" + bytes([what.bits // 32, 1 if what.order == "<" else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    front = ident + struct.pack(
        what.order + "HHI" + 3 * word + "IHHHHHH", 4, what.machine, 1, 0, phoff, shoff, what.flags,
        8 if what.phoff else header_size, entry, 0xFFFF if what.xnum else count, section, 1 if what.xnum else 0, 0,
    )  # fmt: skip
    if what.xnum:
        # sh_info is the count.
        front += (
            bytes(44 if wide else 28) + struct.pack(what.order + "I", count) + bytes(section - (48 if wide else 32))
        )
    return front.ljust(phoff, b"\0") + b"".join(rows) + body


def _segment(what: Vmcore, kind: int, offset: int, vaddr: int, paddr: int, filesz: int, memsz: int) -> bytes:
    if what.bits == 64:
        return struct.pack(what.order + "IIQQQQQQ", kind, 0, offset, vaddr, paddr, filesz, memsz, 4)
    return struct.pack(what.order + "8I", kind, offset, vaddr, paddr, filesz, memsz, 0, 4)


FLAT_HEADER = (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(4096, b"\0")
FLAT_END = struct.pack(">qq", -1, -1)


def flat(records: Iterable[Tuple[int, bytes]], end: bool = True) -> bytes:
    """A flattened stream of (offset, data)."""
    body = b"".join(struct.pack(">qq", offset, len(data)) + data for offset, data in records)
    return FLAT_HEADER + body + (FLAT_END if end else b"")


def in_records(data: bytes, size: int = 1 << 15, at: int = 0) -> List[Tuple[int, bytes]]:
    """Cut into records of one size by rising offset, as `makedumpfile -E -F` writes."""
    return [(at + index, data[index : index + size]) for index in range(0, len(data), size)]


def as_makedumpfile(pieces: Pieces, size: int = 1 << 12) -> List[Tuple[int, bytes]]:
    """The records of a kdump in makedumpfile's order: first a header of which not all counts, then descriptors
    between the pages, each when its buffer is full, and at last the header once more."""
    early = pieces.front[:512].replace(b"host.example", b"not known...")
    records = [(0, early)] + in_records(pieces.front[512:], size, 512)
    descriptors = in_records(pieces.descriptors, 24 * 16, pieces.descriptors_at)
    data = in_records(pieces.data, size, pieces.data_at)
    for number in range(max(len(descriptors), len(data))):
        records += data[number : number + 1] + descriptors[number : number + 1]
    return records + [(0, pieces.front[:512])]
