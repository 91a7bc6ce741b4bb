# SPDX-License-Identifier: Apache-2.0
"""Flattened: a dump in the order in which makedumpfile -F or QEMU wrote it to a pipe, each record with the place it
belongs to (makedumpfile.h, struct makedumpfile_data_header). Debian, Ubuntu and SUSE keep their dumps so. Within is a
kdump-compressed file or an ELF one.

    "makedumpfile", padded to 16 bytes; be64 type 1; be64 version 1; zeros up to 4096; then records
    be64 offset; be64 size; data. A later record overrides an earlier one. (-1, -1) ends it.
"""

import bisect
import struct
from array import array
from typing import Any, Dict, List, Optional, Tuple

from ..errors import BadDump
from ..model import Dump
from ..sysroot import Sysroot
from . import _kernel, kdump, vmcore

KDUMP_KIND = "kdump-flattened"
ELF_KIND = "elf-flattened"
KIND = KDUMP_KIND

SIGNATURE = b"makedumpfile\0\0\0\0"
_HEADER = 4096
_RECORD = struct.Struct(">qq")
# makedumpfile writes, in turn, 64 KiB of pages and what descriptors these have; a dump of 100 GB has 3 million records.
# Only the first of a run is kept, and the others found by walking from there: 64 headers at most take 0.1 ms.
_RUN = 64
_MAX_RUNS = 1 << 20
# Headers, bitmaps, descriptors and pages are each written by rising offset.
_MAX_LANES = 64
# A header or two are written once more at the end.
_MAX_OVERRIDES = 256
_END = 1 << 62


def sniff(source: Any) -> bool:
    return source.read_at(0, 16) == SIGNATURE


def open_dump(source: Any, sysroot: Sysroot) -> Dump:
    """Raises BadDump if neither kind of dump is within, or the header of that is damaged."""
    source.random_access()
    view = Flattened(source)
    if vmcore.is_kernel(view):
        kind, container = ELF_KIND, vmcore.open_elf(view, source)
    elif kdump.sniff(view):
        kind, container = KDUMP_KIND, kdump.open_kdump(view, source)
    elif not view.size:
        raise BadDump("%s is cut within its first record: nothing of the kernel is left" % source.path)
    else:
        raise BadDump("%s is flattened (makedumpfile -F), and what is within is no kernel's dump" % source.path)
    why = "; ".join(reason for reason in (view.why_cut, container.incomplete_why) if reason)
    return _kernel.kernel_dump(source, kind, container._replace(incomplete_why=why or None))


class _Lane:
    """Runs of records by rising offset. The records of a run follow each other in the file within; in the stream those
    of other lanes may stand between them. No two runs of any lanes have a byte in common."""

    def __init__(self) -> None:
        self.starts, self.ends, self.heads = array("Q"), array("Q"), array("Q")
        """First offset of a run, the one behind its last, and where in the stream its first record's header is."""
        self.until = 0
        """Number of the first record that is too far away in the stream for the last run."""
        self.limit = _END
        """Where the next run of any lane begins: the last run may grow so far."""
        self.last = (-1, 0, 0)
        """Of the last record that was looked up: its run, its offset and its header's place in the stream."""

    @property
    def reached(self) -> int:
        return self.ends[-1] if self.ends else 0


