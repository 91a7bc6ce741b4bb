# SPDX-License-Identifier: Apache-2.0
"""Many hosts at once: find their dumps, have each archived straight into a folder here, and verify it here.

What goes wrong on one host is a value, and stops no other. A link that breaks is made anew, and the archive that was on
its way goes on where it was.
"""

import os
import queue
import threading
import time
import traceback
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

from .. import api, landing
from ..errors import Busy, SavedumpError, UsageError, status_of
from ..model import Json, SearchOptions
from . import boot, login
from .auth import Keyring
from .failures import Refused, Unreachable, paramiko
from .login import Become
from .session import PREDECESSOR_S, Broken, Failed, Session, Streamed
from .settings import Wishes, parse
from .ssh import Connection, Process, connect
from .tries import Tries

_Result = TypeVar("_Result")

# For a Python to come up behind sudo, whose modules may wait for a directory server.
_START_S = 90.0
_NO_SUCH_FILE = 66
_EX_SOFTWARE = 70
# For what was cut off to clean up, at the end.
_LEAVE_S = 10.0


class Options(NamedTuple):
    """What to collect from every host, and how."""

    dest: str
    """The folder here; each host has one below it."""
    paths: Tuple[str, ...] = ()
    """Files and folders there; none for every store."""
    filters: Optional[Json] = None
    """The arguments of stores.filters.make."""
    search: SearchOptions = SearchOptions()
    debuginfod_urls: Tuple[str, ...] = ()
    format: str = "tar.gz"
    level: Optional[int] = None
    store: Optional[str] = None
    """A content store here: what it has does not travel."""
    wishes: Wishes = Wishes()
    become: Optional[Become] = None
    parallel: int = 4
    retries: int = 5
    """For one dump, or for the list of them, when the link breaks and nothing has come since."""
    dry_run: bool = False
    force: bool = False
    wait_s: float = 0.0
    """For another run that is at work on the same dump there."""
    ignore_space: bool = False


class Failure(NamedTuple):
    """One dump that did not come, or a whole host."""

    dump: Optional[str]
    """Its path there; None if it is about the host."""
    why: str
    exit_status: int
    later: bool = False
    """Nothing is wrong with it: it is still being written."""


class Arrived(NamedTuple):
    """One archive that is here, or in a dry run would be."""

    dump: str
    """The dump's path there."""
    streamed: Streamed
    problems: Optional[Tuple[str, ...]]
    """What verify found; None in a dry run."""


class Collected(NamedTuple):
    """What became of one host."""

    host: str
    """Its name in the folder and in the summary."""
    reached: bool
    """Whether it let us in."""
    user: Optional[str]
    """Who logged in."""
    python: Optional[str]
    """The version that ran there, such as "3.6"."""
    report: Optional[Json]
    """As find --json says it there; None if it never came to that."""
    arrived: Tuple[Arrived, ...]
    failures: Tuple[Failure, ...]
    wire_bytes: int
    """That came over the link for archives, those that were cut off not counted."""
    saved_bytes: int


# What an Event tells.
CONNECTED, FOUND, BEGUN, PROGRESS, CAME, LATER, AGAIN, FAILED, OVER = (
    "connected", "found", "begun", "progress", "came", "later", "again", "failed", "over",
)  # fmt: skip


class Event(NamedTuple):
    """Something that a person may want to see at once."""

    host: str
    kind: str
    dump: Optional[str] = None
    words: str = ""
    """connected: Python's version; came: the archive; later, again and failed: why."""
    done: int = 0
    """found: how many; progress: bytes; again: seconds to wait."""
    total: int = 0
    """progress: of how many bytes."""


Tell = Callable[[Event], None]
"""Called by several threads, one at a time."""


def collect(specs: Sequence[str], options: Options, keyring: Keyring, tell: Tell) -> List[Collected]:
    """Each host's outcome, in the order given, one that is named twice once. Raises UsageError, ToolMissing,
    and what interrupts it, then with nothing left behind but archives that are whole."""
    names = labels(specs)
    paramiko()  # once for all
    lock = threading.Lock()

    def tell_one(event: Event) -> None:
        with lock:
            tell(event)

    waiting: "queue.Queue[str]" = queue.Queue()
    for spec in names:
        waiting.put(spec)
    outcomes: Dict[str, Collected] = {}
    broken: List[BaseException] = []
    run = _Run(options, keyring, tell_one)

    def work(over: threading.Event) -> None:
        while not run.stopping.is_set():
            try:
                spec = waiting.get_nowait()
                outcomes[spec] = _Host(spec, names[spec], run).collect()
            except queue.Empty:
                break
            except BaseException as error:  # it must not pass for a host without dumps
                broken.append(error)
        over.set()

    # Not joined: when a signal handler raises in Thread.join(), Python up to 3.12 takes the thread for ended
    # (threading.py, _wait_for_tstate_lock).
    ends = [threading.Event() for _number in range(max(1, min(options.parallel, len(names))))]
    for over in ends:
        threading.Thread(target=work, args=(over,), daemon=True).start()
    try:
        for over in ends:
            while not over.wait(0.2):
                pass
    except BaseException:
        run.stop()
        until = time.monotonic() + _LEAVE_S
        for over in ends:
            over.wait(max(0.0, until - time.monotonic()))
        raise
    if broken:
        raise broken[0]
    return [outcomes[spec] for spec in names]


