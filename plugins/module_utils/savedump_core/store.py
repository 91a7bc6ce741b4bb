# SPDX-License-Identifier: Apache-2.0
"""The content store: the files of many archives, each once, by build ID as debuginfod serves them and by SHA-256.

    buildid/HEX/executable, buildid/HEX/debuginfo    what any static web server hands to gdb, drgn and eu-unstrip, and
                                                     what --search-path takes
    sha256/xx/HEX                                    the same file once more, by its content: a hard link
    .incoming/                                       what is being written, for its owner alone

A name is given to a whole file that was proven, by link(2): it cannot appear half, nor replace what another process put
there a moment before. No name is ever given to another content.
"""

import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any, Callable, ContextManager, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from . import check
from .check import Check, Receiver, check_space, decompressed, opened
from .elf.file import ElfFile
from .errors import BadDump, CannotWrite, SavedumpError, cannot_write, sentence
from .model import BY_BUILD_ID, Json
from .sysroot import Refused, open_regular, reader
from .tarstream import reader as tar
from .tarstream import sparse
from .tarstream.sparse import Placed

EXECUTABLE, DEBUGINFO = "executable", "debuginfo"
BY_ID, BY_CONTENT, INCOMING = "buildid", "sha256", ".incoming"
# Roles of what a build ID can prove.
_ROLES = ("executable", "library", "vmlinux", "kernel-module", "debug", "supplementary")
_CHUNK = 1 << 20
_HEX = re.compile(r"[0-9a-f]{64}\Z")


class Kept(NamedTuple):
    """One name of a file in the store."""

    name: str
    """buildid/HEX/executable or buildid/HEX/debuginfo, below the store."""
    sha256: str
    size: int
    archive: str
    """The one it came from."""
    member: str
    """In there."""

    def as_json(self) -> Json:
        return dict(self._asdict())


class Stored(NamedTuple):
    """What add() did."""

    added: Tuple[Kept, ...]
    known: Tuple[Kept, ...]
    """Names that the store had, with this content."""
    other: Tuple[Kept, ...]
    """Names that the store has with another content, and keeps so: the same debug information compressed in another
    way, or a forgery. Each archive keeps its own."""
    saved: int
    """Bytes that are not on disk once more because the store had them."""
    failed: Tuple[Tuple[str, str], ...]
    """(archive, why) for those of which nothing was taken."""

    def as_json(self) -> Json:
        return {
            "added": [one.as_json() for one in self.added],
            "known": [one.as_json() for one in self.known],
            "other": [one.as_json() for one in self.other],
            "saved": self.saved,
            "failed": [{"archive": archive, "why": why} for archive, why in self.failed],
        }


def add(
    folder: str, archives: Iterable[str], dry_run: bool = False, progress: Optional[Callable[[str, int], None]] = None
) -> Stored:
    """Verify each archive, and put its files that a build ID proves into the store `folder`, which is made if it is not
    there: mode 0700, to be opened to a web server by whoever owns it. Nothing is taken of an archive with any problem;
    the others are. A `dry_run` writes nothing. `progress` is told the archive and how many of its bytes are read.
    Raises CannotWrite, OSError."""
    stored = Stored((), (), (), 0, ())
    for path in archives:
        try:
            one = _would_add(folder, path) if dry_run else _add(folder, path, progress)
        except CannotWrite:
            raise
        except (SavedumpError, OSError) as error:
            one = Stored((), (), (), 0, ((path, sentence(error)),))
        stored = Stored(
            stored.added + one.added, stored.known + one.known, stored.other + one.other, stored.saved + one.saved,
            stored.failed + one.failed,
        )  # fmt: skip
    return stored


