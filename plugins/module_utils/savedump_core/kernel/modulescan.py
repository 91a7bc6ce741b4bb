# SPDX-License-Identifier: Apache-2.0
"""Where modules are, without a symbol: the page tables say what is mapped where modules go, and one struct module that
is found there leads to all."""

import bisect
import re
import struct
from typing import List, NamedTuple, Optional, Tuple

from .capture import NotDumped
from .memory import Memory, Run
from .modulelayout import NAME_SIZE
from .paging import X86_TEXT
from .vmcoreinfo import Unreadable, Vmcoreinfo

# arch/x86/include/asm/pgtable_64_types.h, MODULES_END: the fixed mappings follow.
_X86_END = 0xFFFFFFFFFF000000
# arm64 places modules within 2 GiB of the kernel (arch/arm64/kernel/module.c), and KASLR anywhere in there.
_NEAR = 2 << 30
# One module's memory; and all that is searched for the first one.
MAX_RANGE = 64 << 20
MAX_SEARCHED = 128 << 20
_ALIGN = 64  # struct module is aligned to a cache line
_HEAD = struct.calcsize("<IIQQ")
_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,54}\0")
_MAX_STATE = 3
_STEP = 1 << 20
_IMAGE = ("_stext", "init_uts_ns", "swapper_pg_dir")  # symbols that are in the kernel's image


class Range(NamedTuple):
    """Addresses without a gap in the part of memory where modules are, and how they are mapped."""

    start: int
    end: int
    runs: Tuple[Run, ...]


def ranges(memory: Memory, info: Vmcoreinfo) -> List[Range]:
    """What is mapped where modules are, without the kernel's own image. Raises Unreadable."""
    machine = memory.capture.machine
    found: List[Range] = []
    if machine == "x86_64":
        size = info.number("KERNEL_IMAGE_SIZE") if info.has("NUMBER(KERNEL_IMAGE_SIZE)") else 512 << 20
        found = _merged(memory.runs(X86_TEXT + min(max(size, 0), 1 << 30), _X86_END))
    elif machine == "aarch64":
        if info.has("NUMBER(MODULES_VADDR)") and info.has("NUMBER(MODULES_END)"):
            found = _merged(memory.runs(info.number("MODULES_VADDR"), info.number("MODULES_END")))
        if not found:
            near = info.symbol("_stext")
            found = _merged(memory.runs(max(0, near - _NEAR), near + _NEAR))
    else:
        raise Unreadable("the modules of %s are not searched for" % machine)
    image = [info.symbol(name) for name in _IMAGE if info.has("SYMBOL(%s)" % name)]
    return [
        one for one in found if one.end - one.start <= MAX_RANGE and not any(one.start <= at < one.end for at in image)
    ]


def holder(found: List[Range], address: int) -> Optional[Range]:
    """The range that an address is in."""
    index = bisect.bisect_right(found, (address, 1 << 64)) - 1
    return found[index] if index >= 0 and address < found[index].end else None


def first_module(memory: Memory, found: List[Range]) -> int:
    """Address of some struct module: a state, list pointers whose targets point back, a name. Raises Unreadable."""
    searched = 0
    # A module's data is writable and no code; a kernel without CONFIG_STRICT_MODULE_RWX maps all of it alike.
    for likely in (True, False):
        for one in found:
            for run in one.runs:
                if (run.writable and not run.executable) is not likely or searched >= MAX_SEARCHED:
                    continue
                searched += run.end - run.start
                address = _in_run(memory, run)
                if address is not None:
                    return address
    raise Unreadable(
        "none is found in the memory mapped where modules are (%d pieces, %d KiB)"
        % (len(found), sum(one.end - one.start for one in found) >> 10)
    )


def _in_run(memory: Memory, run: Run) -> Optional[int]:
    head = struct.Struct(memory.order + "IIQQ")
    for start in range(run.start, run.end, _STEP):
        raw = memory.read_holey(start, min(_STEP + _HEAD + NAME_SIZE, run.end - start))
        for at in range(0, min(_STEP, len(raw) - _HEAD - NAME_SIZE), _ALIGN):
            state, _padding, following, previous = head.unpack_from(raw, at)
            if state > _MAX_STATE or following >> 47 != 0x1FFFF or previous >> 47 != 0x1FFFF:
                continue
            if _NAME.match(raw, at + _HEAD) and _in_list(memory, start + at + 8, following, previous):
                return start + at
    return None


def _in_list(memory: Memory, node: int, following: int, previous: int) -> bool:
    try:
        return memory.word(following + 8) == node and memory.word(previous) == node
    except NotDumped:
        return False


def _merged(runs: List[Run]) -> List[Range]:
    found: List[Range] = []
    for run in runs:
        if found and found[-1].end == run.start:
            found[-1] = Range(found[-1].start, run.end, found[-1].runs + (run,))
        else:
            found.append(Range(run.start, run.end, (run,)))
    return found
