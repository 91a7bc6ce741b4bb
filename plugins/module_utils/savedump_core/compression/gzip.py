# SPDX-License-Identifier: Apache-2.0
"""gzip (RFC 1952): read with zlib; written by several threads as one member, like pigz does.

The data is cut into blocks of one size. Each is deflated on its own, but with the 32 KiB before it as dictionary, so
that hardly any match is lost, and flushed to a whole byte, so that the pieces can be put one behind the other. What a
block becomes depends on these bytes only: the number of threads does not show in the output.
"""

import zlib
from collections import deque
from typing import IO, Any, Callable, Deque, Optional

from ..errors import UsageError
from ._stream import Reader, cpus, write_all

NAME = "gzip"
SUFFIX = ".gz"

# Method deflate; no flags, so no name; no time; no extra flags; Unix.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
# An empty last block with fixed Huffman codes (RFC 1951, section 3.2.6), as pigz ends its streams.
_LAST_BLOCK = b"\x03\x00"
_RAW = -15
_GZIP_WRAPPER = 31
_WINDOW = 1 << 15
_MEM_LEVEL = 8

# A GiB of programs, heap, noise and zero pages, zlib 1.2.13, seconds of CPU (ours with SHA-256) and MB written:
# pigz, level 6: 33 s, 430 MB. Here level 6: 33 s, 430 MB; 5: 23 s, 434 MB; 4: 19 s, 442 MB; 3: 18 s, 447 MB; 1: 15 s,
# 460 MB. Level 5 pays for the hash with room to spare and gives up 0.8 %.
_LEVEL = 5
# The same by isal (python-isal on PyPI, Intel ISA-L), if it is there and no level was asked for: level 1: 2.9 s,
# 461 MB; 2: 2.9 s, 457 MB; 3: 4.7 s, 457 MB. zlib-ng lies between (5: 11.8 s, 437 MB), not worth a third way.
_ISAL_LEVEL = 2
# CPU for level 6 by block size: 128 KiB 34.8 s, 256 KiB 33.0 s, 512 KiB 32.8 s, 1 MiB 32.4 s; output within 0.03 %.
# Peak of a whole process with incompressible data, 16 threads: 256 KiB 36 MB, 512 KiB 55 MB.
_BLOCK = 1 << 18
# A block is stored as it is if this much from its middle would not shrink by 5 % at level 1. CPU and size of a 17 MB
# kernel dump of zlib pages: 0.09 s and 96.8 % instead of 0.44 s and 95.0 %; of 60 MB of noise: 0.07 s, not 1.5 s.
_SAMPLE, _PACKED = 1 << 14, 0.95
# More are too many for the one thread that reads and hashes (1.6 GB/s; a thread deflates 45 MB/s at level 5, isal 400).
# Memory with isal: 4 threads 41 MB, 8 62 MB, 16 111 MB.
_MAX_THREADS, _MAX_ISAL_THREADS = 16, 4


def sniff(head: bytes) -> bool:
    return head[:3] == b"\x1f\x8b\x08"


def available() -> bool:
    return True


def is_native() -> bool:
    return True


def can_write() -> bool:
    return True


def reader(fileobj: IO[bytes]) -> Reader:
    return Reader(fileobj, NAME, _Member, (zlib.error,), padding=True)


def writer(sink: Any, level: Optional[int] = None, threads: Optional[int] = None) -> "Writer":
    """Raises UsageError for a level that is not 1 to 9."""
    if level is not None and not 1 <= level <= 9:
        raise UsageError("gzip has no level %d" % level, "choose 1 to 9")
    isal = _isal() if level is None else None
    if isal is not None:
        return Writer(sink, _engine(isal, _ISAL_LEVEL), min(threads or cpus(), _MAX_ISAL_THREADS))
    return Writer(sink, _engine(zlib, level or _LEVEL), min(threads or cpus(), _MAX_THREADS))


def _isal() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib


def _engine(module: Any, level: int) -> Callable[[bytes], Any]:
    """What makes a compressor for a block, given the bytes before it."""
    return lambda before: module.compressobj(level, zlib.DEFLATED, _RAW, _MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, before)


