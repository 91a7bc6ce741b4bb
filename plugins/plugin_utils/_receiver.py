# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has come of a file: written in place, counted, and hashed as a whole while it comes."""

from __future__ import annotations

import hashlib
import os
import time

from ansible.utils.display import Display

from ansible_collections.savedump.toolkit.plugins.module_utils._adapter import in_bytes

display = Display()

_BLOCK = 1 << 20
# Behind what comes, on its way to the disk.
_SEND_OFF = 16 << 20
# After the file's bytes the far end prints one line of its own.
REST_KEPT = 4096
_FIRST_WORD_S, _LONGEST_SILENCE_S = 10, 320
# As much as may come at once under a bandwidth limit, and for how long a pause may be made up for afterwards.
_BURST_S = 0.25


class Receiver:
    """A .part of a file of ``size`` bytes, open for reading and writing.

    Nothing that is in it counts until it has been compared (`matches`); what is missing comes in order (`take`).
    """

    def __init__(self, descriptor, path, size):
        self.path = path
        self.size = size
        self.missing = [(0, size)] if size else []
        """[(start, end), ...], ascending."""
        self.wire = self.kept = self.repaired = 0
        """Bytes that came in this run; that an earlier one had left and were right; that were here and wrong."""
        self.rest = b""
        """What came beyond the bytes that were asked for."""
        self.due = 0
        """How many of the bytes that were asked for have not come."""
        self._descriptor = descriptor
        self._sent_off = 0
        self._digest, self._hashed = hashlib.sha256(), 0
        there = os.fstat(descriptor).st_size
        if there > size:
            os.ftruncate(descriptor, size)
        self.there = min(there, size)
        """How many bytes an earlier run left."""

    @property
    def left(self):
        """How many bytes are missing."""
        return sum(end - start for start, end in self.missing)

    def asked(self, count):
        """The first ``count`` of the missing ranges, as (offset, length), whose bytes come next."""
        self.due, self.rest = sum(end - start for start, end in self.missing[:count]), b""
        return [(start, end - start) for start, end in self.missing[:count]]

    def take(self, data):
        """The next of the missing bytes; what follows the last of those asked for is kept in ``rest``."""
        view = memoryview(data)
        while view and self.due:
            start, end = self.missing[0]
            piece = view[: min(end - start, self.due)]
            self._write(start, piece)
            self.wire += len(piece)
            self.due -= len(piece)
            start, view = start + len(piece), view[len(piece) :]
            self.missing[:1] = [(start, end)] if start < end else []
        if view:
            self.rest = (self.rest + bytes(view))[:REST_KEPT]

    def _write(self, offset, data):
        if offset < self._hashed:
            self._digest, self._hashed = hashlib.sha256(), 0
        if offset == self._hashed:
            self._digest.update(data)
            self._hashed += len(data)
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            offset, data = offset + written, data[written:]
        self._send_off(offset)

    def _send_off(self, end):
        """What was written goes to the disk while the rest comes: else the end would wait for all of it. Linux begins
        to write what it is told will not be needed (mm/fadvise.c); what is not written yet stays in memory."""
        if end - self._sent_off >= _SEND_OFF and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, self._sent_off, end - self._sent_off, os.POSIX_FADV_DONTNEED)
            self._sent_off = end

    def matches(self, offset, length, sha256):
        """Whether these bytes are here. Those at the beginning count for the digest of the whole at once."""
        part, whole = hashlib.sha256(), self._digest.copy() if offset == self._hashed else None
        for block in self._blocks(offset, length):
            part.update(block)
            if whole is not None:
                whole.update(block)
        same = part.hexdigest() == sha256
        if same and whole is not None:
            self._digest, self._hashed = whole, offset + length
        return same

    def sha256(self):
        """Of the whole, in hex, when nothing is missing."""
        for block in self._blocks(self._hashed, self.size - self._hashed):
            self._digest.update(block)
            self._hashed += len(block)
        return self._digest.hexdigest()

    def _blocks(self, offset, length):
        while length > 0:
            block = os.pread(self._descriptor, min(length, _BLOCK), offset)
            if not block:
                return
            yield block
            offset, length = offset + len(block), length - len(block)


class Progress:
    """A line now and then for whoever waits: the first after 10 s, then ever more seldom."""

    def __init__(self, label):
        self._label = label
        self._wait = _FIRST_WORD_S
        self._said = time.monotonic()
        self._from = None

    def at(self, doing, done, whole):
        """So many bytes of ``whole`` are done."""
        now = time.monotonic()
        if self._from is None or self._from[0] != doing:
            self._from = (doing, done, now)  # the pace is that of this run and of this work
        if now - self._said < self._wait:
            return
        self._said, self._wait = now, min(self._wait * 2, _LONGEST_SILENCE_S)
        pace = (done - self._from[1]) / max(now - self._from[2], 0.001)
        words = "%s: %s %s of %s (%d %%)" % (
            self._label, doing, in_bytes(done), in_bytes(whole), 100 * done // max(1, whole)
        )  # fmt: skip
        if pace >= 1:
            words += ", %s/s, %s left" % (in_bytes(pace), _span((whole - done) / pace))
        display.display(words)


def _span(seconds):
    if seconds < 90:
        return "%d s" % seconds
    return "%d min" % (seconds / 60) if seconds < 5400 else "%.1f h" % (seconds / 3600)


class Pace:
    """Holds what comes to ``limit`` bytes a second; 0 is none. Who sends feels it: what is not read is not sent."""

    def __init__(self, limit):
        self.limit = limit
        self.block = max(4096, min(_BLOCK, int(limit * _BURST_S))) if limit else _BLOCK
        """The most to take at once."""
        self._free = 0.0

    def passed(self, count):
        """So many bytes came; returns when the next may."""
        if self.limit:
            now = time.monotonic()
            self._free = max(self._free, now - _BURST_S) + count / self.limit
            time.sleep(max(0.0, self._free - now))
