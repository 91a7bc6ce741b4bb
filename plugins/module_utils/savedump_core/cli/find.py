# SPDX-License-Identifier: Apache-2.0
"""savedump find [PATH ...]"""

import argparse
import json
import shutil
import sys
import textwrap
import time
from typing import Any, Dict, List, Optional

from .. import api
from ..errors import status_of
from ..manifest import to_bytes
from . import options, say

NAME = "find"
HELP = "where are the dumps on this host?"
EPILOG = """examples:
  savedump find
  savedump find /var/lib/app /srv/cores
  savedump find --newer-than 2h --executable 'nginx*' --signal SEGV
  savedump find --host-root /mnt/image
  savedump find --json | jq -r '.dumps[].path'"""

# Narrower terminals wrap.
_NARROWEST = 60
# How stores begin when they say why such a dump is not whole.
_WRITING = "it is being written: "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="*", help="files, or folders to search; default every store")
    add_filters(parser)
    parser.add_argument("--host-root", metavar="DIR", default="/", help="look into the stores of the system in DIR")
    options.add_json(parser)


def add_filters(parser: argparse.ArgumentParser) -> None:
    """The words that say which dumps are wanted."""
    for name, value, words in (
        ("kind", "KIND", "userland, kernel, or a kind as inspect --json names it; may be given again"),
        ("executable", "GLOB", "of these programs: a pattern for the path or, without a /, the base name; again"),
        ("signal", "SIGNAL", "killed by this signal: SEGV, SIGSEGV or 11; may be given again"),
    ):
        parser.add_argument("--" + name, metavar=value, action="append", default=[], help=words)
    for name, value, words in (
        ("newer-than", "AGE|DATE", "died within 2h, 3d, or since 2026-11-23T10:00Z"),
        ("older-than", "AGE|DATE", "died before that"),
        ("min-size", "SIZE", "such as 10M, decompressed"),
        ("max-size", "SIZE", ""),
    ):
        parser.add_argument("--" + name, metavar=value, help=words)


def filters(args: argparse.Namespace) -> Any:
    """Raises UsageError."""
    from ..stores.filters import make

    return make(
        kinds=args.kind, executable=args.executable, signal=args.signal, newer_than=args.newer_than,
        older_than=args.older_than, min_size=args.min_size, max_size=args.max_size,
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    wanted = filters(args)
    search = api.finding(args.paths, args.host_root, wanted)
    report = _document(search) if args.json else _list(args, search, any(wanted))
    for error in report.unread:
        say.failed(error)
    return status_of(report.unread[0]) if report.unread else 0


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
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    count = 0
    for entry in search:
        count += 1
        for line in lines(entry, width):
            _out(line)
    report = search.report()
    for log in () if asked else report.logs:
        for line in log_lines(log, width):
            say.out(line)
    if args.verbose or not (count or report.left_out):
        _say_where(report.looked, bool(count or report.left_out))
    if report.left_out:
        say.note("%d more dumps are here that are not asked for" % report.left_out)
    elif not count:
        next_one = "where this host puts its dumps: %s find" if args.paths else "in another folder: %s find DIR"
        say.note("to look %s" % next_one % say.program())
    return report


def _out(line: str) -> None:
    """As say.out, which looks at every letter: in ten thousand lines that is a tenth of the time."""
    if line.isprintable() and len(line.encode("utf-8")) == len(line):
        sys.stdout.write(line + "\n")
    else:
        say.out(line)


def _say_where(places: Any, found: bool) -> None:
    say.note("looked in:" if found else "no dump found; looked in:")
    for looked in places:
        say.note("  %s (%s): %s" % (looked.where, looked.store, looked.outcome))


def lines(entry: Dict[str, Any], width: int = 0) -> List[str]:
    """One line for each dump, or for a terminal of this width as many as it takes; no path is cut."""
    process = entry["process"] or {}
    signal = process.get("signal") or {}
    why = signal.get("name") or ("signal %s" % signal["number"] if signal else None)
    who = process.get("executable") or process.get("comm")
    if entry["kernel"]:
        why, who = "kernel", entry["kernel"]["nodename"] or entry["kernel"]["release"]
    head = "%s  %10s  %-8s" % (
        time.strftime("%Y-%m-%d %H:%M", time.localtime((entry["crashed_ns"] or entry["mtime_ns"]) // 10**9)),
        _size(entry),
        why or "-",
    )
    state = "BEING WRITTEN" if entry["in_progress"] else "NOT WHOLE" if entry["complete"] is False else ""
    if not width:
        name = entry["user"] or process.get("uid")
        fields = (head, "-" if name is None else name, _base_name(who) or "-", entry["path"])
        return ["%s %-8s %-16s %s" % fields + ("  (%s)" % state if state else "")]
    whose = "" if entry["user"] in (None, "root") else " (%s)" % entry["user"]
    shown = ["%s %s%s" % (head, _shortened(who or "-", max(width, _NARROWEST) - len(head) - 1 - len(whose)), whose)]
    shown.append("    %s" % entry["path"])
    notes = []
    if state:
        words = entry["incomplete_why"]
        notes.append("%s: %s" % (state, words[len(_WRITING) :] if words.startswith(_WRITING) else words))
    if entry["expires"]:
        at = entry["expires"]["at"]
        notes.append("%s: %s" % ("gone " + _in_words(at) if at else "may go", entry["expires"]["why"]))
    for note in notes:
        shown += _wrapped(note, width, "    ")
    return shown


def log_lines(log: Any, width: int = 0) -> List[str]:
    """A crash of which there is no dump: as lines()."""
    if not width:
        return ["%s: %s, no dump" % (log.path, log.what)]
    return _wrapped("no dump: %s" % log.what, width, "") + ["    %s" % log.path]


def _wrapped(text: str, width: int, indent: str) -> List[str]:
    """Paths and names of files in it stay whole."""
    return textwrap.wrap(
        text, max(width, _NARROWEST), initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _in_words(at_ns: int, now: Optional[float] = None) -> str:
    left = at_ns // 10**9 - int(time.time() if now is None else now)
    if left <= 0:
        return "any time"
    if left < 2 * 3600:
        return "in %d min" % (left // 60)
    return "in %d hours" % (left // 3600) if left < 2 * 86400 else "in %d days" % (left // 86400)


def _size(entry: Dict[str, Any]) -> str:
    """Of the dump, else as its headers claim, else of the file."""
    known = [entry[key] for key in ("size", "claimed_size", "stored_size") if entry.get(key) is not None]
    return say.size(known[0]) if known else "-"


def _base_name(path: Optional[str]) -> str:
    return (path or "").rpartition("/")[2]


def _shortened(text: str, room: int) -> str:
    """The end of a path that is too long, which tells most."""
    return text if len(text) <= room else "..." + text[-max(room - 3, 8) :]
