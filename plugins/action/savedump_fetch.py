# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file from the target to the control host, in constant memory, through become, proven by its SHA-256.

The steps are here; where it lands, what the far end runs and how bytes travel are in landing, plugin_utils/_far_end and
_ways.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.savedump.toolkit.plugins.module_utils._adapter import in_bytes
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import landing
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _far_end, _python, _ways

display = Display()

SPEC = {
    "src": {"type": "str", "required": True},
    "dest": {"type": "str", "required": True},
    "checksum": {"type": "str"},
    "stall_timeout": {"type": "int", "default": 60},
    "retries": {"type": "int", "default": 3},
}
_PROGRESS_EVERY_S = 10
_BETWEEN_TRIES_S = 2


class ActionModule(ActionBase):
    """See modules/savedump_fetch.py for the words."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        """See ActionBase.run. A failure is returned, for an exception would pass by the task's failed_when."""
        super().run(None, task_vars)
        try:
            return self._run(task_vars or {})
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:
            return {"failed": True, "msg": str(error)}

    def _run(self, task_vars):
        _found, given = self.validate_argument_spec(argument_spec=SPEC)
        wanted = (given["checksum"] or "").strip().lower().removeprefix("sha256:") or None
        if wanted and (len(wanted) != 64 or set(wanted) - set("0123456789abcdef")):
            raise AnsibleActionFail("checksum is not a SHA-256 in hex: %s" % given["checksum"])
        host = self._task.delegate_to or task_vars.get("inventory_hostname", "host")
        self._host, self._source, self._given = host, given["src"], given
        self._place = landing.landing(given["dest"], host, self._source)
        if wanted and self._is_here(wanted):
            return self._done(False, wanted, os.path.getsize(self._place.path), "is here already")
        _chosen, pythons = _python.ask_target(self, task_vars)
        self._far = _far_end.FarEnd(self._source, pythons[0].executable if pythons else None)
        before = self._stat()
        if not wanted and os.path.exists(self._place.path):
            wanted = self._far_hash(before.size)
            if wanted and self._is_here(wanted):
                return self._done(False, wanted, before.size, "is here already")
        if self._task.check_mode:
            return self._done(True, wanted, before.size, "would be fetched: %s" % in_bytes(before.size))
        try:
            return self._fetch(before, wanted)
        except landing.Busy as busy:
            raise AnsibleActionFail(str(busy)) from busy
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                landing.discard(self._place)
            raise AnsibleActionFail("%s: %s" % (error.filename or self._place.part, error.strerror)) from error

    def _is_here(self, wanted):
        """Whether these very bytes are here. What is here under the name with other bytes is kept: an earlier dump of
        the same name is not ours to throw away, so the new one goes beside it."""
        here = landing.sha256_of(self._place.path)
        if here and here.hexdigest() != wanted:
            self._place = self._place.beside(wanted)
            here = landing.sha256_of(self._place.path)
        return here is not None and here.hexdigest() == wanted

    def _fetch(self, before, wanted):
        short = landing.missing_space(self._place, before.size)
        if short:
            raise AnsibleActionFail(
                "%s more are needed below %s for %s of %s"
                % (in_bytes(short), self._given["dest"], in_bytes(before.size), self._host)
            )
        with landing.opened_part(self._place) as descriptor:
            receiver = _Receiver(descriptor, before.size, "%s: %s" % (self._host, os.path.basename(self._place.path)))
            way = self._pull(receiver, before)
            if self._stat() != before:
                self._refuse("%s on %s changed while it was read; fetch it again" % (self._source, self._host))
            found = receiver.digest.hexdigest()
            expected = wanted or self._far_hash(before.size)
            if expected is None:
                self._refuse(
                    "what came cannot be proven: nothing on %s computes a SHA-256 (no Python, sha256sum, shasum or "
                    "openssl), and none was given in checksum" % self._host
                )
            if found != expected:
                origin = "asked for" if wanted else "computed there"
                self._refuse(
                    "%s from %s has SHA-256 %s, and %s was %s" % (self._source, self._host, found, origin, expected)
                )
            landing.finish(descriptor, self._place)
        result = self._done(True, found, before.size, "fetched")
        result.update(resumed_at=receiver.start, way=way, seconds=round(receiver.seconds, 1))
        return result

    def _refuse(self, words):
        """Nothing that is not proven stays, not even as a .part."""
        landing.discard(self._place)
        raise AnsibleActionFail(words)

    def _pull(self, receiver, before):
        """Bring all bytes into the .part; the name of the way that did it."""
        ways = list(_ways.ways_for(self))
        tries = self._given["retries"]
        self._resume(receiver)
        start = receiver.offset
        while True:
            try:
                if receiver.offset < before.size:
                    self._go(ways[0], receiver, before.size)
                if receiver.offset == before.size:
                    return ways[0]
                reason = "it ended at byte %d of %d" % (receiver.offset, before.size)
            except _ways.Refused as refused:
                # A way that has brought something stays: the link is down, not the way wrong.
                if len(ways) > 1 and receiver.offset == start:
                    display.vv("savedump: %s: %s; now %s" % (ways[0], refused, ways[1]), host=self._host)
                    del ways[0]
                    continue
                reason = str(refused)
            except (_ways.Broken, AnsibleConnectionFailure) as broken:
                reason = str(broken)
            if tries <= 0:
                raise AnsibleConnectionFailure(
                    "%s of %s of %s came before this: %s. What came is kept in %s; the next run goes on from there."
                    % (in_bytes(receiver.offset), in_bytes(before.size), self._source, reason, self._place.part)
                )
            tries -= 1
            display.warning(
                "%s: %s: %s; trying again from byte %d" % (self._host, self._source, reason, receiver.offset)
            )
            time.sleep(_BETWEEN_TRIES_S)

    def _go(self, way, receiver, size):
        if way == "chunks":
            receiver.back_to(receiver.offset - receiver.offset % _far_end.BLOCK)
            _ways.chunks(self, self._far, receiver.offset, size, receiver.take)
        elif way == "copy":
            receiver.back_to(0)
            copied = self._place.part + ".copy"
            try:
                _ways.copy(self, self._source, copied)
                receiver.take_file(copied)
            finally:
                if os.path.lexists(copied):
                    os.unlink(copied)
        else:
            command = self._far.send(receiver.offset, size - receiver.offset)
            _ways.stream(self, way, command, receiver.take, self._given["stall_timeout"])

    def _resume(self, receiver):
        """Keep what an earlier run left in the .part if the target's file begins with the very same bytes."""
        there = os.fstat(receiver.descriptor).st_size
        if 0 < there <= receiver.size:
            digest = landing.sha256_of(self._place.part, there)
            if digest and digest.hexdigest() == self._far_hash(there):
                receiver.go_on(there, digest)
                display.vv("savedump: going on at byte %d of %s" % (there, self._source), host=self._host)
                return
        receiver.back_to(0)

    def _stat(self):
        reply = self._low_level_execute_command(self._far.stat())
        found = _far_end.read_stat(reply["stdout"])
        if found is None:
            words = _far_end.read_failure(reply)
            raise AnsibleActionFail("%s on %s cannot be read: %s" % (self._source, self._host, words))
        return found

    def _far_hash(self, length):
        return _far_end.read_hash(self._low_level_execute_command(self._far.hash(length))["stdout"])

    def _done(self, changed, sha256, size, words):
        return {
            "changed": changed,
            "path": self._place.path,
            "sha256": sha256,
            "size": size,
            "msg": "%s %s" % (self._place.path, words),
        }


