# SPDX-License-Identifier: Apache-2.0
"""When systemd-tmpfiles will delete a file: the age rules of tmpfiles.d(5), read as data."""

import os
import re
from fnmatch import fnmatchcase
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple, TypeVar

from ..model import Json
from ..sysroot import Sysroot
from .place import sooner, text_of

# By falling priority: a file hides those of its name in later folders.
_FOLDERS = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d", "/lib/tmpfiles.d")
_PROGRAMS = ("/usr/bin/systemd-tmpfiles", "/bin/systemd-tmpfiles")
_MAX_FILES, _MAX_TEXT = 1000, 1 << 18

# The types of line whose age field counts (tmpfiles.d(5), "Age").
_AGED = "dDevqQCxX"
# Those whose path is a pattern (tmpfiles.c, needs_glob), and of them those that another line about the same path may go
# with (takes_ownership); of the others, the first one about a path counts.
_GLOBS = "wexXrRmzZtTaAhH"
_ADJUSTING = "mzZtTaAhH"
_ALL_TIMES = "acm"
_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86400, "w": 604800,
    "": 1, "seconds": 1, "second": 1, "minutes": 60, "minute": 60, "hours": 3600, "hour": 3600, "days": 86400,
    "day": 86400, "weeks": 604800, "week": 604800, "M": 2629800, "month": 2629800, "months": 2629800, "y": 31557600,
    "year": 31557600, "years": 31557600,
}  # fmt: skip


_T = TypeVar("_T")


class _Rule(NamedTuple):
    seconds: int
    by: str
    """Which times of a file count: letters a, c, m; those in capitals are for folders."""
    text: str
    file: str


class _Line(NamedTuple):
    kind: str
    where: str
    """A path, or a pattern if the kind is one of _GLOBS."""
    rule: Optional[_Rule]


