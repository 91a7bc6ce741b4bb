# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what a run of the role collect brought, host by host. The words are in plugin_utils/_summary.py."""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.savedump.toolkit.plugins.plugin_utils import _summary

display = Display()

SPEC = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "dest": {"type": "str"},
}
# The registered results of the role's steps, in the order that _summary.outcome takes them.
_STEPS = ("__collect_found", "__collect_archived", "__collect_fetched", "__collect_verified")
# What is here of the archives, as last said: after they were completed, else before they were fetched.
_HOMES = ("__collect_completed", "__collect_known")
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
        hostvars = (task_vars or {}).get("hostvars", {})
        steps = {host: hostvars[host] if host in hostvars else {} for host in given["hosts"]}
        senders = {
            each["item"].get("name"): host
            for host, known in steps.items()
            for each in (known.get("__collect_brought") or {}).get("results", ())
            if "sha256" in each
        }
        outcomes = {}
        for host, known in steps.items():
            said = [known.get(step) for step in _HOMES]
            completed = next((each for each in said if each and not each.get("skipped")), None)
            filling = [known.get(step) for step in _FILLING]
            outcomes[host] = _summary.outcome(*(known.get(step) for step in _STEPS), completed, senders, filling)
        text = _summary.lines(outcomes, dest=given["dest"], here=os.environ.get("PWD"))
        display.display("\n" + "\n".join(text) + "\n")
        return {"changed": False, "outcomes": outcomes, "lines": text}
