# SPDX-License-Identifier: Apache-2.0
"""ELF and program headers (System V gABI, chapters 4 and 5; elf.h)."""

import struct
from typing import Callable, Iterator, List, NamedTuple, Optional

ReadAt = Callable[[int, int], bytes]

MAGIC = b"\x7fELF"
HEADER_SIZE = 64

ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR = 1, 2, 3, 4, 6
PF_X, PF_W = 1, 2
PN_XNUM = 0xFFFF

# 1 << 20 segments are sixteen times what vm.max_map_count allows by default; more is not a core but an attack.
MAX_SEGMENTS = 1 << 20

_I386, _X86_64, _PPC64, _S390, _RISCV, _MIPS = 3, 62, 21, 22, 243, 8
_MACHINES = {
    2: "sparc", 4: "m68k", 15: "hppa", 18: "sparc32plus", 20: "ppc", 40: "arm", 42: "sh", 43: "sparc64", 50: "ia64",
    183: "aarch64", 258: "loongarch64", 0x9026: "alpha",
}  # fmt: skip


class Header(NamedTuple):
    """The ELF header, widened to 64 bit."""

    bits: int
    order: str
    """struct's byte order mark: "<" or ">"."""
    osabi: int
    type: int
    machine: int
    phoff: int
    shoff: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int

    @property
    def word(self) -> str:
        """struct format of one address, with the byte order."""
        return self.order + ("Q" if self.bits == 64 else "I")

    @property
    def word_size(self) -> int:
        return self.bits // 8

    @property
    def mask(self) -> int:
        """Addresses wrap at this."""
        return (1 << self.bits) - 1

    @property
    def machine_name(self) -> str:
        """The name uname(1) or gdb would use; "em-N" for a machine that has none here."""
        little = self.order == "<"
        if self.machine == _X86_64:
            return "x86_64" if self.bits == 64 else "x32"
        if self.machine == _I386:
            return "i386"
        if self.machine == _PPC64:
            return "ppc64le" if little else "ppc64"
        if self.machine == _S390:
            return "s390x" if self.bits == 64 else "s390"
        if self.machine == _RISCV:
            return "riscv%d" % self.bits
        if self.machine == _MIPS:
            return "mips" + ("64" if self.bits == 64 else "") + ("el" if little else "")
        return _MACHINES.get(self.machine, "em-%d" % self.machine)


class Segment(NamedTuple):
    """One program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int


def parse_header(head: bytes) -> Optional[Header]:
    """The header in these first bytes, or None if they are not ELF or too few."""
    if len(head) < 52 or head[:4] != MAGIC or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    bits = 32 * head[4]
    order = "<" if head[5] == 1 else ">"
    if bits == 64 and len(head) < HEADER_SIZE:
        return None
    kind, machine = struct.unpack_from(order + "HH", head, 16)
    fields = struct.unpack_from(order + ("QQQ" if bits == 64 else "III") + "IHHHHHH", head, 24)
    _entry, phoff, shoff, _flags, _ehsize, phentsize, phnum, shentsize, shnum, shstrndx = fields
    return Header(
        bits=bits, order=order, osabi=head[7], type=kind, machine=machine, phoff=phoff, shoff=shoff,
        phentsize=phentsize, phnum=phnum, shentsize=shentsize, shnum=shnum, shstrndx=shstrndx,
    )  # fmt: skip


def segment_size(header: Header) -> int:
    return 56 if header.bits == 64 else 32


def iter_segments(header: Header, raw: bytes) -> Iterator[Segment]:
    """The program headers in `raw`; a last one that is cut is left out."""
    size = segment_size(header)
    whole = memoryview(raw)[: len(raw) // size * size]
    if header.bits == 64:
        rows = struct.iter_unpack(header.order + "IIQQQQQQ", whole)
        for kind, flags, offset, vaddr, _paddr, filesz, memsz, align in rows:
            yield Segment(kind, flags, offset, vaddr, filesz, memsz, align)
    else:
        rows = struct.iter_unpack(header.order + "8I", whole)
        for kind, offset, vaddr, _paddr, filesz, memsz, flags, align in rows:
            yield Segment(kind, flags, offset, vaddr, filesz, memsz, align)


def parse_segments(header: Header, raw: bytes) -> List[Segment]:
    """As iter_segments, for a table that is known to be short."""
    return list(iter_segments(header, raw))


def segment_count(header: Header, read_at: ReadAt) -> int:
    """e_phnum, or with PN_XNUM the sh_info of section header 0 (gABI "Program Header"; kernel fs/binfmt_elf.c,
    fill_extnum_info)."""
    if header.phnum != PN_XNUM or not header.shoff:
        return header.phnum
    at = header.shoff + (44 if header.bits == 64 else 28)
    raw = read_at(at, 4)
    return struct.unpack(header.order + "I", raw)[0] if len(raw) == 4 else header.phnum
