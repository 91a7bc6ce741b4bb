# SPDX-License-Identifier: Apache-2.0
"""Who we are, to a host whose key is checked: the keys that were named, the agent's, the usual ones, a password."""

import base64
import os
import socket
import threading
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from .failures import Refused, Unreachable, paramiko
from .settings import Target

Ask = Callable[[str], Optional[str]]
"""Asks the person at the terminal, without echo; None if there is none, or no answer. One thread at a time calls it."""

# What a host may ask by keyboard-interactive, and of one question.
_MAX_QUESTIONS = 8
_MAX_PROMPT = 200
# A person has to type meanwhile.
_PATIENCE_S = 300.0
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"


class Keyring:
    """Keys and passwords of this run, each asked for once, for all threads and hosts."""

    def __init__(self, ask: Optional[Ask] = None, password: Optional[str] = None) -> None:
        """`password` is for every host that is to be collected from, and for no jump host."""
        self._ask = ask
        self.asks = ask is not None
        self._lock = threading.Lock()
        self._keys: Dict[str, Any] = {}
        self._asked: Set[str] = set()
        self._passwords: Dict[str, Optional[str]] = {}
        self._password = password

    def ask(self, prompt: str) -> Optional[str]:
        with self._lock:
            return self._ask(prompt) if self._ask is not None else None

    def password(self, where: Target, is_jump: bool) -> Optional[str]:
        if self._password is not None and not is_jump:
            return self._password
        with self._lock:
            if where.words not in self._passwords and self._ask is not None:
                self._passwords[where.words] = self._ask("password of %s: " % where.words)
            return self._passwords.get(where.words)

    def key(self, path: str, ask: bool) -> Any:
        """The private key in a file; None if its passphrase is needed and not to be asked for, or not given. Raises
        OSError, or ValueError for what is no key."""
        with self._lock:
            if path not in self._keys:
                self._keys[path] = _load(path, None)
            if ask and self._keys[path] is None and self._ask is not None and path not in self._asked:
                self._asked.add(path)
                words = self._ask("passphrase of the key %s: " % path)
                self._keys[path] = _load(path, words) if words else None
            return self._keys[path]


class _Offer(NamedTuple):
    words: str
    key: Any


def log_in(transport: Any, where: Target, keyring: Keyring, is_jump: bool = False) -> None:
    """Raises Refused, Unreachable."""
    library = paramiko()
    transport.auth_timeout = _PATIENCE_S
    tried: List[str] = []
    try:
        allowed = _none(library, transport, where)
        if allowed and "publickey" in allowed:
            allowed = _keys(library, transport, where, keyring, allowed, tried)
        if allowed:
            allowed = _password(library, transport, where, keyring, is_jump, allowed, tried)
    except library.AuthenticationException as error:
        # paramiko says so of a connection that the host has closed, too.
        raise _refused(where, tried, (), str(error)) from error
    except (library.SSHException, EOFError, OSError) as error:
        raise Unreachable("%s broke off while logging in: %s" % (where.words, error or "no reason given")) from error
    if allowed or not transport.is_authenticated():
        raise _refused(where, tried, allowed or (), "")


def _none(library: Any, transport: Any, where: Target) -> Tuple[str, ...]:
    """What the host lets one log in by; () if that was all it wanted to hear."""
    try:
        return tuple(transport.auth_none(where.user))
    except library.BadAuthenticationType as error:
        return tuple(error.allowed_types)


def _keys(
    library: Any, transport: Any, where: Target, keyring: Keyring, allowed: Tuple[str, ...], tried: List[str]
) -> Tuple[str, ...]:
    """What is still wanted after all keys were offered; () once it is enough."""
    accepted = False
    for offer in _offers(library, where, keyring, tried):
        tried.append(offer.words)
        try:
            more = tuple(transport.auth_publickey(where.user, offer.key))
        except library.BadAuthenticationType as error:
            return tuple(error.allowed_types)
        except library.AuthenticationException:
            if not transport.is_active():
                raise
            continue
        if not more:
            return ()
        allowed, accepted = more, True
        if "publickey" not in more:
            break
    return allowed if accepted else tuple(allowed)


def _offers(library: Any, where: Target, keyring: Keyring, tried: List[str]) -> Iterator[_Offer]:
    """A server hears some six before it hangs up, so what was named comes first; a passphrase is asked for last."""
    agent = _agent_keys(library, where.agent)
    try:
        held = {key.blob: key for key in agent[1]}  # a certificate's asbytes() are those of its key
        files = where.keys + tuple(path for path in where.default_keys if os.path.exists(path))
        locked, usual = [], []
        for path in files:
            public = _public(path)
            if public in held:
                yield from _with_certificates(path, "%s (by the agent)" % path, held.pop(public), where)
                continue
            try:
                key = keyring.key(path, ask=False)
            except (OSError, ValueError) as error:
                tried.append("%s (not usable: %s)" % (path, error))
                continue
            if key is None:
                locked.append(path)
            elif path in where.keys:
                yield from _with_certificates(path, path, key, where)
            else:
                usual.append((path, key))
        for key in () if where.only_these_keys else held.values():
            yield _Offer("the agent's %s" % key.get_name(), key)
        for path, key in usual:
            yield from _with_certificates(path, path, key, where)
        for path in locked:
            why = "its passphrase was not given"
            try:
                key = keyring.key(path, ask=True)
            except (OSError, ValueError) as error:
                key, why = None, str(error)
            if key is None:
                tried.append("%s (%s)" % (path, why))
            else:
                yield from _with_certificates(path, path, key, where)
    finally:
        agent[0].close()


