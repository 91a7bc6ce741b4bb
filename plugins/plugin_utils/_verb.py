# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way that the actions savedump and savedump_info go: choose a vehicle, carry, run, bring the result.

AnsiballZ where this ansible-core supports the Python that it would use on the target; else the zipapp. Work in the
background (async with a poll) is always the zipapp's: its outcome is asked for with a line of sh, where async_status
would send a module, and so at once at first and then at longer intervals, up to `poll`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.savedump.toolkit.plugins.module_utils import _adapter, _alone, _files
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _carry, _python

display = Display()

# What is said of an archive that came straight here (savedump_stream), and by this machine only.
_OUR_WORD = frozenset(("wire_bytes", "saved_bytes"))
# The first look at work in the background; each pause is longer by half, up to the task's poll.
_FIRST_LOOK_S, _LONGER = 0.3, 1.5
# A host that does not answer for so long is given up, whatever async allows; its work goes on, and the next run finds
# it. A host that boots again takes less, but its work is lost anyway.
_AWAY_S = 300


class VerbAction(ActionBase):
    """Runs the module of the same name on the target."""

    VERB = ""
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        """See ActionBase.run. A failure is returned, for an exception would pass by the task's failed_when."""
        super().run(None, task_vars)
        try:
            return _without_our_word(self._run(task_vars or {}))
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:
            return {"failed": True, "msg": str(error)}

    def _run(self, task_vars):
        if self._task.check_mode:
            # Check mode reads headers only, so it needs no background; Ansible does not join the two.
            self._task.async_val = 0
        chosen, seen = _python.ask_target(self, task_vars)
        background = self._task.async_val and self._task.poll
        if chosen and chosen.runs_modules and not background:
            return self._by_ansiballz(chosen, task_vars)
        able = [python for python in seen if python.runs_core]
        if not able:
            raise AnsibleActionFail(_no_python(seen, task_vars))
        best = chosen if chosen in able else max(able, key=lambda python: python.version)
        return self._by_zipapp(best, task_vars)

    def _by_ansiballz(self, python, task_vars):
        carried = _carry.pyelftools(python.version)
        display.vv("savedump: AnsiballZ with %s; pyelftools: %s" % (python.words, carried.why), host=_host(task_vars))
        if not carried.path:
            return self._execute(task_vars)
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        folder = self._connection._shell.tmpdir
        there = self._transfer_file(carried.path, self._connection._shell.join_path(folder, "pyelftools.zip"))
        self._fixup_perms2((folder, there), execute=False)
        # By the environment, not as an option: options are for people.
        self._task.environment.append({_adapter.CARRIED: there})
        try:
            return self._execute(task_vars)
        finally:
            self._task.environment.pop()

    def _execute(self, task_vars):
        wrap_async = self._task.async_val and not getattr(self._connection, "has_native_async", False)
        return self._execute_module(
            module_name="savedump.toolkit." + self.VERB,
            module_args=dict(self._task.args),
            task_vars=task_vars,
            wrap_async=wrap_async,
        )

    def _by_zipapp(self, python, task_vars):
        limit = self._task.async_val
        if limit and not self._task.poll:
            raise AnsibleActionFail(
                "%s has %s, and this ansible-core's async_status needs Python %d.%d there: the outcome of a task with "
                "poll: 0 could not be read. Give a poll above 0."
                % ((_host(task_vars), python.words) + _python.ANSIBLE_FLOOR)
            )
        carried = _carry.pyelftools(python.version)
        display.vv("savedump: zipapp with %s; pyelftools: %s" % (python.words, carried.why), host=_host(task_vars))
        settings = self._settings(background=bool(limit))
        self._make_tmp_path()
        folder = self._connection._shell.tmpdir
        there = self._connection._shell.join_path(folder, "savedump.pyz")
        here = _carry.zipapp(settings, carried.path is not None)
        try:
            self._transfer_file(here, there)
        finally:
            os.unlink(here)
        self._fixup_perms2((folder, there), execute=False)
        environment = self._compute_environment_string()
        reply = self._become_sh("%s %s %s" % (environment, shlex.quote(python.executable), shlex.quote(there)))
        if not limit:
            return _result(reply)
        # We poll ourselves, so there is no job that TaskExecutor could ask async_status for.
        self._task.async_val = 0
        return self._wait(_marked(reply, _alone.STARTED), there, limit, self._task.poll)

    def _settings(self, background):
        spec = _files.VERBS[self.VERB][0]
        plain = {name: {**option, **_as_text(option)} for name, option in spec.items()}
        _validated, params = self.validate_argument_spec(argument_spec=plain)
        return {
            "verb": self.VERB,
            "params": params,
            "check_mode": bool(self._task.check_mode),
            "paths": [name for name, option in spec.items() if "path" in (option["type"], option.get("elements"))],
            "background": background,
        }

    def _wait(self, started, program, limit, poll):
        """Poll for the result in the background; a broken link is tried again until the time is over."""
        # Its number may be another process's by now, above all after a reboot, or that of a zombie whom nobody waits
        # for: the program in its command line has a name of its own.
        runs = (
            "{{ kill -0 {0} && {{ [ ! -e /proc/self ] ||"
            " case $(cat /proc/{0}/cmdline) in *{1}*) ;; *) false ;; esac; }}; }}"
        ).format(started["group"], shlex.quote(program))
        # Asked twice, for it may be done between the first look and the question whether it still runs.
        look = "{{ cat {0} || {1} || cat {0} || echo gone; }} 2>/dev/null".format(
            shlex.quote(started["folder"] + "/result"), runs
        )
        seen = time.monotonic()
        until = seen + limit
        pause = _FIRST_LOOK_S
        try:
            while True:
                time.sleep(min(pause, poll, max(0.0, until - time.monotonic())))
                pause = min(pause * _LONGER, poll)
                try:
                    reply = self._become_sh(look)
                except AnsibleConnectionFailure as failure:
                    if time.monotonic() >= min(until, seen + _AWAY_S):
                        raise
                    display.vv("savedump: %s; trying again" % failure)
                    continue
                seen = time.monotonic()
                if _alone.RESULT in reply["stdout"]:
                    return _result(reply)
                if reply["stdout"].strip() == "gone":
                    return {"failed": True, "msg": "savedump was killed on the target before it was done"}
                if time.monotonic() >= until:
                    self._become_sh("%s 2>/dev/null && kill -TERM -%d" % (runs, started["group"]))
                    return {"failed": True, "msg": "stopped: not done within the %d seconds of async" % limit}
        finally:
            with contextlib.suppress(AnsibleConnectionFailure):
                self._become_sh("rm -rf -- " + shlex.quote(started["folder"]))

    def _become_sh(self, script):
        return self._low_level_execute_command("/bin/sh -c " + shlex.quote(script), sudoable=True)


