# SPDX-License-Identifier: Apache-2.0
"""The pages of one kdump-compressed file: a bitmap says which there are, and the n-th that is there has the n-th
descriptor (makedumpfile diskdump_mod.h, struct page_desc)."""

import struct
from array import array
from collections import OrderedDict
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from ..errors import BadDump, ToolMissing
from ..kernel.capture import NotDumped
from . import _kernel
from ._kdump_header import METHODS, KdumpHeader

# Bitmap bytes counted at a time: 128 MiB of memory in pages of 4 KiB.
_CHUNK = 1 << 12
_ZEROS, _ONES = bytes(_CHUNK), b"\xff" * _CHUNK
_BITS = bytes(bin(value).count("1") for value in range(256))
_DESCRIPTOR = 24
_BATCH = 1 << 12
# Descriptors looked at to see how many lack: 100 GiB of memory.
_MAX_LOOKED_AT = 1 << 25
# Pages looked at to see how many are nothing but zeros. The longest run of zeros that compressed data begins with is
# LZO's length of a page that does not compress: 16 bytes for 4 KiB, 260 for 64 KiB.
_MAX_ZEROED = 1 << 16
_ZEROED_HEAD = 512
_CACHED_BYTES = 4 << 20


class Lost(NamedTuple):
    """What the bitmap promises and the file does not have."""

    pages: int
    of: int
    exact: bool
    """False if there may be more."""
    size: int
    """Bytes that the descriptors say the file has beyond its end; 0 where some of these are lost, too."""
    zeroed: int
    """Pages besides, at the end, in whose place there are zeros."""


class Bitmap:
    """Which pages were dumped, and each one's rank among them. Only counts are kept, of 4 KiB of bitmap each: the
    bitmap of a large machine takes half a gigabyte."""

    def __init__(self, data: Any, header: KdumpHeader) -> None:
        self._data = data
        self._at = header.bitmap_at
        pages = min(header.max_mapnr, 8 * header.bitmap_size)
        self.pages = min(pages, 8 * max(0, data.size - self._at))
        """How many page frames it is about."""
        self.whole = self.pages == pages
        self._size = (self.pages + 7) // 8
        self._counts = array("Q", [0])
        self._last: Tuple[int, bytes] = (-1, b"")

    def _chunk(self, index: int) -> bytes:
        if self._last[0] != index:
            offset = index * _CHUNK
            size = min(_CHUNK, self._size - offset)
            self._last = (index, self._data.read_at(self._at + offset, size).ljust(size, b"\0"))
        return self._last[1]

    def has(self, pfn: int) -> bool:
        if pfn >= self.pages:
            return False
        index, inside = divmod(pfn >> 3, _CHUNK)
        return bool(self._chunk(index)[inside] >> (pfn & 7) & 1)

    def rank(self, pfn: int) -> int:
        """How many pages before this one were dumped."""
        pfn = min(pfn, self.pages)
        index, inside = divmod(pfn >> 3, _CHUNK)
        while len(self._counts) <= index:
            self._counts.append(self._counts[-1] + _count(self._chunk(len(self._counts) - 1)))
        if not inside and not pfn & 7:
            return self._counts[index]
        chunk = self._chunk(index)
        rest = chunk[inside] & ((1 << (pfn & 7)) - 1) if pfn & 7 else 0
        return self._counts[index] + _count(chunk[:inside]) + _BITS[rest]

    def runs(self, first: int, end: int) -> Iterator[Tuple[int, int]]:
        """(page frame, count) of the dumped pages from `first` to before `end`, by rising number."""
        begin = at = first
        end = min(end, self.pages)
        while at < end:
            index, inside = divmod(at >> 3, _CHUNK)
            chunk = self._chunk(index)
            value = chunk[inside]
            if not at & 7 and value in (0, 0xFF):
                # Bytes that are all the same are taken together.
                length = len(chunk) - inside
                rest = chunk[inside:] if inside else chunk
                same = length - len(rest.lstrip(b"\0" if value == 0 else b"\xff"))
                step = min(8 * same, end - at)
            else:
                step, value = 1, value >> (at & 7) & 1
            if not value:
                if begin < at:
                    yield begin, at - begin
                begin = at + step
            at += step
        if begin < end:
            yield begin, end - begin


def _count(chunk: bytes) -> int:
    if chunk == _ZEROS:
        return 0
    return 8 * _CHUNK if chunk == _ONES else sum(chunk.translate(_BITS))


