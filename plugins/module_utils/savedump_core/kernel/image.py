# SPDX-License-Identifier: Apache-2.0
"""A search through the kernel's own image in memory, for what no symbol leads to: kernels whose VMCOREINFO does not
give their symbol table (before 6.0), and tables without data (CONFIG_KALLSYMS_ALL off).
"""

import struct
from typing import Dict, List, NamedTuple, Optional, Tuple

from . import btf, config
from .capture import NotDumped
from .memory import Memory, Run
from .vmcoreinfo import Unreadable, Vmcoreinfo

# An image has 20 to 60 MB.
MAX_IMAGE = 128 << 20
_STEP = 1 << 20
# What may lie across two steps: a note's head, a string's start.
_OVERLAP = 64
_BANNER = b"Linux version "
_MAX_BANNER = 1024
# Distributions' BTF has megabytes; what is shorter is some test's.
_MIN_BTF = 1 << 16
# binutils: md5, uuid, sha1; sha256 by hand.
_BUILD_ID_SIZES = (16, 20, 32)


class Image(NamedTuple):
    """What was found."""

    btf: Optional[Tuple[int, int]] = None
    """Start and end."""
    build_ids: Tuple[bytes, ...] = ()
    """Those that are not of a vDSO inside the image; more than one prove nothing."""
    banners: Tuple[bytes, ...] = ()
    """What looks like linux_banner: newer kernels have one without a build number as well."""
    config: Optional[int] = None
    """Where the packed configuration begins."""


def search(memory: Memory, info: Vmcoreinfo, all_of: Tuple[str, ...]) -> Image:
    """Looks until these fields are found. Raises Unreadable for a machine whose page tables are not read."""
    found: Dict[str, List[int]] = {"btf": [], "build_ids": [], "banners": [], "config": []}
    patterns = _patterns(memory.order)
    image = Image()
    for run in _largest(memory.runs(*_bounds(info))):
        _look(memory, run, patterns, found)
        image = _image(memory, found)
        if all(getattr(image, name) for name in all_of):
            break
    return image


def build_id_after(raw: bytes, at: int, order: str) -> Optional[bytes]:
    """Of a note whose type and name, as build_id_mark has them, begin at `at`."""
    if at < 8:
        return None
    name_size, size = struct.unpack_from(order + "II", raw, at - 8)
    start = at + 8
    if name_size != 4 or size not in _BUILD_ID_SIZES or start + size > len(raw):
        return None
    return raw[start : start + size]


def build_id_mark(order: str) -> bytes:
    """NT_GNU_BUILD_ID and the name, as they lie in a note behind its two sizes."""
    return struct.pack(order + "I4s", 3, b"GNU\0")


def _bounds(info: Vmcoreinfo) -> Tuple[int, int]:
    """From the start of the text to the last symbol that VMCOREINFO knows, which is in .data or behind it."""
    start = info.symbol("_stext")
    symbols = [info.symbol(key[7:-1]) for key in info.values if key.startswith("SYMBOL(")]
    end = max(address for address in symbols if start <= address < start + MAX_IMAGE)
    return start & -(1 << 21), (end + 4096) & -4096


def _largest(runs: List[Run]) -> List[Run]:
    """The largest run of constant data, of text, and of the rest (CONFIG_STRICT_KERNEL_RWX), in that order.

    Not the others: the memory between and behind them was freed after boot, and may hold modules and their notes.
    """
    kinds: List[List[Run]] = [[], [], []]
    for run in runs:
        kinds[2 if run.writable else int(run.executable)].append(run)
    return [max(kind, key=lambda run: run.end - run.start) for kind in kinds if kind]


def _patterns(order: str) -> Dict[str, bytes]:
    return {
        "btf": struct.pack(order + "HBB", btf.MAGIC, 1, 0),
        "build_ids": build_id_mark(order),
        "banners": _BANNER,
        "config": config.START + b"\x1f\x8b",
    }


def _look(memory: Memory, run: Run, patterns: Dict[str, bytes], found: Dict[str, List[int]]) -> None:
    tail = b""
    for at in range(run.start, run.end, _STEP):
        block = tail + memory.read_holey(at, min(_STEP, run.end - at))
        base = at - len(tail)
        for name, pattern in patterns.items():
            hit = block.find(pattern)
            # 1024 of a kind: hostile memory may be full of them.
            while hit >= 0 and len(found[name]) < 1024:
                if hit + len(pattern) > len(tail):
                    found[name].append(base + hit)
                hit = block.find(pattern, hit + 1)
        tail = block[-_OVERLAP:]


def _image(memory: Memory, found: Dict[str, List[int]]) -> Image:
    ids = [_build_id(memory, at) for at in found["build_ids"]]
    banners = (_read_banner(memory, at) for at in found["banners"])
    ranges = (_btf_range(memory, at) for at in found["btf"])
    return Image(
        btf=next((one for one in ranges if one), None),
        build_ids=tuple(sorted({one for one in ids if one})),
        banners=tuple(sorted({one for one in banners if one})),
        config=next((at + len(config.START) for at in found["config"]), None),
    )


def _build_id(memory: Memory, at: int) -> Optional[bytes]:
    """None for a vDSO's: those lie in the image as whole ELF files at a page's start (vdso2c.c, vdso.S)."""
    try:
        found = build_id_after(memory.read(at - 8, 16) + memory.read_holey(at + 8, 32), 8, memory.order)
    except NotDumped:
        return None
    pages = [(at & -4096) - 4096 * number for number in range(4)]
    return None if any(memory.read_holey(page, 4) == b"\x7fELF" for page in pages) else found


def _read_banner(memory: Memory, at: int) -> Optional[bytes]:
    """linux_banner ends with a newline (init/version.c); linux_proc_banner has "%s" for the release."""
    try:
        text = memory.string(at, _MAX_BANNER)
    except NotDumped:
        return None
    return text.rstrip(b"\n") if text.endswith(b"\n") and b"%s" not in text else None


def _btf_range(memory: Memory, at: int) -> Optional[Tuple[int, int]]:
    try:
        header = btf.parse_header(memory.read(at, btf.HEADER_SIZE), memory.order)
        if header is None or header.end < _MIN_BTF or memory.read(at + header.strings, 1) != b"\0":
            return None
        memory.read(at + header.end - 1, 1)
    except (NotDumped, Unreadable):
        return None
    return at, at + header.end
