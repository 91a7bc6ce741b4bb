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

SHT_NULL, SHT_PROGBITS, SHT_RELA, SHT_NOTE, SHT_NOBITS = 0, 1, 4, 7, 8
SHF_EXECINSTR = 4
MAX_SECTIONS = 1 << 16
MAX_SECTION_NAMES = 4 << 20
MAX_LINK = 8192
# A build ID is one of the first few notes of a file; what has more to look through than this hides something.
MAX_NOTE_PARTS = 64
MAX_NOTE_BYTES = 1 << 20

_DEBUG_INFO = (b".debug_info", b".zdebug_info")
_DEBUG_LINK, _ALT_LINK = b".gnu_debuglink", b".gnu_debugaltlink"
_NAMES = _DEBUG_INFO + (_DEBUG_LINK, _ALT_LINK)
_SPARE = b".rela.debug"
_LONGEST_NAME = 32


class DebugLink(NamedTuple):
    """.gnu_debuglink: a base name and the CRC-32 of the whole debug file."""

    name: bytes
    crc: int


class AltLink(NamedTuple):
    """.gnu_debugaltlink: the supplementary file's path, absolute or relative to the file that holds the link."""

    path: bytes
    build_id: bytes


class ElfFile(NamedTuple):
    """What an ELF file says of itself."""

    header: Header
    build_id: Optional[bytes]
    has_debug_info: bool
    debug_only: bool
    """True if its code was left out: what objcopy --only-keep-debug makes."""
    debug_link: Optional[DebugLink]
    alt_link: Optional[AltLink]
    go_build_id: Optional[bytes] = None
    features: Tuple[str, ...] = ()
    """What not every debugger reads: "mini-debug-info" (.gnu_debugdata), "zlib", "zlib-gnu" or "zstd" (compressed debug
    sections), "split-dwarf"."""
    package_note: Optional[bytes] = None
    """.note.package: JSON (systemd's "Package Metadata for Executable Files")."""


class _Section(NamedTuple):
    name: bytes
    """Its beginning: _LONGEST_NAME bytes at most."""
    type: int
    flags: int
    offset: int
    size: int
    align: int
    type_at: int
    """Where the file holds its sh_type."""


def describe(read_at: ReadAt, size: int) -> ElfFile:
    """Read an ELF file of `size` bytes. Raises BadDump if it is none."""
    header = parse_header(read_at(0, HEADER_SIZE))
    if header is None:
        raise BadDump("not an ELF file")
    named: Dict[bytes, _Section] = {}
    with_notes: List[_Section] = []
    code = set()
    for section in _sections(header, read_at):
        if section.type == SHT_NOTE:
            with_notes.append(section)
        if section.flags & SHF_EXECINSTR and section.size:
            code.add(section.type)
        if section.name in _NAMES and (section.offset + section.size <= size or section.type == SHT_NOBITS):
            named.setdefault(section.name, section)
    return ElfFile(
        header=header,
        build_id=_build_id(header, with_notes, read_at),
        has_debug_info=any(_has_bytes(named.get(name)) for name in _DEBUG_INFO),
        debug_only=SHT_NOBITS in code and SHT_PROGBITS not in code,
        debug_link=_debug_link(header, _content(named.get(_DEBUG_LINK), read_at)),
        alt_link=_alt_link(_content(named.get(_ALT_LINK), read_at)),
    )


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
        for section in _sections(header, read_at)
        if section.type == SHT_RELA and section.name.startswith(_SPARE) and section.offset + section.size <= size
    ]  # fmt: skip


def crc32(chunks: Iterator[bytes]) -> int:
    """The CRC .gnu_debuglink uses."""
    value = 0
    for chunk in chunks:
        value = zlib.crc32(chunk, value)
    return value


def _has_bytes(section: Optional[_Section]) -> bool:
    return section is not None and section.type != SHT_NOBITS and section.size > 0


def _content(section: Optional[_Section], read_at: ReadAt) -> bytes:
    if section is None or not _has_bytes(section) or section.size > MAX_LINK:
        return b""
    return read_at(section.offset, section.size)


def _sections(header: Header, read_at: ReadAt) -> Iterator[_Section]:
    entry = 64 if header.bits == 64 else 40
    if not header.shoff or header.shentsize != entry or not header.shstrndx < header.shnum <= MAX_SECTIONS:
        return
    raw = read_at(header.shoff, entry * header.shnum)
    if len(raw) < entry * header.shnum:
        return
    layout = header.order + ("IIQQQQIIQQ" if header.bits == 64 else "10I")
    strings = struct.unpack_from(layout, raw, header.shstrndx * entry)
    names = read_at(strings[4], min(strings[5], MAX_SECTION_NAMES))
    rows = struct.iter_unpack(layout, raw)
    for index, (name, kind, flags, _addr, offset, length, _link, _info, align, _entsize) in enumerate(rows):
        yield _Section(
            name=names[name : name + _LONGEST_NAME + 1].split(b"\0", 1)[0], type=kind, flags=flags, offset=offset,
            size=length, align=align, type_at=header.shoff + index * entry + 4,
        )  # fmt: skip


def _build_id(header: Header, with_notes: List[_Section], read_at: ReadAt) -> Optional[bytes]:
    """By section first: `objcopy --only-keep-debug` keeps the note section and leaves PT_NOTE pointing elsewhere."""
    parts = [(section.offset, section.size, section.align) for section in with_notes]
    if header.phentsize == segment_size(header):
        segments = parse_segments(header, read_at(header.phoff, header.phentsize * header.phnum))
        parts += [(one.offset, one.filesz, one.align) for one in segments if one.type == PT_NOTE]
    budget = MAX_NOTE_BYTES
    for offset, size, align in parts[:MAX_NOTE_PARTS]:
        data = read_at(offset, min(size, budget))
        budget -= len(data)
        found = notes.build_id(data, header.order, align)
        if found:
            return found
    return None


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
