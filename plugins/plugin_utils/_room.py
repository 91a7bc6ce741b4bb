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
# No file is larger; what a host claims beyond it is not worth a sum.
_LARGEST = (1 << 63) - 1


class Coming(NamedTuple):
    """One archive that would be fetched."""

    host: str
    place: landing.Landing
    size: int


def coming(archives, dest, host):
    """A Coming for each of ``archives``, which is what the module savedump returned on ``host``, that is not here.

    Raises ValueError for a size that no file has.
    """
    for archive in archives:
        size = _claimed(archive)
        place = landing.landing(dest, host, archive["path"])
        beside = place.beside(archive["sha256"]) if archive["sha256"] else place
        if size not in (_size(place.path), _size(beside.path)):
            yield Coming(host, place, size)


def shortages(wanted):
    """{host: why its archives do not fit}: each host that a disk is too small for even alone, whether it has a giant or
    lies; and if it is too small for all others together, those."""
    by_disk = {}
    for each in wanted:
        folder = _there(each.place.folder)
        hosts = by_disk.setdefault(os.stat(folder).st_dev, (folder, {}))[1]
        hosts.setdefault(each.host, []).append(each)
    refused = {}
    for folder, by_host in by_disk.values():
        room = space.room_of(folder)
        if room.free is None:
            continue
        alone = [host for host, its in by_host.items() if _needs(its) > room.free]
        for hosts in [[host] for host in alone] + [[host for host in by_host if host not in alone]]:
            its = [each for host in hosts for each in by_host[host]]
            if _needs(its) > room.free:
                refused.update(dict.fromkeys(hosts, _words(its, len(hosts), room)))
    return refused


def _claimed(archive):
    """The size of an archive, or what it is estimated at before it is made, as its host says."""
    size = archive["size"] if archive["size"] is not None else archive.get("estimated_size")
    if size is None:
        return 0
    if not isinstance(size, int) or not 0 <= size <= _LARGEST:
        raise ValueError("the size of %s is %.80r" % (archive["path"], size))
    return size


def _needs(its):
    """Bytes that have to be free for what is still to come of these archives."""
    return sum(max(0, each.size - _size(each.place.part)) for each in its) + _SPARE


def _words(its, hosts, room):
    needed = _needs(its)
    what = "%s of %s" % (_count(len(its), "archive"), _count(hosts, "host"))
    what += " needs" if len(its) == 1 else " need"
    return (
        "%s %s, and %s on this machine has %s free: %s too few; make room, choose another collect_dest, collect "
        "fewer hosts at once, or insist with collect_ignore_space=true"
        % (what, space.in_words(needed), room.words, space.in_words(room.free), space.in_words(needed - room.free))
    )


def _count(number, noun):
    return "%d %s%s" % (number, noun, "" if number == 1 else "s")


def _there(folder):
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _size(path):
    with contextlib.suppress(OSError):
        return os.stat(path).st_size
    return 0
