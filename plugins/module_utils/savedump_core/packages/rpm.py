# SPDX-License-Identifier: Apache-2.0
"""The .rpm file: lead, signature header, header, and a cpio archive that may be compressed.

Sources: rpm 4.18, docs/manual/format.md; lib/rpmlead.h, lib/header.c (limits), lib/rpmtag.h (tags), lib/cpio.c ("newc",
and "07070X" of packages with files above 4 GiB, whose cpio headers hold nothing but the file's number in the header).
"""

import os
import stat
import struct
from typing import Any, Callable, Container, Dict, Iterator, List, NamedTuple, Tuple

from ..errors import BadDump

LEAD = b"\xed\xab\xee\xdb"
_LEAD_SIZE = 96
_HEADER_MAGIC = b"\x8e\xad\xe8\x01"
# rpm allows 64 MiB for signatures, 256 MiB for headers; a header of a kernel package with 20,000 files is 6 MiB.
_MAX_HEADER = 32 << 20
_MAX_TAGS = 1 << 16
_MAX_FILES = 1 << 20

NAME, VERSION, RELEASE, EPOCH, ARCH = 1000, 1001, 1002, 1003, 1022
_FILE_SIZES, _FILE_MODES, _FILE_DEVICES, _FILE_INODES, _FILE_FLAGS = 1028, 1030, 1095, 1096, 1037
DIR_INDEXES, BASE_NAMES, DIR_NAMES = 1116, 1117, 1118
_PAYLOAD_FORMAT, _LONG_FILE_SIZES = 1124, 5008
_GHOST = 1 << 6
_NUMBERS = {2: "B", 3: "H", 4: "I", 5: "Q"}
_INT32, _STRING, _STRINGS, _I18N = 4, 6, 8, 9

_NEWC, _NEWC_CRC, _STRIPPED = b"070701", b"070702", b"07070X"
_NEWC_SIZE = 110
_TRAILER = "TRAILER!!!"
_MAX_PATH = 4096
_CHUNK = 1 << 20

_Index = Dict[int, Tuple[int, int, int]]


class Header(NamedTuple):
    """A header: an index of tags and a store; values are taken out when they are asked for."""

    tags: _Index
    """Tag to type, offset, count."""
    store: bytes

    def raw(self, tag: int) -> bytes:
        """Of strings: as they lie there, each with its NUL. b"" if the tag is not there."""
        kind, offset, count = self.tags.get(tag, (0, 0, 0))
        if kind not in (_STRING, _STRINGS, _I18N):
            return b""
        end = offset
        for _string in range(1 if kind == _STRING else min(count, _MAX_FILES)):
            end = self.store.find(b"\0", end) + 1
            if not end:
                raise BadDump("its header is damaged: a string without an end")
        return self.store[offset:end]

    def strings(self, tag: int) -> List[bytes]:
        return self.raw(tag).split(b"\0")[:-1]

    def text(self, tag: int) -> str:
        return self.raw(tag).partition(b"\0")[0].decode("utf-8", "replace")

    def numbers(self, tag: int) -> Tuple[int, ...]:
        kind, offset, count = self.tags.get(tag, (0, 0, 0))
        if kind not in _NUMBERS:
            return ()
        layout = ">%d%s" % (min(count, _MAX_FILES), _NUMBERS[kind])
        if offset + struct.calcsize(layout) > len(self.store):
            raise BadDump("its header is damaged: numbers beyond its end")
        return struct.unpack_from(layout, self.store, offset)

    @property
    def version(self) -> str:
        """[EPOCH:]VERSION-RELEASE, as dnf and zypper take it."""
        epoch = self.numbers(EPOCH)
        version = "%s-%s" % (self.text(VERSION), self.text(RELEASE))
        return "%d:%s" % (epoch[0], version) if epoch else version


class Item(NamedTuple):
    """A regular file or a symbolic link of the payload."""

    path: str
    """As the payload or the header has it: "./usr/bin/x"."""
    size: int
    target: str
    chunks: Callable[[], Iterator[bytes]]


def read_header(file: Any) -> Header:
    """The header of the package that is open here; leaves the file at the payload. Raises BadDump."""
    file.seek(0)
    if file.read(_LEAD_SIZE)[:4] != LEAD:
        raise BadDump("it is no .rpm")
    signatures = _header(file)
    file.seek(-len(signatures.store) % 8, os.SEEK_CUR)
    return _header(file)


def _header(file: Any) -> Header:
    intro = file.read(16)
    if len(intro) < 16 or intro[:4] != _HEADER_MAGIC:
        raise BadDump("it has no rpm header where one should be")
    tags, size = struct.unpack(">II", intro[8:])
    if tags > _MAX_TAGS or size > _MAX_HEADER:
        raise BadDump("its header claims %d tags, %d bytes" % (tags, size))
    index, store = file.read(16 * tags), file.read(size)
    if len(index) < 16 * tags or len(store) < size:
        raise BadDump("it ends within its header")
    rows = struct.iter_unpack(">IIII", index)
    return Header({tag: (kind, offset, count) for tag, kind, offset, count in rows if offset < size}, store)


class _Payload:
    """A cpio archive's bytes, with a count of them: all is padded to 4."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._at = 0

    def exactly(self, size: int) -> bytes:
        pieces = []
        while size > 0:
            data = self._stream.read(min(size, _CHUNK))
            if not data:
                raise BadDump("its payload ends early")
            self._at += len(data)
            size -= len(data)
            pieces.append(data)
        return b"".join(pieces)

    def align(self) -> None:
        self.exactly(-self._at % 4)


class _Content:
    """What is left of an item's bytes."""

    def __init__(self, payload: _Payload, size: int) -> None:
        self._payload = payload
        self._left = size

    def chunks(self) -> Iterator[bytes]:
        while self._left:
            data = self._payload.exactly(min(self._left, _CHUNK))
            self._left -= len(data)
            yield data

    def skip(self) -> None:
        for _chunk in self.chunks():
            pass
        self._payload.align()


