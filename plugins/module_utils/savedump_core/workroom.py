# SPDX-License-Identifier: Apache-2.0
"""A private folder to unpack into, beside the file that is to be written: it is gone when the work is done, and what a
killed run left of it goes when the next one begins."""

import fcntl
import os
import resource
import shutil
import stat
from contextlib import contextmanager
from typing import Iterator

from .errors import Busy, CannotWrite, cannot_write


@contextmanager
def workroom(target: str) -> Iterator[str]:
    """An empty folder of mode 0700 beside `target`. Raises CannotWrite, Busy if another process has it."""
    folder, name = os.path.split(os.path.abspath(target))
    room = os.path.join(folder, ".%s.work" % name)
    descriptor = _enter(room)
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(descriptor)


def _enter(room: str) -> int:
    try:
        os.mkdir(room, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise cannot_write(os.path.dirname(room), error, "choose another folder (-o; in Ansible dest)") from None
    in_the_way = CannotWrite("%s is in the way and is not ours" % room, "remove it, or choose another folder")
    try:
        descriptor = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        raise in_the_way from None
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise in_the_way
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another savedump is working in %s" % room, "wait for it to end, then run this again") from None
        if not os.path.exists(room) or not os.path.samestat(os.stat(room), status):
            raise Busy("another savedump was working in %s" % room, "try again")
        _empty(room)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _empty(room: str) -> None:
    for entry in os.scandir(room):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


@contextmanager
def many_files() -> Iterator[None]:
    """As many open files as this process may have: each file of a package or of another archive that is to be packed
    stays open until then, and some systems begin with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # A sandbox may forbid it.
    try:
        yield
    finally:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):
            pass
