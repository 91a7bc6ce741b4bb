# SPDX-License-Identifier: Apache-2.0
"""Addresses of servers: which are taken, and how they are shown without what is secret in them."""

import base64
from typing import Iterable, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from ..errors import UsageError

# What --debuginfod takes for "the servers of $DEBUGINFOD_URLS".
FROM_ENVIRONMENT = "env"
_PORTS = {"http": 80, "https": 443}


class Url(NamedTuple):
    """An http or https address."""

    scheme: str
    host: str
    """Without brackets if it is an IPv6 address."""
    port: int
    path: str
    """With its query, if it has one; that of a server has no "/" at its end."""
    authorization: Optional[str] = None
    """The value of an Authorization header, from "user:password@"."""

    @property
    def origin(self) -> Tuple[str, str, int]:
        """Who is asked: what is secret to one is not for another."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        host = "[%s]" % self.host if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else "%s:%d" % (host, self.port)

    @property
    def shown(self) -> str:
        """The address as a person may see it: without user and password."""
        return "%s://%s%s" % (self.scheme, self.authority, self.path)

    def below(self, path: str) -> "Url":
        return self._replace(path=self.path + path)


def parse_url(text: str) -> Url:
    """A server's address. Raises UsageError, whose words hold no password, for all but http and https. elfutils takes
    file: as well; here a folder of this host is --search-path's, which looks into it with the care that paths need, and
    a server must not be able to redirect to one."""
    if not text.isprintable() or " " in text or any(ord(char) > 126 for char in text):
        raise UsageError("a URL of a debuginfod server holds characters that no URL may have", "write them as %XX")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError("a URL of a debuginfod server is wrong: %s" % error, "write it as https://HOST") from None
    if parts.scheme == "file":
        raise UsageError("debuginfod servers are asked by http or https, not file:", "use --search-path DIR")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UsageError("%s is no debuginfod server" % _without_user(text), "write it as https://HOST")
    authorization = None
    if parts.username is not None:
        pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
        authorization = "Basic " + base64.b64encode(pair).decode("ascii")
    path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    return Url(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path, authorization)


def server_url(text: str) -> Url:
    """As parse_url, for what paths are added to."""
    url = parse_url(text)
    if "?" in url.path:
        raise UsageError("a debuginfod server's URL has no query: %s" % url.shown, "leave out what follows the ?")
    return url._replace(path=url.path.rstrip("/"))


def redirected(url: Url, location: str) -> Url:
    """Where an answer of `url` leads. Raises UsageError for all but http and https. What is secret to one host is kept
    from every other."""
    try:
        joined = urljoin(url.shown, location)
    except ValueError as error:
        raise UsageError("a redirect's URL is wrong: %s" % error) from None
    target = parse_url(joined)
    return target._replace(authorization=url.authorization if target.origin == url.origin else None)


def servers(words: Iterable[str], environ: Mapping[str, str]) -> Tuple[str, ...]:
    """The URLs that the words of --debuginfod mean, each once, in order. Raises UsageError for what is none, and for
    "env" where $DEBUGINFOD_URLS names no server."""
    urls: List[str] = []
    for word in words:
        if word == FROM_ENVIRONMENT:
            named = from_environment(environ)
            if not named:
                raise UsageError("--debuginfod env, and $DEBUGINFOD_URLS names no server", "give --debuginfod URL")
            urls.extend(named)
        else:
            server_url(word)
            urls.append(word)
    return tuple(dict.fromkeys(urls))


def from_environment(environ: Mapping[str, str]) -> Tuple[str, ...]:
    """The servers of $DEBUGINFOD_URLS (debuginfod-client-config(7)). Its words "ima:..." ask for signatures to be
    checked, which elfutils leaves out, too, where it was built without; here the build ID has to do."""
    return tuple(word for word in environ.get("DEBUGINFOD_URLS", "").split() if not word.startswith("ima:"))


def _without_user(text: str) -> str:
    return text.rpartition("@")[2]
