# SPDX-License-Identifier: Apache-2.0
"""Where Ubuntu's apport puts crashes: reports in /var/crash, which hold the core as text (compression/apport.py), and
cores as they are in /var/lib/apport/coredump where the process's own limit asked for one (apport/fileutils.py,
get_core_path). Anybody may write into /var/crash.
"""

import os
import re
import time
from functools import partial
from typing import Callable, Dict, Iterator, List, Optional, Set, Tuple, Union

from ..model import Json
from ..sysroot import Refused, Sysroot, regular_file
from ._tmpfiles import Tmpfiles
from .place import Log, Looked, Spotted, Told, changed_just_now, leave_atime, listing, number, resolved, sooner, text_of

NAME = "apport"

REPORTS, CORES = "/var/crash", "/var/lib/apport/coredump"
_CORE = re.compile(
    r"core\.(?P<exe>.*)\.(?P<uid>[0-9]{1,10})\.(?P<boot>[0-9a-f-]{36})\.(?P<pid>[0-9]{1,10})\.(?P<start>[0-9]+)"
    r"(?:\.(?:zst|lz4|xz|gz|bz2))?\Z",
    re.DOTALL,
)
# apport/fileutils.py, max_corefiles_per_uid: from so many on, the oldest makes room for the next.
_CORES_PER_USER = 5
CLEANER = "/etc/cron.daily/apport"
# What that takes for the folder of a kernel's dump.
_KERNEL_DUMP = re.compile(r"[0-9]{12}\Z")
# The signal comes behind the process's memory map, which has a line for each mapping.
_MAX_HEAD, _STEP = 1 << 20, 1 << 14
_MAX_VALUE = 1 << 12
_WANTED = ("ProblemType", "Date", "ExecutablePath", "ProcCmdline", "Signal", "ProcStatus")
MAX_LOGS = 1000


def entries(sysroot: Sysroot) -> Iterator[Union[Looked, Spotted, Log]]:
    yield from _reports(sysroot)
    yield from _cores(sysroot)


def _reports(sysroot: Sysroot) -> Iterator[Union[Looked, Spotted, Log]]:
    where = resolved(NAME, sysroot, REPORTS)
    if isinstance(where, Looked):
        yield where
        return
    try:
        names, _folders = listing(where)
    except OSError as error:
        yield Looked(NAME, where, error.strerror or str(error))
        return
    expires = tidied(sysroot)
    logs: List[Log] = []
    for name in names:
        if not name.endswith(".crash"):
            continue
        path = os.path.join(where, name)
        kind = _kind(path)
        if kind in (None, "Crash", "KernelCrash", "Hang"):
            yield _report(path)._replace(expires=expires)
        elif len(logs) < MAX_LOGS:
            logs.append(Log(NAME, path, "apport's report of a problem of type %s" % kind))
    yield Looked(NAME, where, "")
    yield from logs


def _report(path: str) -> Spotted:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return Spotted(path)
    if mode & 0o777:
        return Spotted(path, tell=tell_of)
    # data/apport: nobody may read a report until it is whole; a mode that stays so is left by one that died.
    writing = changed_just_now(path)
    words = "it is being written" if writing else "apport did not finish it"
    return Spotted(path, "%s: its mode is 0 until it is whole" % words, writing, tell_of)


def tell_of(path: str, brief: bool) -> Told:
    """What the text of a report says before its core."""
    said: Dict[str, str] = {}
    for key, value in _fields(path):
        said.setdefault(key, value)
        if brief and key == "Date":
            break
    status = dict(line.split(":", 1) for line in said.get("ProcStatus", "").splitlines() if ":" in line)
    when = _seconds(said.get("Date", ""))
    return Told(
        pid=number(status.get("Pid")),
        uid=number((status.get("Uid", "").split() or [""])[0]),
        gid=number((status.get("Gid", "").split() or [""])[0]),
        comm=status.get("Name", "").strip() or None,
        executable=said.get("ExecutablePath"),
        args=said.get("ProcCmdline"),
        signal=number(said.get("Signal")),
        when_ns=None if when is None else when * 10**9,
    )


def _fields(path: str) -> Iterator[Tuple[str, str]]:
    """(key, value) of the wanted fields, up to the core."""
    try:
        with regular_file(path) as file:
            leave_atime(file.fileno())
            text, key, value, size = b"", "", "", 0
            while size < _MAX_HEAD:
                data = file.read(_STEP)
                size += len(data)
                lines = (text + data).split(b"\n")
                text = lines.pop() if data else b""
                for line in lines:
                    if line[:1] == b" ":
                        if key in _WANTED and len(value) < _MAX_VALUE:
                            value += ("\n" if value else "") + os.fsdecode(line[1 : _MAX_VALUE + 1])
                        continue
                    if key in _WANTED:
                        yield key, value
                    raw, _colon, rest = line.partition(b":")
                    key, value = os.fsdecode(raw[:64]), os.fsdecode(rest.strip()[:_MAX_VALUE])
                    if value == "base64":
                        return
                if not data:
                    return
    except (OSError, Refused):
        return


