# SPDX-License-Identifier: Apache-2.0
"""A connection to a host whose key is known, and processes there. Only this file and its neighbours know paramiko.

The host's key is compared here and not by paramiko's SSHClient: its known_hosts has neither patterns nor revoked keys.
"""

import socket
import threading
import time
from fnmatch import fnmatchcase
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from ..errors import UsageError
from . import hostkeys
from .auth import Keyring, log_in
from .failures import Lost, Refused, Unreachable, paramiko
from .settings import ACCEPT_NEW, Target, Wishes, target

# Bytes on their way without an acknowledgement: 2 MiB, paramiko's default, hold a link of 100 ms at 20 MiB/s.
_WINDOW = 4 << 20
# AES-GCM is one pass over the data where AES-CTR with HMAC is two.
_FAST = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
# paramiko asks for new keys every 512 MiB, and breaks off if the other end closes a channel just then (its own thread,
# which should read the answer, waits to send). RFC 4344, 3.2 gives AES 2**32 blocks, which are 64 GiB; ssh does so.
_REKEY_BYTES = 1 << 35
_MAX_HOPS = 8
# Of what a process says on stderr the last is kept.
_TAIL = 8192
_BLOCK = 1 << 15


class Process:
    """A command on the host; `stdin` and `stdout` are its pipes, binary and without buffers of their own."""

    def __init__(
        self, connection: "Connection", channel: Any, heard: Optional[Callable[["Process", bytes], None]]
    ) -> None:
        self._channel = channel
        self._tail = b""
        self.stdin = _Stdin(connection, channel)
        self.stdout = _Stdout(connection, channel)
        self._heard = heard
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()

    def _listen(self) -> None:
        """stdout and stderr share one window, so that somebody has to read this one, too."""
        try:
            for data in iter(lambda: self._channel.recv_stderr(_BLOCK), b""):
                self._tail = (self._tail + data)[-_TAIL:]
                if self._heard is not None:
                    self._heard(self, self._tail)
        except _broken():
            pass  # whoever reads stdout hears of it

    def stderr(self) -> str:
        """The last that it said there; complete after wait()."""
        return self._tail.decode("utf-8", "replace")

    def wait(self, timeout_s: Optional[float] = None) -> int:
        """Its exit status; -1 if it has none, killed or cut off, or has not ended in time."""
        if self._channel.status_event.wait(timeout_s):
            self._ear.join(1.0)
            return int(self._channel.recv_exit_status())
        return -1

    def close(self) -> None:
        try:
            self._channel.close()
        except _broken():
            pass  # it is closed


def _broken() -> Tuple[Any, ...]:
    """What paramiko raises on a link that is no more."""
    return (OSError, EOFError, paramiko().SSHException)


class _Stdin:
    def __init__(self, connection: "Connection", channel: Any) -> None:
        self._connection, self._channel = connection, channel

    def write(self, data: bytes) -> int:
        """All of it. Raises Lost if nobody is there to read it."""
        try:
            self._channel.sendall(data)
        except _broken() as error:
            raise Lost(self._connection.why_lost() or "the process there ended (%s)" % error) from None
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The process reads the end."""
        try:
            self._channel.shutdown_write()
        except _broken():
            pass  # it ended before


class _Stdout:
    def __init__(self, connection: "Connection", channel: Any) -> None:
        self._connection, self._channel = connection, channel

    def read(self, size: int) -> bytes:
        """At most so many bytes; waits for the first; b"" at the end. Raises Lost if the connection is gone."""
        try:
            data: bytes = self._channel.recv(size)
        except _broken() as error:  # what it sends is leave to send more
            raise Lost(self._connection.why_lost() or "the link broke: %s" % (error or "it hung up")) from None
        if not data and not self._channel.eof_received:
            why = self._connection.why_lost()
            if why is not None:
                raise Lost(why)
        return data


class _Line:
    """What a Transport talks over, a socket or a channel of another one; remembers when it last heard something."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._closed = False  # paramiko asks for it, as of a socket
        self.heard = time.monotonic()

    def recv(self, size: int) -> bytes:
        data: bytes = self._inner.recv(size)
        if data:
            self.heard = time.monotonic()
        return data

    def send(self, data: bytes) -> int:
        return int(self._inner.send(data))

    def settimeout(self, timeout: Optional[float]) -> None:
        self._inner.settimeout(timeout)

    def close(self) -> None:
        self._closed = True
        self._inner.close()


class _Hop(NamedTuple):
    where: Target
    transport: Any
    line: _Line


