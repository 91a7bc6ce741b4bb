# SPDX-License-Identifier: Apache-2.0
"""savedump find [PATH ...]"""

import argparse
import errno
import json
import os
import sys
import time
from typing import Any, Dict, Iterable, List, Optional, Sequence

from .. import api
from ..errors import UsageError, status_of
from ..manifest import to_bytes
from . import options, progress, say

NAME = "find"
HELP = "where are the dumps on this host?"
OPERANDS = "[PATH ...]"
EPILOG = """examples:
  savedump find                           every place where dumps come to lie
  savedump find /var/lib/app /srv/cores   in and below these folders
  savedump find --newer-than 2h --executable 'nginx*' --signal SEGV
  savedump find --host-root /mnt/image    of a system that is not running
  savedump find | grep 'NOT WHOLE'        a pipe gets one line for each dump
  savedump find --json | jq -r '.dumps[].path'

A dump without a remark is whole, as far as its first pages tell; inspect reads the rest. Times are those of the crash,
in the local time zone (TZ=UTC savedump find: in UTC). Who is not root finds the dumps that he may read."""

# How stores begin when they say why such a dump is not whole.
_WRITING = "it is being written: "
# Below this, program and user have a line of their own.
_WHO_AT_LEAST = 24
# Which of these is near enough for a warning in red.
_SOON_S = 2 * 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="*", help="files, or folders to search (default: every store)")
    add_filters(parser)
    parser.add_argument(
        "--host-root", metavar="DIR", default="/", help="look into the stores of the system in DIR, not of this one"
    )
    options.add_json(parser)


def add_filters(parser: argparse.ArgumentParser) -> None:
    """The words that say which dumps are wanted."""
    group = parser.add_argument_group("which dumps (all of these must fit)")
    for name, value, words in (
        ("kind", "KIND", "userland, kernel, or a kind as inspect --json names it; may be given again"),
        ("executable", "GLOB", "of these programs: a pattern for the path or, without /, the name; may be given again"),
        ("signal", "SIGNAL", "killed by this signal: SEGV, SIGSEGV or 11; may be given again"),
    ):
        group.add_argument("--" + name, metavar=value, action="append", default=[], help=words)
    for name, value, words in (
        ("newer-than", "AGE|DATE", "died within the last 2h, 3d, or since 2026-11-23T10:00Z"),
        ("older-than", "AGE|DATE", "died before that: as --newer-than"),
        ("min-size", "SIZE", "not smaller than 10M, 1.5G; as it is decompressed"),
        ("max-size", "SIZE", "not greater than that"),
    ):
        group.add_argument("--" + name, metavar=value, help=words)


