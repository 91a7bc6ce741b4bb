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
from ._journal import INSIDE, Crash, crashes
from ._systemd_settings import Kept, doomed, quota
from ._tmpfiles import Tmpfiles
from .place import Log, Looked, Spotted, Told, changed_just_now, listing, number, resolved, sooner

NAME = "systemd-coredump"
FOLDER, JOURNAL = "/var/lib/systemd/coredump", "/var/log/journal"

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
        told, kept_none = _journal(sysroot)
        yield from _gone(told, set())
        yield from kept_none
        return
    try:
        names, _folders = listing(where)
    except OSError as error:
        yield Looked(NAME, where, error.strerror or str(error))
        return
    told, kept_none = _journal(sysroot)
    tell = partial(_tell, told)
    expires = partial(_expires, Tmpfiles(sysroot), *_going(sysroot, where, names))
    for name in names:
        path = os.path.join(where, name)
        if name.startswith(_UNFINISHED):
            writing = changed_just_now(path)
            words = "it is being written" if writing else "systemd-coredump did not finish it"
            yield Spotted(path, "%s: it has a temporary name" % words, writing, expires=expires)
        elif name.startswith("core."):
            yield Spotted(path, tell=tell, expires=expires)
    yield Looked(NAME, where, "")
    yield from _gone(told, set(names))
    yield from kept_none


def _tell(told: Dict[str, Crash], path: str, brief: bool) -> Told:
    return tell_of(path, told.get(os.path.basename(path)), brief)


def tell_alone(path: str, brief: bool) -> Told:
    """By its attributes and its name: the journal is that of another host, maybe."""
    return tell_of(path, None, brief)


def tell_of(path: str, crash: Optional[Crash], brief: bool) -> Told:
    """By the journal's entry, by the attributes, and by the name, in this order."""
    match = _FILE.match(os.path.basename(path))
    crash = crash or {}
    cut = None
    if crash.get("TRUNCATED") == "1":
        cut = "systemd-coredump cut it: its ProcessSizeMax, its ExternalSizeMax or the process's own limit was reached"
    # What a user's own manager runs has both, and UNIT is that manager: user@1000.service.
    unit = crash.get("USER_UNIT") or crash.get("UNIT")
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


def _journal(sysroot: Sysroot) -> Tuple[Dict[str, Crash], List[Union[Looked, Log]]]:
    """The journal's entries by their files' base names, for the folder may have been moved; the newest of a name. And
    what is to be said of crashes of which there never was a file (coredump.conf(5), Storage=)."""
    found: Dict[str, Crash] = {}
    others: List[Union[Looked, Log]] = []
    try:
        for crash in crashes(sysroot):
            if crash.get("FILENAME"):
                found.setdefault(os.path.basename(crash["FILENAME"]), crash)
            elif len(others) < MAX_LOGS:
                how = "no core of it was kept"
                if INSIDE in crash:
                    how = "its core is in the journal itself: coredumpctl dump %s -o FILE takes it out"
                    how %= crash.get("PID")
                others.append(Log(NAME, JOURNAL, "%s; %s" % (_died(crash), how)))
    except OSError as error:
        # Such as that no more processes may be started. What the files say themselves is there without it.
        others.append(Looked(NAME, JOURNAL, "journalctl: %s" % (error.strerror or error)))
    return found, others


def _gone(told: Dict[str, Crash], there: Set[str]) -> Iterator[Log]:
    """What the journal tells of cores that are not there any more."""
    lacking = [name for name in told if name not in there]
    for name in lacking[:MAX_LOGS]:
        yield Log(NAME, told[name]["FILENAME"], "%s; the file is gone" % _died(told[name]))


def _died(crash: Crash) -> str:
    who = crash.get("EXE") or crash.get("COMM") or "a process"
    signal = " by signal %s" % crash["SIGNAL"] if crash.get("SIGNAL") else ""
    return "the journal says that %s was killed%s" % (who, signal)


def _going(sysroot: Sysroot, where: str, names: List[str]) -> Tuple[Set[str], str]:
    """The names of those that the next crash deletes for want of room, and the sentence about it."""
    kept = []
    for name in names:
        fields = name.split(".", 3)
        if fields[0] == "core" and len(fields) > 3 and fields[2].isdigit():
            try:
                status = os.lstat(os.path.join(where, name))
            except OSError:
                continue
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


def _expires(rules: Tmpfiles, going: Set[str], why: str, path: str) -> Optional[Json]:
    full: Optional[Json] = {"at": None, "why": why} if os.path.basename(path) in going else None
    return sooner(rules.expires(path), full)