def add_file(folder: str, path: str, build_id: str, kind: str) -> Kept:
    """Put one file into the store under a build ID that its own bytes have; `kind` is EXECUTABLE or DEBUGINFO. Raises
    BadDump if it is another file, CannotWrite, OSError."""
    if kind not in (EXECUTABLE, DEBUGINFO):
        raise BadDump("%s is no kind of file in a store" % kind)
    try:
        descriptor = open_regular(os.path.realpath(path))
    except Refused as error:
        raise BadDump("%s is %s" % (path, error)) from None
    with os.fdopen(descriptor, "rb") as file, _incoming(folder) as room:
        with _new(room) as copy:
            digest = hashlib.sha256()
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                copy.write(chunk)
                digest.update(chunk)
            copy.flush()
            elf = check.Content(reader(copy.fileno()), copy.tell(), False).describe()
            if elf.build_id is None or elf.build_id.hex() != build_id:
                raise BadDump(
                    "%s has build ID %s, not %s" % (path, elf.build_id.hex() if elf.build_id else "none", build_id)
                )
            if elf.debug_only if kind == EXECUTABLE else not elf.has_debug_info:
                raise BadDump("%s has build ID %s and is no %s" % (path, build_id, kind))
            incoming = _Incoming(copy.name, digest.hexdigest(), copy.tell(), build_id, (kind,), os.path.basename(path))
            _settle(copy)
        (outcome, kept), *_rest = _publish(folder, path, incoming)
        if outcome == "other":
            raise CannotWrite("%s is in the store with another content" % kept.name, "look which of the two is forged")
        return kept


class Announced(NamedTuple):
    """A file that another host says it sends."""

    sha256: str
    size: int
    build_id: str
    role: str
    """As in a manifest."""


def announced(entry: Json) -> Optional[Announced]:
    """Of a file as a manifest lists it; None of one that a store does not take."""
    if not _is_proven(entry) or not _HEX.match(entry["sha256"]) or entry["size"] < 0:
        return None
    return Announced(entry["sha256"], entry["size"], entry["build_id"], entry["role"])


def open_content(folder: str, sha256: str, size: int) -> Optional[IO[bytes]]:
    """A file of the store by its content, which is to be hashed while it is read; None if it is not there."""
    descriptor = _open_content(folder, sha256, size)
    return None if descriptor is None else os.fdopen(descriptor, "rb", buffering=0)


def drop_damaged(folder: str, sha256: str) -> bool:
    """Take a file out of the store, by all its names, if it no longer has the bytes of its name: it comes anew then.
    False if it has them, or is not there. Raises OSError if it cannot be taken out."""
    path = os.path.join(folder, BY_CONTENT, sha256[:2], sha256)
    try:
        status = os.lstat(path)
        with os.fdopen(open_regular(path), "rb") as file:
            status = os.fstat(file.fileno())
            if _sha256(file) == sha256:
                return False
    except FileNotFoundError:
        return False
    except (OSError, Refused):
        pass  # a link, or what cannot be read, is damage, too
    named = [path]
    for where, _folders, names in os.walk(os.path.join(folder, BY_ID)):
        named += [os.path.join(where, name) for name in names]
    for name in named:
        # Another session may be at the same, and may have put the file anew.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(name), status):
                os.unlink(name)
    return True


def receive(folder: str, wanted: Iterable[Announced], members: Iterable[tar.Member], origin: str) -> Stored:
    """Put files into the store that come as members of a tar, each under its SHA-256. What does not have the bytes or
    the build ID that were announced is not taken, and says so in `failed`. `origin` says where they come from. Raises
    BadDump, CannotWrite, OSError."""
    expected = {one.sha256: one for one in wanted}
    outcomes: List[Tuple[str, Kept]] = []
    received: List[_Incoming] = []
    failed: List[Tuple[str, str]] = []
    with _incoming(folder) as room:
        for member in members:
            one = expected.pop(member.name, None)
            if one is None or member.kind != tar.FILE or member.size != one.size:
                raise BadDump("a file came that was not asked for: %s" % check.shown(member.name))
            try:
                incoming = _received(room, member, one)
            except BadDump as error:
                failed.append((one.sha256, str(error)))
                continue
            for name in sorted({one.sha256, incoming.sha256}):
                # A compressed kernel module is wanted as it is by the archive, and as ELF by debuginfod's clients.
                drop_damaged(folder, name)
                _link(os.path.join(room, name), folder, os.path.join(BY_CONTENT, name[:2], name))
            outcomes.extend(_publish(folder, origin, incoming))
            received.append(incoming)
    return _stored(outcomes, received)._replace(failed=tuple(failed))


