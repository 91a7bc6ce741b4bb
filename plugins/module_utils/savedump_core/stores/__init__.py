# SPDX-License-Identifier: Apache-2.0
"""SEAM: one file per place that dumps live in. A store has NAME and ``entries(sysroot)``, which yields, as it goes, a
Looked for each place it looked at, the path of each file there that may be a dump (a Spotted if its name says that it
is one), and a Log for each log of a crash.

To add one: a file with these two names, and a line in STORES.
"""

import os
from typing import Callable, Iterator, List, NamedTuple, Tuple, Union

from ..errors import SavedumpError
from ..model import Json
from ..sysroot import Sysroot
from . import core_pattern, given, kdump, pstore
from .place import Log, Looked, Spotted

# The kernel's own setting is asked first: it says where the next core will go. Then where kernels' dumps go; and last
# where there is a log at most.
STORES = (core_pattern, kdump, pstore)

_Item = Union[Looked, Spotted, Log, str]


class FindReport(NamedTuple):
    """What was found and where was looked."""

    entries: Tuple[Json, ...]
    """For each dump: "store", "path", "mtime_ns", "in_progress", and what inspect says but for the modules."""
    looked: Tuple[Looked, ...]
    logs: Tuple[Log, ...] = ()
    unread: Tuple[OSError, ...] = ()
    """Why paths that were named themselves are not there, or could not be read."""

    def as_json(self) -> Json:
        return {
            "dumps": list(self.entries),
            "logs": [dict(log._asdict()) for log in self.logs],
            "looked": [dict(looked._asdict()) for looked in self.looked],
        }


def find(
    paths: Tuple[str, ...], sysroot: Sysroot, may_be_dump: Callable[[str], bool], describe: Callable[[str], Json]
) -> FindReport:
    """Every dump in the stores or, if there are any, in and below these paths. `may_be_dump` judges by the first bytes;
    `describe` opens one file, and raises SavedumpError or OSError if it is no dump or cannot be read."""
    entries: List[Json] = []
    looked: List[Looked] = []
    logs: List[Log] = []
    unread: List[OSError] = []
    seen = set()
    here = 0
    for store, item in _items(paths, sysroot):
        if isinstance(item, Log):
            logs.append(item)
            continue
        if isinstance(item, Looked):
            if not item.outcome:
                item = item._replace(outcome="%d found" % here if here else "no dump")
                here = 0
            looked.append(item)
            continue
        named = item.path if isinstance(item, Spotted) else item
        path = os.path.realpath(named)
        if path in seen or not (isinstance(item, Spotted) or item in paths or may_be_dump(path)):
            continue
        spotted = item if isinstance(item, Spotted) else kdump.judged(item)
        seen.add(path)
        try:
            facts = describe(path)
            entries.append(_entry(store, spotted, facts))
            # The parts of a split set are one dump.
            seen.update(os.path.realpath(part) for part in facts.get("parts", ()))
            here += 1
        except OSError as error:
            looked.append(_failed(store, spotted, error.strerror or str(error)))
            if named in paths:
                unread.append(error)
        except SavedumpError as error:
            looked.append(_failed(store, spotted, str(error)))
    entries.sort(key=lambda entry: (-entry["mtime_ns"], entry["path"]))
    return FindReport(entries=tuple(entries), looked=tuple(looked), logs=tuple(logs), unread=tuple(unread))


def _items(paths: Tuple[str, ...], sysroot: Sysroot) -> Iterator[Tuple[str, _Item]]:
    if paths:
        for item in given.entries(paths):
            yield given.NAME, item
        return
    for store in STORES:
        for item in store.entries(sysroot):
            yield store.NAME, item


def _entry(store: str, spotted: Spotted, facts: Json) -> Json:
    entry: Json = {"store": store, "mtime_ns": os.stat(spotted.path).st_mtime_ns}
    entry.update(facts)
    entry["path"] = spotted.path
    entry["in_progress"] = spotted.in_progress
    if spotted.unfinished:
        entry["complete"] = False
        entry["incomplete_why"] = "; ".join(filter(None, (spotted.unfinished, facts["incomplete_why"])))
    return entry


def _failed(store: str, spotted: Spotted, why: str) -> Looked:
    return Looked(store, spotted.path, "%s; %s" % (spotted.unfinished, why) if spotted.unfinished else why)
