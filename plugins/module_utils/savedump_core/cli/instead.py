# SPDX-License-Identifier: Apache-2.0
"""What to type instead, for a path that another verb is for, or that is none."""

import errno
import os
import shlex
from contextlib import contextmanager
from typing import Iterator, List, Optional

from ..errors import BadDump
from . import say

# What other programs call it.
_MEANT = {
    "find": ("list", "ls", "search", "scan", "where"),
    "inspect": ("info", "show", "describe", "status"),
    "archive": ("save", "pack", "create", "make", "dump"),
    "verify": ("check", "test", "validate"),
    "open": ("unpack", "extract", "debug", "gdb", "load"),
    "complete": ("fill", "fix"),
    "store": (),
    "collect": ("fetch", "get", "remote", "pull"),
    "--help": ("help", "usage"),
    "--version": ("version",),
}
# core and store are not alike enough.
_ALIKE = 0.75
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_AGAIN = "if it was copied, copy it again"


def of_no_verb(words: List[str]) -> Optional[str]:
    """For a command line without a verb, given as typed: the verb that is probably meant."""
    verbs = [verb for verb in _MEANT if verb[0] != "-"]
    if words and words[0].startswith("-"):
        late = [word for word in words[1:] if word in verbs and not os.path.lexists(word)]
        return "the verb comes first: %s %s" % (say.program(), late[0]) if late else None
    if not words or os.path.lexists(words[0]):
        return None
    meant = [verb for verb, others in _MEANT.items() if words[0].lower() in others]
    if not meant:
        import difflib  # here, for only mistakes need it

        meant = difflib.get_close_matches(words[0].lower(), verbs, 1, _ALIKE)
    return "did you mean: %s %s" % (say.program(), meant[0]) if meant else None


def of_nothing(error: OSError, verb: List[str], words: List[str]) -> Optional[str]:
    """For a file that is not there: where such files are, or the verb that is probably meant; else None."""
    if error.errno not in (errno.ENOENT, errno.ENOTDIR) or verb not in (["archive"], ["inspect"]):
        return None
    return of_no_verb(words) or "to see which dumps are here: %s find" % say.program()


def _of_bad(message: str) -> str:
    return "to see which dumps are here: %s find" % say.program() if "not a dump" in message else _AGAIN


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
            raise BadDump(error.message, error.hint or _of_bad(error.message)) from None
        hint = "it holds the dump already: %s starts the debugger on it" % _command("open", path)
        raise BadDump("%s is no dump but an archive of savedump's" % path, hint) from None


@contextmanager
def of_no_archive(path: str) -> Iterator[None]:
    """Where an archive is wanted: a dump is for archive."""
    try:
        yield
    except BadDump as error:
        from .. import api, unpack

        if unpack.is_archive(path):
            raise BadDump(error.message, error.hint or _AGAIN) from None
        if os.path.isdir(path) or not api.find([path]).entries:
            made = "an archive is made by: %s archive DUMP" % say.program()
            raise BadDump(error.message, error.hint or made) from None
        hint = "make one of it first: %s" % _command("archive", path)
        raise BadDump("%s is no archive of savedump's but a dump" % path, hint) from None


@contextmanager
def full_disk(output: str) -> Iterator[None]:
    """Of what cannot be written, say where: a write(2) that fails names no file."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        raise OSError(error.errno, error.strerror, "stdout" if output == "-" else os.path.abspath(output)) from None


def _command(verb: str, path: str) -> str:
    return "%s %s %s" % (say.program(), verb, shlex.quote(path))
