# SPDX-License-Identifier: Apache-2.0
"""The core inside a zip file of IBM's core-dump-handler (core-dump-composer/src/main.rs): NAME-dump-info.json, then
NAME.core, then what crictl says of the pod.

The zip is read from its front, by the headers before each member (PKWARE APPNOTE.TXT 4.3.7): the pod may be killed, or
its disk be full, before the directory at the end is written, and the core is what comes before that.
"""

import struct
import zlib
from typing import IO, Iterator, NamedTuple, Optional

from ..errors import BadDump
from ._stream import INPUT

NAME = "zip"
SUFFIX = ".zip"

_MAGIC = b"PK\x03\x04"
_HEADER = struct.Struct("<4sHHHHHIIIHH")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _SIZES_BEHIND = 1, 8
_ZIP64_EXTRA, _ZIP64 = 1, 0xFFFFFFFF
# The composer writes ten members or so; a hostile zip could have any number before its core.
_MAX_MEMBERS = 1000


def sniff(head: bytes) -> bool:
    return head[:4] == _MAGIC


def available() -> bool:
    return True


def reader(fileobj: IO[bytes]) -> "_Core":
    """The first member whose name ends in ".core". Read() raises BadDump if there is none."""
    return _Core(fileobj)


class _Member(NamedTuple):
    name: bytes
    flags: int
    method: int
    crc: int
    packed: Optional[int]
    """None if the header does not say: it is written once the member is."""


class _Core:
    """As _stream.Reader."""

    def __init__(self, fileobj: IO[bytes]) -> None:
        self._input = _Input(fileobj)
        self._pieces: Optional[Iterator[bytes]] = None
        self._rest = b""
        self._damage = ""

    def read(self, size: int = INPUT) -> bytes:
        if self._pieces is None:
            self._pieces = _core(self._input)
        out = []
        while size > 0 and not self._damage:
            if not self._rest:
                try:
                    self._rest = next(self._pieces, b"")
                except BadDump as error:
                    self._damage = error.message
                if not self._rest:
                    break
            piece, self._rest = self._rest[:size], self._rest[size:]
            out.append(piece)
            size -= len(piece)
        if self._damage and not out and size > 0:
            raise BadDump(self._damage)
        return b"".join(out)

    def close(self) -> None:
        """The file stays open."""
        self._pieces = iter(())


class _Input:
    """The file, read forward, with what was read too much put back."""

    def __init__(self, fileobj: IO[bytes]) -> None:
        self._file = fileobj
        self._kept = b""
        self.at = 0

    def read(self, size: int) -> bytes:
        """As many bytes as asked for, fewer at the end only."""
        parts = [self._kept[:size]]
        self._kept = self._kept[size:]
        have = len(parts[0])
        while have < size:
            data = self._file.read(min(size - have, INPUT))
            if not data:
                break
            parts.append(data)
            have += len(data)
        self.at += have
        return b"".join(parts)

    def put_back(self, data: bytes) -> None:
        self._kept = data + self._kept
        self.at -= len(data)


def _core(data: _Input) -> Iterator[bytes]:
    for _count in range(_MAX_MEMBERS):
        member = _next(data)
        if member is None:
            break
        if member.name.endswith(b".core"):
            if member.flags & _ENCRYPTED:
                raise BadDump("the core in the zip file is encrypted")
            yield from _checked(data, member)
            return
        for _piece in _unpacked(data, member) if member.packed is None else _raw(data, member.packed):
            pass
        if member.packed is None and member.flags & _SIZES_BEHIND:
            _skip_sizes(data)
    raise BadDump("the zip file has no core in it (no member NAME.core)")


def _next(data: _Input) -> Optional[_Member]:
    raw = data.read(_HEADER.size)
    if raw[:4] != _MAGIC:
        return None
    if len(raw) < _HEADER.size:
        raise _cut(data)
    _magic, _version, flags, method, _time, _date, crc, packed, size, names, extras = _HEADER.unpack(raw)
    name, extra = data.read(names), data.read(extras)
    if len(extra) < extras:
        raise _cut(data)
    known: Optional[int] = packed
    if packed == _ZIP64 or size == _ZIP64:
        known = _zip64(extra, size == _ZIP64)
    # Zeros stand there until the member is finished, and for good where it is followed by its sizes.
    if not packed and not crc:
        known = None if method == _DEFLATED or flags & _SIZES_BEHIND else 0
    return _Member(name=name, flags=flags, method=method, crc=crc, packed=known)


def _zip64(extra: bytes, size_too: bool) -> Optional[int]:
    """The packed size in the field of 64-bit sizes (4.5.3), where it follows the other."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        inside = at + 4 + (8 if size_too else 0)
        if kind == _ZIP64_EXTRA and inside + 8 <= len(extra):
            return struct.unpack_from("<Q", extra, inside)[0]
        at += 4 + length
    return None


def _checked(data: _Input, member: _Member) -> Iterator[bytes]:
    crc = 0
    for piece in _unpacked(data, member):
        crc = zlib.crc32(piece, crc)
        yield piece
    if member.packed is not None and crc != member.crc:
        raise BadDump("the core in the zip file is corrupt: its CRC is not the one that the zip file gives")


def _unpacked(data: _Input, member: _Member) -> Iterator[bytes]:
    if member.method == _STORED and member.packed is not None:
        yield from _raw(data, member.packed)
    elif member.method == _DEFLATED:
        yield from _inflated(data)
    else:
        raise BadDump("the zip file is packed by method %d, which is not read: unzip it first" % member.method)


def _raw(data: _Input, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = data.read(min(size, INPUT))
        if not piece:
            raise _cut(data)
        yield piece
        size -= len(piece)


def _inflated(data: _Input) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    tail = b""
    while not inflate.eof:
        tail = tail or data.read(INPUT)
        if not tail:
            raise _cut(data)
        try:
            piece = inflate.decompress(tail, INPUT)
        except zlib.error as error:
            raise BadDump("the zip file is corrupt before byte %d (%s)" % (data.at, error)) from None
        tail = inflate.unconsumed_tail
        if piece:
            yield piece
    data.put_back(inflate.unused_data)


def _skip_sizes(data: _Input) -> None:
    """The data descriptor (4.3.9), with its signature or without, of 32-bit sizes or of 64."""
    raw = data.read(24)
    at = next((at for at in (12, 16, 20, 24) if raw[at : at + 2] == b"PK" or at == len(raw)), None)
    if at is None:
        raise BadDump("the zip file is damaged at byte %d" % data.at)
    data.put_back(raw[at:])


def _cut(data: _Input) -> BadDump:
    return BadDump("the zip file is cut at byte %d: it has no end" % data.at)
