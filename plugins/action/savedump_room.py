# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See whether the archives of all hosts fit on the control host, before one is fetched."""

from __future__ import annotations

from ansible_collections.savedump.toolkit.plugins.plugin_utils import _play, _room
from ansible_collections.savedump.toolkit.plugins.plugin_utils._control import ControlAction, here


class ActionModule(ControlAction):
    """See modules/savedump_room.py for the words."""

    SPEC = {
        "hosts": {"type": "list", "elements": "str", "required": True},
        "dest": {"type": "str", "required": True},
    }

    def run(self, tmp=None, task_vars=None):
        """See ActionBase.run."""
        self._vars = task_vars
        return super().run(tmp, task_vars)

    def work(self, given, host):
        """See ControlAction.work."""
        dest, wanted = here(given["dest"]), []
        for name, variables in _play.known(self._vars, given["hosts"]).items():
            archives = _play.result(variables, "archived").get("archives", ())
            better = {
                each["on_target"] for each in _play.result(variables, "known").get("archives", ()) if each["better"]
            }
            wanted.extend(_room.coming([each for each in archives if each["path"] not in better], dest, name))
        refused = _room.shortages(wanted)
        words = "; ".join(sorted(set(refused.values()))) or "%d archives to be fetched fit" % len(wanted)
        return {"changed": False, "refused": refused, "needed": sum(each.size for each in wanted), "msg": words}
