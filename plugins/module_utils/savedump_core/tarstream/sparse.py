# SPDX-License-Identifier: Apache-2.0
"""Sparse files: where the data lies, the map that tells it (GNU.sparse 1.0), and what a member's digest is taken of.

Format: GNU tar manual, appendix "Storing Sparse Files", "PAX Format, Version 1.0".
"""

import errno
import hashlib
import os
from typing import IO, Iterable, List, NamedTuple, Optional, Sequence, Tuple

Extent = Tuple[int, int]
"""(offset, length) of data; what lies between reads as zeros."""

BLOCK = 512
# Extents that a map made here has at most (9 MB of tuples, 1.5 MB of map). A hostile or unlucky file can have one for
# each 4 KiB: a million in 8 GiB.
MAX_EXTENTS = 1 << 16
# Once there are too many, holes smaller than this are stored as zeros; it doubles until they are few enough.
MERGED_GAP = 1 << 16
# Hashing zeros costs 0.6 s for each GiB, and the core of a process that reserved terabytes has terabytes of them. What
# is left out of a Debian kernel's vmlinux (350 MB) is below this.
HASHED_HOLES_MAX = 512 << 20
_ZEROS = bytes(1 << 20)


class Digest(NamedTuple):
    """What vouches for a member's content."""

    algorithm: str
    """SHA256 or SHA256_STORED"""
    hex: str


SHA256 = "sha256"
SHA256_STORED = "sha256-stored"


def extents(fd: int, size: int) -> List[Extent]:
    """Where the first `size` bytes of an open file hold data, by SEEK_DATA and SEEK_HOLE (lseek(2)).

    One extent where the file system cannot tell; fewer bytes than `size` only if the file ends in a hole, or shrinks
    meanwhile. Offsets and lengths are multiples of 512 but at the end, as GNU tar wants them. Moves the offset."""
    if not hasattr(os, "SEEK_DATA"):
        return whole(size)
    found: List[Extent] = []
    gap = 1
    at = 0
    while at < size:
        try:
            start = max(os.lseek(fd, at, os.SEEK_DATA), at)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                # Nothing but a hole up to the end; or the file is shorter by now.
                break
            if error.errno in (errno.EINVAL, errno.ENOTSUP, errno.ESPIPE):
                return whole(size)
            raise
        if start >= size:
            break
        if end <= start:
            # Nonsense, or the file changes: what is left is data.
            end = size
        at = end
        _append(found, start - start % BLOCK, min(end + -end % BLOCK, size), gap)
        while len(found) > MAX_EXTENTS:
            gap = max(2 * gap, MERGED_GAP)
            found = _merged(found, gap)
    return found


def whole(size: int) -> List[Extent]:
    return [(0, size)] if size else []


def _append(found: List[Extent], start: int, end: int, gap: int) -> None:
    """Add [start, end), joined to the last extent if fewer than `gap` bytes lie between."""
    if found and start - sum(found[-1]) < gap:
        start = found.pop()[0]
    found.append((start, end - start))


def _merged(found: List[Extent], gap: int) -> List[Extent]:
    merged: List[Extent] = []
    for offset, length in found:
        _append(merged, offset, offset + length, gap)
    return merged


def stored_size(data: Sequence[Extent]) -> int:
    return sum(length for _offset, length in data)


def check(data: Sequence[Extent], size: int) -> None:
    """Raises ValueError, saying what, unless these extents are in order, apart, not empty and within `size`."""
    end = 0
    for offset, length in data:
        if length <= 0:
            raise ValueError("an extent of %d bytes at %d" % (length, offset))
        if offset < end:
            raise ValueError("the extent at %d overlaps the one before it" % offset)
        end = offset + length
    if end > size:
        raise ValueError("the extent at %d reaches beyond the end at %d" % (data[-1][0], size))


def encode_map(data: Sequence[Extent], size: int) -> bytes:
    """The map as it precedes a sparse member's data: decimal lines, zeros up to a multiple of 512. A file that ends in
    a hole gets an empty extent at its end, as GNU tar writes it."""
    rows = list(data)
    if not rows or sum(rows[-1]) < size:
        rows.append((size, 0))
    text = "%d\n%s" % (len(rows), "".join("%d\n%d\n" % row for row in rows))
    return text.encode("ascii") + bytes(-len(text) % BLOCK)


class Hasher:
    """The digest of a member of `size` bytes whose data lies at `data`, fed with the data alone.

    SHA-256 of the content, holes as zeros, so that sha256sum agrees, as long as the holes add up to at most
    HASHED_HOLES_MAX; else of the member as stored, that is, map and data."""

    def __init__(self, data: Sequence[Extent], size: int) -> None:
        self._hash = hashlib.sha256()
        self._logical = size - stored_size(data) <= HASHED_HOLES_MAX
        self._size = size
        self._at = 0
        self._left = 0
        self._extents = iter(data)
        if not self._logical:
            self._hash.update(encode_map(data, size))

    def update(self, chunk: bytes) -> None:
        if not self._logical:
            self._hash.update(chunk)
            return
        view = memoryview(chunk)
        while view:
            if not self._left:
                offset, self._left = next(self._extents)
                self._zeros(offset)
            part = view[: self._left]
            self._hash.update(part)
            self._at += len(part)
            self._left -= len(part)
            view = view[len(part) :]

    def digest(self) -> Digest:
        if self._logical:
            self._zeros(self._size)
        return Digest(SHA256 if self._logical else SHA256_STORED, self._hash.hexdigest())

    def _zeros(self, end: int) -> None:
        while self._at < end:
            count = min(end - self._at, len(_ZEROS))
            self._hash.update(_ZEROS if count == len(_ZEROS) else _ZEROS[:count])
            self._at += count


class Placed:
    """Puts a member's data where its extents say, into a file that can seek; into nothing if there is none."""

    def __init__(self, file: Optional[IO[bytes]], data: Sequence[Extent], size: int) -> None:
        self._file = file
        self._extents = iter(data)
        self._left = 0
        self._size = size

    def write(self, chunk: bytes) -> None:
        """The next of the data."""
        if self._file is None:
            return
        view = memoryview(chunk)
        while view:
            if not self._left:
                offset, self._left = next(self._extents)
                self._file.seek(offset)
            part = view[: self._left]
            self._file.write(part)
            self._left -= len(part)
            view = view[len(part) :]

    def read_at(self, offset: int, size: int) -> bytes:
        """What lies there, once all is written; fewer bytes at the end."""
        if self._file is None or not 0 <= offset < self._size:
            return b""
        self._file.seek(offset)
        return self._file.read(min(size, self._size - offset))


def digest_of(data: Sequence[Extent], size: int, chunks: Iterable[bytes]) -> Digest:
    """The digest of a whole member."""
    hasher = Hasher(data, size)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.digest()