class Connection:
    """Logged in. A context manager; close() may be called by another thread, and ends what waits."""

    def __init__(self, where: Target, hops: List[_Hop]) -> None:
        self.where = where
        self._hops = hops
        self._why: Optional[str] = None
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def start(self, command: str, heard: Optional[Callable[[Process, bytes], None]] = None) -> Process:
        """Run a command line by the login shell, without a terminal. `heard` is called with the end of what the process
        says on stderr, each time that it says something. Raises Unreachable, Refused."""
        library = paramiko()
        try:
            channel = self._hops[-1].transport.open_session(window_size=_WINDOW, timeout=self.where.timeout_s)
            channel.exec_command(command)
        except (library.SSHException, EOFError, OSError) as error:
            why = self.why_lost()
            if why is not None:
                raise Unreachable(why, "try again") from error
            raise Refused("%s runs no commands for this user: %s" % (self.where.words, error)) from error
        return Process(self, channel, heard)

    def why_lost(self) -> Optional[str]:
        """What became of the connection; None while it holds."""
        if self._why is None:
            for hop in self._hops:
                if not hop.transport.is_active():
                    return "the connection to %s was closed" % hop.where.words
        return self._why

    def _watch(self) -> None:
        """Give a host up that says nothing for long: TCP alone takes a quarter of an hour, and nothing at all if it has
        nothing to send."""
        last = self._hops[-1]
        asked = 0.0
        while not self._over.wait(min(self.where.alive_s / 4, 1.0)):
            now = time.monotonic()
            quiet = now - last.line.heard
            if not last.transport.is_active():
                return
            if quiet < self.where.alive_s:
                asked = 0.0
            elif not asked:
                asked = now
                threading.Thread(target=_ask_for_life, args=(last.transport,), daemon=True).start()
            elif now - asked >= self.where.lost_s - self.where.alive_s:
                self._why = "%s has not answered for %d s" % (self.where.words, quiet)
                self._shut()
                return

    def _shut(self) -> None:
        for hop in reversed(self._hops):
            hop.transport.close()
            hop.line.close()

    def close(self) -> None:
        self._over.set()
        if self._why is None:
            self._why = "the connection to %s was closed here" % self.where.words
        self._shut()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _ask_for_life(transport: Any) -> None:
    """ssh's own way (clientloop.c, server_alive_check): a request that nobody knows has to be answered all the same."""
    try:
        transport.global_request("keepalive@openssh.com", wait=True)
    except _broken():
        pass  # the watch sees to it


def connect(spec: str, wishes: Wishes, keyring: Keyring) -> Connection:
    """Raises Unreachable, Refused, UsageError, ToolMissing, OSError."""
    hops: List[_Hop] = []
    try:
        for where, is_jump in route(spec, wishes):
            line = _Line(_line(where, hops))
            hops.append(_hop(where, line))
            log_in(hops[-1].transport, where, keyring, is_jump)
        return Connection(hops[-1].where, hops)
    except BaseException:
        for hop in reversed(hops):
            hop.transport.close()
            hop.line.close()
        raise


def route(spec: str, wishes: Wishes) -> List[Tuple[Target, bool]]:
    """The hosts on the way, the last being the one that is wanted; of each whether it is a jump host."""
    where = target(spec, wishes)
    way = [(where, False)]
    jumps = list(where.jumps)
    while jumps:
        hop = target(jumps.pop(), wishes, via_jump=True)
        way.insert(0, (hop, True))
        if not jumps:  # as ssh does it: only the first of several has a way of its own
            jumps = list(hop.jumps)
        if len(way) > _MAX_HOPS:
            raise UsageError("the way to %s leads over more than %d hosts" % (where.words, _MAX_HOPS))
    return way


def _line(where: Target, hops: List[_Hop]) -> Any:
    """The bytes' way to a host: from here, or from the last of the hosts before it."""
    library = paramiko()
    if hops:
        before = hops[-1]
        try:
            return before.transport.open_channel(
                "direct-tcpip", (where.host, where.port), ("127.0.0.1", 0), window_size=_WINDOW,
                timeout=where.timeout_s,
            )  # fmt: skip
        except (library.SSHException, EOFError, OSError) as error:
            words = getattr(error, "text", None) or error or "no answer"
            raise Unreachable("%s cannot reach %s port %d: %s" % (
                before.where.words, where.host, where.port, words)) from error  # fmt: skip
    if where.proxy_command:
        return _proxied(where.proxy_command)
    try:
        return socket.create_connection((where.host, where.port), where.timeout_s)
    except UnicodeError:
        raise Unreachable("%s is no host name" % where.host) from None
    except OSError as error:
        timed_out = isinstance(error, socket.timeout)
        words = "no answer in %d s" % where.timeout_s if timed_out else error.strerror or str(error)
        raise Unreachable("cannot reach %s port %d: %s" % (where.host, where.port, words)) from error


