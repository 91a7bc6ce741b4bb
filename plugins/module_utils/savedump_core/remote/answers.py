# SPDX-License-Identifier: Apache-2.0
"""Whether what a host says of its dumps has the shape that the words for people rely on: one host that lies, or whose
memory is broken, must not cost the others their summary."""

from typing import Any, Dict, Iterable

from ..model import Json
from ..wire.frames import Broken

_TEXT = (str, type(None))
_NUMBER = (int, float, type(None))
_DUMP: Dict[str, Any] = {
    "path": _TEXT, "kind": _TEXT, "incomplete_why": _TEXT, "identity": _TEXT, "size": _NUMBER, "stored_size": _NUMBER,
    "mtime_ns": _NUMBER, "in_progress": (bool, type(None)), "complete": (bool, type(None)),
}  # fmt: skip
_INNER: Dict[str, Dict[str, Any]] = {
    "process": {"executable": _TEXT, "comm": _TEXT, "pid": _NUMBER},
    "kernel": {"release": _TEXT, "panic": _TEXT},
}
# Times after 2262 do not fit 64 bits of nanoseconds, and nothing is that long.
_MOST = 1 << 63


def check_report(document: Json) -> Json:
    """What find says. Raises Broken."""
    left_out = document.get("left_out", 0)
    if not isinstance(left_out, int) or isinstance(left_out, bool):
        raise _broken("left_out")
    for entry in document["dumps"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise _broken("a dump without a path")
        check_dump(entry)
    unread = document.get("unread", [])
    if not isinstance(unread, list):
        raise _broken("unread")
    for each in unread:
        _check(each, {"path": _TEXT, "why": _TEXT, "exit_status": _NUMBER})
        if None in map(each.get, ("path", "why", "exit_status")) or not 0 < each["exit_status"] < 256:
            raise _broken("unread")
        each["exit_status"] = int(each["exit_status"])
    for place in document["looked"]:
        if not isinstance(place, dict) or "where" not in place or "outcome" not in place:
            raise _broken("a place that is none")
    return document


def check_dump(document: Json) -> None:
    """What find and a manifest say of one dump. Raises Broken."""
    _check(document, _DUMP)
    for key, fields in _INNER.items():
        inner = document.get(key)
        if inner is not None:
            _check(inner, fields)
    signal = (document.get("process") or {}).get("signal")
    if signal is not None:
        _check(signal, {"name": _TEXT})


def check_missing(gaps: Iterable[Any]) -> None:
    """A manifest's list of what is missing. Raises Broken."""
    for gap in gaps:
        _check(gap, {})
        attempts = gap.get("attempts")
        if attempts is not None and not isinstance(attempts, list):
            raise _broken("attempts")
        for attempt in attempts or ():
            _check(attempt, {})


def _check(value: Any, fields: Dict[str, Any]) -> None:
    if not isinstance(value, dict):
        raise _broken("no document")
    for key, kinds in fields.items():
        found = value.get(key)
        if not isinstance(found, kinds) or (bool not in kinds and isinstance(found, bool)):
            raise _broken(key)
        if isinstance(found, (int, float)) and not 0 <= found < _MOST:
            raise _broken(key)


def _broken(what: str) -> Broken:
    return Broken("what the other host says of its dumps makes no sense (%s)" % what)
