# SPDX-License-Identifier: Apache-2.0
"""Zstandard (RFC 8878): libzstd through ctypes, else Python's own compression.zstd, else the zstd program.

The library comes first: it is the same for every Python, given one block at a time it delivers every byte before
damage, and it needs no process. compression.zstd (Python 3.14) helps where Python brings its own zstd and the host has
none. The program comes last: a process, threads and a pipe, and it keeps the place of damage to itself.
"""

from typing import IO, Any, Optional

from ..errors import ToolMissing, UsageError
from . import _libzstd, _native, _program
from ._stream import SMALL_FEED, Reader, after_skippable, cpus

NAME = "zstd"
SUFFIX = ".zst"

_MAGIC = b"\x28\xb5\x2f\xfd"
_HINT = "install libzstd (Debian: libzstd1) or zstd"

# The default of libzstd and of the program.
_LEVEL = 3
# Each worker compresses jobs of this size. libzstd's own choice for level 3 is 8 MiB; a GiB of programs, heap, noise
# and zero pages with 2 workers: 8 MiB jobs 74 MB of memory and 426.4 MB written, 4 MiB 50 and 426.4, 2 MiB 38 and
# 426.6, 1 MiB 30 and 426.8, all in the same time. With 8 workers 2 MiB jobs take 63 MB.
_JOB_SIZE = 2 << 20
# libzstd keeps one job in waiting. One worker more than processors keeps these busy while the caller reads, hashes and
# fills the next job: 2 processors, 3 workers 3.1 s, 2 workers 3.3 s, tar -S | zstd -T0 3.1 s.
_SPARE_WORKERS = 1
# Beyond this the one thread that reads and hashes is the bottleneck (1.6 GB/s against 0.3 GB/s for each of these).
_MAX_WORKERS = 8


def sniff(head: bytes) -> bool:
    return after_skippable(head)[:4] == _MAGIC


def available() -> bool:
    return _libzstd.library() is not None or _module() is not None or _program.have("zstd")


def is_native() -> bool:
    """Whether it is read without a program, which would keep to itself why its input broke off."""
    return _libzstd.library() is not None or _module() is not None


def can_write() -> bool:
    return _libzstd.can_compress() or _program.have("zstd")


def reader(fileobj: IO[bytes]) -> Any:
    """Raises ToolMissing. Frames whose window is above 128 MiB (zstd --ultra --long=28) are refused, as zstd does."""
    if _libzstd.library() is not None:
        decoder = _libzstd.Decoder()
        return Reader(
            fileobj, NAME, lambda: _native.Frame(decoder.step, _libzstd.FIRST), (_native.DamagedFrame,)
        )  # fmt: skip
    module = _module()
    if module is not None:
        return Reader(fileobj, NAME, module.ZstdDecompressor, (module.ZstdError,), feed=SMALL_FEED)
    if _program.have("zstd"):
        return _program.ProgramReader(fileobj, NAME, ["zstd", "-q", "-dc"])
    raise ToolMissing("this host cannot read zstd", _HINT + ", or unpack the file first")


def writer(sink: Any, level: Optional[int] = None, threads: Optional[int] = None) -> Any:
    """A writer of one frame with a checksum of the content.

    The output is the same for any number of workers from one up, but not that of none (facebook/zstd#2238), so there is
    always one. Nor does it depend on how the data was cut into writes: the call that ends the frame brings no data and
    is not the first, for a first call that ends it takes another way (facebook/zstd#2327).

    Raises ToolMissing, and UsageError for a level that is not 1 to 19."""
    if level is not None and not 1 <= level <= 19:
        raise UsageError("zstd has no level %d" % level, "choose 1 to 19")
    level = level or _LEVEL
    workers = min(threads or cpus() + _SPARE_WORKERS, _MAX_WORKERS)
    if _libzstd.can_compress():
        parameters = {
            _libzstd.LEVEL: level,
            _libzstd.CHECKSUM: 1,
            _libzstd.WORKERS: workers,
            _libzstd.JOB_SIZE: _JOB_SIZE,
        }
        return _libzstd.Writer(sink, parameters)
    if _program.have("zstd"):
        arguments = ["zstd", "-q", "-c", "--check", "-T%d" % workers, "-B%d" % _JOB_SIZE, "-%d" % level]
        return _program.ProgramWriter(sink, NAME, arguments)
    raise ToolMissing("this host cannot write zstd", _HINT + ", or use --format tar.gz")


def _module() -> Any:
    try:
        from compression import zstd  # novermin
    except ImportError:
        return None
    return zstd
