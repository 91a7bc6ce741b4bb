# SPDX-License-Identifier: Apache-2.0
"""Where the kernel itself writes cores: kernel.core_pattern (core(5); fs/coredump.c, format_corename).

A relative pattern means the dead process's own working directory, which nothing records. So the working directories of
the processes that run now are looked at, for a service that died and was started again has the same one, and the
folders that administrators customarily point it to.
"""

import errno
import os
import re
from functools import partial
from typing import Callable, Iterator, List, Optional, Pattern, Set, Tuple, Union

from ..model import Json
from ..sysroot import Refused, Sysroot, regular_file
from .apport import tidied
from .place import Looked, Spotted, Told, folder, number

NAME = "core_pattern"

# What the kernel prints for each letter. Names have "!" for "/"; a letter that it does not know prints nothing. %F, a
# descriptor for a program, comes with 6.16.
_NUMBERS, _NAMES = "pPiIugstdcCF", "hefE"
# How long those can be: TASK_COMM_LEN and __NEW_UTS_LEN; the other two at most as long as the core's own name. Without
# a bound, a name of many dots takes seconds to be told from a core's, for each dot may end each of them.
_NUMBER = "[0-9]{1,20}"
_LONGEST = {"e": 15, "h": 64, "f": 255, "E": 255}
# Those that say something of the process, as fields of Told. %p is the number in the process's own namespace, as the
# core has it.
_TELLING = {"p": "pid", "P": "host_pid", "u": "uid", "g": "gid", "s": "signal", "t": "when", "h": "host", "E": "exe"}
_CUSTOMARY = ("/", "/root", "/tmp", "/var/tmp", "/var/crash", "/var/core", "/var/cores", "/cores")
# include/linux/binfmts.h, CORENAME_MAX_SIZE, with its zero byte.
_MAX_PATTERN = 128
_COMPRESSED = r"(?:\.zst|\.lz4|\.xz|\.gz|\.bz2)?"

# Programs that cores are handed to, and who looks where they put them.
_HANDLERS = (
    (re.compile(r"systemd-coredump|systemd/coredump"), "systemd-coredump", "systemd-coredump"),
    (re.compile(r"/apport(?:\s|\Z)"), "apport", "apport"),
    (re.compile(r"abrt-hook-ccpp|abrt-hook"), "abrt", "abrt"),
    (re.compile(r"/cdc\s|core-dump-composer"), "IBM's core-dump-handler", "core-dump-handler"),
)
_KNOWN_ELSEWHERE = "cores are handed to a program; look in its own store and give the path"


def entries(sysroot: Sysroot) -> Iterator[Union[Looked, Spotted, str]]:
    pattern = pattern_of(sysroot)
    if pattern[:1] in ("|", "@"):
        yield Looked(NAME, pattern, _handed_to(pattern))
        return
    expires = tidied(sysroot)
    # A relative one may have folders, too, which lie in the working directory.
    beneath = pattern if pattern.startswith("/") else "/" + pattern
    where = _fixed_folder(beneath)
    rest = os.path.relpath(beneath, where)
    regex, depth = regex_of(rest), rest.count("/")
    if beneath != pattern:
        yield Looked(NAME, pattern, "relative: each core lies in its process's working directory")
        working, hidden = _working_folders(sysroot, where)
        if hidden:
            yield Looked(NAME, "/proc/*/cwd", "%s (processes: %d)" % (os.strerror(errno.EACCES), hidden))
        for folder_there in working:
            yield from _in_folder(folder_there, regex, depth, expires)
        return
    try:
        host = sysroot.resolve(where).host_path
    except OSError as error:
        yield Looked(NAME, sysroot.host_path(where), error.strerror or str(error))
        return
    yield from _in_folder(host, regex, depth, expires)


def pattern_of(sysroot: Sysroot) -> str:
    """kernel.core_pattern; the kernel's default where it cannot be read."""
    try:
        with regular_file(sysroot.resolve("/proc/sys/kernel/core_pattern").host_path) as file:
            return os.fsdecode(file.read(_MAX_PATTERN)).rstrip("\n") or "core"
    except (OSError, Refused):
        return "core"


