# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file on a target, asked for and brought over the first way that works, again and again until it stands still."""

from __future__ import annotations

import os
import time

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.common.text.converters import to_bytes
from ansible.utils.display import Display

from ansible_collections.savedump.toolkit.plugins.module_utils._adapter import in_bytes
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _chunks, _far_end, _receiver, _talk, _ways

display = Display()

# A try that brought so much is not counted: the link may break as often as it likes as long as it goes on.
_GOING_ON = 4 << 20
_PAUSES_S = (2, 4, 8, 16, 30)
# What a command line bears; a .part that differs in more places is repaired by several.
_RANGES = 500
# What a login may print around what was asked for.
_MORE_LINES = 1000
# Without a stream, so many chunks are hashed by one command, for some plugins limit the time of one.
_SLICE = 64


class Link:
    """Over it comes one file. ``given`` is the task's options, ``label`` what begins the lines for people."""

    def __init__(self, action, host, source, far, given, label):
        self.way = None
        """The way that brought something, one of _ways.ways_for."""
        self._action = action
        self._host = host
        self._source = source
        self._far = far
        self._stall = given["stall_timeout"]
        self._retries = given["retries"]
        self._pace = _receiver.Pace(given["bandwidth_limit"] or 0)
        self._progress = _receiver.Progress(label)
        self._ways = [way for way in _ways.ways_for(action) if way != "copy" or not self._pace.limit]
        self._moved = 0
        self._first = None

    def stat(self):
        """(Stat or None, the reply it was read from). The first one is what the file has to be until it is here."""
        reply = self._action._low_level_execute_command(self._far.stat())
        found = _far_end.read_stat(reply["stdout"])
        self._first = self._first or found
        return found, reply

    def hash(self, length):
        """SHA-256, in hex, that the target computes of the first ``length`` bytes; None if it cannot."""
        heard = {}

        def take(data):
            heard["end"] = (heard["end"] + data)[-4096:]
            heard["came"] += len(data)
            steps = heard["came"] // len("savedump-going\n")
            if steps > length // _far_end.HASH_STEP + _MORE_LINES:
                raise _ways.Broken("more came than a hash")
            self._progress.at("hashed there", min(length, steps * _far_end.HASH_STEP), length)

        def step(way):
            heard.update(end=b"", came=0)
            self._run(way, self._far.hash(length), take)

        self._persist(step, lambda: "%s were to be hashed there" % in_bytes(length))
        return _far_end.read_hash(heard["end"].decode("ascii", "replace"))

    def compare(self, receiver, length):
        """Find out which of the first ``length`` bytes are here; the others are missing from now on.

        False if the target can hash nothing: then all are missing.
        """
        comparison = _chunks.Comparison(receiver, length)

        def take(data):
            before = comparison.at
            comparison.take(data)
            self._moved += comparison.at - before
            self._progress.at("compared", comparison.at, length)

        def step(way):
            while comparison.possible and comparison.at < length:
                end = length if way in _ways.STREAMS else min(length, comparison.at + _SLICE * comparison.chunk)
                comparison.begin()
                try:
                    self._run(way, self._far.hashes(comparison.at, end - comparison.at, comparison.chunk), take)
                except _chunks.NoList as no_list:
                    raise _ways.Refused(str(no_list)) from no_list
                if comparison.possible and comparison.at < end:
                    self._look_again()
                    raise _ways.Broken("the list of hashes ended at byte %d of %d" % (comparison.at, end))

        self._persist(step, lambda: "%s of %s here were compared" % (in_bytes(comparison.at), in_bytes(length)))
        comparison.finish()
        return comparison.possible

    def fetch(self, receiver, hashed=False):
        """Bring all that is missing. The SHA-256 of the whole, in hex, if that is to be ``hashed`` while it is read for
        sending, and came in one go; else None."""

        def take(data):
            _talk.go_on()
            before = receiver.wire
            receiver.take(data)
            came = receiver.wire - before
            self._moved += came
            if len(receiver.rest) == _receiver.REST_KEPT:
                raise _ways.Broken("more came than was asked for")
            self._pace.passed(came)
            self._progress.at("fetched", receiver.size - receiver.left, receiver.size)

        def step(way):
            while receiver.missing:
                self._go(way, receiver, take, hashed and receiver.left == receiver.size)
                if receiver.due:
                    # It ended as it should: a link that is cut is Broken already. So the file is shorter.
                    self._look_again()
                    raise _ways.Broken("it ended at byte %d of %d" % (receiver.missing[0][0], receiver.size))

        whole = in_bytes(receiver.size)
        self._persist(step, lambda: "%s of %s came before this" % (in_bytes(receiver.size - receiver.left), whole))
        return _far_end.read_hash(receiver.rest.decode("ascii", "replace"))

    def _go(self, way, receiver, take, hashed):
        if way == "copy":
            copied, moved = receiver.path + ".copy", self._moved
            try:
                _ways.copy(self._action, self._source, copied)
                receiver.missing = [(0, receiver.size)]
                receiver.kept = receiver.repaired = 0
                receiver.asked(1)
                with open(copied, "rb", buffering=0) as stream:
                    for block in iter(lambda: stream.read(1 << 20), b""):
                        take(block)
            finally:
                # The next copy begins at zero: this is no going on.
                self._moved = moved
                if os.path.lexists(copied):
                    os.unlink(copied)
        elif way == "chunks":
            length = _ways.CHUNK
            if self._pace.limit:
                length = max(_far_end.BLOCK, min(length, self._pace.limit // _far_end.BLOCK * _far_end.BLOCK))
            for start, count in receiver.asked(len(receiver.missing)):
                _ways.chunks(self._action, self._far, start, start + count, take, length)
        else:
            self._run(way, self._far.send(receiver.asked(_RANGES), hashed), take)

    def _run(self, way, command, take):
        if way in _ways.STREAMS:
            _ways.stream(self._action, way, command, take, self._stall, self._pace.block)
            return
        reply = self._action._low_level_execute_command(command)
        if reply["rc"]:
            raise _ways.Refused(_far_end.read_failure(reply))
        take(to_bytes(reply["stdout"]))

    def _persist(self, step, so_far):
        """Call step(way) until it ends well. Raises AnsibleConnectionFailure when nothing moves any more."""
        tries, pauses = self._retries, 0
        while True:
            before = self._moved
            try:
                self._over_any_way(step)
                return
            except (_ways.Broken, AnsibleConnectionFailure) as broken:
                reason = str(broken)
            if self._moved - before >= _GOING_ON and self._retries:
                tries, pauses = self._retries + 1, 0
            if tries <= 0:
                words = "%s: %s: %s. What is here is kept; the next run goes on from there."
                raise AnsibleConnectionFailure(words % (self._source, so_far(), reason))
            tries -= 1
            display.warning("%s: %s: %s: %s; trying again" % (self._host, self._source, so_far(), reason))
            for _second in range(_PAUSES_S[min(pauses, len(_PAUSES_S) - 1)]):
                _talk.go_on()
                time.sleep(1)
            pauses += 1

    def _over_any_way(self, step):
        """Each way in order until one does it. One that has brought something stays: the link is down, not the way
        wrong. Only chunks, which are slow, do not."""
        for way in [self.way] if self.way in _ways.STREAMS else self._ways:
            before = self._moved
            try:
                step(way)
                self.way = way
                return
            except _ways.Refused as refused:
                reason = str(refused)
                if self._moved > before:
                    break
                display.vv("savedump: %s: %s" % (way, reason), host=self._host)
            finally:
                if self._moved > before:
                    self.way = way
        if self._moved == before:
            self._look_again()
        raise _ways.Broken(reason)

    def _look_again(self):
        """Raises AnsibleActionFail if the file is no longer what it was: then no other try helps."""
        first = self._first
        found, reply = self.stat()
        if found is None:
            words = _far_end.read_failure(reply)
            raise AnsibleActionFail("%s on %s can no longer be read: %s" % (self._source, self._host, words))
        if first not in (None, found):
            raise AnsibleActionFail("%s on %s changed while it was read; fetch it again" % (self._source, self._host))
