# SPDX-License-Identifier: Apache-2.0
"""How long kernel dumps stay: by how many the distributions' kdump services keep, and by what else tidies their folder.

kdump-tools (Debian, Ubuntu; kdump-config, kdump_save_core) deletes after a dump was saved, SUSE's kdump (once kdumptool
delete_dumps, now dracut/kdump-save) before it saves one. RHEL's and Fedora's keeps all.
"""

import re
from functools import partial
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Pattern, Tuple

from ..model import Json
from ..sysroot import Sysroot
from ._kdump_settings import DEFAULT, KDUMP_TOOLS, SUSE, settings
from .apport import tidied
from .place import sooner

# `find -name '2*'` and what it deletes with it; SUSE's pattern has a colon before version 1.
_OF_KDUMP_TOOLS = re.compile(r"2")
_OF_SUSE = re.compile(r"\d{4}-[01]\d-[0-3]\d-[0-2]\d[-:][0-5]\d\Z")

Expires = Callable[[str], Optional[Json]]


class _Limit(NamedTuple):
    folder: str
    """As seen from inside the sysroot."""
    names: "Pattern[str]"
    """Of the folders of dumps."""
    kept: int
    """How many of them the next crash leaves, without its own."""
    why: str


class Expiry:
    """The rules of one root, of which most have none."""

    def __init__(self, sysroot: Sysroot) -> None:
        self._sysroot = sysroot
        self._tidied = tidied(sysroot)
        self._limits = tuple(_limits(sysroot))

    def below(self, top: str, names: List[str]) -> Optional[Expires]:
        """When the dumps in these folders of `top` go, to be asked with the path of each; None if nothing is known to
        delete any."""
        going: Dict[str, str] = {}
        for limit in self._limits:
            if self._is(top, limit.folder):
                theirs = sorted((name for name in names if limit.names.match(name)), key=_version, reverse=True)
                going.update((name, limit.why) for name in theirs[limit.kept :])
        return partial(_expires, top, going, self._tidied) if going else self._tidied

    def _is(self, top: str, folder: str) -> bool:
        try:
            return self._sysroot.resolve(folder).host_path == top
        except OSError:
            return False


def _limits(sysroot: Sysroot) -> Iterator[_Limit]:
    said = settings(sysroot, KDUMP_TOOLS, ("KDUMP_COREDIR", "KDUMP_NUM_DUMPS", "NFS", "SSH", "FTP"))
    kept = _number(said.get("KDUMP_NUM_DUMPS", ""))
    if kept > 0 and not any(said.get(name) for name in ("NFS", "SSH", "FTP")):
        why = "kdump-tools keeps %d (KDUMP_NUM_DUMPS in %s): the oldest goes at the next crash" % (kept, KDUMP_TOOLS)
        yield _Limit(said.get("KDUMP_COREDIR") or DEFAULT, _OF_KDUMP_TOOLS, kept - 1, why)
    said = settings(sysroot, SUSE, ("KDUMP_SAVEDIR", "KDUMP_KEEP_OLD_DUMPS"))
    kept = _number(said.get("KDUMP_KEEP_OLD_DUMPS", ""))
    if kept:
        why = "kdump keeps %d old dumps (KDUMP_KEEP_OLD_DUMPS in %s): this one goes at the next crash"
        why %= max(kept, 0), SUSE
        for url in (said.get("KDUMP_SAVEDIR") or DEFAULT).split():
            scheme, colon, rest = url.partition("://")
            if not colon or scheme == "file":
                # -1 keeps none.
                yield _Limit(rest if colon else url, _OF_SUSE, max(kept, 0), why)


def _number(text: str) -> int:
    return int(text) if re.match(r"-?[0-9]{1,6}\Z", text) else 0


def _version(name: str) -> Tuple[object, ...]:
    """As sort -V orders them, near enough for dates."""
    parts = ((re.match("[0-9]", part), part) for part in re.findall(r"[0-9]{1,20}|[^0-9]", name))
    return tuple((is_number is not None, int(part) if is_number else part) for is_number, part in parts)


def _expires(top: str, going: Dict[str, str], rules: Optional[Expires], path: str) -> Optional[Json]:
    first = path[len(top) :].lstrip("/").partition("/")[0]
    crowded: Optional[Json] = {"at": None, "why": going[first]} if first in going else None
    return sooner(rules(path) if rules else None, crowded)