def _as_text(option):
    """A path is expanded on the target (_alone.py); here it is only text."""
    changed = {}
    if option["type"] == "path":
        changed["type"] = "str"
    if option.get("elements") == "path":
        changed["elements"] = "str"
    return changed


def _marked(reply, marker):
    """The JSON object behind ``marker`` in what the target printed."""
    for line in reply["stdout"].splitlines():
        if line.startswith(marker):
            with contextlib.suppress(ValueError):
                said = json.loads(line[len(marker) :])
                if isinstance(said, dict):
                    return said
    # ssh's own "Shared connection closed" is on stderr, a traceback of a pseudo-terminal's process on stdout.
    words = ("\n".join(filter(None, (reply["stderr"].strip(), reply["stdout"].strip()))) or "no output")[-2000:]
    raise AnsibleActionFail("savedump did not run on the target (exit status %d): %s" % (reply["rc"], words))


def _result(reply):
    return _marked(reply, _alone.RESULT)


def _without_our_word(result):
    """The target's answer without what would pass for an archive's having come here: of that it knows nothing."""
    archives = result.get("archives")
    if not isinstance(archives, list):
        return result
    return dict(result, archives=[_theirs(each) if isinstance(each, dict) else each for each in archives])


def _theirs(archive):
    return {key: value for key, value in archive.items() if key not in _OUR_WORD}


def _host(task_vars):
    return task_vars.get("inventory_hostname", "the target")


def _no_python(seen, task_vars):
    """What is missing on the target, and what to do about it."""
    host = _host(task_vars)
    for python in seen:
        if python.version >= _python.CORE_FLOOR and not python.complete:
            return (
                "%s has %s without its standard library (json, shutil or zipfile is missing; Debian calls that package "
                "python3-minimal). Install python3 there." % (host, python.words)
            )
    if seen:
        return (
            "%s has %s; savedump needs Python 3.6 or newer there. Install python3, or name one in "
            "ansible_python_interpreter; the file itself can still be fetched with savedump.toolkit.savedump_fetch, "
            "which needs only sh." % (host, ", ".join(python.words for python in seen))
        )
    return (
        "%s has no Python 3 where it was looked for. Install python3 there, or name one in ansible_python_interpreter; "
        "the file itself can still be fetched with savedump.toolkit.savedump_fetch, which needs only sh." % host
    )
