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
        outcomes = {}
        for host in given["hosts"]:
            known = hostvars[host] if host in hostvars else {}
            outcomes[host] = _summary.outcome(*(known.get(step) for step in _STEPS))
        text = _summary.lines(outcomes, dest=given["dest"], here=os.environ.get("PWD"))
        display.display("\n" + "\n".join(text) + "\n")
        return {"changed": False, "outcomes": outcomes, "lines": text}
