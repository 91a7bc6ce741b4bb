# SPDX-License-Identifier: Apache-2.0
"""SEAM: one file per place that dumps live in. A store has NAME and ``entries(sysroot)``, which yields, as it goes, a
Looked for each place it looked at, a Spotted for each file there that may be a dump, and a Log for each log of a crash.

To add one: a file with these two names, and a line in STORES.
"""

import os
from functools import partial
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

from .. import lock
from ..errors import SavedumpError, ToolMissing
from ..model import Json
from ..sysroot import Sysroot
from . import _crew, abrt, apport, core_dump_handler, core_pattern, given, kdump, pstore, systemd_coredump
from .filters import Filters, keeps
from .place import Log, Looked, Spotted, Told, changed_just_now, number, text_of

# The kernel's own setting is asked first: it says where the next core will go. Then those that cores are handed to,
# by how many hosts have them; then where kernels' dumps go; and last where there is a log at most. A file that lies in
# the place of two belongs to the first.
STORES = (core_pattern, systemd_coredump, apport, abrt, core_dump_handler, kdump, pstore)

_Item = Union[Looked, Spotted, Log]

Describe = Callable[[str, bool], Optional[Json]]
"""Of a path, and whether it is worth a word if it is no dump: the facts, or None for no dump. Raises SavedumpError or
OSError."""

_MAX_PASSWD = 1 << 20
# Names and files can tell any number; of one past this, which dumps/kdump.py does not believe either, localtime() may
# raise OverflowError.
_YEAR_2500_NS = (1 << 34) * 10**9


class FindReport(NamedTuple):
    """What was found and where was looked."""

    entries: Tuple[Json, ...]
    """For each dump, the newest first: what a glance says (dumps/glance.py) with "store", "mtime_ns", "in_progress",
    "crashed_ns", "user", "unit", "host" and "expires"."""
    looked: Tuple[Looked, ...]
    logs: Tuple[Log, ...] = ()
    unread: Tuple[OSError, ...] = ()
    """Why paths that were named themselves are not there, or could not be read."""
    left_out: int = 0
    """Dumps that the filters left out, of those that were looked at."""
    passed_over: int = 0
    """Files that may be dumps and could not be read; `looked` says why. Those that were named themselves are not
    counted."""

    def as_json(self) -> Json:
        return {
            "dumps": list(self.entries),
            "logs": [dict(log._asdict()) for log in self.logs],
            "looked": [dict(looked._asdict()) for looked in self.looked],
            "left_out": self.left_out,
        }


class _Like(NamedTuple):
    """What files of one place, thousands maybe, have in common."""

    order: int
    store: str
    spotted: Spotted
    """Without its path."""
    place: List[int]
    """How many dumps were found in its folder, to be counted up."""


class _Site(NamedTuple):
    """A file that may be a dump."""

    mtime_ns: int
    path: str
    inode: Optional[int]
    like: _Like


