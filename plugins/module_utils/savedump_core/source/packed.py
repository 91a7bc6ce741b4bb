# SPDX-License-Identifier: Apache-2.0
"""A dump behind a codec that only reads forward."""

import os
import zlib
from collections import OrderedDict
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from ..compression import points
from ..errors import BadDump, Reading
from .plain import CHUNK, Extent, Source

BLOCK = 1 << 16
_ZEROS = bytes(BLOCK)
# gdb's gcore writes a table of sections behind the last segment: 64 bytes for each of a million at most.
MAX_TAIL = 64 << 20
# Blocks of a compressed dump kept for reading back. With the rest of a run this stays below 100 MiB.
MAX_KEPT = 32 << 20
# A read behind the point that a stream has reached starts it again. An ordinary core needs one or two passes; a
# hostile one could ask for a pass per read.
MAX_PASSES = 8
# Runs of data in a compressed dump; where there are more, the zeros between them are taken for data.
MAX_EXTENTS = 1 << 15

# A kernel's dump is read all over. Where a codec has them (gzip), points to go on from are kept along the stream, of
# some 100 KiB each. For the others the last blocks gone by are kept besides those asked for; and for the slow ones as
# many of the first blocks as fit, deflated: an ELF vmcore of 118 MB took 17 s in xz and 24 s in bzip2, now 6 and 9.
MAX_POINTS = 192
_FIRST_SPACING = 16
MAX_PASSING = 32 << 20
_SLOW = ("xz", "bzip2")
MAX_STASH = 36 << 20
_MAX_PASSING_SLOW = 4 << 20
# Bytes that may be decoded again for it, or as many as so many passes have: xz decodes 60 MB/s, zstd and lz4 1000.
MAX_WORK, _WORK_PASSES = 16 << 30, 4
_MAX_WORK_SLOW = 2 << 30