class Flattened:
    """The file within, with read_at and size. What no record wrote reads as zeros, as the holes that they are."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._lanes: List[_Lane] = []
        # By the offset at which it ends: the lanes whose last run the next record may go on with.
        self._open: Dict[int, _Lane] = {}
        self._runs = 0
        # (offset, end, place of the data in the stream) of records that write where others did, in stream order.
        self._overrides: List[Tuple[int, int, int]] = []
        self.records = 0
        self.why_cut: Optional[str] = None
        kind, version = _RECORD.unpack(source.read_at(16, 16).ljust(16, b"\0"))
        if (kind, version) != (1, 1):
            raise BadDump("%s: unknown flattened header (type %d, version %d)" % (source.path, kind, version))
        self._index()
        ends = [lane.reached for lane in self._lanes] + [end for _start, end, _at in self._overrides]
        self.size = max(ends, default=0)

    def _index(self) -> None:
        read_at, unpack, header = self._source.read_at, _RECORD.unpack, _RECORD.size
        at, last = _HEADER, _RECORD.unpack(bytes(header))
        while True:
            raw = read_at(at, header)
            # That the last record is whole is known by what follows it.
            missing = 0 if raw else max(0, at - self._source.size)
            if last[1] > missing:
                self._add(last[0], last[0] + last[1] - missing, at - header - last[1])
            if len(raw) < header:
                self.why_cut = "its end marker is missing: the stream ends after %d records" % self.records
                if missing:
                    self.why_cut += ", the last of which lacks %d bytes" % missing
                return
            last = unpack(raw)
            if last == (-1, -1):
                self._source.expect(at + header)
                return
            if not (0 <= last[0] < _END and 0 <= last[1] < _END):
                self.why_cut = "its record at byte %d is damaged: what follows is lost" % at
                return
            self.records += 1
            at += header + last[1]

    def _add(self, offset: int, end: int, at: int) -> None:
        lane = self._open.pop(offset, None)
        overrides = self._overrides and any(start < end and offset < stop for start, stop, _at in self._overrides)
        if lane is not None and self.records < lane.until and end <= lane.limit and not overrides:
            lane.ends[-1] = end
            self._open[end] = lane
            return
        if overrides or any(_meets(one, offset, end) for one in self._lanes):
            # The run that this would have gone on with stays closed, for walking it would lead here.
            self._overrides.append((offset, end, at + _RECORD.size))
        else:
            self._begin(offset, end, at)
        if self._runs > _MAX_RUNS or len(self._overrides) > _MAX_OVERRIDES or len(self._lanes) > _MAX_LANES:
            raise BadDump("%s: its records are in no order that makedumpfile writes" % self._source.path)

    def _begin(self, offset: int, end: int, at: int) -> None:
        """A new run, in the lane that reaches nearest to it, or in a new one."""
        fitting = [lane for lane in self._lanes if lane.reached <= offset]
        lane = max(fitting, key=lambda one: one.reached) if fitting else _Lane()
        if not fitting:
            self._lanes.append(lane)
        elif self._open.get(lane.reached) is lane:
            del self._open[lane.reached]
        lane.limit = _END
        for other in self._lanes:
            if other is not lane and other.reached <= offset:
                other.limit = min(other.limit, offset)
            index = bisect.bisect_left(other.starts, end)
            if index < len(other.starts):
                lane.limit = min(lane.limit, other.starts[index])
        lane.starts.append(offset)
        lane.ends.append(end)
        lane.heads.append(at)
        lane.until = self.records + _RUN
        self._open[end] = lane
        self._runs += 1

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`; fewer only at the end of what is there."""
        size = min(size, self.size - offset)
        parts = []
        while size > 0:
            at, end = self._piece(offset, offset + size)
            part = bytes(end - offset) if at is None else self._source.read_at(at, end - offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _piece(self, offset: int, end: int) -> Tuple[Optional[int], int]:
        """Where in the stream the byte at this offset is (None: nowhere), and up to which offset (at most `end`) the
        bytes go on from there."""
        for start, stop, at in reversed(self._overrides):
            if start <= offset < stop:
                return at + offset - start, min(end, stop)
            if offset < start < end:
                end = start
        for lane in self._lanes:
            index = bisect.bisect_right(lane.starts, offset) - 1
            if index >= 0 and offset < lane.ends[index]:
                at, stop = self._record(lane, index, offset)
                return at, min(end, stop)
            if index + 1 < len(lane.starts):
                end = min(end, lane.starts[index + 1])
        return None, end

    def _record(self, lane: _Lane, index: int, offset: int) -> Tuple[int, int]:
        """Where in the stream this byte of a run is, and the offset at which its record ends."""
        header = _RECORD.size
        run, start, head = lane.last
        if run != index or offset < start:
            start, head = lane.starts[index], lane.heads[index]
        while True:
            # Short only if a stream cannot be read once more: then there is nothing at the place it gives either.
            raw = self._source.read_at(head, header)
            own, size = _RECORD.unpack(raw) if len(raw) == header else (start, _END)
            if own == start and size:
                if offset < start + size:
                    lane.last = (index, start, head)
                    return head + header + offset - start, min(start + size, lane.ends[index])
                start += size
            head += header + size


def _meets(lane: _Lane, offset: int, end: int) -> bool:
    """Whether any run of this lane has a byte in common with these."""
    index = bisect.bisect_left(lane.starts, end) - 1
    return index >= 0 and lane.ends[index] > offset