def labels(specs: Iterable[str]) -> Dict[str, str]:
    """{spec: what its folder is called}: the host as it was called, with user and port only where two would be one.
    Raises UsageError."""
    hosts: Dict[str, List[str]] = {}
    for spec in dict.fromkeys(specs):
        hosts.setdefault(parse(spec)[1], []).append(spec)
    if not hosts:
        raise UsageError("no host given")
    found = {}
    for host, same in hosts.items():
        for spec in same:
            found[spec] = host if len(same) == 1 else spec
    return {spec: found[spec] for spec in dict.fromkeys(specs)}


class _Run:
    """What all hosts share."""

    def __init__(self, options: Options, keyring: Keyring, tell: Tell) -> None:
        self.options, self.keyring, self.tell = options, keyring, tell
        self.stopping = threading.Event()
        self._open: List[Connection] = []
        self._lock = threading.Lock()

    def opened(self, connection: Connection) -> None:
        with self._lock:
            self._open.append(connection)
        if self.stopping.is_set():
            connection.close()

    def closed(self, connection: Connection) -> None:
        with self._lock:
            if connection in self._open:
                self._open.remove(connection)
        connection.close()

    def stop(self) -> None:
        """Whatever waits for a host hears the end."""
        self.stopping.set()
        with self._lock:
            links = list(self._open)
        for connection in links:
            connection.close()


