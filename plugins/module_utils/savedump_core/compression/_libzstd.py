# SPDX-License-Identifier: Apache-2.0
"""libzstd through ctypes: calls, numbers and guarantees as in zstd.h. Loaded when first needed."""

from functools import lru_cache
from typing import Any, Dict, Optional

from ..errors import SavedumpError
from . import _native
from ._stream import write_all

# enum ZSTD_cParameter and ZSTD_EndDirective
LEVEL, CHECKSUM, WORKERS, JOB_SIZE = 100, 201, 400, 401
_CONTINUE, _END = 0, 2
# ZSTD_startingInputLength of a frame with magic number.
FIRST = 5
# Compressed bytes are passed on to the sink in pieces of at most this size.
_OUTPUT = 1 << 19


@lru_cache(maxsize=None)
def library() -> Any:
    """libzstd with its prototypes set, or None."""
    found = _native.load("libzstd.so.1")
    if found is None:
        return None
    import ctypes

    size, pointer, buffer = ctypes.c_size_t, ctypes.c_void_p, ctypes.POINTER(_buffer_type())
    for name, result, arguments in (
        ("ZSTD_isError", ctypes.c_uint, [size]),
        ("ZSTD_getErrorName", ctypes.c_char_p, [size]),
        ("ZSTD_createDCtx", pointer, []),
        ("ZSTD_freeDCtx", size, [pointer]),
        ("ZSTD_decompressStream", size, [pointer, buffer, buffer]),
        ("ZSTD_createCCtx", pointer, []),
        ("ZSTD_freeCCtx", size, [pointer]),
        ("ZSTD_CCtx_setParameter", size, [pointer, ctypes.c_int, ctypes.c_int]),
        ("ZSTD_compressStream2", size, [pointer, buffer, buffer, ctypes.c_int]),
    ):
        # Before 1.4.0 (Ubuntu 18.04 has 1.3.3) there is no ZSTD_compressStream2.
        function = getattr(found, name, None)
        if function is not None:
            function.restype, function.argtypes = result, arguments
    return found


def can_compress() -> bool:
    return hasattr(library(), "ZSTD_compressStream2")


@lru_cache(maxsize=None)
def _buffer_type() -> Any:
    """ZSTD_inBuffer and ZSTD_outBuffer, which are the same but for a const."""
    import ctypes

    class Buffer(ctypes.Structure):
        _fields_ = [("address", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t)]

    return Buffer


def _problem(result: int) -> str:
    """The library's words if this result is an error, else ""."""
    if not library().ZSTD_isError(result):
        return ""
    return _native.words(library().ZSTD_getErrorName(result))


class Decoder:
    """A decompression context: one frame after the other, skippable ones too."""

    def __init__(self) -> None:
        import ctypes

        self._library = library()
        self._context = self._library.ZSTD_createDCtx()
        self._memory = ctypes.create_string_buffer(_native.ROOM)
        self._input = _buffer_type()()
        self._output = _buffer_type()(ctypes.addressof(self._memory), 0, 0)

    def step(self, source: int, size: int, room: int) -> _native.Step:
        self._input.address, self._input.size, self._input.pos = source, size, 0
        self._output.size, self._output.pos = room, 0
        wanted = self._library.ZSTD_decompressStream(self._context, self._output, self._input)
        problem = _problem(wanted)
        if problem:
            raise _native.DamagedFrame(problem)
        return _native.Step(self._input.pos, _native.content_of(self._memory, self._output.pos), wanted)

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._library.ZSTD_freeDCtx(self._context)


class Writer:
    """Compresses what is written, in threads of the library's own, and passes it on to a sink with write(bytes)."""

    def __init__(self, sink: Any, parameters: Dict[int, int]) -> None:
        import ctypes

        self._library = library()
        self._sink = sink
        self._context: Optional[int] = self._library.ZSTD_createCCtx()
        for parameter, value in parameters.items():
            # Refused by a library built without threads: then it works in ours.
            self._library.ZSTD_CCtx_setParameter(self._context, parameter, value)
        self._memory = ctypes.create_string_buffer(_OUTPUT)
        self._output = _buffer_type()(ctypes.addressof(self._memory), _OUTPUT, 0)

    def write(self, data: Any) -> None:
        """Take `data` (any buffer); raises the sink's OSError, after which the stream is dead."""
        if self._context is None:
            raise ValueError("write to a closed writer")
        if len(data):
            if isinstance(data, memoryview) and data.readonly:
                data = bytes(data)
            self._run(data, _CONTINUE)

    def close(self) -> None:
        """Finish the frame. After an error there is nothing left to do."""
        if self._context is not None:
            self._run(b"", _END)
            self.abort()

    def abort(self) -> None:
        """Give up: no more is written to the sink. Waits for the block that a thread is at, no longer."""
        if self._context is not None:
            self._library.ZSTD_freeCCtx(self._context)
            self._context = None

    def _run(self, data: Any, directive: int) -> None:
        held = _native.address_of(data)
        source = _buffer_type()(held, len(data), 0)
        try:
            left = 1
            while source.pos < source.size or (directive == _END and left):
                self._output.pos = 0
                left = self._library.ZSTD_compressStream2(self._context, self._output, source, directive)
                problem = _problem(left)
                if problem:
                    raise SavedumpError("libzstd cannot compress (%s)" % problem)
                if self._output.pos:
                    write_all(self._sink, _native.content_of(self._memory, self._output.pos))
        except BaseException:
            self.abort()
            raise

    def __del__(self) -> None:
        if getattr(self, "_context", None) is not None:
            self.abort()
