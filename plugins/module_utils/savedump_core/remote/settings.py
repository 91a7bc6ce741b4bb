# SPDX-License-Identifier: Apache-2.0
"""Which host, by which name, port, user and way: the words of the command line and ssh_config(5) taken together."""

import glob
import os
import re
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple

from ..errors import SavedumpError, UsageError
from .failures import paramiko

USER_CONFIG = "~/.ssh/config"
SYSTEM_CONFIG = "/etc/ssh/ssh_config"
_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
# ssh's own, without the kinds that paramiko has no class for.
_DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")

_SPEC = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?:\[(?P<v6>[^]]+)\]|(?P<host>[^\s@]+?))(?::(?P<port>\d{1,5}))?/?\Z")
_INCLUDE = re.compile(r"\s*include(?:\s*=\s*|\s+)(.+?)\s*\Z", re.IGNORECASE)
_BLOCK = re.compile(r"\s*(?:host|match)(?:\s|=)", re.IGNORECASE)
_TIME = re.compile(r"(?=.)(?:[0-9]{1,10}[smhdw])*(?:[0-9]{1,10})?\Z")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# A socket's timeout goes to poll(2) as milliseconds in an int, which hold some 24 days; longer ones wrap around.
_MAX_WAIT_S = 2000000
# For a connection to come about, if nobody says another.
_TIMEOUT_S = 20.0
# ssh's readconf.c: READCONF_MAX_DEPTH
_MAX_DEPTH = 16
_MAX_CONFIG = 4 << 20

STRICT, ACCEPT_NEW = "strict", "accept-new"


class Wishes(NamedTuple):
    """What the command line says of every host."""

    user: Optional[str] = None
    port: Optional[int] = None
    jump: Optional[str] = None
    """As ssh's -J: hosts with commas between them, the first to be connected to first; "none" for none."""
    keys: Tuple[str, ...] = ()
    """Files with private keys; for jump hosts, too."""
    config: Optional[str] = None
    """Another file than the user's and the system's; "none" for none."""
    accept_new: bool = False
    timeout_s: Optional[float] = None
    """For a connection to come about."""


class Target(NamedTuple):
    """One host, all settled."""

    name: str
    """As the user called it, without user and port."""
    host: str
    """What to connect to."""
    port: int
    user: str
    alias: Optional[str]
    """Its name in known_hosts, whatever the port, if it is not to be looked up there by host and port."""
    jumps: Tuple[str, ...]
    """Words as the user would give them, in the order of connecting."""
    proxy_command: Optional[str]
    keys: Tuple[str, ...]
    """Files that were named."""
    default_keys: Tuple[str, ...]
    """Files to be tried besides, if they are there."""
    certificates: Tuple[str, ...]
    """Files, besides those beside the keys."""
    only_these_keys: bool
    """The agent is asked only for keys that are among the files."""
    agent: Optional[str]
    """The agent's socket."""
    known_hosts: Tuple[str, ...]
    """The first of them is written to if new keys are accepted."""
    system_known_hosts: Tuple[str, ...]
    hash_known_hosts: bool
    policy: str
    """What to do about an unknown host key."""
    ciphers: Optional[str]
    """As the config has them: a list, or what to add, take away or prefer."""
    alive_s: float
    """Seconds of silence after which the host is asked for a sign of life,"""
    lost_s: float
    """and after which it is given up."""
    timeout_s: float

    @property
    def words(self) -> str:
        """For messages: USER@HOST, with the port where it is not ssh's."""
        return "%s@%s%s" % (self.user, self.name, "" if self.port == 22 else ":%d" % self.port)


def parse(spec: str) -> Tuple[Optional[str], str, Optional[int]]:
    """(user, host, port) of [USER@]HOST[:PORT], ssh://… or [v6]:PORT. Raises UsageError."""
    bare = spec.rpartition("@")[2]
    match = _SPEC.match(spec)
    if re.match(r"[0-9a-fA-F]*:[0-9a-fA-F:.]*:[0-9a-fA-F.]*(%\w+)?\Z", bare):  # an IPv6 address as it is
        user, _at, host = spec.rpartition("@")
        return user or None, host, None
    port = match.group("port") if match else None
    host = (match.group("v6") or match.group("host")) if match else ""
    if match is None or not host or host.startswith("-") or not spec.isprintable() or (port and int(port) > 65535):
        raise UsageError("%r is no host" % spec, "write it as [USER@]HOST[:PORT]")
    return match.group("user"), host, int(port) if port else None


