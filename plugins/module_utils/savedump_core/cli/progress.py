# SPDX-License-Identifier: Apache-2.0
"""What a person sees of long work: one line on stderr, on a terminal only, which is taken away again."""

import os
import sys
import time
from typing import Any, Callable, Optional

from . import say

_SHOWN_AFTER_S = 1.0
_EVERY_S = 0.2
# Most looks into a dump are over before that.
_WAITED_S = 2.0


def _bar(quiet: bool) -> bool:
    return not quiet and say.is_terminal(sys.stderr)


def _draw(text: str) -> None:
    """A line that is longer than the terminal could not be wiped."""
    say.write(sys.stderr, "\r%s\033[K" % say.printable(text)[: max(say.columns(sys.stderr) - 1, 1)])


def _wipe() -> None:
    say.write(sys.stderr, "\r\033[K")


class Work:
    """One long step: its words when it begins, progress behind them on a terminal once it has lasted a second, and
    "done" at the end. As a context manager, so that an error's words start on a line of their own."""

    def __init__(self, words: str, stream: Any, quiet: bool) -> None:
        """`stream` gets the words, None for none; progress goes to stderr unless `quiet`."""
        self._words = words
        self._stream = stream
        self._bar = _bar(quiet)
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
        if not self._bar or now - self._start < _SHOWN_AFTER_S or now - self._last < _EVERY_S:
            return
        self._last, self._shown = now, True
        rate = done / (now - self._start)
        share = left = ""
        if self.total:
            share = " %3d %%" % min(100 * done // self.total, 100)
            left = ", %s left" % _duration(max(self.total - done, 0) / rate) if rate else ""
        _draw("%s %s%s, %s/s%s" % (self._words, say.size(done), share, say.size(int(rate)), left))

    def end(self, words: str = "done\n") -> None:
        """It is over; nothing is said of what has not begun, or has ended before."""
        if not self._begun:
            return
        self._begun = False
        if self._shown:
            _wipe()
            if self._stream is not None and self._stream.isatty():
                self._say(self._words)
        self._say(words)

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        self.end("done\n" if kind is None else "\n")

    def _say(self, text: str) -> None:
        if self._stream is not None:
            say.write(self._stream, text)


def reading(words: str, path: str, quiet: bool) -> Work:
    """The Work of reading this file from front to back."""
    work = Work("%s %s:" % (words, os.path.basename(path)), None, quiet)
    try:
        work.total = os.path.getsize(path)
    except OSError:
        pass  # who opens it says so
    return work


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return "%d s" % whole
    return "%d:%02d min" % (whole // 60, whole % 60) if whole < 3600 else "%d h %02d min" % divmod(whole // 60, 60)


class Fetching:
    """What a debuginfod server sends, as a Work for each file: on a terminal only, for most are here in no time."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._where: Optional[str] = None
        self._work = Work("", None, quiet)

    def __call__(self, where: str, done: int, total: Optional[int]) -> None:
        if where != self._where:
            self._work.end()
            server, _slash, rest = where.partition("/buildid/")
            build_id, _slash, kind = rest.partition("/")
            words = "fetching %s %.8s from %.40s:" % (kind, build_id, server) if rest else "asking %.60s:" % server
            self._where, self._work = where, Work(words, None, self._quiet)
        if where:
            self._work.total = total
            self._work.update(done)


class Waiting:
    """Work of which nobody knows how much is left: on a terminal, the seconds that it has lasted. As a context manager;
    whoever writes meanwhile says wipe() first."""

    def __init__(self, words: str, quiet: bool) -> None:
        self._words = words
        self._stop: Optional[Callable[[], None]] = None
        self.wipe: Callable[[], None] = lambda: None
        if _bar(quiet):
            self._start_thread()

    def _start_thread(self) -> None:
        import threading  # here, for only terminals need it

        ended, lock = threading.Event(), threading.Lock()
        begun = last = time.monotonic()
        shown = False

        def draw() -> None:
            nonlocal shown
            while not ended.wait(0.5):
                with lock:
                    now = time.monotonic()
                    if now - last >= _WAITED_S and not ended.is_set():
                        shown = True
                        _draw("%s %s" % (self._words, _duration(now - begun)))

        def wipe() -> None:
            nonlocal shown, last
            with lock:
                if shown:
                    _wipe()
                shown, last = False, time.monotonic()

        def stop() -> None:
            ended.set()
            thread.join()
            wipe()

        thread = threading.Thread(target=draw, daemon=True)
        thread.start()
        self.wipe, self._stop = wipe, stop

    def end(self) -> None:
        """It is over; once more does no harm."""
        if self._stop is not None:
            self._stop()
            self._stop, self.wipe = None, lambda: None

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.end()
