# SPDX-License-Identifier: Apache-2.0
"""savedump verify ARCHIVE"""

import argparse
import shlex

from .. import api
from ..errors import COMPLETE, BadDump
from ..manifest import needed
from . import instead, options, progress, say

NAME = "verify"
HELP = "every hash, every build ID; is it complete?"
OPERANDS = "ARCHIVE"
EPILOG = """examples:
  savedump verify archive-core.1234.tar.gz && echo intact
  savedump verify archive-core.1234.tar.gz --json | jq .manifest.missing

Intact: every byte is as it was packed. Complete: all that a debugger needs is in it.

exit status: 0 intact (complete or not: the words tell, and --json), 65 damaged or no archive"""

# Of an archive that was cut, one sentence tells all, and each file that is not there has another.
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="ARCHIVE", help="what savedump archive made")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    with instead.of_no_archive(args.archive):
        with progress.reading("verifying", args.archive, args.quiet) as work:
            verified = api.verify(args.archive, work.update)
    if args.json:
        say.document(verified.as_json())
    elif verified.intact:
        say.out("%s: " % args.archive, say.Mark("intact", "green"), ", ", say.completeness(verified.complete))
        missing = needed(verified.manifest["missing"])
        for gap in missing:
            say.out("    missing: %s (%s)" % (gap["module"], gap["kind"]))
        if missing and not args.quiet:
            complete = "%s complete %s --search-path DIR" % (say.program(), shlex.quote(args.archive))
            say.note("savedump: to fill in what is missing: %s" % complete)
    else:
        say.out("%s: " % args.archive, say.Mark("DAMAGED", "red"))
    if not verified.intact:
        shown = len(verified.problems) if args.verbose else _SHOWN
        for problem in verified.problems[:shown]:
            say.note("savedump: %s" % problem)
        if len(verified.problems) > shown:
            say.note("savedump: and %d more (-v lists all)" % (len(verified.problems) - shown))
        if not args.quiet:
            say.note("savedump: do not rely on it: copy it here again, or make it again from the dump")
        return BadDump.exit_status
    return COMPLETE
