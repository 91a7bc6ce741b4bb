# SPDX-License-Identifier: Apache-2.0
"""The folder that every debuginfod client of a user shares, in the layout of elfutils (debuginfod-client.c of 0.176 to
0.192; debuginfod-client-config(7)):

    HEX/executable, HEX/debuginfo    a file, mode 0400; an empty one says that no server had it, until it is
                                     cache_miss_s old (older clients gave that one mode 000)
    HEX/debuginfo.XXXXXX             one that is being fetched: renamed when it is whole
    cache_miss_s, cache_clean_interval_s, max_unused_age_s    numbers, seconds
"""

import errno
import os
import re
import stat
import tempfile
import time
from contextlib import contextmanager
from typing import BinaryIO, Iterator, Mapping, NamedTuple, Optional, Tuple

_MISS_S, _CLEAN_S, _UNUSED_S = ("cache_miss_s", 600), ("cache_clean_interval_s", 86400), ("max_unused_age_s", 604800)
# Which servers an empty file speaks for. elfutils' own say nothing of that.
_ASKED = "user.savedump.asked"
# What elfutils' cleaning takes as its own, and what a client that was killed leaves behind.
_CLEANED = re.compile(r"(debuginfo|executable|hdr.*|source.*|section.*|(debuginfo|executable)\.\w{6,8})\Z")
_HEX = re.compile(r"[0-9a-f]+\Z")


class Miss(NamedTuple):
    """An empty file: somebody asked already."""

    path: str
    age_s: int
    asked: Optional[Tuple[str, ...]]
    """The servers that did not have it; None if that is not known."""


def folder(environ: Mapping[str, str]) -> str:
    """Where the cache is: $DEBUGINFOD_CACHE_PATH, an old ~/.debuginfod_client_cache, $XDG_CACHE_HOME/debuginfod_client
    or ~/.cache/debuginfod_client."""
    given = environ.get("DEBUGINFOD_CACHE_PATH")
    if given:
        return os.path.abspath(given)
    home = environ.get("HOME") or os.path.expanduser("~")
    old = os.path.join(home, ".debuginfod_client_cache")
    if os.path.exists(old):
        return os.path.abspath(old)
    top = environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.abspath(os.path.join(top, "debuginfod_client"))