def filters(args: argparse.Namespace) -> Any:
    """Raises UsageError."""
    from ..stores.filters import make

    return make(
        kinds=args.kind, executable=args.executable, signal=args.signal, newer_than=args.newer_than,
        older_than=args.older_than, min_size=args.min_size, max_size=args.max_size,
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    wanted = filters(args)
    _below(args.host_root, args.paths)
    search = api.finding(args.paths, args.host_root, wanted)
    report = _document(search) if args.json else _list(args, search, any(wanted))
    for error in report.unread:
        say.failed(error)
    return status_of(report.unread[0]) if report.unread else 0


def _below(root: str, paths: Iterable[str]) -> None:
    """Raises UsageError for a path that is not in the other system: this one's would be taken for it."""
    top = os.path.realpath(root)
    for path in paths:
        if os.path.commonpath((top, os.path.realpath(path))) != top:
            there = os.path.join(root, path.lstrip("/"))
            raise UsageError("%s is not in --host-root %s" % (path, root), "write it as this host sees it: %s" % there)


def _document(search: Any) -> Any:
    """One JSON document, of which no more than one dump is in memory at a time."""
    between = '{"dumps": [\n'
    for entry in search:
        # To write each on one line takes a tenth of the time that it takes to write it on many.
        sys.stdout.write(between + _json(entry))
        between = ",\n"
    report = search.report()
    rest = {key: value for key, value in report.as_json().items() if key != "dumps"}
    sys.stdout.write((between if between[0] == "{" else "") + "],\n" + _json(rest)[1:] + "\n")
    return report


def _json(value: Any) -> str:
    """As manifest.to_bytes, which also minds a host whose names are not in UTF-8, on one line."""
    if sys.getfilesystemencoding() in ("utf-8", "ascii"):
        return json.dumps(value)
    return json.dumps(json.loads(to_bytes(value).decode("ascii")))


def _list(args: argparse.Namespace, search: Any, asked: bool) -> Any:
    """A dump is shown as soon as it was looked at; `asked` for some only, nothing is said of crashes without one."""
    width = say.columns(sys.stdout)
    found: List[Dict[str, Any]] = []
    with progress.Waiting("looking for dumps...", args.quiet) as waiting:
        for entry in search:
            found.append({key: entry[key] for key in ("complete", "in_progress") + _SIZES})
            waiting.wipe()
            if width:
                for pieces in on_terminal(entry, width):
                    say.out(*pieces)
            else:
                _out(in_a_line(entry))
        waiting.end()
        report = search.report()
    for log in () if asked else report.logs:
        for line in log_lines(log, width):
            say.out(line)
    if not args.quiet:
        for line in _after(args, report, found, width):
            say.notes(line)
        if found and width:
            say.note("next: %s inspect DUMP" % say.program())  # in one piece, to be copied
    return report


def _out(line: str) -> None:
    """As say.out, which looks at every letter: in ten thousand lines that is a tenth of the time."""
    if line.isprintable() and len(line.encode("utf-8")) == len(line):
        sys.stdout.write(line + "\n")
    else:
        say.out(line)


def _after(args: argparse.Namespace, report: Any, found: Sequence[Dict[str, Any]], width: int) -> Iterable[str]:
    """What is said after the dumps: where was looked, what was left out, and what next."""
    some = bool(found or report.left_out)
    if (args.verbose or not some) and len(report.unread) < len(report.looked):
        yield "looked in:" if some else "no dump found; looked in:"
        yield from ("  " + line for line in places(report.looked))
    elif report.passed_over:
        one = report.passed_over == 1
        words = "a file that may be a dump" if one else "%d files that may be dumps" % report.passed_over
        yield "%s could not be read: %s find -v says why" % (words, say.program())
    if os.geteuid() != 0 and any(os.strerror(errno.EACCES) in one.outcome for one in report.looked):
        yield "only root may look everywhere: try it with sudo"
    if report.left_out:
        one = report.left_out == 1
        yield "%d more dump%s here that %s not asked for" % (
            report.left_out, " is" if one else "s are", "is" if one else "are")  # fmt: skip
    elif not found:
        next_one = "where this host puts its dumps: %s find" if args.paths else "in another folder: %s find DIR"
        yield "to look %s" % next_one % say.program()
    if found and width:
        yield _sum(found)


def _sum(found: Sequence[Dict[str, Any]]) -> str:
    broken = sum(1 for entry in found if entry["complete"] is False or entry["in_progress"])
    return "%s, %s, %s; times are %s" % (
        say.count(found, "dump"), say.size(sum(_bytes(entry) or 0 for entry in found)),
        "%d not whole" % broken if broken else "all whole" if len(found) > 1 else "whole",
        time.strftime("%Z") or "local")  # fmt: skip


def places(looked: Iterable[Any]) -> List[str]:
    """Where was looked: places of one store with the same outcome on one line."""
    together: Dict[Any, List[str]] = {}
    for one in looked:
        outcome = one.outcome
        if one.store == "core_pattern" and not one.where.startswith("/"):
            outcome = outcome.replace("relative", "the kernel's setting, a relative name", 1)
        names = together.setdefault((one.store, outcome), [])
        if one.where not in names:
            names.append(one.where)
    return ["%s (%s): %s" % (", ".join(names), store, outcome) for (store, outcome), names in together.items()]


def in_a_line(entry: Dict[str, Any]) -> str:
    """A dump for a pipe or a file: when, how large, why, whose, which program, where; the remark is in parentheses."""
    why, who = _why_and_who(entry)
    name = entry["user"] or (entry["process"] or {}).get("uid")
    state = _state(entry)
    return "%s %-8s %-16s %s%s" % (
        _head(entry, why), "-" if name is None else name, _base_name(who) or "-", entry["path"],
        "  (%s)" % state if state else "")  # fmt: skip


def on_terminal(entry: Dict[str, Any], width: int) -> List[List[say.Piece]]:
    """A dump in as many lines as a terminal of this width takes; no path of a dump is cut. Each line is in pieces."""
    width = max(width, say.NARROWEST)
    why, who = _why_and_who(entry)
    whose = "" if entry["user"] in (None, "root") else " (%s)" % entry["user"]
    head = _head(entry, why)
    room = width - len(head) - 1 - len(whose)
    if room >= _WHO_AT_LEAST:
        shown: List[List[say.Piece]] = [["%s %s%s" % (head, _shortened(who or "-", room), whose)]]
    else:
        shown = [[" ".join(head.split())], ["    %s%s" % (_shortened(who or "-", width - 4 - len(whose)), whose)]]
    shown.append(["    %s" % entry["path"]])
    state = _state(entry)
    if state:
        words = entry["incomplete_why"]
        words = words[len(_WRITING) :] if words.startswith(_WRITING) else words
        shown += _remark(state, words, "yellow" if entry["in_progress"] else "red", width)
    if entry["expires"]:
        at = entry["expires"]["at"]
        soon = at is not None and at // 10**9 - time.time() < _SOON_S
        words = "gone " + _in_words(at) if at else "may go"
        shown += _remark(words, entry["expires"]["why"], "red" if soon else "yellow", width)
    return shown


def _remark(state: str, words: str, colour: str, width: int) -> List[List[say.Piece]]:
    first, *rest = say.folded("%s: %s" % (state, words), width, "    ")
    colon = first.find(":")
    coloured: List[say.Piece] = ["    ", say.Mark(first[4:colon], colour), first[colon:]]
    return [coloured] + [[line] for line in rest]


def _state(entry: Dict[str, Any]) -> str:
    return "BEING WRITTEN" if entry["in_progress"] else "NOT WHOLE" if entry["complete"] is False else ""


def _why_and_who(entry: Dict[str, Any]) -> Any:
    """(the signal, or "kernel"; the program, or the host): None for what the dump does not say."""
    if entry["kernel"]:
        return "kernel", entry["kernel"]["nodename"] or entry["kernel"]["release"]
    process = entry["process"] or {}
    signal = process.get("signal") or {}
    why = signal.get("name") or ("signal %s" % signal["number"] if signal else None)
    return why, process.get("executable") or process.get("comm")


def _head(entry: Dict[str, Any], why: Optional[str]) -> str:
    at_ns = entry["crashed_ns"] or entry["mtime_ns"]
    return "%s  %10s  %-8s" % (say.local_time(at_ns // 10**9), _size(entry), why or "-")


def log_lines(log: Any, width: int = 0) -> List[str]:
    """A crash of which there is no dump: one line, or for a terminal of this width as many as it takes."""
    if not width:
        return ["%s: %s, no dump" % (log.path, log.what)]
    return say.folded("no dump: %s" % log.what, width) + ["    %s" % log.path]


def _in_words(at_ns: int, now: Optional[float] = None) -> str:
    left = at_ns // 10**9 - int(time.time() if now is None else now)
    if left <= 0:
        return "any time"
    if left < 2 * 3600:
        return "in %d min" % (left // 60)
    return "in %d hours" % (left // 3600) if left < 2 * 86400 else "in %d days" % (left // 86400)


# The dump's, else as its headers claim, else the file's.
_SIZES = ("size", "claimed_size", "stored_size")


def _bytes(entry: Dict[str, Any]) -> Optional[int]:
    return next((entry[key] for key in _SIZES if entry.get(key) is not None), None)


def _size(entry: Dict[str, Any]) -> str:
    known = _bytes(entry)
    return "-" if known is None else say.size(known)


def _base_name(path: Optional[str]) -> str:
    return (path or "").rpartition("/")[2]


def _shortened(text: str, room: int) -> str:
    """The end of a path that is too long, which tells most."""
    return text if len(text) <= room else "..." + text[-max(room - 3, 8) :]
