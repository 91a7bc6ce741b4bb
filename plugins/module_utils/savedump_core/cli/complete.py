# SPDX-License-Identifier: Apache-2.0
"""savedump complete ARCHIVE"""

import argparse
import os
import sys

from .. import api
from ..errors import COMPLETE, GAPS, UsageError
from ..manifest import needed
from ..model import Plan
from . import instead, options, progress, say
from .archive import say_gaps

NAME = "complete"
HELP = "fill the gaps of an archive on another machine, and write a new one"
OPERANDS = "ARCHIVE"
EPILOG = """examples:
  savedump complete archive-core.1.tar.gz --search-path /srv/builds/1.2.3
  savedump complete archive-core.1.tar.gz --debuginfod env
  savedump complete archive-core.1.tar.gz --archives /srv/dumps -o /srv/whole

The new one is archive-core.1.completed.tar.gz beside the old one, which stays as it is. Nothing of this machine is
taken but from where you say.

exit status: 0 complete now, 3 with gaps still (each is listed on stderr)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="ARCHIVE", help="what savedump archive made")
    group = parser.add_argument_group("what to write")
    group.add_argument("-o", "--output", metavar="DIR|FILE", help="folder or file to write (default: beside ARCHIVE)")
    group.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    group.add_argument("--force", action="store_true", help="write it again even if it is there")
    group = options.add_sources(parser)
    group.add_argument(
        "--archives", metavar="DIR", action="append", default=[],
        help="take what other archives in and below this folder have; may be given again",
    )  # fmt: skip
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    if not (args.search_path or args.debuginfod or args.archives):
        raise UsageError("nowhere to look", "give --search-path DIR, --debuginfod URL or --archives DIR")
    for folder in args.archives:
        os.scandir(folder).close()
    quiet = args.json or args.quiet

    def on_plan(plan: Plan) -> None:
        work.total = plan.size

    def begin(done: int) -> None:
        if not args.dry_run:
            reading.end()
            work.update(done)

    reading = progress.reading("unpacking", args.archive, args.quiet)
    with instead.of_no_archive(args.archive), instead.full_disk(args.output or args.archive), reading:
        with progress.Work("compressing archive...", None if quiet else sys.stdout, args.quiet) as work:
            done = api.complete(
                args.archive, args.output, search=options.search(args), archives=args.archives,
                dry_run=args.dry_run, force=args.force, on_plan=on_plan, progress=begin,
                debuginfod=options.client(args), on_read=reading.update,
            )  # fmt: skip
    if args.json:
        say.document(done.as_json())
    if not args.quiet:
        _say(args, done)
    return COMPLETE if done.complete else GAPS


def _say(args: argparse.Namespace, done: api.Archived) -> None:
    gaps = needed(done.manifest["missing"])
    if done.changed:
        (completed,) = done.manifest["completed"][-1:]
        for path in completed["added"]:
            say.note("savedump: %s: %s" % ("would be added" if args.dry_run else "added", path))
    say_gaps(gaps, args.verbose > 0)
    words = say.Mark("complete", "green") if done.complete else say.Mark("still with gaps", "yellow")
    if not done.changed and done.path == args.archive:
        say.note("savedump: nothing was found where you said; nothing was written" if done.manifest["missing"] else
                 "savedump: nothing is missing, nothing was written")  # fmt: skip
    elif not args.json:
        what = "there already" if not done.changed else "to create" if args.dry_run else "created"
        say.out("archive %s, " % what, words, ": %s" % done.path)
