# SPDX-License-Identifier: Apache-2.0
"""Write an archive in one pass: tar into a codec into a file or a pipe, hashing while copying.

manifest.json comes first, so that a reader of a stream knows what will come; it holds the hashes of the files that were
hashed when they were proven a moment ago, and null for the dump, which is read once only. SHA256SUMS comes last and
holds them all.
"""

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import (
    IO, Any, Callable, Container, ContextManager, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple,
)  # fmt: skip

from . import compression
from .elf.file import SHT_NULL, describe
from .elf.header import MAGIC
from .errors import BadDump, Busy, CannotWrite, Reading, ToolMissing, UsageError, cannot_write
from .manifest import Host, manifest_json, to_bytes
from .model import ARCHIVE_FORMATS, BY_BUILD_ID, Entry, Json, Plan
from .source import CHUNK, Source
from .sysroot import Refused, is_ours, open_regular, reader
from .tarstream import sparse, sums
from .tarstream.header import BLOCK
from .tarstream.writer import TarWriter

Progress = Callable[[int], None]
"""Called with the number of bytes read so far."""


class Written(NamedTuple):
    """A finished archive."""

    manifest: Json
    sha256: str
    """Of the archive itself."""
    size: int
    """Of the archive itself, in bytes."""


def choose_format(name: str) -> str:
    """`name` with "auto" resolved: zstd where the host can, else gzip. Raises UsageError or ToolMissing."""
    if name not in ARCHIVE_FORMATS:
        raise UsageError("unknown format %s" % name, "choose one of %s" % ", ".join(ARCHIVE_FORMATS))
    if name == "auto":
        return "tar.zst" if compression.zstd.can_write() else "tar.gz"
    if name == "tar.zst" and not compression.zstd.can_write():
        raise ToolMissing("this host cannot write zstd", "install libzstd or zstd, or use --format tar.gz or auto")
    return name


def write(
    plan: Plan, sources: Sequence[Source], sink: Any, archive_format: str, level: Optional[int], host: Host,
    progress: Optional[Progress] = None, amend: Optional[Callable[[Json], Json]] = None,
) -> Written:  # fmt: skip
    """Write the archive into `sink`, which has write(bytes). `sources` are the dump's files, opened. Raises Busy if
    anything changed meanwhile. `amend` gives the manifest its last words: of another host's archive they are that one's
    own."""
    counted = Counted(sink)
    with encoder(counted, archive_format, level) as encoded:
        manifest = write_tar(plan, sources, encoded, host, digests_of(plan), progress=progress, amend=amend)
    return Written(manifest=manifest, sha256=counted.hash.hexdigest(), size=counted.size)


Digests = Dict[str, Optional[str]]
"""The SHA-256 of each member, by its entry's path, that is known before it is written; None if there is none."""


def digests_of(plan: Plan) -> Digests:
    """Reads every file but the dump. Raises Busy if one changed since it was proven."""
    digests: Digests = {entry.path: _hash_file(entry) for entry in plan.entries if is_copied(entry)}
    digests.update((e.path, hashlib.sha256(e.data).hexdigest()) for e in plan.entries if e.data is not None)
    return digests


