# SPDX-License-Identifier: Apache-2.0
"""A dump that lies uncompressed on disk, and what every source has."""

import os
from typing import Iterable, Iterator, List, Optional, Tuple

from ..errors import Busy, Reading, SavedumpError
from ..sysroot import Identity, identity, open_regular
from ..tarstream import sparse

Extent = Tuple[int, int]

CHUNK = 1 << 20


class Source:
    """A dump that lies uncompressed on disk."""

    compression: Optional[str] = None
    damage: Optional[str] = None
    """Why a compressed stream ends before its end, else None."""
    exhausted: Optional[str] = None
    """Why nothing more of a compressed stream is read, though it may be whole; else None."""
    _siblings: Tuple["Source", ...] = ()

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
    def descriptor(self) -> Optional[int]:
        """For a library that reads the dump itself; None if the file is compressed."""
        return self._fd

    @property
    def size(self) -> int:
        """Bytes of the dump, decompressed."""
        return self.stored_size

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`; fewer only at the end of what is there."""
        if offset >= self.stored_size:
            return b""
        with Reading(self.path):
            return os.pread(self._fd, min(size, self.stored_size - offset), offset)

    def prefetch(self, ranges: Iterable[Extent]) -> None:
        """Say what will be read soon, as (offset, size). Only a compressed dump cares."""

    def random_access(self) -> None:
        """Say that reads will be all over the dump, as a kernel's are. Only a compressed dump cares."""

    def expect(self, size: int) -> None:
        """Say how long the dump's headers claim that it is. Only a compressed dump cares."""

    def unpack_page(self, method: str, data: bytes, size: int) -> bytes:
        """The page of `size` bytes that a kernel dump holds compressed: `method` is "zlib", "lzo", "snappy" or "zstd".
        Raises BadDump if the data is damaged, ToolMissing if nothing here decodes zstd."""
        from ..compression import pages  # what reads a process's core does without

        return pages.unpack(method, data, size)

    def sibling_names(self) -> List[str]:
        """The names of what else lies in the dump's folder, sorted. Empty if that cannot be listed."""
        try:
            names = os.listdir(self._folder() or ".")
        except OSError:
            return []
        own = os.path.basename(self._real_path())
        return sorted(name for name in names if name != own)

    def sibling(self, name: str) -> "Source":
        """A regular file of the dump's folder, as it lies there; it is closed with this one, if not before. Raises
        OSError, and Refused for anything but a regular file."""
        path = os.path.join(self._folder(), name)
        descriptor = open_regular(path)
        try:
            source = Source(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._siblings += (source,)
        return source

    def _real_path(self) -> str:
        """Without the link that the last component may be."""
        return os.path.realpath(self.path) if os.path.islink(self.path) else self.path

    def _folder(self) -> str:
        return os.path.dirname(self._real_path())

    def extents(self) -> List[Extent]:
        """(offset, size) of what is data; the rest reads as zeros."""
        return sparse.extents(self._fd, self.stored_size)

    def chunks(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """The bytes of these extents, in order, a chunk at a time. Raises Busy if the file shrinks."""
        for offset, size in extents:
            end = offset + size
            while offset < end:
                with Reading(self.path):
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
        for sibling in self._siblings:
            sibling.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
