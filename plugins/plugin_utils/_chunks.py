# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is here of a file, compared chunk by chunk with a list of hashes that the target makes.

Only what differs or is missing travels again. Nothing here is taken on trust: a .part may be of another file, of an
earlier state of this one, longer than it, or damaged.
"""

from __future__ import annotations

from ansible_collections.savedump.toolkit.plugins.plugin_utils import _far_end

SMALLEST = 4 << 20
# The list stays below some MiB, and a damaged byte costs 1/65536 of the file, whatever its size.
_MOST = 1 << 16
# A line of ours has 80 bytes. More than this without an end is no list.
_LONGEST_LINE = 4096
_MORE_LINES = 1000


def size_for(length):
    """Bytes of a chunk of a file of ``length``: 4 MiB up to 256 GiB."""
    chunk = SMALLEST
    while chunk * _MOST < length:
        chunk *= 2
    return chunk


class NoList(Exception):
    """What came is no list of hashes; the message says why."""


class Comparison:
    """Compares the first ``length`` bytes of a receiver's .part; ``take`` is given the list as it comes."""

    def __init__(self, receiver, length):
        self.length = length
        self.chunk = size_for(receiver.size)
        self.at = 0
        """All before it is compared."""
        self.possible = True
        """False if nothing on the target computes SHA-256."""
        self._receiver = receiver
        self._lacking = []
        self._text = b""
        self._lines = 0

    def begin(self):
        """A new list comes, from ``at``."""
        self._text, self._lines = b"", 0

    def take(self, data):
        """The next bytes of the list. Raises NoList."""
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            if line.strip() == b"savedump-none":
                self.possible = False
            sha256 = _far_end.listed(line)
            if sha256 and self.at < self.length:
                self._compare(sha256)
        self._lines += len(lines)
        if len(self._text) > _LONGEST_LINE or self._lines > self.length // self.chunk + _MORE_LINES:
            raise NoList("something without end came instead of a list of hashes")

    def _compare(self, sha256):
        length = min(self.chunk, self.length - self.at)
        if not self._receiver.matches(self.at, length, sha256):
            self._lacks(self.at + length)
        self.at += length

    def _lacks(self, end):
        """From ``at`` to ``end``."""
        start = self._lacking.pop()[0] if self._lacking and self._lacking[-1][1] == self.at else self.at
        self._lacking.append((start, end))

    def finish(self):
        """What has not been found right is missing, from now on."""
        if self.at < self._receiver.size:
            self._lacks(self._receiver.size)
        self._receiver.missing = self._lacking
