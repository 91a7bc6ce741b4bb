# SPDX-License-Identifier: Apache-2.0
"""When systemd-tmpfiles will delete a file: the age rules of tmpfiles.d(5), read as data."""

import os
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from ..model import Json
from ..sysroot import Sysroot
from .place import text_of

# By falling priority: a file hides those of its name in later folders.
_FOLDERS = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d", "/lib/tmpfiles.d")
_PROGRAMS = ("/usr/bin/systemd-tmpfiles", "/bin/systemd-tmpfiles")
_MAX_FILES, _MAX_TEXT = 1000, 1 << 18

# The types of line whose age field counts (tmpfiles.d(5), "Age").
_AGED = "dDevqQC"
_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86400, "w": 604800,
    "": 1, "seconds": 1, "second": 1, "minutes": 60, "minute": 60, "hours": 3600, "hour": 3600, "days": 86400,
    "day": 86400, "weeks": 604800, "week": 604800, "M": 2629800, "month": 2629800, "months": 2629800, "y": 31557600,
    "year": 31557600, "years": 31557600,
}  # fmt: skip


class _Rule(NamedTuple):
    seconds: int
    by: str
    """Which times of a file count: letters a, c, m; those in capitals are for folders."""
    text: str
    file: str


class Tmpfiles:
    """The rules of one root."""

    def __init__(self, sysroot: Sysroot) -> None:
        self._root = "" if sysroot.root == "/" else sysroot.root
        self._rules: Dict[str, Optional[_Rule]] = {}
        self._spared: List[str] = []
        if _is_used(sysroot):
            for path in _files(sysroot):
                self._read(_text(sysroot, path), path)
        self._by_folder: Dict[str, Optional[_Rule]] = {}

    def asked(self) -> Optional[Callable[[str], Optional[Json]]]:
        """expires(), or None if no rule deletes anything."""
        return self.expires if any(self._rules.values()) else None

    def expires(self, path: str) -> Optional[Json]:
        """Of the file at this path of this host; None if no rule deletes it."""
        inside = path[len(self._root) :] if path.startswith(self._root + "/") else ""
        rule = self._rule(os.path.dirname(inside))
        if not inside or rule is None or any(_match(pattern, inside) for pattern in self._spared):
            return None
        try:
            status = os.lstat(path)
        except OSError:
            return None
        times = {"a": status.st_atime_ns, "c": status.st_ctime_ns, "m": status.st_mtime_ns}
        newest = max([times[letter] for letter in rule.by if letter in times] or list(times.values()))
        why = "systemd-tmpfiles deletes it %s after it was last touched (%s)" % (rule.text, rule.file)
        return {"at": newest + rule.seconds * 10**9, "why": why}

    def _rule(self, folder: str) -> Optional[_Rule]:
        """Of the nearest folder above that has one."""
        if folder not in self._by_folder:
            if folder in self._rules:
                found = self._rules[folder]
            else:
                found = self._rule(os.path.dirname(folder)) if folder not in ("", "/") else None
            self._by_folder[folder] = found
        return self._by_folder[folder]

    def _read(self, text: str, path: str) -> None:
        for line in text.splitlines():
            words = line.split()
            if not words or words[0].startswith("#") or len(words) < 2:
                continue
            kind, where = words[0].rstrip("!-=~^+$"), words[1].strip('"').rstrip("/")
            if kind in ("x", "X"):
                self._spared.append(where)
            elif kind in _AGED and "%" not in where and where not in self._rules:
                self._rules[where] = _age(words[5], path) if len(words) > 5 else None


def _is_used(sysroot: Sysroot) -> bool:
    """Where systemd does not run, nobody applies the rules that packages bring."""
    if sysroot.root == "/":
        return os.path.isdir("/run/systemd/system")
    return any(_there(sysroot, program) for program in _PROGRAMS)


def _there(sysroot: Sysroot, path: str) -> bool:
    try:
        return bool(sysroot.resolve(path))
    except OSError:
        return False


def _files(sysroot: Sysroot) -> List[str]:
    """All of them in the order of their names: the first line about a path counts. A link to /dev/null hides a file of
    its name, too."""
    named: Dict[str, str] = {}
    for folder in _FOLDERS:
        try:
            names = os.listdir(sysroot.resolve(folder).host_path)
        except OSError:
            continue
        for name in sorted(names)[:_MAX_FILES]:
            if name.endswith(".conf"):
                named.setdefault(name, os.path.join(folder, name))
    return [named[name] for name in sorted(named)]


def _text(sysroot: Sysroot, path: str) -> str:
    try:
        return text_of(sysroot.resolve(path).host_path, _MAX_TEXT) or ""
    except OSError:
        return ""


def _age(field: str, file: str) -> Optional[_Rule]:
    """Such as 10d, 1d12h, ~2w, or am:3d."""
    by, colon, text = field.rpartition(":")
    text = text.lstrip("~") if colon else field.lstrip("~")
    seconds = duration(text)
    return None if seconds is None or not seconds else _Rule(seconds, by.lstrip("~") if colon else "acm", text, file)


def duration(text: str) -> Optional[int]:
    """Seconds in a time span as systemd.time(7) writes it, such as "1w 2d"; None if it is none."""
    parts: List[Tuple[str, str]] = re.findall(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if not parts or re.sub(r"[0-9]+(?:\.[0-9]+)?\s*[A-Za-z]*\s*", "", text) or any(u not in _UNITS for _n, u in parts):
        return None
    return int(sum(float(amount[:15]) * _UNITS[unit] for amount, unit in parts))


def _match(pattern: str, inside: str) -> bool:
    """A line x spares all below what its pattern matches."""
    import fnmatch

    regex = fnmatch.translate(pattern)
    return any(re.match(regex, part) for part in _above(inside))


def _above(path: str) -> List[str]:
    found = [path]
    while os.path.dirname(path) != path:
        path = os.path.dirname(path)
        found.append(path)
    return found
