# SPDX-License-Identifier: Apache-2.0
"""One pass over an archive from front to back, in which every hash, every size, every build ID and every name is held
against what manifest.json and SHA256SUMS say. What passes goes to a receiver, as it comes.

The archive is hostile. Nothing is believed that was not checked, and only when the pass is over without a problem is
what was received worth anything.
"""

import hashlib
import io
import json
import os
import re
from contextlib import contextmanager
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import compression
from .dumps import unread
from .elf.file import ElfFile, describe
from .elf.header import ReadAt
from .errors import BadDump, CannotWrite, Reading
from .manifest import MANIFEST_SCHEMA
from .model import Json
from .sysroot import Refused, open_regular
from .tarstream import reader, sparse, sums
from .tarstream.reader import Member
from .tarstream.sparse import Digest, Placed

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
# A manifest of 300 modules with all their attempts has 1 MB; Python's JSON takes ten times a document's size.
MAX_MANIFEST = 16 << 20
MAX_SUMS = 16 << 20
MAX_MEMBERS = 100000
# PATH_MAX of include/uapi/linux/limits.h
MAX_PATH = 4096
# Of a file whose build ID is to be read; beyond it, the copy goes to a temporary file.
_IN_MEMORY = 16 << 20
# Of a kernel module that lies compressed in the archive. The largest of Debian 13 has 20 MB with its debug information.
MAX_DECOMPRESSED = 1 << 30
# The kernel's own limit on links in one path (include/linux/namei.h, MAXSYMLINKS).
_MAX_LINKS = 40
# Where a tar says that it is one (POSIX.1-2001, pax: ustar interchange format).
_MAGIC = slice(257, 262)
_HEAD = 512


class HashedFile:
    """The archive file, hashed as it is read."""

    def __init__(self, path: str, file: IO[bytes], progress: Optional[Callable[[int], None]] = None) -> None:
        self._path = path
        self._file = file
        self._progress = progress
        self.hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        with Reading(self._path):
            data = self._file.read(size)
        self.hash.update(data)
        self.size += len(data)
        if self._progress is not None:
            self._progress(self.size)
        return data

    def drain(self) -> None:
        while self.read(reader.CHUNK):
            pass


@contextmanager
def opened(path: str, progress: Optional[Callable[[int], None]] = None) -> Iterator[Tuple[Any, HashedFile]]:
    """The tar in the file at `path`, and the file. `progress` is told how many bytes of the file are read."""
    try:
        descriptor = open_regular(os.path.realpath(path))
    except Refused as error:
        raise BadDump("%s is %s" % (path, error)) from None
    with os.fdopen(descriptor, "rb", buffering=0) as raw:
        with Reading(path):
            head = os.pread(raw.fileno(), _HEAD, 0)
        codec = compression.sniff(head[: compression.HEAD])
        if codec is None and head[_MAGIC] != b"ustar":
            what = "an ELF file" if head[:4] == b"\x7fELF" else unread.name(head)[0]
            raise BadDump("%s is no archive of savedump: it is %s" % (path, what))
        file = HashedFile(path, raw, progress)
        if codec is None:
            yield file, file
            return
        stream = codec.reader(file)
        try:
            yield stream, file
        finally:
            stream.close()


def read_manifest(path: str) -> Json:
    """The manifest, reading no more of the archive than that. Raises BadDump if it is none, ToolMissing, OSError."""
    with opened(path) as (stream, _file):
        return first(path, reader.members(stream)).manifest


class First(NamedTuple):
    """The first member: the manifest."""

    top: str
    content: bytes
    manifest: Json


def first(path: str, members: Iterator[Member]) -> First:
    """Raises BadDump if the first member is no manifest of a schema known here."""
    try:
        member = next(members, None)
        if member is None:
            raise BadDump("it is empty")
        top, _slash, base = member.name.partition("/")
        # No hidden folder: unpacked at home, ".ssh" would be more than a folder.
        if member.kind != reader.FILE or base != MANIFEST or not re.fullmatch(r"([^.\0][^\0]*\.)?archive-[^\0]*", top):
            raise BadDump("its first member is %s, not archive-…/%s" % (shown(member.name), MANIFEST))
        content = _content(member, MAX_MANIFEST)
    except BadDump as error:
        raise BadDump("%s is no archive of savedump: %s" % (path, error.message)) from None
    try:
        manifest = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadDump("%s: manifest.json is damaged (%s)" % (path, error)) from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != MANIFEST_SCHEMA:
        raise BadDump(
            "%s: manifest.json is of schema %s, not %s" % (path, json.dumps(schema)[:80], MANIFEST_SCHEMA),
            "a newer savedump may read it",
        )
    return First(top, content, manifest)


