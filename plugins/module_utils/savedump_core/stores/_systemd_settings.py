# SPDX-License-Identifier: Apache-2.0
"""How much systemd-coredump keeps: coredump.conf(5), and src/coredump/coredump-vacuum.c, by whose rules the next crash
makes room for itself."""

import heapq
import os
import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from ..sysroot import Sysroot
from .place import text_of

_FOLDERS = ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd")
_NAME = "coredump.conf"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
# What vacuum takes where nothing is set.
_GIB_4 = 4 << 30
_MIB = 1 << 20


class Quota(NamedTuple):
    """In bytes; None where the limit is turned off."""

    max_use: Optional[int]
    keep_free: Optional[int]


class Kept(NamedTuple):
    """One file, as the quota sees it."""

    name: str
    owner: str
    """The user in its name, to whom it is charged."""
    mtime_ns: int
    blocks: int
    """Bytes on the disk."""


def quota(sysroot: Sysroot, folder: str) -> Quota:
    """Of the file system that holds the folder, which is a path of this host's."""
    said = _settings(sysroot)
    try:
        status = os.statvfs(folder)
        whole = status.f_frsize * status.f_blocks
    except OSError:
        whole = 0
    max_use = _bytes(said.get("MaxUse", ""))
    if max_use is None:
        max_use = min(max(whole // 10, _MIB), _GIB_4)
    keep_free = _bytes(said.get("KeepFree", ""))
    if keep_free is None:
        keep_free = min(whole * 3 // 20, _GIB_4) if whole else _MIB
    return Quota(max_use=max_use or None, keep_free=keep_free or None)


def doomed(kept: Iterable[Kept], limits: Quota, free: int) -> Tuple[Set[str], int]:
    """The names of those that the next crash deletes, however small it is, and the bytes that all take now. Of the
    user with the most dumps the oldest goes, until there is room."""
    by_owner: Dict[str, List[Kept]] = {}
    used = 0
    for one in kept:
        by_owner.setdefault(one.owner, []).append(one)
        used += one.blocks
    now = used
    heap = []
    for owner, files in by_owner.items():
        files.sort(key=lambda one: -one.mtime_ns)
        heap.append((-len(files), files[-1].mtime_ns, owner))
    heapq.heapify(heap)
    gone: Set[str] = set()
    while heap and (
        (limits.max_use is not None and now > limits.max_use)
        or (limits.keep_free is not None and free < limits.keep_free)
    ):
        _count, _oldest, owner = heapq.heappop(heap)
        files = by_owner[owner]
        one = files.pop()
        gone.add(one.name)
        now -= one.blocks
        free += one.blocks
        if files:
            heapq.heappush(heap, (-len(files), files[-1].mtime_ns, owner))
    return gone, used


def _settings(sysroot: Sysroot) -> Dict[str, str]:
    """MaxUse and KeepFree: the file of /etc before those of packages, then the drop-ins in the order of their names."""
    said: Dict[str, str] = {}
    # An empty file hides those of packages, too.
    main = [path for path in (os.path.join(one, _NAME) for one in reversed(_FOLDERS)) if _there(sysroot, path)]
    drop_ins: Dict[str, str] = {}
    for folder in _FOLDERS:
        below = os.path.join(folder, _NAME + ".d")
        try:
            names = os.listdir(sysroot.resolve(below).host_path)
        except OSError:
            continue
        drop_ins.update((name, os.path.join(below, name)) for name in names if name.endswith(".conf"))
    for path in main[:1] + [drop_ins[name] for name in sorted(drop_ins)]:
        for line in _text(sysroot, path).splitlines():
            match = re.match(r"\s*(MaxUse|KeepFree)\s*=\s*(\S*)", line)
            if match:
                said[match.group(1)] = match.group(2)
    return said


def _there(sysroot: Sysroot, path: str) -> bool:
    try:
        return bool(sysroot.resolve(path))
    except OSError:
        return False


def _text(sysroot: Sysroot, path: str) -> str:
    try:
        return text_of(sysroot.resolve(path).host_path, 1 << 16) or ""
    except OSError:
        return ""


def _bytes(text: str) -> Optional[int]:
    """Such as 5G or 1.5G; None for nothing, and for what is no size."""
    match = re.match(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)([KMGTPE]?)(?:iB|B)?\Z", text)
    return int(float(match.group(1)) * _UNITS[match.group(2)]) if match else None
