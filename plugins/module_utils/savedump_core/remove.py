# SPDX-License-Identifier: Apache-2.0
"""Take a dump away from its host once its archive is proven elsewhere: that very dump, or nothing."""

import os
import stat
from typing import Optional

from . import compression, lock
from .dumps import identity_of
from .errors import Busy, UsageError
from .manifest import moment
from .source import open_source

_CONTAINERS = tuple(codec.NAME for codec in compression.CONTAINERS)


def remove(
    path: str, identity: str, stored_size: Optional[int], created: Optional[str], dry_run: bool = False
) -> int:
    """Unlink the dump at `path` if it is still the one of these three, which its archive's manifest has: "identity" and
    "stored_size" of "dump", and "created", the second of its last change, which a dry run does without. The bytes that
    it had on disk.

    Raises Busy if it is another one by now or somebody is at work on it, UsageError if more than a dump would be lost,
    OSError if it is gone or cannot be removed."""
    # The folder is held open: a path that leads elsewhere a moment later takes nothing with it.
    folder = os.open(os.path.dirname(os.path.realpath(path)) or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = os.path.basename(path)
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise UsageError("%s is a link or no file" % path, "remove it yourself")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            with lock.claimed(descriptor):
                if created is None and dry_run:
                    created = moment(status.st_mtime_ns)
                _prove(path, descriptor, status, identity, stored_size, created)
                # Between the proof and here: the name must still be that file's.
                if not os.path.samestat(status, os.stat(name, dir_fd=folder, follow_symlinks=False)):
                    raise _changed(path)
                if not dry_run:
                    os.unlink(name, dir_fd=folder)
        finally:
            os.close(descriptor)
    finally:
        os.close(folder)
    return status.st_blocks * 512


def _prove(
    path: str, descriptor: int, status: os.stat_result, identity: str, stored_size: Optional[int],
    created: Optional[str],
) -> None:  # fmt: skip
    if not stat.S_ISREG(status.st_mode) or (status.st_size, moment(status.st_mtime_ns)) != (stored_size, created):
        raise _changed(path)
    if lock.being_written(path):
        raise Busy("%s is being written" % path, "try again later")
    with open_source(path, descriptor) as source:
        if source.compression in _CONTAINERS:
            raise UsageError("%s holds more than the dump, and only that is archived" % path, "remove it yourself")
        if identity_of(source) != identity:
            raise _changed(path)
        source.check_unchanged()


def _changed(path: str) -> Busy:
    return Busy("%s is no longer the dump that was archived" % path, "it is left as it is")
