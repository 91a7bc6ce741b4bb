# SPDX-License-Identifier: Apache-2.0
"""Whether a file that is open is the one that is wanted. The only place that decides: finders propose.

A file is what a want asks for if its build ID says so. Where the want has none, a debug file may be proven by the CRC
of .gnu_debuglink, a split one by the IDs of its units, a vmlinux by its banner, any loaded file by Go's own build ID or
by the pages of it that the dump holds; one that was rebuilt from the dump has nothing to be held against. Each of
these is marked. By nothing at all a file is taken only when the user insists.
"""

import os
from typing import Iterator, NamedTuple, Optional, Tuple

from .elf import split
from .elf.file import crc32
from .elf.header import ReadAt
from .model import (
    BY_BANNER,
    BY_BUILD_ID,
    BY_CRC,
    BY_DUMP,
    BY_DWO_ID,
    BY_GO_BUILD_ID,
    BY_HEADER,
    BY_PAGES,
    BY_PATH,
    DEBUG,
    LOADED,
    MATCH,
    MISMATCH,
    NO_BUILD_ID,
    REFUSED,
    Want,
)  # fmt: skip
from .sysroot import OnDisk, reader

_CHUNK = 1 << 20
# What Linux dumps of a mapped ELF file by default is its first page (core(5), coredump_filter bit 4), however long that
# is: 4 KiB on these machines, up to 64 KiB on others. More than one page is more than a header.
_SMALL_PAGES = ("x86_64", "x32", "i386", "arm", "riscv64", "riscv32", "s390x", "s390", "m68k", "sh", "hppa")
_SMALL_PAGE, _LARGEST_PAGE = 1 << 12, 1 << 16
# What a debugger writes over code where it wants the process to stop: INT3.
_BREAKPOINT = {"x86_64": 0xCC, "x32": 0xCC, "i386": 0xCC}


class Case(NamedTuple):
    """What one dump's files are judged by."""

    machine: str
    dump: Optional[ReadAt]
    """Reads the dump, to compare its pages with a file's; None where that cannot be done."""
    unverified: bool
    """Take what nothing proves."""


class Verdict(NamedTuple):
    """What a file is."""

    outcome: str
    """MATCH, MISMATCH, NO_BUILD_ID or REFUSED."""
    detail: str = ""
    """The other build ID in hex, or why it was refused."""
    matched_by: str = ""
    """Of a MATCH: BY_BUILD_ID and its like."""


def judge(want: Want, on_disk: OnDisk, descriptor: int, case: Case, rebuilt: bool = False) -> Verdict:
    """`descriptor` is open on the file that `on_disk` describes; `rebuilt` if it was made of the dump's own pages."""
    if want.dwo_ids:
        return _judge_split(want, on_disk, descriptor)
    elf = on_disk.elf
    if rebuilt:
        return _judge_rebuilt(want, on_disk, case)
    if want.build_id is not None:
        if elf.build_id == want.build_id:
            if want.release is not None and want.kind == LOADED and elf.debug_only:
                return Verdict(REFUSED, "it has the build ID but holds debug information only")
            if want.kind == DEBUG and not elf.has_debug_info:
                return Verdict(REFUSED, "it has the build ID but no debug information")
            return Verdict(MATCH, matched_by=BY_BUILD_ID)
        if elf.build_id is not None or want.crc is None:
            return Verdict(MISMATCH, elf.build_id.hex() if elf.build_id else "none")
    if want.go_build_id is not None:
        if elf.go_build_id == want.go_build_id:
            return Verdict(MATCH, matched_by=BY_GO_BUILD_ID)
        return Verdict(MISMATCH, elf.go_build_id.decode("ascii", "replace") if elf.go_build_id else "none")
    if want.crc is not None:
        value = crc32(_chunks(descriptor))
        return Verdict(MATCH, matched_by=BY_CRC) if value == want.crc else Verdict(MISMATCH, "CRC %08x" % value)
    if want.banner is not None:
        if _holds(descriptor, want.banner):
            return Verdict(MATCH, matched_by=BY_BANNER)
        return Verdict(MISMATCH, "it is not the kernel of this banner")
    if elf.header.machine_name != case.machine:
        return Verdict(MISMATCH, "a file for %s" % elf.header.machine_name)
    if want.pieces and case.dump is not None:
        verdict = _judge_pages(want, on_disk, descriptor, case, case.dump)
        if verdict is not None:
            return verdict
    if want.kind == DEBUG and not elf.has_debug_info:
        return Verdict(REFUSED, "it has no debug information")
    if case.unverified:
        return Verdict(MATCH, matched_by=BY_PATH)
    return Verdict(NO_BUILD_ID, "the dump has no build ID to prove it by")