def _content(member: Member, limit: int) -> bytes:
    """A small member's content. Raises BadDump if it is sparse or larger than `limit`."""
    if member.extents is not None or member.size > limit:
        raise BadDump("%s has %d bytes, more than are taken" % (shown(member.name), member.size))
    return b"".join(member.chunks())


class _Enough(Exception):
    """There are as many problems as are wanted."""


class Check:
    """One pass over an archive: collects its problems, and hands its members to a receiver."""

    def __init__(self, path: str, members: Iterator[Member], most: int, build_ids: bool = True) -> None:
        """Reads the manifest; `most`: problems after which to stop; without `build_ids`, which make it read some files
        twice, those are not looked for. Raises BadDump if this is no archive."""
        self._first = first(path, members)
        self.top, self.manifest = self._first.top, self._first.manifest
        self.problems: List[str] = []
        self._members = members
        self._most = most
        self._build_ids = build_ids
        self.listed: Dict[bytes, Json] = {}
        # What was seen, by the bytes of its path below the top folder.
        self._digests: Dict[bytes, Digest] = {}
        self._links: Dict[bytes, bytes] = {}
        self._sums: Optional[Dict[str, Digest]] = None

    @property
    def manifest_bytes(self) -> bytes:
        return self._first.content

    def run(self, receiver: "Receiver") -> None:
        try:
            self._read_manifest()
            self._take_content(MANIFEST, self._first.content, receiver)
            try:
                for count, member in enumerate(self._members, 1):
                    if count > MAX_MEMBERS:
                        raise BadDump("it has more than %d members" % MAX_MEMBERS)
                    self._take(member, receiver)
            except BadDump as error:
                self._problem(error.message)
            self._compare()
            self._check_paths()
        except _Enough:
            return
        for link, target in self._links.items():
            receiver.link(os.fsdecode(link), os.fsdecode(target))

    def _problem(self, text: str) -> None:
        self.problems.append(text)
        if len(self.problems) == self._most:
            raise _Enough

    def _read_manifest(self) -> None:
        for key, kind in (("files", list), ("missing", list), ("complete", bool), ("dump", dict)):
            if not isinstance(self.manifest.get(key), kind):
                self._problem("manifest.json: %s is not there, or not of the right type" % key)
        missing = self.manifest.get("missing")
        for number, gap in enumerate(missing if isinstance(missing, list) else []):
            if not isinstance(gap, dict) or not all(isinstance(gap.get(key), str) for key in ("module", "kind")):
                self._problem("manifest.json: missing[%d] is damaged" % number)
        files = self.manifest.get("files")
        for number, entry in enumerate(files if isinstance(files, list) else []):
            try:
                path = key_of(entry["path"])
                if not isinstance(entry["size"], int):
                    raise TypeError("size")
            except (AttributeError, KeyError, TypeError, UnicodeEncodeError):
                self._problem("manifest.json: files[%d] is damaged" % number)
                continue
            if path in self.listed:
                self._problem("manifest.json lists %s twice" % shown(entry["path"]))
            self.listed[path] = entry

    def _take(self, member: Member, receiver: "Receiver") -> None:
        """One member after the manifest. What has a problem is not received."""
        name = inside(member.name, self.top)
        if name is None:
            # Some tars store "archive-x/" itself.
            if member.kind != reader.DIRECTORY or member.name != self.top:
                self._problem("%s does not lie in %s/" % (shown(member.name), shown(self.top)))
            return
        if self._sums is not None:
            self._problem("%s follows SHA256SUMS, which is to be the last" % shown(name))
        key = os.fsencode(name)
        if member.kind == reader.DIRECTORY:
            receiver.folder(name)
        elif key in self._digests or key in self._links or (name == SUMS and self._sums is not None):
            self._problem("%s is there twice" % shown(name))
        elif name == SUMS and member.kind == reader.FILE:
            self._take_sums(member, receiver)
        elif key not in self.listed:
            self._problem("%s is not in manifest.json" % shown(name))
        elif member.kind == reader.SYMLINK:
            self._take_link(name, key, member.target)
        elif member.kind == reader.FILE:
            self._take_file(name, key, member, receiver)
        else:
            self._problem("%s is neither file, folder nor symbolic link" % shown(name))

    def _take_content(self, name: str, content: bytes, receiver: "Receiver") -> None:
        data = sparse.whole(len(content))
        self._digests[os.fsencode(name)] = sparse.digest_of(data, len(content), [content])
        with receiver.file(name, data, len(content)) as file:
            file.write(content)

    def _take_sums(self, member: Member, receiver: "Receiver") -> None:
        self._sums = {}
        content = _content(member, MAX_SUMS)
        with receiver.file(SUMS, member.data, member.size) as file:
            file.write(content)
        try:
            self._sums = sums.parse_sums(content)
        except BadDump as error:
            self._problem(error.message)

    def _take_link(self, name: str, key: bytes, target: str) -> None:
        listed = self.listed[key].get("target")
        raw = os.fsencode(target)
        if not isinstance(listed, str) or key_of(listed) != raw:
            self._problem("%s is a link to %s, which manifest.json does not say" % (shown(name), shown(target)))
        elif not target or len(raw) > MAX_PATH or b"\0" in raw:
            self._problem("%s is a link to something that is no path" % shown(name))
        else:
            self._links[key] = raw

    def _take_file(self, name: str, key: bytes, member: Member, receiver: "Receiver") -> None:
        entry = self.listed[key]
        linked = entry.get("target") is not None
        if entry["size"] != member.size or linked:
            what = "a link" if linked else "a file of %d bytes" % entry["size"]
            self._problem("%s has %d bytes, and is %s in manifest.json" % (shown(name), member.size, what))
            return
        build_id = entry.get("build_id")
        proven = self._build_ids and build_id is not None and entry.get("role") != "dump"
        hasher = sparse.Hasher(member.data, member.size)
        with receiver.file(name, member.data, member.size, reread=proven) as file:
            for chunk in member.chunks():
                file.write(chunk)
                hasher.update(chunk)
            found = build_id_of(file, member.size) if proven else build_id
        if found != build_id:
            self._problem("%s has build ID %s, and %s in manifest.json" % (shown(name), found, shown(str(build_id))))
        self._digests[key] = hasher.digest()

    def _compare(self) -> None:
        """What was seen with what manifest.json and SHA256SUMS say; what is damaged is said once."""
        damaged = set()
        for key, entry in self.listed.items():
            name = os.fsdecode(key)
            digest = self._digests.get(key)
            if digest is None and key not in self._links:
                self._problem("%s is in manifest.json, and missing or unusable here" % shown(name))
            elif digest is not None and entry.get("sha256") is not None:
                if not self._same(name, digest, Digest(sparse.SHA256, str(entry["sha256"])), MANIFEST):
                    damaged.add(key)
        if self._sums is None:
            self._problem("SHA256SUMS is missing")
            return
        listed = {os.fsencode(name): digest for name, digest in self._sums.items()}
        for key, digest in self._digests.items():
            if key in listed:
                said = listed.pop(key)
                if key not in damaged:
                    self._same(os.fsdecode(key), digest, said, SUMS)
            else:
                self._problem("%s is not in SHA256SUMS" % shown(os.fsdecode(key)))
        for key in listed:
            if key not in self.listed:
                self._problem("%s is in SHA256SUMS, and not in the archive" % shown(os.fsdecode(key)))

    def _same(self, name: str, found: Digest, said: Digest, where: str) -> bool:
        if found.algorithm != said.algorithm:
            self._problem("%s: %s gives its %s, which is not how it is stored here; repacked by another tool?"
                          % (shown(name), where, said.algorithm))  # fmt: skip
        elif found != said:
            what = "SHA-256" if said.algorithm == sparse.SHA256 else "SHA-256 as stored"
            self._problem("%s is damaged: its %s is %s, %s says %s"
                          % (shown(name), what, found.hex, where, shown(said.hex)))  # fmt: skip
        return found == said

    def _check_paths(self) -> None:
        """No member lies below a file or a link, and no link leads out of the archive."""
        paths = sorted(key.split(b"/") for key in list(self._digests) + list(self._links))
        for above, below in zip(paths, paths[1:]):
            if below[: len(above)] == above:
                self._problem("%s lies below a file or link" % shown(os.fsdecode(b"/".join(below))))
        for key, target in self._links.items():
            if _leads_out(key, self._links):
                self._problem("%s is a link that leads out: %s"
                              % (shown(os.fsdecode(key)), shown(os.fsdecode(target))))  # fmt: skip


