# SPDX-License-Identifier: Apache-2.0
"""Where things are in struct module (include/linux/module.h), by BTF or by what has never changed."""

from typing import NamedTuple, Optional, Tuple

from .btf import Btf, Struct
from .vmcoreinfo import Unreadable

NAME_SIZE = 56  # MODULE_NAME_LEN of 64-bit kernels
# MOD_TEXT, MOD_DATA, MOD_RODATA and more: seven in 6.4.
_MAX_AREAS = 16
_RODATA = 2
_MAX_SIZE = 1 << 16


class Area(NamedTuple):
    """Offsets in struct module of the start and the size (an unsigned int) of one of its pieces of memory."""

    base: int
    size: int


class Notes(NamedTuple):
    """Offsets in struct module_notes_attrs and struct bin_attribute (kernel/module/sysfs.c)."""

    number: Optional[int]
    """Of the number of attributes, before 6.14."""
    attributes: Optional[int]
    """Of the attributes themselves, before 6.14."""
    pointers: Optional[int]
    """Of the pointer to a list of pointers to them, since 6.14 (grp.bin_attrs)."""
    attribute_size: int
    private: int
    """In an attribute: where the section lies in memory."""
    length: int


class Layout(NamedTuple):
    """Offsets in struct module; None for what it does not have."""

    size: int
    state: int
    list: int
    name: int
    areas: Tuple[Area, ...] = ()
    """The first is the text; notes are most likely in the one that `notes_first` says."""
    notes_first: int = 0
    srcversion: Optional[int] = None
    taints: Optional[int] = None
    build_id: Optional[int] = None
    notes_attrs: Optional[int] = None
    notes: Optional[Notes] = None


# The three first members have been these since 2.6 on 64-bit kernels: enum module_state, list_head, name.
PREFIX = Layout(size=24 + NAME_SIZE, state=0, list=8, name=24)


def layout(btf: Btf) -> Layout:
    """Raises Unreadable if there is no struct module, or one that is like no kernel's."""
    module = btf.find("module")
    state, links, name = module.offset("state"), module.offset("list"), module.offset("name")
    if state is None or links is None or name is None or module.size > _MAX_SIZE:
        raise Unreadable("the kernel's BTF has a struct module that is like no kernel's")
    return Layout(
        size=module.size,
        state=state,
        list=links,
        name=name,
        areas=_areas(btf, module),
        notes_first=_RODATA if "mem" in module.members else 0,
        srcversion=module.offset("srcversion"),
        taints=module.offset("taints"),
        build_id=module.offset("build_id"),
        notes_attrs=module.offset("notes_attrs"),
        notes=_notes(btf),
    )


def _areas(btf: Btf, module: Struct) -> Tuple[Area, ...]:
    if "mem" in module.members:  # since 6.4: ac3b432839234
        piece = btf.find("module_memory")
        base, size = piece.offset("base"), piece.offset("size")
        if base is None or size is None:
            return ()
        first, kind = module.members["mem"]
        starts = [first + number * piece.size for number in range(min(btf.elements(kind), _MAX_AREAS))]
        return tuple(Area(start + base, start + size) for start in starts)
    if "core_layout" in module.members:  # since 4.5: 7523e4dc5057e
        piece = btf.find("module_layout")
        base, size = piece.offset("base"), piece.offset("size")
        if base is not None and size is not None:
            start = module.members["core_layout"].offset
            return (Area(start + base, start + size),)
    base, size = module.offset("module_core"), module.offset("core_size")
    return (Area(base, size),) if base is not None and size is not None else ()


def _notes(btf: Btf) -> Optional[Notes]:
    try:
        table, attribute = btf.find("module_notes_attrs"), btf.find("bin_attribute")
        group = btf.find("attribute_group").offset("bin_attrs") if "grp" in table.members else None
    except Unreadable:
        return None
    private, length = attribute.offset("private"), attribute.offset("size")
    if private is None or length is None:
        return None
    grp = table.offset("grp")
    return Notes(
        number=table.offset("notes"),
        attributes=table.offset("attrs"),
        pointers=None if grp is None or group is None else grp + group,
        attribute_size=attribute.size,
        private=private,
        length=length,
    )
