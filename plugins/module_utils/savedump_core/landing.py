# SPDX-License-Identifier: Apache-2.0
"""Where a fetched file comes down on the control host: its name, its .part, and how it becomes whole.

The target chooses nothing here: names are built from the inventory's host name and the last part of the source's path,
letter by letter. A folder is 0700, a file 0600, and under its final name a file is complete or not there.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
from typing import Any, Iterator, NamedTuple, Optional

from .errors import Busy
from .sysroot import is_ours

_BLOCK = 1 << 20
_STRANGE = re.compile(r"[^A-Za-z0-9._+@=-]")
# NAME_MAX is 255 on every file system that matters; the rest is for ".part" and the digest.
_LONGEST = 200
# What is not finished yet is called by its name and one of these.
_UNFINISHED = (".part", ".copy")
_SUFFIX = re.compile(r"(?:\.tar)?(?:\.[A-Za-z]{1,4})?\Z")


class Landing(NamedTuple):
    """The place for one file."""

    folder: str
    path: str

    @property
    def part(self) -> str:
        """What has come so far."""
        return self.path + ".part"

    def beside(self, sha256: str) -> "Landing":
        """The place for other bytes under the same name: eight digits of their SHA-256 in it."""
        return self._replace(path=_marked(self.path, sha256[:8]))


def landing(dest: str, host: str, source: str) -> Landing:
    """dest/HOST/NAME, absolute; both names made safe."""
    folder = os.path.join(os.path.abspath(os.path.expanduser(dest)), safe_name(host))
    return Landing(folder=folder, path=os.path.join(folder, safe_name(source.rstrip("/").rpartition("/")[2])))


def safe_name(name: str) -> str:
    """``name`` as one harmless file name.

    Only letters, digits and ``._+@=-`` stay, no dot or dash in front, and no end that another file's .part has. A name
    that had to be changed gets eight hex digits of its SHA-256 before its suffix, so that two names never become one.
    """
    safe = _STRANGE.sub("_", name)[:_LONGEST]
    if safe[:1] in ("", ".", "-"):
        safe = "_" + safe
    if safe.endswith(_UNFINISHED):
        safe += "_"
    if safe == name:
        return safe
    return _marked(safe, hashlib.sha256(os.fsencode(name)).hexdigest()[:8])


def _marked(name: str, digits: str) -> str:
    """``digits`` before the suffix: core.1.tar.gz becomes core.1-DIGITS.tar.gz."""
    suffix = _SUFFIX.search(name)
    at = suffix.start() if suffix else len(name)
    return "%s-%s%s" % (name[:at], digits, name[at:])


def sha256_of(path: str, length: Optional[int] = None) -> Any:
    """A sha256 object over the first ``length`` bytes of a file, or all of it; None if it is not there or shorter.
    Raises OSError if it is something else than a file: a pipe may wait for ever."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0, opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise OSError(errno.EEXIST, "is in the way and no regular file; remove it", path)
            left = os.fstat(stream.fileno()).st_size if length is None else length
            while left:
                block = stream.read(min(left, _BLOCK))
                if not block:
                    return None
                digest.update(block)
                left -= len(block)
    except FileNotFoundError:
        return None
    return digest


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def missing_space(place: Landing, size: int) -> int:
    """How many bytes too few are free for a file of ``size`` at ``place``, beyond its .part; 0 if it fits."""
    folder = place.folder
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    with contextlib.suppress(FileNotFoundError):
        size -= os.stat(place.part).st_size
    return max(0, size - shutil.disk_usage(folder).free)


@contextlib.contextmanager
def opened_part(place: Landing) -> Iterator[int]:
    """A descriptor on the .part, which nobody else is writing to, and nobody else reads: in a folder that others may
    write into, one of theirs may lie in wait. Raises Busy if another run is fetching the same file, or OSError."""
    os.makedirs(os.path.dirname(place.folder), 0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(place.folder, 0o700)
    while True:
        descriptor = os.open(place.part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy("%s is being fetched by another run" % place.path, "wait for it to end") from None
            # Between open and flock the other run may have finished and taken the name away.
            if _bears_name(descriptor, place.part):
                if not is_ours(descriptor):
                    raise PermissionError(errno.EPERM, "is in the way and is not ours; remove it", place.part)
                os.fchmod(descriptor, 0o600)
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _bears_name(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def finish(descriptor: int, place: Landing) -> None:
    """All bytes are there and proven: make them last, then give them their name."""
    os.fchmod(descriptor, 0o600)
    os.fsync(descriptor)
    os.replace(place.part, place.path)
    folder = os.open(place.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    except OSError as error:  # some network file systems cannot sync a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(folder)


def discard(place: Landing) -> None:
    """Take the .part away."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place.part)
