# SPDX-License-Identifier: Apache-2.0
"""lz4 frames: liblz4 through ctypes, else the lz4 program.

The library comes first: it needs no process and tells the place of damage. Calls as in lz4frame.h, which has had them
unchanged since 1.7.
"""

from functools import lru_cache
from typing import IO, Any

from ..errors import ToolMissing
from . import _native, _program
from ._stream import Reader, after_skippable

NAME = "lz4"
SUFFIX = ".lz4"

_MAGIC = b"\x04\x22\x4d\x18"
# LZ4F_VERSION of lz4frame.h.
_VERSION = 100
# LZ4F_HEADER_SIZE_MIN
_FIRST = 7


def sniff(head: bytes) -> bool:
    return after_skippable(head)[:4] == _MAGIC


def available() -> bool:
    return _library() is not None or _program.have("lz4")


def reader(fileobj: IO[bytes]) -> Any:
    """Raises ToolMissing."""
    library = _library()
    if library is not None:
        decoder = _Decoder(library)
        return Reader(fileobj, NAME, lambda: _native.Frame(decoder.step, _FIRST), (_native.DamagedFrame,))
    if _program.have("lz4"):
        return _program.ProgramReader(fileobj, NAME, ["lz4", "-dc"])
    raise ToolMissing("this host cannot read lz4", "install liblz4 (Debian: liblz4-1) or lz4, or unpack the file first")


@lru_cache(maxsize=None)
def _library() -> Any:
    library = _native.load("liblz4.so.1")
    if library is None or not hasattr(library, "LZ4F_decompress"):
        return None
    import ctypes

    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    for name, result, arguments in (
        ("LZ4F_createDecompressionContext", size, [ctypes.POINTER(pointer), ctypes.c_uint]),
        ("LZ4F_freeDecompressionContext", size, [pointer]),
        ("LZ4F_decompress", size, [pointer, pointer, ctypes.POINTER(size), pointer, ctypes.POINTER(size), pointer]),
        ("LZ4F_isError", ctypes.c_uint, [size]),
        ("LZ4F_getErrorName", ctypes.c_char_p, [size]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class _Decoder:
    """A decompression context: one frame after the other."""

    def __init__(self, library: Any) -> None:
        import ctypes

        self._library = library
        self._context = ctypes.c_void_p()
        self._output = ctypes.create_string_buffer(_native.ROOM)
        self._consumed, self._produced = ctypes.c_size_t(), ctypes.c_size_t()
        self._call(library.LZ4F_createDecompressionContext, self._context, _VERSION)

    def step(self, source: int, size: int, room: int) -> _native.Step:
        self._consumed.value, self._produced.value = size, room
        wanted = self._call(
            self._library.LZ4F_decompress, self._context, self._output, self._produced, source, self._consumed, None
        )
        return _native.Step(self._consumed.value, _native.content_of(self._output, self._produced.value), wanted)

    def _call(self, function: Any, *arguments: Any) -> int:
        result: int = function(*arguments)
        if self._library.LZ4F_isError(result):
            raise _native.DamagedFrame(_native.words(self._library.LZ4F_getErrorName(result)))
        return result

    def __del__(self) -> None:
        if self._context:
            self._library.LZ4F_freeDecompressionContext(self._context)