class CompressedSource(Source):
    """The first pass learns the size, the runs of zeros and whether the stream is whole; blocks that prefetch() asked
    for are kept on the way, so that a reader that says what it needs costs a pass, not a pass per read."""

    def __init__(self, path: str, descriptor: int, codec: Any) -> None:
        super().__init__(path, descriptor)
        self._codec = codec
        self.compression = codec.NAME
        self._size: Optional[int] = None
        self._seen = 0
        self._limit: Optional[int] = None
        self._extents: List[Extent] = []
        self._kept: "OrderedDict[int, bytes]" = OrderedDict()
        self._passing: "OrderedDict[int, bytes]" = OrderedDict()
        self._stash: Dict[int, bytes] = {}
        self._stashed = 0
        self._slow = codec.NAME in _SLOW
        self._wanted: Set[int] = set()
        self._everywhere = False
        self._points: List[Tuple[int, Any]] = []
        self._spacing = _FIRST_SPACING
        self._passes = 1
        self._work = 0
        self._reader = self._start()
        self._next = 0

    @property
    def name(self) -> str:
        name = super().name
        suffix = self._codec.SUFFIX
        return name[: -len(suffix)] if name.endswith(suffix) and len(name) > len(suffix) else name

    @property
    def descriptor(self) -> Optional[int]:
        return None

    @property
    def size(self) -> int:
        return self._drain()

    def _drain(self) -> int:
        """Go on to the end of the first pass, which knows the size."""
        while self._size is None:
            self._step()
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        parts = []
        while size > 0:
            index, inside = divmod(offset, BLOCK)
            part = self._block(index)[inside : inside + size]
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def prefetch(self, ranges: Iterable[Extent]) -> None:
        for offset, size in ranges:
            for index in range(offset // BLOCK, (offset + max(size, 1) - 1) // BLOCK + 1):
                if len(self._wanted) * BLOCK >= MAX_KEPT:
                    return
                self._wanted.add(index)

    def random_access(self) -> None:
        self._everywhere = True

    def expect(self, size: int) -> None:
        """A stream that goes on behind its dump's end is no honest one, and may go on for ever: it is read that far."""
        self._limit = size

    def extents(self) -> List[Extent]:
        return self._extents if self.size else []

    def chunks(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        self._forget()
        reader = self._start()
        position, piece = 0, b""
        try:
            for offset, size in extents:
                end = offset + size
                while offset < end:
                    while position + len(piece) <= offset:
                        position += len(piece)
                        piece = self._read(reader, CHUNK)
                        if not piece:
                            raise self._changed()
                    chunk = piece[offset - position : end - position]
                    yield chunk
                    offset += len(chunk)
        finally:
            reader.close()

    def _block(self, index: int) -> bytes:
        """Block number `index`; b"" beyond the end, or when reading back would cost too much."""
        kept = self._kept.get(index)
        if kept is not None:
            self._kept.move_to_end(index)
            return kept
        if index in self._passing:
            return self._keep(index, self._passing.pop(index))
        if index in self._stash:
            return self._keep(index, zlib.decompress(self._stash[index]))
        if index < self._next and self._size is None:
            self._drain()
        if self._size is not None and index * BLOCK >= self._size:
            return b""
        if not self._go_to(index):
            return b""
        self._wanted.add(index)
        while self._next <= index and self._step():
            pass
        if self._everywhere:
            # Else each pass would keep it again, at the cost of what was asked for since.
            self._wanted.discard(index)
        return self._kept.get(index, b"")

    def _go_to(self, index: int) -> bool:
        """See to it that block `index` is ahead: from the nearest point, or in a new pass. False if that costs too
        much."""
        before = [one for one in self._points if one[0] <= index]
        at, point = before[-1] if before else (0, None)
        onwards = index >= self._next and self._next >= at
        if self._everywhere and self._size is not None:
            ahead = (index - (self._next if onwards else at) + 1) * BLOCK
            if self._work + ahead > max(_MAX_WORK_SLOW if self._slow else MAX_WORK, _WORK_PASSES * self._size):
                self.exhausted = "reading more of the %s stream takes too long: unpack it first" % self.compression
                return False
        if onwards:
            return True
        if not self._everywhere and self._passes >= MAX_PASSES:
            self.damage = self.damage or "reading all of it takes too many passes: unpack it first"
            return False
        self._reader.close()
        self._passes += point is None
        self._reader, self._next = (self._start(), 0) if point is None else (point.fork(), at)
        return True

    def _step(self) -> bool:
        """Take one block of the running pass; False at its end."""
        block = self._read(self._reader, BLOCK)
        if not block:
            if self._size is None:
                self._size = self._seen
            return False
        if self._size is not None:
            self._work += BLOCK
        else:
            self._measure(block)
            if self._limit is not None and self._seen > self._limit + MAX_TAIL:
                self.damage = "it goes on after %d bytes, where its headers say that it ends" % self._limit
                self._size = self._seen
                return False
        if self._next in self._wanted:
            self._keep(self._next, block)
        elif self._everywhere and not points.has(self._reader):
            self._pass_by(block)
        self._next += 1
        if self._everywhere and points.has(self._reader) and len(block) == BLOCK:
            self._add_point()
        return True

    def _keep(self, index: int, block: bytes) -> bytes:
        if len(self._kept) * BLOCK >= MAX_KEPT:
            self._kept.popitem(last=False)
        self._kept[index] = block
        return block

    def _pass_by(self, block: bytes) -> None:
        """Keep a block that nobody asked for yet."""
        if self._slow and self._next not in self._stash and self._stashed < MAX_STASH:
            self._stash[self._next] = zlib.compress(block, 1)
            self._stashed += len(self._stash[self._next])
        elif self._next not in self._stash:
            self._passing[self._next] = block
            if len(self._passing) * BLOCK > (_MAX_PASSING_SLOW if self._slow else MAX_PASSING):
                self._passing.popitem(last=False)

    def _add_point(self) -> None:
        """Keep the reader as it is now, every so many blocks: twice as many whenever there are too many points."""
        if self._next < (self._points[-1][0] if self._points else 0) + self._spacing:
            return
        self._points.append((self._next, self._reader.fork()))
        if len(self._points) > MAX_POINTS:
            self._points = self._points[1::2]
            self._spacing *= 2

    def _measure(self, block: bytes) -> None:
        if block != _ZEROS[: len(block)]:
            offset, size = self._extents[-1] if self._extents else (0, 0)
            if offset + size == self._seen and size or len(self._extents) >= MAX_EXTENTS:
                self._extents[-1] = (offset, self._seen + len(block) - offset)
            else:
                self._extents.append((self._seen, len(block)))
        self._seen += len(block)

    def _start(self) -> Any:
        """A reader of the decompressed bytes from their start."""
        return points.reader(self._codec, Forward(self.path, self._fd))

    def _read(self, reader: Any, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end, or before damage."""
        parts: List[bytes] = []
        while size > 0:
            try:
                data = reader.read(size)
            except BadDump as error:
                self.damage = error.message
                break
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _forget(self) -> None:
        """Give back the memory that looking around took."""
        self._kept.clear()
        self._passing.clear()
        self._stash.clear()
        self._stashed = 0
        self._points = []
        self._spacing = _FIRST_SPACING

    def end(self) -> None:
        """Close the running pass, and leave the file open."""
        self._forget()
        self._reader.close()

    def close(self) -> None:
        self.end()
        super().close()


class Forward:
    """The compressed file from a place on, with a position of its own: several passes may be under way at once."""

    def __init__(self, path: str, descriptor: int, at: int = 0) -> None:
        self._path = path
        self._fd = descriptor
        self._at = at

    def read(self, size: int = CHUNK) -> bytes:
        with Reading(self._path):
            data = os.pread(self._fd, size, self._at)
        self._at += len(data)
        return data

    def again(self, at: int) -> "Forward":
        """The same file from another place on."""
        return Forward(self._path, self._fd, at)