class Pages:
    """One file's pages. `data` has read_at and size; `source` is the file that it is, or is in."""

    def __init__(self, data: Any, source: Any, header: KdumpHeader) -> None:
        self.header = header
        self.bitmap = Bitmap(data, header)
        self._data = data
        self._source = source
        self._first_rank = 0
        self._total: Optional[int] = None
        self._next: Tuple[int, int] = (-1, 0)
        self._cache: "OrderedDict[int, bytes]" = OrderedDict()
        self._cached = _CACHED_BYTES // header.block_size

    @property
    def total(self) -> int:
        """Pages that it has by its bitmap. Costs a pass through the bitmap, once."""
        if self._total is None:
            self._first_rank = self.bitmap.rank(self.header.start_pfn) if self.header.start_pfn else 0
            self._total = self.bitmap.rank(self.header.end_pfn) - self._first_rank
        return self._total

    def page(self, pfn: int) -> bytes:
        """One page. Raises NotDumped."""
        page = self._cache.get(pfn)
        if page is not None:
            self._cache.move_to_end(pfn)
            return page
        page = self._read(pfn)
        if len(self._cache) >= self._cached:
            self._cache.popitem(last=False)
        self._cache[pfn] = page
        return page

    def _read(self, pfn: int) -> bytes:
        size = self.header.block_size
        address = pfn * size
        if not self.bitmap.has(pfn):
            raise _kernel.left_out(address) if pfn < self.bitmap.pages else _kernel.no_memory(address)
        if self.total and self._next[0] == pfn:
            rank = self._next[1]
        else:
            rank = self.bitmap.rank(pfn) - self._first_rank
        self._next = (pfn + 1, rank + 1)
        raw = self._data.read_at(self.header.descriptors_at + rank * _DESCRIPTOR, _DESCRIPTOR)
        if len(raw) < _DESCRIPTOR:
            raise _kernel.cut_off(self._source, address)
        offset, stored, flags = struct.unpack_from(self.header.order + "QII", raw)
        if not offset:
            raise NotDumped("the page at 0x%x was never written: its descriptor is empty" % address)
        if not 0 < stored <= size:
            raise NotDumped("the page at 0x%x has a damaged descriptor (%d bytes)" % (address, stored))
        data: bytes = self._data.read_at(offset, stored)
        if len(data) < stored:
            raise _kernel.cut_off(self._source, address)
        method = next((name for flag, name in METHODS if flags & flag), None)
        if method is None:
            if stored != size:
                raise NotDumped("the page at 0x%x has a damaged descriptor (%d bytes)" % (address, stored))
            return data
        try:
            return self._source.unpack_page(method, data, size)
        except (BadDump, ToolMissing) as error:
            raise NotDumped("the page at 0x%x: %s" % (address, error)) from None

    def lost(self) -> Lost:
        """Seen from the end, for a writer that stops leaves the last descriptors empty, and a file that is cut lacks
        the last pages. It ends at the first 4096 descriptors of which none is lost."""
        size, total = self._data.size, self.total
        at = self.header.descriptors_at
        there = max(0, min(total, (size - at) // _DESCRIPTOR))
        lost, reach, last = total - there, 0, there == total
        looked_at = zeroed = 0
        while there and looked_at < _MAX_LOOKED_AT:
            count = min(_BATCH, there)
            there -= count
            looked_at += count
            raw = self._data.read_at(at + there * _DESCRIPTOR, count * _DESCRIPTOR).ljust(count * _DESCRIPTOR, b"\0")
            if not raw.strip(b"\0"):
                lost, last = lost + count, False
                continue
            ends = self._ends(raw)
            bad = sum(1 for end in ends if not end or end > size)
            lost += bad
            last = last and all(ends)
            reach = max(reach, *ends)
            zeros, sound = self._zeros_at_end(raw)
            zeroed += zeros
            # All zero pages share one, which is the first: that it is there says nothing of the rest.
            if (not bad and sound and len(set(ends)) > 1) or zeroed > _MAX_ZEROED:
                exact = zeroed <= _MAX_ZEROED
                break
        else:
            exact = not there
        return Lost(pages=lost, of=total, exact=exact, size=max(0, reach - size) if last else 0, zeroed=zeroed)

    def _zeros_at_end(self, raw: bytes) -> Tuple[int, bool]:
        """Of these descriptors' pages, from the end of the file on back: those whose compressed data is zeros, which no
        method writes, up to the first that has data; and whether one has, or none is compressed. A host that went down
        before it had written its caches leaves such an end, under a size that is right."""
        rows = struct.iter_unpack(self.header.order + "QII8x", raw)
        size, packed = self._data.size, sum(flag for flag, _name in METHODS)
        zeros = 0
        for offset, stored in sorted({row[:2] for row in rows if row[0] and row[2] & packed}, reverse=True):
            if offset + stored > size:
                continue
            if self._data.read_at(offset, min(stored, _ZEROED_HEAD)).strip(b"\0"):
                return zeros, True
            zeros += 1
        return zeros, not zeros

    def _ends(self, raw: bytes) -> List[int]:
        """Where the page of each of these descriptors ends in the file; 0 for one that was never written."""
        rows = struct.iter_unpack(self.header.order + "QI12x", raw)
        return [offset + size if offset else 0 for offset, size in rows]
