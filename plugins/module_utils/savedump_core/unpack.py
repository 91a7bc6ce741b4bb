# SPDX-License-Identifier: Apache-2.0
"""The analysis side of an archive: prove it, or unpack it, in one pass from front to back.

The archive is hostile. Nothing is believed that was not checked, nothing is written outside a new private folder, and
that gets its name only when every hash and every build ID was right.
"""

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import IO, Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from . import compression
from .elf.file import describe
from .errors import BadDump, CannotWrite, SavedumpError, ToolMissing
from .manifest import MANIFEST_SCHEMA
from .model import Json
from .sysroot import Refused, open_regular
from .tarstream import reader, sparse, sums
from .tarstream.reader import Member
from .tarstream.sparse import Digest

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
# A manifest of 300 modules with all their attempts has 1 MB; Python's JSON takes ten times a document's size.
MAX_MANIFEST = 16 << 20
MAX_SUMS = 16 << 20
MAX_MEMBERS = 100000
MAX_PROBLEMS = 1000
# Of a file whose build ID is to be read; beyond it, the copy goes to a temporary file.
_IN_MEMORY = 16 << 20
# The kernel's own limit on links in one path (include/linux/namei.h, MAXSYMLINKS).
_MAX_LINKS = 40


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


def is_archive(path: str) -> bool:
    """True if this file's first member is a manifest that can be read. Raises OSError."""
    try:
        read_manifest(path)
    except (BadDump, ToolMissing):
        return False
    return True


def read_manifest(path: str) -> Json:
    """The manifest alone: reads no more of the archive than that. Raises BadDump if it is none, ToolMissing, OSError."""
    with _opened(path) as (stream, _):
        _, _, manifest = _first(path, reader.members(stream))
    return manifest


def verify(path: str) -> Verified:
    """Check every hash, every size, every build ID, that each listed member is there and no other, and that the archive
    is whole. Raises BadDump if it is no archive, ToolMissing, OSError."""
    with _opened(path) as (stream, file):
        check = _Check(path, reader.members(stream))
        check.run(_Spool())
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


def unpack(path: str, into: str) -> Opened:
    """Unpack below the folder `into`, verifying on the way. Nothing is left behind unless all is right.

    Raises BadDump for an archive with any problem, CannotWrite if the folder is there already or the disk is too small,
    ToolMissing, OSError."""
    with _opened(path) as (stream, _):
        check = _Check(path, reader.members(stream))
        target = os.path.join(into, check.top)
        if os.path.lexists(target):
            raise CannotWrite("%s is there already" % target, "move it away, or unpack into another folder")
        # Beside the target, so that the rename stays on one file system.
        part = tempfile.mkdtemp(prefix=".unpacking-", dir=into)
        try:
            check.run(_Folder(part, check.top))
            if check.problems:
                raise BadDump(_summary(path, check.problems), "savedump verify lists all; fetch the archive once more")
            os.rename(part, target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return Opened(path=target, manifest=check.manifest)


def _summary(path: str, problems: List[str]) -> str:
    more = " (and %d more)" % (len(problems) - 1) if len(problems) > 1 else ""
    return "%s was not unpacked: %s%s" % (path, problems[0], more)


class _HashedFile:
    """The archive file, hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read(reader.CHUNK):
            pass


@contextmanager
def _opened(path: str) -> Iterator[Tuple[Any, _HashedFile]]:
    """The tar in the file at `path`, and the file."""
    try:
        descriptor = open_regular(os.path.realpath(path))
    except Refused as error:
        raise BadDump("%s is %s" % (path, error)) from None
    with os.fdopen(descriptor, "rb", buffering=0) as raw:
        codec = compression.sniff(os.pread(raw.fileno(), compression.HEAD, 0))
        file = _HashedFile(raw)
        if codec is None:
            yield file, file
            return
        stream = codec.reader(file)
        try:
            yield stream, file
        finally:
            stream.close()


def _first(path: str, members: Iterator[Member]) -> Tuple[str, Digest, Json]:
    """The top folder's name, the digest of the manifest, and the manifest."""
    try:
        member = next(members, None)
        folder, _, base = member.name.partition("/") if member else ("", "", "")
        if member is None or member.kind != reader.FILE or base != MANIFEST or folder in ("", ".", ".."):
            what = "empty" if member is None else "%s, not %s" % (_shown(member.name), MANIFEST)
            raise BadDump("its first member is " + what)
        content, digest = _content(member, MAX_MANIFEST)
    except BadDump as error:
        raise BadDump("%s is no archive of savedump: %s" % (path, error.message)) from None
    try:
        manifest = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadDump("%s: manifest.json is damaged (%s)" % (path, error)) from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != MANIFEST_SCHEMA:
        raise BadDump(
            "%s: manifest.json is of schema %s, not %s" % (path, json.dumps(schema), MANIFEST_SCHEMA),
            "a newer savedump may read it",
        )
    return folder, digest, manifest


def _content(member: Member, limit: int) -> Tuple[bytes, Digest]:
    """A small member's content. Raises BadDump if it is sparse or larger than `limit`."""
    if member.extents is not None or member.size > limit:
        raise BadDump("%s has %d bytes" % (_shown(member.name), member.size))
    content = b"".join(member.chunks())
    return content, sparse.digest_of(member.data, member.size, [content])


def _key(path: str) -> bytes:
    """A path's bytes. In JSON they are as UTF-8 has them, whatever this host's encoding; see manifest.to_bytes."""
    return path.encode("utf-8", "surrogateescape")


def _shown(name: str) -> str:
    """A name as a person may see it: no control characters, no escape sequences."""
    return name if name.isprintable() else ascii(name)
