# SPDX-License-Identifier: Apache-2.0
"""The memory a core holds, by address."""
import bisect
import struct
from typing import List, Optional

from .header import MAGIC, PT_LOAD, Header, ReadAt, Segment

MAX_STRING = 8192


class Memory:
    """Reads what was dumped. In a core, p_filesz < p_memsz means "not dumped", never zero; so a read gives the bytes
    up to the first that is not there, and callers see the difference by the length."""

    def __init__(self, header: Header, segments: List[Segment], read_at: ReadAt) -> None:
        self.header = header
        self.segments = sorted((s for s in segments if s.type == PT_LOAD and s.filesz), key=lambda s: s.vaddr)
        self._starts = [segment.vaddr for segment in self.segments]
        self._flags = {segment.vaddr: segment.flags for segment in segments if segment.type == PT_LOAD}
        self._read_at = read_at

    def flags_at(self, start: int) -> int:
        """p_flags of the mapping that starts here, dumped or not; 0 if none does."""
        return self._flags.get(start, 0)

    def is_elf(self, segment: Segment) -> bool:
        """True if an ELF header was dumped at this segment's start."""
        return self._read_at(segment.offset, 4) == MAGIC

    def segment_at(self, address: int) -> Optional[Segment]:
        """The segment with dumped bytes at this address."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        segment = self.segments[index]
        return segment if address < segment.vaddr + segment.filesz else None

    def read(self, address: int, size: int) -> bytes:
        """At most `size` bytes, fewer where memory was not dumped or the core is cut."""
        parts = []
        while size > 0:
            segment = self.segment_at(address)
            if segment is None:
                break
            inside = address - segment.vaddr
            part = self._read_at(segment.offset + inside, min(size, segment.filesz - inside))
            if not part:
                break
            parts.append(part)
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
