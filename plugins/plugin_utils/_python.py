# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Pythons the target has: one sh line, one round trip, no facts needed.

Facts and interpreter discovery give a path, not a version, and may be stale; the modules of a too new ansible-core
fail on an old Python with a SyntaxError that helps nobody. So ask.
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from ansible import constants as C
from ansible.module_utils import basic

# The core's floor (module_utils is written for it) and the one that this ansible-core's own module code has. Up to 2.16
# _PY_MIN is not a version but the verdict on the running Python; 2.16 needs 3.6 (docs: "support matrix").
CORE_FLOOR = (3, 6)
_ANSIBLE_FLOOR = getattr(basic, "_PY_MIN", None)
ANSIBLE_FLOOR = max(CORE_FLOOR, _ANSIBLE_FLOOR if isinstance(_ANSIBLE_FLOOR, tuple) else CORE_FLOOR)

# Tried after Ansible's own list, which ends at what that ansible-core supports. platform-python is RHEL 8's.
_MORE = tuple("python3.%d" % minor for minor in range(14, 5, -1)) + (
    "/usr/bin/python3",
    "python3",
    "/usr/libexec/platform-python",
)

# Debian's python3-minimal has no json, shutil or zipfile; all come with libpython3-stdlib. Exits 0 only if Ansible's
# modules can run, which ends the search.
_ASK = (
    'import sys; say = sys.stdout.write; say("%%d.%%d.%%d " %% sys.version_info[:3]); sys.stdout.flush(); '
    'import json, shutil, zipfile; say("complete"); sys.exit(sys.version_info[:2] < %s)'
)
_ANSWER = re.compile(r"^savedump-python (?:(\d+)\.(\d+)\.(\d+) )?(complete)?\|(.*?)\|(/.+?)\r?$", re.MULTILINE)


class Python(NamedTuple):
    """One interpreter on the target."""

    executable: str
    version: tuple
    """(0, 0, 0) if it does not start: a pyenv shim, or a link that leads nowhere useful."""
    complete: bool
    """False if parts of the standard library are not installed (Debian's python3-minimal)."""
    name: str = ""
    """The word it was found by."""

    @property
    def words(self):
        """For a sentence."""
        return "Python %s at %s" % (".".join(str(part) for part in self.version), self.executable)

    @property
    def runs_modules(self):
        """Whether this ansible-core can run its modules with it, and ours."""
        return self.complete and self.version[:2] >= ANSIBLE_FLOOR

    @property
    def runs_core(self):
        """Whether savedump_core runs with it."""
        return self.complete and self.version[:2] >= CORE_FLOOR


def configured(action, task_vars):
    """(interpreter that the user names or None, the names that Ansible would try in order)."""
    task_vars = of_target(action, task_vars)
    named = C.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
    named = str(action._templar.template(named) or "").strip()
    if not named or named.startswith("auto"):
        named = None
    discovered = (task_vars.get("ansible_facts") or {}).get("discovered_interpreter_python")
    names = list(C.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=task_vars))
    return named, ([discovered] if discovered else []) + names


def of_target(action, task_vars):
    """The variables of the host that the task is delegated to, if it is."""
    if action._task.delegate_to:
        return task_vars.get("ansible_delegated_vars", {}).get(action._task.delegate_to, task_vars)
    return task_vars


def question(candidates):
    """The sh line that prints one row for each of ``candidates`` that is there, up to the first that suits Ansible."""
    names = " ".join(_quoted(name) for name in dict.fromkeys(candidates))  # each once, in order
    ask = shlex.quote(_ASK % (ANSIBLE_FLOOR,))
    script = (
        'for p in %s; do f=$(command -v "$p" 2>/dev/null) || continue; case $f in /*) ;; *) continue;; esac; '
        'v=$("$f" -c %s 2>/dev/null); r=$?; echo "savedump-python $v|$p|$f"; [ $r = 0 ] && break; done; exit 0'
    )
    return "/bin/sh -c " + shlex.quote(script % (names, ask))


def answer(text):
    """The rows of ``question`` as Pythons, in order."""
    return [
        Python(
            executable=row[6],
            version=tuple(int(part or 0) for part in row.group(1, 2, 3)),
            complete=row[4] is not None,
            name=row[5],
        )
        for row in _ANSWER.finditer(text)
    ]


def ask_target(action, task_vars):
    """(the Python that Ansible would run modules with, all that were seen). One round trip.

    The first is None if Ansible would find none, and the list may be empty.
    """
    named, names = configured(action, task_vars)
    if named and re.search(r"\s", named):
        # "/usr/bin/env python3": only a shell can tell, and Ansible runs it as it is.
        return Python(executable=named, version=ANSIBLE_FLOOR + (0,), complete=True), []
    first = [named] if named else names
    # As Ansible does: discovery with the login user's PATH, a named interpreter with the rights the module will have.
    reply = action._low_level_execute_command(question(first + list(_MORE)), sudoable=bool(named))
    seen = answer(reply["stdout"])
    # Ansible takes the first of its list that is there, good or bad, and a named one even if it is not.
    chosen = seen[0] if seen and seen[0].name in first else None
    return chosen, [python for python in seen if python.version > (0, 0, 0)]


def _quoted(name):
    return '"$HOME"/' + shlex.quote(name[2:]) if name.startswith("~/") else shlex.quote(name)
