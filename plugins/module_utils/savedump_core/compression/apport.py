# SPDX-License-Identifier: Apache-2.0
"""The core inside an apport crash report (apport, problem_report.py): a text file of "Key: value" lines, in which

    CoreDump: base64
     H4sICAAAAAAC/0NvcmVEdW1wAA==
     7L0JfBRF+jDcPcfRM5...

is base64, encoded line by line. What comes out is one stream: gzip with its header in a line of its own; zlib before
2010; bzip2 in the first releases; and zstd, lz4 or xz where systemd-coredump had written the core before apport took
it. A line is as long as its writer had data at hand: a gigabyte, at worst. VmCore is the same of a kernel's dump.
"""

import binascii
import zlib
from typing import IO, Any

from ..errors import BadDump
from . import bzip2, gzip, lz4, xz, zstd
from ._stream import INPUT, Reader

NAME = "apport"
SUFFIX = ".crash"

_KEYS = (b"\nCoreDump:", b"\nVmCore:")
_INNER = (gzip, zstd, lz4, xz, bzip2)
_HEAD = 64


def sniff(head: bytes) -> bool:
    """ProblemType is written first, whatever else a report has."""
    return head[:12] == b"ProblemType:"


def available() -> bool:
    return True


def reader(fileobj: IO[bytes]) -> Any:
    """What the field CoreDump holds. Read() raises BadDump if there is none, and ToolMissing as the codec within."""
    return _Report(fileobj)


class _Report:
    """As Reader; the field is looked for when it is first read from."""

    def __init__(self, fileobj: IO[bytes]) -> None:
        self._file = fileobj
        self._inner: Any = None

    def read(self, size: int = INPUT) -> bytes:
        if self._inner is None:
            field = _Field(self._file)
            if not field.find():
                raise BadDump("the crash report has no core in it (no field CoreDump)")
            self._inner = _decoder(field)
        return self._inner.read(size)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()


def _decoder(field: "_Field") -> Any:
    head = field.read(_HEAD)
    field.put_back(head)
    for codec in _INNER:
        if codec.sniff(head):
            return codec.reader(field)  # type: ignore[arg-type]  # reads as a file
    return Reader(field, "zlib", _Zlib, (zlib.error,))  # type: ignore[arg-type]  # reads as a file


class _Zlib(gzip._Member):
    def __init__(self) -> None:
        super().__init__()
        self._inflate = zlib.decompressobj()


class _Field:
    """The decoded bytes of the field, with read(size); never more of it in memory than was read at a time."""

    def __init__(self, fileobj: IO[bytes]) -> None:
        self._file = fileobj
        self._text = b"\n"
        """Read from the file and not decoded yet."""
        self._fresh = True
        """Whether that begins with the start of a line."""
        self._looked_at = False
        """Whether nothing can be made of it without more."""
        self._ready = b""
        self._ended = False

    def find(self) -> bool:
        """Go to the first line behind the key; False if there is none, or it is not in base64."""
        longest = max(len(key) for key in _KEYS)
        while True:
            places = [at for at in (self._text.find(key) for key in _KEYS) if at >= 0]
            if places:
                self._text = self._text[min(places) + 1 :]
                break
            self._text = self._text[-longest:]
            if not self._fill():
                return False
        while b"\n" not in self._text and len(self._text) < INPUT and self._fill():
            pass
        line, _newline, self._text = self._text.partition(b"\n")
        return line.partition(b":")[2].strip() == b"base64"

    def read(self, size: int = INPUT) -> bytes:
        while not self._ready and not self._ended:
            if self._looked_at and not self._fill():
                # Cut within a line, or the last of the file: the codec within says what that means.
                self._ended = True
                break
            self._ready = self._decode()
            self._looked_at = True
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def put_back(self, data: bytes) -> None:
        self._ready = data + self._ready

    def _decode(self) -> bytes:
        """What the lines that are there hold; of the last as many groups of four letters as are there."""
        ready = []
        lines = self._text.split(b"\n")
        last = len(lines) - 1
        self._text = b""
        for number, line in enumerate(lines):
            if self._fresh:
                if not line and number == last:
                    break
                if line[:1] != b" ":
                    self._ended = True
                    break
                line = line[1:]
            self._fresh = number < last
            whole = len(line) if self._fresh else len(line) // 4 * 4
            ready.append(_from_base64(line[:whole]))
            self._text = line[whole:]
        return b"".join(ready)

    def _fill(self) -> bool:
        data = self._file.read(INPUT)
        self._text += data
        return bool(data)


def _from_base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except binascii.Error as error:
        raise BadDump("the crash report is damaged: %s" % error) from None
