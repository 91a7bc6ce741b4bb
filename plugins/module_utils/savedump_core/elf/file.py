# SPDX-License-Identifier: Apache-2.0
"""ELF files on disk: identity and links to their debug information. (gABI sections; gdb manual, "Separate Debug
Files"; DWARF 5 section 7.3.6 and dwz(1) for supplementary files.)"""

import struct
import zlib
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..errors import BadDump
from ..model import Cut
from . import notes
from .header import (
    ET_DYN,
    ET_EXEC,
    HEADER_SIZE,
    PT_NOTE,
    Header,
    ReadAt,
    parse_header,
    parse_segments,
    segment_size,
)  # fmt: skip
from .sections import (
    SHF_COMPRESSED,
    SHF_EXECINSTR,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_NULL,
    SHT_PROGBITS,
    SHT_RELA,
    ZLIB,
    ZLIB_GNU,
    ZSTD,
    Section,
    can_decompress,
    compression_of,
    content_reader,
    sections,
)  # fmt: skip

__all__ = ["SHT_NULL", "AltLink", "DebugLink", "ElfFile", "crc32", "describe", "spare_relocations"]

MAX_LINK = 8192
# A build ID is one of the first few notes of a file; what has more to look through than this hides something.
MAX_NOTE_PARTS = 64
MAX_NOTE_BYTES = 1 << 20

_DEBUG_INFO = (b".debug_info", b".zdebug_info")
_DEBUG_LINK, _ALT_LINK, _SUP = b".gnu_debuglink", b".gnu_debugaltlink", b".debug_sup"
_MINI, _ADDRESSES, _UNIT_INDEX = b".gnu_debugdata", (b".debug_addr", b".zdebug_addr"), b".debug_cu_index"
_NAMES = frozenset(_DEBUG_INFO + _ADDRESSES + (_DEBUG_LINK, _ALT_LINK, _SUP, _MINI, _UNIT_INDEX))
_SPARE = b".rela.debug"
# Also of a copy that does without them already: SHT_NULL is what that makes of their type.
_CUT = (SHT_RELA, SHT_NULL)
# Debug sections asked how they are compressed; a file has some ten, and one answer.
_MAX_ASKED = 32

MINI_DEBUG_INFO, SPLIT_UNKNOWN, PACKAGE_OF_UNITS = "mini-debug-info", "split-unknown", "dwp"


class DebugLink(NamedTuple):
    """.gnu_debuglink: a base name and the CRC-32 of the whole debug file."""

    name: bytes
    crc: int


class AltLink(NamedTuple):
    """.gnu_debugaltlink, or .debug_sup of DWARF 5: the supplementary file's path, absolute or relative to the file that
    holds the link."""

    path: bytes
    build_id: bytes
    """What .debug_sup calls the checksum; dwz makes it as it makes a build ID."""


class ElfFile(NamedTuple):
    """What an ELF file says of itself."""

    header: Header
    build_id: Optional[bytes]
    """Of a supplementary file that has .debug_sup and no build ID: the checksum in there."""
    has_debug_info: bool
    debug_only: bool
    """True if its code was left out: what objcopy --only-keep-debug makes."""
    debug_link: Optional[DebugLink]
    alt_link: Optional[AltLink]
    go_build_id: Optional[bytes] = None
    features: Tuple[str, ...] = ()
    """What not every debugger reads: "mini-debug-info" (.gnu_debugdata); "zlib", "zlib-gnu" or "zstd" (how its debug
    sections are compressed); "dwp" (units of split DWARF, with an index); "split-unknown" (its debug information may be
    split, and is compressed in a way that cannot be read here). "split-dwarf" takes a look at all units: search."""
    package_note: Optional[bytes] = None
    """.note.package: JSON (systemd's "Package Metadata for Executable Files")."""


def describe(read_at: ReadAt, size: int) -> ElfFile:
    """Read an ELF file of `size` bytes. Raises BadDump if it is none."""
    header = parse_header(read_at(0, HEADER_SIZE))
    if header is None:
        raise BadDump("not an ELF file")
    named: Dict[bytes, Section] = {}
    with_notes: List[Section] = []
    debug: List[Section] = []
    code = set()
    for section in sections(header, read_at):
        if section.type == SHT_NOTE:
            with_notes.append(section)
        if section.flags & SHF_EXECINSTR and section.size:
            code.add(section.type)
        fits = section.offset + section.size <= size or section.type == SHT_NOBITS
        if section.name in _NAMES and fits:
            named.setdefault(section.name, section)
        if section.name.startswith((b".debug_", b".zdebug_")) and section.has_bytes:
            debug.append(section)
    ids = _file_notes(header, with_notes, read_at)
    alt_link, own_id = _sup(_content(named.get(_SUP), header, read_at))
    return ElfFile(
        header=header,
        build_id=ids.build_id or own_id,
        has_debug_info=any(_has_bytes(named.get(name)) for name in _DEBUG_INFO),
        debug_only=SHT_NOBITS in code and SHT_PROGBITS not in code,
        debug_link=_debug_link(header, _content(named.get(_DEBUG_LINK), header, read_at)),
        alt_link=_alt_link(_content(named.get(_ALT_LINK), header, read_at)) or alt_link,
        go_build_id=ids.go_build_id,
        features=_features(header, named, debug, read_at),
        package_note=ids.package,
    )


