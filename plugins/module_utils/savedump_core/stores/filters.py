# SPDX-License-Identifier: Apache-2.0
"""Which of the dumps that were found are wanted: the same words for the command line and for Ansible."""

import calendar
import datetime
import fnmatch
import os
import re
import time
from signal import Signals
from typing import Iterable, NamedTuple, Optional, Tuple

from ..errors import UsageError
from ..model import Json

PROCESS, KERNEL = "userland", "kernel"
"""Kinds that stand for all of their sort."""

_SPAN = re.compile(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*(s|sec|m|min|h|d|w)\s*\Z")
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_DATE = re.compile(
    r"\s*(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?)?\s*(Z|[+-]\d\d:?\d\d)?\s*\Z", re.IGNORECASE
)
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,3})?)\s*([KMGTP]?)(?:I?B|BYTES)?\s*\Z", re.IGNORECASE)


class Filters(NamedTuple):
    """What a dump must be to be listed. An empty tuple and None mean anything; of several in a tuple, one will do."""

    kinds: Tuple[str, ...] = ()
    """As "kind" of `inspect --json`; PROCESS or KERNEL."""
    executables: Tuple[str, ...] = ()
    """Patterns of the shell. One without "/" is for the base name. Where nothing but the process's name is known, its
    base name is for that: a dump too many is better than one too few."""
    signals: Tuple[str, ...] = ()
    """Such as SIGSEGV, or 11."""
    newer_than_ns: Optional[int] = None
    """Nanoseconds since the epoch: when the process died or, if that is not known, the file was last changed."""
    older_than_ns: Optional[int] = None
    min_size: Optional[int] = None
    """Bytes of the dump, decompressed, as its headers give it; of the file if they do not say."""
    max_size: Optional[int] = None


def make(
    kinds: Iterable[str] = (),
    executable: Iterable[str] = (),
    signal: Iterable[str] = (),
    newer_than: Optional[str] = None,
    older_than: Optional[str] = None,
    min_size: Optional[str] = None,
    max_size: Optional[str] = None,
    now: Optional[float] = None,
) -> Filters:
    """From what a person writes: ages such as 2h or 3d, dates as ISO 8601 writes them, sizes such as 10M. Raises
    UsageError."""
    now = time.time() if now is None else now
    return Filters(
        kinds=tuple(kinds),
        executables=tuple(executable),
        signals=tuple(signal_of(word) for word in signal),
        newer_than_ns=None if newer_than is None else moment(newer_than, now),
        older_than_ns=None if older_than is None else moment(older_than, now),
        min_size=None if min_size is None else size(min_size),
        max_size=None if max_size is None else size(max_size),
    )


def keeps(filters: Filters, entry: Json) -> bool:
    """Whether the dump is wanted, by an entry of FindReport."""
    return (
        _kind(filters.kinds, entry)
        and _executable(filters.executables, entry.get("process"))
        and _signal(filters.signals, entry.get("process"))
        and _between(filters.newer_than_ns, entry.get("crashed_ns") or entry["mtime_ns"], filters.older_than_ns)
        and _between(filters.min_size, _size_of(entry), filters.max_size)
    )


def _kind(wanted: Tuple[str, ...], entry: Json) -> bool:
    group = KERNEL if entry.get("kernel") else PROCESS
    return not wanted or entry.get("kind") in wanted or group in wanted


def _executable(wanted: Tuple[str, ...], process: Optional[Json]) -> bool:
    if not wanted:
        return True
    if not process:
        return False
    path, comm = process.get("executable"), process.get("comm")
    for pattern in wanted:
        name = pattern if "/" in pattern and path else os.path.basename(pattern)
        if path and fnmatch.fnmatchcase(path if "/" in pattern else os.path.basename(path), name):
            return True
        # The kernel keeps 15 bytes of a process's name.
        if comm and not path and (fnmatch.fnmatchcase(comm, name) or (len(name) > 15 and name[:15] == comm)):
            return True
    return False


def _signal(wanted: Tuple[str, ...], process: Optional[Json]) -> bool:
    signal = (process or {}).get("signal") or {}
    return not wanted or signal.get("name") in wanted or str(signal.get("number")) in wanted


def _between(low: Optional[int], value: int, high: Optional[int]) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _size_of(entry: Json) -> int:
    for key in ("size", "claimed_size", "stored_size"):
        if entry.get(key) is not None:
            return int(entry[key])
    return 0


def signal_of(word: str) -> str:
    """SEGV, sigsegv and SIGSEGV are one. Raises UsageError for what no dump can have: it would match nothing."""
    word = word.strip().upper()
    if word.isdecimal():
        return str(int(word[:4]))
    name = word if word.startswith("SIG") else "SIG" + word
    known = Signals.__members__
    # That one is of MIPS, Alpha and SPARC.
    if name not in known and name != "SIGEMT":
        raise UsageError("%r is no signal" % word, "write it as SIGSEGV or 11")
    # By its first name: SIGIOT is SIGABRT.
    return known[name].name if name in known else name


def moment(text: str, now: float) -> int:
    """Nanoseconds since the epoch of "2h" (two hours before now) or "2026-11-23T10:00Z". A date without a time zone is
    this host's."""
    span = _SPAN.match(text)
    if span:
        return int((now - float(span.group(1)) * _SECONDS[span.group(2)]) * 10**9)
    match = _DATE.match(text)
    if match is None:
        raise UsageError("%r is neither an age nor a date" % text, "write it as 2h, 3d or 2026-11-23T10:00Z")
    fields = tuple(int(part or 0) for part in match.groups()[:6])
    zone = (match.group(7) or "").upper().replace(":", "")
    try:
        # Both functions below count the 31st of February, or the 13th month, on into the next.
        datetime.datetime(*fields)  # type: ignore[arg-type]  # six numbers
        if not zone:
            return int(time.mktime(fields + (0, 0, -1))) * 10**9  # type: ignore[arg-type]  # a tuple of nine
        offset = 0 if zone == "Z" else (int(zone[1:3]) * 60 + int(zone[3:5])) * (-60 if zone[0] == "-" else 60)
        return (calendar.timegm(fields + (0, 0, 0)) - offset) * 10**9
    except (OverflowError, ValueError):
        raise UsageError("there is no %s" % text.strip(), "write it as 2026-11-23T10:00Z") from None


def size(text: str) -> int:
    """Bytes of "1.5G"; the units are those of 1024."""
    match = _SIZE.match(text)
    if match is None:
        raise UsageError("%r is no size" % text, "write it as 10M or 1.5G")
    return int(float(match.group(1)) * 1024 ** " KMGTP".index(match.group(2).upper() or " "))
