# SPDX-License-Identifier: Apache-2.0
"""Behind the module savedump_files: files that other hosts' archives lack, from a host that still has them.

Beside _adapter.py, with the same rules: nothing here imports ansible.
"""

import os
import shutil
import tempfile
import traceback

from . import _adapter
from .savedump_core import errors, model, setout

FILES_SPEC = {
    "wants": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "build_id": {"type": "str", "required": True},
            "kind": {"type": "str", "required": True, "choices": ["loaded", "debug", "supplementary"]},
            "module": {"type": "str"},
            "paths": {"type": "list", "elements": "str", "default": []},
            "release": {"type": "str"},
        },
    },
    "dest": {"type": "path"},
    "search_paths": {"type": "list", "elements": "path", "default": []},
    "sysroot": {"type": "path", "default": "/"},
}


def set_out_files(params, check_mode):
    """The module savedump_files: look for each file by its build ID, and copy what is here, to be fetched."""
    _adapter.use_carried()
    options = model.SearchOptions(search_paths=tuple(params["search_paths"]), sysroot=params["sysroot"])
    outcome = {"changed": False, "files": [], "missing": [], "folder": None, "warnings": []}
    folder = own = None
    try:
        if check_mode:
            pass
        elif params["dest"]:
            folder = _adapter.make_private(params["dest"])
        else:
            folder = own = _private_folder()
        done = setout.set_out([_as_named_here(want) for want in params["wants"]], folder, options)
    except (errors.SavedumpError, OSError) as error:
        _remove(own)
        return _adapter._finish(dict(outcome, failed=True, msg=errors.sentence(error)))
    except BaseException:
        _remove(own)
        raise
    if not done["files"]:
        _remove(own)
        folder = None if own else folder
    outcome.update(done, folder=folder)
    if check_mode:
        outcome["changed"] = bool(done["files"])
    outcome["msg"] = "%d of %d files are here%s" % (
        len(done["files"]),
        len(done["files"]) + len(done["missing"]),
        ": %s" % _adapter.in_bytes(sum(each["size"] for each in done["files"])) if done["files"] else "",
    )
    return _adapter._finish(outcome)


VERBS = dict(_adapter.VERBS, savedump_files=(FILES_SPEC, set_out_files))


def perform(verb, params, check_mode):
    """As _adapter.perform, with the verbs of this file."""
    try:
        return VERBS[verb][1](params, check_mode)
    except Exception as error:  # as there: what is not said here is lost
        return {
            "failed": True,
            "msg": "savedump itself failed: %s: %s" % (type(error).__name__, error),
            "exception": traceback.format_exc(),
            "warnings": [],
        }


def _private_folder():
    """New, with mode 0700, where large files have a place: /tmp is memory on many hosts."""
    return tempfile.mkdtemp(prefix="savedump-files-", dir="/var/tmp" if os.path.isdir("/var/tmp") else None)


def _remove(folder):
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _as_named_here(want):
    """With the bytes in its paths that a result cannot hold (see _adapter)."""
    named = dict(want, module=want.get("module") and _adapter._real_name(want["module"]))
    return dict(named, paths=[_adapter._real_name(path) for path in want.get("paths") or ()])