def _features(
    header: Header, named: Dict[bytes, Section], debug: List[Section], read_at: ReadAt
) -> Tuple[str, ...]:
    packed = [one for one in debug if one.flags & SHF_COMPRESSED or one.name.startswith(b".z")]
    ways = {compression_of(one, header, read_at) for one in packed[:_MAX_ASKED]}
    found = [MINI_DEBUG_INFO] if _has_bytes(named.get(_MINI)) else []
    found += [way for way in (ZLIB, ZLIB_GNU, ZSTD) if way in ways]
    if _has_bytes(named.get(_UNIT_INDEX)):
        found.append(PACKAGE_OF_UNITS)
    # Without .debug_addr nothing is split: elf/split.py.
    if any(_has_bytes(named.get(name)) for name in _ADDRESSES) and not all(map(can_decompress, ways)):
        found.append(SPLIT_UNKNOWN)
    return tuple(found)


def spare_relocations(read_at: ReadAt, size: int) -> List[Cut]:
    """The .rela.debug* sections of a linked file of `size` bytes. ld --emit-relocs, which x86 kernels are linked with
    for KASLR (arch/x86/Makefile), leaves them behind after it has applied them; no debugger reads them then. Of an
    object file, such as a kernel module, they are needed: none are given."""
    header = parse_header(read_at(0, HEADER_SIZE))
    if header is None or header.type not in (ET_EXEC, ET_DYN):
        return []
    return [
        Cut(name=section.name.decode("ascii", "replace"), offset=section.offset, size=section.size,
            type_at=section.type_at)
        for section in sections(header, read_at)
        if section.type in _CUT and section.name.startswith(_SPARE) and section.offset + section.size <= size
    ]  # fmt: skip


def crc32(chunks: Iterator[bytes]) -> int:
    """The CRC .gnu_debuglink uses."""
    value = 0
    for chunk in chunks:
        value = zlib.crc32(chunk, value)
    return value


def _has_bytes(section: Optional[Section]) -> bool:
    return section is not None and section.has_bytes


def _content(section: Optional[Section], header: Header, read_at: ReadAt) -> bytes:
    """A small section's; .debug_sup may be compressed as any other of debug information."""
    if section is None or not section.has_bytes or section.size > MAX_LINK:
        return b""
    reader = content_reader(section, header, read_at)
    return reader(0, MAX_LINK) if reader is not None else b""


def _file_notes(header: Header, with_notes: List[Section], read_at: ReadAt) -> notes.FileNotes:
    """By section first: `objcopy --only-keep-debug` keeps the note section and leaves PT_NOTE pointing elsewhere."""
    parts = [(section.offset, section.size, section.align) for section in with_notes]
    found = _first_notes(header, parts, read_at)
    if found.build_id or found.go_build_id:
        return found
    return _merged(found, _first_notes(header, _note_segments(header, read_at), read_at))


def _first_notes(header: Header, parts: List[Tuple[int, int, int]], read_at: ReadAt) -> notes.FileNotes:
    """The first of each kind in these places: (offset, size, alignment)."""
    found, budget = notes.FileNotes(), MAX_NOTE_BYTES
    for offset, size, align in parts[:MAX_NOTE_PARTS]:
        data = read_at(offset, min(size, budget))
        budget -= len(data)
        found = _merged(found, notes.file_notes(data, header.order, align))
    return found


def _merged(first: notes.FileNotes, second: notes.FileNotes) -> notes.FileNotes:
    return notes.FileNotes(*(one or other for one, other in zip(first, second)))


def _note_segments(header: Header, read_at: ReadAt) -> List[Tuple[int, int, int]]:
    if header.phentsize != segment_size(header):
        return []
    segments = parse_segments(header, read_at(header.phoff, header.phentsize * header.phnum))
    return [(one.offset, one.filesz, one.align) for one in segments if one.type == PT_NOTE]


def _debug_link(header: Header, content: bytes) -> Optional[DebugLink]:
    """NUL-terminated name, padding to 4 bytes, CRC in the file's byte order. A name with a slash is no base name."""
    name, nul, _rest = content.partition(b"\0")
    at = (len(name) + 4) & ~3
    if not name or not nul or b"/" in name or len(content) < at + 4:
        return None
    return DebugLink(name=name, crc=struct.unpack_from(header.order + "I", content, at)[0])


def _alt_link(content: bytes) -> Optional[AltLink]:
    path, nul, build_id = content.partition(b"\0")
    if not path or not nul or not 0 < len(build_id) <= notes.MAX_BUILD_ID:
        return None
    return AltLink(path=path, build_id=build_id)


def _sup(content: bytes) -> Tuple[Optional[AltLink], Optional[bytes]]:
    """.debug_sup (DWARF 5 section 7.3.6): version, whether this is the supplementary file, the other's name, ULEB128
    length of the checksum, checksum. The link to a supplementary file, or a supplementary file's own checksum."""
    # The version is 5 in either byte order, and a file's name follows the flag.
    if len(content) < 4 or 5 not in (content[0], content[1]) or content[2] > 1:
        return None, None
    path, nul, rest = content[3:].partition(b"\0")
    # A checksum of up to 64 bytes has a length of one byte.
    checksum = rest[1 : 1 + rest[0]] if rest else b""
    if not nul or not 0 < len(checksum) <= notes.MAX_BUILD_ID or len(checksum) != rest[0]:
        return None, None
    if content[2]:
        return None, checksum
    return (AltLink(path=path, build_id=checksum) if path else None), None