def _received(room: str, member: tar.Member, one: Announced) -> "_Incoming":
    """One file, in the room under its SHA-256."""
    data = sparse.whole(member.size) if member.extents is None else list(member.extents)
    check_space(room, sparse.stored_size(data))
    hasher = sparse.Hasher(data, member.size)
    with _new(room) as file:
        placed = Placed(file, data, member.size)
        for chunk in member.chunks():
            placed.write(chunk)
            hasher.update(chunk)
        file.flush()
        os.ftruncate(file.fileno(), member.size)
        if hasher.digest() != sparse.Digest(sparse.SHA256, one.sha256):
            raise BadDump("it has another SHA-256 than was announced")
        with decompressed(placed, member.size) as content:
            elf = content.describe()
            if elf.build_id is None or elf.build_id.hex() != one.build_id:
                raise BadDump("it has another build ID than was announced")
            kinds, sha256, size, at = _kinds(one.role, elf), one.sha256, one.size, file.name
            if content.compressed:
                check_space(room, content.size)
                with _new(room) as plain:
                    sha256, size, at = _copied(content, plain), content.size, plain.name
                    _settle(plain)
                os.rename(at, os.path.join(room, sha256))
                at = os.path.join(room, sha256)
        _settle(file)
    whole = os.path.join(room, one.sha256)
    os.rename(file.name, whole)
    return _Incoming(at if content.compressed else whole, sha256, size, one.build_id, kinds, one.sha256)


class _Incoming(NamedTuple):
    """A file that was received, and not yet given its names."""

    at: Optional[str]
    """Where it lies; None if the store has its content already."""
    sha256: str
    size: int
    build_id: str
    kinds: Tuple[str, ...]
    member: str


def _add(folder: str, path: str, progress: Optional[Callable[[str, int], None]]) -> Stored:
    tell = partial(progress, path) if progress is not None else None
    with _incoming(folder) as room, opened(path, tell) as (stream, _file):
        check_ = Check(path, tar.members(stream), 1)
        receiver = _Lacking(check_.listed, folder, room)
        check_.run(receiver)
        if check_.problems:
            raise BadDump(check_.problems[0], "savedump verify lists all that is wrong; copy the archive here again")
        outcomes = [one for incoming in receiver.received for one in _publish(folder, path, incoming)]
    return _stored(outcomes, receiver.received)


def _stored(outcomes: List[Tuple[str, Kept]], received: List[_Incoming]) -> Stored:
    def those(wanted: str) -> Tuple[Kept, ...]:
        return tuple(kept for outcome, kept in outcomes if outcome == wanted)

    new = {kept.sha256 for kept in those("added")}
    saved = sum(one.size for one in received if one.at is None or one.sha256 not in new)
    return Stored(those("added"), those("known"), those("other"), saved, ())


def _would_add(folder: str, path: str) -> Stored:
    """By the manifest alone."""
    outcomes = []
    received = []
    files = check.read_manifest(path).get("files")
    for entry in files if isinstance(files, list) else ():
        if isinstance(entry, dict) and _is_proven(entry):
            kinds = (DEBUGINFO,) if entry["role"] in ("debug", "supplementary") else (EXECUTABLE,)
            one = _Incoming(None, entry["sha256"], entry["size"], entry["build_id"], kinds, str(entry["path"]))
            kept = _kept(path, one, kinds[0])
            new = not os.path.lexists(os.path.join(folder, kept.name))
            outcomes.append(("added" if new else "known" if _holds(folder, kept) else "other", kept))
            received.append(one._replace(at="" if new else None))
    return _stored(outcomes, received)


