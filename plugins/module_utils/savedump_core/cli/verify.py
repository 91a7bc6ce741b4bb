# SPDX-License-Identifier: Apache-2.0
"""savedump verify ARCHIVE"""

import argparse

from .. import api
from ..errors import COMPLETE, BadDump
from ..manifest import needed
from . import instead, options, say

NAME = "verify"
HELP = "every hash, every build ID; is it complete?"
EPILOG = """examples:
  savedump verify archive-core.1234.tar.gz && echo intact

exit status: 0 intact (complete or not: the words tell, and --json), 65 damaged or no archive"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="ARCHIVE")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    with instead.of_no_archive(args.archive):
        verified = api.verify(args.archive)
    if args.json:
        say.document(verified.as_json())
    elif verified.intact:
        say.out("%s: intact, %s" % (args.archive, "complete" if verified.complete else "with gaps"))
        for missing in needed(verified.manifest["missing"]):
            say.out("    missing: %s (%s)" % (missing["module"], missing["kind"]))
    else:
        say.out("%s: DAMAGED" % args.archive)
    if not verified.intact:
        for problem in verified.problems:
            say.note("savedump: %s" % problem)
        return BadDump.exit_status
    return COMPLETE
