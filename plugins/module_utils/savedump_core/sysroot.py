# SPDX-License-Identifier: Apache-2.0
"""Paths of another time or another root, resolved without ever leaving that root, and files opened without being
fooled: no device is opened, no FIFO waited for, no link followed out.

What a dump names is hostile: it is looked up beneath the sysroot, and opened with the rights of the dump's owner.
"""

import errno
import os
import stat
from contextlib import contextmanager
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Hashable,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)  # fmt: skip

from .elf.file import ElfFile, describe
from .elf.header import ReadAt
from .errors import BadDump
from .model import Attempt, Candidate, Want

if TYPE_CHECKING:
    from .web.debuginfod import Client

T = TypeVar("T")
# Places that somebody else knows for a want.
Look = Callable[[Want], Iterable[Union[Candidate, Attempt]]]

# The kernel's own limit on links in one path (include/linux/namei.h, MAXSYMLINKS).
MAX_LINKS = 40
# Files looked into in one folder of --search-path.
MAX_FOLDER = 100000


class Refused(Exception):
    """A file that is there and will not be read; the message says why."""


class Resolved(NamedTuple):
    """A path followed to its end beneath a sysroot."""

    host_path: str
    """The same on this host, sysroot included."""
    path: str
    """As seen from inside the sysroot, with no link left in it."""
    links: Tuple[Tuple[str, str], ...]
    """(link, where it leads) for each symbolic link on the way, both as seen from inside, the first with no link in
    its own directory part."""


class Owner(NamedTuple):
    """Whose rights to open what a dump names with."""

    uid: int
    gid: int


class Identity(NamedTuple):
    """What tells that a file on disk is still the one that was looked at."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Sysroot:
    """The root in which a path is resolved: "/", a container's root, a mounted image."""

    def __init__(self, root: str = "/", follow: bool = True) -> None:
        """`follow` is False for a root that is reached through a link of the kernel's, which has no path of its own:
        /proc/12/root."""
        self.root = os.path.realpath(root) if follow else root

    def host_path(self, path: str) -> str:
        """Where an absolute, already resolved inside path lies on this host."""
        return path if self.root == "/" else self.root + path

    def resolve(self, path: str) -> Resolved:
        """Follow `path` from the sysroot's top; ".." and absolute links stay inside. Raises OSError where a component
        is not there or is no directory."""
        done: List[str] = []
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        links: List[Tuple[str, str]] = []
        while todo:
            part = todo.pop()
            if part == "..":
                del done[-1:]
                continue
            inside = "/" + "/".join(done + [part])
            host = self.host_path(inside)
            mode = os.lstat(host).st_mode
            if stat.S_ISLNK(mode):
                if len(links) >= MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), host)
                target = os.readlink(host)
                links.append((inside, target if target.startswith("/") else _join("/" + "/".join(done), target)))
                if target.startswith("/"):
                    done = []
                todo.extend(reversed([piece for piece in target.split("/") if piece not in ("", ".")]))
                continue
            if todo and not stat.S_ISDIR(mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), host)
            done.append(part)
        inside = "/" + "/".join(done)
        return Resolved(host_path=self.host_path(inside), path=inside, links=tuple(links))


def _join(directory: str, relative: str) -> str:
    return os.path.normpath(os.path.join(directory, relative))