class _Receiver:
    """What has come: written, hashed and counted as it comes, with a line now and then for whoever waits."""

    def __init__(self, descriptor, size, label):
        self.descriptor = descriptor
        self.size = size
        self.offset = self.start = 0
        self.digest = hashlib.sha256()
        self._label = label
        self._began = self._said = time.monotonic()

    @property
    def seconds(self):
        """Since the beginning."""
        return time.monotonic() - self._began

    def go_on(self, offset, digest):
        """Take up at ``offset``; ``digest`` is over all before it."""
        self.offset = self.start = offset
        self.digest = digest
        os.lseek(self.descriptor, offset, os.SEEK_SET)

    def back_to(self, offset):
        """Forget what lies behind ``offset``."""
        if offset == self.offset:
            os.ftruncate(self.descriptor, offset)
            return
        os.ftruncate(self.descriptor, offset)
        digest = landing.sha256_of("/dev/fd/%d" % self.descriptor, offset) if offset else hashlib.sha256()
        self.go_on(offset, digest)

    def take(self, data):
        """The next bytes."""
        self.digest.update(data)
        self.offset += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]
        if time.monotonic() - self._said >= _PROGRESS_EVERY_S:
            self._say()

    def take_file(self, path):
        """All of another file."""
        with open(path, "rb", buffering=0) as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                self.take(block)

    def _say(self):
        self._said = time.monotonic()
        pace = (self.offset - self.start) / self.seconds
        left = (self.size - self.offset) / pace if pace else 0
        display.display(
            "%s: %s of %s (%d %%), %s/s, about %d s left"
            % (
                self._label,
                in_bytes(self.offset),
                in_bytes(self.size),
                100 * self.offset // max(1, self.size),
                in_bytes(pace),
                left,
            )
        )
