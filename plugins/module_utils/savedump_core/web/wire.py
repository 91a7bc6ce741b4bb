# SPDX-License-Identifier: Apache-2.0
"""HTTP within limits: no name lookup, no connection and no answer can hold a run up for longer than was settled.

http.client speaks; what is added is time. A socket's timeout bounds one system call only, so a server that sends a byte
now and then could take for ever, and a name lookup has no timeout at all. Connections are therefore made in threads
that can be left behind, and every read goes through a Clock.
"""

import http.client
import io
import socket
import threading
import time
import urllib.request
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from .. import __version__
from ..errors import UsageError
from .url import Url, parse_url, redirected

MAX_REDIRECTS = 5
# What a server says beside an error is not shown; so much of it is read to keep the connection.
MAX_ASIDE = 1 << 16
ASIDE_S = 1.0
MAX_IDLE = 8
TICK_S = 1.0
# Slower than this many bytes in stall_s is a stall: 800 bytes/s, where elfutils wants 100 KiB in 90 s.
STALL_BYTES = 16 << 10
_REDIRECTS = (301, 302, 303, 307, 308)


class Limits(NamedTuple):
    """Seconds and bytes. A server that is out costs connect_s + alive_s, all of them together, once."""

    connect_s: float = 5.0
    """Name lookup, connection, proxy and TLS together."""
    alive_s: float = 5.0
    """For the answer to a first question that costs a server nothing."""
    answer_s: float = 30.0
    """For the beginning of an answer by a server that is alive: it may have to unpack a package first."""
    patient_s: float = 300.0
    """The same for kernels: 4 GiB of xz at 50 MB/s are 80 s, and the machine may have other work."""
    stall_s: float = 20.0
    """In which STALL_BYTES have to come."""
    total_s: float = 3600.0
    """For one file: a vmlinux of 1 GB at 300 kB/s."""
    max_bytes: int = 8 << 30


class Down(Exception):
    """The server is of no use in this run; the message says why."""


class Broken(Exception):
    """The answer ended before its end; another try may go better."""


class Declined(Exception):
    """The answer will not be taken; the message says why."""


class TooMuch(Declined):
    """As the server's fault it does not count: the file is larger than may be or than there is room for."""


class Clock:
    """How long one question may still take. `tick` is called about once a second while nothing comes."""

    def __init__(self, total_s: float, tick: Optional[Callable[[], None]] = None) -> None:
        self._total_s = total_s
        self._end = self._due = time.monotonic() + total_s
        self._words, self._seconds, self._flow = "", total_s, False
        self._pending = 0
        self._tick = tick

    def expect(self, words: str, seconds: float, flow: bool = False) -> None:
        """From now on, within so many seconds; else Down says the words. With `flow`, that begins anew with every
        STALL_BYTES that came."""
        self._words, self._seconds, self._flow = words, seconds, flow
        self._due = time.monotonic() + seconds
        self._pending = 0

    def wait(self) -> float:
        """Seconds that a read may wait now. Raises Down when the time is over."""
        now = time.monotonic()
        if now >= self._end:
            raise Down("not done within %g s" % self._total_s)
        if now >= self._due:
            raise Down("%s within %g s" % (self._words, self._seconds))
        return max(min(self._due - now, self._end - now, TICK_S), 0.001)

    def nothing_came(self) -> None:
        if self._tick is not None:
            self._tick()

    def came(self, count: int) -> None:
        self._pending += count
        if self._flow and self._pending >= STALL_BYTES:
            self.expect(self._words, self._seconds, flow=True)


class _Reader(io.RawIOBase):
    """What http.client reads an answer from."""

    def __init__(self, channel: "_Channel") -> None:
        super().__init__()
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        clock, sock = self._channel.clock, self._channel.sock
        while True:
            sock.settimeout(clock.wait())
            try:
                count = sock.recv_into(buffer)
            except socket.timeout:
                clock.nothing_came()
                continue
            clock.came(count)
            return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._channel.release()


