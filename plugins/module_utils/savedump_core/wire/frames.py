# SPDX-License-Identifier: Apache-2.0
"""Frames on a pair of pipes: a letter, a length of four bytes (big endian), and so many bytes.

    J    a document, as JSON in ASCII
    F    a failure, likewise: what was asked for ends here
    D    data: the next bytes of a stream
    E    the end of that stream; empty
    A    alive; empty, and means nothing but that
"""

import json
import struct
import threading
from typing import Any, Callable, NamedTuple

from ..errors import SavedumpError
from ..model import Json

DOCUMENT, FAILURE, DATA, END, ALIVE = b"J", b"F", b"D", b"E", b"A"
_HEAD = struct.Struct(">cI")
MAX_DATA = 1 << 20
# The list of ten thousand dumps has 8 MB.
MAX_DOCUMENT = 64 << 20
MAX_FAILURE = 1 << 16
_MAX_WORDS = 4000
# Commas, brackets and colons, each of which makes Python's JSON some 64 bytes: ten thousand dumps have a million.
_MAX_MARKS = 4 << 20
# Half a day at one in five seconds. No dump takes so long to be read.
_MAX_ALIVE = 8640


class Broken(SavedumpError):
    """The link was cut, or what came over it is nothing that the other end would send (EX_IOERR)."""

    exit_status = 74


class Failed(SavedumpError):
    """The other end says that it cannot, and why; its exit status is its own."""


class Frame(NamedTuple):
    kind: bytes
    data: bytes


class Sender:
    """Writes frames; two threads may."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        """`write` takes all it is given."""
        self._write = write
        self._lock = threading.Lock()

    def document(self, document: Json) -> None:
        self._send(DOCUMENT, json.dumps(document).encode("ascii"))

    def failure(self, error: SavedumpError) -> None:
        document = {"message": error.message, "hint": error.hint, "exit_status": error.exit_status}
        self._send(FAILURE, json.dumps(document).encode("ascii"))

    def write(self, data: bytes) -> int:
        """The next bytes of a stream, as frames."""
        view = memoryview(data)
        for at in range(0, len(view), MAX_DATA):
            self._send(DATA, bytes(view[at : at + MAX_DATA]))
        return len(data)

    def end(self) -> None:
        self._send(END, b"")

    def alive(self) -> None:
        self._send(ALIVE, b"")

    def _send(self, kind: bytes, data: bytes) -> None:
        with self._lock:
            self._write(_HEAD.pack(kind, len(data)) + data)


class Receiver:
    """Reads frames from whoever it does not trust."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """`read` gives at most so many bytes, b"" at the end."""
        self._read = read
        self.received = 0
        """Bytes that came, frames and all."""

    def document(self) -> Json:
        """The next document. Raises Broken, Failed."""
        frame = self._next()
        if frame.kind != DOCUMENT:
            raise Broken("a frame %r came in place of a document" % frame.kind)
        return _document(frame.data)

    def stream(self) -> "Stream":
        """The stream that follows: a file to be read. Its end must be read before the next document."""
        return Stream(self._next)

    def _next(self) -> Frame:
        for _turn in range(_MAX_ALIVE):
            kind, size = _HEAD.unpack(self._exactly(_HEAD.size))
            if size > {DOCUMENT: MAX_DOCUMENT, FAILURE: MAX_FAILURE, DATA: MAX_DATA}.get(kind, 0):
                raise Broken("a frame %r of %d bytes came" % (kind, size))
            data = self._exactly(size)
            if kind == FAILURE:
                raise _failed(_document(data))
            if kind != ALIVE:
                return Frame(kind, data)
        raise Broken("the other host says that it lives, and nothing else")

    def _exactly(self, size: int) -> bytes:
        return exactly(self._counted, size, "the connection ended")

    def _counted(self, size: int) -> bytes:
        data = self._read(size)
        self.received += len(data)
        return data


class Stream:
    """The data frames up to the end of the stream, as a file that can only be read."""

    def __init__(self, next_frame: Callable[[], Frame]) -> None:
        self._next = next_frame
        self._rest = memoryview(b"")
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, b"" at the end. Raises Broken, Failed."""
        while not self._rest and not self._ended:
            frame = self._next()
            if frame.kind == DATA and frame.data:
                self._rest = memoryview(frame.data)
            elif frame.kind == END:
                self._ended = True
            else:
                raise Broken("a frame %r came in the middle of a stream" % frame.kind)
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def drain(self) -> None:
        """Read what is left, up to the end. Raises Broken."""
        while self.read(MAX_DATA):
            pass


def exactly(read: Callable[[int], bytes], size: int, lacking: str) -> bytes:
    """So many bytes, of which `read` gives a part at a time. Raises Broken, with the words `lacking`, at the end."""
    parts = []
    while size:
        data = read(size)
        if not data:
            raise Broken(lacking, "try again")
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _document(data: bytes) -> Json:
    """What a document says. Every string in it can be a path: half a pair of surrogates that is no byte's escape, which
    only breaks what is written later, is nothing that the other end would send."""
    if sum(map(data.count, (b",", b":", b"[", b"{"))) > _MAX_MARKS:
        raise Broken("a document came that says more than there can be")
    try:
        document = json.loads(data.decode("ascii"))
        if b"\\u" in data:
            json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except (ValueError, RecursionError) as error:
        raise Broken("a document came that is none: %s" % str(error)[:_MAX_WORDS]) from None
    if not isinstance(document, dict):
        raise Broken("a document came that is none")
    return document


def _failed(document: Json) -> Failed:
    error = Failed(str(document.get("message"))[:_MAX_WORDS], str(document.get("hint") or "")[:_MAX_WORDS])
    status = document.get("exit_status")
    error.exit_status = status if isinstance(status, int) and 0 < status < 256 else 1
    return error
