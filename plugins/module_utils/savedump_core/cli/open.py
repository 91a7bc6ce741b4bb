# SPDX-License-Identifier: Apache-2.0
"""savedump open ARCHIVE"""

import argparse
import os
from typing import Any, Dict

from .. import api
from ..errors import ToolMissing
from ..launchers import LAUNCHERS
from . import say

NAME = "open"
HELP = "unpack to a private folder and start the right debugger on it"
EPILOG = """examples:
  savedump open archive-core.1234.tar.gz
  savedump open archive-core.1234.tar.gz -- -batch -ex 'thread apply all bt'
  savedump open archive-core.1234.tar.gz --with drgn
  savedump open archive-core.1234.tar.gz --unpack-only --into /srv/analysis"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="ARCHIVE")
    parser.add_argument("arguments", metavar="ARG", nargs="*", help="handed to the debugger (after --)")
    parser.add_argument("--into", metavar="DIR", default=".", help="where to unpack; default here")
    parser.add_argument("--with", dest="debugger", metavar="NAME", help="gdb, lldb or drgn (default gdb)")
    parser.add_argument("--unpack-only", action="store_true", help="unpack and verify, start nothing")


def run(args: argparse.Namespace) -> int:
    opened = api.open_archive(args.archive, args.into)
    if args.unpack_only:
        say.out(opened.path)
        return 0
    if not args.quiet:
        say.note("savedump: unpacked to %s" % opened.path)
    script = os.path.join(opened.path, _launcher(opened.manifest, args.debugger))
    os.execv("/bin/sh", ["sh", script] + args.arguments)
    return 0


def _launcher(manifest: Dict[str, Any], debugger: str) -> str:
    names = [launcher.NAME for launcher in LAUNCHERS if launcher.applies_to(manifest)]
    if debugger is None:
        return names[0]
    wanted = "run-%s.sh" % debugger
    if wanted not in names:
        raise ToolMissing("this archive has no launcher for %s" % debugger, "it has %s" % ", ".join(names))
    return wanted
