# SPDX-License-Identifier: Apache-2.0
"""ELF images as they stand in a core's memory: where they lie, their build ID, SONAME and dynamic section."""

import struct
from typing import Dict, List, NamedTuple, Optional, Tuple

from . import notes
from .header import (
    ET_DYN,
    ET_EXEC,
    HEADER_SIZE,
    PT_DYNAMIC,
    PT_LOAD,
    PT_NOTE,
    Header,
    Segment,
    parse_header,
    parse_segments,
    segment_size,
)  # fmt: skip
from .memory import Memory

DT_NULL, DT_STRTAB, DT_SONAME, DT_DEBUG = 0, 5, 14, 21
DT_TEXTREL, DT_FLAGS, DF_TEXTREL = 22, 30, 4
DT_MIPS_RLD_MAP, DT_MIPS_RLD_MAP_REL = 0x70000016, 0x70000035
MAX_IMAGE_SEGMENTS = 4096
# PT_LOADs kept of an image. Linkers write two to six, and patchelf adds one whenever it is used.
MAX_LOADS = 32
# A linker writes one or two PT_NOTEs of some hundred bytes.
MAX_NOTE_SEGMENTS = 8
MAX_NOTE_BYTES = 1 << 14
MAX_DYNAMIC = 1 << 16


class Image(NamedTuple):
    """One ELF image in memory."""

    base: int
    """Address of its ELF header."""
    end: int
    """End of its last segment; base itself if the program headers were not dumped."""
    bias: int
    """To be added to a p_vaddr."""
    build_id: Optional[bytes]
    build_id_why: Optional[str]
    soname: Optional[bytes]
    dynamic: Optional[Tuple[int, int]]
    """Address and size of PT_DYNAMIC."""
    go_build_id: Optional[bytes] = None
    loads: Tuple[Segment, ...] = ()
    """Its PT_LOADs; empty if they were not dumped, or are too many."""
    relocated: bool = False
    """True if the dynamic linker has changed segments that are not writable (DT_TEXTREL)."""


def read_image(memory: Memory, base: int) -> Optional[Image]:
    """The image whose ELF header was dumped at `base`, or None if there is none (or one of no loadable type)."""
    head = memory.read(base, HEADER_SIZE)
    header = parse_header(head)
    if header is None or header.type not in (ET_EXEC, ET_DYN):
        return None
    segments = _segments(memory, base, header)
    loads = [segment for segment in segments if segment.type == PT_LOAD]
    if not loads:
        return Image(base, base, base, None, "its program headers are not in the dump", None, None)
    bias = bias_of(header, segments, base)
    ids, why = _ids(memory, header, segments, bias)
    dynamic = dynamic_of(header, segments, bias)
    values = {tag: value for tag, value, _at in dynamic_entries(memory, header, dynamic)} if dynamic else {}
    return Image(
        base=base,
        end=min(bias + max(s.vaddr + s.memsz for s in loads), header.mask) if bias >= 0 else base,
        bias=bias & header.mask,
        build_id=ids.build_id,
        build_id_why=why,
        soname=_soname(memory, header, values, bias),
        dynamic=dynamic,
        go_build_id=ids.go_build_id,
        loads=tuple(loads) if len(loads) <= MAX_LOADS else (),
        relocated=DT_TEXTREL in values or bool(values.get(DT_FLAGS, 0) & DF_TEXTREL),
    )


def bias_of(header: Header, segments: List[Segment], base: int) -> int:
    """What `base`, the address of file offset 0, is above the p_vaddr that the file gives that offset."""
    loads = [segment for segment in segments if segment.type == PT_LOAD]
    first = next((segment for segment in loads if segment.offset == 0), loads[0])
    return base - (first.vaddr - first.offset)


def dynamic_of(header: Header, segments: List[Segment], bias: int) -> Optional[Tuple[int, int]]:
    for segment in segments:
        if segment.type == PT_DYNAMIC:
            return (bias + segment.vaddr) & header.mask, min(segment.memsz, MAX_DYNAMIC)
    return None


def dynamic_entries(memory: Memory, header: Header, dynamic: Tuple[int, int]) -> List[Tuple[int, int, int]]:
    """(tag, value, address of the entry) up to DT_NULL, as far as they were dumped."""
    address, size = dynamic
    data = memory.read(address, size)
    pair = header.order + header.word[1] * 2
    step = struct.calcsize(pair)
    entries = []
    for index, (tag, value) in enumerate(struct.iter_unpack(pair, data[: len(data) // step * step])):
        if tag == DT_NULL:
            break
        entries.append((tag, value, address + index * step))
    return entries


def _segments(memory: Memory, base: int, header: Header) -> List[Segment]:
    if header.phentsize != segment_size(header) or not 0 < header.phnum <= MAX_IMAGE_SEGMENTS:
        return []
    raw = memory.read_all(base + header.phoff, header.phnum * header.phentsize)
    return parse_segments(header, raw) if raw is not None else []


def _ids(
    memory: Memory, header: Header, segments: List[Segment], bias: int
) -> Tuple[notes.FileNotes, Optional[str]]:
    """The IDs that its notes hold, and why there is no build ID."""
    found = notes.FileNotes()
    why = "it has no build ID"
    for segment in [segment for segment in segments if segment.type == PT_NOTE][:MAX_NOTE_SEGMENTS]:
        size = min(segment.filesz, MAX_NOTE_BYTES)
        data = memory.read((bias + segment.vaddr) & header.mask, size)
        more = notes.file_notes(data, header.order, segment.align)
        found = notes.FileNotes(found.build_id or more.build_id, found.go_build_id or more.go_build_id)
        if len(data) < size:
            why = "its notes are not in the dump"
    if found.build_id is None and found.go_build_id is not None:
        why = "it has Go's own build ID only"
    return found, why if found.build_id is None else None


def _soname(memory: Memory, header: Header, values: Dict[int, int], bias: int) -> Optional[bytes]:
    """glibc relocates DT_STRTAB in place on most machines and leaves it alone on others (elf/get-dynamic-info.h,
    DL_RO_DYN_SECTION), so both readings are tried."""
    if DT_SONAME not in values or DT_STRTAB not in values:
        return None
    for table in (values[DT_STRTAB], values[DT_STRTAB] + bias):
        name = memory.string((table + values[DT_SONAME]) & header.mask)
        if name:
            return name
    return None
