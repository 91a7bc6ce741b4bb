# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes into the content store on the control host. Nothing does that was not proven here: a host's word for what
it has sent is not enough."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import (
    api,
    errors,
    model,
    setout,
    store,
    sysroot,
)


class Kept(NamedTuple):
    """What came of one archive or file."""

    added: list[str]
    """Places in the store that are new."""
    warnings: list[str]


def keep_archive(folder, path, dry_run=False):
    """Put the files of an archive into the store that its manifest says and its bytes prove. An archive of which all is
    there is not read again. Raises SavedumpError, OSError."""
    planned = api.store(folder, [path], dry_run=True)
    if not dry_run and planned.added:
        _make_above(folder)
        planned = api.store(folder, [path])
    for _path, why in planned.failed:
        raise errors.BadDump(why)
    if dry_run:
        return Kept([each.name for each in planned.added], [])
    others = [each for each in planned.other if planned.added]
    words = "%s has another content in %s than in the store, where it stays as it was"
    return Kept([each.name for each in planned.added], [words % (each.name, path) for each in others])


def keep_file(folder, sent, dry_run=False):
    """Put one file that a host has sent, {"path", "build_id", "kind"}, into the store. Whatever it is, it is taken away
    from there. Raises SavedumpError, OSError."""
    try:
        place = setout.place_of(sent["build_id"], sent["kind"])
        names = _names(sent, os.path.basename(place))
        places = ["%s/%s" % (os.path.dirname(place), name) for name in names]
        new = [each for each in places if not os.path.lexists(os.path.join(folder, each))]
        if not dry_run:
            _make_above(folder)
            for each in new:
                store.add_file(folder, sent["path"], sent["build_id"], os.path.basename(each))
        return Kept(new, [])
    finally:
        if not dry_run:
            _take_away(sent["path"])


def _names(sent, name):
    """Under which names debuginfod would serve it: a file that was never stripped is its own debug information."""
    try:
        elf = sysroot.read_elf(sent["path"]).elf
    except sysroot.Refused as refusal:
        raise errors.BadDump("it is refused: %s" % refusal) from None
    if elf.build_id is None or elf.build_id.hex() != sent["build_id"]:
        other = elf.build_id.hex() if elf.build_id else "none"
        raise errors.BadDump("it has build ID %s, and %s was asked for" % (other, sent["build_id"]))
    if sent["kind"] != model.LOADED and not elf.has_debug_info:
        raise errors.BadDump("it has the build ID but no debug information")
    return [name] + ([store.DEBUGINFO] if elf.has_debug_info and name != store.DEBUGINFO else [])


def _make_above(folder):
    os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)


def _take_away(path):
    with contextlib.suppress(OSError):
        os.unlink(path)
    with contextlib.suppress(OSError):
        os.removedirs(os.path.dirname(path))  # those that are empty now
