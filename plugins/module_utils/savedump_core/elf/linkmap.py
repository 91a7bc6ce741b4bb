# SPDX-License-Identifier: Apache-2.0
"""The dynamic linker's own list of what it loaded: struct r_debug and struct link_map (glibc elf/link.h; musl's and
bionic's begin alike), in every namespace that dlmopen made."""

import struct
from typing import List, NamedTuple, Optional, Tuple

from .header import Header
from .image import DT_DEBUG, DT_MIPS_RLD_MAP, DT_MIPS_RLD_MAP_REL, dynamic_entries
from .memory import Memory

MAX_LINK_MAPS = 1 << 14
MAX_NAME_BYTES = 16 << 20
MAX_NAMESPACES = 64


class LinkMap(NamedTuple):
    """One struct link_map."""

    name: Optional[bytes]
    """l_name; b"" for the main program; None if it was not dumped."""
    dynamic: int
    """l_ld: the address of its dynamic section, which tells whose it is."""
    namespace: int


def find_r_debug(memory: Memory, header: Header, dynamic: Tuple[int, int]) -> Optional[int]:
    """The address of struct r_debug that this dynamic section gives, or None."""
    for tag, value, at in dynamic_entries(memory, header, dynamic):
        if tag == DT_DEBUG and value:
            return value
        if tag == DT_MIPS_RLD_MAP:
            return memory.word(value)
        if tag == DT_MIPS_RLD_MAP_REL:
            return memory.word((at + value) & header.mask)
    return None


def walk(memory: Memory, header: Header, r_debug: int) -> Tuple[List[LinkMap], List[str]]:
    """All link maps, and one sentence for each place where the chain broke."""
    maps: List[LinkMap] = []
    problems = []
    seen = set()
    word = header.word_size
    address: Optional[int] = r_debug
    namespace = 0
    while address and address not in seen and namespace < MAX_NAMESPACES:
        seen.add(address)
        version = memory.read_all(address, 4)
        if version is None:
            problems.append("the dynamic linker's r_debug at 0x%x is not in the dump" % address)
            break
        problem = _walk_namespace(memory, header, memory.word(address + word), namespace, maps)
        if problem:
            problems.append(problem)
        # r_next came with r_version 2 in glibc 2.35 (struct r_debug_extended).
        address = memory.word(address + 5 * word) if struct.unpack(header.order + "i", version)[0] >= 2 else None
        namespace += 1
    return maps, problems


def _walk_namespace(
    memory: Memory, header: Header, first: Optional[int], namespace: int, maps: List[LinkMap]
) -> Optional[str]:
    seen = set()
    address = first
    name_bytes = sum(len(one.name or b"") for one in maps)
    while address:
        if address in seen:
            return "the link map list loops at 0x%x" % address
        if len(maps) >= MAX_LINK_MAPS:
            return "more than %d link maps" % MAX_LINK_MAPS
        seen.add(address)
        data = memory.read_all(address, 5 * header.word_size)
        if data is None:
            return "the link map at 0x%x is not in the dump: later libraries are known by their mappings" % address
        _addr, name, dynamic, following, _previous = struct.unpack(header.order + header.word[1] * 5, data)
        if name_bytes > MAX_NAME_BYTES:
            return "the link maps' names have more than %d bytes" % MAX_NAME_BYTES
        text = memory.string(name)
        name_bytes += len(text or b"")
        maps.append(LinkMap(name=text, dynamic=dynamic, namespace=namespace))
        address = following
    return None