def _is_proven(entry: Json) -> bool:
    if entry.get("matched_by") != BY_BUILD_ID or entry.get("role") not in _ROLES:
        return False
    build_id = entry.get("build_id")
    return (
        isinstance(build_id, str) and isinstance(entry.get("sha256"), str) and isinstance(entry.get("size"), int)
        and len(build_id) > 2 and all(char in "0123456789abcdef" for char in build_id)
    )  # fmt: skip


class _Lacking(Receiver):
    """Writes what the store lacks into its room, and leaves everything else where it is."""

    def __init__(self, listed: Dict[bytes, Json], folder: str, room: str) -> None:
        self._listed = listed
        self._folder = folder
        self._room = room
        self.received: List[_Incoming] = []

    def file(  # type: ignore[override]  # one more argument, optional
        self, name: str, data: List[sparse.Extent], size: int, reread: bool = False
    ) -> ContextManager[Placed]:
        entry = self._listed.get(os.fsencode(name)) or {}
        if not reread or not _is_proven(entry):
            return super().file(name, data, size, reread)
        return self._written(entry, data, size)

    @contextmanager
    def _written(self, entry: Json, data: List[sparse.Extent], size: int) -> Iterator[Placed]:
        there = _open_content(self._folder, entry["sha256"], size)
        if there is not None:
            # Its hash is taken of what comes out of the archive: what lies here is read for the build ID only.
            with os.fdopen(there, "rb") as file:
                placed: Placed = _Unwritten(file, data, size)
                yield placed
                self._receive(entry, None, placed, size)
            return
        check_space(self._room, sparse.stored_size(data))
        with _new(self._room) as file:
            placed = Placed(file, data, size)
            yield placed
            file.flush()
            os.ftruncate(file.fileno(), size)
            self._receive(entry, file, placed, size)

    def _receive(self, entry: Json, file: Optional[IO[bytes]], placed: Placed, size: int) -> None:
        """A compressed kernel module is kept as the ELF file that clients of debuginfod take."""
        try:
            with decompressed(placed, size) as content:
                kinds = _kinds(entry["role"], content.describe())
                sha256 = entry["sha256"]
                if content.compressed:
                    if file is not None:
                        os.unlink(file.name)
                    with _new(self._room) as file:
                        sha256, size = _copied(content, file), content.size
                        _settle(file)
                elif file is not None:
                    _settle(file)
        except BadDump:
            return  # no ELF file: check says so when it looks for the build ID itself
        at = None if file is None else file.name
        self.received.append(_Incoming(at, sha256, size, entry["build_id"], kinds, entry["path"]))


class _Unwritten(Placed):
    """A file that is there already."""

    def write(self, chunk: bytes) -> None:
        pass


