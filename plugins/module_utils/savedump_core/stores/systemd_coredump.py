# SPDX-License-Identifier: Apache-2.0
"""Where systemd-coredump(8) puts cores: /var/lib/systemd/coredump/core.COMM.UID.BOOT.PID.TIME[.zst|.lz4|.xz], COMM with
\\xNN for what is no letter, TIME in microseconds (src/coredump/coredump-submit.c; without the UID before version 216).

What it knows of each stands in the name, in extended attributes of the file (user.coredump.*, lost when it is copied),
and in the journal. Files without an entry there, and entries whose file is gone, are both usual: the journal and the
files are tidied up by different rules.
"""

import os
import re
from functools import partial
from typing import Dict, Iterator, List, Optional, Set, Tuple, Union

from ..model import Json
from ..sysroot import Sysroot
from ._journal import Crash, crashes
from ._systemd_settings import Kept, doomed, quota
from ._tmpfiles import Tmpfiles
from .place import Log, Looked, Spotted, Told, changed_just_now, listing, number, resolved

NAME = "systemd-coredump"
FOLDER = "/var/lib/systemd/coredump"

_FILE = re.compile(
    r"core\.(?P<comm>.*?)\.(?:(?P<uid>[0-9]{1,10})\.)?(?P<boot>[0-9a-f]{32})\.(?P<pid>[0-9]{1,10})\."
    r"(?P<time>[0-9]{1,20})(?:\.(?:zst|lz4|xz|gz|bz2))?\Z",
    re.DOTALL,
)
# What it writes to where it cannot do without a name; tmpfiles.d/systemd-tmp.conf knows them, too.
_UNFINISHED = ".#core."
_ATTRIBUTES = ("pid", "uid", "gid", "signal", "timestamp", "hostname", "comm", "exe")
_MAX_ATTRIBUTE = 1 << 12
# Of crashes whose core is gone.
MAX_LOGS = 1000


def entries(sysroot: Sysroot) -> Iterator[Union[Looked, Spotted, Log]]:
    where = resolved(NAME, sysroot, FOLDER)
    if isinstance(where, Looked):
        yield where
        yield from _gone(_by_name(sysroot), set())
        return
    try:
        names, _folders = listing(where)
    except OSError as error:
        yield Looked(NAME, where, error.strerror or str(error))
        return
    told = _by_name(sysroot)
    rules = Tmpfiles(sysroot)
    statuses = dict(_statuses(where, names))
    going, why = _going(sysroot, where, statuses)
    for name in names:
        path = os.path.join(where, name)
        if name.startswith(_UNFINISHED):
            writing = changed_just_now(path)
            words = "it is being written" if writing else "systemd-coredump did not finish it"
            yield Spotted(path, "%s: it has a temporary name" % words, writing)
        elif name.startswith("core."):
            tell = partial(tell_of, path, told.get(name))
            expires = {"at": None, "why": why} if name in going else _by_age(name, rules, statuses.get(name))
            yield Spotted(path, tell=tell, expires=expires)
    yield Looked(NAME, where, "")
    yield from _gone(told, set(names))


def tell_of(path: str, crash: Optional[Crash], brief: bool) -> Told:
    """By the journal's entry, by the attributes, and by the name, in this order."""
    match = _FILE.match(os.path.basename(path))
    crash = crash or {}
    cut = None
    if crash.get("TRUNCATED") == "1":
        cut = "systemd-coredump cut it: its ProcessSizeMax, its ExternalSizeMax or the process's own limit was reached"
    unit = crash.get("UNIT") or crash.get("USER_UNIT")
    if brief and match:
        host = crash.get("HOSTNAME") or _attribute(path, "hostname")
        return Told(when_ns=_nanoseconds(int(match.group("time"))), host=host, unit=unit, cut=cut)
    said: Dict[str, str] = {}
    if match:
        said.update((key, value) for key, value in match.groupdict().items() if value is not None)
        said["comm"] = unescaped(said["comm"])
        said["timestamp"] = said["time"]
    said.update(_attributes(path))
    said.update((key, crash[field]) for field, key in _FROM_JOURNAL if crash.get(field))
    return Told(
        pid=number(said.get("pid")),
        uid=number(said.get("uid")),
        gid=number(said.get("gid")),
        comm=said.get("comm"),
        executable=said.get("exe"),
        args=said.get("args"),
        signal=number(said.get("signal")),
        when_ns=_nanoseconds(number(said.get("timestamp"))),
        host=said.get("hostname"),
        unit=unit,
        cut=cut,
    )


