# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archive dumps of the target straight onto the control host, with nothing written to the target's disk.

The session is in plugin_utils/_session.py, what passes in it in the core (remote/session.py, serve.py).
"""

from __future__ import annotations

import contextlib
import time

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.savedump.toolkit.plugins.module_utils import _adapter
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import errors, landing
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.remote.session import (
    PREDECESSOR_S,
    Broken,
    Failed,
)
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.remote.tries import Tries
from ansible_collections.savedump.toolkit.plugins.plugin_utils import (
    _control,
    _python,
    _receiver,
    _session,
    _talk,
    _verb,
)

display = Display()

# What is a path on the target is text here.
SPEC = {
    **{name: {**option, **_verb._as_text(option)} for name, option in _adapter._SEARCH.items()},
    **_adapter._FILTERS,
    "src": {"type": "list", "elements": "str"},
    "dest": {"type": "str", "required": True},
    "store": {"type": "str", "default": ""},
    "format": _adapter.ARCHIVE_SPEC["format"],
    "level": {"type": "int"},
    "whole_vmlinux": {"type": "bool", "default": False},
    "gdb_scripts": {"type": "bool", "default": False},
    "nice": {"type": "bool", "default": True},
    "wait": {"type": "int", "default": 0},
    "ignore_space": {"type": "bool", "default": False},
    "stall_timeout": {"type": "int", "default": 60},
    "retries": {"type": "int", "default": 3},
    "bandwidth_limit": {"type": "bytes"},
}
_NOT_PERMITTED = 77


class ActionModule(ActionBase):
    """See modules/savedump_stream.py for the words."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        """See ActionBase.run. A failure is returned, for an exception would pass by the task's failed_when."""
        super().run(None, task_vars)
        self._outcome, self._waiting = {}, None
        try:
            return _adapter._plain(self._run(task_vars or {}))
        except AnsibleConnectionFailure as failure:
            failed, why = {"unreachable": True, "msg": str(failure)}, "did not come, for the connection broke"
        except AnsibleError as error:
            failed, why = {"failed": True, "msg": str(error)}, str(error)
        except Exception as error:
            failed = _control.unforeseen(error)
            why = failed["msg"]
        # As Ansible would say it, and with the archives that came: they are here, and whole.
        for path, _named in self._waiting or ():
            self._leave_out(path, why, Broken.exit_status, True)
        return _adapter._plain({**self._outcome, **failed})

    def _run(self, task_vars):
        _found, given = self.validate_argument_spec(argument_spec=SPEC)
        _control.check_limits(given)
        chosen, seen = _python.ask_target(self, task_vars)
        able = [python for python in [chosen, *seen] if python and python.runs_core]
        if not able:
            raise AnsibleActionFail(_verb._no_python(seen, task_vars))
        self._host = self._task.delegate_to or task_vars.get("inventory_hostname", "host")
        self._given, self._python = given, able[0].executable
        self._tries, self._begun = Tries(given["retries"]), False
        self._was_there = False
        self._outcome = {"archives": [], "not_archived": [], "looked": [], "left_out": 0, "changed": False}
        with contextlib.ExitStack() as self._link:
            broken = None
            while True:
                there = self._opened(broken)
                try:
                    if self._go_on(there):
                        return self._done()
                    broken = None
                except Broken as error:
                    broken = error

    def _opened(self, broken=None, came=0):
        """A session, in place of the one whose link is ``broken``, when so many bytes of an archive had come. Raises
        AnsibleConnectionFailure when it has been tried often enough."""
        self._tries.progress(came)
        while True:
            self._link.close()
            if broken:
                self._pause(broken)
            try:
                given = self._given
                there = self._link.enter_context(
                    _session.opened(self, self._python, given["stall_timeout"], given["bandwidth_limit"] or 0)
                )
            except _talk.Refused as refused:
                # A link that is down may say nothing at all. That the way is right is known once it was gone.
                if not self._was_there:
                    raise AnsibleActionFail(str(refused)) from refused
                broken = Broken(str(refused))
            except AnsibleConnectionFailure as failure:
                # paramiko's
                if not self._was_there:
                    raise
                broken = Broken(str(failure))
            except Broken as error:
                broken = error
            else:
                self._was_there = True
                return there

    def _pause(self, broken):
        if self._tries.left <= 0:
            raise AnsibleConnectionFailure(
                "%s; %d dumps are here, and the next run begins with the others"
                % (broken.message, len(self._outcome["archives"]))
            ) from None
        wait_s = int(self._tries.next())
        display.warning("%s: %s; trying again in %d s" % (self._host, broken.message, wait_s))
        for _second in range(wait_s):
            _talk.go_on()
            time.sleep(1)

    def _go_on(self, there):
        """Find what there is, once, and bring what is not here yet. What fails is told, and the others go on; False if
        they need a new session for it."""
        if self._waiting is None:
            self._waiting = self._find(there)
        while self._waiting:
            path, named = self._waiting[0]
            try:
                self._outcome["archives"].append(self._stream(there, path))
            except Broken:
                raise
            except Failed as error:
                # A sweep without root rights meets other people's dumps; only a dump that was named must open.
                self._leave_out(path, str(error), error.exit_status, named or error.exit_status != _NOT_PERMITTED)
            except (errors.SavedumpError, OSError) as error:
                self._leave_out(path, errors.sentence(error), getattr(error, "exit_status", 74), True)
                self._next()
                return False
            self._next()
        return True

    def _next(self):
        del self._waiting[0]
        self._tries, self._begun = Tries(self._given["retries"]), False

    def _find(self, there):
        """[(path, whether it was named)] of all dumps that are wanted and whole."""
        filters = {name: self._given[name] for name in _adapter._FILTERS if self._given[name]}
        try:
            report = there.find(self._given["src"] or (), self._given["sysroot"], filters)
        except Failed as error:
            raise AnsibleActionFail(str(error)) from error
        self._outcome.update(looked=report["looked"], left_out=report.get("left_out", 0))
        for each in report.get("unread", ()):
            self._leave_out(each["path"], each["why"], each["exit_status"], True)
        for entry in report["dumps"]:
            if entry.get("in_progress"):
                why = "is still being written; archive it later"
                self._leave_out(entry["path"], why, errors.Busy.exit_status, False)
        named = frozenset(self._given["src"] or ())
        return [(entry["path"], entry["path"] in named) for entry in report["dumps"] if not entry.get("in_progress")]

    def _stream(self, there, path):
        given = self._given
        progress = _receiver.Progress("%s: %s" % (self._host, path))
        wait = max(given["wait"], PREDECESSOR_S) if self._begun else given["wait"]
        self._begun = True
        came = there.stream(
            path,
            landing.landing(given["dest"], self._host, path).folder,
            search=_adapter._search_options(given),
            format=given["format"],
            level=given["level"],
            store_folder=_control.here(given["store"]) or None,
            debuginfod_urls=given["debuginfod_urls"],
            nice=given["nice"],
            wait=wait,
            ignore_space=given["ignore_space"],
            dry_run=self._task.check_mode,
            progress=lambda done, whole: progress.at("archived", done, max(done, whole)),
            again=self._opened,
            waiting=lambda why: display.warning("%s: %s; it is waited for" % (self._host, why)),
        )
        self._outcome["changed"] = self._outcome["changed"] or came.changed
        display.vv("savedump: %s: %s" % (path, came.path), host=self._host)
        return came.as_json()

    def _leave_out(self, path, why, status, failed):
        self._outcome["not_archived"].append({"dump": path, "why": why, "exit_status": status, "failed": failed})
        display.warning("%s: not archived: %s" % (self._host, why if path in why else "%s: %s" % (path, why)))

    def _done(self):
        outcome = self._outcome
        new = [each for each in outcome["archives"] if each["changed"]]
        failed = [each for each in outcome["not_archived"] if each["failed"]]
        words = "%d of %d dumps %s, %s over the link, %s were here already" % (
            len(new),
            len(outcome["archives"]) + len(outcome["not_archived"]),
            "would be brought" if self._task.check_mode else "brought",
            _adapter.in_bytes(sum(each["wire_bytes"] for each in new)),
            _adapter.in_bytes(sum(each["saved_bytes"] for each in new)),
        )
        if failed:
            outcome.update(failed=True)
            words += "; NOT archived: %s" % failed[0]["why"]
        return dict(outcome, msg=words if outcome["archives"] or outcome["not_archived"] else "no dumps found")