class _Channel:
    """A connected socket under a Clock, with as much of a socket's face as http.client looks at. Like a socket, it
    stays open until both the connection and the answers read from it are closed."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.clock = Clock(0.0)
        self._users = 1

    def sendall(self, data: bytes) -> None:
        self.sock.settimeout(self.clock.wait())
        self.sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        self._users += 1
        return io.BufferedReader(_Reader(self), 1 << 16)

    def close(self) -> None:
        self.release()

    def release(self) -> None:
        self._users -= 1
        if self._users == 0:
            self.sock.close()


class Errand:
    """Something that may never come back, done beside: who waits for it can leave. What comes too late is closed."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._back = self._left = False
        self._result: Any = None
        self._error: Optional[Exception] = None
        # A daemon, for nothing else lets the program end while a name is being looked up.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        result, error = None, None
        try:
            result = self._act()
        except Exception as caught:  # whatever it is, it belongs to whoever waits
            error = caught
        with self._lock:
            self._back, self._result, self._error = True, result, error
            late = self._left
        if late and result is not None:
            result.close()

    def wait(self, until: float, words: str) -> Any:
        """What it returned. Raises what it raised, or Down with these words when time.monotonic() passes `until`."""
        self._thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            self._left = not self._back
        if self._left:
            raise Down(words)
        if self._error is not None:
            raise self._error
        return self._result


class Answer:
    """The answer to one question: status and headers are read, the body is not."""

    def __init__(self, response: http.client.HTTPResponse, done: Callable[[bool], None]) -> None:
        self._response = response
        self._done = done
        self.status = response.status
        self.headers = response.headers

    @property
    def status_line(self) -> str:
        return ("HTTP %d %s" % (self.status, self._response.reason[:80])).strip()

    def number(self, name: str) -> Optional[int]:
        """The header of this name, if it is a number."""
        text = (self.headers.get(name) or "").strip()
        return int(text) if text.isdecimal() and len(text) < 20 else None

    def read(self, size: int) -> bytes:
        """At most so many bytes of the body, b"" at its end. Raises Broken or Down."""
        try:
            return self._response.read(size)
        except (http.client.HTTPException, OSError) as error:
            raise Broken("the connection broke: %s" % words_of(error)) from None

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        self._done(kind is None)


