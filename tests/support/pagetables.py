# SPDX-License-Identifier: Apache-2.0
"""A writer of physical memory and page tables for tests, of x86_64, arm64 and riscv64.

Nothing here reads, and nothing is shared with the code under test but the exception and the tuple that are its face, so
that one mistake cannot cancel another. Layouts: Intel SDM 3 chapter 4.5, Arm ARM D8, RISC-V privileged specification
chapter 12.
"""

import struct
from typing import Dict, Iterator, NamedTuple, Tuple

from savedump_core.kernel.capture import Capture, NotDumped

PAGE = 4096


class Physical:
    """Memory by pages; what was never written is not in the dump."""

    def __init__(self) -> None:
        self.pages: Dict[int, bytearray] = {}

    def write(self, address: int, data: bytes) -> None:
        while data:
            number, within = divmod(address, PAGE)
            page = self.pages.setdefault(number, bytearray(PAGE))
            taken = min(len(data), PAGE - within)
            page[within : within + taken] = data[:taken]
            address, data = address + taken, data[taken:]

    def read(self, address: int, size: int) -> bytes:
        found = b""
        while size:
            number, within = divmod(address, PAGE)
            if number not in self.pages:
                raise NotDumped("page 0x%x is not in the dump" % number)
            taken = min(size, PAGE - within)
            found += bytes(self.pages[number][within : within + taken])
            address, size = address + taken, size - taken
        return found

    def stored(self) -> Iterator[Tuple[int, int]]:
        for number in sorted(self.pages):
            yield number * PAGE, PAGE


class Tables(NamedTuple):
    """What a machine's page tables are like."""

    shifts: Tuple[int, ...]
    """Of each level, top first."""
    width: int
    """Bits of an address that are translated; the top level's index has what is left of them."""
    page: int = PAGE
    kind: str = "x86"
    extra: int = 0
    """Bits set in every x86 entry that are no address (memory encryption)."""


X86 = Tables((39, 30, 21, 12), 48)
X86_5 = Tables((48, 39, 30, 21, 12), 57)


def arm(page: int, width: int) -> Tables:
    shift = page.bit_length() - 1
    return Tables(tuple(range(shift, width, shift - 3))[::-1], width, page, "arm")


def riscv(width: int) -> Tables:
    return Tables(tuple(range(12, width, 9))[::-1], width, PAGE, "riscv")


class Machine:
    """Physical memory and page tables."""

    def __init__(self, tables: Tables = X86, order: str = "<", root: int = 0x1000000) -> None:
        self.memory = Physical()
        self.tables = tables
        self.order = order
        self.root = root
        self._next = 0x20000000
        self._entries: Dict[int, int] = {}
        self.memory.write(root, bytes(tables.page))

    def allocate(self, size: int, align: int = PAGE) -> int:
        self._next = (self._next + align - 1) // align * align
        address, self._next = self._next, self._next + size
        return address

    def map(self, virtual: int, physical: int, writable: bool = True, executable: bool = False, large: int = 0) -> None:
        """One page; of the size of the level with shift `large` if that is given."""
        table = self.root
        for shift in self.tables.shifts:
            top = shift == self.tables.shifts[0]
            bits = self.tables.width - shift if top else (self.tables.page.bit_length() - 4)
            at = table + 8 * (virtual >> shift & ((1 << bits) - 1))
            if shift == (large or self.tables.shifts[-1]):
                self._entry(at, self._leaf(physical, shift, writable, executable))
                return
            if at not in self._entries:
                below = self.allocate(self.tables.page, self.tables.page)
                self.memory.write(below, bytes(self.tables.page))
                self._entry(at, self._table(below))
                self._entries[at] = below
            table = self._entries[at]

    def put(self, virtual: int, data: bytes, writable: bool = True, executable: bool = False) -> int:
        """Data at an address, in new pages that need not lie together; its address again."""
        page = self.tables.page
        for start in range(virtual // page * page, virtual + len(data), page):
            if start not in self._entries:
                self._entries[start] = self.allocate(page, page)
                self.allocate(page)
                self.map(start, self._entries[start], writable, executable)
                self.memory.write(self._entries[start], bytes(page))
        self.change(virtual, data)
        return virtual

    def change(self, virtual: int, data: bytes) -> None:
        """Data where something was put before."""
        page = self.tables.page
        while data:
            start = virtual // page * page
            taken = min(len(data), start + page - virtual)
            self.memory.write(self._entries[start] + virtual - start, data[:taken])
            virtual, data = virtual + taken, data[taken:]

    def lose(self, virtual: int) -> None:
        """Takes the page at this address out of the dump."""
        page = self.tables.page
        start = self._entries[virtual // page * page]
        for number in range(start // PAGE, (start + page) // PAGE):
            del self.memory.pages[number]

    def _entry(self, at: int, value: int) -> None:
        self.memory.write(at, struct.pack(self.order + "Q", value))

    def _table(self, physical: int) -> int:
        if self.tables.kind == "riscv":
            return physical >> 12 << 10 | 1
        return self._address(physical) | (3 if self.tables.kind == "arm" else 0x63 | self.tables.extra)

    def _leaf(self, physical: int, shift: int, writable: bool, executable: bool) -> int:
        last = shift == self.tables.shifts[-1]
        if self.tables.kind == "riscv":
            return physical >> 12 << 10 | 0xC3 | writable << 2 | executable << 3
        if self.tables.kind == "arm":
            low = (3 if last else 1) | 0x400 | (not writable) << 7
            return self._address(physical) | low | (not executable) << 53
        pat = 0 if last else 0x1080  # the page size bit, and bit 12 as the memory type has it
        return physical | 0x61 | pat | writable << 1 | (not executable) << 63 | self.tables.extra

    def _address(self, physical: int) -> int:
        if self.tables.kind != "arm":
            return physical
        if self.tables.page == 65536:
            return physical & (1 << 48) - 1 | physical >> 48 << 12
        if self.tables.width == 52:
            return physical & (1 << 50) - 1 | physical >> 50 << 8
        return physical | 0x300  # inner shareable, where a 52-bit address has two of its bits

    def capture(self, machine: str, info: Dict[str, object], **more: object) -> Capture:
        lines = "".join("%s=%s\n" % pair for pair in info.items())
        fields = dict(
            machine=machine, bits=64, order=self.order, read=self.memory.read, stored=self.memory.stored,
            vmcoreinfo=lines.encode("utf-8", "surrogateescape"),
        )  # fmt: skip
        fields.update(more)
        return Capture(**fields)
