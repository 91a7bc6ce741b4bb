# SPDX-License-Identifier: Apache-2.0
"""The file rebuilt from the dump, if all that was loaded of it was dumped (coredump_filter with bits 2 and 3, core(5)):
for what was deleted, or never had a path (memfd_create, a container that is gone). The last resort: what the process
wrote to is as it left it, and what was not loaded is lost, the section table and all debug information."""

import bisect
import os
from tempfile import TemporaryFile
from typing import Iterator, List, NamedTuple, Optional, Tuple, Union

from ..elf import rebuild
from ..elf.header import (
    ET_DYN,
    ET_EXEC,
    HEADER_SIZE,
    PT_LOAD,
    Header,
    ReadAt,
    Segment,
    iter_segments,
    parse_header,
    parse_segments,
    segment_count,
    segment_size,
)  # fmt: skip
from ..elf.image import MAX_IMAGE_SEGMENTS, bias_of
from ..model import ABSENT, LOADED, UNREADABLE, Attempt, Candidate, Piece, Want
from ..sysroot import Roots, reader

NAME = "from-dump"
_CHUNK = 1 << 20
# Of all files of one dump, with their holes, which are hashed and packed. Programs with 2 GiB of code are rare, and the
# copies take as much of the temporary folder.
MAX_REBUILT = 8 << 30


class _Lacking(Exception):
    """It cannot be rebuilt; the message says why."""


class _Shape(NamedTuple):
    """The file to be: its header and segments, and where the last of those ends."""

    header: Header
    segments: List[Segment]
    end: int


def candidates(want: Want, roots: Roots) -> Iterator[Union[Candidate, Attempt]]:
    if want.kind != LOADED or roots.dump is None or want.release is not None:
        return
    path = want.paths[0] if want.paths else want.module
    path = path if "/" in path else "/" + path
    try:
        descriptor = _rebuild(want.pieces, roots, roots.dump)
    except _Lacking as error:
        yield Attempt(NAME, path, ABSENT, str(error))
    except OSError as error:
        yield Attempt(NAME, path, UNREADABLE, "no room to rebuild it: %s" % error.strerror)
    else:
        yield Candidate(path=path, finder=NAME, origin="rebuilt from the dump: %s" % path, descriptor=descriptor)


def _rebuild(pieces: Tuple[Piece, ...], roots: Roots, dump: ReadAt) -> int:
    """A descriptor on an unlinked file. Raises _Lacking, OSError."""
    if not pieces or pieces[0].offset:
        raise _Lacking("not all of it was dumped (coredump_filter)")
    # First, for it lies before all else in the dump, which may be compressed: to be read from front to back.
    dumped = roots.remembered(NAME, lambda: _dumped(dump))
    shape = _shape(pieces, dump)
    end = max([shape.end] + [piece.offset + piece.size for piece in pieces])
    _check_cover(shape, pieces, end)
    budget = roots.remembered((NAME, "budget"), lambda: [MAX_REBUILT])
    if end > budget[0]:
        raise _Lacking("more than %d GiB of this dump's files were rebuilt already" % (MAX_REBUILT >> 30))
    budget[0] -= end
    with TemporaryFile() as file:
        _copy(pieces, dump, file.fileno())
        file.truncate(end)
        read_at = reader(file.fileno())
        if not _is_covered(shape.header.shoff, shape.header.shnum * shape.header.shentsize, pieces):
            bias = _bias(dumped, shape, pieces)
            for at, data in rebuild.finish(read_at, shape.header, shape.segments, end, bias):
                _write(file.fileno(), data, at)
        return os.dup(file.fileno())


def _dumped(dump: ReadAt) -> List[Tuple[int, int]]:
    """(offset in the dump, address) of every mapping that was dumped, sorted: where a piece lay."""
    header = parse_header(dump(0, HEADER_SIZE))
    if header is None or header.phentsize != segment_size(header):
        return []
    raw = dump(header.phoff, segment_count(header, dump) * header.phentsize)
    return sorted((one.offset, one.vaddr) for one in iter_segments(header, raw) if one.type == PT_LOAD and one.filesz)


def _bias(dumped: List[Tuple[int, int]], shape: _Shape, pieces: Tuple[Piece, ...]) -> Optional[int]:
    """What was added to the file's addresses when it was loaded."""
    index = bisect.bisect_right(dumped, (pieces[0].at, 1 << 64)) - 1
    if index < 0:
        return None
    offset, address = dumped[index]
    return bias_of(shape.header, shape.segments, address + pieces[0].at - offset)


def _shape(pieces: Tuple[Piece, ...], dump: ReadAt) -> _Shape:
    def read_at(offset: int, size: int) -> bytes:
        for piece in pieces:
            if piece.offset <= offset and offset + size <= piece.offset + piece.size:
                return dump(piece.at + offset - piece.offset, size)
        return b""

    header = parse_header(read_at(0, HEADER_SIZE))
    if header is None or header.type not in (ET_EXEC, ET_DYN) or header.phentsize != segment_size(header):
        raise _Lacking("the ELF header is not in the dump")
    size = header.phnum * header.phentsize
    segments = parse_segments(header, read_at(header.phoff, size)) if header.phnum <= MAX_IMAGE_SEGMENTS else []
    loads = [one for one in segments if one.type == PT_LOAD]
    if not loads:
        raise _Lacking("the program headers are not in the dump")
    return _Shape(header, segments, max(one.offset + one.filesz for one in loads))


def _check_cover(shape: _Shape, pieces: Tuple[Piece, ...], end: int) -> None:
    loads = [one for one in shape.segments if one.type == PT_LOAD]
    if max(end, sum(piece.size for piece in pieces)) > MAX_REBUILT:
        raise _Lacking("it would have %d bytes" % end)
    for load in loads:
        if not _is_covered(load.offset, load.filesz, pieces):
            raise _Lacking("not all of it was dumped (coredump_filter)")


def _is_covered(offset: int, size: int, pieces: Tuple[Piece, ...]) -> bool:
    """True if the pieces, which are sorted, hold all of these bytes."""
    end = offset + size
    for piece in pieces:
        if piece.offset > offset:
            break
        offset = max(offset, piece.offset + piece.size)
    return offset >= end


def _copy(pieces: Tuple[Piece, ...], dump: ReadAt, descriptor: int) -> None:
    """Where two pieces hold the same bytes of the file, those that the process could not write to count."""
    for writable in (True, False):
        for piece in pieces:
            if piece.writable != writable:
                continue
            for done in range(0, piece.size, _CHUNK):
                count = min(_CHUNK, piece.size - done)
                data = dump(piece.at + done, count)
                if len(data) < count:
                    raise _Lacking("the dump cannot be read at byte %d" % (piece.at + done + len(data)))
                _write(descriptor, data, piece.offset + done)


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
