# SPDX-License-Identifier: Apache-2.0
"""savedump store DIR ARCHIVE..."""

import argparse
from typing import Optional

from .. import api
from ..errors import COMPLETE, BadDump
from . import instead, options, progress, say

NAME = "store"
HELP = "keep the files of archives by build ID, each once, as debuginfod serves them"
OPERANDS = "DIR ARCHIVE ..."
EPILOG = """examples:
  savedump store /srv/files archive-*.tar.gz
  python3 -m http.server -d /srv/files &    serves them to debuggers
  DEBUGINFOD_URLS=http://localhost:8000 gdb prog core.1234
  savedump complete archive-core.1234.tar.gz --search-path /srv/files

The dumps themselves never go there. DIR is made for you alone; chmod o+x DIR opens it to a web server.

exit status: 0 all are in, 65 an archive is damaged or none (the others are in)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="the store; made if it is not there")
    parser.add_argument("archives", metavar="ARCHIVE", nargs="+", help="what savedump archive made")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    options.add_json(parser)


class _Progress:
    """A bar for each archive."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._archive: Optional[str] = None
        self._work = progress.Work("", None, quiet)

    def update(self, archive: str, done: int) -> None:
        if archive != self._archive:
            self._work.end()
            self._archive, self._work = archive, progress.reading("reading", archive, self._quiet)
        self._work.update(done)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._work.end()


def run(args: argparse.Namespace) -> int:
    with instead.full_disk(args.folder), _Progress(args.quiet) as progressing:
        stored = api.store(args.folder, args.archives, dry_run=args.dry_run, progress=progressing.update)
    if args.json:
        say.document(stored.as_json())
    else:
        if args.verbose:
            for one in stored.added:
                say.out("%s  %s: %s" % (one.name, one.archive, one.member))
        would = "would be " if args.dry_run else ""
        words = (say.count(stored.added, "file"), would, len(stored.known), say.size(stored.saved))
        say.out("%s %sadded, %d known, %s saved" % words)
    if not args.quiet:
        for one in stored.other:
            say.note("savedump: %s of %s is not the %s that the store has, which stays" % (
                one.member, one.archive, one.name))  # fmt: skip
    for archive, why in stored.failed:
        say.note("savedump: nothing was taken of %s: %s" % (archive, why))
    return BadDump.exit_status if stored.failed else COMPLETE
