# SPDX-License-Identifier: Apache-2.0
"""So that no two runs work on one dump, nor write into one folder, at the same time: advisory locks (flock(2)) on the
dump or folder itself. Nothing is written for it, it works on a full disk, and the kernel takes the lock away when its
holder dies, however it dies."""

import errno
import fcntl
import os
import signal
import stat
import time
from contextlib import contextmanager
from typing import Callable, Iterator, Optional, Union

from .errors import Busy
from .sysroot import Refused, open_regular

# File systems that cannot lock what is open for reading only (NFS maps flock to locks that want it open for writing:
# EBADF), or at all.
_CANNOT = frozenset((errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EIO))
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_MAX_LOCKS = 1 << 20
# include/uapi/asm-generic/fcntl.h and include/uapi/linux/fcntl.h: the same on all architectures but alpha and parisc.
_SETSIG, _SETLEASE = 10, 1024


@contextmanager
def claimed(
    what: Union[str, int], wait: float = 0.0, on_wait: Optional[Callable[[str], None]] = None
) -> Iterator[bool]:
    """Hold the lock of a regular file or folder, by its path or by a descriptor that is open on it for reading, inside
    the context. False if its file system cannot lock, which is no obstacle.

    Waits `wait` seconds for another holder, then raises Busy, which says who it is; `on_wait` is called with that
    before it waits. Anybody who may read the file can hold its lock for ever: so there is always an end to waiting.
    Raises OSError or Refused if it cannot be opened."""
    descriptor = os.dup(what) if isinstance(what, int) else _opened(what)
    try:
        name = what if isinstance(what, str) else _name_of(descriptor)
        held = _take(descriptor, wait, name, on_wait)
        try:
            yield held
        finally:
            # A descriptor of the caller's is the same open file, and would keep it.
            if held:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _opened(path: str) -> int:
    path = os.path.realpath(path)
    if stat.S_ISDIR(os.stat(path).st_mode):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return open_regular(path)


def _take(descriptor: int, wait: float, name: str, on_wait: Optional[Callable[[str], None]]) -> bool:
    until = time.monotonic() + wait
    pause = _FIRST_PAUSE_S
    said = on_wait is None
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _CANNOT:
                return False
            raise
        left = until - time.monotonic()
        if left <= 0:
            waited = " after %d seconds" % wait if wait >= 1 else ""
            raise Busy(_in_words(descriptor, name) + waited, "wait for it to end; what it made is used then")
        if not said and on_wait is not None:
            said = True
            on_wait(_in_words(descriptor, name))
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _in_words(descriptor: int, name: str) -> str:
    who = holder(descriptor)
    return "another run is at work on %s%s" % (name, " (%s)" % who if who else "")


def holder(descriptor: int) -> Optional[str]:
    """Who holds the lock: "pid 123, savedump"; None if that is not to be seen from here, as from another namespace."""
    status = os.fstat(descriptor)
    try:
        with open("/proc/locks", "r") as file:
            lines = file.read(_MAX_LOCKS).splitlines()
    except OSError:
        return None
    # proc_locks(5): "1: FLOCK  ADVISORY  WRITE 5437 08:01:2097547 0 EOF". The inode there is not the one that stat(2)
    # gives on overlayfs, so the holder's own files are asked.
    for fields in map(str.split, lines):
        if len(fields) > 4 and fields[1] == "FLOCK" and fields[4].isdigit() and _has_open(int(fields[4]), status):
            return _process(int(fields[4]))
    return None


def _has_open(pid: int, status: os.stat_result) -> bool:
    folder = "/proc/%d/fd/" % pid
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if os.path.samestat(os.stat(folder + name), status):
                return True
        except OSError:
            continue
    return False


def _process(pid: int) -> str:
    try:
        with open("/proc/%d/comm" % pid, "rb") as file:
            return "pid %d, %s" % (pid, os.fsdecode(file.read(64)).strip())
    except OSError:
        return "pid %d" % pid


def _name_of(descriptor: int) -> str:
    try:
        return os.readlink("/proc/self/fd/%d" % descriptor)
    except OSError:
        return "the dump"


def being_written(path: str) -> bool:
    """Whether some process, or the kernel with a core, has this file open for writing now. False where that cannot be
    known: it takes root's rights or the owner's, and a local file system.

    Asked by a read lease, which is had only if nobody writes (fcntl(2), F_SETLEASE), and given back at once."""
    try:
        descriptor = open_regular(os.path.realpath(path))
    except (OSError, Refused):
        return False  # whoever reads the dump says it better
    try:
        # Who opens it for writing in this instant has the kernel signal us, with what nobody minds in place of SIGIO.
        fcntl.fcntl(descriptor, _SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, _SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, _SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False