def write_tar(
    plan: Plan, sources: Sequence[Source], sink: Any, host: Host, digests: Digests,
    known: Container[str] = (), progress: Optional[Progress] = None, amend: Optional[Callable[[Json], Json]] = None,
) -> Json:  # fmt: skip
    """Write the tar; its manifest. Of a file whose digest is in `known` the sink gets a reference (see
    TarWriter.add_known), and it is not read again."""
    opened = {source.path: source for source in sources}
    manifest = manifest_json(plan, digests, host)
    if amend is not None:
        manifest = amend(manifest)
    tar = TarWriter(sink, mtime=plan.dump.mtime_ns // 10**9)
    digest = tar.add_bytes(plan.name + "/manifest.json", to_bytes(manifest), 0o600)
    lines = [sums.sums_line("manifest.json", digest)]
    copied = 0
    for entry in plan.entries:
        name, expected = plan.name + "/" + entry.path, digests.get(entry.path)
        if is_copied(entry) and expected is not None and expected in known:
            digest = tar.add_known(name, entry.size, kept(entry), entry.mode, expected)
        else:
            digest = add(tar, name, entry, opened, _counting(progress, copied))
        copied += entry.size
        if digest is not None:
            if is_copied(entry) and expected not in (None, digest.hex):
                raise Busy("%s changed while it was read" % entry.origin, "try again")
            lines.append(sums.sums_line(entry.path, digest))
    for source in sources:
        source.check_unchanged()
    tar.add_bytes(plan.name + "/SHA256SUMS", b"".join(lines), 0o600)
    tar.close()
    return manifest


def is_copied(entry: Entry) -> bool:
    return entry.origin is not None and entry.role != "dump"


def add(tar: TarWriter, name: str, entry: Entry, sources: Dict[str, Source], progress: Progress) -> Any:
    """Write one member; its digest, or None for a link."""
    if entry.target is not None:
        tar.add_symlink(name, entry.target)
        return None
    if entry.data is not None:
        return tar.add_bytes(name, entry.data, entry.mode)
    if entry.role == "dump":
        source = sources[entry.origin or ""]
        extents = source.extents()
        return tar.add_sparse(name, entry.size, extents, entry.mode, _watched(source.chunks(extents), progress))
    with _opened(entry) as file:
        if entry.cuts:
            chunks = _watched(_cut_chunks(entry, file), progress)
            return tar.add_sparse(name, entry.size, kept(entry), entry.mode, chunks)
        return tar.add_file(name, entry.size, entry.mode, _watched(_chunks(entry, file), progress))


def kept(entry: Entry) -> List[Tuple[int, int]]:
    """(offset, size) of what its cuts leave of a file: only whole blocks can be a sparse member's hole."""
    kept, at = [], 0
    for cut in sorted(entry.cuts, key=lambda one: one.offset):
        start = cut.offset + -cut.offset % BLOCK
        end = (cut.offset + cut.size) // BLOCK * BLOCK
        if start >= at and end > start:
            kept.append((at, start - at))
            at = end
    return kept + [(at, entry.size - at)]


def _cut_chunks(entry: Entry, file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of what is kept, with the types of the sections that are cut out set to SHT_NULL."""
    types = [cut.type_at for cut in entry.cuts]
    for offset, size in kept(entry):
        file.seek(offset)
        end = offset + size
        while offset < end:
            with Reading(entry.origin or ""):
                chunk = file.read(min(CHUNK, end - offset))
            if not chunk:
                raise Busy("%s changed while it was read" % entry.origin, "try again")
            yield _with_null_types(chunk, offset, types)
            offset += len(chunk)


def _with_null_types(chunk: bytes, offset: int, types: List[int]) -> bytes:
    changed = None
    for at in types:
        for position in range(max(at - offset, 0), min(at + 4 - offset, len(chunk))):
            changed = changed or bytearray(chunk)
            changed[position] = SHT_NULL
    return chunk if changed is None else bytes(changed)


@contextmanager
def _opened(entry: Entry) -> Iterator[IO[bytes]]:
    """The file that was proven, if it is still the same. Raises Busy."""
    try:
        descriptor = open_regular(entry.origin or "") if entry.descriptor is None else os.dup(entry.descriptor)
    except (Refused, FileNotFoundError):
        raise Busy("%s was replaced while it was read" % entry.origin, "try again") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        file.seek(0)
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
            raise Busy("%s changed while it was read" % entry.origin, "try again")
        yield file


def _chunks(entry: Entry, file: IO[bytes]) -> Iterator[bytes]:
    while True:
        with Reading(entry.origin or ""):
            chunk = file.read(CHUNK)
        if not chunk:
            return
        yield chunk


def _check_build_id(entry: Entry, file: IO[bytes]) -> None:
    """Raises Busy if the file that lies there by now has another one. Package managers, reproducible images and whoever
    means harm give another file the same size and time. A file of the dump's owner was proven with his rights, and is
    read with ours: what is then hashed has to be it, and what is copied has to have that hash."""
    if entry.matched_by != BY_BUILD_ID or entry.build_id is None:
        return
    read_at = reader(file.fileno())
    if entry.role == "kernel-module" and read_at(0, len(MAGIC)) != MAGIC:
        return  # it lies there compressed
    try:
        if describe(read_at, entry.size).build_id == entry.build_id:
            return
    except BadDump:
        pass
    raise Busy("%s was replaced while it was read" % entry.origin, "try again")


def _hash_file(entry: Entry) -> Optional[str]:
    """The SHA-256 of its member; None if that has more holes than are hashed."""
    with Reading(entry.origin or ""), _opened(entry) as file:
        _check_build_id(entry, file)
        if entry.cuts:
            digest = sparse.digest_of(kept(entry), entry.size, _cut_chunks(entry, file))
        else:
            digest = sparse.digest_of(sparse.whole(entry.size), entry.size, _chunks(entry, file))
    return digest.hex if digest.algorithm == sparse.SHA256 else None


def _counting(progress: Optional[Progress], before: int) -> Progress:
    return (lambda done: None) if progress is None else (lambda done: progress(before + done))


def _watched(chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        progress(done)


class Counted:
    """A sink that hashes and counts what passes."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # An unbuffered file may take less than it is given, on a disk that is nearly full.
            rest = rest[self._sink.write(rest) :]
        self.hash.update(data)
        self.size += len(data)


def encoder(sink: Any, archive_format: str, level: Optional[int]) -> ContextManager[Any]:
    return coded({"tar.gz": compression.gzip, "tar.zst": compression.zstd}.get(archive_format), sink, level)


@contextmanager
def coded(codec: Any, sink: Any, level: Optional[int] = None) -> Iterator[Any]:
    """A writer of this codec into `sink`; for None, `sink` itself. What it holds back goes out at the end, unless
    something failed."""
    if codec is None:
        yield sink
        return
    writer = codec.writer(sink, level=level)
    try:
        yield writer
    except BaseException:
        writer.abort()
        raise
    writer.close()


def part_of(path: str) -> str:
    """What the file is called until it is whole."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(folder, ".%s.part" % name)


@contextmanager
def atomic_file(path: str, replace: bool = True) -> Iterator[IO[bytes]]:
    """A new file of mode 0600 that bears its name only once it is whole and on disk. Nothing is left of a failure; what
    a killed run left is taken over by the next. Raises Busy if another process is writing it, or unless it may
    `replace` what is there, has written it since somebody looked."""
    folder, part = os.path.dirname(os.path.abspath(path)), part_of(path)
    file = os.fdopen(_open_part(part), "wb", buffering=0)
    try:
        with file:
            # Whoever else gives this name to a file holds the same lock.
            if not replace and os.path.lexists(path):
                raise Busy("another run has made %s meanwhile" % path, "try again")
            yield file
            os.fsync(file.fileno())
            os.rename(part, path)
    except BaseException:
        # The lock still tells others to keep away: the name goes first.
        _unlink(part)
        raise
    _sync_folder(folder)


def _open_part(part: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    in_the_way = CannotWrite("%s is in the way and is not ours" % part, "remove it, or choose another folder")
    try:
        descriptor = os.open(part, flags, 0o600)
    except OSError as error:
        if os.path.lexists(part):
            raise in_the_way from None
        raise cannot_write(os.path.dirname(part), error, "choose another folder (-o; in Ansible dest)") from None
    try:
        if not is_ours(descriptor):
            raise in_the_way
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another savedump is writing %s" % part, "wait for it to end") from None
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some file systems (FUSE, 9p) cannot sync a directory; the file itself is on disk.
        pass
    finally:
        os.close(descriptor)