class Writer:
    """Compresses what is written and passes it on to a sink with write(bytes), always from the caller's own thread."""

    def __init__(self, sink: Any, engine: Callable[[bytes], Any], threads: int) -> None:
        self._sink = sink
        self._engine = engine
        # Its threads end when they are told to, and also when nobody holds the pool any more.
        from concurrent.futures import ThreadPoolExecutor  # dear: reading alone must not pay for it

        self._pool: Any = ThreadPoolExecutor(threads)
        # The oldest block is waited for only when there is work for all threads, and some in reserve.
        self._depth = threads + 4
        self._under_way: Deque[Any] = deque()
        self._block = bytearray()
        self._before = b""
        self._crc = 0
        self._size = 0
        self._begun = False

    def write(self, data: bytes) -> None:
        """Take `data`; raises the sink's OSError, after which the stream is dead."""
        if self._pool is None:
            raise ValueError("write to a closed writer")
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        view = memoryview(data)
        while view:
            room = _BLOCK - len(self._block)
            self._block += view[:room]
            view = view[room:]
            if len(self._block) == _BLOCK:
                self._submit()

    def close(self) -> None:
        """Write what is under way and the trailer. After an error there is nothing left to do."""
        if self._pool is None:
            return
        if self._block:
            self._submit()
        while self._under_way:
            self._pass_on()
        trailer = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        self._write(_LAST_BLOCK + trailer)
        self.abort()

    def abort(self) -> None:
        """Give up without waiting: no more is written to the sink."""
        if self._pool is not None:
            while self._under_way:
                self._under_way.popleft().cancel()
            self._pool.shutdown(wait=False)
            self._pool = None

    def _submit(self) -> None:
        self._under_way.append(self._pool.submit(_deflate, self._engine, self._block, self._before))
        self._before = bytes(self._block[-_WINDOW:])
        self._block = bytearray()
        while len(self._under_way) > self._depth:
            self._pass_on()

    def _pass_on(self) -> None:
        self._write(self._under_way.popleft().result())

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._sink, data if self._begun else _HEADER + data)
            self._begun = True
        except BaseException:
            self.abort()
            raise


def _deflate(engine: Callable[[bytes], Any], block: bytearray, before: bytes) -> bytes:
    compressor = zlib.compressobj(0, zlib.DEFLATED, _RAW) if _is_packed(block) else engine(before)
    return compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)


def _is_packed(block: bytearray) -> bool:
    """True for data that deflate would not make smaller, such as a kernel dump's compressed pages."""
    at = len(block) // 2
    sample = block[at : at + _SAMPLE]
    return len(sample) == _SAMPLE and len(zlib.compress(sample, 1)) > _SAMPLE * _PACKED


class _Member:
    """One gzip member, with the interface of bz2.BZ2Decompressor."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WRAPPER)
        self._tail = b""
        self._full = False
        self._error: Optional[zlib.error] = None

    @property
    def eof(self) -> bool:
        return self._inflate.eof and not self._error

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    @property
    def needs_input(self) -> bool:
        return not (self._tail or self._full or self._error)

    @property
    def backlog(self) -> int:
        return len(self._tail)

    def decompress(self, data: bytes, limit: int) -> bytes:
        if self._error:
            raise self._error
        data = self._tail + data if self._tail else data
        # A call that fails throws away what it decoded. The copy (under 50 KiB) is there to decode that once more.
        spare = self._inflate.copy()
        try:
            piece = self._inflate.decompress(data, limit)
        except zlib.error as error:
            self._error = error
            return self._salvage(spare, data, limit)
        self._tail = self._inflate.unconsumed_tail
        self._full = len(piece) == limit
        return piece

    def _salvage(self, inflate: Any, data: bytes, limit: int) -> bytes:
        """What can be decoded before the damage, byte by byte."""
        pieces = b""
        for at in range(len(data)):
            self._tail = data[at:]
            try:
                pieces += inflate.decompress(data[at : at + 1], limit - len(pieces) or 1)
            except zlib.error:
                break
        return pieces