def regex_of(pattern: str) -> "Pattern[str]":
    """What the names of cores look like that are written by this pattern, with groups for what they tell. Compressed
    ones, too: people do that."""
    parts: List[str] = []
    groups: Set[str] = set()
    with_pid = False
    tail = ""
    pieces = re.findall(r"%.|[^%]+", pattern, re.DOTALL)
    for piece in pieces:
        letter = piece[1:] if piece[0] == "%" else ""
        if not letter:
            parts.append(re.escape(piece))
            tail += parts[-1]
        elif letter == "%":
            parts.append("%")
            tail += "%"
        elif letter in _NUMBERS + _NAMES:
            with_pid = with_pid or letter == "p"
            body = _NUMBER if letter in _NUMBERS else "[^/]{0,%d}" % _LONGEST[letter]
            tail = tail + body if letter in _NUMBERS else ""
            group = _TELLING.get(letter, "")
            parts.append("(?P<%s>%s)" % (group, body) if group and group not in groups else body)
            groups.add(group)
    # core_uses_pid appends ".PID" to a pattern without %p.
    uses_pid = "" if with_pid else r"(?:\.(?P<%s>[0-9]+))?" % ("pid" if "pid" not in groups else "other_pid")
    # What has not even the end of a core's name is told by that, before names are tried at every length.
    end = "(?=.*%s%s%s\\Z)" % (tail, "" if with_pid else r"(?:\.[0-9]+)?", _COMPRESSED) if tail else ""
    return re.compile(end + "".join(parts) + uses_pid + _COMPRESSED + r"\Z", re.DOTALL)


def _tell(regex: "Pattern[str]", cut: int, path: str, brief: bool) -> Told:
    """What a core's name says by its pattern; the first `cut` letters of its path are those of the folder."""
    match = regex.match(path[cut:])
    said = match.groupdict() if match else {}
    when = number(said.get("when"))
    return Told(
        pid=number(said.get("pid") or said.get("host_pid")),
        uid=number(said.get("uid")),
        gid=number(said.get("gid")),
        executable=(said.get("exe") or "").replace("!", "/") or None,
        signal=number(said.get("signal")),
        when_ns=None if when is None else when * 10**9,
        host=said.get("host") or None,
    )


def _in_folder(
    where: str, regex: "Pattern[str]", depth: int, expires: Optional[Callable[[str], Optional[Json]]]
) -> Iterator[Union[Looked, Spotted]]:
    cut = len(where.rstrip("/")) + 1
    wanted = partial(_wanted, regex, cut)
    tell = partial(_tell, regex, cut) if regex.groupindex else None
    for item in folder(NAME, where, wanted, depth):
        if isinstance(item, Looked):
            yield item
        else:
            yield Spotted(item, tell=tell, expires=expires, sure=_is_empty(item))


def _is_empty(path: str) -> bool:
    """As the kernel leaves a core where there is no room for it."""
    try:
        return os.stat(path).st_size == 0
    except OSError:
        return False


def _wanted(regex: "Pattern[str]", cut: int, path: str) -> bool:
    return regex.match(path[cut:]) is not None


def _handed_to(pattern: str) -> str:
    for regex, who, store in _HANDLERS:
        if regex.search(pattern):
            return "cores are handed to %s; its files are listed as those of %s" % (who, store)
    return _KNOWN_ELSEWHERE


def _fixed_folder(pattern: str) -> str:
    """The deepest folder that does not depend on the process."""
    return os.path.dirname(pattern.partition("%")[0]) or "/"


def _working_folders(sysroot: Sysroot, below: str = "/") -> Tuple[List[str], int]:
    """Those that are there; of each, the folder `below` it. And how many processes do not show theirs."""
    folders = set(_CUSTOMARY)
    hidden = 0
    for name in _processes() if sysroot.root == "/" else ():
        try:
            folders.add(os.readlink("/proc/%s/cwd" % name))
        except PermissionError:
            hidden += 1
        except OSError:
            # The process ended.
            continue
    found = []
    for path in sorted(folders):
        try:
            where = sysroot.resolve(path + below).host_path.rstrip("/") or "/" if path.startswith("/") else ""
        except OSError:
            continue
        if where and where not in found and os.path.isdir(where):
            found.append(where)
    return found, hidden


def _processes() -> List[str]:
    """None where /proc is not mounted, as in some chroots."""
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
