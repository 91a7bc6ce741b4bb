# SPDX-License-Identifier: Apache-2.0
"""savedump open ARCHIVE"""

import argparse
import os
import re
from typing import Dict, Optional

from .. import api, unpack
from ..errors import ToolMissing, UsageError
from ..model import Json
from . import instead, progress, say

NAME = "open"
HELP = "unpack to a private folder and start the right debugger on it"
OPERANDS = "ARCHIVE [-- ARG ...]"
EPILOG = """examples:
  savedump open archive-core.1234.tar.gz
  savedump open archive-core.1234.tar.gz -- -batch -ex 'thread apply all bt'
  savedump open archive-core.1234.tar.gz --with drgn
  savedump open archive-core.1234.tar.gz --unpack-only --into /srv/analysis

The folder is named as the archive, for you alone, and stays: the next time it is used again. Without savedump:
tar -xf archive-core.1234.tar.gz && archive-core.1234/run-gdb.sh

exit status: the debugger's; 65 damaged or no archive, 69 no launcher or debugger, 73 the folder cannot be made"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="ARCHIVE", help="what savedump archive made")
    parser.add_argument("arguments", metavar="ARG", nargs="*", help="handed to the debugger (after --)")
    parser.add_argument("--into", metavar="DIR", default=".", help="below which folder to unpack (default: here)")
    parser.add_argument(
        "--with", dest="debugger", metavar="NAME",
        help="gdb, lldb, drgn, crash: run-NAME.sh of the archive (default: the first)",
    )  # fmt: skip
    parser.add_argument("--unpack-only", action="store_true", help="unpack and verify, start nothing")


def run(args: argparse.Namespace) -> int:
    with instead.of_no_archive(args.archive), instead.full_disk(args.into):
        # Before anything is unpacked; that this launcher is there is checked with all else while unpacking.
        if args.debugger or not args.unpack_only:
            launcher = _launcher(unpack.read_manifest(args.archive), args.debugger)
        with progress.reading("unpacking", args.archive, args.quiet) as work:
            opened = api.open_archive(args.archive, args.into, work.update)
    if not args.quiet and (opened.again or not args.unpack_only):
        say.note("savedump: unpacked %s %s" % ("already:" if opened.again else "to", opened.path))
    if args.unpack_only:
        say.out(opened.path)
        return 0
    os.execv("/bin/sh", ["sh", os.path.join(opened.path, launcher)] + args.arguments)
    return 0


def _launcher(manifest: Json, debugger: Optional[str]) -> str:
    """The file to start: the one asked for, or the archive's first."""
    launchers = _launchers(manifest)
    if not launchers:
        raise ToolMissing("this archive has no launcher", "unpack it with --unpack-only")
    if debugger is None:
        return next(iter(launchers.values()))
    if debugger not in launchers:
        raise UsageError("this archive has no launcher for %s" % debugger, "it has %s" % ", ".join(launchers))
    return launchers[debugger]


def _launchers(manifest: Json) -> Dict[str, str]:
    """The launchers in an archive, first to last, by the debugger's name."""
    found = {}
    files = manifest.get("files")
    for entry in files if isinstance(files, list) else []:
        path = entry.get("path") if isinstance(entry, dict) else None
        name = re.match(r"run-([a-z0-9]+)\.sh\Z", path) if isinstance(path, str) else None
        if name:
            found[name.group(1)] = name.group(0)
    return found
