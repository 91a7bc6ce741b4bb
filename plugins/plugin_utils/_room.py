# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is about to be fetched, from all hosts together, fits on the control host's disks: each host's own check
would pass while twenty of them fill the disk side by side."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import landing, space

# Folders, names, and what else is written meanwhile.
_SPARE = 1 << 20


class Coming(NamedTuple):
    """One archive that would be fetched."""

    host: str
    place: landing.Landing
    size: int


def coming(archives, dest, host):
    """A Coming for each of ``archives``, which is what the module savedump returned on ``host``, that is not here."""
    for archive in archives:
        size = archive["size"] or archive.get("estimated_size") or 0
        place = landing.landing(dest, host, archive["path"])
        beside = place.beside(archive["sha256"]) if archive["sha256"] else place
        if size not in (_size(place.path), _size(beside.path)):
            yield Coming(host, place, size)


def shortages(wanted):
    """{host: why its archives do not fit}, for all hosts whose archives go to a disk that is too small for them all."""
    by_disk = {}
    for each in wanted:
        folder = _there(each.place.folder)
        by_disk.setdefault(os.stat(folder).st_dev, (folder, []))[1].append(each)
    refused = {}
    for folder, each_coming in by_disk.values():
        room = space.room_of(folder)
        needed = sum(max(0, each.size - _size(each.place.part)) for each in each_coming) + _SPARE
        if room.free is None or needed <= room.free:
            continue
        what = "%s of %s" % (_count(each_coming, "archive"), _count({each.host for each in each_coming}, "host"))
        what += " needs" if len(each_coming) == 1 else " need"
        for each in each_coming:
            refused[each.host] = _words(what, needed, room)
    return refused


def _words(what, needed, room):
    return (
        "%s %s, and %s on this machine has %s free: %s too few; make room, choose another collect_dest, collect "
        "fewer hosts at once, or insist with collect_ignore_space=true"
        % (what, space.in_words(needed), room.words, space.in_words(room.free), space.in_words(needed - room.free))
    )


def _count(items, noun):
    return "%d %s%s" % (len(items), noun, "" if len(items) == 1 else "s")


def _there(folder):
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _size(path):
    with contextlib.suppress(OSError):
        return os.stat(path).st_size
    return 0
