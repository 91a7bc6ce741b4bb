# SPDX-License-Identifier: Apache-2.0
"""Page tables of the machines whose kernel addresses are walked: where the root is, and what an entry says."""

from typing import Callable, NamedTuple, Optional, Tuple

from .vmcoreinfo import MASK, Unreadable, Vmcoreinfo

X86_TEXT = 0xFFFFFFFF80000000  # __START_KERNEL_map (Documentation/arch/x86/x86_64/mm.rst)


class Entry(NamedTuple):
    """A table entry that is present."""

    physical: int
    """Of the next table, or of the memory if it is a leaf."""
    leaf: bool
    writable: bool
    executable: bool


class Level(NamedTuple):
    """One level of tables."""

    shift: int
    """An entry stands for 1 << shift bytes."""
    entries: int
    """How many there are; the index into them is what the address has above the shift, modulo this."""


class Scheme(NamedTuple):
    """How to get from an address to memory."""

    root: int
    """Physical address of the kernel's top table."""
    levels: Tuple[Level, ...]
    """Top first."""
    entry: Callable[[int, int], Optional[Entry]]
    """entry(value, shift) is what the value says at the level of this shift; None if nothing is mapped there."""
    page_size: int


def x86_64(info: Vmcoreinfo, phys_base: int) -> Scheme:
    """Four levels, or five where the kernel runs so (Intel SDM volume 3, chapter 4.5)."""
    names = ("swapper_pg_dir", "init_top_pgt", "init_level4_pgt")
    name = next((name for name in names if info.has("SYMBOL(%s)" % name)), names[0])
    five = info.values.get("NUMBER(pgtable_l5_enabled)") == "1"
    # With memory encryption (SME) a bit of each entry is no address: arch/x86/kernel/vmcore_info_64.c.
    secret = info.number("sme_mask") if info.has("NUMBER(sme_mask)") else 0
    mask = 0x000FFFFFFFFFF000 & ~secret

    def entry(value: int, shift: int) -> Optional[Entry]:
        if not value & 1:
            return None
        leaf = shift == 12 or (shift in (21, 30) and bool(value & 0x80))
        # Bit 12 of a large page is its memory type (PAT), so that the low bits are no address.
        address = value & mask & (-1 << shift if leaf else -1)
        return Entry(address, leaf, writable=bool(value & 2), executable=not value >> 63)

    shifts = (48, 39, 30, 21, 12) if five else (39, 30, 21, 12)
    return Scheme(
        root=(info.symbol(name) - X86_TEXT + phys_base) & MASK,
        levels=tuple(Level(shift, 512) for shift in shifts),
        entry=entry,
        page_size=4096,
    )


def aarch64(info: Vmcoreinfo, page_size: int) -> Scheme:
    """Pages of 4, 16 or 64 KiB and kernel addresses of 36 to 52 bits (Arm ARM D8; arch/arm64/kernel/vmcore_info.c).

    The hardware's width is TCR_EL1.T1SZ (in VMCOREINFO since 5.9); VA_BITS is what the kernel was built for.
    """
    if page_size not in (4096, 16384, 65536):
        raise Unreadable("VMCOREINFO says PAGESIZE=%d, which no aarch64 kernel has" % page_size)
    page_shift = page_size.bit_length() - 1
    stride = page_shift - 3
    if info.has("NUMBER(TCR_EL1_T1SZ)"):
        width = 64 - info.number("TCR_EL1_T1SZ")
        if page_size == 65536 and info.has("NUMBER(VA_BITS)"):
            # Built for 52 bits and run with 48, the last 64 entries of the top table are used: TTBR1 points there,
            # swapper_pg_dir does not (arch/arm64/include/asm/assembler.h, offset_ttbr1).
            width = max(width, info.number("VA_BITS"))
    else:
        width = info.number("VA_BITS")
    if not 36 <= width <= 52:
        raise Unreadable("VMCOREINFO gives kernel addresses %d bits, which no aarch64 kernel has" % width)
    shifts = range(page_shift, width, stride)[::-1]
    # 52-bit physical addresses: 64 KiB pages keep bits 51..48 in 15..12; the others, where the kernel runs with 52-bit
    # addresses (FEAT_LPA2), keep 51..50 in 9..8 (pgtable-hwdef.h, PTE_ADDR_HIGH).
    wide = width == 52 and page_size != 65536
    low = ((1 << (50 if wide else 48)) - 1) & -page_size

    def entry(value: int, shift: int) -> Optional[Entry]:
        if not value & 1:
            return None
        last = shift == page_shift
        if last and not value & 2:
            return None
        leaf = last or not value & 2
        address = value & low
        if page_size == 65536:
            address |= (value & 0xF000) << 36
        elif wide:
            address |= (value & 0x300) << 42
        if leaf:
            address &= -1 << shift
        # AP[2] is read-only, PXN keeps the kernel from running it.
        return Entry(address, leaf, writable=not value >> 7 & 1, executable=not value >> 53 & 1)

    return Scheme(
        root=(info.symbol("swapper_pg_dir") - info.number("kimage_voffset")) & MASK,
        levels=tuple(Level(shift, 1 << min(stride, width - shift)) for shift in shifts),
        entry=entry,
        page_size=page_size,
    )


def riscv64(info: Vmcoreinfo) -> Scheme:
    """Sv39, Sv48 and Sv57 (RISC-V privileged specification, chapter 12; arch/riscv/kernel/vmcore_info.c)."""
    width = info.number("VA_BITS")
    if width not in (39, 48, 57):
        raise Unreadable("VMCOREINFO says NUMBER(VA_BITS)=%d, which no riscv64 kernel has" % width)

    def entry(value: int, shift: int) -> Optional[Entry]:
        if not value & 1:
            return None
        leaf = bool(value & 0xE)
        address = (value >> 10 & (1 << 44) - 1) << 12
        if leaf:
            address &= -1 << shift
        return Entry(address, leaf, writable=bool(value & 4), executable=bool(value & 8))

    return Scheme(
        root=(info.symbol("swapper_pg_dir") - info.number("va_kernel_pa_offset")) & MASK,
        levels=tuple(Level(shift, 512) for shift in range(12, width, 9)[::-1]),
        entry=entry,
        page_size=4096,
    )