def target(spec: str, wishes: Wishes, via_jump: bool = False) -> Target:
    """All about one host. A jump host (`via_jump`) has its user, port and way from its own words and the config only.
    Raises SavedumpError or OSError."""
    user, name, port = parse(spec)
    user = user or (None if via_jump else wishes.user)
    port = port or (None if via_jump else wishes.port)
    config = _config(wishes, user, port).lookup(name)
    jump = None if via_jump else wishes.jump
    named = tuple(os.path.expanduser(path) for path in wishes.keys)
    from_config = tuple(_paths(config.get("identityfile") or ()))
    interval = _seconds(config, "serveraliveinterval") or 15
    policy = config.get("stricthostkeychecking", "ask").lower()
    return Target(
        name=name,
        host=config.get("hostname", name),
        port=int(_number(config, "port", 22)),
        user=config.get("user") or _own_name(),
        alias=config.get("hostkeyalias") or None,
        jumps=_jumps(config.get("proxyjump") if jump is None else jump),
        proxy_command=None if jump else config.get("proxycommand"),
        keys=named + tuple(path for path in from_config if path not in named),
        default_keys=() if named or from_config else tuple(_paths(_DEFAULT_KEYS)),
        certificates=tuple(_paths([config["certificatefile"]] if "certificatefile" in config else ())),
        only_these_keys=config.get("identitiesonly", "no").lower() in ("yes", "true"),
        agent=_agent(config.get("identityagent")),
        known_hosts=_files(config.get("userknownhostsfile", _KNOWN_HOSTS)),
        system_known_hosts=_files(config.get("globalknownhostsfile", _SYSTEM_KNOWN_HOSTS)),
        hash_known_hosts=config.get("hashknownhosts", "no").lower() in ("yes", "true"),
        # ssh's "no" would go on with a changed key; that is never done here.
        policy=ACCEPT_NEW if wishes.accept_new or policy in ("accept-new", "no", "off") else STRICT,
        ciphers=config.get("ciphers"),
        alive_s=interval,
        lost_s=interval * (1 + (_number(config, "serveralivecountmax", 3) or 1)),
        timeout_s=wishes.timeout_s or _seconds(config, "connecttimeout") or _TIMEOUT_S,
    )


def _config(wishes: Wishes, user: Optional[str], port: Optional[int]) -> Any:
    """The files as paramiko's SSHConfig, of which the first word counts: before theirs come those of the command line,
    which %r and %p in the files stand for, too."""
    library = paramiko()
    config = library.SSHConfig()
    given = (("User", user), ("Port", port))
    config.parse(["%s %s" % (key, word) for key, word in given if word])
    if wishes.config == "none":
        return _Config(config, "the command line", library)
    files = [wishes.config] if wishes.config else [os.path.expanduser(USER_CONFIG), SYSTEM_CONFIG]
    for path in files:
        try:
            config.parse(_lines(path, "/etc/ssh" if path == SYSTEM_CONFIG else os.path.expanduser("~/.ssh"), 0))
        except FileNotFoundError:
            if wishes.config:
                raise
        except (library.SSHException, ValueError) as error:
            raise _bad_config(path, error) from error
    return _Config(config, " and ".join(files), library)


class _Config(NamedTuple):
    """SSHConfig, whose errors say where they come from."""

    config: Any
    files: str
    library: Any

    def lookup(self, name: str) -> Dict[str, Any]:
        try:
            return dict(self.config.lookup(name))
        except ImportError as error:
            raise _bad_config(self.files, "Match exec needs the package invoke (%s)" % error) from error
        except (self.library.SSHException, ValueError, KeyError) as error:
            raise _bad_config(self.files, error) from error


def _bad_config(path: str, error: object) -> SavedumpError:
    failure = UsageError("cannot make sense of %s: %s" % (path, error), "name another file with -F, or -F none")
    return failure


def _lines(path: str, folder: str, depth: int) -> Iterator[str]:
    """The lines of a config file with those that it includes, which paramiko passes over. After an included file the
    Host or Match that was in force is in force again."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read(_MAX_CONFIG)
    block = "Host *"
    for line in text.splitlines():
        match = _INCLUDE.match(line)
        if match is None:
            block = line if _BLOCK.match(line) else block
            yield line
            continue
        for word in match.group(1).replace('"', "").split():
            pattern = os.path.join(folder, os.path.expanduser(word))
            for name in sorted(glob.glob(pattern)) if depth < _MAX_DEPTH else ():
                yield from _lines(name, folder, depth + 1)
        yield block


def _jumps(words: Optional[str]) -> Tuple[str, ...]:
    if not words or words.lower() == "none":
        return ()
    return tuple(word.strip() for word in words.split(",") if word.strip())


def _paths(names: Any) -> Iterator[str]:
    for name in names:
        if name.lower() != "none":
            yield os.path.expanduser(name)


def _files(words: str) -> Tuple[str, ...]:
    return tuple(_paths(words.replace('"', "").split()))


def _agent(word: Optional[str]) -> Optional[str]:
    if word is None or word == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if word.lower() == "none":
        return None
    return os.environ.get(word.strip("${}")) if word.startswith("$") else os.path.expanduser(word)


def _number(config: Dict[str, Any], key: str, default: int) -> float:
    word = str(config.get(key, default))
    if not re.match(r"[0-9]{1,6}\Z", word):
        raise UsageError("%s of the ssh config is %r, which is no number" % (key, word))
    return float(word)


def _seconds(config: Dict[str, Any], key: str) -> float:
    """A time as in TIME FORMATS of sshd_config(5), 90, 1h30m or none; 0 for none and where nothing is said."""
    word = str(config.get(key, "none")).lower()
    if word == "none":
        return 0.0
    if not _TIME.match(word):
        raise UsageError("%s of the ssh config is %r, which is no time" % (key, word))
    total = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"([0-9]+)([smhdw]?)", word))
    return float(min(total, _MAX_WAIT_S))


def _own_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise UsageError("this user has no name", "give the login name: -l USER") from None