class Cache:
    """One such folder. OSError passes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._cleaned = False

    def unsafe(self) -> Optional[str]:
        """Why neither to read nor to write here, else None: what another user can write could be put there for us to
        archive, or lead root's writing elsewhere."""
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return error.strerror or str(error)
        if not stat.S_ISDIR(status.st_mode):
            return "it is no folder"
        if status.st_uid not in (0, os.geteuid()):
            return "it belongs to user %d: let DEBUGINFOD_CACHE_PATH name a folder of your own" % status.st_uid
        if status.st_mode & stat.S_IWOTH:
            return "everybody can write to it: let DEBUGINFOD_CACHE_PATH name a folder of your own"
        return None

    def has(self, name: str) -> bool:
        """True if HEX/debuginfo or the like is there; that is noted as a use of it."""
        status = self._status(name)
        if status is None or not status.st_size:
            return False
        self._used(name, status)
        return True

    def missed(self, name: str) -> Optional[Miss]:
        """The empty file that says that this was asked for a short while ago."""
        status = self._status(name)
        if status is None or status.st_size:
            return None
        age = time.time() - status.st_mtime
        if abs(age) > self._number(_MISS_S):
            return None
        path = os.path.join(self.path, name)
        return Miss(path=path, age_s=int(age), asked=_asked(path))

    def note_missed(self, name: str, asked: Tuple[str, ...]) -> None:
        """Say to every client of this cache that no server has this."""
        path = os.path.join(self.path, name)
        status = self._status(name)
        if status is not None and status.st_size:
            return
        self._make_folder(name)
        if status is not None:
            os.unlink(path)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        try:
            if hasattr(os, "setxattr"):
                os.setxattr(descriptor, _ASKED, "\n".join(asked).encode("ascii", "replace"))
        except OSError:
            pass  # tmpfs before Linux 6.6 and NFS have no such attributes: then it is like elfutils' own.
        finally:
            os.close(descriptor)

    @contextmanager
    def incoming(self, name: str) -> Iterator[Tuple[BinaryIO, str]]:
        """A private file to write into, and its path. Without publish() nothing of it stays."""
        for last in (False, True):
            self._make_folder(name)
            self._clean()
            try:
                descriptor, path = tempfile.mkstemp(prefix=os.path.basename(name) + ".", dir=self._folder_of(name))
                break
            except FileNotFoundError:
                # Another client cleaned the folder away in between.
                if last:
                    raise
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                yield file, path  # type: ignore[misc]  # unbuffered: FileIO
        finally:
            for remove, what in ((os.unlink, path), (os.rmdir, self._folder_of(name))):
                try:
                    remove(what)
                except OSError:
                    pass  # It has its name by now, or other files beside it.

    def publish(self, file: BinaryIO, path: str, name: str, modified: Optional[float]) -> None:
        """Give a whole file its name. `modified` is when the server says that it was last changed."""
        if modified is not None:
            os.utime(file.fileno(), (time.time(), modified))
        os.fchmod(file.fileno(), 0o400)
        os.rename(path, os.path.join(self.path, name))

    def free(self) -> int:
        """Bytes that can still be written."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def _folder_of(self, name: str) -> str:
        return os.path.join(self.path, os.path.dirname(name))

    def _make_folder(self, name: str) -> None:
        """HEX, the cache, and ~/.cache: no more of them than elfutils makes."""
        inner = self._folder_of(name)
        for path in (os.path.dirname(self.path), self.path, inner):
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                if path == inner and os.path.islink(path):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None

    def _status(self, name: str) -> Optional[os.stat_result]:
        try:
            status = os.lstat(os.path.join(self.path, name))
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _used(self, name: str, status: os.stat_result) -> None:
        try:
            os.utime(os.path.join(self.path, name), ns=(int(time.time() * 1e9), status.st_mtime_ns))
        except OSError:
            pass  # Not ours; it may be cleaned away sooner.

    def _number(self, setting: Tuple[str, int]) -> int:
        name, default = setting
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                text = file.read(32).strip()
        except OSError:
            return default
        return int(text) if text.isdigit() else default

    def _clean(self) -> None:
        """What elfutils' clients do once a day: remove what was not used for a week. Where none of them runs, this is
        all that keeps the folder from growing for ever."""
        if self._cleaned:
            return
        self._cleaned = True
        mark = os.path.join(self.path, _CLEAN_S[0])
        try:
            if time.time() - os.stat(mark).st_mtime < self._number(_CLEAN_S):
                return
            os.utime(mark)
        except FileNotFoundError:
            with open(mark, "w") as file:
                file.write("%d" % _CLEAN_S[1])
            return
        oldest = time.time() - self._number(_UNUSED_S)
        for entry in os.scandir(self.path):
            if _HEX.match(entry.name) and entry.is_dir(follow_symlinks=False):
                _clean_folder(entry.path, oldest)


def _clean_folder(path: str, oldest: float) -> None:
    try:
        for entry in os.scandir(path):
            status = entry.stat(follow_symlinks=False)
            if _CLEANED.match(entry.name) and stat.S_ISREG(status.st_mode) and status.st_atime <= oldest:
                os.unlink(entry.path)
        if os.stat(path).st_mtime <= oldest:
            os.rmdir(path)
    except OSError:
        pass  # Another client cleans, too, or the folder is in use.


def _asked(path: str) -> Optional[Tuple[str, ...]]:
    try:
        return tuple(os.getxattr(path, _ASKED, follow_symlinks=False).decode("ascii").split())
    except (AttributeError, OSError, UnicodeDecodeError):
        return None
