# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file from the target to the control host, in constant memory, through become, proven by its SHA-256.

The steps are here. Where it lands is in landing; what is here of it already, in plugin_utils/_chunks and _receiver;
how it travels, in _link and _ways; what the far end runs, in _far_end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.savedump.toolkit.plugins.module_utils._adapter import in_bytes
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import errors, landing
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.errors import Busy
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _control, _far_end, _link, _python, _receiver

SPEC = {
    "src": {"type": "str", "required": True},
    "dest": {"type": "str", "required": True},
    "checksum": {"type": "str"},
    "stall_timeout": {"type": "int", "default": 60},
    "retries": {"type": "int", "default": 3},
    "bandwidth_limit": {"type": "bytes"},
}
# The worker of a run that was killed lets go of its .part within a second or two.
_BUSY_FOR_S = 4


class ActionModule(ActionBase):
    """See modules/savedump_fetch.py for the words."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        """See ActionBase.run. A failure is returned, for an exception would pass by the task's failed_when."""
        super().run(None, task_vars)
        try:
            return self._run(task_vars or {})
        except AnsibleConnectionFailure as failure:
            # As Ansible would say it, and with what came: it stays, and was paid for.
            return {"unreachable": True, "msg": str(failure), **self._counted()}
        except AnsibleError as error:
            return {"failed": True, "msg": str(error), **self._counted()}
        except OSError as error:
            return {"failed": True, "msg": errors.sentence(error), **self._counted()}
        except Exception as error:
            return {**_control.unforeseen(error), **self._counted()}

    def _run(self, task_vars):
        _found, given = self.validate_argument_spec(argument_spec=SPEC)
        wanted = (given["checksum"] or "").strip().lower().removeprefix("sha256:") or None
        if wanted and (len(wanted) != 64 or set(wanted) - set("0123456789abcdef")):
            raise AnsibleActionFail("checksum is not a SHA-256 in hex: %s" % given["checksum"])
        _control.check_limits(given)
        host = self._task.delegate_to or task_vars.get("inventory_hostname", "host")
        self._host, self._source, self._given, self._receiver = host, given["src"], given, None
        self._place = landing.landing(given["dest"], host, self._source)
        if wanted and self._is_here(wanted):
            return self._done(False, wanted, os.path.getsize(self._place.path), "is here already")
        _chosen, pythons = _python.ask_target(self, task_vars)
        far = _far_end.FarEnd(self._source, pythons[0].executable if pythons else None)
        label = "%s: %s" % (host, os.path.basename(self._place.path))
        self._link = _link.Link(self, host, self._source, far, given, label)
        before = self._stat()
        if not wanted and os.path.exists(self._place.path):
            wanted = self._link.hash(before.size)
            if wanted and self._is_here(wanted):
                return self._done(False, wanted, before.size, "is here already")
        if self._task.check_mode:
            return self._done(True, wanted, before.size, "would be fetched: %s" % in_bytes(before.size))
        try:
            return self._fetch(before, wanted)
        except Busy as busy:
            raise AnsibleActionFail(str(busy)) from busy
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                landing.discard(self._place)
            error.filename = error.filename or self._place.part
            raise

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
        began = time.monotonic()
        new = not os.path.lexists(self._place.path)
        with self._opened_part() as descriptor:
            if new and os.path.lexists(self._place.path):
                landing.discard(self._place)
                if wanted and self._is_here(wanted):
                    return self._done(False, wanted, before.size, "is here already")
                # Whose bytes those are is known only by hashing them there: the next run does.
                raise Busy("another run has fetched %s meanwhile" % self._place.path, "run this again")
            receiver = self._receiver = _receiver.Receiver(descriptor, self._place.part, before.size)
            if receiver.there:
                self._link.compare(receiver, receiver.there)
                receiver.kept = before.size - receiver.left
                receiver.repaired = receiver.there - receiver.kept
            start = receiver.missing[0][0] if receiver.missing else before.size
            said = self._link.fetch(receiver, hashed=not wanted)
            expected = self._expected(before, wanted or said)
            # Whatever was damaged on its way or here comes once more, and nothing else.
            if receiver.sha256() != expected and self._link.compare(receiver, before.size) and receiver.missing:
                receiver.repaired += receiver.left
                self._link.fetch(receiver)
                expected = self._expected(before, wanted)
            found = receiver.sha256()
            if found != expected:
                origin = "asked for" if wanted else "computed there"
                self._refuse(
                    "%s from %s has SHA-256 %s, and %s was %s" % (self._source, self._host, found, origin, expected)
                )
            landing.finish(descriptor, self._place)
        result = self._done(True, found, before.size, "fetched")
        result.update(resumed_at=start, way=self._link.way, seconds=round(time.monotonic() - began, 1))
        return result

    @contextlib.contextmanager
    def _opened_part(self):
        deadline = time.monotonic() + _BUSY_FOR_S
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    descriptor = stack.enter_context(landing.opened_part(self._place))
                    break
                except Busy:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield descriptor

    def _expected(self, before, wanted):
        """The SHA-256 that the whole must have, of a file that is still what it was."""
        after = _far_end.read_stat(self._receiver.rest.decode("ascii", "replace")) or self._stat()
        if after != before:
            self._refuse("%s on %s changed while it was read; fetch it again" % (self._source, self._host))
        expected = wanted or self._link.hash(before.size)
        if expected is None:
            self._refuse(
                "what came cannot be proven: nothing on %s computes a SHA-256 (no Python, sha256sum, shasum or "
                "openssl), and none was given in checksum" % self._host
            )
        return expected

    def _refuse(self, words):
        """Nothing that is not proven stays, not even as a .part."""
        landing.discard(self._place)
        raise AnsibleActionFail(words)

    def _stat(self):
        found, reply = self._link.stat()
        if found is None:
            words = _far_end.read_failure(reply)
            raise AnsibleActionFail("%s on %s cannot be read: %s" % (self._source, self._host, words))
        return found

    def _done(self, changed, sha256, size, words):
        return {
            "changed": changed,
            "path": self._place.path,
            "sha256": sha256,
            "size": size,
            "msg": "%s %s" % (self._place.path, words),
            **self._counted(),
        }

    def _counted(self):
        receiver = getattr(self, "_receiver", None)
        if receiver is None:
            return {"wire_bytes": 0, "kept_bytes": 0, "repaired_bytes": 0}
        return {"wire_bytes": receiver.wire, "kept_bytes": receiver.kept, "repaired_bytes": receiver.repaired}
