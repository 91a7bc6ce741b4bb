# SPDX-License-Identifier: Apache-2.0
"""The first bytes of a dump, for a listing that meets thousands: of a compressed one no more is decoded than is asked
for, and never more than a few MiB."""

import os
from typing import Any, Optional

from .. import compression
from ..errors import BadDump, Reading, ToolMissing
from ..stores.place import leave_atime
from ..sysroot import Refused, open_regular
from .plain import Source

# An ELF core of 30,000 mappings has 2 MiB of headers, and its notes as much again.
MAX_DECODED = 8 << 20
# A crash report's text comes before its core.
MAX_STORED = 16 << 20
_STEP = 1 << 14

UNKNOWN = 1 << 62
"""The size of a dump that is compressed: only who reads it to its end knows."""


def open_head(path: str) -> "Head":
    """The dump's file for a glance. Raises as open_source does."""
    try:
        descriptor = _opened(path)
    except Refused as error:
        raise BadDump("%s is %s" % (path, error)) from None
    try:
        leave_atime(descriptor)
        with Reading(path):
            front = os.pread(descriptor, _STEP, 0)
        codec = compression.sniff(front[: compression.HEAD])
        if codec is None:
            return Head(path, descriptor, front)
        if not codec.available():
            raise ToolMissing(
                "%s is compressed with %s, which this host cannot read" % (path, codec.NAME),
                "install lib%s or the %s program, or unpack the dump first" % (codec.NAME, codec.NAME),
            )
        return PackedHead(path, descriptor, front, codec)
    except BaseException:
        os.close(descriptor)
        raise


def _opened(path: str) -> int:
    if not os.path.isabs(path):
        return open_regular(os.path.realpath(path))
    try:
        return open_regular(path)
    except Refused:
        # A link, maybe.
        return open_regular(os.path.realpath(path))


class Head(Source):
    """A dump that is not compressed: all of it can be read."""

    container = False
    """Whether most files that begin like this one hold no dump."""

    def __init__(self, path: str, descriptor: int, front: bytes) -> None:
        """`front` is what the file begins with: most are known by that."""
        super().__init__(path, descriptor)
        self._front = front

    def __enter__(self) -> "Head":
        return self

    def read_at(self, offset: int, size: int) -> bytes:
        if offset + size <= len(self._front):
            return self._front[offset : offset + size]
        return super().read_at(offset, size)


class PackedHead(Head):
    """The first bytes of a compressed dump. Behind them nothing is there, as if it were cut: `ran_out` says so."""

    def __init__(self, path: str, descriptor: int, front: bytes, codec: Any) -> None:
        super().__init__(path, descriptor, front)
        self.compression = codec.NAME
        self.container = codec in compression.CONTAINERS
        self.ran_out = False
        self._data = bytearray()
        self._reader: Optional[Any] = codec.reader(_Limited(path, descriptor, front, MAX_STORED))

    @property
    def descriptor(self) -> Optional[int]:
        return None

    @property
    def size(self) -> int:
        return UNKNOWN

    def read_at(self, offset: int, size: int) -> bytes:
        """As Source.read_at, of what there is of it."""
        while len(self._data) < offset + size and self._reader is not None:
            if offset >= MAX_DECODED or len(self._data) >= MAX_DECODED:
                self.ran_out = True
                break
            try:
                piece = self._reader.read(_STEP)
            except BadDump as error:
                self.damage = error.message
                piece = b""
            if not piece:
                self._end()
            self._data += piece
        return bytes(memoryview(self._data)[offset : offset + size])

    def _end(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def close(self) -> None:
        self._end()
        super().close()


class _Limited:
    """The file from its start up to a limit, with read(size)."""

    def __init__(self, path: str, descriptor: int, front: bytes, limit: int) -> None:
        self._path = path
        self._fd = descriptor
        self._front = front
        self._at = 0
        self._limit = limit

    def read(self, size: int = _STEP) -> bytes:
        at = self._at
        if at < len(self._front):
            # It is there already, and mostly enough; a reader asks again.
            data = self._front[at : at + size]
        else:
            with Reading(self._path):
                data = os.pread(self._fd, min(size, self._limit - at), at)
        self._at += len(data)
        return data
