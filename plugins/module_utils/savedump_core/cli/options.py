# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share."""

import argparse
import os
from typing import TYPE_CHECKING, Any, Optional, Tuple

from ..model import SearchOptions
from . import progress, say

if TYPE_CHECKING:
    from ..web.debuginfod import Client


def add_search(parser: argparse.ArgumentParser) -> None:
    group = add_sources(parser)
    group.add_argument(
        "--sysroot", metavar="DIR", default="/", help="look up the paths in the dump beneath DIR, not beneath /"
    )


def add_sources(parser: argparse.ArgumentParser) -> Any:
    """Where to look beyond what every host has, and what to take. Gives the group of options."""
    group = parser.add_argument_group("where to look for the files that a dump needs")
    group.add_argument(
        "--search-path", metavar="DIR", action="append", default=[],
        help="also look for executables, libraries and debug information here; may be given again",
    )  # fmt: skip
    group.add_argument(
        "--debuginfod", metavar="URL", action="append", default=[],
        help="ask this debuginfod server for what is not here; may be given again; env: those of $DEBUGINFOD_URLS",
    )  # fmt: skip
    group.add_argument(
        "--allow-unverified", action="store_true",
        help="take files that nothing but their path speaks for (the dump has no build ID); they are marked so",
    )  # fmt: skip
    return group


def search(args: argparse.Namespace) -> SearchOptions:
    for folder in args.search_path:
        # One that was mistyped finds nothing, and nobody would know why. Of `collect`, it is on the other hosts.
        if args.verb != "collect" and not os.path.isdir(folder):
            say.note("savedump: --search-path %s: no such folder here; going on without it" % folder)
    return SearchOptions(
        search_paths=tuple(args.search_path),
        sysroot=getattr(args, "sysroot", "/"),
        allow_unverified=args.allow_unverified,
    )


def client(args: argparse.Namespace) -> "Optional[Client]":
    """The client for the servers of --debuginfod, which shows what it does; None without the option."""
    urls = _servers(args)
    if not urls:
        return None
    from ..web.debuginfod import Client  # here, for it takes long to import and few ask for it

    return Client(urls, progress=progress.Fetching(args.quiet))


def _servers(args: argparse.Namespace) -> Tuple[str, ...]:
    if not args.debuginfod:
        return ()
    from ..web.url import servers

    return servers(args.debuginfod, os.environ)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, nothing else")
