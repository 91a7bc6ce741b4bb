# SPDX-License-Identifier: Apache-2.0
"""Write an archive in one pass: tar into a codec into a file or a pipe, hashing while copying.

manifest.json comes first, so that a reader of a stream knows what will come; it holds the hashes of the files that were
hashed when they were proven a moment ago, and null for the dump, which is read once only. SHA256SUMS comes last and
holds them all.
"""

import fcntl
import hashlib
import os
import stat
from contextlib import contextmanager
from typing import IO, Any, Callable, Iterator, NamedTuple, Optional

from . import compression
from .errors import Busy, CannotWrite, ToolMissing, UsageError
from .manifest import Host, manifest_json, to_bytes
from .model import ARCHIVE_FORMATS, Entry, Json, Plan
from .source import CHUNK, Source
from .sysroot import Refused, open_regular
from .tarstream import sums
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
    plan: Plan, source: Source, sink: Any, archive_format: str, level: Optional[int], host: Host, tool: Json,
    progress: Optional[Progress] = None,
) -> Written:  # fmt: skip
    """Write the archive into `sink`, which has write(bytes). Raises Busy if anything changed meanwhile."""
    digests = {entry.path: _hash_file(entry) for entry in plan.entries if _is_copied(entry)}
    digests.update((e.path, hashlib.sha256(e.data).hexdigest()) for e in plan.entries if e.data is not None)
    manifest = manifest_json(plan, digests, host, tool)
    counted = _Counted(sink)
    with _encoder(counted, archive_format, level) as encoder:
        tar = TarWriter(encoder, mtime=plan.dump.mtime_ns // 10**9)
        digest = tar.add_bytes(plan.name + "/manifest.json", to_bytes(manifest), 0o600)
        lines = [sums.sums_line("manifest.json", digest)]
        copied = 0
        for entry in plan.entries:
            digest = _add(tar, plan.name, entry, source, _counting(progress, copied))
            copied += entry.size
            if digest is not None:
                if _is_copied(entry) and digest.hex != digests[entry.path]:
                    raise Busy("%s changed while it was read" % entry.origin, "try again")
                lines.append(sums.sums_line(entry.path, digest))
        source.check_unchanged()
        tar.add_bytes(plan.name + "/SHA256SUMS", b"".join(lines), 0o600)
        tar.close()
    return Written(manifest=manifest, sha256=counted.hash.hexdigest(), size=counted.size)


def _is_copied(entry: Entry) -> bool:
    return entry.origin is not None and entry.role != "dump"


def _add(tar: TarWriter, top: str, entry: Entry, source: Source, progress: Progress) -> Any:
    """Write one member; its digest, or None for a link."""
    name = top + "/" + entry.path
    if entry.target is not None:
        tar.add_symlink(name, entry.target)
        return None
    if entry.data is not None:
        return tar.add_bytes(name, entry.data, entry.mode)
    if entry.role == "dump":
        extents = source.extents()
        return tar.add_sparse(name, entry.size, extents, entry.mode, _watched(source.chunks(extents), progress))
    with _opened(entry) as file:
        return tar.add_file(name, entry.size, entry.mode, _watched(_chunks(file), progress))


@contextmanager
def _opened(entry: Entry) -> Iterator[IO[bytes]]:
    """The file that was proven, if it is still the same. Raises Busy."""
    try:
        file = os.fdopen(open_regular(entry.origin or ""), "rb", buffering=0)
    except (Refused, FileNotFoundError):
        raise Busy("%s was replaced while it was read" % entry.origin, "try again") from None
    with file:
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
            raise Busy("%s changed while it was read" % entry.origin, "try again")
        yield file


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK), b"")


def _hash_file(entry: Entry) -> str:
    digest = hashlib.sha256()
    with _opened(entry) as file:
        for chunk in _chunks(file):
            digest.update(chunk)
    return digest.hexdigest()


def _counting(progress: Optional[Progress], before: int) -> Progress:
    return (lambda done: None) if progress is None else (lambda done: progress(before + done))


def _watched(chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        progress(done)


class _Counted:
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


@contextmanager
def _encoder(sink: Any, archive_format: str, level: Optional[int]) -> Iterator[Any]:
    if archive_format == "tar":
        yield sink
        return
    codec = compression.zstd if archive_format == "tar.zst" else compression.gzip
    writer = codec.writer(sink, level=level)
    try:
        yield writer
    except BaseException:
        writer.abort()
        raise
    writer.close()


@contextmanager
def atomic_file(path: str) -> Iterator[IO[bytes]]:
    """A new file of mode 0600 that bears its name only once it is whole and on disk. Nothing is left of a failure; what
    a killed run left is taken over by the next. Raises Busy if another process is writing it."""
    folder, name = os.path.split(os.path.abspath(path))
    part = os.path.join(folder, ".%s.part" % name)
    file = os.fdopen(_open_part(part), "wb", buffering=0)
    try:
        with file:
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
    descriptor = os.open(part, flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise CannotWrite("%s is in the way and is not ours" % part, "remove it, or choose another folder with -o")
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
