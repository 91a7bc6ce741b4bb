# SPDX-License-Identifier: Apache-2.0
"""What the codecs share: reading member after member (frame after frame) with bounded memory, and small helpers."""

import os
from typing import IO, Any, Callable, Tuple, Type

from ..errors import BadDump

# Compressed bytes taken from the file at a time.
INPUT = 1 << 16
# Decompressed bytes asked from a decoder at a time: a bomb costs time, never memory.
PIECE = 1 << 17
# Compressed bytes given to a decoder that throws away what a call has decoded when it meets damage in the same call
# (bz2, lzma): so little is lost. The calls cost less than a tenth of the decoding.
SMALL_FEED = 1 << 10


def cpus() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_all(sink: Any, data: bytes) -> None:
    """Write all of `data`: a raw file may take less than it was given (write(2))."""
    view = memoryview(data)
    while view:
        taken = sink.write(view if len(view) < len(data) else data)
        if taken is None or taken >= len(view):
            return
        view = view[taken:]


def after_skippable(head: bytes) -> bytes:
    """`head` without leading skippable frames, which zstd and lz4 share (RFC 8878, section 3.1.2; lz4 frame format
    1.6.1): pzstd and seekable zstd begin with one. b"" if they reach beyond `head`."""
    while len(head) >= 8 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18":
        head = head[8 + int.from_bytes(head[4:8], "little") :]
    return head


class Reader:
    """The decompressed bytes of a file, of all its members or frames one after the other.

    A decoder is what bz2.BZ2Decompressor is: decompress(data, max_length), eof, needs_input, unused_data; where it also
    has `backlog` (bytes taken and not yet decoded), the place of damage is told more exactly."""

    def __init__(
        self,
        fileobj: IO[bytes],
        name: str,
        new_decoder: Callable[[], Any],
        errors: Tuple[Type[BaseException], ...],
        feed: int = INPUT,
        padding: bool = False,
    ) -> None:
        """`errors` are what the decoder raises for bad data; `padding`: zeros between and after members are fine."""
        self._file = fileobj
        self._name = name
        self._new_decoder = new_decoder
        self._errors = errors
        self._feed = feed
        self._padding = padding
        self._decoder: Any = None
        self._input = b""
        self._at = 0
        self._taken = 0
        self._members = 0
        self._ended = False
        self._damage = ""

    def read(self, size: int = INPUT) -> bytes:
        """Up to `size` bytes, fewer only at the end or before damage; b"" at the end. Raises BadDump once all that can
        be decoded was read, and OSError as the file does."""
        pieces = []
        while size > 0:
            piece = self._piece(min(size, PIECE))
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        if self._damage and not pieces and size > 0:
            raise BadDump(self._damage)
        return b"".join(pieces)

    def close(self) -> None:
        """Drop the decoder; the file stays open."""
        self._decoder = None
        self._ended = True

    def _piece(self, limit: int) -> bytes:
        while not self._ended and not self._damage:
            if self._decoder is None and not self._begin():
                break
            decoder = self._decoder
            data = b""
            if decoder.needs_input:
                data = self._take()
                if not data:
                    self._damage = "the %s stream ends early at byte %d" % (self._name, self._taken)
                    break
            try:
                piece: bytes = decoder.decompress(data, limit)
            except self._errors as error:
                at = self._taken - len(self._input) + self._at - getattr(decoder, "backlog", 0)
                self._damage = "the %s stream is corrupt at byte %d (%s)" % (self._name, at, error)
                break
            if decoder.eof:
                self._input, self._at = decoder.unused_data + self._input[self._at :], 0
                self._decoder = None
            if piece:
                return piece
        return b""

    def _begin(self) -> bool:
        """Start the next member; False at the end of the file."""
        more = self._fill()
        while more and self._padding and self._members and self._input[self._at] == 0:
            self._input, self._at = self._input[self._at :].lstrip(b"\0"), 0
            more = self._fill()
        if not more and self._members:
            self._ended = True
            return False
        self._members += 1
        self._decoder = self._new_decoder()
        return True

    def _take(self) -> bytes:
        self._fill()
        data = self._input[self._at : self._at + self._feed]
        self._at += len(data)
        return data

    def _fill(self) -> bool:
        """See to it that there is input; False at the end of the file."""
        if self._at == len(self._input):
            self._input, self._at = self._file.read(INPUT), 0
            self._taken += len(self._input)
        return bool(self._input)
