# SPDX-License-Identifier: Apache-2.0
"""Whether a file that is open is the one that is wanted. The only place that decides: finders propose.

A file is what a want asks for if its build ID says so. Where the want has none, a debug file may be proven by the CRC
of .gnu_debuglink, a split one by the IDs of its units, a vmlinux by its banner, any loaded file by Go's own build ID or
by the pages of it that the dump holds; each of these is marked. By nothing at all it is taken only when the user
insists.
"""

import os
from typing import Iterator, NamedTuple, Optional

from .elf import split
from .elf.file import crc32
from .elf.header import ReadAt
from .model import (
    BY_BANNER,
    BY_BUILD_ID,
    BY_CRC,
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
# What Linux dumps of a mapped ELF file by default is its first page (core(5), coredump_filter bit 4); 64 KiB is the
# largest page of any machine, 4 KiB the smallest: more than that is more than a header.
_PAGE = 1 << 16


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


def judge(want: Want, on_disk: OnDisk, descriptor: int, case: Case) -> Verdict:
    """`descriptor` is open on the file that `on_disk` describes."""
    if want.dwo_ids:
        return _judge_split(want, on_disk, descriptor)
    elf = on_disk.elf
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
        verdict = _judge_pages(want, on_disk, descriptor, case.dump)
        if verdict is not None:
            return verdict
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


def _judge_pages(want: Want, on_disk: OnDisk, descriptor: int, dump: ReadAt) -> Optional[Verdict]:
    """Hold the file against what of it the dump has. Segments that the process could write to say nothing; None if
    there is nothing else."""
    compared, further = 0, False
    size = on_disk.identity.size
    for piece in want.pieces:
        if piece.writable:
            continue
        if piece.offset >= size:
            return Verdict(MISMATCH, "it ends before 0x%x, where the process had it mapped" % piece.offset)
        end = min(piece.offset + piece.size, size)
        for offset in range(piece.offset, end, _CHUNK):
            count = min(_CHUNK, end - offset)
            held = dump(piece.at + offset - piece.offset, count)
            if held != os.pread(descriptor, len(held), offset):
                return Verdict(MISMATCH, "it differs from the dump within 0x%x bytes of offset 0x%x" % (count, offset))
            compared += len(held)
        further = further or end > _PAGE
    if not compared:
        return None
    return Verdict(MATCH, "%d bytes of it are in the dump, and the same" % compared, BY_PAGES if further else BY_HEADER)
