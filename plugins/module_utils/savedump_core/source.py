# SPDX-License-Identifier: Apache-2.0
"""The dump file as bytes: plain or compressed, read in any order or straight through, never written, never unpacked to
disk. What is not data in it (holes of a sparse file, runs of zeros in a compressed one) is known as such."""

import os
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from . import compression
from .elf.header import ET_CORE, parse_header
from .errors import BadDump, Busy, SavedumpError, ToolMissing
from .sysroot import Identity, Refused, identity, open_regular
from .tarstream import sparse

Extent = Tuple[int, int]

CHUNK = 1 << 20
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


def open_source(path: str) -> "Source":
    """Open a dump for reading. Raises OSError, BadDump if it is no regular file, ToolMissing without its codec."""
    try:
        descriptor = open_regular(os.path.realpath(path))
    except Refused as error:
        raise BadDump("%s is %s" % (path, error)) from None
    try:
        head = os.pread(descriptor, 64, 0)
        codec = compression.sniff(head)
        if codec is None:
            return Source(path, descriptor)
        if not codec.available():
            raise ToolMissing(
                "%s is compressed with %s, which this host cannot read" % (path, codec.NAME),
                "install lib%s or the %s program, or unpack the dump first" % (codec.NAME, codec.NAME),
            )
        return CompressedSource(path, descriptor, codec)
    except BaseException:
        os.close(descriptor)
        raise


def may_be_dump(path: str) -> bool:
    """By the first bytes: an ELF core, or something compressed. False for what cannot be read."""
    try:
        descriptor = open_regular(path)
    except (OSError, Refused):
        return False
    try:
        head = os.pread(descriptor, 64, 0)
    finally:
        os.close(descriptor)
    header = parse_header(head)
    return (header is not None and header.type == ET_CORE) or compression.sniff(head) is not None


