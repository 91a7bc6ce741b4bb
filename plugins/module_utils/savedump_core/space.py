# SPDX-License-Identifier: Apache-2.0
"""How large an archive will be, and whether that fits where it is to go. Known before the first byte is written: a disk
that is found full an hour later has then stood full, beside the service that crashed."""

import os
import stat
from contextlib import ExitStack
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from . import archive, compression
from .errors import CannotWrite, Reading
from .manifest import Host, manifest_json, to_bytes
from .model import Entry, Plan
from .source import Source
from .sysroot import Refused, open_regular
from .tarstream import header, sparse, sums

# What is compressed to learn the ratio: so much of the data, within these bounds, in so many pieces or more, each large
# enough for the codec to find what repeats. 16 MiB take 0.3 s (gzip at 45 MB/s), and the archive itself 5 s or more.
_SAMPLED = 16
_MIN_SAMPLE, _MAX_SAMPLE = 4 << 20, 16 << 20
_PIECES = 64
_MIN_PIECE, _MAX_PIECE = 1 << 16, 1 << 18
# A sampled estimate may be wrong by what lies between the samples.
_MARGIN = 0.05
# gzip's bytes by those of other codecs, of the heap of a Python process and of shared libraries: zstd 1.05 and 1.07, xz
# 1.11 and 1.49, bzip2 1.02 and 1.14, lz4 0.86 and 0.70. A compressed dump is not sampled, for that reads it once more.
_OF_PACKED = {"xz": 1.5, "bzip2": 1.15, "zstd": 1.1}
_OF_OTHERS = 1.05
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Room(NamedTuple):
    """The file system that a folder lies on."""

    device: str
    """Such as /dev/sda1, or tmpfs; "" if the kernel does not say."""
    mount_point: str
    free: Optional[int]
    """Bytes that anybody may use: what is kept for root stays. None if the file system does not say."""

    @property
    def words(self) -> str:
        return "%s (%s)" % (self.mount_point, self.device) if self.device else self.mount_point