def _copied(content: check.Content, file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    at = 0
    while at < content.size:
        chunk = content.read_at(at, _CHUNK)
        file.write(chunk)
        digest.update(chunk)
        at += len(chunk)
    return digest.hexdigest()


def _kinds(role: str, elf: ElfFile) -> Tuple[str, ...]:
    """What debuginfod would serve it as: a file that was never stripped is both."""
    if role in ("debug", "supplementary"):
        return (DEBUGINFO,)
    if elf.debug_only:
        return (DEBUGINFO,)
    return (EXECUTABLE, DEBUGINFO) if elf.has_debug_info else (EXECUTABLE,)


def _publish(folder: str, archive: str, one: _Incoming) -> List[Tuple[str, Kept]]:
    """Give a file its names: ("added", "known" or "other", Kept) for each."""
    content = os.path.join(BY_CONTENT, one.sha256[:2], one.sha256)
    outcomes = []
    for kind in one.kinds:
        kept = _kept(archive, one, kind)
        new = not os.path.lexists(os.path.join(folder, kept.name))
        if new:
            if one.at is not None:
                _link(one.at, folder, content)
            _link(os.path.join(folder, content), folder, kept.name)
        same = _holds(folder, kept)
        outcomes.append(("other" if not same else "added" if new else "known", kept))
    return outcomes


def _kept(archive: str, one: _Incoming, kind: str) -> Kept:
    name = "/".join((BY_ID, one.build_id, kind))
    return Kept(name=name, sha256=one.sha256, size=one.size, archive=archive, member=one.member)


def _link(source: str, folder: str, name: str) -> None:
    """Give a file one more name, unless that is taken."""
    for depth in range(1, name.count("/") + 1):
        try:
            os.mkdir(os.path.join(folder, *name.split("/")[:depth]), 0o755)
        except FileExistsError:
            continue
        os.chmod(os.path.join(folder, *name.split("/")[:depth]), 0o755)
    try:
        os.link(source, os.path.join(folder, name), follow_symlinks=False)
    except FileExistsError:
        pass


def _holds(folder: str, kept: Kept) -> bool:
    """Whether what has this name in the store has this content."""
    try:
        descriptor = open_regular(os.path.join(folder, kept.name))
    except Refused as error:
        raise CannotWrite("%s in the store is %s" % (kept.name, error), "move it away") from None
    with os.fdopen(descriptor, "rb") as file:
        content = os.path.join(folder, BY_CONTENT, kept.sha256[:2], kept.sha256)
        if os.path.lexists(content) and os.path.samestat(os.lstat(content), os.fstat(descriptor)):
            return True
        return _sha256(file) == kept.sha256


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in iter(lambda: file.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def _open_content(folder: str, sha256: str, size: int) -> Optional[int]:
    try:
        descriptor = open_regular(os.path.join(folder, BY_CONTENT, sha256[:2], sha256))
    except (OSError, Refused):
        return None
    if os.fstat(descriptor).st_size == size:
        return descriptor
    os.close(descriptor)
    return None


@contextmanager
def _incoming(folder: str) -> Iterator[str]:
    """A room of one's own in the store, and what is left in it by runs that were killed is thrown away."""
    rooms = incoming_folder(folder)
    _sweep(rooms)
    room, descriptor = _new_room(rooms)
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(descriptor)


def incoming_folder(folder: str) -> str:
    """Where a store keeps what is not yet in it; it is made. Raises CannotWrite."""
    for path, mode in ((folder, 0o700), (os.path.join(folder, INCOMING), 0o700)):
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            pass
        except OSError as error:
            raise cannot_write(os.path.dirname(os.path.abspath(path)), error, "choose another folder") from None
    rooms = os.path.join(folder, INCOMING)
    status = os.lstat(rooms)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise CannotWrite("%s is not ours alone" % rooms, "remove it, or keep the store in another folder")
    return rooms


def _new_room(rooms: str) -> Tuple[str, int]:
    """A new folder and a descriptor that keeps it locked. Before it is, another process's sweep may take it away."""
    while True:
        try:
            room = tempfile.mkdtemp(dir=rooms)
        except OSError as error:
            raise cannot_write(rooms, error, "choose another folder") from None
        try:
            descriptor = os.open(room, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.path.isdir(room):
            return room, descriptor
        os.close(descriptor)


def _sweep(rooms: str) -> None:
    for name in os.listdir(rooms):
        room = os.path.join(rooms, name)
        try:
            descriptor = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(room, ignore_errors=True)
        except OSError:
            pass  # somebody is in it
        finally:
            os.close(descriptor)


@contextmanager
def _new(room: str) -> Iterator[Any]:
    """A file of mode 0600 in the room; it goes with that."""
    with tempfile.NamedTemporaryFile(dir=room, delete=False, buffering=-1) as file:
        yield file


def _settle(file: Any) -> None:
    """Readable for a web server, and on disk."""
    file.flush()
    os.fchmod(file.fileno(), 0o644)
    os.fsync(file.fileno())