class _Host:
    """One host's work, in one thread."""

    def __init__(self, spec: str, name: str, run: _Run) -> None:
        self._spec, self._name, self._run = spec, name, run
        self._options = run.options
        self._folder = os.path.join(run.options.dest, landing.safe_name(name))
        self._connection: Optional[Connection] = None
        self._session: Optional[Session] = None
        self._reached = False
        self._user: Optional[str] = None
        self._python: Optional[str] = None

    def collect(self) -> Collected:
        report: Optional[Json] = None
        arrived: List[Arrived] = []
        failures: List[Failure] = []
        try:
            report = self._patiently(None, self._find)
            self._tell(FOUND, done=len(report["dumps"]))
            failures.extend(self._not_there(report))
            for entry in report["dumps"]:
                if entry.get("in_progress"):
                    why = "is still being written; collect it later"
                    self._tell(LATER, entry["path"], words=why)
                    failures.append(Failure(entry["path"], why, Busy.exit_status, later=True))
                    continue
                try:
                    arrived.append(self._one(entry))
                except (SavedumpError, OSError) as error:
                    failures.append(self._failed(entry["path"], error))
                    if isinstance(error, (Unreachable, Refused)):
                        break  # so it would be with the others
        except Exception as error:
            failures.append(self._failed(None, error))
        finally:
            self._hang_up()
        self._tell(OVER)
        return Collected(
            host=self._name, reached=self._reached, user=self._user, python=self._python, report=report,
            arrived=tuple(arrived), failures=tuple(failures),
            wire_bytes=sum(one.streamed.wire_bytes for one in arrived),
            saved_bytes=sum(one.streamed.saved_bytes for one in arrived),
        )  # fmt: skip

    def _not_there(self, report: Json) -> Iterator[Failure]:
        """Of what was named, what could not be looked at. Not every host has the same folders: that one is not there is
        said, and no failure; but what cannot be read may be the dump that is wanted."""
        for each in report.get("unread", ()):
            absent = each["exit_status"] == _NO_SUCH_FILE
            self._tell(LATER if absent else FAILED, each["path"], words=each["why"])
            if not absent:
                yield Failure(each["path"], each["why"], each["exit_status"])

    def _one(self, entry: Json) -> Arrived:
        """One dump's archive."""
        path: str = entry["path"]
        streamed = self._patiently(path, lambda session, tries: self._stream(session, path, tries))
        problems: Optional[Tuple[str, ...]] = None
        if not self._options.dry_run and streamed.path is not None:
            problems = api.verify(streamed.path).problems
        if problems:
            self._tell(FAILED, path, words="%s is damaged: %s" % (streamed.path, "; ".join(problems[:3])))
        else:
            self._tell(CAME, path, words=streamed.path or "")
        return Arrived(dump=path, streamed=streamed, problems=problems)

    def _find(self, session: Session, _tries: Tries) -> Json:
        options = self._options
        return session.find(options.paths, options.search.sysroot, options.filters)

    def _stream(self, session: Session, path: str, tries: Tries) -> Streamed:
        options = self._options
        self._tell(BEGUN, path)
        return session.stream(
            path, self._folder, search=options.search, format=options.format, level=options.level,
            store_folder=options.store, debuginfod_urls=options.debuginfod_urls, dry_run=options.dry_run,
            force=options.force, wait=max(options.wait_s, PREDECESSOR_S if tries.made else 0.0),
            ignore_space=options.ignore_space,
            progress=lambda done, total: self._tell(PROGRESS, path, done=done, total=total),
            again=lambda error, came: self._again(path, error, tries, came),
            waiting=lambda why: self._tell(LATER, path, words=why + "; it is waited for"),
        )  # fmt: skip

    def _patiently(self, dump: Optional[str], step: Callable[[Session, Tries], _Result]) -> _Result:
        """A step, again each time that the link breaks."""
        tries = Tries(self._options.retries)
        while True:
            try:
                return step(self._at_hand(), tries)
            except Failed:
                raise
            except (Broken, Unreachable) as error:
                self._again(dump, error, tries)
            except BaseException:
                self._hang_up()  # what is still on its way is for nobody
                raise

    def _again(self, dump: Optional[str], error: SavedumpError, tries: Tries, came: int = 0) -> Session:
        """Another session in place of one whose link broke. Raises that error, or a later one, when it has been tried
        often enough. A host that was never reached is not waited for: it is down."""
        tries.progress(came)
        while True:
            self._hang_up()
            if not tries.left or not self._reached or self._run.stopping.is_set():
                raise error
            wait_s = tries.next()
            self._tell(AGAIN, dump, words=str(error), done=int(wait_s))
            if self._run.stopping.wait(wait_s):
                raise error
            try:
                return self._at_hand()
            except (Broken, Unreachable) as another:
                error = another

    def _at_hand(self) -> Session:
        """The session that is there, or a new one."""
        if self._session is not None:
            return self._session
        self._connection = connect(self._spec, self._options.wishes, self._run.keyring)
        self._run.opened(self._connection)
        first, self._reached = not self._reached, True
        self._user = self._connection.where.user
        become = self._options.become
        process = login.start_python(self._connection, boot.COMMAND, become)
        session = Session(process.stdout.read, process.stdin.write)
        self._python = _started(self._connection, process, session, become)
        if first:
            self._tell(CONNECTED, words=self._python)
        self._session = session
        return session

    def _hang_up(self) -> None:
        self._session = None
        if self._connection is not None:
            self._run.closed(self._connection)
            self._connection = None

    def _failed(self, dump: Optional[str], error: Exception) -> Failure:
        if isinstance(error, SavedumpError):
            why, status = str(error), error.exit_status
        elif isinstance(error, OSError):
            # What goes wrong on the host is Failed; write(2) names no file.
            status, name = status_of(error), error.filename or "here in %s" % self._options.dest
            why = "%s: %s" % (name, error.strerror or error)
        else:  # a mistake of ours, or what a host could send that nobody thought of: it costs the others nothing
            status, last = _EX_SOFTWARE, traceback.extract_tb(error.__traceback__)[-1]
            where = "%s line %d" % (os.path.basename(last.filename), last.lineno or 0)
            why = "savedump itself failed: %s: %s (%s)" % (type(error).__name__, error, where)
        self._tell(FAILED, dump, words=why)
        return Failure(dump=dump, why=why, exit_status=status)

    def _tell(self, kind: str, dump: Optional[str] = None, words: str = "", done: int = 0, total: int = 0) -> None:
        self._run.tell(Event(host=self._name, kind=kind, dump=dump, words=words, done=done, total=total))


def _started(connection: Connection, process: Process, session: Session, become: Optional[Become]) -> str:
    """The version of the Python that came up. Raises what login.why_not knows, or Broken."""
    late: List[bool] = []

    def give_up() -> None:
        late.append(True)
        process.close()

    timer = threading.Timer(_START_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        return session.start()
    except Broken:
        if late:
            said = process.stderr().strip()[-300:]
            where = connection.where.words
            raise Refused("nothing started on %s in %d s: %s" % (where, _START_S, said or "no words")) from None
        if connection.why_lost() is None:
            why = login.why_not(connection, process, become, session.noise)
            if why is not None:
                raise why from None
        raise
    finally:
        timer.cancel()
