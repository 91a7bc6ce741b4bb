# SPDX-License-Identifier: Apache-2.0
"""Readers of a compressed stream that can be split in two, to go on from the same place twice. Only zlib can copy a
decoder, so only gzip has them; one takes some 100 KiB (a window of 32, and input that was not decoded yet).
"""

import zlib
from typing import Any

from . import gzip
from ._stream import Reader


def reader(codec: Any, file: Any) -> Any:
    """codec.reader(file), with fork() if it can be had. `file` has read(size) and again(position)."""
    return _Reader(file) if codec is gzip else codec.reader(file)


def has(stream: Any) -> bool:
    """True if this reader has fork()."""
    return isinstance(stream, _Reader)


class _Member(gzip._Member):
    def copy(self) -> "_Member":
        """The same decoder once more, without the input that it was given and did not decode: `backlog` bytes."""
        other = _Member()
        other._inflate = self._inflate.copy()
        other._full = self._full
        other._error = self._error
        return other


class _Reader(Reader):
    def __init__(self, file: Any) -> None:
        super().__init__(file, gzip.NAME, _Member, (zlib.error,), padding=True)

    def fork(self) -> "_Reader":
        """Another reader that goes on from here, with a position of its own in the file."""
        ahead = len(self._input) - self._at + (self._decoder.backlog if self._decoder else 0)
        other = _Reader(self._file.again(self._taken - ahead))  # type: ignore[attr-defined]  # a forkable file
        other._decoder = self._decoder.copy() if self._decoder else None
        other._taken = self._taken - ahead
        other._members, other._ended, other._damage = self._members, self._ended, self._damage
        return other
