# SPDX-License-Identifier: Apache-2.0
"""savedump find [PATH ...]"""

import argparse
import time
from typing import Any, Dict

from .. import api
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
        return 0
    for entry in report.entries:
        say.out(_line(entry))
    if not report.entries or args.verbose:
        say.note("looked in:" if report.entries else "no dump found; looked in:")
        for looked in report.looked:
            say.note("  %s (%s): %s" % (looked.where, looked.store, looked.outcome))
    return 0


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
        "" if entry["complete"] else "  (NOT WHOLE)",
    )
