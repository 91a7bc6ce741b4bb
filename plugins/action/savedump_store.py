# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put files into the content store on the control host: those of archives, and those that hosts have sent."""

from __future__ import annotations

import os

from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.errors import SavedumpError, sentence
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _store
from ansible_collections.savedump.toolkit.plugins.plugin_utils._control import ControlAction, here


class ActionModule(ControlAction):
    """See modules/savedump_store.py for the words."""

    SPEC = {
        "store": {"type": "str", "required": True},
        "archives": {"type": "list", "elements": "str", "default": []},
        "files": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "path": {"type": "str", "required": True},
                "build_id": {"type": "str", "required": True},
                "kind": {"type": "str", "required": True, "choices": ["loaded", "debug", "supplementary"]},
            },
        },
    }

    def work(self, given, host):
        """See ControlAction.work. One that cannot be kept stops no other."""
        store = here(given["store"])
        result = {"changed": False, "stored": [], "errors": [], "warnings": []}
        todo = [(_store.keep_archive, here(path)) for path in given["archives"]]
        todo += [(_store.keep_file, dict(each, path=here(each["path"]))) for each in given["files"]]
        for keep, what in todo:
            try:
                kept = keep(store, what, dry_run=bool(self._task.check_mode))
            except (SavedumpError, OSError) as error:
                path = what if keep is _store.keep_archive else what["path"]
                result["errors"].append("%s is not in the store: %s" % (os.path.basename(path), sentence(error)))
            else:
                result["stored"].extend(kept.added)
                result["warnings"].extend(kept.warnings)
        result["changed"] = bool(result["stored"])
        if result["errors"]:
            result["failed"] = True
        words = "%d files %sstored in %s" % (len(result["stored"]), "to be " if self._task.check_mode else "", store)
        result["msg"] = "; ".join(result["errors"] + [words])
        return result
