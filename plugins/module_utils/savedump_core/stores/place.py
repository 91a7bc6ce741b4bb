# SPDX-License-Identifier: Apache-2.0
"""What stores share: what they yield, and the walk over a folder."""

import fcntl
import os
import re
import time
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple, Union

from ..model import Json
from ..sysroot import Refused, Sysroot, regular_file


class Looked(NamedTuple):
    """One place where dumps may live."""

    store: str
    where: str
    """The folder, or the file that was passed over."""
    outcome: str
    """Why nothing could be found here; "" if it could: then the dumps are those that came just before."""


class Told(NamedTuple):
    """What is said of a dump by its name, by what lies beside it, or by whoever wrote it. None: it is not said."""

    pid: Optional[int] = None
    uid: Optional[int] = None
    gid: Optional[int] = None
    comm: Optional[str] = None
    executable: Optional[str] = None
    args: Optional[str] = None
    signal: Optional[int] = None
    when_ns: Optional[int] = None
    """When the process died, nanoseconds since the epoch."""
    host: Optional[str] = None
    """The name of the host, or of the container, on which it ran."""
    unit: Optional[str] = None
    """The systemd unit that it ran in."""
    cut: Optional[str] = None
    """Why it is not whole."""


class Spotted(NamedTuple):
    """A file whose place and name say that it is a dump: one that cannot be opened is worth a word."""

    path: str
    unfinished: Optional[str] = None
    """Why it is not whole, by its name or by what its writer says of it; None if nothing speaks against it."""
    in_progress: bool = False
    """True if it is not whole yet, but may become so."""
    tell: Optional[Callable[[str, bool], Told]] = None
    """What else is known of it, asked with its path when it is looked at: of tell(path, True) only what no dump says of
    itself is used, "when_ns", "host", "unit" and "cut"."""
    expires: Optional[Callable[[str], Optional[Json]]] = None
    """When it will be gone, asked with its path before it is looked at: {"at": nanoseconds since the epoch or None,
    "why": text}, or None if nothing is known to delete it."""
    sure: bool = True
    """False if its name is one that other files have, too: then it is worth a word only if it is a dump."""


def sooner(*found: Optional[Json]) -> Optional[Json]:
    """What several rules together mean for one file: each of them is as Spotted.expires returns it."""
    known = sorted((one for one in found if one), key=lambda one: (one["at"] is None, one["at"] or 0))
    return {"at": known[0]["at"], "why": "; ".join(one["why"] for one in known)} if known else None


class Log(NamedTuple):
    """What is left of a crash where there is no dump: text that a person can read."""

    store: str
    path: str
    what: str


# A dump that is being written changes all the time, and one that is stuck does not.
WRITING_S = 120
# What an incident leaves in one folder, many times over; what lies there may be anybody's.
MAX_FILES = 1000000


def folder(
    store: str, where: str, wanted: Callable[[str], bool], depth: int = 0, links: bool = False
) -> Iterator[Union[Looked, str]]:
    """The regular files in a folder, and `depth` folders deep below it, whose path is wanted, then a Looked. Links to
    files are followed if `links`, and those to folders never."""
    try:
        names, folders = listing(where, links)
    except OSError as error:
        yield Looked(store, where, error.strerror or str(error))
        return
    yield from _wanted(where, names, wanted)
    todo = [(os.path.join(where, name), depth - 1) for name in reversed(folders)] if depth else []
    count = len(names)
    while todo:
        top, depth = todo.pop()
        try:
            names, folders = listing(top, links)
        except OSError as error:
            yield Looked(store, top, error.strerror or str(error))
            continue
        yield from _wanted(top, names, wanted)
        count += len(names) + len(folders)
        if count > MAX_FILES:
            yield Looked(store, top, "too many files: those that come after it were not looked at")
            break
        if depth:
            todo.extend((os.path.join(top, name), depth - 1) for name in reversed(folders))
    yield Looked(store, where, "")


def _wanted(where: str, names: List[str], wanted: Callable[[str], bool]) -> Iterator[str]:
    for name in names:
        path = os.path.join(where, name)
        if wanted(path):
            yield path


def listing(where: str, links: bool = False) -> Tuple[List[str], List[str]]:
    """The names of a folder's regular files and of its folders, sorted; links are neither, save those to files if
    `links`. Raises OSError."""
    names, folders = [], []
    with os.scandir(where) as listed:
        for entry in listed:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=links):
                    names.append(entry.name)
            except OSError:
                # A link that leads nowhere.
                continue
    return sorted(names), sorted(folders)


def resolved(store: str, sysroot: Sysroot, path: str) -> Union[str, Looked]:
    """Where a folder of the sysroot lies on this host, or why it cannot be looked into."""
    try:
        return sysroot.resolve(path).host_path
    except OSError as error:
        return Looked(store, sysroot.host_path(path), error.strerror or str(error))


def leave_atime(descriptor: int) -> None:
    """Reading leaves no trace, if the file is the caller's or he is root (open(2), O_NOATIME): rules that delete what
    was not used for long would spare what somebody searched."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NOATIME)
    except OSError:
        return


def text_of(path: str, limit: int = 1 << 12) -> Optional[str]:
    """The first bytes of a small file, without the white space around it; None if there is none."""
    try:
        with regular_file(path) as file:
            leave_atime(file.fileno())
            return os.fsdecode(file.read(limit)).strip()
    except (OSError, Refused):
        return None


_DIGITS = re.compile("[0-9]{1,20}\\Z")


def number(text: Optional[str]) -> Optional[int]:
    """A number of at most 20 digits, which is what 64 bits have."""
    text = (text or "").strip()
    return int(text) if _DIGITS.match(text) else None


def changed_just_now(path: str) -> bool:
    try:
        return abs(time.time() - os.lstat(path).st_mtime) < WRITING_S
    except OSError:
        return False
