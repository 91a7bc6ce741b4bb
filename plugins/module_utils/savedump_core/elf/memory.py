# SPDX-License-Identifier: Apache-2.0
"""The memory a core holds, by address."""

import bisect
import struct
from array import array
from typing import Iterable, Iterator, NamedTuple, Optional

from .header import MAGIC, PT_LOAD, Header, ReadAt, Segment

MAX_STRING = 8192


class Load(NamedTuple):
    """One PT_LOAD."""

    vaddr: int
    filesz: int
    """Bytes that were dumped, 0 if none."""
    offset: int
    flags: int


class Run(NamedTuple):
    """Memory that was dumped in one piece."""

    address: int
    at: int
    """Where in the dump."""
    size: int


class Memory:
    """Reads what was dumped. In a core, p_filesz < p_memsz means "not dumped", never zero; so a read gives the bytes
    up to the first that is not there, and callers see the difference by the length.

    Segments are kept in arrays: a process may have a million mappings."""

    def __init__(self, header: Header, segments: Iterable[Segment], read_at: ReadAt) -> None:
        self.header = header
        self._read_at = read_at
        self.bytes_read = 0
        """What reading has cost so far: many images over the same bytes cost as much as so many bytes."""
        self._vaddr, self._filesz, self._offset = array("Q"), array("Q"), array("Q")
        self._flags = array("I")
        in_order = True
        for segment in segments:
            if segment.type == PT_LOAD:
                in_order = in_order and (not self._vaddr or self._vaddr[-1] <= segment.vaddr)
                self._vaddr.append(segment.vaddr)
                self._filesz.append(segment.filesz)
                self._offset.append(segment.offset)
                self._flags.append(segment.flags)
        if not in_order:
            # Linux writes them in order; another writer of cores may not.
            order = sorted(range(len(self._vaddr)), key=self._vaddr.__getitem__)
            for name in ("_vaddr", "_filesz", "_offset", "_flags"):
                column = getattr(self, name)
                setattr(self, name, array(column.typecode, (column[index] for index in order)))

    def loads(self) -> Iterator[Load]:
        """All PT_LOADs by rising address."""
        for fields in zip(self._vaddr, self._filesz, self._offset, self._flags):
            yield Load(*fields)

    def load_at(self, address: int) -> Optional[Load]:
        """The mapping that starts at or before this address, the last of them."""
        index = bisect.bisect_right(self._vaddr, address) - 1
        if index < 0:
            return None
        return Load(self._vaddr[index], self._filesz[index], self._offset[index], self._flags[index])

    def runs(self, address: int, size: int) -> Iterator[Run]:
        """What was dumped of `size` bytes from `address` on, by rising address. Where the core is cut, what its headers
        claim."""
        end = address + size
        index = max(bisect.bisect_right(self._vaddr, address) - 1, 0)
        while index < len(self._vaddr) and self._vaddr[index] < end:
            start, stop = self._vaddr[index], self._vaddr[index] + self._filesz[index]
            first = max(start, address)
            if first < min(stop, end):
                yield Run(first, self._offset[index] + first - start, min(stop, end) - first)
                address = min(stop, end)
            index += 1

    @property
    def size(self) -> int:
        """Bytes that the headers say were dumped."""
        return sum(self._filesz)

    def flags_at(self, start: int) -> int:
        """p_flags of the mapping that starts here, dumped or not; 0 if none does."""
        load = self.load_at(start)
        return load.flags if load is not None and load.vaddr == start else 0

    def is_elf(self, load: Load) -> bool:
        """True if an ELF header was dumped at this mapping's start."""
        return load.filesz > 4 and self._read_at(load.offset, 4) == MAGIC

    def read(self, address: int, size: int) -> bytes:
        """At most `size` bytes, fewer where memory was not dumped or the core is cut."""
        parts = []
        while size > 0:
            load = self.load_at(address)
            if load is None or address >= load.vaddr + load.filesz:
                break
            inside = address - load.vaddr
            part = self._read_at(load.offset + inside, min(size, load.filesz - inside))
            if not part:
                break
            parts.append(part)
            self.bytes_read += len(part)
            address += len(part)
            size -= len(part)
        return b"".join(parts)

    def read_all(self, address: int, size: int) -> Optional[bytes]:
        """Exactly `size` bytes, or None."""
        data = self.read(address, size)
        return data if len(data) == size else None

    def word(self, address: int) -> Optional[int]:
        data = self.read_all(address, self.header.word_size)
        return None if data is None else struct.unpack(self.header.word, data)[0]

    def string(self, address: int) -> Optional[bytes]:
        """The bytes up to a NUL, or None if there is none within MAX_STRING bytes."""
        data = b""
        while len(data) < MAX_STRING:
            more = self.read(address + len(data), 256)
            if not more:
                return None
            data += more
            if b"\0" in more:
                return data.split(b"\0", 1)[0]
        return None
