# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what a run of the role collect brought, host by host. The words are in plugin_utils/_summary.py."""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.savedump.toolkit.plugins.module_utils import _adapter
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import summary
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.errors import SavedumpError, sentence
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _play, _summary
from ansible_collections.savedump.toolkit.plugins.plugin_utils._control import here

display = Display()

SPEC = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "later": {"type": "list", "elements": "str", "default": []},
    "dest": {"type": "str"},
    "save": {"type": "bool", "default": False},
}
# The registered results of the role's steps, in the order that _summary.outcome takes them.
_STEPS = ("__collect_found", "__collect_archived", "__collect_fetched", "__collect_verified")
# What is here of the archives, as last said: after they were completed, else before they were fetched.
_HOMES = ("completed", "known")
# The steps that bring what another host lacks.
_FILLING = ("__collect_stored", "__collect_offered", "__collect_set_out", "__collect_brought", "__collect_kept")


class ActionModule(ActionBase):
    """See modules/savedump_summary.py for the words."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        """See ActionBase.run."""
        super().run(None, task_vars)
        _found, given = self.validate_argument_spec(argument_spec=SPEC)
        later = [host for host, each in _play.known(task_vars, given["later"]).items() if _play.to_come(each)]
        steps = _play.known(task_vars, [host for host in given["hosts"] if host not in later])
        senders = self._senders(steps)
        room = next((each for each in (_play.result(known, "room") for known in steps.values()) if each), {})
        checking = bool(self._task.check_mode)
        outcomes = {}
        for host, known in steps.items():
            outcomes[host] = _summary.outcome(
                *(known.get(step) for step in _STEPS),
                _play.result(known, *_HOMES) or None,
                senders,
                [known.get(step) for step in _FILLING],
                room.get("refused", {}).get(host),
                _play.result(known, "removed"),
                coming=given["save"] and not checking,
                cleared=_play.result(known, "cleared"),
            )
        removed_here = self._removed_here(steps.values())
        pwd, width = os.environ.get("PWD"), display.columns
        text = _summary.lines(outcomes, given["dest"], pwd, removed_here, checking, width, to_come=later)
        display.display("\n" + "\n".join(text) + "\n")
        report = summary.document(outcomes, given["dest"], checking, removed_here, to_come=later)
        # With -v the default callback would show the same once more, as data: as of facts, it does not.
        result = {"changed": False, "outcomes": outcomes, "lines": text, "report": _adapter._plain(report)}
        result["_ansible_verbose_override"] = True
        if given["save"] and given["dest"] and not checking:
            try:
                result["path"] = summary.save(here(given["dest"]), report)
            except (SavedumpError, OSError) as error:
                display.warning("the summary was not saved: %s" % sentence(error))
        return result

    @staticmethod
    def _senders(steps):
        """The host that a file came from, by its place in the store. The names are the hosts' own words."""
        return {
            each["item"]["name"]: host
            for host, known in steps.items()
            for each in (known.get("__collect_brought") or {}).get("results", ())
            if "sha256" in each and isinstance(each["item"].get("name"), str)
        }

    @staticmethod
    def _removed_here(known):
        """What retention took away. It runs once, and its result is every host's."""
        removed = {}
        for variables in known:
            for each in _play.result(variables, "retained").get("removed", ()):
                removed[each["path"]] = each
        return list(removed.values())
