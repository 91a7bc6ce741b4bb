# SPDX-License-Identifier: Apache-2.0
"""An archive from the pieces of its tar that came and the files that were here already: byte by byte the one that the
other host would have made, as far as both have the same compressor."""

from typing import IO, Any, Callable, Container, Iterable, Iterator, NamedTuple, Optional, Union

from .. import archive, check, store
from ..errors import BadDump
from ..model import Json
from ..tarstream import reader, sparse
from ..wire.frames import Broken
from ..wire.parcel import Reference

_CHUNK = 1 << 20


class Damaged(Broken):
    """A file of the store is not what it was."""


class Rebuilt(NamedTuple):
    """A finished archive."""

    sha256: str
    """Of the archive, in hex."""
    size: int
    """Of the archive, in bytes."""
    saved: int
    """Bytes of its files that were here already."""
    manifest: Json


def rebuild(
    pieces: Iterable[Union[bytes, Reference]], sink: Any, archive_format: str, level: Optional[int],
    folder: Optional[str], new: Container[str], progress: Callable[[int], None],
) -> Rebuilt:  # fmt: skip
    """Write it into `sink`, and hold it against its manifest and its SHA256SUMS meanwhile. `folder` is the content
    store, `new` what came into it for this archive, `progress` hears how many bytes the tar has so far. Raises BadDump
    if it is no sound archive, Broken if a file is not there, or is damaged, which takes it out of the store, and what
    `pieces` raises."""
    counted = archive.Counted(sink)
    with archive.encoder(counted, archive_format, level) as encoded:
        tar = _Tar(pieces, encoded, folder, new, progress)
        # Which build IDs its files have takes a second look at them: verify has it.
        held = check.Check("what came", reader.members(tar), 1, build_ids=False)  # type: ignore[arg-type]  # reads as a file
        held.run(check.Receiver())
        if held.problems:
            raise BadDump("what came is no sound archive: %s" % held.problems[0])
    return Rebuilt(counted.hash.hexdigest(), counted.size, tar.saved, held.manifest)


class _Tar:
    """The tar, as a file that can only be read; what is read of it has gone into the sink."""

    def __init__(
        self, pieces: Iterable[Union[bytes, Reference]], sink: Any, folder: Optional[str], new: Container[str],
        progress: Callable[[int], None],
    ) -> None:  # fmt: skip
        self.saved = 0
        self._chunks = self._all(pieces, folder, new)
        self._sink, self._progress = sink, progress
        self._done = 0
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
            self._sink.write(self._rest)
            self._done += len(self._rest)
            self._progress(self._done)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def _all(
        self, pieces: Iterable[Union[bytes, Reference]], folder: Optional[str], new: Container[str]
    ) -> Iterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Reference):
                yield from _content(piece, folder)
                self.saved += 0 if piece.sha256 in new else sparse.stored_size(piece.extents)
            else:
                yield piece


def _content(piece: Reference, folder: Optional[str]) -> Iterator[bytes]:
    """A file's data."""
    file = store.open_content(folder, piece.sha256, piece.size) if folder else None
    if file is None:
        raise Damaged("the file with SHA-256 %s is not in the store any more" % piece.sha256, "try again")
    hasher = sparse.Hasher(piece.extents, piece.size)
    with file:
        for offset, size in piece.extents:
            file.seek(offset)
            for chunk in _extent(file, size):
                hasher.update(chunk)
                yield chunk
    if hasher.digest() != sparse.Digest(sparse.SHA256, piece.sha256):
        # Which of its bytes are taken is the other host's word.
        damaged = store.drop_damaged(folder or "", piece.sha256)
        words = "was damaged in the store %s and is taken out of it" % folder if damaged else "has other bytes here"
        raise Damaged("the file with SHA-256 %s %s" % (piece.sha256, words), "try again")


def _extent(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            raise Damaged("a file in the store is shorter than it was", "try again")
        yield chunk
        size -= len(chunk)
