# SPDX-License-Identifier: Apache-2.0
"""A client of debuginfod servers (debuginfod(8), "WEBAPI"): /buildid/HEX/executable and /buildid/HEX/debuginfo, of a
real debuginfod or of any static web server over such a tree.

What a server says is not believed: what gets a name in the cache is whole and bears the build ID that was asked for,
because other programs take it from there; what it is worth to a dump is for the search to say.
"""

import email.utils
import functools
import os
import time
from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple, Union

from ..errors import UsageError
from ..model import ABSENT, MISMATCH, REFUSED, UNREADABLE, Attempt
from ..sysroot import Refused, read_elf
from .cache import Cache, Miss, folder
from .url import Url, from_environment, server_url
from .wire import Answer, Broken, Clock, Declined, Down, Errand, Limits, TooMuch, Wire, words_of

EXECUTABLE, DEBUGINFO = "executable", "debuginfo"

# debuginfod-client.c, MAX_BUILD_ID_BYTES: longer ones elfutils does not ask for.
MAX_BUILD_ID = 63
CHUNK = 1 << 16
# Left free on the cache's file system, and looked at again after so many bytes.
RESERVE = 64 << 20
LOOK_AGAIN = 16 << 20
# Answers of no use in a row after which a server is left alone.
MAX_FAILURES = 3
TRIES = 2
# The server itself, or the one behind it, says that it serves nobody, or not us: it would say so 200 times.
_OUT = frozenset((401, 407, 429, 502, 503, 504))
_NOT_THERE = frozenset((404, 410))

# (URL without password, bytes that came, bytes in all or None): when a question begins, with every CHUNK, and about
# once a second while nothing comes. "" for the URL ends it.
Progress = Callable[[str, int, Optional[int]], None]


NAME = "debuginfod"


class Kept(NamedTuple):
    """A file in the cache."""

    path: str
    """Relative to Client.folder."""
    origin: Optional[str]
    """The URL it was fetched from just now, without password; None if it was there."""


def _told(where: str, outcome: str, detail: str = "") -> Attempt:
    """What came instead of a file. `where` is a URL without password, or the cache's folder."""
    return Attempt(finder=NAME, path=where, outcome=outcome, detail=detail)


class _Server:
    """A server, and what is known of it in this run."""

    def __init__(self, text: str) -> None:
        self.down: Optional[str] = None
        """Why it is not asked."""
        self.proven = False
        self.failures = 0
        self.url = Url("http", "", 80, "")
        try:
            self.url = server_url(text)
            self.shown = self.url.shown
        except UsageError as error:
            self.shown, self.down = text.rpartition("@")[2], str(error)


