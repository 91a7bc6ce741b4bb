# SPDX-License-Identifier: Apache-2.0
"""The loaded modules and their build IDs, without a file of the host's: by the kernel's symbols and BTF where it has
them, else by its page tables and what every kernel's struct module begins with."""

import re
import struct
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..elf.notes import MAX_BUILD_ID, build_id
from . import modulescan
from .capture import NotDumped
from .image import build_id_after, build_id_mark
from .memory import Memory
from .modulelayout import PREFIX, Layout, Notes
from .vmcoreinfo import Unreadable, Vmcoreinfo

MAX_MODULES = 4096
# One module's attributes; the bytes of one note section; of one module's memory; of all memory searched for notes.
_MAX_ATTRIBUTES = 16
_MAX_NOTE = 1024
_MAX_AREA = 64 << 20
_MAX_SEARCHED = 64 << 20
_SECTION_COST = 4096
_MAX_HITS = 64
_UNFORMED = 3  # MODULE_STATE_UNFORMED: being set up, and in no list that a user sees
# A name becomes a file's: nothing that could leave its folder.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}\Z")
# Documentation/admin-guide/tainted-kernels.rst; the letter of bit n.
TAINTS = "PFSRMBUDAWCIOELKXTNJ"


class KernelModule(NamedTuple):
    """A loaded kernel module."""

    name: str
    """As the kernel has it: with "_" where its file may have "-"."""
    build_id: Optional[bytes]
    build_id_why: Optional[str]
    """Why build_id is None, else None."""
    start: int
    """Address of its text (before 6.4: of all of it); 0 if it could not be read."""
    size: Optional[int]
    """Bytes from there on."""
    srcversion: Optional[str] = None
    """modinfo's srcversion; most modules have none."""
    taints: Optional[str] = None
    """The letters for why it taints the kernel, as /sys/module/NAME/taint shows them; "" if it does not."""


class Listing(NamedTuple):
    """What came of reading the list."""

    modules: Tuple[KernelModule, ...]
    why: Optional[str] = None
    """Why it is not whole, else None."""


def read_modules(memory: Memory, info: Vmcoreinfo, heads: Sequence[int], layout: Optional[Layout]) -> Listing:
    """The list, newest module first, as the kernel keeps it. `heads` are the addresses that the symbol "modules" may
    have; where there is none, a module is searched for. `layout` is None without BTF. Raises Unreadable or NotDumped if
    nothing can be read of it."""
    found: List[modulescan.Range] = []
    if layout is None:
        if memory.bits != 64:
            raise Unreadable("the kernel has no BTF, by which modules are read")
        found = modulescan.ranges(memory, info)
    reader = _Reader(memory, layout or PREFIX, found)
    why = ""
    for head in heads:
        try:
            return reader.listing(head, *reader.walk(head))
        except (NotDumped, Unreadable) as error:
            why = str(error)
    if memory.bits != 64 or memory.scheme is None:
        raise Unreadable(why or "the kernel's symbol table does not have its list of modules")
    try:
        return _by_scan(memory, info, reader, found)
    except (NotDumped, Unreadable) as error:
        raise Unreadable("%s; %s" % (why, error) if why else str(error)) from None


def taint_letters(bits: int) -> str:
    """The letters of a taint mask's bits; bit 0 of a module means that it is proprietary."""
    return "".join(letter for number, letter in enumerate(TAINTS) if bits >> number & 1)


def _by_scan(memory: Memory, info: Vmcoreinfo, reader: "_Reader", found: List[modulescan.Range]) -> Listing:
    found = found or modulescan.ranges(memory, info)
    node = modulescan.first_module(memory, found) + PREFIX.list
    nodes, why = reader.walk(node)
    # The list is a ring: one of its members is no module but the head, which is in the kernel's image.
    ring = [node] + nodes
    at = next((index for index, one in enumerate(ring) if modulescan.holder(found, one) is None), None)
    if at is None:
        return reader.listing(0, ring, why or "the head of the list of modules was not met")
    return reader.listing(ring[at], ring[at + 1 :] + ring[:at], why)


