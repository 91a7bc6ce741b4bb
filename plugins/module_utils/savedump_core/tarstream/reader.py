# SPDX-License-Identifier: Apache-2.0
"""Read a tar front to back: ours, and what GNU tar, bsdtar and Python's tarfile write. The input is hostile: every
size is checked before it is believed, and nothing in here takes memory that a header asks for.

Formats: POSIX.1-2017, pax; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files"; tarfile parses the fields.
"""

import os
import sys
import tarfile
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple

from ..errors import BadDump
from . import sparse
from .sparse import BLOCK, Extent

FILE, SYMLINK, DIRECTORY, OTHER = "file", "symlink", "dir", "other"

CHUNK = 1 << 20
# Of an extended header, a long name: Linux has paths of 4096 bytes at most, and ours have a handful of records.
MAX_EXTENDED = 1 << 20
# A map of this many extents takes 35 MB of tuples. Ours have at most sparse.MAX_EXTENTS.
MAX_EXTENTS = 1 << 18
MAX_SIZE = (1 << 63) - 1
# Octal or base-256, as GNU tar has numbers; raises tarfile.HeaderError. Public in all but name since Python 2.3.
_nti: Callable[[bytes], int] = tarfile.nti  # type: ignore[attr-defined]  # not in typeshed
_KINDS = {
    tarfile.REGTYPE: FILE, tarfile.AREGTYPE: FILE, tarfile.CONTTYPE: FILE, tarfile.GNUTYPE_SPARSE: FILE,
    tarfile.SYMTYPE: SYMLINK, tarfile.DIRTYPE: DIRECTORY,
}  # fmt: skip
# These have no content, whatever their size field says (POSIX pax, "ustar Interchange Format", size).
_NO_CONTENT = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENDED = _LONG + (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


class Member(NamedTuple):
    """One member, valid until the next one is asked for."""

    name: str
    """As os.fsdecode makes it; what the archive says, unchecked."""
    kind: str
    """FILE, SYMLINK, DIRECTORY or OTHER (device, FIFO, hard link, anything else)."""
    size: int
    """Of a file, holes included."""
    mode: int
    target: str
    """Of a link, else ""."""
    extents: Optional[List[Extent]]
    """Of a sparse file, as sparse.extents gives them; None if all is data."""
    position: int
    """Byte of the tar at which its content lies."""
    content: "_Content"

    @property
    def data(self) -> List[Extent]:
        """Where its data lies: the extents, or all of it."""
        return sparse.whole(self.size) if self.extents is None else self.extents

    def chunks(self) -> Iterator[bytes]:
        """The data, once, as stored. Raises BadDump if the archive ends within it."""
        return self.content.chunks()


def members(fileobj: IO[bytes]) -> Iterator[Member]:
    """The members of a tar that is read from `fileobj` to its end. Raises BadDump, with the position, for damage, for
    an end that is missing and for anything that follows it."""
    stream = _Stream(fileobj)
    while True:
        member = _next_member(stream)
        if member is None:
            break
        yield member
        member.content.skip()
    stream.expect_end()


class _Stream:
    """The tar's bytes, with a count of them."""

    def __init__(self, fileobj: IO[bytes]) -> None:
        self._file = fileobj
        self.position = 0

    def fail(self, what: str) -> NoReturn:
        raise BadDump("the archive is damaged at byte %d: %s" % (self.position, what))

    def some(self, size: int) -> bytes:
        """Up to `size` bytes, at least one. Raises BadDump at the end."""
        data = self._file.read(size)
        if not data:
            self.fail("it ends early")
        self.position += len(data)
        return data

    def exactly(self, size: int) -> bytes:
        pieces = []
        while size > 0:
            pieces.append(self.some(min(size, CHUNK)))
            size -= len(pieces[-1])
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.some(min(size, CHUNK)))

    def expect_end(self) -> None:
        """After the first block of zeros: a second one, then at most more zeros."""
        if self.exactly(BLOCK).strip(b"\0"):
            self.fail("one block of zeros, where there are two at the end")
        while True:
            data = self._file.read(CHUNK)
            if not data:
                return
            if data.strip(b"\0"):
                self.fail("something follows the end of the archive")
            self.position += len(data)


class _Content:
    """What is left of a member's stored data, and the zeros after it."""

    def __init__(self, stream: _Stream, size: int, padding: int) -> None:
        self._stream = stream
        self._left = size
        self._padding = padding

    def chunks(self) -> Iterator[bytes]:
        while self._left:
            chunk = self._stream.some(min(self._left, CHUNK))
            self._left -= len(chunk)
            yield chunk

    def skip(self) -> None:
        self._stream.skip(self._left + self._padding)
        self._left = self._padding = 0


def _next_member(stream: _Stream) -> Optional[Member]:
    """The next member; None after the first block of zeros at the end."""
    pax: Dict[bytes, bytes] = {}
    names: Dict[bytes, bytes] = {}
    while True:
        block = stream.exactly(BLOCK)
        if not block.strip(b"\0"):
            if pax or names:
                stream.fail("a header for a member that does not come")
            return None
        info = _parse(stream, block)
        if info.type not in _EXTENDED:
            return _member(stream, block, info, names, pax)
        if not 0 <= info.size <= MAX_EXTENDED:
            stream.fail("an extended header of %d bytes" % info.size)
        content = stream.exactly(info.size)
        stream.skip(-info.size % BLOCK)
        if info.type in _LONG:
            names[info.type] = content.split(b"\0", 1)[0]
        elif info.type != tarfile.XGLTYPE:
            # A global header (git archive writes one) holds nothing that matters to a single member here.
            pax = _pax_records(stream, content)


