# SPDX-License-Identifier: Apache-2.0
"""The crashed kernel's own view of its memory: reads at virtual addresses."""

import struct
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import paging
from .capture import Capture, LoadedRange, NotDumped
from .paging import X86_TEXT, Scheme
from .vmcoreinfo import MASK, Unreadable, Vmcoreinfo

# More is never asked for at once: the largest thing read whole is a log before 3.5.
MAX_READ = 16 << 20
# The most address space that runs() walks: the modules of arm64 lie within 4 GiB.
MAX_WALK = 4 << 30
# A kernel's image has some 60, the modules of a large server's thousand.
MAX_RUNS = 1 << 16
# Pages kept, so that many small reads unpack a page once.
_CACHED_BYTES = 8 << 20
_CACHED_PLACES = 1 << 14
_HOLEY_STEP = 1 << 16

# Kernel memory that lies at a fixed distance from physical memory, where no page tables are walked: start, physical
# start, size. ppc64: arch/powerpc/include/asm/page.h (PAGE_OFFSET; modules begin 1 << 51 above). loongarch64: its
# cached window (addrspace.h). s390x: identity, until 6.10 gave the kernel a place of its own. i386: the default split.
_LINEAR = {
    "ppc64": LoadedRange(0xC000000000000000, 0, 1 << 51),
    "ppc64le": LoadedRange(0xC000000000000000, 0, 1 << 51),
    "loongarch64": LoadedRange(0x9000000000000000, 0, 1 << 48),
    "s390x": LoadedRange(0, 0, 1 << 47),
    "i386": LoadedRange(0xC0000000, 0, 896 << 20),
}


class Run(NamedTuple):
    """Addresses without a gap that are mapped alike."""

    start: int
    end: int
    writable: bool
    executable: bool