class Source:
    """A dump that lies uncompressed on disk."""

    compression: Optional[str] = None
    damage: Optional[str] = None
    """Why a compressed stream ends before its end, else None."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._fd = descriptor
        status = os.fstat(descriptor)
        self._identity = identity(status)
        self.stored_size = status.st_size
        self.mtime_ns = status.st_mtime_ns
        self.uid, self.gid = status.st_uid, status.st_gid

    @property
    def name(self) -> str:
        """The dump's own base name, without the compression's suffix."""
        return os.path.basename(self.path)

    @property
    def size(self) -> int:
        """Bytes of the dump, decompressed."""
        return self.stored_size

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`; fewer only at the end of what is there."""
        if offset >= self.stored_size:
            return b""
        return os.pread(self._fd, min(size, self.stored_size - offset), offset)

    def prefetch(self, ranges: Iterable[Extent]) -> None:
        """Say what will be read soon, as (offset, size). Only a compressed dump cares."""

    def expect(self, size: int) -> None:
        """Say how long the dump's headers claim that it is. Only a compressed dump cares."""

    def extents(self) -> List[Extent]:
        """(offset, size) of what is data; the rest reads as zeros."""
        return sparse.extents(self._fd, self.stored_size)

    def chunks(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """The bytes of these extents, in order, a chunk at a time. Raises Busy if the file shrinks."""
        for offset, size in extents:
            end = offset + size
            while offset < end:
                chunk = os.pread(self._fd, min(CHUNK, end - offset), offset)
                if not chunk:
                    raise self._changed()
                yield chunk
                offset += len(chunk)

    def check_unchanged(self) -> None:
        """Raises Busy if the file is no longer the one that was opened."""
        if identity(os.fstat(self._fd)) != self._identity:
            raise self._changed()

    @property
    def identity(self) -> Identity:
        return self._identity

    def _changed(self) -> SavedumpError:
        return Busy("%s changed while it was read" % self.path, "wait until it is written, then try again")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class CompressedSource(Source):
    """A dump behind a codec that only reads forward.

    The first pass learns the size, the runs of zeros and whether the stream is whole; blocks that prefetch() asked for
    are kept on the way, so that a reader that says what it needs costs a pass, not a pass per read."""

    def __init__(self, path: str, descriptor: int, codec: Any) -> None:
        super().__init__(path, descriptor)
        self._codec = codec
        self.compression = codec.NAME
        self._size: Optional[int] = None
        self._seen = 0
        self._limit: Optional[int] = None
        self._extents: List[Extent] = []
        self._kept: Dict[int, bytes] = {}
        self._wanted: Set[int] = set()
        self._passes = 1
        self._running = self._stream(BLOCK)
        self._next = 0

    @property
    def name(self) -> str:
        name = super().name
        suffix = self._codec.SUFFIX
        return name[: -len(suffix)] if name.endswith(suffix) and len(name) > len(suffix) else name

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

    def expect(self, size: int) -> None:
        """A stream that goes on behind its dump's end is no honest one, and may go on for ever: it is read that far."""
        self._limit = size

    def extents(self) -> List[Extent]:
        return self._extents if self.size else []

    def chunks(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        stream = self._stream(CHUNK)
        position, piece = 0, b""
        for offset, size in extents:
            end = offset + size
            while offset < end:
                while position + len(piece) <= offset:
                    position += len(piece)
                    piece = next(stream, b"")
                    if not piece:
                        raise self._changed()
                chunk = piece[offset - position : end - position]
                yield chunk
                offset += len(chunk)

    def _block(self, index: int) -> bytes:
        """Block number `index`; b"" beyond the end, or when reading back would cost one pass too many."""
        if index not in self._kept:
            if index < self._next and self._size is None:
                self._drain()
            if self._size is not None and index * BLOCK >= self._size:
                return b""
            if index < self._next:
                if self._passes >= MAX_PASSES:
                    self.damage = self.damage or "reading all of it takes too many passes: unpack it first"
                    return b""
                self._passes += 1
                self._running, self._next = self._stream(BLOCK), 0
            self._wanted.add(index)
            while self._next <= index and self._step():
                pass
        return self._kept.get(index, b"")

    def _step(self) -> bool:
        """Take one block of the running pass; False at its end."""
        block = next(self._running, b"")
        if not block:
            if self._size is None:
                self._size = self._seen
            return False
        if self._size is None:
            self._measure(block)
            if self._limit is not None and self._seen > self._limit + MAX_TAIL:
                self.damage = "it goes on after %d bytes, where its headers say that it ends" % self._limit
                self._size = self._seen
                return False
        if self._next in self._wanted:
            if len(self._kept) * BLOCK >= MAX_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[self._next] = block
        self._next += 1
        return True

    def _measure(self, block: bytes) -> None:
        if block != _ZEROS[: len(block)]:
            offset, size = self._extents[-1] if self._extents else (0, 0)
            if offset + size == self._seen and size or len(self._extents) >= MAX_EXTENTS:
                self._extents[-1] = (offset, self._seen + len(block) - offset)
            else:
                self._extents.append((self._seen, len(block)))
        self._seen += len(block)

    def _stream(self, piece: int) -> Iterator[bytes]:
        """The decompressed bytes from the start in pieces of this size, the last one shorter; ends at damage."""
        reader = self._codec.reader(_Forward(self._fd))
        try:
            pending: List[bytes] = []
            missing = piece
            while True:
                try:
                    data = reader.read(missing)
                except BadDump as error:
                    self.damage = error.message
                    break
                if not data:
                    break
                pending.append(data)
                missing -= len(data)
                if not missing:
                    yield b"".join(pending)
                    pending, missing = [], piece
            if pending:
                yield b"".join(pending)
        finally:
            reader.close()


class _Forward:
    """The compressed file from its start, with a position of its own: several passes may be under way at once."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self._at = 0

    def read(self, size: int = CHUNK) -> bytes:
        data = os.pread(self._fd, size, self._at)
        self._at += len(data)
        return data
