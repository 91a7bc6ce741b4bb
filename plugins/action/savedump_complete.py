# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete a host's archives on the control host from the content store, and say what is still to be asked for.

What an archive here is, and how it is completed, is in plugin_utils/_home.py.
"""

from __future__ import annotations

import os

from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.errors import SavedumpError, sentence
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _home
from ansible_collections.savedump.toolkit.plugins.plugin_utils._control import ControlAction, here


class ActionModule(ControlAction):
    """See modules/savedump_complete.py for the words."""

    SPEC = {
        "archives": {"type": "list", "elements": "dict", "required": True},
        "dest": {"type": "str", "required": True},
        "store": {"type": "str"},
    }

    def work(self, given, host):
        """See ControlAction.work. One archive that cannot be completed stops no other."""
        store = here(given["store"])
        result = {"changed": False, "archives": [], "wants": [], "errors": []}
        for home in _home.homes(given["archives"], here(given["dest"]), host):
            sha256, filled = None, []
            if _home.can_be_filled(home, store):
                if self._task.check_mode:
                    filled = [gap for gap in home.missing if _home.in_store(store, gap)]
                else:
                    try:
                        home, sha256, filled = _home.complete(home, store)
                    except (SavedumpError, OSError) as error:
                        result["errors"].append("%s was not completed: %s" % (home.path, sentence(error)))
            result["wants"].extend(each for each in _home.wants(home, store) if each not in result["wants"])
            if home.path is not None:
                result["archives"].append(_archive(home, sha256, filled))
        result["changed"] = any(each["filled"] for each in result["archives"])
        if result["errors"]:
            result["failed"] = True
        result["msg"] = "; ".join(result["errors"] + [_words(result, self._task.check_mode)])
        return result


def _archive(home, sha256, filled):
    return {
        "on_target": home.on_target,
        "path": home.path,
        "sha256": sha256,
        "size": os.path.getsize(home.path),
        "complete": bool(home.manifest.get("complete")),
        "missing": home.missing,
        "better": home.better,
        "filled": [
            dict({key: gap.get(key) for key in ("module", "kind", "build_id")}, place=_home.place_of(gap))
            for gap in filled
        ],
    }


def _words(result, check_mode):
    filled = sum(len(each["filled"]) for each in result["archives"])
    words = "%d %s %sfilled" % (filled, "gap" if filled == 1 else "gaps", "would be " if check_mode else "")
    return "%s, %d files to ask for" % (words, len(result["wants"])) if result["wants"] else words