class Tmpfiles:
    """The rules of one root."""

    def __init__(self, sysroot: Sysroot) -> None:
        self._root = "" if sysroot.root == "/" else sysroot.root
        self._items: Dict[str, _Line] = {}
        self._globs: Dict[Tuple[bool, str], _Line] = {}
        # Pairs of what is deleted when the system starts, and the file that says so.
        self._emptied: Dict[str, str] = {}
        self._removed: Dict[str, str] = {}
        if _is_used(sysroot):
            for path in _files(sysroot):
                self._read(_text(sysroot, path), path)
        # Of each folder that was asked about: what _in_folder() says, and of the second which files empty it whole.
        self._lines_in: Dict[str, List[Tuple[str, _Line]]] = {}
        self._at_start_in: Dict[str, Tuple[List[str], List[Tuple[str, str]]]] = {}
        self._by_folder: Dict[str, Optional[_Rule]] = {}

    def asked(self) -> Optional[Callable[[str], Optional[Json]]]:
        """expires(), or None if no rule deletes anything."""
        aged = any(line.rule for lines in (self._items, self._globs) for line in lines.values())
        return self.expires if aged or self._emptied or self._removed else None

    def expires(self, path: str) -> Optional[Json]:
        """Of the file at this path of this host; None if no rule deletes it."""
        inside = path[len(self._root) :] if path.startswith(self._root + "/") else ""
        return sooner(self._by_age(path, inside), self._at_start(inside)) if inside else None

    def _by_age(self, path: str, inside: str) -> Optional[Json]:
        # What has a line of its own is left alone when the folder that it lies in is cleaned.
        rule = None if self._lines(inside) else self._rule(os.path.dirname(inside))
        if rule is None:
            return None
        try:
            status = os.lstat(path)
        except OSError:
            return None
        times = {"a": status.st_atime_ns, "c": status.st_ctime_ns, "m": status.st_mtime_ns}
        newest = max([times[letter] for letter in rule.by if letter in times] or list(times.values()))
        when = "%s after it was last touched" % rule.text if rule.seconds else "when it runs next"
        return {"at": newest + rule.seconds * 10**9, "why": "systemd-tmpfiles deletes it %s (%s)" % (when, rule.file)}

    def _at_start(self, inside: str) -> Optional[Json]:
        """What systemd-tmpfiles --remove --boot deletes, which spares nothing."""
        folder, _slash, name = inside.rpartition("/")
        if folder not in self._at_start_in:
            folders = _above(folder)
            all_of_it = [self._emptied[one] for one in folders if one in self._emptied]
            all_of_it += [self._removed[one] for one in self._removed if any(_match(one, above) for above in folders)]
            self._at_start_in[folder] = all_of_it, _in_folder(folder, self._removed.items())
        all_of_it, some = self._at_start_in[folder]
        files = all_of_it or [file for last, file in some if _match(last, name)]
        why = "systemd-tmpfiles deletes it when the system starts (%s)"
        return {"at": None, "why": why % files[0]} if files else None

    def _rule(self, folder: str) -> Optional[_Rule]:
        """Of the nearest folder above that has a line: the cleaning of those above ends there."""
        if folder not in self._by_folder:
            lines = self._lines(folder)
            rules = [line.rule for line in lines if line.rule]
            if folder in ("", "/") or rules or (lines and all(line.kind != "X" for line in lines)):
                found = min(rules, key=lambda rule: rule.seconds) if rules else None
            else:
                found = self._rule(os.path.dirname(folder))
                if lines and found:
                    # The line X takes the age of the folder above, but not which times count.
                    found = found._replace(by=_ALL_TIMES)
            self._by_folder[folder] = found
        return self._by_folder[folder]

    def _lines(self, path: str) -> List[_Line]:
        """All that are about this very path."""
        folder, _slash, name = path.rpartition("/")
        if folder not in self._lines_in:
            self._lines_in[folder] = _in_folder(folder, ((line.where, line) for line in self._globs.values()))
        found = [line for last, line in self._lines_in[folder] if _match(last, name)]
        return found + [self._items[path]] if path in self._items else found

    def _read(self, text: str, path: str) -> None:
        for line in text.splitlines():
            words = line.split()
            if not words or words[0].startswith("#") or len(words) < 2:
                continue
            kind, where = words[0].rstrip("!-=~^+$?"), words[1].strip('"').rstrip("/")
            if "%" in where:
                continue
            if kind == "D":
                self._emptied.setdefault(where, path)
            elif kind in ("r", "R"):
                self._removed.setdefault(where, path)
            # A line with "!" is read at the start only: when files are cleaned by their age, it is as if not there.
            if "!" not in words[0]:
                aged = kind in _AGED and len(words) > 5
                found = _Line(kind, where, _age(words[5], path) if aged else None)
                if kind in _GLOBS:
                    self._globs.setdefault((kind in _ADJUSTING, where), found)
                else:
                    self._items.setdefault(where, found)


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
    return None if seconds is None else _Rule(seconds, by.lstrip("~") if colon else _ALL_TIMES, text, file)


def duration(text: str) -> Optional[int]:
    """Seconds in a time span as systemd.time(7) writes it, such as "1w 2d"; None if it is none."""
    parts: List[Tuple[str, str]] = re.findall(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if not parts or re.sub(r"[0-9]+(?:\.[0-9]+)?\s*[A-Za-z]*\s*", "", text) or any(u not in _UNITS for _n, u in parts):
        return None
    return int(sum(float(amount[:15]) * _UNITS[unit] for amount, unit in parts))


def _in_folder(folder: str, patterns: Iterable[Tuple[str, _T]]) -> List[Tuple[str, _T]]:
    """The last part of each pattern that may match something in this folder, with what it comes with."""
    split = [(pattern.rpartition("/"), more) for pattern, more in patterns]
    return [(last, more) for (first, _slash, last), more in split if _match(first, folder)]


def _match(pattern: str, path: str) -> bool:
    """As fnmatch(3) with FNM_PATHNAME and FNM_PERIOD: only itself matches a slash, or a dot that begins a name."""
    patterns, names = pattern.split("/"), path.split("/")
    return len(patterns) == len(names) and all(
        fnmatchcase(name, one) and (one[:1] == "." or name[:1] != ".") for one, name in zip(patterns, names)
    )


def _above(path: str) -> List[str]:
    found = [path]
    while os.path.dirname(path) != path:
        path = os.path.dirname(path)
        found.append(path)
    return found
