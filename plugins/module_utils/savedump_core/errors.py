# SPDX-License-Identifier: Apache-2.0
"""The failures savedump can name. Each knows the exit status that sysexits.h gives its kind.

A ``SavedumpError`` is a sentence for a person: what went wrong and where, and in ``hint`` what to do next. OSError is
never wrapped: it passes with its errno and file name, and ``status_of`` gives its exit status.
"""

import errno
import os

COMPLETE = 0
GAPS = 3


class SavedumpError(Exception):
    """Something a person has to know; ``exit_status`` is what the command line leaves with."""

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return "%s; %s" % (self.message, self.hint) if self.hint else self.message


class UsageError(SavedumpError):
    """The words of a call do not fit together (EX_USAGE)."""

    exit_status = 64


class BadDump(SavedumpError):
    """Not a dump, a dump of a kind not read, or a damaged dump or archive (EX_DATAERR)."""

    exit_status = 65


class ToolMissing(SavedumpError):
    """A library or program that this input needs is not on this host (EX_UNAVAILABLE)."""

    exit_status = 69


class CannotWrite(SavedumpError):
    """The output cannot be created (EX_CANTCREAT)."""

    exit_status = 73


class Busy(SavedumpError):
    """The dump or a file it needs changed while it was read; a later try may succeed (EX_TEMPFAIL)."""

    exit_status = 75


_CANNOT_WRITE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EEXIST))
_EX_NOINPUT = 66
_NO_INPUT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
_PERMISSION = frozenset((errno.EACCES, errno.EPERM))


def status_of(error: OSError) -> int:
    """The sysexits status for an OSError: 66 no such file, 77 permission, 73 cannot write, else 74."""
    if error.errno in _NO_INPUT:
        return _EX_NOINPUT
    if error.errno in _PERMISSION:
        return 77
    if error.errno in _CANNOT_WRITE:
        return 73
    return 74


class Reading:
    """Where a file is read that was opened before: an OSError gets its path, for read(2) names no file."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, OSError) and not error.filename:
            error.filename = self._path


_NEXT = {
    errno.ENOSPC: "make room there, or choose another folder",
    errno.EDQUOT: "make room there, or choose another folder",
    errno.EROFS: "choose another folder",
    errno.EFBIG: "choose another file system, or raise the limit (ulimit -f)",
    errno.EIO: "the disk or the way to it fails: see dmesg",
    errno.ELOOP: "a symbolic link leads to itself: give the file's own path",
    errno.ENAMETOOLONG: "the path is too long: go to its folder and give the name alone",
    errno.ESTALE: "the network file system changed: mount it again",
}


def next_step(error: OSError) -> str:
    """What to do about an OSError, for a person; empty if its own words are all that can be said."""
    if error.errno in _PERMISSION:
        if os.geteuid() == 0:
            return "not even root may: see the mount's options, SELinux or AppArmor"
        return "run it as root (sudo; in Ansible become: true)"
    return _NEXT.get(error.errno or 0, "")


def sentence(error: Exception) -> str:
    """A failure as one sentence, with what to do about it: an OSError as "path: words", any other as it speaks."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    said = "%s: %s" % (error.filename, error.strerror) if error.filename else error.strerror
    step = next_step(error)
    return "%s; %s" % (said, step) if step else said


def cannot_write(folder: str, error: OSError, hint: str) -> CannotWrite:
    """Nothing can be made in this folder. The status is the error's own, but where that means a missing input: /proc
    and its like say "no such file" to who would make one there."""
    no_input = status_of(error) == _EX_NOINPUT
    words = "no file can be made there" if no_input and os.path.isdir(folder) else error.strerror or error
    failure = CannotWrite("cannot write into %s: %s" % (folder, words), hint)
    if not no_input:
        failure.exit_status = status_of(error)
    return failure
