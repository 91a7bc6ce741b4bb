# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old archives from the control host. Which, is said in savedump_core/retention.py."""

from __future__ import annotations

import os
import time

from ansible_collections.savedump.toolkit.plugins.module_utils._adapter import in_bytes
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import retention
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.errors import UsageError, sentence
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.stores import filters
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _play
from ansible_collections.savedump.toolkit.plugins.plugin_utils._control import ControlAction, here


class ActionModule(ControlAction):
    """See modules/savedump_retention.py for the words."""

    SPEC = {
        "hosts": {"type": "list", "elements": "str", "required": True},
        "later": {"type": "list", "elements": "str", "default": []},
        "dest": {"type": "str", "required": True},
        "keep_days": {"type": "int", "default": 0},
        "keep_archives": {"type": "int", "default": 0},
        "keep_bytes": {"type": "str", "default": ""},
    }

    def run(self, tmp=None, task_vars=None):
        """See ActionBase.run."""
        self._vars = task_vars
        return super().run(tmp, task_vars)

    def work(self, given, host):
        """See ControlAction.work."""
        result = {"changed": False, "removed": []}
        if any(_play.to_come(each) for each in _play.known(self._vars, given["later"]).values()):
            return dict(result, msg="later: not all hosts have had their turn")
        try:
            size = filters.size(given["keep_bytes"]) if given["keep_bytes"] else None
        except UsageError as error:
            return dict(result, failed=True, msg="keep_bytes: %s" % error)
        policy = retention.Policy(given["keep_days"] or None, given["keep_archives"] or None, size)
        known = _play.known(self._vars, given["hosts"]).values()
        stay = {path for variables in known for path in _play.paths_here(variables)}
        found, errors = retention.collected(here(given["dest"])), []
        for each in list(retention.doomed(found, policy, stay, time.time_ns())):
            if not retention.is_ours(each.archive.path):
                continue
            try:
                if not self._task.check_mode:
                    os.unlink(each.archive.path)
            except OSError as error:
                errors.append("not removed: %s" % sentence(error))
                continue
            result["removed"].append({"path": each.archive.path, "size": each.archive.size, "why": each.why})
        result["changed"] = bool(result["removed"])
        words = "%d archives %sremoved: %s" % (
            len(result["removed"]),
            "to be " if self._task.check_mode else "",
            in_bytes(sum(each["size"] for each in result["removed"])),
        )
        result["msg"] = "; ".join(errors + [words])
        if errors:
            result["failed"] = True
        return result
