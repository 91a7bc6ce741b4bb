# SPDX-License-Identifier: Apache-2.0
"""Where abrt keeps problems: a folder for each, TYPE-DATE-PID, with a small file for each fact (libreport,
src/include/internal_libreport.h): coredump, executable, cmdline, pid, uid, time, reason, type; vmcore of a kernel.

It may belong to the user whose program crashed, and so may all that lies in it.
"""

import os
import re
from functools import partial
from typing import Dict, Iterator, List, Optional, Set, Union

from ..model import Json
from ..sysroot import Sysroot
from ._tmpfiles import Tmpfiles
from .place import Log, Looked, Spotted, Told, changed_just_now, listing, number, resolved, sooner, text_of

NAME = "abrt"

# The second until version 2.1 where packages were not from Fedora, the third in version 1.
_PLACES = ("/var/spool/abrt", "/var/tmp/abrt", "/var/cache/abrt")
_SETTINGS = ("/usr/share/abrt/conf.d/abrt.conf", "/etc/abrt/abrt.conf")
# src/lib/abrt_conf.c, g_settings_nMaxCrashReportsSize: MiB, where the files above are silent.
_MAX_SIZE = 1000
_DUMP = re.compile(r"(?:coredump|vmcore(?:\.flat)?)(?:\.(?:zst|lz4|xz|gz|bz2))?\Z")
MAX_PROBLEMS = 100000
MAX_LOGS = 1000


def entries(sysroot: Sysroot) -> Iterator[Union[Looked, Spotted, Log]]:
    said = _settings(sysroot)
    seen: Set[str] = set()
    for place in (said.get("DumpLocation", _PLACES[0]),) + _PLACES:
        where = resolved(NAME, sysroot, place)
        if isinstance(where, Looked):
            if where.where not in seen and place == _PLACES[0]:
                yield where
            seen.add(where.where)
        elif where not in seen:
            seen.add(where)
            limit = number(said.get("MaxCrashReportsSize"))
            yield from _problems(where, _MAX_SIZE if limit is None else limit, Tmpfiles(sysroot))


def tell_of(path: str, brief: bool) -> Told:
    """What the small files beside the core say."""
    text = partial(_fact, os.path.dirname(path))
    when = number(text("time"))
    told = Told(when_ns=None if when is None else when * 10**9, host=text("hostname"))
    if brief:
        return told
    return told._replace(
        pid=number(text("global_pid") or text("pid")),
        uid=number(text("uid")),
        executable=text("executable"),
        args=text("cmdline"),
    )


def _fact(folder: str, name: str) -> Optional[str]:
    return text_of(os.path.join(folder, name)) or None


def _problems(where: str, limit: int, rules: Tmpfiles) -> Iterator[Union[Looked, Spotted, Log]]:
    try:
        _names, folders = listing(where)
    except OSError as error:
        yield Looked(NAME, where, error.strerror or str(error))
        return
    logs: List[Log] = []
    used = [0]
    expires = partial(_expires, limit, used, rules)
    for folder in folders[:MAX_PROBLEMS]:
        below = os.path.join(where, folder)
        try:
            names, _folders = listing(below)
        except OSError as error:
            yield Looked(NAME, below, error.strerror or str(error))
            continue
        used[0] += sum(_size(os.path.join(below, name)) for name in names)
        dumps = [name for name in names if _DUMP.match(name)]
        for name in dumps:
            yield _spotted(os.path.join(below, name), folder)._replace(expires=expires)
        if not dumps and len(logs) < MAX_LOGS and ("type" in names or "analyzer" in names):
            logs.append(Log(NAME, below, _what(below)))
    yield Looked(NAME, where, "")
    yield from logs


def _spotted(path: str, folder: str) -> Spotted:
    if not folder.endswith(".new"):
        return Spotted(path, tell=tell_of)
    # src/hooks/abrt-hook-ccpp.c: the folder is renamed when all is there.
    writing = changed_just_now(path)
    words = "it is being written" if writing else "abrt did not finish it"
    return Spotted(path, "%s: the name of its folder ends in .new until it is whole" % words, writing, tell_of)


def _expires(limit: int, used: List[int], rules: Tmpfiles, path: str) -> Optional[Json]:
    """`used` are the bytes of all problems of the place, which are known when all were looked at."""
    full: Optional[Json] = None
    if limit:
        why = "abrt deletes problems, the large and old ones first, when they take more than %d MiB (now %d)"
        full = {"at": None, "why": why % (limit, used[0] >> 20)}
    return sooner(rules.expires(path), full)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _what(folder: str) -> str:
    kind = _fact(folder, "type") or _fact(folder, "analyzer") or "unknown"
    return "a problem of type %s that abrt keeps no core of: %s" % (kind, _fact(folder, "reason") or "no reason given")


def _settings(sysroot: Sysroot) -> Dict[str, str]:
    said: Dict[str, str] = {}
    for path in _SETTINGS:
        try:
            text = text_of(sysroot.resolve(path).host_path, 1 << 16) or ""
        except OSError:
            continue
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and not key.lstrip().startswith("#"):
                said[key.strip()] = value.strip().strip('"')
    if not said.get("DumpLocation", "/").startswith("/"):
        del said["DumpLocation"]
    return said