class Memory:
    """Reads at virtual addresses; all raise NotDumped for what is not mapped or not in the dump."""

    def __init__(self, capture: Capture, linear: Tuple[LoadedRange, ...], scheme: Optional[Scheme] = None) -> None:
        """`linear` is looked at first; what is not in it is walked to by `scheme`, if there is one."""
        self.capture = capture
        self.order = capture.order
        self.bits = capture.bits
        self.word_size = capture.bits // 8
        self.scheme = scheme
        self._linear = linear
        self._word = struct.Struct(capture.order + ("Q" if capture.bits == 64 else "I"))
        self._unit = max(4096, scheme.page_size if scheme else capture.page_size or 4096)
        self._pages: Dict[int, bytes] = {}
        self._places: Dict[int, Tuple[int, int]] = {}

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes."""
        if not 0 <= size <= MAX_READ:
            raise Unreadable("%d bytes at 0x%x are more than anything in a kernel has" % (size, address))
        pieces = []
        while size:
            address &= MASK
            physical, room = self._locate(address)
            taken = min(size, room)
            pieces.append(self._physical(physical, taken))
            address += taken
            size -= taken
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_holey(self, address: int, size: int) -> bytes:
        """As read, with zeros for what is not in the dump; for a search."""
        pieces = []
        for at in range(address, address + size, _HOLEY_STEP):
            step = min(_HOLEY_STEP, address + size - at)
            try:
                pieces.append(self.read(at, step))
            except NotDumped:
                pieces.extend(self._pages_or_zeros(at, step))
        return b"".join(pieces)

    def word(self, address: int) -> int:
        """A pointer or unsigned long."""
        return self._word.unpack(self.read(address, self.word_size))[0]

    def u32(self, address: int) -> int:
        return struct.unpack(self.order + "I", self.read(address, 4))[0]

    def string(self, address: int, limit: int) -> bytes:
        """Up to the first NUL, at most `limit` bytes."""
        found = b""
        while len(found) < limit:
            at = address + len(found)
            piece = self.read(at, min(256, limit - len(found), 4096 - at % 4096))
            found += piece
            if b"\0" in piece:
                break
        return found.split(b"\0", 1)[0]

    def runs(self, low: int, high: int) -> List[Run]:
        """What the page tables map between two addresses, by rising address. What lies under a table that is not in
        the dump is left out. Raises Unreadable for a machine whose page tables are not read, or where no kernel maps
        so, NotDumped without the top table."""
        if self.scheme is None:
            raise Unreadable("page tables of %s are not read" % self.capture.machine)
        if not 0 <= high - low <= MAX_WALK:
            raise Unreadable("0x%x to 0x%x is not a part of a kernel's memory" % (low, high))
        found: List[Run] = []
        top = self.scheme.levels[0]
        span = top.shift + (top.entries - 1).bit_length()
        for run in self._below(self.scheme, self.scheme.root, 0, low >> span << span, low, high):
            if found and found[-1].end == run.start and found[-1][2:] == run[2:]:
                found[-1] = found[-1]._replace(end=run.end)
            elif len(found) < MAX_RUNS:
                found.append(run)
            else:
                raise Unreadable("0x%x to 0x%x is mapped in more than %d pieces" % (low, high, MAX_RUNS))
        return found

    def _below(self, scheme: Scheme, table: int, depth: int, base: int, low: int, high: int) -> Iterator[Run]:
        """The runs of one table; each entry stands for addresses of its own, so that loops in the tables end."""
        shift, entries = scheme.levels[depth]
        first = max(0, (low - base) >> shift)
        last = min(entries - 1, (high - 1 - base) >> shift)
        if first > last:
            return
        try:
            raw = self._physical(table + 8 * first, 8 * (last + 1 - first))
        except NotDumped:
            if not depth:
                raise
            return
        for index, value in enumerate(struct.unpack("%s%dQ" % (self.order, last + 1 - first), raw), first):
            entry = scheme.entry(value, shift) if value else None
            if entry is None:
                continue
            start = base + (index << shift)
            if entry.leaf:
                yield Run(max(start, low), min(start + (1 << shift), high), entry.writable, entry.executable)
            elif depth + 1 < len(scheme.levels):
                yield from self._below(scheme, entry.physical, depth + 1, start, low, high)

    def _locate(self, address: int) -> Tuple[int, int]:
        """Physical address, and how many bytes from there on lie together."""
        for start, physical, size in self._linear:
            if start <= address < start + size:
                return address - start + physical, start + size - address
        page = address & -4096
        place = self._places.get(page)
        if place is None:
            if len(self._places) >= _CACHED_PLACES:
                self._places.clear()
            place = self._places[page] = self._walk(page)
        return place[0] + address - page, place[1] - (address - page)

    def _walk(self, address: int) -> Tuple[int, int]:
        if self.scheme is None:
            raise NotDumped(
                "0x%x is not in the part of memory that is understood for %s" % (address, self.capture.machine)
            )
        table = self.scheme.root
        for shift, entries in self.scheme.levels:
            raw = self._physical(table + 8 * ((address >> shift) % entries), 8)
            entry = self.scheme.entry(struct.unpack(self.order + "Q", raw)[0], shift)
            if entry is None:
                break
            if entry.leaf:
                within = address & ((1 << shift) - 1)
                return entry.physical + within, (1 << shift) - within
            table = entry.physical
        raise NotDumped("0x%x is not mapped" % address)

    def _physical(self, address: int, size: int) -> bytes:
        number, within = divmod(address, self._unit)
        if within + size > self._unit:
            return self._uncached(address, size)
        page = self._pages.get(number)
        if page is None:
            try:
                page = self._uncached(number * self._unit, self._unit)
            except NotDumped:
                return self._uncached(address, size)  # a range of an ELF file may begin or end within a page
            if len(self._pages) >= _CACHED_BYTES // self._unit:
                self._pages.clear()
            self._pages[number] = page
        return page[within : within + size]

    def _uncached(self, address: int, size: int) -> bytes:
        if address < 0:
            raise NotDumped("physical memory has no address %d" % address)
        return self.capture.read(address, size)

    def _pages_or_zeros(self, address: int, size: int) -> Iterator[bytes]:
        end = address + size
        while address < end:
            step = min(4096 - address % 4096, end - address)
            try:
                yield self.read(address, step)
            except NotDumped:
                yield bytes(step)
            address += step


def open_memory(capture: Capture, info: Vmcoreinfo) -> Memory:
    """The Memory of this kernel. Of several ways that its machine may have, the first under which init_uts_ns says
    "Linux"; if none does (the page may not be in the dump), the first. Raises Unreadable if there is none."""
    choices: List[Memory] = []
    why = ""
    for linear, scheme in _ways(capture, info):
        choices.append(Memory(capture, linear, scheme))
        try:
            if proven(choices[-1], info):
                return choices[-1]
        except (NotDumped, Unreadable) as error:
            why = str(error)
    if not choices:
        raise Unreadable("addresses of %s are not understood%s" % (capture.machine, why and ": " + why))
    return choices[0]


def proven(memory: Memory, info: Vmcoreinfo) -> bool:
    """True if struct new_utsname is where VMCOREINFO says that it is."""
    return memory.read(utsname_at(info), 6) == b"Linux\0"


def utsname_at(info: Vmcoreinfo) -> int:
    # Before 5.11 a reference count stood before the name and VMCOREINFO did not say (include/linux/utsname.h).
    name = "uts_namespace.name"
    return info.symbol("init_uts_ns") + (info.offset(name) if info.has("OFFSET(%s)" % name) else 4)


def _ways(capture: Capture, info: Vmcoreinfo) -> Iterator[Tuple[Tuple[LoadedRange, ...], Optional[Scheme]]]:
    machine = capture.machine
    if machine == "x86_64":
        size = _x86_image_size(info)
        for base in _phys_bases(capture, info):
            yield (LoadedRange(X86_TEXT, base, size),), paging.x86_64(info, base)
    elif machine == "aarch64":
        yield (), paging.aarch64(info, info.decimal("PAGESIZE") or capture.page_size or 4096)
    elif machine == "riscv64" and info.has("NUMBER(va_kernel_pa_offset)"):
        yield (), paging.riscv64(info)
    else:
        if capture.mapped:
            yield capture.mapped, None
        offset, physical = info.hexadecimal("KERNELOFFSET"), info.hexadecimal("KERNELOFFPHYS")
        if machine == "s390x" and offset is not None and physical is not None:
            # Since 6.10: arch/s390/include/asm/page.h, __pa.
            identity = info.hexadecimal("IDENTITYBASE") or 0
            kernel = LoadedRange(offset, physical, 1 << 31)
            yield (kernel, LoadedRange(identity, 0, max(0, offset - identity))), None
        if machine in _LINEAR:
            yield (_LINEAR[machine],), None


def _x86_image_size(info: Vmcoreinfo) -> int:
    """Of the mapping of the kernel's text, after which modules lie: in VMCOREINFO since 4.8, 1 GiB with KASLR
    (arch/x86/include/asm/page_64_types.h)."""
    if info.has("NUMBER(KERNEL_IMAGE_SIZE)"):
        return min(max(0, info.number("KERNEL_IMAGE_SIZE")), 1 << 30)
    return 1 << 30 if info.hexadecimal("KERNELOFFSET") else 512 << 20


def _phys_bases(capture: Capture, info: Vmcoreinfo) -> List[int]:
    """How far the kernel was moved in physical memory: its own word (since 4.10), the container's, what /proc/vmcore
    maps, not at all."""
    bases = [info.number("phys_base")] if info.has("NUMBER(phys_base)") else []
    if capture.phys_base is not None:
        bases.append(capture.phys_base)
    bases.extend(one.paddr - (one.vaddr - X86_TEXT) for one in capture.mapped if one.vaddr >= X86_TEXT)
    unique: List[int] = []
    for base in bases + [0]:
        # The kernel prints an unsigned long as a signed one; containers keep it unsigned.
        base = base - (1 << 64) if base >> 63 == 1 else base
        if base not in unique:
            unique.append(base)
    return unique[:8]