class Client:
    """One run's client: make one, and use it for every dump of the run, so that an outage is paid for once."""

    def __init__(
        self,
        urls: Tuple[str, ...],
        progress: Optional[Progress] = None,
        limits: Optional[Limits] = None,
        environ: Optional[Mapping[str, str]] = None,
    ) -> None:
        """`urls` is what url.servers() returns; nothing is connected to before look() has to. Without `environ`, this
        process's own."""
        environ = os.environ if environ is None else environ
        self._servers = [_Server(text) for text in urls]
        self._progress = progress
        self._limits = limits_of(environ) if limits is None else limits
        self._own = tuple(_shown(text) for text in from_environment(environ))
        self._cache = Cache(folder(environ))
        self._wire = Wire(self._limits)
        self._stopped: Optional[str] = None

    @property
    def folder(self) -> str:
        """The cache; may not exist yet."""
        return self._cache.path

    def close(self) -> None:
        """For now there is nothing more to ask: lets go of idle connections, and tells the progress so with ""."""
        self._wire.close()
        _Course("", self._progress).tell()

    def look(self, build_id: bytes, kind: str, patient: bool = False) -> Iterator[Union[Kept, Attempt]]:
        """Every file of this build ID that the cache and the servers have, each fetched when it is asked for: who has
        what they want asks no further. `kind` is EXECUTABLE or DEBUGINFO; `patient` is for kernels."""
        if not 0 < len(build_id) <= MAX_BUILD_ID:
            return
        name = "%s/%s" % (build_id.hex(), kind)
        why = self._cache.unsafe()
        if why is not None:
            yield _told(self.folder, REFUSED, why)
            return
        if self._cache.has(name):
            yield Kept(name, None)
        miss = self._cache.missed(name)
        absent = []
        for server in self._servers:
            where = "%s/buildid/%s" % (server.shown, name)
            if miss is not None and self._speaks_for(miss, server):
                yield _told(where, ABSENT, "so said %d s ago; remove %s to ask again" % (miss.age_s, miss.path))
                continue
            answer = self._ask(server, where, build_id, name, patient)
            if isinstance(answer, Attempt) and answer.outcome == ABSENT and not answer.detail:
                absent.append(server.shown)
            yield answer
        # Only if everybody was asked who is asked by other programs that share this cache.
        if len(absent) == len(self._servers) and set(self._own) <= set(absent):
            self._note_missed(name, tuple(absent))

    def _speaks_for(self, miss: Miss, server: _Server) -> bool:
        """elfutils' clients ask the servers of $DEBUGINFOD_URLS: another one was not asked by them."""
        asked = miss.asked or self._own
        return not asked or server.shown in asked

    def _note_missed(self, name: str, asked: Tuple[str, ...]) -> None:
        try:
            self._cache.note_missed(name, asked)
        except OSError:
            pass  # It only saves others a question.

    def _ask(self, server: _Server, where: str, build_id: bytes, name: str, patient: bool) -> Union[Kept, Attempt]:
        if self._stopped is not None:
            return _told(where, UNREADABLE, "not asked: %s" % self._stopped)
        if server.down is None and not server.proven:
            self._prove_all_alive()
            if server.down is not None:
                return _told(where, UNREADABLE, server.down)
        if server.down is not None:
            return _told(where, UNREADABLE, "not asked: %s" % server.down)
        try:
            return self._fetch(server, _Course(where, self._progress), build_id, name, patient)
        except Down as down:
            server.down = str(down)
            return _told(where, UNREADABLE, server.down)

    def _prove_all_alive(self) -> None:
        """At once, so that several servers that are out cost no more than one."""
        _Course(" ".join(server.shown for server in self._servers if server.down is None), self._progress).tell()
        seconds = self._limits.connect_s + self._limits.alive_s
        until = time.monotonic() + seconds
        errands = []
        for server in self._servers:
            if server.down is None and not server.proven:
                errands.append((server, Errand(functools.partial(self._wire.prove_alive, server.url))))
        for server, errand in errands:
            try:
                errand.wait(until, "no connection within %g s" % seconds)
                server.proven = True
            except Down as down:
                server.down = str(down)

    def _fetch(
        self, server: _Server, course: "_Course", build_id: bytes, name: str, patient: bool
    ) -> Union[Kept, Attempt]:
        """Raises Down. Counts answers of no use in a row."""
        outcome, detail = UNREADABLE, ""
        for _try in range(TRIES):
            try:
                answer = self._fetch_once(server, course, build_id, name, patient)
                if isinstance(answer, Kept) or answer.outcome == ABSENT:
                    server.failures = 0
                    return answer
                outcome, detail = answer.outcome, answer.detail
                break
            except TooMuch as error:
                return _told(course.where, REFUSED, str(error))
            except Declined as error:
                outcome, detail = REFUSED, str(error)
                break
            except Broken as error:
                detail = str(error)
        server.failures += 1
        if server.failures >= MAX_FAILURES:
            server.down = "%d answers in a row were of no use, the last: %s" % (server.failures, detail)
        return _told(course.where, outcome, detail)

    def _fetch_once(
        self, server: _Server, course: "_Course", build_id: bytes, name: str, patient: bool
    ) -> Union[Kept, Attempt]:
        where = course.where
        course.begin(None)
        clock = Clock(self._limits.total_s, course.tell)
        patience = max(self._limits.patient_s, self._limits.answer_s) if patient else self._limits.answer_s
        headers = {"X-DEBUGINFOD-MAXSIZE": str(self._limits.max_bytes)}
        with self._wire.get(server.url.below("/buildid/" + name), headers, clock, patience) as answer:
            if answer.status == 200:
                return self._take(answer, course, build_id, name)
            if answer.status in _NOT_THERE:
                return _told(where, ABSENT)
            if answer.status == 406:
                # debuginfod's answer to X-DEBUGINFOD-MAXSIZE.
                raise TooMuch(_too_large("it is", self._limits.max_bytes))
            if answer.status in _OUT:
                raise Down(answer.status_line)
            if answer.status == 403:
                # What Amazon's S3 says of a file that is not there, too.
                return _told(where, ABSENT, answer.status_line)
            return _told(where, UNREADABLE, answer.status_line)

    def _take(self, answer: Answer, course: "_Course", build_id: bytes, name: str) -> Union[Kept, Attempt]:
        total, where = self._size(answer), course.where
        course.begin(total)
        try:
            with self._cache.incoming(name) as (file, path):
                if total is not None:
                    self._check_room(total)
                self._copy(answer, course, file.write)
                told = _judge(path, build_id, where)
                if told is not None:
                    return told
                self._cache.publish(file, path, name, _modified(answer))
        except OSError as error:
            # The disk's fault: the next file would fare no better.
            self._stopped = "cannot write to %s: %s" % (self.folder, words_of(error))
            return _told(where, UNREADABLE, self._stopped)
        return Kept(name, where)

    def _size(self, answer: Answer) -> Optional[int]:
        """How many bytes are to come, if that is said. Raises Declined if they are not wanted."""
        if (answer.headers.get("Content-Encoding") or "identity").strip().lower() != "identity":
            raise Declined("it is packed as %s, which was not asked for" % answer.headers["Content-Encoding"][:20])
        length, size = answer.number("Content-Length"), answer.number("X-DEBUGINFOD-SIZE")
        if length is not None and size is not None and length != size:
            raise Declined("it says both %d and %d bytes" % (length, size))
        total = size if length is None else length
        if total is not None and total > self._limits.max_bytes:
            raise TooMuch(_too_large("%d bytes are" % total, self._limits.max_bytes))
        return total

    def _check_room(self, size: int) -> None:
        free = self._cache.free()
        if size + RESERVE > free:
            raise TooMuch("no room in %s: %d bytes to come, %d free" % (self.folder, size, free))

    def _copy(self, answer: Answer, course: "_Course", write: Callable[[Any], int]) -> None:
        """Raises Broken if fewer bytes come than were said, Declined if there are more than may be."""
        total, looked = course.total, 0
        while True:
            chunk = answer.read(CHUNK)
            if not chunk:
                break
            course.done += len(chunk)
            if total is not None and course.done > total:
                raise Declined("more than the %d bytes it spoke of" % total)
            if course.done > self._limits.max_bytes:
                raise TooMuch(_too_large("it is", self._limits.max_bytes))
            if course.done - looked >= LOOK_AGAIN:
                looked = course.done
                self._check_room(0)
            rest = memoryview(chunk)
            while rest:
                rest = rest[write(rest) :]
            course.tell()
        if total is not None and course.done < total:
            raise Broken("ended after %d of %d bytes" % (course.done, total))
        if not course.done:
            raise Declined("an empty answer")


