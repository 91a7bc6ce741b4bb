# SPDX-License-Identifier: Apache-2.0
"""What running processes still have mapped: a library that was upgraded under them, a program that was deleted.

A file that no path leads to any more is reached through the kernel's own links, /proc/PID/map_files/START-END and
/proc/PID/exe (proc_pid_map_files(5), proc_pid_exe(5)). They are followed with the caller's rights, not with those of
the dump's owner, so only files that an ID can prove are proposed. What still lies at its path in another mount
namespace is for ``other_roots``.
"""

import errno
import os
import re
import stat
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

from ..model import LOADED, REFUSED, UNREADABLE, Attempt, Candidate, Want
from ..sysroot import Roots

NAME = "process"

# As many processes as a host that was not made for more can have (pid_max is 4 Mi at most, 32 Ki by default).
MAX_PROCESSES = 1 << 16
# One process may have vm.max_map_count lines, 65,530 by default, each of some 100 bytes.
MAX_MAPS = 32 << 20
MAX_FILES = 1 << 18
# Processes remembered for a file: some end while one looks.
MAX_DOORS = 4
# Files of one name that are looked into for one want.
MAX_TRIED = 64

_PROC = "/proc"
_DELETED = b" (deleted)"
# fs/proc/task_mmu.c, show_map_vma: range, rights, offset, device, inode, path.
_LINE = re.compile(rb"^([0-9a-f]+-[0-9a-f]+) \S+ [0-9a-f]+ (\S+) ([1-9][0-9]*) +(/.*)$", re.MULTILINE)
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENOTDIR)
_DENIED = (errno.EPERM, errno.EACCES)


class _Mapped(NamedTuple):
    """One file that processes have mapped."""

    path: bytes
    """As the kernel prints it, without " (deleted)": as seen from the root of the process's mount namespace."""
    deleted: bool
    device: int
    inode: int
    doors: List[Tuple[int, bytes]]
    """(process, range of addresses) to reach it by."""


class _Mappings(NamedTuple):
    by_path: Dict[bytes, List[_Mapped]]
    by_name: Dict[bytes, List[_Mapped]]
    """By base name."""
    denied: bool
    """Processes that this user may not look into."""
    cut: bool
    """True if there was more than is looked at."""


def candidates(want: Want, roots: Roots) -> Iterator[Union[Candidate, Attempt]]:
    if want.kind != LOADED or want.release is not None or not (want.build_id or want.go_build_id):
        return
    if roots.sysroot.root != "/":
        return
    mappings = roots.remembered(NAME, _look)
    lying = _lying(want, roots) if mappings.by_path else set()
    paths = [_as_printed(path) for path in want.paths if path]
    for mapped in _of_that_name(paths, mappings):
        if (mapped.device, mapped.inode) not in lying:
            yield from _opened(mapped, by_name=mapped.path not in paths)
    if mappings.denied:
        yield Attempt(NAME, _PROC + "/*/maps", UNREADABLE, denied_text())
    if mappings.cut:
        yield Attempt(NAME, _PROC + "/*/maps", UNREADABLE, "more is mapped than is looked into")


def process_ids() -> List[int]:
    """The running processes but this one, oldest numbers first."""
    try:
        names = os.listdir(_PROC)
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isdigit() and int(name) != os.getpid())


def denied_text() -> str:
    """What to say of processes that could not be looked into. Not how many: the next second that is another number, and
    the same inputs are to make the same archive."""
    return "processes of other users: only root may look into them" if os.geteuid() else "no access, even for root"


def _look() -> _Mappings:
    """One pass over all processes. Those that end meanwhile, and kernel threads, have nothing mapped."""
    found: Dict[Tuple[bytes, bytes, bytes], _Mapped] = {}
    denied = False
    pids = process_ids()
    cut = len(pids) > MAX_PROCESSES
    for pid in pids[:MAX_PROCESSES]:
        try:
            maps = _read("%s/%d/maps" % (_PROC, pid))
        except OSError as error:
            denied = denied or error.errno in _DENIED
            continue
        cut = cut or len(maps) > MAX_MAPS
        seen = set()
        for where, device, inode, path in _LINE.findall(maps):
            key = (device, inode, path)
            if key in seen:
                continue
            seen.add(key)
            if key in found:
                if len(found[key].doors) < MAX_DOORS:
                    found[key].doors.append((pid, where))
            elif len(found) < MAX_FILES:
                found[key] = _mapped(device, inode, path, (pid, where))
            else:
                cut = True
    by_path: Dict[bytes, List[_Mapped]] = {}
    by_name: Dict[bytes, List[_Mapped]] = {}
    # What was deleted comes first: what was not is mostly the file that was looked at already.
    for mapped in sorted(found.values(), key=lambda one: not one.deleted):
        by_path.setdefault(mapped.path, []).append(mapped)
        by_name.setdefault(mapped.path.rpartition(b"/")[2], []).append(mapped)
    return _Mappings(by_path, by_name, denied, cut)