def inside(name: str, top: str) -> Optional[str]:
    """The path of a member below the top folder; None if it lies elsewhere or is no plain path."""
    parts = name.split("/")
    if len(os.fsencode(name)) > MAX_PATH or len(parts) < 2 or parts[0] != top or "\0" in name:
        return None
    if any(part in ("", ".", "..") for part in parts):
        return None
    return "/".join(parts[1:])


def _leads_out(path: bytes, links: Dict[bytes, bytes]) -> bool:
    """True if following `path` through these links goes above the top folder, or round and round. A chain of names is
    not enough to look at: behind a link, ".." is the parent of where it leads."""
    done: List[bytes] = []
    todo = path.split(b"/")[::-1]
    followed = 0
    while todo:
        part = todo.pop()
        if part == b"..":
            if not done:
                return True
            done.pop()
        elif part not in (b"", b"."):
            done.append(part)
            target = links.get(b"/".join(done))
            if target is not None:
                followed += 1
                if target.startswith(b"/") or followed > _MAX_LINKS:
                    return True
                done.pop()
                todo.extend(target.split(b"/")[::-1])
    return False


def build_id_of(file: Placed, size: int) -> Optional[str]:
    """The build ID in an ELF file's own bytes, in hex; None if there is none, or it is no ELF file. Raises ToolMissing
    if it is compressed, as kernel modules are, and nothing here can tell."""
    try:
        with decompressed(file, size) as content:
            build_id = content.describe().build_id
    except BadDump:
        return None
    return None if build_id is None else build_id.hex()