class _Course:
    """How far a question has come."""

    def __init__(self, where: str, progress: Optional[Progress]) -> None:
        self.where = where
        self.done = 0
        self.total: Optional[int] = None
        self._progress = progress

    def begin(self, total: Optional[int]) -> None:
        self.done, self.total = 0, total
        self.tell()

    def tell(self) -> None:
        if self._progress is not None:
            self._progress(self.where, self.done, self.total)


def limits_of(environ: Mapping[str, str]) -> Limits:
    """elfutils' own settings, where they are numbers above 0: DEBUGINFOD_TIMEOUT (seconds without progress),
    DEBUGINFOD_MAXTIME (seconds for a file) and DEBUGINFOD_MAXSIZE (bytes of a file)."""
    limits = Limits()
    changes: Dict[str, int] = {}
    for variable, fields in (
        ("DEBUGINFOD_TIMEOUT", ("answer_s", "patient_s", "stall_s")),
        ("DEBUGINFOD_MAXTIME", ("total_s",)),
        ("DEBUGINFOD_MAXSIZE", ("max_bytes",)),
    ):
        text = environ.get(variable, "")
        if text.isdecimal() and int(text):
            changes.update((field, int(text)) for field in fields)
    return limits._replace(**changes)  # type: ignore[arg-type]  # names are fields, values numbers


def _judge(path: str, build_id: bytes, where: str) -> Optional[Attempt]:
    """Why this file does not get its name, None if it does."""
    try:
        on_disk = read_elf(path)
    except Refused as refusal:
        raise Declined("it sent something else: %s" % refusal) from None
    found = on_disk.elf.build_id
    if found != build_id:
        return _told(where, MISMATCH, found.hex() if found else "none")
    header = on_disk.elf.header
    if header.shoff + header.shentsize * header.shnum > on_disk.identity.size:
        raise Declined("it is cut short: its table of sections lies behind its end")
    return None


def _modified(answer: Answer) -> Optional[float]:
    parsed = email.utils.parsedate_tz(answer.headers.get("Last-Modified") or "")
    try:
        return float(email.utils.mktime_tz(parsed)) if parsed else None
    except (ValueError, OverflowError):
        return None


def _too_large(what: str, cap: int) -> str:
    return "%s more than %d bytes, the most that is fetched; DEBUGINFOD_MAXSIZE sets another limit" % (what, cap)


def _shown(text: str) -> str:
    return _Server(text).shown
