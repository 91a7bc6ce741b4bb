# SPDX-License-Identifier: Apache-2.0
"""A tar on its way to somebody who has some of its files already: pieces of the tar as they are, and references to
files by their SHA-256 in place of the rest.

    L    length (4 bytes), and so many bytes of the tar
    R    SHA-256 of a file (32 bytes), its size (8), how many extents (4), and offset and length (8 and 8) of each: the
         tar goes on with these bytes of it
    S    SHA-256 (32 bytes) of what was passed over: in front, where somebody goes on who was cut off
    E    SHA-256 (32 bytes) of what L and R had from the very beginning: all is there

All numbers are big endian.
"""

import hashlib
import struct
from typing import IO, Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from ..tarstream import sparse
from ..tarstream.sparse import Extent
from .frames import Broken, exactly

_LITERAL = struct.Struct(">cI")
_REFERENCE = struct.Struct(">c32sQI")
_EXTENT = struct.Struct(">QQ")
_MAX_LITERAL = 1 << 20
# Of which less than this comes a second time when it is cut off.
_PIECE = 1 << 17


class Reference(NamedTuple):
    """The data of a file that the reader has."""

    sha256: str
    size: int
    """Of the file."""
    extents: Tuple[Extent, ...]
    """Which bytes of it are to come."""


class Changed(Broken):
    """What would come now does not go on where it was cut off."""


class Mark:
    """How far somebody is in the pieces of an archive, and what they were so far, whatever records they came in."""

    def __init__(self) -> None:
        self.at = 0
        """Bytes of the tar, and of the records that stand for files."""
        self._hash = hashlib.sha256()

    def passed(self, data: bytes) -> None:
        self._hash.update(data)
        self.at += len(data)

    def digest(self) -> bytes:
        return self._hash.digest()


class Writer:
    """What a TarWriter writes into. The first `after` bytes, as a Mark counts them, are passed over."""

    def __init__(self, sink: Any, after: int = 0) -> None:
        self._sink, self._after = sink, after
        self._mark = Mark()

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        if self._mark.at < self._after:
            known = min(len(view), self._after - self._mark.at)
            self._pass_over(view[:known])
            view = view[known:]
        for at in range(0, len(view), _MAX_LITERAL):
            piece = bytes(view[at : at + _MAX_LITERAL])
            self._mark.passed(piece)
            self._sink.write(_LITERAL.pack(b"L", len(piece)))
            self._sink.write(piece)
        return len(data)

    def reference(self, sha256: str, size: int, extents: Sequence[Extent]) -> None:
        record = _record(Reference(sha256, size, tuple(extents)))
        if self._mark.at < self._after:
            self._pass_over(record)
        else:
            self._mark.passed(record)
            self._sink.write(record)

    def close(self) -> None:
        """Say that all is there."""
        self._sink.write(b"E" + self._mark.digest())

    def _pass_over(self, data: Any) -> None:
        self._mark.passed(data)
        if self._mark.at >= self._after:
            self._sink.write(b"S" + self._mark.digest())


def _record(one: Reference) -> bytes:
    extents = b"".join(_EXTENT.pack(*extent) for extent in one.extents)
    return _REFERENCE.pack(b"R", bytes.fromhex(one.sha256), one.size, len(one.extents)) + extents


def records(file: IO[bytes], mark: Optional[Mark] = None) -> Iterator[Union[bytes, Reference]]:
    """The pieces in their order, those after `mark`, which goes on with them. Raises Broken unless the last record says
    that these are all and as they were sent, Changed unless the first says that those before are the ones that came."""
    mark = mark or Mark()
    if mark.at and _exactly(file, 33) != b"S" + mark.digest():
        raise Changed("what was sent before the link broke is not what would be sent now")
    while True:
        letter = _exactly(file, 1)
        if letter == b"E":
            if _exactly(file, 32) != mark.digest():
                raise Broken("what came is not what was sent", "try again")
            return
        if letter == b"L":
            length = int.from_bytes(_exactly(file, _LITERAL.size - 1), "big")
            if not 0 < length <= _MAX_LITERAL:
                raise Broken("a piece of %d bytes came" % length)
            while length:
                data = _exactly(file, min(length, _PIECE))
                mark.passed(data)
                yield data
                length -= len(data)
        elif letter == b"R":
            one = _reference(file)
            mark.passed(_record(one))
            yield one
        else:
            raise Broken("a record %r came, which is none" % letter)


def _reference(file: IO[bytes]) -> Reference:
    _letter, sha256, size, count = _REFERENCE.unpack(b"R" + _exactly(file, _REFERENCE.size - 1))
    if count > sparse.MAX_EXTENTS:
        raise Broken("a file in %d extents came" % count)
    extents: List[Extent] = list(_EXTENT.iter_unpack(_exactly(file, count * _EXTENT.size)))
    try:
        sparse.check(extents, size)
    except ValueError as error:
        raise Broken("a file came with %s" % error) from None
    return Reference(sha256.hex(), size, tuple(extents))


def _exactly(file: IO[bytes], size: int) -> bytes:
    return exactly(file.read, size, "the archive ended before its end")