def in_words(size: int) -> str:
    """1536 as "1.5 KiB"."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < 1024:
            return "%d bytes" % size if unit == "bytes" else "%.1f %s" % (value, unit)
        value /= 1024
    return "%.1f %s" % (value, _UNITS[-1])


def tar_size(plan: Plan, sources: Sequence[Source], host: Host) -> int:
    """Bytes of the archive as `tar`, exactly, unless a file changes until then. Reads no file."""
    opened = {source.path: source for source in sources}
    unknown = "0" * 64  # as long as any SHA-256
    digests: Dict[str, Optional[str]] = {
        entry.path: unknown for entry in plan.entries if entry.target is None and entry.role != "dump"
    }
    for entry in plan.entries:
        if entry.cuts and entry.size - sparse.stored_size(_extents(entry, opened)) > sparse.HASHED_HOLES_MAX:
            digests[entry.path] = None
    manifest = to_bytes(manifest_json(plan, digests, host))
    total = _member(plan.name + "/manifest.json", sparse.whole(len(manifest)), len(manifest))
    lines = len(_line("manifest.json", 0))
    for entry in plan.entries:
        name = plan.name + "/" + entry.path
        if entry.target is not None:
            total += len(header.headers(os.fsencode(name), 0, 0o777, 0, header.SYMLINK, os.fsencode(entry.target)))
            continue
        data = _extents(entry, opened)
        total += _member(name, data, entry.size)
        lines += len(_line(entry.path, entry.size - sparse.stored_size(data)))
    total += _member(plan.name + "/SHA256SUMS", sparse.whole(lines), lines) + 2 * header.BLOCK
    return total + -total % header.RECORD


def _member(name: str, data: Sequence[Tuple[int, int]], size: int) -> int:
    raw = os.fsencode(name)
    if list(data) == sparse.whole(size):
        return len(header.headers(raw, size, 0o600, 0)) + size + len(header.pad(size))
    table = len(sparse.encode_map(data, size))
    stored = table + sparse.stored_size(data)
    return len(header.sparse_headers(raw, stored, size, 0o600, 0)) + stored + len(header.pad(stored))


def _line(path: str, holes: int) -> bytes:
    algorithm = sparse.SHA256 if holes <= sparse.HASHED_HOLES_MAX else sparse.SHA256_STORED
    return sums.sums_line(path, sparse.Digest(algorithm, "0" * 64))


def _extents(entry: Entry, opened: Dict[str, Source]) -> List[Tuple[int, int]]:
    if entry.role == "dump":
        return [extent for extent in opened[entry.origin or ""].extents() if extent[1]]
    if entry.cuts:
        return [extent for extent in archive.kept(entry) if extent[1]]
    return sparse.whole(entry.size)


def estimate(
    plan: Plan, sources: Sequence[Source], archive_format: str, level: Optional[int], host: Host
) -> int:
    """Bytes of the archive in this format: of `tar` as tar_size(), else by compressing samples of the dump and of the
    largest files with the very codec."""
    whole = tar_size(plan, sources, host)
    if archive_format == "tar":
        return whole
    opened = {source.path: source for source in sources}
    packed = [source for source in sources if source.compression is not None]
    of_packed = sum(sparse.stored_size(source.extents()) for source in packed)
    taken, made = _sample(plan, opened, archive_format, level)
    # Headers and lists: what is not sampled shrinks like what is.
    ratio = min(made / float(taken), 1.0) if taken else 1.0
    size = int((whole - of_packed) * ratio)
    for source in packed:
        stored = int(source.stored_size * _OF_PACKED.get(source.compression or "", _OF_OTHERS))
        size += min(stored, sparse.stored_size(source.extents()))
    return min(size, whole)


def _sample(
    plan: Plan, opened: Dict[str, Source], archive_format: str, level: Optional[int]
) -> Tuple[int, int]:
    """(bytes taken, bytes that the codec made of them)."""
    pieces = _pieces(plan, opened)
    counted = _Counted()
    codec = compression.zstd if archive_format == "tar.zst" else compression.gzip
    writer = codec.writer(counted, level=level)
    taken = 0
    try:
        with ExitStack() as files:
            for data in _read(pieces, opened, files):
                writer.write(data)
                taken += len(data)
    except BaseException:
        writer.abort()
        raise
    writer.close()
    return taken, counted.size


class _Counted:
    size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)


def _pieces(plan: Plan, opened: Dict[str, Source]) -> List[Tuple[Entry, int, int]]:
    """(entry, offset, size) of the pieces to take, evenly over all data that is stored."""
    spans = []
    total = 0
    for entry in plan.entries:
        source = opened.get(entry.origin or "") if entry.role == "dump" else None
        if entry.origin is None or entry.target is not None or (source is not None and source.compression is not None):
            continue
        for offset, size in _extents(entry, opened):
            spans.append((total, entry, offset, size))
            total += size
    budget = min(max(total // _SAMPLED, _MIN_SAMPLE), _MAX_SAMPLE, total)
    piece = min(max(budget // _PIECES, _MIN_PIECE), _MAX_PIECE)
    count = max(1, -(-budget // piece))
    found = []
    at = 0
    for number in range(count if total else 0):
        # From the middle of each share: files begin with headers.
        want = max((2 * number + 1) * total // (2 * count) - piece // 2, 0)
        while at + 1 < len(spans) and spans[at + 1][0] <= want:
            at += 1
        begin, entry, offset, size = spans[at]
        inside = want - begin
        found.append((entry, offset + inside, min(piece, size - inside)))
    return found


def _read(
    pieces: Sequence[Tuple[Entry, int, int]], opened: Dict[str, Source], files: ExitStack
) -> Iterator[bytes]:
    descriptors: Dict[str, Optional[int]] = {}
    for entry, offset, size in pieces:
        if entry.role == "dump":
            yield opened[entry.origin or ""].read_at(offset, size)
            continue
        if entry.path not in descriptors:
            descriptors[entry.path] = _open(entry, files)
        descriptor = descriptors[entry.path]
        if descriptor is not None:
            with Reading(entry.origin or ""):
                piece = os.pread(descriptor, size, offset)
            yield piece


def _open(entry: Entry, files: ExitStack) -> Optional[int]:
    """None for a file that is gone: writing will say so."""
    try:
        descriptor = os.dup(entry.descriptor) if entry.descriptor is not None else open_regular(entry.origin or "")
    except (OSError, Refused):
        return None
    files.callback(os.close, descriptor)
    return descriptor


def check(
    target: str, plan: Plan, sources: Sequence[Source], archive_format: str, level: Optional[int], host: Host
) -> Optional[int]:
    """Raise CannotWrite if an archive does not fit at `target`. The estimate, where one was needed: what fits
    uncompressed fits, and nothing is sampled then."""
    room = room_of(os.path.dirname(os.path.abspath(target)))
    if room.free is None:
        return None
    # A part that a killed run left is taken over: its blocks come free.
    free = room.free + _blocks(archive.part_of(target))
    if tar_size(plan, sources, host) <= free:
        return None
    size = estimate(plan, sources, archive_format, level, host)
    needed = size if archive_format == "tar" else size + int(size * _MARGIN)
    if needed > free:
        raise too_small(room, needed, free, "the archive")
    return size


def too_small(room: Room, needed: int, free: int, what: str) -> CannotWrite:
    """The words for a disk on which something does not fit."""
    return CannotWrite(
        "%s needs about %s and %s has %s free: %s too few"
        % (what, in_words(needed), room.words, in_words(free), in_words(needed - free)),
        "make room, choose another folder, or insist with ignore_space (--ignore-space)",
    )


def room_of(folder: str) -> Room:
    """Of the file system on which `folder` lies, or would lie if it is not there yet. Quotas cannot be known."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    seen = os.statvfs(folder)
    # Some of FUSE and 9p count no blocks at all.
    free = seen.f_bavail * seen.f_frsize if seen.f_blocks else None
    device, mount_point = _mount_of(folder)
    return Room(device=device, mount_point=mount_point, free=free)


def _mount_of(folder: str) -> Tuple[str, str]:
    """(device, mount point): proc_pid_mountinfo(5), the longest mount point that the folder lies below, the last one
    mounted there."""
    folder = os.path.realpath(folder)
    best, device = "/", ""
    try:
        with open("/proc/self/mountinfo", "rb") as lines:
            for line in lines:
                fields, _dash, rest = line.partition(b" - ")
                point = os.fsdecode(_unescaped(fields.split()[4]))
                if len(point) >= len(best) and (folder + "/").startswith(point.rstrip("/") + "/"):
                    best, device = point, os.fsdecode(_unescaped(rest.split()[1]))
    except (OSError, IndexError):
        pass
    return device, best


def _unescaped(text: bytes) -> bytes:
    for octal, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        text = text.replace(octal, char)
    return text


def _blocks(path: str) -> int:
    """Bytes that a file of ours takes on its disk; 0 if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_blocks * 512 if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() else 0
