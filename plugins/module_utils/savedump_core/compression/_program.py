# SPDX-License-Identifier: Apache-2.0
"""A codec's own program as a pipe, for hosts that have the program and not the library."""

import os
import re
import threading
from typing import IO, Any, List, Optional, Sequence

from ..errors import BadDump, SavedumpError
from ._stream import INPUT, write_all

# subprocess, tempfile and shutil are imported where a program is needed: they cost more than reading a small core does.

# What zstd, lz4, xz and bzip2 say, in this order, of an input that stops too soon.
_ENDS_EARLY = re.compile("premature|incomplete|unfinished|unexpected end|ends unexpectedly|truncated", re.IGNORECASE)


def have(program: str) -> bool:
    import shutil

    return shutil.which(program) is not None


def _start(arguments: Sequence[str], errors: IO[bytes]) -> Any:
    import subprocess

    return subprocess.Popen(  # pylint: disable=consider-using-with  # whoever drives the pipe closes it
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=dict(os.environ, LC_ALL="C"),
        bufsize=0,
    )


def _temporary_file() -> IO[bytes]:
    import tempfile

    return tempfile.TemporaryFile()


def _words(errors: IO[bytes]) -> str:
    """The first line that the program wrote to stderr."""
    errors.seek(0)
    lines = errors.read(1 << 12).decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else ""


class _Pump(threading.Thread):
    """Copies from read() to write() until the end or the first OSError, which it keeps."""

    def __init__(self, source: Any, sink: Any) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._sink = sink
        self.copied = 0
        self.read_error: Optional[OSError] = None
        self.write_error: Optional[OSError] = None

    def run(self) -> None:
        while True:
            try:
                data = self._source.read(INPUT)
            except OSError as error:
                self.read_error = error
                break
            if not data:
                break
            try:
                write_all(self._sink, data)
            except OSError as error:
                self.write_error = error
                break
            self.copied += len(data)


class _Feeder(_Pump):
    """Feeds a program's stdin and closes it."""

    def run(self) -> None:
        with self._sink:
            super().run()


class ProgramReader:
    """The decompressed bytes of a file that `arguments` (say, zstd -dc) makes of its stdin."""

    def __init__(self, fileobj: IO[bytes], name: str, arguments: Sequence[str]) -> None:
        self._name = name
        self._errors = _temporary_file()
        self._process = _start(arguments, self._errors)
        self._feeder = _Feeder(fileobj, self._process.stdin)
        self._feeder.start()
        self._failure: Optional[Exception] = None
        self._open = True

    def read(self, size: int = INPUT) -> bytes:
        """As Reader.read."""
        pieces: List[bytes] = []
        while size > 0 and self._open:
            piece = self._process.stdout.read(size)
            if not piece:
                self._finish()
                break
            pieces.append(piece)
            size -= len(piece)
        if self._failure is not None and not pieces and size > 0:
            raise self._failure
        return b"".join(pieces)

    def _finish(self) -> None:
        status = self._process.wait()
        self._feeder.join()
        if self._feeder.read_error is not None:
            self._failure = self._feeder.read_error
        elif status:
            words = _words(self._errors)
            what = "ends early" if _ENDS_EARLY.search(words) else "is corrupt"
            self._failure = BadDump("the %s stream %s at byte %d (%s)" % (self._name, what, self._feeder.copied, words))
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._process.kill()
            self._process.wait()
            self._feeder.join()
            self._process.stdout.close()
            self._errors.close()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.close()


class ProgramWriter:
    """What `arguments` (say, zstd -c) makes of the data goes to `sink`, written from a thread."""

    def __init__(self, sink: Any, name: str, arguments: Sequence[str]) -> None:
        self._name = name
        self._errors = _temporary_file()
        self._process = _start(arguments, self._errors)
        self._drain = _Pump(self._process.stdout, _KillOnError(sink, self._process))
        self._drain.start()
        self._open = True

    def write(self, data: bytes) -> None:
        """Compress; raises the sink's OSError, here or in a later call."""
        if not self._open:
            raise ValueError("write to a closed writer")
        try:
            write_all(self._process.stdin, data)
        except BrokenPipeError:
            raise self._failure() from None

    def close(self) -> None:
        """Finish the stream. After an error there is nothing left to do."""
        if not self._open:
            return
        self._process.stdin.close()
        self._drain.join()
        if self._process.wait() or self._drain.write_error is not None:
            raise self._failure()
        self.abort()

    def abort(self) -> None:
        """Give up: no more is written to the sink."""
        if not self._open:
            return
        self._open = False
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._drain.join()
        self._process.stdout.close()
        self._errors.close()

    def _failure(self) -> Exception:
        self._process.wait()
        self._drain.join()
        words = _words(self._errors)
        error: Optional[Exception] = self._drain.write_error
        self.abort()
        return error or SavedumpError("the %s program failed (%s)" % (self._name, words))

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.abort()


class _KillOnError:
    """A sink whose error ends the program, so that nobody goes on feeding it."""

    def __init__(self, sink: Any, process: Any) -> None:
        self._sink = sink
        self._process = process

    def write(self, data: bytes) -> None:
        try:
            write_all(self._sink, data)
        except BaseException:
            self._process.kill()
            raise