class _Reader:
    """Reads modules of one layout."""

    def __init__(self, memory: Memory, layout: Layout, found: List[modulescan.Range]) -> None:
        self._memory = memory
        self._layout = layout
        self._ranges = found
        """Without BTF: where modules are."""
        self._left = _MAX_SEARCHED

    def walk(self, head: int) -> Tuple[List[int], Optional[str]]:
        """The list's nodes but for `head`, and why they are not all. Where the list breaks, it is read from its end
        towards the break as well. Raises Unreadable if that is no list, NotDumped if it is not in the dump."""
        memory = self._memory
        if not (self._points(head, 0) or self._points(head, memory.word_size)):
            raise Unreadable("0x%x is not the head of the list of modules" % head)
        forward, why = self._chain(head, 0)
        if why is None:
            return forward, None
        backward, _why = self._chain(head, memory.word_size)
        known = set(forward)
        return forward + [node for node in reversed(backward) if node not in known], why

    def _points(self, head: int, at: int) -> bool:
        """True if the neighbour on this side points back."""
        neighbour = self._memory.word(head + at)
        try:
            return self._memory.word(neighbour + self._memory.word_size - at) == head
        except NotDumped:
            return False

    def _chain(self, head: int, at: int) -> Tuple[List[int], Optional[str]]:
        nodes: List[int] = []
        seen = {head}
        try:
            node = self._memory.word(head + at)
            while node != head:
                if node in seen or len(nodes) >= MAX_MODULES:
                    return nodes, "the list of modules does not end"
                self._memory.read(node, 2 * self._memory.word_size)
                seen.add(node)
                nodes.append(node)
                node = self._memory.word(node + at)
        except NotDumped as error:
            return nodes, "the list of modules breaks after %d: %s" % (len(nodes), error)
        return nodes, None

    def listing(self, head: int, nodes: List[int], why: Optional[str]) -> Listing:
        modules = []
        for node in nodes:
            try:
                module = self._module(node - self._layout.list)
            except NotDumped as error:
                why = why or "a module of the list is not in the dump: %s" % error
                continue
            except Unreadable as error:
                why = why or str(error)
                continue
            if module is not None:
                modules.append(module)
        if nodes and not modules and why:
            raise Unreadable(why)
        return Listing(modules=tuple(modules), why=why)

    def _module(self, address: int) -> Optional[KernelModule]:
        """None if it is not yet one."""
        layout, memory = self._layout, self._memory
        raw = memory.read(address, layout.size)
        name = raw[layout.name : layout.name + 64].split(b"\0", 1)[0].decode("ascii", "replace")
        if not _NAME.match(name):
            raise Unreadable("a module at 0x%x has a name that no module has" % address)
        if struct.unpack_from(memory.order + "I", raw, layout.state)[0] == _UNFORMED:
            return None
        areas = self._areas(raw)
        beside = modulescan.holder(self._ranges, address)
        near = [(beside.start, beside.end - beside.start)] if beside else []
        # From 6.4 on the text is not beside the data, where struct module is.
        text = [beside.start] if beside and any(run.executable for run in beside.runs) else [0]
        found, why = self._build_id(raw, areas or near)
        return KernelModule(
            name=name,
            build_id=found,
            build_id_why=None if found else why,
            start=areas[0][0] if areas else text[0],
            size=areas[0][1] if areas else None,
            srcversion=self._srcversion(raw),
            taints=None if layout.taints is None else taint_letters(self._word(raw, layout.taints)),
        )

    def _areas(self, raw: bytes) -> List[Tuple[int, int]]:
        """(start, size) of the module's pieces of memory; the first is its text. None without BTF."""
        return [
            (self._word(raw, area.base), struct.unpack_from(self._memory.order + "I", raw, area.size)[0])
            for area in self._layout.areas
        ]

    def _srcversion(self, raw: bytes) -> Optional[str]:
        at = self._word(raw, self._layout.srcversion) if self._layout.srcversion is not None else 0
        if not at:
            return None
        try:
            return self._memory.string(at, 64).decode("ascii", "replace")
        except NotDumped:
            return None

    def _build_id(self, raw: bytes, areas: List[Tuple[int, int]]) -> Tuple[Optional[bytes], Optional[str]]:
        layout = self._layout
        why = "no build ID note is in its memory"
        if not layout.areas:
            why = "the kernel has no BTF, and no build ID note is beside its struct module"
        if layout.build_id is not None:  # CONFIG_STACKTRACE_BUILD_ID
            found = raw[layout.build_id : layout.build_id + 20]
            if any(found):
                return found, None
        table = self._word(raw, layout.notes_attrs) if layout.notes_attrs is not None else 0
        if table and layout.notes is not None:
            try:
                for start, size in self._sections(table, layout.notes):
                    self._left -= _SECTION_COST
                    if self._left < 0:
                        break
                    note = build_id(self._memory.read(start, min(size, _MAX_NOTE)), self._memory.order, 4)
                    if note:
                        return note, None
            except NotDumped as error:
                # The attributes are slab memory, which a newer kernel's dump level may leave out.
                why = "%s, and %s" % (error, why)
        order = sorted(range(len(areas)), key=lambda number: number != layout.notes_first)
        for number in order:
            found_there = self._search(*areas[number])
            if found_there:
                return found_there, None
        return None, why

    def _sections(self, table: int, notes: Notes) -> Iterator[Tuple[int, int]]:
        """(start, size) of the module's note sections."""
        memory = self._memory
        attributes: List[int] = []
        if notes.pointers is not None:
            pointers = memory.word(table + notes.pointers)
            while pointers and len(attributes) < _MAX_ATTRIBUTES:
                attribute = memory.word(pointers + memory.word_size * len(attributes))
                if not attribute:
                    break
                attributes.append(attribute)
        elif notes.number is not None and notes.attributes is not None:
            count = min(memory.u32(table + notes.number), _MAX_ATTRIBUTES)
            first = table + notes.attributes
            attributes = [first + number * notes.attribute_size for number in range(count)]
        for attribute in attributes:
            yield memory.word(attribute + notes.private), memory.word(attribute + notes.length)

    def _search(self, start: int, size: int) -> Optional[bytes]:
        """A build ID note somewhere in a module's memory."""
        mark = build_id_mark(self._memory.order)
        tail = b""
        if not start or size > min(_MAX_AREA, self._left):
            return None
        for at in range(start, start + size, 1 << 16):
            step = min(1 << 16, start + size - at)
            self._left -= step
            block = tail + self._memory.read_holey(at, step)
            hit = block.find(mark)
            for _hit in range(_MAX_HITS):
                found = build_id_after(block, hit, self._memory.order) if hit >= 0 else None
                if found:
                    return found
                hit = block.find(mark, hit + 1) if hit >= 0 else -1
            tail = block[-MAX_BUILD_ID:]
        return None

    def _word(self, raw: bytes, at: int) -> int:
        return struct.unpack_from(self._memory.order + ("Q" if self._memory.bits == 64 else "I"), raw, at)[0]