def _kind(path: str) -> Optional[str]:
    """ProblemType, which is the first field; None if the file is none of apport's, or cannot be read."""
    line = (text_of(path, 128) or "").partition("\n")[0]
    return line.partition(":")[2].strip() if line.startswith("ProblemType:") else None


def _seconds(text: str) -> Optional[int]:
    """Of time.asctime(), which says no time zone: this host's is taken. The names of its days and months are C's."""
    match = re.match(r"\w{3} (\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})\Z", text.strip())
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    if match is None or match.group(1) not in months:
        return None
    day, hour, minute, second, year = (int(match.group(index)) for index in (2, 3, 4, 5, 6))
    try:
        return int(time.mktime((year, months.index(match.group(1)) + 1, day, hour, minute, second, 0, 0, -1)))
    except (OverflowError, ValueError):
        return None


def _cores(sysroot: Sysroot) -> Iterator[Union[Looked, Spotted]]:
    where = resolved(NAME, sysroot, CORES)
    if isinstance(where, Looked):
        # Nothing worth a word: apport makes it when it is first needed.
        return
    try:
        names, _folders = listing(where)
    except OSError as error:
        yield Looked(NAME, where, error.strerror or str(error))
        return
    paths = [os.path.join(where, name) for name in names if _CORE.match(name)]
    expires = partial(_core_expires, _crowded_out(paths), Tmpfiles(sysroot))
    for path in paths:
        yield Spotted(path, tell=_tell_by_name, expires=expires)
    yield Looked(NAME, where, "")


def _crowded_out(paths: List[str]) -> Set[str]:
    """Those that apport deletes before it writes the user's next core (clean_core_directory): the oldest."""
    by_user: Dict[str, List[Tuple[int, str]]] = {}
    for path in paths:
        match = _CORE.match(os.path.basename(path))
        try:
            mtime_ns = os.lstat(path).st_mtime_ns
        except OSError:
            continue
        if match:
            by_user.setdefault(match.group("uid"), []).append((mtime_ns, path))
    return {path for cores in by_user.values() for _mtime, path in sorted(cores)[: 1 - _CORES_PER_USER]}


def _tell_by_name(path: str, brief: bool) -> Told:
    match = _CORE.match(os.path.basename(path))
    return Told(pid=number(match.group("pid")), uid=number(match.group("uid"))) if match else Told()


def _core_expires(crowded_out: Set[str], rules: Tmpfiles, path: str) -> Optional[Json]:
    crowded: Optional[Json] = None
    if path in crowded_out:
        why = "apport keeps %d cores of a user: the oldest goes at the next crash" % _CORES_PER_USER
        crowded = {"at": None, "why": why}
    return sooner(rules.expires(path), crowded)


def tidied(sysroot: Sysroot) -> Optional[Callable[[str], Optional[Json]]]:
    """When a file goes by the rules that are for anybody's: those of systemd-tmpfiles and, in REPORTS, of apport's cron
    job. It is asked with the file's path; None if there are no such rules."""
    rules = Tmpfiles(sysroot)
    files, folders = _cleaning_days(sysroot, "f"), _cleaning_days(sysroot, "d")
    try:
        top = sysroot.resolve(REPORTS).host_path
    except OSError:
        return rules.asked()
    return rules.asked() if files is None and folders is None else partial(_expires, top + "/", files, folders, rules)


def _cleaning_days(sysroot: Sysroot, kind: str) -> Optional[int]:
    """After how many days apport's cron job deletes what lies in REPORTS: files if `kind` is "f", the folders of kernel
    dumps if it is "d" (find(1), -type). None if it does not."""
    try:
        text = text_of(sysroot.resolve(CLEANER).host_path, 1 << 16) or ""
    except OSError:
        return None
    for line in text.splitlines():
        match = re.search(r"-type %s\b.*-mtime \+([0-9]{1,4})\b" % kind, line)
        if match and not line.lstrip().startswith("#"):
            return int(match.group(1))
    return None


def _expires(top: str, files: Optional[int], folders: Optional[int], rules: Tmpfiles, path: str) -> Optional[Json]:
    cleaned = None
    if path.startswith(top):
        name, slash, _below = path[len(top) :].partition("/")
        days = files if not slash else folders if _KERNEL_DUMP.match(name) else None
        cleaned = _cleaned(top + name, days)
    return sooner(cleaned, rules.expires(path))


def _cleaned(path: str, days: Optional[int]) -> Optional[Json]:
    if days is None:
        return None
    try:
        mtime_ns = os.lstat(path).st_mtime_ns
    except OSError:
        return None
    # find(1): +7 is more than seven whole days.
    at = mtime_ns + (days + 1) * 86400 * 10**9
    return {"at": at, "why": "apport's cron job deletes it after %d days (%s)" % (days, CLEANER)}