class _Row(NamedTuple):
    path: str
    mode: int
    size: int


def payload(stream: Any, header: Header) -> Iterator[Item]:
    """The files of a decompressed payload. Of hard links, which have their bytes with the last of them only, the last
    is given. Raises BadDump."""
    kind = header.text(_PAYLOAD_FORMAT)
    if kind not in ("", "cpio"):
        raise BadDump("its payload is a %s, not a cpio archive" % kind)
    archive = _Payload(stream)
    by_number: List[_Row] = []
    while True:
        magic = archive.exactly(6)
        if magic in (_NEWC, _NEWC_CRC):
            row = _newc(archive)
        elif magic == _STRIPPED:
            by_number = by_number or _rows(header)
            number = _hexadecimal(archive.exactly(8))
            if number >= len(by_number):
                raise BadDump("its payload has a file of number %d, its header %d" % (number, len(by_number)))
            row = by_number[number]
            archive.align()
        else:
            raise BadDump("its payload is damaged: no cpio header")
        if row.path == _TRAILER:
            return
        content = _Content(archive, row.size)
        if stat.S_ISLNK(row.mode):
            if row.size > _MAX_PATH:
                raise BadDump("a link of %d bytes" % row.size)
            yield Item(row.path, 0, os.fsdecode(b"".join(content.chunks())), lambda: iter(()))
        elif stat.S_ISREG(row.mode) and row.size:
            yield Item(row.path, row.size, "", content.chunks)
        content.skip()


def _newc(archive: _Payload) -> _Row:
    """cpio(5): after the magic 13 numbers of 8 hexadecimal digits: ino, mode, uid, gid, nlink, mtime, filesize, …,
    namesize, check; then the name."""
    rest = archive.exactly(_NEWC_SIZE - 6)
    mode, size, length = (_hexadecimal(rest[at : at + 8]) for at in (8, 48, 88))
    if not 0 < length <= _MAX_PATH:
        raise BadDump("its payload is damaged: a name of %d bytes" % length)
    name = os.fsdecode(archive.exactly(length).split(b"\0", 1)[0])
    archive.align()
    return _Row(path=name, mode=mode, size=size)


def _hexadecimal(digits: bytes) -> int:
    # int() takes signs, blanks and underscores, too.
    if not digits.isalnum():
        raise BadDump("its payload is damaged: no number where one should be")
    try:
        return int(digits, 16)
    except ValueError:
        raise BadDump("its payload is damaged: no number where one should be") from None


def _rows(header: Header) -> List[_Row]:
    """The files by number, each with the size that the payload has of it (rpm: lib/rpmfi.c, iterReadArchiveNext)."""
    names, folders = header.strings(BASE_NAMES), header.strings(DIR_NAMES)
    indexes, modes = header.numbers(DIR_INDEXES), header.numbers(_FILE_MODES)
    sizes = header.numbers(_LONG_FILE_SIZES) or header.numbers(_FILE_SIZES)
    if not len(names) == len(indexes) == len(modes) == len(sizes) or any(at >= len(folders) for at in indexes):
        raise BadDump("its header's list of files is damaged")
    last = _last_links(header, modes)
    rows = []
    for number, (name, at) in enumerate(zip(names, indexes)):
        size = sizes[number] if stat.S_ISLNK(modes[number]) or number in last else 0
        rows.append(_Row(path=os.fsdecode(folders[at] + name), mode=modes[number], size=size))
    return rows


def _last_links(header: Header, modes: Tuple[int, ...]) -> Container[int]:
    """The regular files whose bytes are in the payload: of several with one inode, the last."""
    flags, inodes, devices = (header.numbers(tag) for tag in (_FILE_FLAGS, _FILE_INODES, _FILE_DEVICES))
    if not len(flags) == len(inodes) == len(devices) == len(modes):
        return range(len(modes))
    last = {
        (devices[number], inodes[number]): number
        for number, mode in enumerate(modes)
        if stat.S_ISREG(mode) and not flags[number] & _GHOST
    }
    return frozenset(last.values())


def file_list(header: Header) -> Header:
    """The header without all but the list of its files, for keeping. Raises BadDump."""
    tags: _Index = {}
    store = b""
    for tag in (BASE_NAMES, DIR_NAMES, DIR_INDEXES):
        kind, _offset, count = header.tags.get(tag, (_STRINGS, 0, 0))
        values = header.numbers(tag)
        tags[tag] = _INT32 if values else kind, len(store), count
        store += struct.pack(">%dI" % len(values), *values) if values else header.raw(tag)
    return Header(tags, store)


def has_path(header: Header, path: str) -> bool:
    """True if the header lists this absolute path."""
    folder, _slash, base = os.fsencode(path).rpartition(b"/")
    if not has_base(header, base):
        return False
    names = header.raw(BASE_NAMES)
    folders, indexes = header.strings(DIR_NAMES), header.numbers(DIR_INDEXES)
    for number, name in enumerate(names.split(b"\0")[:-1]):
        if name == base and number < len(indexes) and indexes[number] < len(folders):
            if folders[indexes[number]] == folder + b"/":
                return True
    return False


def has_base(header: Header, base: bytes) -> bool:
    """True if the header lists a file of this name in any folder."""
    _kind, offset, _count = header.tags.get(BASE_NAMES, (0, 0, 0))
    return header.store.startswith(base + b"\0", offset) or b"\0" + base + b"\0" in header.store
