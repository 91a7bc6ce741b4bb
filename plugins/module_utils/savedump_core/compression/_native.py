# SPDX-License-Identifier: Apache-2.0
"""C libraries through ctypes: finding them, handing them buffers, and decoding a frame with their streaming calls."""

from typing import Any, Callable, NamedTuple, Optional

# Room for what one call decodes: a zstd block at its largest (RFC 8878, section 3.1.1.2.4).
ROOM = 1 << 17


def load(name: str) -> Any:
    """The library, or None without it or without ctypes (an optional part of Python; absent from some builds)."""
    try:
        import ctypes
    except ImportError:
        return None
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def address_of(data: Any) -> Any:
    """A void pointer to the bytes of `data` without copying them. It keeps `data` alive; read-only data that is not
    bytes has to be made bytes before."""
    import ctypes

    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
    return ctypes.cast((ctypes.c_char * len(data)).from_buffer(data), ctypes.c_void_p)


def content_of(buffer: Any, size: int) -> bytes:
    """The first bytes of a ctypes buffer."""
    import ctypes

    return ctypes.string_at(buffer, size)


class Step(NamedTuple):
    """What one call of a streaming decoder did."""

    consumed: int
    output: bytes
    wanted: int
    """Bytes of input that the decoder would like next; 0 at the end of the frame."""


class DamagedFrame(Exception):
    """The library refused the data; its words."""


class Frame:
    """One frame, with the interface of bz2.BZ2Decompressor, behind step(address, size, room) -> Step; a step has at
    most ROOM bytes of output. `first` is how much input the first step wants.

    Both libraries say how much they want next, and that is one block. Given just this, a call that fails throws away
    no earlier block: all that can be decoded comes out."""

    def __init__(self, step: Callable[[int, int, int], Step], first: int) -> None:
        self._step = step
        self._wanted = first
        self._data = b""
        self._at = 0
        self._full = False
        self.eof = False

    @property
    def unused_data(self) -> bytes:
        return self._data[self._at :]

    @property
    def needs_input(self) -> bool:
        return self._at == len(self._data) and not self._full

    @property
    def backlog(self) -> int:
        return len(self._data) - self._at

    def decompress(self, data: bytes, limit: int) -> bytes:
        """Raises DamagedFrame."""
        if data:
            self._data, self._at = self._data[self._at :] + data, 0
        room = min(limit, ROOM)
        base = address_of(self._data).value or 0
        while True:
            size = min(self._wanted, len(self._data) - self._at)
            step = self._step(base + self._at, size, room)
            self._at += step.consumed
            self._wanted = step.wanted
            self._full = len(step.output) == room
            self.eof = not step.wanted
            if self.eof or step.output or self._at == len(self._data):
                return step.output


def words(text: Optional[bytes]) -> str:
    """A library's error message."""
    return (text or b"").decode("ascii", "replace")
