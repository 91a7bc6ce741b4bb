# SPDX-License-Identifier: Apache-2.0
"""Folders of archives as a place to find files: their manifests tell which build IDs they hold, and what is wanted is
taken out into an unlinked temporary file, its SHA-256 held against the manifest on the way. What the file is worth is
for the search to say, by its own bytes."""

import os
import re
import tempfile
from typing import IO, AbstractSet, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

from . import check
from .errors import BadDump, SavedumpError
from .finders.archives import NAME
from .model import (
    BY_BUILD_ID,
    DEBUG,
    LOADED,
    REFUSED,
    SUPPLEMENTARY,
    UNREADABLE,
    Attempt,
    Candidate,
    Json,
    Want,
)  # fmt: skip
from .tarstream import reader, sparse

# Of which role a file may be to be what is wanted: the likeliest first.
_ROLES = {
    LOADED: ("executable", "library", "vmlinux", "kernel-module"),
    DEBUG: ("debug", "vmlinux", "executable", "library"),
    SUPPLEMENTARY: ("supplementary",),
}
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst")
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,64}\Z")
# A fleet's archives of some years; reading the manifest of each takes milliseconds.
MAX_ARCHIVES = 10000
# Files and folders looked at to find them.
MAX_LOOKED_AT = 1 << 18
# Copies of one file that are tried: all are the same unless somebody forged one.
MAX_TRIED = 4
# Of what could not be looked into, so much is named for each file that is missing.
MAX_UNREAD = 8
# What is taken out beyond the one file that is wanted, because the rest of an archive is read anyway.
MAX_AHEAD = 4 << 30


class Copy(NamedTuple):
    """A file in an archive."""

    archive: str
    path: str
    """Of the member, below the archive's top folder."""
    role: str
    size: int
    sha256: str

    @property
    def origin(self) -> str:
        """For people, and for the manifest of what it is packed into."""
        return "%s: %s" % (os.path.basename(self.archive), self.path)