class Search:
    """The dumps, one at a time, the newest first: iterate over it once, then report() has the rest. Thousands cost a
    few hundred bytes each until they are looked at, and nothing after."""

    def __init__(
        self, paths: Tuple[str, ...], sysroot: Sysroot, describe: Describe, filters: Optional[Filters] = None
    ) -> None:
        self._paths = paths
        self._named = frozenset(paths)
        self._sysroot = sysroot
        self._describe = describe
        self._filters = filters or Filters()
        self._looked: List[Tuple[int, Looked, List[int]]] = []
        self._logs: List[Log] = []
        self._unread: List[OSError] = []
        # By folder and reason: where in the list of places, how many files, the last of their names.
        self._shut: Dict[Tuple[str, str], Tuple[int, int, str]] = {}
        self._left_out = 0
        self._passed_over = 0
        self._users: Optional[Dict[int, str]] = None

    def __iter__(self) -> Iterator[Json]:
        seen: Set[int] = set()
        for site, facts in _crew.spread(self._sites(), self._facts):
            if site.inode is not None and site.inode in seen:
                continue
            entry = self._entry(site, facts)
            if entry is None:
                continue
            first = min(entry["parts"], default=site.path)
            if first < site.path:
                # A split set is called by its first file, whichever was written last.
                moved = site._replace(path=first, mtime_ns=_status(first)[1])
                entry = self._entry(moved, partial(self._facts, moved)) or entry
                seen.update(filter(None, (_inode(first),)))
            # The parts of a set are one dump.
            seen.update(filter(None, [site.inode] + [_inode(part) for part in entry["parts"]]))
            site.like.place[0] += 1
            if keeps(self._filters, entry):
                yield entry
            else:
                self._left_out += 1

    def report(self, entries: Tuple[Json, ...] = ()) -> FindReport:
        """What is to be said besides the dumps, which are those given."""
        looked = []
        for _order, one, place in sorted(self._looked + list(self._shut_files()), key=lambda row: row[0]):
            found = "%d found" % place[0] if place[0] else "no dump"
            looked.append(one if one.outcome else one._replace(outcome=found))
        return FindReport(
            entries=entries, looked=tuple(looked), logs=tuple(self._logs), unread=tuple(self._unread),
            left_out=self._left_out, passed_over=self._passed_over,
        )  # fmt: skip

    def _sites(self) -> List[_Site]:
        """Those that look like one, each file once, the last of the list first. Ten thousand are 5 MiB."""
        sites: List[_Site] = []
        known: Set[int] = set()
        place = [0]
        like: Optional[_Like] = None
        for order, (store, item) in enumerate(_items(self._paths, self._sysroot)):
            if isinstance(item, Log):
                self._logs.append(item)
            elif isinstance(item, Looked):
                self._looked.append((order, item, place))
                place = place if item.outcome else [0]
            else:
                inode, mtime_ns = _status(item.path)
                if inode is None or inode not in known:
                    alike = like is not None and like.place is place and like.spotted[1:] == item[1:]
                    if like is None or not alike or item.path in self._named:
                        like = _Like(order, store, item._replace(path=""), place)
                    sites.append(_Site(mtime_ns, item.path, inode, like))
                known.update((inode,) if inode else ())
        sites.sort(key=lambda site: (-site.mtime_ns, site.path), reverse=True)
        return sites

    def _facts(self, site: _Site) -> Optional[Json]:
        """Raises what describe() raises."""
        # Before it is read: that may be the last access that counts.
        expires = self._expires(site)
        facts = self._describe(site.path, site.like.spotted.sure or site.path in self._named)
        return None if facts is None else dict(facts, expires=expires)

    @staticmethod
    def _expires(site: _Site) -> Optional[Json]:
        expires = site.like.spotted.expires
        return expires(site.path) if expires is not None else None

    def _entry(self, site: _Site, read: _crew.Work) -> Optional[Json]:
        spotted, path = site.like.spotted, site.path
        named = path in self._named
        try:
            facts = read()
        except OSError as error:
            why = error.strerror or str(error)
            if spotted.sure or named or site.like.store != given.NAME:
                self._failed(site, why)
            else:
                # Any of a user's files, and there may be thousands.
                folder, name = os.path.split(path)
                self._passed_over += 1
                order, count, _name = self._shut.get((folder, why), (site.like.order, 0, ""))
                self._shut[folder, why] = (order, count + 1, name)
            if named:
                self._unread.append(error)
            return None
        except ToolMissing as error:
            if spotted.tell is None or not spotted.sure:
                self._failed(site, str(error))
                return None
            facts = dict(_unread_facts(path, str(error)), expires=self._expires(site))
        except SavedumpError as error:
            self._failed(site, str(error))
            return None
        return None if facts is None else self._with_told(site, facts)

    def _with_told(self, site: _Site, facts: Json) -> Json:
        spotted, path = site.like.spotted, site.path
        process = facts.get("process")
        brief = not process or None not in (process["signal"], process["executable"], process["uid"], process["comm"])
        told = spotted.tell(path, brief) if spotted.tell is not None else Told()
        if told.when_ns is not None and told.when_ns >= _YEAR_2500_NS:
            told = told._replace(when_ns=None)
        kernel = facts.get("kernel") or {}
        crash_time = kernel.get("crash_time")
        entry = dict(
            facts,
            store=site.like.store,
            path=path,
            mtime_ns=site.mtime_ns,
            in_progress=spotted.in_progress,
            crashed_ns=told.when_ns or (crash_time * 10**9 if crash_time else None),
            process=process if not process or brief else _filled(process, told),
            unit=told.unit,
            host=told.host or kernel.get("nodename"),
        )
        entry["user"] = self._user(entry["process"]["uid"]) if process else None
        reasons = [reason for reason in (spotted.unfinished, told.cut) if reason]
        may_grow = facts["complete"] is False and not entry["in_progress"] and changed_just_now(path)
        if may_grow and lock.being_written(path):
            # As the kernel writes cores: under their final names.
            entry["in_progress"] = True
            reasons.insert(0, "it is being written: somebody has it open for that")
        if reasons:
            entry["complete"] = False
            entry["incomplete_why"] = "; ".join(reasons + list(filter(None, (facts["incomplete_why"],))))
        return entry

    def _failed(self, site: _Site, why: str) -> None:
        unfinished = site.like.spotted.unfinished
        outcome = "%s; %s" % (unfinished, why) if unfinished else why
        self._passed_over += site.path not in self._named
        self._looked.append((site.like.order, Looked(site.like.store, site.path, outcome), [0]))

    def _shut_files(self) -> Iterator[Tuple[int, Looked, List[int]]]:
        for (folder, why), (order, count, name) in self._shut.items():
            what = "%d files, such as %s" % (count, name) if count > 1 else name
            yield order, Looked(given.NAME, folder, "%s: %s" % (why, what)), [0]

    def _user(self, uid: Optional[int]) -> Optional[str]:
        """By /etc/passwd: no server of users' names is asked."""
        if uid is None:
            return None
        if self._users is None:
            self._users = _users(self._sysroot)
        return self._users.get(uid)


