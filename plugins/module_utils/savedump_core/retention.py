# SPDX-License-Identifier: Apache-2.0
"""Which of the archives that were collected here are to go: the oldest first, and never the newest of a host."""

import os
import stat
from typing import AbstractSet, Iterator, List, NamedTuple, Optional

from . import naming
from .errors import SavedumpError

_SUFFIXES = (".tar", ".tar.gz", ".tar.zst")
_DAY_NS = 86400 * 10**9


class Policy(NamedTuple):
    """What to keep; None keeps all."""

    days: Optional[int] = None
    """Archives that came, or were completed, in the last so many days."""
    archives: Optional[int] = None
    """So many of each host."""
    size: Optional[int] = None
    """So many bytes of archives, of all hosts together."""


class HostArchive(NamedTuple):
    """One archive below the folder DEST, in DEST/HOST/."""

    path: str
    host: str
    size: int
    mtime_ns: int


class Doomed(NamedTuple):
    """An archive that is to go."""

    archive: HostArchive
    why: str


def collected(dest: str) -> List[HostArchive]:
    """What bears an archive's name in the folders of hosts below `dest`, the oldest first. Nothing is opened."""
    found = []
    for host in _folders(dest):
        with os.scandir(os.path.join(dest, host)) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                hidden = entry.name.startswith(".")
                if not hidden and entry.name.endswith(_SUFFIXES) and stat.S_ISREG(status.st_mode):
                    found.append(HostArchive(entry.path, host, status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda one: (one.mtime_ns, one.path))


def _folders(dest: str) -> List[str]:
    try:
        with os.scandir(dest) as entries:
            return sorted(
                entry.name for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )  # fmt: skip
    except FileNotFoundError:
        return []


def doomed(found: List[HostArchive], policy: Policy, stay: AbstractSet[str], now_ns: int) -> Iterator[Doomed]:
    """Of `found`, as collected() has it, what the policy gives up. What is in `stay` stays, whatever the policy: as a
    rule the archives whose dumps are still on their hosts, which the next run would bring again."""
    newest = {one.host: one.path for one in found}
    total = sum(one.size for one in found)
    left = {host: sum(1 for one in found if one.host == host) for host in newest}
    for one in found:
        if one.path in stay or newest[one.host] == one.path:
            continue
        if policy.days is not None and now_ns - one.mtime_ns > policy.days * _DAY_NS:
            why = "older than %d days" % policy.days
        elif policy.archives is not None and left[one.host] > max(policy.archives, 1):
            why = "more than %d of this host" % policy.archives
        elif policy.size is not None and total > policy.size:
            why = "all together are too large"
        else:
            continue
        total -= one.size
        left[one.host] -= 1
        yield Doomed(one, why)


def is_ours(path: str) -> bool:
    """Whether savedump made this file: its manifest says so."""
    try:
        naming.manifest_of(path)
    except (SavedumpError, OSError):
        return False
    return True
