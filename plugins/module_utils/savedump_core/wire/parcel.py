# SPDX-License-Identifier: Apache-2.0
"""A tar on its way to somebody who has some of its files already: pieces of the tar as they are, and references to
files by their SHA-256 in place of the rest.

    L    length (4 bytes), and so many bytes of the tar
    R    SHA-256 of a file (32 bytes), its size (8), how many extents (4), and offset and length (8 and 8) of each: the
         tar goes on with these bytes of it
    E    SHA-256 of all records before this one (32 bytes): all is there

All numbers are big endian.
"""

import hashlib
import struct
from typing import IO, Any, Iterator, List, NamedTuple, Sequence, Tuple, Union

from ..tarstream import sparse
from ..tarstream.sparse import Extent
from .frames import Broken, exactly

_LITERAL = struct.Struct(">cI")
_REFERENCE = struct.Struct(">c32sQI")
_EXTENT = struct.Struct(">QQ")
_MAX_LITERAL = 1 << 20


class Reference(NamedTuple):
    """The data of a file that the reader has."""

    sha256: str
    size: int
    """Of the file."""
    extents: Tuple[Extent, ...]
    """Which bytes of it are to come."""


class Writer:
    """What a TarWriter writes into."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        for at in range(0, len(view), _MAX_LITERAL):
            piece = view[at : at + _MAX_LITERAL]
            self._put(_LITERAL.pack(b"L", len(piece)))
            self._put(bytes(piece))
        return len(data)

    def reference(self, sha256: str, size: int, extents: Sequence[Extent]) -> None:
        self._put(_REFERENCE.pack(b"R", bytes.fromhex(sha256), size, len(extents)))
        self._put(b"".join(_EXTENT.pack(*extent) for extent in extents))

    def close(self) -> None:
        """Say that all is there."""
        self._sink.write(b"E" + self._digest.digest())

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._sink.write(data)


def records(file: IO[bytes]) -> Iterator[Union[bytes, Reference]]:
    """The pieces in their order. Raises Broken unless the last record says that these are all and as they were sent."""
    digest = hashlib.sha256()
    while True:
        letter = _exactly(file, 1)
        if letter == b"E":
            if _exactly(file, 32) != digest.digest():
                raise Broken("what came is not what was sent", "try again")
            return
        digest.update(letter)
        if letter == b"L":
            data = _hashed(file, digest, _LITERAL.size - 1)
            length = int.from_bytes(data, "big")
            if not 0 < length <= _MAX_LITERAL:
                raise Broken("a piece of %d bytes came" % length)
            yield _hashed(file, digest, length)
        elif letter == b"R":
            yield _reference(file, digest)
        else:
            raise Broken("a record %r came, which is none" % letter)


def _reference(file: IO[bytes], digest: Any) -> Reference:
    _letter, sha256, size, count = _REFERENCE.unpack(b"R" + _hashed(file, digest, _REFERENCE.size - 1))
    if count > sparse.MAX_EXTENTS:
        raise Broken("a file in %d extents came" % count)
    extents: List[Extent] = list(_EXTENT.iter_unpack(_hashed(file, digest, count * _EXTENT.size)))
    try:
        sparse.check(extents, size)
    except ValueError as error:
        raise Broken("a file came with %s" % error) from None
    return Reference(sha256.hex(), size, tuple(extents))


def _hashed(file: IO[bytes], digest: Any, size: int) -> bytes:
    data = _exactly(file, size)
    digest.update(data)
    return data


def _exactly(file: IO[bytes], size: int) -> bytes:
    return exactly(file.read, size, "the archive ended before its end")
