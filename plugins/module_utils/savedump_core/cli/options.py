# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share."""

import argparse

from ..model import SearchOptions


def add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--search-path", metavar="DIR", action="append", default=[],
        help="also look for executables, libraries and debug information here; may be given again",
    )  # fmt: skip
    parser.add_argument("--sysroot", metavar="DIR", default="/", help="look up the paths in the dump beneath DIR")
    parser.add_argument(
        "--allow-unverified", action="store_true",
        help="take files that nothing but their path speaks for (the dump has no build ID); they are marked so",
    )  # fmt: skip


def search(args: argparse.Namespace) -> SearchOptions:
    return SearchOptions(
        search_paths=tuple(args.search_path), sysroot=args.sysroot, allow_unverified=args.allow_unverified
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, nothing else")
