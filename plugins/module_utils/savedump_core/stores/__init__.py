# SPDX-License-Identifier: Apache-2.0
"""SEAM: one file per place that dumps live in. A store has NAME and ``entries(sysroot)``, which yields, as it goes, a
Looked for each place it looked at and the path of each file there that may be a dump.

To add one: a file with these two names, and a line in STORES.
"""

import os
from typing import Callable, Iterator, List, NamedTuple, Tuple, Union

from ..errors import SavedumpError
from ..model import Json
from ..sysroot import Sysroot
from . import core_pattern, given
from .place import Looked

# The kernel's own setting is asked first: it says where the next dump will go.
STORES = (core_pattern,)


class FindReport(NamedTuple):
    """What was found and where was looked."""

    entries: Tuple[Json, ...]
    """For each dump: "store", "path", "mtime_ns", and what inspect says but for the modules."""
    looked: Tuple[Looked, ...]

    def as_json(self) -> Json:
        return {"dumps": list(self.entries), "looked": [dict(looked._asdict()) for looked in self.looked]}


def find(
    paths: Tuple[str, ...], sysroot: Sysroot, may_be_dump: Callable[[str], bool], describe: Callable[[str], Json]
) -> FindReport:
    """Every dump in the stores or, if there are any, in and below these paths. `may_be_dump` judges by the first bytes;
    `describe` opens one file, and raises SavedumpError or OSError if it is no dump or cannot be read."""
    entries: List[Json] = []
    looked: List[Looked] = []
    seen = set()
    here = 0
    for store, item in _items(paths, sysroot):
        if isinstance(item, Looked):
            looked.append(item._replace(outcome=item.outcome or ("%d found" % here if here else "no dump")))
            here = 0
            continue
        path = os.path.realpath(item)
        if path in seen or not (item in paths or may_be_dump(path)):
            continue
        seen.add(path)
        try:
            entries.append(_entry(store, item, describe(path)))
            here += 1
        except OSError as error:
            looked.append(Looked(store, item, error.strerror or str(error)))
        except SavedumpError as error:
            looked.append(Looked(store, item, str(error)))
    entries.sort(key=lambda entry: (-entry["mtime_ns"], entry["path"]))
    return FindReport(entries=tuple(entries), looked=tuple(looked))


def _items(paths: Tuple[str, ...], sysroot: Sysroot) -> Iterator[Tuple[str, Union[Looked, str]]]:
    if paths:
        for item in given.entries(paths):
            yield given.NAME, item
        return
    for store in STORES:
        for item in store.entries(sysroot):
            yield store.NAME, item


def _entry(store: str, path: str, facts: Json) -> Json:
    entry: Json = {"store": store, "mtime_ns": os.stat(path).st_mtime_ns}
    entry.update(facts)
    entry["path"] = path
    return entry