_FROM_JOURNAL = (
    ("PID", "pid"), ("UID", "uid"), ("GID", "gid"), ("SIGNAL", "signal"), ("TIMESTAMP", "timestamp"), ("COMM", "comm"),
    ("EXE", "exe"), ("CMDLINE", "args"), ("HOSTNAME", "hostname"),
)  # fmt: skip


def named_so(path: str) -> bool:
    """Whether this is how systemd-coredump names a file."""
    return _FILE.match(os.path.basename(path)) is not None


def unescaped(name: str) -> str:
    r"""COMM as it was, from its escapes: \x2e is a dot (src/basic/escape.c, xescape)."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes((int(found.group(1), 16),)), os.fsencode(name))
    return os.fsdecode(raw)


def _nanoseconds(time: Optional[int]) -> Optional[int]:
    """Of microseconds, or of seconds as the kernel gives them: which is told by their size."""
    if time is None:
        return None
    return time * 1000 if time > 10**13 else time * 10**9


def _attributes(path: str) -> Iterator[Tuple[str, str]]:
    for name in _ATTRIBUTES:
        value = _attribute(path, name)
        if value is not None:
            yield name, value


def _attribute(path: str, name: str) -> Optional[str]:
    try:
        raw = os.getxattr(path, "user.coredump." + name, follow_symlinks=False)
    except (OSError, AttributeError):
        return None
    return os.fsdecode(raw[:_MAX_ATTRIBUTE])


def _by_name(sysroot: Sysroot) -> Dict[str, Crash]:
    """The journal's entries by their files' base names, for the folder may have been moved; the newest of a name."""
    found: Dict[str, Crash] = {}
    for crash in crashes(sysroot):
        if crash.get("FILENAME"):
            found.setdefault(os.path.basename(crash["FILENAME"]), crash)
    return found


def _gone(told: Dict[str, Crash], there: Set[str]) -> Iterator[Log]:
    """What the journal tells of cores that are not there any more."""
    lacking = [name for name in told if name not in there]
    for name in lacking[:MAX_LOGS]:
        crash = told[name]
        who = crash.get("EXE") or crash.get("COMM") or "a process"
        signal = " by signal %s" % crash["SIGNAL"] if crash.get("SIGNAL") else ""
        yield Log(NAME, crash["FILENAME"], "the journal says that %s was killed%s; the file is gone" % (who, signal))


def _statuses(where: str, names: List[str]) -> Iterator[Tuple[str, os.stat_result]]:
    for name in names:
        try:
            yield name, os.lstat(os.path.join(where, name))
        except OSError:
            continue


def _going(sysroot: Sysroot, where: str, statuses: Dict[str, os.stat_result]) -> Tuple[Set[str], str]:
    """The names of those that the next crash deletes for want of room, and the sentence about it."""
    kept = []
    for name, status in statuses.items():
        fields = name.split(".", 3)
        if fields[0] == "core" and len(fields) > 3 and fields[2].isdigit():
            kept.append(Kept(name, fields[2], status.st_mtime_ns, status.st_blocks * 512))
    limits = quota(sysroot, where)
    try:
        space = os.statvfs(where)
        free = space.f_frsize * space.f_bfree
    except OSError:
        free = 1 << 62
    names_going, used = doomed(kept, limits, free)
    return names_going, "systemd-coredump deletes it at the next crash, for want of room: %d MiB of %s are used%s" % (
        used >> 20,
        "%d MiB (MaxUse)" % (limits.max_use >> 20) if limits.max_use else "any number",
        ", %d MiB are free of %d (KeepFree)" % (free >> 20, limits.keep_free >> 20) if limits.keep_free else "",
    )


def _by_age(name: str, rules: Tmpfiles, status: Optional[os.stat_result]) -> Optional[Json]:
    return None if status is None else rules.expires(os.path.join(FOLDER, name), status)
