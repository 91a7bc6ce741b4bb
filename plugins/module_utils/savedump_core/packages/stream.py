# SPDX-License-Identifier: Apache-2.0
"""The bytes of a package, one layer inside the other: a part of a file, and what is compressed in it."""

from typing import IO, Any

from .. import compression
from ..errors import BadDump, ToolMissing

# What a package may unpack to, by its size on disk: xz packs real debug information some 10 times, and a bomb is cut
# off after seconds.
MAX_RATIO = 100
MIN_ROOM = 64 << 20


class Part:
    """`size` bytes of a file that is read front to back."""

    def __init__(self, file: Any, size: int) -> None:
        self._file = file
        self.left = size

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data


class _Rejoined:
    """A stream whose beginning was read already."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int) -> bytes:
        data, self._head = self._head[:size], self._head[size:]
        if len(data) < size:
            data += self._rest.read(size - len(data))
        return data


class _Limited:
    """A stream that gives up beyond `room` bytes."""

    def __init__(self, stream: Any, room: int) -> None:
        self._stream = stream
        self._room = room

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._room -= len(data)
        if self._room < 0:
            raise BadDump("it unpacks to more than %d times its size" % MAX_RATIO)
        return data

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


def decompressed(stream: Any, stored: int) -> IO[bytes]:
    """What is in `stream`, `stored` bytes that may be compressed with any codec known. Raises BadDump for damage,
    ToolMissing for a codec that this host has not."""
    head = stream.read(compression.HEAD)
    whole: Any = _Rejoined(head, stream)
    codec = compression.sniff(head)
    if codec is not None:
        if not codec.available():
            raise ToolMissing("it is compressed with %s, which this host cannot read" % codec.NAME)
        whole = codec.reader(whole)
    limited: Any = _Limited(whole, MIN_ROOM + MAX_RATIO * stored)
    return limited
