# SPDX-License-Identifier: Apache-2.0
"""savedump find [PATH ...]"""

import argparse
import time
from typing import Any, Dict, Tuple

from .. import api
from ..errors import status_of
from . import options, say

NAME = "find"
HELP = "where are the dumps on this host?"
EPILOG = """examples:
  savedump find
  savedump find /var/lib/app /srv/cores
  savedump find --json | jq -r '.dumps[].path'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="*", help="files, or folders to search; default every store")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    report = api.find(args.paths)
    if args.json:
        say.document(report.as_json())
    else:
        for entry in report.entries:
            say.out(_line(entry))
        for log in report.logs:
            say.out("%s: %s, no dump" % (log.path, log.what))
        if not report.entries or args.verbose:
            _say_where(report.looked, bool(report.entries))
        if not report.entries:
            next_one = "where this host puts its dumps: %s find" if args.paths else "in another folder: %s find DIR"
            say.note("to look %s" % next_one % say.program())
    for error in report.unread:
        say.failed(error)
    return status_of(report.unread[0]) if report.unread else 0


def _say_where(places: Tuple[Any, ...], found: bool) -> None:
    say.note("looked in:" if found else "no dump found; looked in:")
    for looked in places:
        say.note("  %s (%s): %s" % (looked.where, looked.store, looked.outcome))


def _line(entry: Dict[str, Any]) -> str:
    process = entry["process"] or {}
    why, who = (process.get("signal") or {}).get("name"), process.get("comm")
    if entry["kernel"]:
        why, who = "kernel", entry["kernel"]["nodename"] or entry["kernel"]["release"]
    return "%s  %10s  %-8s %-16s %s%s" % (
        time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["mtime_ns"] // 10**9)),
        say.size(entry["size"]),
        why or "-",
        who or "-",
        entry["path"],
        "  (BEING WRITTEN)" if entry["in_progress"] else "" if entry["complete"] else "  (NOT WHOLE)",
    )