class Shelf:
    """The archives in and below some folders. Nothing is read before the first file is asked for."""

    def __init__(
        self, folders: Iterable[str], work: str, but: Optional[str] = None, ahead: AbstractSet[str] = frozenset()
    ) -> None:
        """Files are taken out into `work`. `but` is an archive to leave out; `ahead` are build IDs in hex that will be
        wanted, too: each archive is read but once for all of them."""
        self._folders = tuple(folders)
        self._work = work
        self._but = os.path.realpath(but) if but is not None else None
        self._ahead = ahead
        self._index: Optional[Dict[str, List[Copy]]] = None
        self._cut = False
        # Archives and folders that could not be looked into: path, and why.
        self._unread: List[Tuple[str, str]] = []
        self._taken: Dict[Copy, IO[bytes]] = {}
        self._failed: Dict[Copy, str] = {}

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *_error: object) -> None:
        while self._taken:
            self._taken.popitem()[1].close()

    def look(self, want: Want) -> Iterator[Union[Candidate, Attempt]]:
        """Every copy of what is wanted, each taken out when it is asked for."""
        roles = _ROLES.get(want.kind, ())
        if not want.build_id or not roles:
            return
        if self._index is None:
            self._index = self._read()
        copies = [copy for copy in self._index.get(want.build_id.hex(), ()) if copy.role in roles]
        tried: Set[str] = set()
        for copy in sorted(copies, key=lambda one: roles.index(one.role)):
            if copy.sha256 in tried or len(tried) >= MAX_TRIED:
                continue
            file = self._take(copy)
            if file is None:
                yield Attempt(NAME, copy.origin, UNREADABLE, self._failed[copy])
                continue
            tried.add(copy.sha256)
            yield Candidate(path="/" + copy.path, finder=NAME, origin=copy.origin, descriptor=os.dup(file.fileno()))
        for path, why in self._unread[:MAX_UNREAD]:
            yield Attempt(NAME, path, UNREADABLE, why)
        if len(self._unread) > MAX_UNREAD:
            rest = len(self._unread) - MAX_UNREAD
            yield Attempt(NAME, ", ".join(self._folders), UNREADABLE, "%d more of its archives and folders" % rest)
        if self._cut:
            why = "there are too many archives: not all were looked into"
            yield Attempt(NAME, ", ".join(self._folders), REFUSED, why)

    def _read(self) -> Dict[str, List[Copy]]:
        found: Dict[str, List[Copy]] = {}
        for path in self._archives():
            try:
                manifest = check.read_manifest(path)
            except (SavedumpError, OSError) as error:
                # Any other tar file may lie there, too.
                if not isinstance(error, BadDump) or os.path.basename(path).startswith("archive-"):
                    self._unread.append((path, _reason(path, error)))
                continue
            for build_id, copy in _copies(path, manifest):
                found.setdefault(build_id, []).append(copy)
        return found

    def _archives(self) -> List[str]:
        found: List[str] = []
        looked_at = 0
        for folder in self._folders:
            for where, folders, names in os.walk(folder, onerror=self._not_listed):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                looked_at += len(folders) + len(names)
                for name in sorted(names):
                    path = os.path.join(where, name)
                    if name.endswith(_SUFFIXES) and not name.startswith(".") and os.path.realpath(path) != self._but:
                        found.append(path)
                if len(found) > MAX_ARCHIVES or looked_at > MAX_LOOKED_AT:
                    self._cut = True
                    return found[:MAX_ARCHIVES]
        return found

    def _not_listed(self, error: OSError) -> None:
        self._unread.append((str(error.filename), error.strerror or str(error)))

    def _take(self, copy: Copy) -> Optional[IO[bytes]]:
        """The file, open; None if it cannot be had."""
        if copy not in self._taken and copy not in self._failed:
            try:
                self._read_archive(copy)
            except (SavedumpError, OSError) as error:
                self._failed.setdefault(copy, _reason(copy.archive, error))
            if copy not in self._taken:
                self._failed.setdefault(copy, "it is not in the archive, whatever its manifest says")
        return self._taken.get(copy)

    def _read_archive(self, copy: Copy) -> None:
        """Take out this file, and with it what else will be wanted of this archive."""
        todo = {each.path: each for each in self._wanted_of(copy.archive)}
        todo[copy.path] = copy
        with check.opened(copy.archive) as (stream, _file):
            members = reader.members(stream)
            top = check.first(copy.archive, members).top
            for count, member in enumerate(members):
                if not todo or count > check.MAX_MEMBERS:
                    return
                name = check.inside(member.name, top)
                if member.kind == reader.FILE and name in todo:
                    self._take_member(todo.pop(name), member)

    def _wanted_of(self, archive: str) -> Iterator[Copy]:
        room = MAX_AHEAD
        for build_id, copies in (self._index or {}).items():
            for copy in copies if build_id in self._ahead else ():
                if copy.archive == archive and copy not in self._taken and copy not in self._failed:
                    room -= copy.size
                    if room >= 0:
                        yield copy

    def _take_member(self, copy: Copy, member: reader.Member) -> None:
        if member.size != copy.size:
            self._failed[copy] = "it has %d bytes, and %d in the manifest" % (member.size, copy.size)
            return
        check.check_space(self._work, sparse.stored_size(member.data))
        file: IO[bytes] = tempfile.TemporaryFile(dir=self._work)
        try:
            hasher, placed = sparse.Hasher(member.data, member.size), sparse.Placed(file, member.data, member.size)
            for chunk in member.chunks():
                placed.write(chunk)
                hasher.update(chunk)
            file.flush()
            os.ftruncate(file.fileno(), member.size)
            digest = hasher.digest()
            if digest != sparse.Digest(sparse.SHA256, copy.sha256):
                self._failed[copy] = "its %s is %s, and %s in the manifest" % (
                    digest.algorithm, digest.hex, copy.sha256)  # fmt: skip
                return
            self._taken[copy] = file
        finally:
            if copy not in self._taken:
                file.close()


def _reason(path: str, error: Exception) -> str:
    """An error's words without the archive's path, which is said beside them."""
    words = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return words[len(path) :].lstrip(": ") if words.startswith(path) else words


def _copies(archive: str, manifest: Json) -> Iterator[Tuple[str, Copy]]:
    """What a manifest says that it has and that a build ID proves; anybody may have written it."""
    files = manifest.get("files")
    for entry in files if isinstance(files, list) else ():
        if not isinstance(entry, dict) or entry.get("matched_by") != BY_BUILD_ID:
            continue
        path, role, size = entry.get("path"), entry.get("role"), entry.get("size")
        build_id, sha256 = entry.get("build_id"), entry.get("sha256")
        if isinstance(path, str) and isinstance(role, str) and isinstance(size, int) and isinstance(sha256, str):
            if isinstance(build_id, str) and _HEX.match(build_id):
                yield build_id, Copy(archive, os.fsdecode(check.key_of(path)), role, size, sha256)
