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
        dest, wanted, refused = here(given["dest"]), [], {}
        for name, variables in _play.known(self._vars, given["hosts"]).items():
            try:
                wanted.extend(_coming(variables, dest, name))
            # A target can answer whatever it likes; that must not cost the others the check.
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                refused[name] = "what this host says makes no sense: %s" % error
        refused.update(_room.shortages(wanted))
        hosts = {why: ", ".join(each for each in refused if refused[each] == why) for why in refused.values()}
        words = "; ".join("%s: %s" % (hosts[why], why) for why in hosts)
        words = words or "%d archives to be fetched fit" % len(wanted)
        return {"changed": False, "refused": refused, "needed": sum(each.size for each in wanted), "msg": words}


def _coming(variables, dest, host):
    """A list of _room.Coming: what this host has, and no better archive of the same dump is here."""
    archives = _play.result(variables, "archived").get("archives", ())
    better = {each["on_target"] for each in _play.result(variables, "known").get("archives", ()) if each["better"]}
    return list(_room.coming([each for each in archives if each["path"] not in better], dest, host))
