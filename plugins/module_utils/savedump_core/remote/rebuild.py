# SPDX-License-Identifier: Apache-2.0
"""An archive from the pieces of its tar that came and the files that were here already: byte by byte the one that the
other host would have made, as far as both have the same compressor."""

from typing import IO, Any, Callable, Container, Iterable, NamedTuple, Optional, Union

from .. import archive, store
from ..tarstream import sparse
from ..wire.frames import Broken
from ..wire.parcel import Reference

_CHUNK = 1 << 20


class Rebuilt(NamedTuple):
    """A finished archive."""

    sha256: str
    """Of the archive, in hex."""
    size: int
    """Of the archive, in bytes."""
    saved: int
    """Bytes of its files that were here already."""


def rebuild(
    pieces: Iterable[Union[bytes, Reference]], sink: Any, archive_format: str, level: Optional[int],
    folder: Optional[str], new: Container[str], progress: Callable[[int], None],
) -> Rebuilt:  # fmt: skip
    """Write it into `sink`; `folder` is the content store, `new` what came into it for this archive, `progress` hears
    how many bytes the tar has so far. Raises Broken if a file is not there, or is
    damaged, which takes it out of the store, and what `pieces` raises."""
    counted = archive.Counted(sink)
    done = saved = 0
    with archive.encoder(counted, archive_format, level) as encoded:
        for piece in pieces:
            if isinstance(piece, Reference):
                _copy(piece, folder, encoded)
                size = sparse.stored_size(piece.extents)
                saved += 0 if piece.sha256 in new else size
                done += size
            else:
                encoded.write(piece)
                done += len(piece)
            progress(done)
    return Rebuilt(counted.hash.hexdigest(), counted.size, saved)


def _copy(piece: Reference, folder: Optional[str], sink: Any) -> None:
    """Write a file's data."""
    file = store.open_content(folder, piece.sha256, piece.size) if folder else None
    if file is None:
        raise Broken("the file with SHA-256 %s is not in the store any more" % piece.sha256, "try again")
    hasher = sparse.Hasher(piece.extents, piece.size)
    with file:
        for offset, size in piece.extents:
            file.seek(offset)
            _extent(file, size, hasher, sink)
    if hasher.digest() != sparse.Digest(sparse.SHA256, piece.sha256):
        # Which of its bytes are taken is the other host's word.
        damaged = store.drop_damaged(folder or "", piece.sha256)
        words = "was damaged in the store %s and is taken out of it" % folder if damaged else "has other bytes here"
        raise Broken("the file with SHA-256 %s %s" % (piece.sha256, words), "try again")


def _extent(file: IO[bytes], size: int, hasher: sparse.Hasher, sink: Any) -> None:
    while size:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            raise Broken("a file in the store is shorter than it was", "try again")
        hasher.update(chunk)
        sink.write(chunk)
        size -= len(chunk)