class Content(NamedTuple):
    """A received file, as it is without compression."""

    read_at: ReadAt
    size: int
    compressed: bool

    def describe(self) -> ElfFile:
        """Raises BadDump if it is no ELF file."""
        return describe(self.read_at, self.size)


@contextmanager
def decompressed(file: Placed, size: int) -> Iterator[Content]:
    """A kernel module is packed as the host has it, which may be .ko.xz. Raises BadDump, ToolMissing."""
    head = file.read_at(0, compression.HEAD)
    codec = next((one for one in compression.CODECS if one.sniff(head)), None)
    if codec is None:
        yield Content(file.read_at, size, False)
        return
    import tempfile

    stream = codec.reader(_Sequence(file, size))
    try:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as out:
            length = 0
            while True:
                chunk = stream.read(reader.CHUNK)
                if not chunk:
                    break
                length += len(chunk)
                if length > MAX_DECOMPRESSED:
                    raise BadDump("more than %d bytes, decompressed" % MAX_DECOMPRESSED)
                out.write(chunk)
            yield Content(Placed(out, sparse.whole(length), length).read_at, length, True)  # type: ignore[arg-type]  # a file in memory reads as any
    finally:
        stream.close()


class _Sequence:
    """A file that was placed, read from its beginning."""

    def __init__(self, file: Placed, size: int) -> None:
        self._file = file
        self._size = size
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read_at(self._at, self._size if size < 0 else size)
        self._at += len(data)
        return data


class Receiver:
    """Takes members. This one keeps nothing but what has to be read once more to prove it."""

    def folder(self, name: str) -> None:
        """A folder of the archive."""

    def link(self, name: str, target: str) -> None:
        """A link, when all files were received and all links were found to be harmless."""

    @contextmanager
    def file(self, name: str, data: List[sparse.Extent], size: int, reread: bool = False) -> Iterator[Placed]:
        """A file of `size` bytes whose data lies at these extents."""
        if not reread:
            yield Placed(None, data, size)
            return
        import tempfile

        with io.BytesIO() if size <= _IN_MEMORY else tempfile.TemporaryFile() as file:
            yield Placed(file, data, size)


def check_space(folder: str, wanted: int) -> None:
    """Raises CannotWrite if so many bytes have no room there."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if wanted > free and status.f_blocks:  # some of FUSE and 9p count none at all
        from .space import in_words, room_of  # only for the words

        raise CannotWrite(
            "the next file takes %s and %s has %s free: %s too few"
            % (in_words(wanted), room_of(folder).words, in_words(free), in_words(wanted - free)),
            "make room, or choose another folder",
        )


def key_of(path: str) -> bytes:
    """The bytes of a path in JSON, which are as UTF-8 has them, whatever this host's encoding is."""
    return path.encode("utf-8", "surrogateescape")


def shown(name: str) -> str:
    """A name as a person may see it: no control characters, no escape sequences, no megabyte of it."""
    short = name if len(name) <= MAX_PATH else name[:MAX_PATH] + "…"
    return short if short.isprintable() else ascii(short)