def find(paths: Tuple[str, ...], sysroot: Sysroot, describe: Describe, filters: Optional[Filters] = None) -> FindReport:
    """Every dump in the stores or, if there are any, in and below these paths."""
    search = Search(paths, sysroot, describe, filters)
    return search.report(tuple(search))


def _items(paths: Tuple[str, ...], sysroot: Sysroot) -> Iterator[Tuple[str, _Item]]:
    if paths:
        for item in given.entries(paths, sysroot):
            yield given.NAME, item
        return
    for store in STORES:
        for item in store.entries(sysroot):  # type: ignore[attr-defined]  # modules, each with an entries()
            yield store.NAME, item


def _status(path: str) -> Tuple[Optional[int], int]:
    """What stands for the file itself, and when it was last changed."""
    try:
        status = os.stat(path)
    except OSError:
        return None, 0
    return status.st_dev << 64 | status.st_ino, status.st_mtime_ns


def _inode(path: str) -> Optional[int]:
    return _status(path)[0]


def _unread_facts(path: str, why: str) -> Json:
    """Of a dump that this host cannot look into, and of which something is known nevertheless."""
    process = {
        "pid": None, "comm": None, "args": None, "execfn": None, "executable": None, "uid": None, "gid": None,
        "signal": None, "threads": None,
    }  # fmt: skip
    return {
        "path": path, "size": None, "stored_size": os.stat(path).st_size, "compression": None, "kind": None,
        "machine": None, "bits": None, "endian": None, "os": None, "complete": None, "incomplete_why": None,
        "process": process, "kernel": None, "parts": [], "identity": None, "warnings": [why], "claimed_size": None,
    }  # fmt: skip


def _filled(process: Json, told: Told) -> Json:
    """What the dump itself says, and where it does not, what others say of it."""
    filled = dict(process)
    for key in ("pid", "uid", "gid", "comm", "executable", "args"):
        if filled.get(key) is None:
            filled[key] = getattr(told, key)
    if filled.get("signal") is None and told.signal:
        filled["signal"] = {"number": told.signal, "name": _signal_name(told.signal), "code": None, "address": None}
    return filled


def _signal_name(number: int) -> Optional[str]:
    """As it is called on this host."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def _users(sysroot: Sysroot) -> Dict[int, str]:
    try:
        text = text_of(sysroot.resolve("/etc/passwd").host_path, _MAX_PASSWD) or ""
    except OSError:
        return {}
    users: Dict[int, str] = {}
    for line in text.splitlines():
        fields = line.split(":")
        uid = number(fields[2]) if len(fields) > 2 else None
        if uid is not None:
            users.setdefault(uid, fields[0])
    return users