def _chunks(descriptor: int) -> Iterator[bytes]:
    at = 0
    while True:
        chunk = os.pread(descriptor, _CHUNK, at)
        if not chunk:
            return
        yield chunk
        at += len(chunk)


def _holds(descriptor: int, text: bytes) -> bool:
    """True if the file has these bytes anywhere."""
    before = b""
    for chunk in _chunks(descriptor):
        if text in before + chunk:
            return True
        before = chunk[-len(text) :]
    return False


def _judge_split(want: Want, on_disk: OnDisk, descriptor: int) -> Verdict:
    units = split.units(reader(descriptor), on_disk.identity.size)
    lacking = [unit for unit in want.dwo_ids if unit not in units]
    if not lacking:
        return Verdict(MATCH, matched_by=BY_DWO_ID)
    if len(want.dwo_ids) == 1:
        held = ", ".join("%016x" % unit for unit in sorted(units)[:4])
        return Verdict(MISMATCH, "unit %s" % held if units else "no unit")
    return Verdict(MISMATCH, "%d of %d units are not in it" % (len(lacking), len(want.dwo_ids)))


def _judge_rebuilt(want: Want, on_disk: OnDisk, case: Case) -> Verdict:
    """The process may have changed its own notes, or the rebuilding be wrong: the IDs have to be those wanted."""
    elf = on_disk.elf
    if elf.header.machine_name != case.machine:
        return Verdict(MISMATCH, "a file for %s" % elf.header.machine_name)
    if want.build_id is not None and elf.build_id != want.build_id:
        return Verdict(MISMATCH, elf.build_id.hex() if elf.build_id else "none")
    if want.build_id is None and want.go_build_id is not None and elf.go_build_id != want.go_build_id:
        return Verdict(MISMATCH, elf.go_build_id.decode("ascii", "replace") if elf.go_build_id else "none")
    return Verdict(MATCH, "rebuilt: what the process wrote to is as it left it", BY_DUMP)


def _judge_pages(want: Want, on_disk: OnDisk, descriptor: int, case: Case, dump: ReadAt) -> Optional[Verdict]:
    """Hold the file against what of it the dump has. Segments that the process could write to say nothing; None if
    there is nothing else."""
    compared, further = 0, False
    page = _SMALL_PAGE if case.machine in _SMALL_PAGES else _LARGEST_PAGE
    size = on_disk.identity.size
    for piece in want.pieces:
        if piece.writable:
            continue
        # Behind a file's end the rest of its last page is zeros in memory, and more is not there to be mapped.
        if piece.offset + piece.size > -(-size // page) * page:
            return Verdict(MISMATCH, "it ends at 0x%x, and the process had more of it mapped" % size)
        end = piece.offset + piece.size
        for offset in range(piece.offset, end, _CHUNK):
            held = dump(piece.at + offset - piece.offset, min(_CHUNK, end - offset))
            ours = os.pread(descriptor, len(held), offset).ljust(len(held), b"\0")
            if held != ours:
                at, byte = _first_difference(held, ours)
                hint = " (a debugger's breakpoint is there)" if byte == _BREAKPOINT.get(case.machine) else ""
                return Verdict(MISMATCH, "it differs from the dump at offset 0x%x%s" % (offset + at, hint))
            compared += len(held)
            further = further or (bool(held) and offset + len(held) > page)
            if offset + len(held) < min(offset + _CHUNK, end):
                # The dump is cut, or compressed and read all over: what follows could not be compared.
                break
    if not compared:
        return None
    return Verdict(MATCH, "%d bytes of it are in the dump, and the same" % compared, BY_PAGES if further else BY_HEADER)


def _first_difference(held: bytes, ours: bytes) -> Tuple[int, int]:
    """Where, and what the dump has there."""
    at = next(index for index, pair in enumerate(zip(held, ours)) if pair[0] != pair[1])
    return at, held[at]
