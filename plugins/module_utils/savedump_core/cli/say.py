# SPDX-License-Identifier: Apache-2.0
"""Words to a person: data on stdout, the rest on stderr, and nothing from a dump that a terminal would obey."""

import os
import sys
import time
from typing import Any, List, Optional

from ..manifest import to_bytes

_SHOWN_AFTER_S = 1.0
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def printable(text: object) -> str:
    """The text with control characters and undecodable bytes as \\xNN, so that a name from a dump stays a name."""
    shown = []
    for char in str(text):
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            shown.append("\\x%02x" % (code - 0xDC00))
        elif char.isprintable():
            shown.append(char)
        else:
            shown.append("\\x%02x" % code if code < 0x100 else "\\u%04x" % code)
    return "".join(shown)


def line(stream: Any, text: object) -> None:
    _write(stream, printable(text) + "\n")


def out(text: object = "") -> None:
    line(sys.stdout, text)


def note(text: object) -> None:
    line(sys.stderr, text)


def _write(stream: Any, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "ascii"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def document(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(to_bytes(value).decode("ascii"))
    sys.stdout.flush()


def size(count: int) -> str:
    """Bytes for a person: 1.5 GiB."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return "%d %s" % (count, unit) if unit == "bytes" else "%.1f %s" % (value, unit)
        value /= 1024
    raise AssertionError


def program() -> str:
    """What the command was called as, for words on what to type next."""
    called = sys.argv[0]
    if os.path.basename(called) == "__main__.py":
        return "python3 -m %s" % __name__.partition(".")[0]
    return "python3 %s" % called if called.endswith(".pyz") else "savedump"


def failed(error: OSError) -> None:
    """An OSError as one line: what, and where."""
    where = ": %s" % error.filename if error.filename else ""
    note("savedump: %s%s" % (error.strerror or error, where))


def attempts(trail: List[Any]) -> List[str]:
    """A line for each place tried."""
    return ["%s: %s%s" % (one["path"], one["outcome"], one["detail"] and " (%s)" % one["detail"]) for one in trail]


class Fetching:
    """What a debuginfod server sends, as a Work for each file: on a terminal only, for most are here in no time."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._where: Optional[str] = None
        self._work = Work("", None, quiet)

    def __call__(self, where: str, done: int, total: Optional[int]) -> None:
        if where != self._where:
            self._work.__exit__(None)
            server, _slash, rest = where.partition("/buildid/")
            build_id, _slash, kind = rest.partition("/")
            # A line that is longer than the terminal cannot be wiped.
            words = "fetching %s %.8s from %.40s:" % (kind, build_id, server) if rest else "asking %.60s:" % server
            self._where, self._work = where, Work(printable(words), None, self._quiet)
        if where:
            self._work.total = total
            self._work.update(done)


class Work:
    """One long step: its words when it begins, progress behind them on a terminal once it has lasted a second, and
    "done" at the end. As a context manager, so that an error's words start on a line of their own."""

    def __init__(self, words: str, stream: Any, quiet: bool) -> None:
        """`stream` gets the words, None for none; progress goes to stderr unless `quiet`."""
        self._words = words
        self._stream = stream
        self._bar = not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._start = self._last = time.monotonic()
        self._begun = self._shown = False
        self.total: Optional[int] = None

    def update(self, done: int) -> None:
        """So many bytes are read; the first call begins the step."""
        now = time.monotonic()
        if not self._begun:
            self._begun = True
            self._start = self._last = now
            self._say(self._words)
        if not self._bar or now - self._start < _SHOWN_AFTER_S or now - self._last < 0.2:
            return
        self._last, self._shown = now, True
        share = " %3d %%" % (100 * done // self.total) if self.total else ""
        rate = done / (now - self._start)
        _write(sys.stderr, "\r%s %s%s, %s/s\033[K" % (self._words, size(done), share, size(int(rate))))

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        if not self._begun:
            return
        if self._shown:
            _write(sys.stderr, "\r\033[K")
            if self._stream is not None and self._stream.isatty():
                self._say(self._words)
        self._say("done\n" if kind is None else "\n")

    def _say(self, text: str) -> None:
        if self._stream is not None:
            _write(self._stream, text)