def _parse(stream: _Stream, block: bytes) -> Any:
    try:
        return tarfile.TarInfo.frombuf(block, sys.getfilesystemencoding(), "surrogateescape")
    except tarfile.HeaderError as error:
        stream.fail("this is no tar header (%s)" % error)


def _pax_records(stream: _Stream, content: bytes) -> Dict[bytes, bytes]:
    records: Dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        digits, blank, _rest = content[at : at + 20].partition(b" ")
        end = at + int(digits) if blank and digits.isdigit() else 0
        key, equals, value = content[at + len(digits) + 1 : end].partition(b"=")
        if end > len(content) or not equals or not value.endswith(b"\n"):
            stream.fail("a pax record that is none")
        records[key] = value[:-1]
        at = end
    return records


def _number(stream: _Stream, value: bytes, what: str) -> int:
    if not value.isdigit() or len(value) > 19 or int(value) > MAX_SIZE:
        stream.fail("%s that is no size" % what)
    return int(value)


def _member(stream: _Stream, block: bytes, info: Any, names: Dict[bytes, bytes], pax: Dict[bytes, bytes]) -> Member:
    stored = _number(stream, pax[b"size"], "a pax size") if b"size" in pax else info.size
    kind = _KINDS.get(info.type, OTHER)
    if info.type in _NO_CONTENT:
        stored = 0
    if not 0 <= stored <= MAX_SIZE:
        stream.fail("a member of %d bytes" % stored)
    name = pax.get(b"GNU.sparse.name") or names.get(tarfile.GNUTYPE_LONGNAME) or pax.get(b"path")
    link = names.get(tarfile.GNUTYPE_LONGLINK) or pax.get(b"linkpath")
    size, left, extents = stored, stored, None
    if info.type == tarfile.GNUTYPE_SPARSE:
        size, extents = _old_gnu_map(stream, block)
    elif pax.get(b"GNU.sparse.major") == b"1" and pax.get(b"GNU.sparse.minor") == b"0" and kind == FILE:
        size = _number(stream, pax.get(b"GNU.sparse.realsize", b""), "a real size")
        extents, length = _map(stream, stored)
        left -= length
    elif any(key.startswith(b"GNU.sparse.") for key in pax):
        stream.fail("a sparse member of a format that is not read here; GNU tar writes it with --sparse-version=0.x")
    if extents is not None:
        _check(stream, extents, size, left)
    text = info.name if name is None else os.fsdecode(name)
    return Member(
        name=text.rstrip("/") if kind == DIRECTORY else text,
        kind=kind,
        size=size if kind == FILE else 0,
        mode=info.mode & 0o7777,
        target="" if kind != SYMLINK else info.linkname if link is None else os.fsdecode(link),
        extents=extents,
        position=stream.position,
        content=_Content(stream, left, -stored % BLOCK),
    )


def _check(stream: _Stream, extents: List[Extent], size: int, stored: int) -> None:
    try:
        sparse.check(extents, size)
    except ValueError as error:
        stream.fail("a sparse map that is wrong: %s" % error)
    if sparse.stored_size(extents) != stored:
        stream.fail("a sparse map of %d bytes of data where %d are stored" % (sparse.stored_size(extents), stored))


def _map(stream: _Stream, stored: int) -> Tuple[List[Extent], int]:
    """The map of GNU.sparse 1.0 without its empty extents, and the bytes that it takes up."""
    lines = _Lines(stream, stored)
    count = lines.number()
    if count > MAX_EXTENTS:
        stream.fail("a sparse map of %d extents" % count)
    rows = [(lines.number(), lines.number()) for _row in range(count)]
    return [row for row in rows if row[1]], lines.taken


class _Lines:
    """Decimal numbers, one in each line, taken from the stream block by block."""

    def __init__(self, stream: _Stream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._lines: List[bytes] = []
        self._rest = b""
        self.taken = 0

    def number(self) -> int:
        while not self._lines:
            if self.taken + BLOCK > self._limit or len(self._rest) >= BLOCK:
                self._stream.fail("a sparse map that does not end")
            self.taken += BLOCK
            lines = (self._rest + self._stream.exactly(BLOCK)).split(b"\n")
            self._rest = lines.pop()
            self._lines = lines[::-1]
        return _number(self._stream, self._lines.pop(), "a number in a sparse map")


def _old_gnu_map(stream: _Stream, block: bytes) -> Tuple[int, List[Extent]]:
    """The size and the map of GNU tar's own format, in the header and in blocks after it (struct oldgnu_header and
    struct sparse_header of tar.h)."""
    try:
        size = _nti(block[483:495])
        rows = _rows(block[386:482])
        more = block[482]
        while more:
            if len(rows) > MAX_EXTENTS:
                stream.fail("a sparse map of more than %d extents" % MAX_EXTENTS)
            block = stream.exactly(BLOCK)
            rows += _rows(block[:504])
            more = block[504]
    except tarfile.HeaderError:
        stream.fail("a number in a sparse map that is no size")
    return size, [row for row in rows if row[1]]


def _rows(table: bytes) -> List[Extent]:
    """Offsets and lengths, 12 bytes each. Raises tarfile.HeaderError."""
    numbers = [_nti(table[at : at + 12]) for at in range(0, len(table), 12)]
    return list(zip(numbers[::2], numbers[1::2]))
