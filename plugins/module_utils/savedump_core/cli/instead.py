# SPDX-License-Identifier: Apache-2.0
"""What to type instead, for a path that another verb is for."""

import os
import shlex
from contextlib import contextmanager
from typing import Iterator

from .. import api
from ..errors import BadDump
from . import say


@contextmanager
def of_no_dump(path: str) -> Iterator[None]:
    """Where a dump is wanted: a folder is for find, an archive for verify and open."""
    try:
        yield
    except BadDump as error:
        if os.path.isdir(path):
            raise BadDump(error.message, "to look for dumps in it: %s" % _command("find", path)) from None
        from .. import unpack

        if not unpack.is_archive(path):
            raise
        hint = "it holds the dump already: %s starts the debugger on it" % _command("open", path)
        raise BadDump("%s is no dump but an archive of savedump's" % path, hint) from None


@contextmanager
def of_no_archive(path: str) -> Iterator[None]:
    """Where an archive is wanted: a dump is for archive."""
    try:
        yield
    except BadDump:
        from .. import unpack

        if unpack.is_archive(path) or not api.find([path]).entries:
            raise
        hint = "make one of it first: %s" % _command("archive", path)
        raise BadDump("%s is no archive of savedump's but a dump" % path, hint) from None


def _command(verb: str, path: str) -> str:
    return "%s %s %s" % (say.program(), verb, shlex.quote(path))
