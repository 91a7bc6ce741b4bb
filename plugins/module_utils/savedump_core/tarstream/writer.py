# SPDX-License-Identifier: Apache-2.0
"""Write a tar, member by member, into anything with write(bytes), hashing on the way."""

import os
from typing import Any, Iterable, List, Sequence, Tuple

from ..errors import Busy
from . import header, sparse
from .sparse import Digest, Extent


class TarWriter:
    """The same members give the same bytes: owner and group 0 without names, one time for all, nothing else.

    Names are as os.fsdecode makes them. No member is made for a folder: every tar makes those that a name implies."""

    def __init__(self, sink: Any, mtime: int) -> None:
        """`mtime`: seconds since the epoch, that of every member; before 1970 becomes 0."""
        self._sink = sink
        self._mtime = mtime
        self._size = 0

    def add_bytes(self, name: str, data: bytes, mode: int) -> Digest:
        return self.add_file(name, len(data), mode, [data])

    def add_file(self, name: str, size: int, mode: int, chunks: Iterable[bytes]) -> Digest:
        """A plain member; its digest is the SHA-256 of the content. Raises Busy unless the chunks have `size` bytes."""
        return self.add_sparse(name, size, sparse.whole(size), mode, chunks)

    def add_sparse(
        self, name: str, realsize: int, extents: Sequence[Extent], mode: int, chunks: Iterable[bytes]
    ) -> Digest:
        """A member of `realsize` bytes of which only `extents`, one (offset, length) after the other, are data, which
        is what the chunks have. Its digest: see sparse.Hasher. A file without holes becomes a plain member.

        Raises Busy unless the chunks have just this data; ValueError for extents that no tar could restore."""
        data, stored = self._begin(name, realsize, extents, mode)
        return self._content(name, sparse.stored_size(data), sparse.Hasher(data, realsize), stored, chunks)

    def add_known(self, name: str, realsize: int, extents: Sequence[Extent], mode: int, sha256: str) -> Digest:
        """As add_sparse, of a content that whoever reads the sink has: it gets a reference(sha256, size, extents) in
        place of the data."""
        data, stored = self._begin(name, realsize, extents, mode)
        self._sink.reference(sha256, realsize, data)
        self._size += sparse.stored_size(data)
        self._write(header.pad(stored))
        return Digest(sparse.SHA256, sha256)

    def _begin(self, name: str, realsize: int, extents: Sequence[Extent], mode: int) -> Tuple[List[Extent], int]:
        """Write a member's headers: its data, and how many bytes the member has in the tar."""
        data = [extent for extent in extents if extent[1]]
        sparse.check(data, realsize)
        raw = os.fsencode(name)
        if data == sparse.whole(realsize):
            self._write(header.headers(raw, realsize, mode, self._mtime))
            return data, realsize
        if any(length % sparse.BLOCK for _offset, length in data[:-1]):
            raise ValueError("an extent's length is no multiple of 512, and GNU tar takes whole blocks only")
        table = sparse.encode_map(data, realsize)
        stored = len(table) + sparse.stored_size(data)
        self._write(header.sparse_headers(raw, stored, realsize, mode, self._mtime) + table)
        return data, stored

    def add_symlink(self, name: str, target: str) -> None:
        raw, link = os.fsencode(name), os.fsencode(target)
        self._write(header.headers(raw, 0, 0o777, self._mtime, header.SYMLINK, link))

    def close(self) -> None:
        """Write the end of the archive; the sink stays open."""
        self._write(bytes(2 * header.BLOCK))
        self._write(bytes(-self._size % header.RECORD))

    def _content(self, name: str, size: int, hasher: sparse.Hasher, stored: int, chunks: Iterable[bytes]) -> Digest:
        left = size
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            # The sink first: a codec's threads have work while this thread hashes.
            self._write(chunk)
            hasher.update(chunk)
        if left:
            raise Busy(
                "%s has %s than %d bytes" % (name, "less" if left > 0 else "more", size),
                "it changes while it is read; try again when it is complete",
            )
        self._write(header.pad(stored))
        return hasher.digest()

    def _write(self, data: bytes) -> None:
        if data:
            self._sink.write(data)
            self._size += len(data)