def open_regular(host_path: str) -> int:
    """A descriptor on a regular file. Raises Refused for anything else, before opening it: opening a device may be an
    act (a watchdog starts, a tape rewinds) and opening a FIFO may wait for ever."""
    if not stat.S_ISREG(os.lstat(host_path).st_mode):
        raise Refused(_kind_of(os.lstat(host_path).st_mode))
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
    descriptor = os.open(host_path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise Refused(_kind_of(mode))
    return descriptor


def _kind_of(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"), (stat.S_ISBLK, "a block device"), (stat.S_ISLNK, "a symbolic link"),
    ):  # fmt: skip
        if test(mode):
            return name + ", not a regular file"
    return "not a regular file"


def os_release(sysroot: Sysroot) -> Dict[str, str]:
    """os-release(5): {} where there is none."""
    values: Dict[str, str] = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with regular_file(sysroot.resolve(path).host_path) as file:
                lines = file.read(1 << 16).decode("utf-8", "replace").splitlines()
        except (OSError, Refused):
            continue
        for line in lines:
            key, equals, value = line.partition("=")
            if equals:
                values.setdefault(key, value.strip().strip("\"'"))
        break
    return values


class OnDisk(NamedTuple):
    """An ELF file that was opened, described and closed again."""

    host_path: str
    identity: Identity
    elf: ElfFile
    uid: int
    mode: int


def read_elf(host_path: str, owner: Optional[Owner] = None) -> OnDisk:
    """Describe the regular ELF file at this resolved path. Raises Refused for anything else, OSError if unreadable."""
    with rights_of(owner):
        descriptor = open_regular(host_path)
    try:
        return describe_open(descriptor, host_path)
    finally:
        os.close(descriptor)


def describe_open(descriptor: int, host_path: str) -> OnDisk:
    """Describe the ELF file that is open here. Raises Refused if it is none."""
    status = os.fstat(descriptor)
    try:
        elf = describe(reader(descriptor), status.st_size)
    except BadDump as error:
        raise Refused(error.message) from None
    return OnDisk(host_path=host_path, identity=identity(status), elf=elf, uid=status.st_uid, mode=status.st_mode)


@contextmanager
def regular_file(host_path: str) -> Iterator[IO[bytes]]:
    """A regular file, opened as open_regular() does."""
    with os.fdopen(open_regular(host_path), "rb") as file:
        yield file


def is_ours(descriptor: int) -> bool:
    """True for a regular file of the caller's that has no other name: to write into it changes nobody else's."""
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1


def reader(descriptor: int) -> ReadAt:
    """Reads the file that is open, at any offset that a file can have."""
    return lambda at, size: os.pread(descriptor, size, at) if at < 1 << 62 else b""


class Held:
    """Descriptors that stay open until the files are copied, because no path leads to them, or not for long."""

    def __init__(self) -> None:
        self._descriptors: List[int] = []

    def keep(self, descriptor: int) -> None:
        self._descriptors.append(descriptor)

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_error: object) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


@contextmanager
def rights_of(owner: Optional[Owner]) -> Iterator[None]:
    """Open files as `owner` would, when root reads another user's dump; else as oneself."""
    if owner is None or not owner.uid or os.geteuid() != 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups([])
        os.setegid(owner.gid)
        os.seteuid(owner.uid)
    except PermissionError:
        # Root without CAP_SETUID (a container) has only its own rights to read with.
        yield
        return
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


class Roots:
    """Where finders look: the sysroot, and the folders and servers the user gave. Folder listings are kept for one
    search."""

    def __init__(
        self,
        sysroot: Sysroot,
        search_paths: Tuple[str, ...] = (),
        debuginfod: "Optional[Client]" = None,
        dump: Optional[ReadAt] = None,
        archives: "Optional[Look]" = None,
    ) -> None:
        self.sysroot = sysroot
        self.search_paths = search_paths
        self.debuginfod = debuginfod
        self.dump = dump
        self.archives = archives
        self._remembered: Dict[Hashable, Any] = {}
        self._by_build_id: Dict[str, Dict[bytes, List[str]]] = {}
        self._below: Dict[Tuple[Optional[str], str], Dict[str, List[str]]] = {}

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What make() gave when it was asked for under this key before: each search looks once."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return self._remembered[key]

    def in_folder(self, folder: str, build_id: bytes) -> Sequence[str]:
        """The ELF files with this build ID that lie in the folder itself, whatever their names: a stripped program and
        the debug file that was stripped off it have one."""
        if folder not in self._by_build_id:
            self._by_build_id[folder] = _index(folder)
        return self._by_build_id[folder].get(build_id, ())

    def below(self, folder: Optional[str], top: str, key: Callable[[str], Optional[str]]) -> Dict[str, List[str]]:
        """The files in and below `top`, a relative path in a folder of the user's or, for None, in the sysroot: their
        paths (`top` included) by key(base name), those without one left out. `top` is always asked with one `key`."""
        if (folder, top) not in self._below:
            try:
                host = os.path.join(folder, top) if folder else self.sysroot.resolve("/" + top).host_path
            except OSError:
                host = ""
            self._below[folder, top] = _files_by(host, top, key)
        return self._below[folder, top]


def _files_by(host: str, top: str, key: Callable[[str], Optional[str]]) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {}
    count = 0
    for where, folders, names in os.walk(host) if host else ():
        folders.sort()
        for name in sorted(names):
            known_as = key(name)
            if known_as is not None:
                path = os.path.relpath(os.path.join(where, name), host)
                found.setdefault(known_as, []).append(os.path.join(top, path))
        count += len(names)
        if count > MAX_FOLDER:
            break
    return found


def _index(folder: str) -> Dict[bytes, List[str]]:
    found: Dict[bytes, List[str]] = {}
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return found
    for name in names[:MAX_FOLDER]:
        path = os.path.join(folder, name)
        try:
            build_id = read_elf(os.path.realpath(path)).elf.build_id
        except (OSError, Refused):
            continue
        if build_id:
            found.setdefault(build_id, []).append(path)
    return found
