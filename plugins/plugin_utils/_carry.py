# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is carried to the target: pyelftools, and the core as a zipapp. Nothing stays there."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
import zipfile
from typing import NamedTuple

from ansible import constants as C

from ansible_collections.savedump.toolkit.plugins.module_utils import _alone

# 0.32 is the last pyelftools that imports on Python 3.6 to 3.9; 0.33 needs 3.10 (its setup.py).
_LAST_FOR_OLD = (0, 32)
_OLD_BEFORE = (3, 10)

_MAIN = "from savedump_toolkit._alone import main\nmain()\n"


class Carried(NamedTuple):
    """A library of the control host as it can be sent to a target."""

    path: str | None
    """The zip file here; None if there is nothing to send."""
    why: str
    """Its version, or why there is none."""


def pyelftools(version):
    """The control host's pyelftools in a zip file, for a target with Python ``version`` (major, minor, ...).

    Made once for each run of Ansible and shared between its workers. Deflated: 166 KB for 0.32.
    """
    folder, found = _elftools()
    if folder is None:
        return Carried(None, "this control host has no pyelftools (pip install pyelftools==0.32)")
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers > _LAST_FOR_OLD and tuple(version[:2]) < _OLD_BEFORE:
        return Carried(
            None,
            "this control host's pyelftools %s does not run on the target's Python %d.%d (0.32 does)"
            % ((found,) + tuple(version[:2])),
        )
    path = os.path.join(C.DEFAULT_LOCAL_TMP, "savedump-pyelftools-%s.zip" % found)
    if not os.path.exists(path):
        with _new_zip(path) as archive:
            _add_package(archive, folder, "elftools")
    return Carried(path, found)


def zipapp(settings, with_elftools):
    """Path of a new zipapp here: the core, its adapter, ``settings`` and, if asked, pyelftools."""
    package = os.path.dirname(_alone.__file__)
    handle, path = tempfile.mkstemp(prefix="savedump-", suffix=".pyz", dir=C.DEFAULT_LOCAL_TMP)
    os.close(handle)
    with _new_zip(path) as archive:
        archive.writestr("__main__.py", _MAIN)
        archive.writestr("settings.json", json.dumps(settings))
        archive.writestr("savedump_toolkit/__init__.py", "")
        for name in ("_adapter.py", "_alone.py", "_files.py"):
            archive.write(os.path.join(package, name), "savedump_toolkit/" + name)
        _add_package(archive, os.path.join(package, "savedump_core"), "savedump_toolkit/savedump_core")
        if with_elftools:
            _add_package(archive, _elftools()[0], "elftools")
    return path


def _elftools():
    """(folder, version) of the pyelftools that this Python finds, or (None, None)."""
    if importlib.util.find_spec("elftools") is None:
        return None, None
    module = sys.modules.get("elftools") or importlib.import_module("elftools")
    return os.path.dirname(module.__file__), module.__version__


class _new_zip:
    """A zip file that appears under its name only when it is whole: Ansible's workers make it side by side."""

    def __init__(self, path):
        self._path = path
        self._part = "%s.%d" % (path, os.getpid())

    def __enter__(self):
        self._zip = zipfile.ZipFile(self._part, "w", zipfile.ZIP_DEFLATED)
        return self._zip

    def __exit__(self, kind, error, trace):
        self._zip.close()
        if kind is None:
            os.replace(self._part, self._path)
        else:
            os.unlink(self._part)


def _add_package(archive, folder, name):
    """The .py files beneath ``folder``, in order, under ``name``."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if each != "__pycache__")
        for each in sorted(files):
            if each.endswith(".py"):
                inside = os.path.relpath(os.path.join(where, each), folder)
                archive.write(os.path.join(where, each), os.path.join(name, inside))