def _mapped(device: bytes, inode: bytes, path: bytes, door: Tuple[int, bytes]) -> _Mapped:
    major, _colon, minor = device.partition(b":")
    deleted = path.endswith(_DELETED)
    return _Mapped(
        path=path[: -len(_DELETED)] if deleted else path, deleted=deleted,
        device=os.makedev(int(major, 16), int(minor, 16)), inode=int(inode), doors=[door],
    )  # fmt: skip


def _read(path: str) -> bytes:
    """At most one read's worth more than MAX_MAPS of it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        parts, size = [], 0
        while size <= MAX_MAPS:
            part = os.read(descriptor, 1 << 16)
            if not part:
                break
            parts.append(part)
            size += len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _of_that_name(paths: List[bytes], mappings: _Mappings) -> List[_Mapped]:
    """First what has one of the paths that are wanted, then what has the base name only."""
    listed = [mapped for path in paths for mapped in mappings.by_path.get(path, ())]
    listed += [mapped for path in paths for mapped in mappings.by_name.get(path.rpartition(b"/")[2], ())]
    unique: List[_Mapped] = []
    ids: Set[int] = set()
    for mapped in listed:
        if id(mapped) not in ids:
            ids.add(id(mapped))
            unique.append(mapped)
    return unique[:MAX_TRIED]


def _as_printed(path: str) -> bytes:
    """As maps has it: a line feed becomes four characters."""
    printed = os.fsencode(path).replace(b"\n", b"\\012")
    return printed[: -len(_DELETED)] if printed.endswith(_DELETED) else printed


def _lying(want: Want, roots: Roots) -> Set[Tuple[int, int]]:
    """Device and inode of the files that lie at the wanted paths: those were looked at as such, with the rights of the
    dump's owner."""
    found = set()
    for path in want.paths:
        try:
            status = os.lstat(roots.sysroot.resolve(path).host_path) if path.startswith("/") else None
        except (OSError, ValueError):
            continue
        if status is not None:
            found.add((status.st_dev, status.st_ino))
    return found


def _opened(mapped: _Mapped, by_name: bool) -> Iterator[Union[Candidate, Attempt]]:
    """The file by the first of its processes that still leads to it."""
    printed = os.fsdecode(mapped.path + _DELETED if mapped.deleted else mapped.path)
    denied: Optional[Attempt] = None
    for pid, where in mapped.doors:
        # map_files has the addresses without leading zeros (fs/proc/base.c, dname_to_vma_addr).
        start, _dash, end = where.partition(b"-")
        links = ["%s/%d/map_files/%x-%x" % (_PROC, pid, int(start, 16), int(end, 16)), "%s/%d/exe" % (_PROC, pid)]
        for link in links:
            try:
                if link == links[1] and os.readlink(link) != printed:
                    continue
                descriptor, refusal = _follow(link)
            except OSError as error:
                if error.errno not in _GONE and denied is None:
                    denied = Attempt(NAME, "%s (%s)" % (link, printed), UNREADABLE, _why(error))
                continue
            if descriptor is None:
                yield Attempt(NAME, "%s (%s)" % (link, printed), REFUSED, refusal)
                return
            yield Candidate(
                path=os.fsdecode(mapped.path), finder=NAME, origin="%s (%s)" % (link, printed), root=_own_root(pid),
                descriptor=descriptor, by_name=by_name,
            )  # fmt: skip
            return
    if denied is not None:
        yield denied


def _follow(link: str) -> Tuple[Optional[int], str]:
    """A descriptor on the regular file that the kernel's link leads to, or why there is none. O_PATH opens nothing, so
    that a device is not touched, and what is then opened is what was looked at."""
    handle = os.open(link, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None, "not a regular file"
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        return os.open("%s/self/fd/%d" % (_PROC, handle), flags), ""
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    if error.errno == errno.EPERM:
        # fs/proc/base.c, proc_map_files_get_link: CAP_CHECKPOINT_RESTORE (before 5.9 CAP_SYS_ADMIN) on the host itself.
        return "%s: only root may open what a process has mapped" % error.strerror
    return error.strerror or str(error)


def _own_root(pid: int) -> Optional[str]:
    """The root of a process that lives in another mount namespace, where its path is to be understood."""
    try:
        if os.readlink("%s/%d/ns/mnt" % (_PROC, pid)) == os.readlink(_PROC + "/self/ns/mnt"):
            return None
    except OSError:
        return None
    return "%s/%d/root" % (_PROC, pid)
