# SPDX-License-Identifier: Apache-2.0
"""The kernel's own symbol table, whose places VMCOREINFO gives since 6.0 (scripts/kallsyms.c, kernel/kallsyms.c).

Names are packed: each byte stands for one of 256 strings, the first character of the whole is the symbol's type.
"""

import struct
from typing import Dict, FrozenSet, Iterator, List, Sequence, Tuple

from .memory import Memory
from .vmcoreinfo import MASK, Unreadable, Vmcoreinfo

# Distributions' kernels have 150,000 to 250,000 symbols; their packed names take 2 to 4 MB.
MAX_SYMBOLS = 1 << 21
MAX_NAMES = 32 << 20

_ANCHOR = b"_stext"
_STEP = 1 << 16
# A length of two bytes has 14 bits.
_LONGEST = (1 << 14) + 2
# Of one static name.
_MAX_HITS = 16


def find(
    memory: Memory, info: Vmcoreinfo, wanted: Sequence[str], also: Sequence[str] = ()
) -> Dict[str, Tuple[int, ...]]:
    """Addresses of these symbols; one that is not in the table has no key. The search ends when all `wanted` ones were
    found (in a dump of LZO pages each MB takes a quarter of a second), and gives those of `also`, and of static ones
    with the same name, that it met. Raises Unreadable if there is no table, or if what it says of _stext is not what
    VMCOREINFO says."""
    if not info.has("SYMBOL(kallsyms_names)"):
        raise Unreadable("VMCOREINFO does not give the kernel's symbol table (it does since 6.0)")
    count = memory.u32(info.symbol("kallsyms_num_syms"))
    if not 0 < count <= MAX_SYMBOLS:
        raise Unreadable("the kernel's symbol table claims %d symbols" % count)
    needed = frozenset(name.encode() for name in wanted) | {_ANCHOR}
    names = needed | frozenset(name.encode() for name in also)
    tokens = _tokens(memory, info, max(map(len, names)) + 1)
    hits: Dict[bytes, List[int]] = {}
    for name, index in _indices(_blocks(memory, info, count), count, tokens, names):
        if len(hits.setdefault(name, [])) < _MAX_HITS:
            hits[name].append(index)
        if needed <= hits.keys():
            break
    address = _Addresses(memory, info, count, hits.get(_ANCHOR, []))
    return {name.decode(): tuple(address.of(index) for index in hits[name]) for name in hits}


def _tokens(memory: Memory, info: Vmcoreinfo, longest: int) -> List[bytes]:
    """The 256 strings. One that is longer than anything looked for stands as a NUL, which no name has."""
    starts = struct.unpack(memory.order + "256H", memory.read(info.symbol("kallsyms_token_index"), 512))
    table = info.symbol("kallsyms_token_table")
    # The last string is short, and the index follows the table at once.
    raw = memory.read(table, max(starts)) + memory.string(table + max(starts), 512) + b"\0"
    tokens = [raw[start : start + longest + 1].split(b"\0", 1) for start in starts]
    return [token[0] if len(token) == 2 else b"\0" for token in tokens]


def _blocks(memory: Memory, info: Vmcoreinfo, count: int) -> Iterator[bytes]:
    """The packed names, piece by piece: they end before the token table, which every version puts behind them."""
    start = info.symbol("kallsyms_names")
    size = info.symbol("kallsyms_token_table") - start
    if not count <= size <= MAX_NAMES:
        raise Unreadable("the kernel's symbol table has %d bytes for %d names" % (size, count))
    for at in range(0, size, _STEP):
        yield memory.read(start + at, min(_STEP, size - at))


def _indices(
    blocks: Iterator[bytes], count: int, tokens: List[bytes], names: FrozenSet[bytes]
) -> Iterator[Tuple[bytes, int]]:
    """Which symbols have these names, as (name, index).

    150,000 names take 0.07 s on Python 3.11, for only those are unpacked that end as a wanted name does and are
    no longer in bytes than it is in characters.
    """
    ends = [any(name.endswith(token) or token.endswith(name) for name in names) for token in tokens]
    longest = max(map(len, names)) + 1
    packed = b""
    at = safe = 0
    try:
        for index in range(count):
            if at >= safe:
                packed = packed[at:] + next(blocks, b"")
                at, safe = 0, len(packed) - _LONGEST
            length = packed[at]
            at += 1
            # Since 6.1 a long name's length has two bytes (73bbb94466fd3); no name before had 128.
            if length & 0x80:
                length = length & 0x7F | packed[at] << 7
                at += 1
            at += length
            if length <= longest and ends[packed[at - 1]]:
                name = b"".join([tokens[byte] for byte in packed[at - length : at]])[1:]
                if name in names:
                    yield name, index
    except IndexError:
        raise Unreadable("the names of the kernel's symbol table overrun it") from None


class _Addresses:
    """From a symbol's index to its address, in the way that gives _stext the address VMCOREINFO says."""

    def __init__(self, memory: Memory, info: Vmcoreinfo, count: int, anchors: List[int]) -> None:
        self._memory = memory
        ways = []
        if info.has("SYMBOL(kallsyms_offsets)"):
            self._table = info.symbol("kallsyms_offsets")
            if info.has("SYMBOL(kallsyms_relative_base)"):
                self._base = memory.word(info.symbol("kallsyms_relative_base"))
                ways = [self._from_base, self._absolute_percpu]
            else:
                ways = [self._from_place]  # since 7.0: a081b5789255d
        elif info.has("SYMBOL(kallsyms_addresses)"):
            self._table = info.symbol("kallsyms_addresses")
            ways = [self._absolute]
        anchor = info.symbol(_ANCHOR.decode())
        for way in ways:
            if any(way(index) == anchor for index in anchors):
                self.of = way
                return
        raise Unreadable("the kernel's symbol table does not place _stext where VMCOREINFO does (0x%x)" % anchor)

    def _offset(self, index: int) -> int:
        return struct.unpack(self._memory.order + "i", self._memory.read(self._table + 4 * index, 4))[0]

    def _from_base(self, index: int) -> int:
        """CONFIG_KALLSYMS_BASE_RELATIVE: an unsigned offset."""
        return (self._base + (self._offset(index) & 0xFFFFFFFF)) & MASK

    def _absolute_percpu(self, index: int) -> int:
        """CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86_64 before 6.15): only what is negative is relative."""
        offset = self._offset(index)
        return offset if offset >= 0 else (self._base - 1 - offset) & MASK

    def _from_place(self, index: int) -> int:
        return (self._table + 4 * index + self._offset(index)) & MASK

    def _absolute(self, index: int) -> int:
        return self._memory.word(self._table + self._memory.word_size * index)