def _password(
    library: Any, transport: Any, where: Target, keyring: Keyring, is_jump: bool, allowed: Tuple[str, ...],
    tried: List[str],
) -> Tuple[str, ...]:  # fmt: skip
    """As _keys, for a password or what else a host may ask."""
    if "password" in allowed:
        password = keyring.password(where, is_jump)
        if password is not None:
            tried.append("a password")
            return tuple(transport.auth_password(where.user, password, fallback=False))
    if "keyboard-interactive" not in allowed:
        return allowed
    answered: List[str] = []

    def answers(title: str, instructions: str, questions: List[Tuple[str, bool]]) -> List[str]:
        given = []
        for question, _echo in questions[:_MAX_QUESTIONS]:
            shown = "".join(char for char in question if char.isprintable())[:_MAX_PROMPT]
            if "password" in shown.lower() and not answered:
                answer = keyring.password(where, is_jump)
            else:
                answer = keyring.ask("%s asks: %s" % (where.words, shown or "?"))
            given.append(answer or "")
            answered.append(shown)
        return given

    if "password" not in allowed and not keyring.asks and keyring.password(where, is_jump) is None:
        return allowed  # an answer that nobody gave would count as a wrong one there
    tried.append("answers to its questions")
    return tuple(transport.auth_interactive(where.user, answers))


def _refused(where: Target, tried: List[str], allowed: Tuple[str, ...], why: str) -> Refused:
    words = "%s lets nobody in with %s" % (where.words, ", ".join(tried) if tried else "no key and no password")
    if allowed:
        words += "; it takes %s" % ", ".join(allowed)
    if why and why.rstrip(".") != "Authentication failed":
        words += " (%s)" % why
    return Refused(words, "name a key with -i, load it into the agent (ssh-add), or see that the user is right (-l)")


class _Nothing:
    def close(self) -> None:
        pass


def _agent_keys(library: Any, path: Optional[str]) -> Tuple[Any, Tuple[Any, ...]]:
    """The connection to the agent and its keys. Not by paramiko's Agent, which knows $SSH_AUTH_SOCK only."""
    if not path:
        return _Nothing(), ()
    from paramiko.agent import AgentSSH

    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    agent = AgentSSH()
    try:
        link.settimeout(10)
        link.connect(path)
        agent._connect(link)
        link.settimeout(None)  # a key may have to be confirmed, or touched
        return link, tuple(agent.get_keys())
    except (library.SSHException, OSError, ValueError):
        link.close()
        return _Nothing(), ()


def _with_certificates(path: str, words: str, key: Any, where: Target) -> Iterator[_Offer]:
    """As ssh has it: a key with each of its certificates, then by itself, for not every host knows the authority."""
    from paramiko.pkey import PublicBlob

    fields = key.asbytes()[4 + len(key.get_name()) :]  # all but its type, as a certificate has them, too
    for name in (path + "-cert.pub",) + where.certificates:
        try:
            blob = PublicBlob.from_file(name)
        except (OSError, ValueError):
            continue
        if fields in blob.key_blob:
            certified = object.__new__(type(key))  # paramiko's AgentKey cannot be copied
            certified.__dict__.update(vars(key), public_blob=blob)
            yield _Offer("%s with %s" % (words, name), certified)
    yield _Offer(words, key)


def _public(path: str) -> Optional[bytes]:
    """The public key that lies there itself, in a private one, or beside it."""
    for name in (path, path + ".pub"):
        try:
            with open(name, "rb") as file:
                data = file.read(1 << 16)
            if not data.startswith(_OPENSSH):
                return base64.b64decode(data.split()[1], validate=True)
            packed = base64.b64decode(data.split(b"-----")[2])
            # PROTOCOL.key of OpenSSH: a magic, cipher, key derivation and its options, how many keys, the first.
            at = len(b"openssh-key-v1\0")
            for _field in range(3):
                at += 4 + int.from_bytes(packed[at : at + 4], "big")
            return packed[at + 8 : at + 8 + int.from_bytes(packed[at + 4 : at + 8], "big")]
        except (OSError, IndexError, ValueError):
            continue
    return None


def _load(path: str, passphrase: Optional[str]) -> Any:
    """A private key; None if it needs a passphrase. Raises OSError, ValueError."""
    library = paramiko()
    # PKey.from_path tries them all, too, but is not in every release and has changed from one to the next.
    for kind in (library.Ed25519Key, library.ECDSAKey, library.RSAKey):
        try:
            return kind.from_private_key_file(path, passphrase)
        except library.PasswordRequiredException:
            return None
        except (library.SSHException, ValueError, TypeError, IndexError):
            continue
    raise ValueError(
        "the passphrase is not its own" if passphrase is not None else "no private key that paramiko can read"
    )
