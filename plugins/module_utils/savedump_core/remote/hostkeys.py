# SPDX-License-Identifier: Apache-2.0
"""known_hosts, as sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT" has it: hashed names, patterns, ports and markers.

paramiko's own reader knows neither patterns nor @revoked, and takes a host it has not found for a new one.
"""

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import re
from typing import FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from ..errors import cannot_write

SAME, NEW, CHANGED, REVOKED = "same", "new", "changed", "revoked"

_MAX_FILE = 16 << 20


class Known(NamedTuple):
    """What the files say of one host."""

    keys: Tuple[Tuple[str, bytes], ...] = ()
    """(type such as "ssh-ed25519", the key's bytes), in the order of the files."""
    revoked: FrozenSet[bytes] = frozenset()
    where: Tuple[str, ...] = ()
    """"FILE:LINE" of each of `keys`."""
    by_authority: bool = False
    """A certificate authority vouches for the host; certificates of hosts are not checked here."""


def known(name: str, files: Iterable[str]) -> Known:
    """What is known of a host by the name that host_name() gives. A file that is not there knows nothing; raises
    OSError for one that cannot be read."""
    keys: List[Tuple[str, bytes]] = []
    where: List[str] = []
    revoked: List[bytes] = []
    authority = False
    for path in files:
        for number, line in enumerate(_lines(path), 1):
            fields = line.split()
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            if len(fields) < 3 or fields[0].startswith("#") or not _names(fields[0], name):
                continue
            try:
                key = base64.b64decode(fields[2].encode("ascii", "replace"), validate=True)
            except (binascii.Error, ValueError):
                continue
            if marker == "@revoked":
                revoked.append(key)
            elif marker == "@cert-authority":
                authority = True
            elif not marker:
                keys.append((fields[1], key))
                where.append("%s:%d" % (path, number))
    return Known(keys=tuple(keys), revoked=frozenset(revoked), where=tuple(where), by_authority=authority)


def verdict(known_keys: Known, key: bytes, without_port: Optional[Known] = None) -> str:
    """SAME, NEW, CHANGED or REVOKED. Stricter than ssh: a key of another type than the known ones is CHANGED, too, for
    the known types are asked for first. `without_port` is what is known by the plain name."""
    if key in known_keys.revoked:
        return REVOKED
    if any(key == other for _kind, other in known_keys.keys):
        return SAME
    if known_keys.keys:
        return CHANGED
    by_plain_name = NEW if without_port is None else verdict(without_port, key)
    # Another key by the plain name is that of another server on the same host.
    return NEW if by_plain_name == CHANGED else by_plain_name


def host_name(host: str, port: int) -> str:
    """As known_hosts writes it."""
    return host.lower() if port == 22 else "[%s]:%d" % (host.lower(), port)


def fingerprint(key: bytes) -> str:
    """As ssh-keygen -l shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def remember(path: str, name: str, kind: str, key: bytes, hashed: bool = False) -> None:
    """Add a line, as ssh does: the folder 0700, the file 0600 where they are new. Raises CannotWrite."""
    if hashed:
        salt = os.urandom(20)
        name = "|1|%s|%s" % (_text(salt), _text(_hash(salt, name)))
    row = "%s %s %s\n" % (name, kind, _text(key))
    try:
        os.makedirs(os.path.dirname(path) or ".", 0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                row = "\n" + row
            file.write(row.encode("ascii"))  # one write, so that two runs do not mix their lines
    except OSError as error:
        raise cannot_write(path, error, "the host's key cannot be remembered there") from error


def _lines(path: str) -> List[str]:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE).decode("utf-8", "replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _names(field: str, name: str) -> bool:
    """Whether the first field of a line is about this host."""
    if field.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part) for part in field[3:].split("|"))
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(digest, _hash(salt, name))
    found = False
    for pattern in field.lower().split(","):
        if _matches(pattern.lstrip("!"), name):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _matches(pattern: str, name: str) -> bool:
    """Only * and ? are special: [host]:22 is no class of letters."""
    if not re.search(r"[*?]", pattern):
        return pattern == name
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _hash(salt: bytes, name: str) -> bytes:
    return hmac.new(salt, name.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