def _proxied(command: str) -> socket.socket:
    """What ProxyCommand of the user's own config talks to, as a socket: paramiko's class for it never sees the end, and
    leaves a zombie."""
    import subprocess

    ours, its = socket.socketpair()
    with its:
        process = subprocess.Popen(
            ["/bin/sh", "-c", "exec " + command], stdin=its.fileno(), stdout=its.fileno(),
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()
    return ours


def _hop(where: Target, line: _Line) -> _Hop:
    """Keys are exchanged, and the host's is the known one."""
    library = paramiko()
    # As ssh's sshconnect.c: an alias is taken as it is, without the port.
    name = where.alias.lower() if where.alias else hostkeys.host_name(where.host, where.port)
    files = where.known_hosts + where.system_known_hosts
    known = hostkeys.known(name, files)
    without_port = None
    if not known.keys and not where.alias and where.port != 22:
        without_port = hostkeys.known(hostkeys.host_name(where.host, 22), files)
    transport = library.Transport(line)
    try:
        key = _host_key(where, transport, [kind for kind, _key in (without_port or known).keys])
        _check(where, name, known, without_port, key)
    except BaseException:
        transport.close()
        line.close()
        raise
    return _Hop(where, transport, line)


def _host_key(where: Target, transport: Any, known_kinds: List[str]) -> Any:
    """The key of a host with which keys are exchanged now. Raises Unreachable or UsageError."""
    transport.banner_timeout = transport.handshake_timeout = where.timeout_s
    transport.packetizer.REKEY_BYTES = _REKEY_BYTES
    options = transport.get_security_options()
    options.ciphers = _ciphers(options.ciphers, where.ciphers)
    # So that a host of several keys shows the one that is known.
    options.key_types = _first(options.key_types, known_kinds)
    try:
        transport.start_client(timeout=where.timeout_s)
        return transport.get_remote_server_key()
    except Exception as error:  # paramiko raises whatever its thread stumbled over in what the other end sent
        words = "%s port %d does not answer as an ssh server: %s" % (where.host, where.port, error or "it hung up")
        hint = "by ProxyCommand %s" % where.proxy_command if where.proxy_command else ""
        raise Unreachable(words, hint) from error


def _ciphers(offered: Tuple[str, ...], chosen: Optional[str]) -> Tuple[str, ...]:
    """Those of `offered` that Ciphers of ssh_config(5) leaves, the one to ask for first. Raises UsageError if none."""
    offered = _first(offered, _FAST)
    if not chosen or chosen.startswith("+"):  # it adds to what ssh offers by itself, which is less than paramiko does
        return offered
    sign = chosen[0] if chosen[0] in "-^" else ""
    patterns = chosen[len(sign) :].split(",")
    named = tuple(dict.fromkeys(one for pattern in patterns for one in offered if fnmatchcase(one, pattern)))
    others = tuple(one for one in offered if one not in named)
    left = {"-": others, "^": named + others, "": named}[sign]
    if not left:
        words = "Ciphers %s of the ssh config leaves none that paramiko has" % chosen
        raise UsageError(words, "it has " + ", ".join(offered))
    return left


def _first(all_of_them: Tuple[str, ...], wanted: Any) -> Tuple[str, ...]:
    """Those that are wanted before the rest. An RSA key is of type ssh-rsa, whatever it signs with."""
    kinds = set(wanted)
    if "ssh-rsa" in kinds:
        kinds |= {"rsa-sha2-512", "rsa-sha2-256"}
    return tuple(one for one in all_of_them if one in kinds) + tuple(one for one in all_of_them if one not in kinds)


def _check(
    where: Target, name: str, known: hostkeys.Known, without_port: Optional[hostkeys.Known], host_key: Any
) -> None:
    """Raises Refused unless the host's key is known, or new and to be remembered."""
    kind, key = host_key.get_name(), host_key.asbytes()
    verdict = hostkeys.verdict(known, key, without_port)
    shown = "%s key %s" % (kind, hostkeys.fingerprint(key))
    if verdict == hostkeys.SAME:
        return
    if verdict == hostkeys.REVOKED:
        raise Refused("%s shows a %s, which known_hosts says is revoked" % (name, shown), "do not log in there")
    if verdict == hostkeys.CHANGED:
        raise Refused(
            "THE KEY OF %s HAS CHANGED: it shows a %s, and %s has another one" % (name, shown, known.where[0]),
            "either it is another host, or somebody is in between; if you know why, remove the old key: "
            "ssh-keygen -R '%s'%s" % (name, _file(where)),
        )
    if where.policy == ACCEPT_NEW and where.known_hosts:
        hostkeys.remember(where.known_hosts[0], name, kind, key, where.hash_known_hosts)
        return
    why = " (a certificate authority vouches for it, which is not checked here)" if known.by_authority else ""
    port = "" if where.port == 22 else "-p %d " % where.port
    raise Refused(
        "%s is not known: it shows a %s%s" % (name, shown, why),
        "compare that with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub), then log in once with "
        "ssh %s%s@%s, or give --accept-new" % (port, where.user, where.host),
    )


def _file(where: Target) -> str:
    import os

    usual = os.path.expanduser("~/.ssh/known_hosts")
    return "" if not where.known_hosts or where.known_hosts[0] == usual else " -f '%s'" % where.known_hosts[0]
