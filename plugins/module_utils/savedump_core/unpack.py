# SPDX-License-Identifier: Apache-2.0
"""The analysis side of an archive: prove it, or unpack it, in one pass from front to back (``check``).

Nothing is written outside a new private folder, and that gets its name only when every hash and every build ID was
right.
"""

import os
import stat
from contextlib import contextmanager
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple

from .check import MANIFEST, Check, Receiver, check_space, opened, read_manifest, shown
from .errors import BadDump, CannotWrite, ToolMissing, cannot_write
from .model import Json
from .sysroot import Refused, open_regular
from .tarstream import reader, sparse
from .tarstream.sparse import Placed

__all__ = ["MAX_PROBLEMS", "Opened", "Verified", "is_archive", "read_manifest", "unpack", "verify"]

MAX_PROBLEMS = 1000


class Verified(NamedTuple):
    """What verify() found."""

    path: str
    intact: bool
    """True if there is no problem."""
    complete: bool
    """As the manifest says: the dump is whole, and every file that it needs is here."""
    problems: Tuple[str, ...]
    """One sentence each."""
    manifest: Json
    sha256: str
    """Of the archive file itself."""
    size: int
    """Of the archive file itself, in bytes."""

    def as_json(self) -> Json:
        return dict(self._asdict(), problems=list(self.problems))


class Opened(NamedTuple):
    """An unpacked archive."""

    path: str
    """The folder: `into`/archive-…"""
    manifest: Json
    again: bool = False
    """True if it was unpacked before, and that folder is used again."""


def is_archive(path: str) -> bool:
    """True if this file's first member is a manifest that can be read. Raises OSError."""
    try:
        read_manifest(path)
    except (BadDump, ToolMissing):
        return False
    return True


def verify(path: str, progress: Optional[Callable[[int], None]] = None) -> Verified:
    """Check every hash, every size, every build ID, that each listed member is there and no other, and that the archive
    is whole. Raises BadDump if it is no archive, ToolMissing, OSError. `progress` is told how many bytes are read."""
    with opened(path, progress) as (stream, file):
        check = Check(path, reader.members(stream), MAX_PROBLEMS)
        check.run(Receiver())
        file.drain()
    return Verified(
        path=path,
        intact=not check.problems,
        complete=check.manifest.get("complete") is True,
        problems=tuple(check.problems),
        manifest=check.manifest,
        sha256=file.hash.hexdigest(),
        size=file.size,
    )


def unpack(path: str, into: str, progress: Optional[Callable[[int], None]] = None) -> Opened:
    """Unpack below the folder `into`, verifying on the way. Nothing is left behind unless all is right.

    A folder that is there already is used if it was made of an archive with the same manifest. Raises BadDump for an
    archive with any problem, CannotWrite if another folder is there already, nothing can be made in `into`, or the disk
    is too small, ToolMissing, OSError."""
    import tempfile  # here, with what it imports in turn, for only the verbs of this side need it

    with opened(path, progress) as (stream, _file):
        check = Check(path, reader.members(stream), 1)
        target = os.path.join(into, check.top)
        if os.path.lexists(target):
            if not _is_ours(target) or not _holds(os.path.join(target, MANIFEST), check.manifest_bytes):
                raise CannotWrite(
                    "%s is there already, and is not this archive unpacked for you alone" % target,
                    "move it away, or unpack elsewhere with --into DIR",
                )
            return Opened(path=target, manifest=check.manifest, again=True)
        try:
            # Beside the target, so that the rename stays on one file system.
            part = tempfile.mkdtemp(prefix=".unpacking-", dir=into)
        except OSError as error:
            raise cannot_write(os.path.abspath(into), error, "choose another folder with --into") from None
        try:
            check.run(_Folder(part))
            if check.problems:
                raise BadDump(
                    "%s was not unpacked: %s" % (path, check.problems[0]),
                    "savedump verify lists all that is wrong; copy the archive here again",
                )
            os.rename(part, target)
        except BaseException:
            import shutil

            shutil.rmtree(part, ignore_errors=True)
            raise
    return Opened(path=target, manifest=check.manifest)


def _is_ours(folder: str) -> bool:
    """True for a folder of the caller's own that nobody else can look or write into: as unpack() makes it."""
    status = os.lstat(folder)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _holds(path: str, content: bytes) -> bool:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return file.read(len(content) + 1) == content
    except (Refused, OSError):
        return False


@contextmanager
def _in_the_way(name: str) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise BadDump("%s: another member is in its way" % shown(name)) from None


class _Folder(Receiver):
    """Makes a folder of the members. It is empty, private, and free of links until all files are written."""

    def __init__(self, root: str) -> None:
        self._root = root

    def folder(self, name: str) -> None:
        with _in_the_way(name):
            os.makedirs(os.path.join(self._root, name), mode=0o700, exist_ok=True)

    def link(self, name: str, target: str) -> None:
        with _in_the_way(name):
            os.symlink(target, self._place(name))

    @contextmanager
    def file(self, name: str, data: List[sparse.Extent], size: int, reread: bool = False) -> Iterator[Placed]:
        check_space(os.path.dirname(self._root), sparse.stored_size(data))
        # Launchers are the only files to be run; whatever the archive says, nothing here is for others.
        mode = 0o700 if name.startswith("run-") and name.endswith(".sh") and "/" not in name else 0o600
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _in_the_way(name):
            descriptor = os.open(self._place(name), flags, mode)
        with os.fdopen(descriptor, "w+b") as file:
            yield Placed(file, data, size)
            file.flush()
            os.ftruncate(file.fileno(), size)

    def _place(self, name: str) -> str:
        place = os.path.join(self._root, name)
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        return place
