# SPDX-License-Identifier: Apache-2.0
"""ELF sections: the table of them, and what they hold, decompressed. (gABI chapter 4, "Compressed section format";
binutils' older .zdebug_*: bfd/compress.c.)"""

import struct
import zlib
from functools import lru_cache
from typing import Any, Iterator, NamedTuple, Optional

from .header import Header, ReadAt

SHT_NULL, SHT_PROGBITS, SHT_RELA, SHT_NOTE, SHT_NOBITS = 0, 1, 4, 7, 8
SHF_EXECINSTR, SHF_COMPRESSED = 4, 0x800
ZLIB, ZSTD, ZLIB_GNU = "zlib", "zstd", "zlib-gnu"
MAX_SECTIONS = 1 << 16
MAX_SECTION_NAMES = 4 << 20
# What a compressed section may grow to in memory: several times what the skeletons of the largest programs need.
MAX_CONTENT = 128 << 20
_LONGEST_NAME = 32
_GNU_HEADER = 12


class Section(NamedTuple):
    """One section header, widened to 64 bit."""

    name: bytes
    """Its beginning: _LONGEST_NAME bytes at most."""
    type: int
    flags: int
    offset: int
    size: int
    align: int
    type_at: int
    """Where the file holds its sh_type."""

    @property
    def has_bytes(self) -> bool:
        return self.type not in (SHT_NULL, SHT_NOBITS) and self.size > 0


def sections(header: Header, read_at: ReadAt) -> Iterator[Section]:
    """The section headers; none if the table makes no sense."""
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
        yield Section(
            name=names[name : name + _LONGEST_NAME + 1].split(b"\0", 1)[0], type=kind, flags=flags, offset=offset,
            size=length, align=align, type_at=header.shoff + index * entry + 4,
        )  # fmt: skip


def compression_of(section: Section, header: Header, read_at: ReadAt) -> Optional[str]:
    """ZLIB, ZSTD, ZLIB_GNU or "type-N"; None if the section is not compressed."""
    if section.name.startswith(b".zdebug_"):
        return ZLIB_GNU
    if not section.flags & SHF_COMPRESSED:
        return None
    raw = read_at(section.offset, 4)
    kind = struct.unpack(header.order + "I", raw)[0] if len(raw) == 4 else 0
    return {1: ZLIB, 2: ZSTD}.get(kind, "type-%d" % kind)


def can_decompress(compression: Optional[str]) -> bool:
    """Whether this host can: zstd takes libzstd, which most have but need not."""
    return compression in (None, ZLIB, ZLIB_GNU) or (compression == ZSTD and _libzstd() is not None)


def content_reader(section: Section, header: Header, read_at: ReadAt) -> Optional[ReadAt]:
    """Reads within the section as it was before it was compressed: beyond its end there is nothing. None if it cannot
    be decompressed: damaged, too large, or this host cannot."""
    compression = compression_of(section, header, read_at)
    if compression is None:
        return lambda at, size: read_at(section.offset + at, max(0, min(size, section.size - at)))
    data = _decompressed(section, compression, header, read_at)
    return None if data is None else lambda at, size: data[at : at + size] if size > 0 else b""


def _decompressed(section: Section, compression: str, header: Header, read_at: ReadAt) -> Optional[bytes]:
    raw = read_at(section.offset, min(section.size, MAX_CONTENT))
    if compression == ZLIB_GNU:
        skip, size = _GNU_HEADER, int.from_bytes(raw[4:_GNU_HEADER], "big")
        if raw[:4] != b"ZLIB":
            return None
    else:
        # Elf64_Chdr: type, reserved, size, align; Elf32_Chdr: type, size, align.
        skip = 24 if header.bits == 64 else 12
        size = int.from_bytes(raw[8:16] if skip == 24 else raw[4:8], "little" if header.order == "<" else "big")
    if len(raw) <= skip or not 0 < size <= MAX_CONTENT:
        return None
    if compression == ZSTD:
        return _unzstd(raw[skip:], size)
    if compression not in (ZLIB, ZLIB_GNU):
        return None
    try:
        data = zlib.decompressobj().decompress(raw[skip:], size)
    except zlib.error:
        return None
    return data if len(data) == size else None


@lru_cache(maxsize=None)
def _libzstd() -> Any:
    """libzstd by ctypes, with the two calls that are needed here; None without either."""
    try:
        import ctypes

        library = ctypes.CDLL("libzstd.so.1")
    except (ImportError, OSError):
        return None
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    return library


def _unzstd(raw: bytes, size: int) -> Optional[bytes]:
    library = _libzstd()
    if library is None:
        return None
    import ctypes

    room = ctypes.create_string_buffer(size)
    # An error is a number close to the largest one (zstd.h, ZSTD_isError), never `size`.
    if library.ZSTD_decompress(room, size, raw, len(raw)) != size:
        return None
    return ctypes.string_at(room, size)