class Wire:
    """Connections to servers, kept for the next question."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: Dict[Tuple[str, str, int], http.client.HTTPConnection] = {}
        self._tls: Any = None

    def close(self) -> None:
        while self._idle:
            self._idle.popitem()[1].close()

    def prove_alive(self, url: Url) -> None:
        """Any answer at all to a question that costs nothing. Raises Down. Made to be called as an Errand."""
        connection = self._dial(url)
        clock = Clock(self._limits.connect_s + self._limits.alive_s)
        try:
            self._question(connection, "HEAD", url.below("/"), {}, clock, self._limits.alive_s)
        except (http.client.HTTPException, ConnectionError):
            pass  # It does not like the question, but it is there.
        finally:
            connection.close()

    def get(self, url: Url, headers: Dict[str, str], clock: Clock, answer_s: float) -> Answer:
        """Ask, and follow redirects. Raises Down, Broken or Declined."""
        at = url
        for _redirect in range(MAX_REDIRECTS + 1):
            answer = self._ask(at, headers, clock, answer_s)
            if answer.status not in _REDIRECTS:
                return answer
            with answer:
                at = self._next(at, answer.headers.get("Location"))
        raise Declined("redirected more than %d times" % MAX_REDIRECTS)

    def _next(self, at: Url, location: Optional[str]) -> Url:
        if not location:
            raise Declined("redirected to nowhere")
        try:
            target = redirected(at, location)
        except UsageError:
            raise Declined("redirected to what is no http or https URL") from None
        if at.scheme == "https" and target.scheme != "https":
            raise Declined("redirected from https to http")
        return target

    def _ask(self, url: Url, headers: Dict[str, str], clock: Clock, answer_s: float) -> Answer:
        kept = self._idle.pop(url.origin, None)
        if kept is not None:
            try:
                return self._answer(kept, url, headers, clock, answer_s)
            except (http.client.HTTPException, OSError):
                kept.close()  # Closed by the server while it was idle: that is no failure.
        until = time.monotonic() + self._limits.connect_s
        words = "no connection within %g s" % self._limits.connect_s
        connection = Errand(lambda: self._dial(url)).wait(until, words)
        try:
            return self._answer(connection, url, headers, clock, answer_s)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            connection.close()
            raise Broken("closed without an answer: %s" % words_of(error)) from None
        except http.client.HTTPException as error:
            connection.close()
            raise Down("its answer is not HTTP (%s)" % type(error).__name__) from None
        except OSError as error:
            connection.close()
            raise Broken("the connection broke: %s" % words_of(error)) from None

    def _answer(
        self, connection: http.client.HTTPConnection, url: Url, headers: Dict[str, str], clock: Clock, answer_s: float
    ) -> Answer:
        try:
            response = self._question(connection, "GET", url, headers, clock, answer_s)
        except (Down, KeyboardInterrupt):
            connection.close()
            raise
        clock.expect("stalled: less than %d KiB" % (STALL_BYTES >> 10), self._limits.stall_s, flow=True)

        def done(well: bool) -> None:
            if well and not response.isclosed():
                clock.expect("stalled", ASIDE_S)
                try:
                    response.read(MAX_ASIDE)
                except (Down, http.client.HTTPException, OSError):
                    well = False
            if well and response.isclosed() and connection.sock is not None and len(self._idle) < MAX_IDLE:
                self._idle[url.origin] = connection
            else:
                response.close()
                connection.close()

        return Answer(response, done)

    def _question(
        self, connection: http.client.HTTPConnection, method: str, url: Url, headers: Dict[str, str], clock: Clock,
        answer_s: float,
    ) -> http.client.HTTPResponse:  # fmt: skip
        channel: Any = connection.sock
        channel.clock = clock
        clock.expect("no answer", answer_s)
        own = {"User-Agent": "savedump/" + __version__, "Accept-Encoding": "identity"}
        if url.authorization:
            own["Authorization"] = url.authorization
        target = url.path or "/"
        proxy = proxy_of(url)
        if proxy is not None and url.scheme == "http":
            target = url.shown if url.path else url.shown + "/"
            if proxy.authorization:
                own["Proxy-Authorization"] = proxy.authorization
        connection.request(method, target, headers=dict(headers, **own))
        return connection.getresponse()

    def _dial(self, url: Url) -> http.client.HTTPConnection:
        """A connection that is made, to the server or its proxy. Raises Down. May take long: run it as an Errand."""
        proxy = proxy_of(url)
        via = proxy or url
        tunnel = proxy is not None and url.scheme == "https"
        if "https" in (url.scheme, via.scheme):
            if not hasattr(http.client, "HTTPSConnection"):
                raise Down("this Python has no TLS")
            connection = self._secure(via)
        else:
            connection = http.client.HTTPConnection(via.host, via.port, timeout=self._limits.connect_s)
        if tunnel:
            secret = proxy.authorization if proxy is not None else None
            connection.set_tunnel(url.host, url.port, {"Proxy-Authorization": secret} if secret else {})
        connection._create_connection = self._connected  # type: ignore[attr-defined]  # http.client's own hook
        try:
            connection.connect()
        except socket.timeout:
            connection.close()
            raise Down("%s: connecting timed out" % via.host) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            # ValueError: a name that no host can have, and Python 3.6's words for a certificate of another host.
            connection.close()
            raise Down("%s: %s" % (via.host, words_of(error))) from None
        connection.sock = _Channel(connection.sock)  # type: ignore[assignment]  # what it reads from
        return connection

    def _secure(self, via: Url) -> http.client.HTTPConnection:
        import ssl  # here, for a Python may lack it

        if self._tls is None:
            self._tls = ssl.create_default_context()
        return http.client.HTTPSConnection(via.host, via.port, timeout=self._limits.connect_s, context=self._tls)

    def _connected(self, address: Tuple[str, int], timeout: float, source: Any) -> socket.socket:
        """Each address of a name gets its share of the time: often the first one is IPv6, and a firewall drops it."""
        count = len(socket.getaddrinfo(address[0], address[1], 0, socket.SOCK_STREAM))
        sock = socket.create_connection(address, timeout / max(count, 1), source)
        sock.settimeout(timeout)
        return sock


def proxy_of(url: Url) -> Optional[Url]:
    """The proxy that the environment names for this URL, as urllib takes it from there."""
    text = urllib.request.getproxies().get(url.scheme)
    if not text or urllib.request.proxy_bypass("%s:%d" % (url.host, url.port)):
        return None
    try:
        return parse_url(text if "://" in text else "http://" + text)
    except UsageError:
        raise Down("the environment's proxy for %s is no http or https URL" % url.scheme) from None


def words_of(error: Exception) -> str:
    """The error's own words, on one line."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())[:200]
