# SPDX-License-Identifier: Apache-2.0
"""Which installed package a path belongs to: read out of the databases of dpkg, apk and pacman, asked of rpm.

Sources: dpkg-query(1) and dpkg's lib/dpkg/db-*.c (info/*.list, status, diversions); apk-tools, "APK installed
database"; pacman's lib/libalpm/be_local.c; rpm(8).
"""

import os
import re
from typing import AbstractSet, Callable, Collection, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from ..model import Package
from ..sysroot import Refused, Sysroot, open_regular
from .stored import ALPM, APK, DEB, RPM
from .unpacked import plain

_DPKG = "/var/lib/dpkg"
_APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_ALPM = "/var/lib/pacman/local"
_RPM = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
_RPM_DATABASES = frozenset(("rpmdb.sqlite", "Packages.db", "Packages"))

# dpkg's status of a desktop is 6 MiB, apk's database 10.
_MAX_FILE = 64 << 20
# All lists together; a desktop's 4,000 packages have 40 MiB.
_MAX_LISTS = 256 << 20
_MAX_PACKAGES = 50000
# So many paths are looked for one by one; of more, the set of them is held against the set of all lines.
_FEW = 8
# Some 300 paths take rpm 50 ms; more than this means that its database is locked or broken.
_RPM_SECONDS = 20
_RPM_CALLS = 24
# What rpm says on stderr instead of a line on stdout (rpm's lib/query.c).
_ABSENT = re.compile(r"^error: file (.*): [^:]+$", re.MULTILINE)
_RPM_FORMAT = r"%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\t%{ARCH}\n"


class Installed(NamedTuple):
    """A package as a database has it."""

    name: str
    version: str
    arch: str
    kind: str
    """DEB, RPM, APK or ALPM."""

    @property
    def package(self) -> Package:
        return Package(name=self.name, version=self.version, kind=self.kind)


class Databases:
    """The package databases of a sysroot. What dpkg's lists say is kept: 10 MiB on a server, read in 40 ms; after that
    a path costs 6 ms."""

    def __init__(self, sysroot: Sysroot) -> None:
        self._sysroot = sysroot
        self._lists: Optional[List[Tuple[str, bytes]]] = None
        self._status = b""
        self._stanzas: Optional[Dict[bytes, List[int]]] = None

    def owners_of(
        self, paths: Collection[str], rpm: bool = True, among: Optional[AbstractSet[str]] = None
    ) -> Dict[str, Installed]:
        """The package of each of these absolute paths that has one, by the path as given. `rpm` is False where its
        database, for which a program has to run, is not to be asked. Of dpkg's packages, only those `among` these names
        are asked, if that is given."""
        wanted: Dict[bytes, Set[str]] = {}
        for path in paths:
            if path.startswith("/") and "\n" not in path:
                for spelling in spellings(path):
                    wanted.setdefault(os.fsencode(spelling), set()).add(path)
        found: Dict[str, Installed] = {}
        if not wanted:
            return found
        for read in (lambda asked: self._by_dpkg(asked, among), self._by_apk, self._by_pacman):
            for listed, package in read(wanted.keys()):
                for path in wanted[listed]:
                    # The very path that a database has goes before the other spelling of it.
                    if path not in found or os.fsencode(path) == listed:
                        found[path] = package
        rest = sorted({path for of_one in wanted.values() for path in of_one} - set(found))
        if rest and rpm:
            found.update(_by_rpm(self._sysroot, rest))
        return found

    def with_prefix(self, prefix: str) -> Optional[Installed]:
        """The dpkg package that owns some path that begins so: after an upgrade libx.so.1.4 is where libx.so.1.3
        was."""
        starts = tuple(b"\n" + os.fsencode(spelling) for spelling in spellings(prefix))
        for package, text in self._dpkg_lists():
            if any(start in text for start in starts):
                return self._dpkg_versions({package}).get(package)
        return None

    def installed(self, name: str) -> Optional[Installed]:
        """dpkg's package of this name."""
        return self._dpkg_versions({name}).get(name)

    def _dpkg_lists(self) -> List[Tuple[str, bytes]]:
        """NAME or NAME:ARCH, and its paths, one on each line, with a line break before the first."""
        if self._lists is None:
            self._lists = []
            room = _MAX_LISTS
            host, names = _folder(self._sysroot, _DPKG + "/info")
            for name in names:
                if name.endswith(".list") and room > 0:
                    text = _lines(os.path.join(host, name), room)
                    room -= len(text)
                    self._lists.append((name[: -len(".list")], text))
        return self._lists

    def _by_dpkg(
        self, wanted: Collection[bytes], among: Optional[AbstractSet[str]]
    ) -> Iterator[Tuple[bytes, Installed]]:
        diverted = _diversions(self._sysroot)
        # What was moved aside is in its package's list under the name that it had.
        moved = {target: origin for origin, (target, _by) in diverted.items() if target in wanted}
        asked = set(wanted) | set(moved.values())
        hits = [
            (path, package)
            for package, text in self._dpkg_lists()
            if among is None or package.partition(":")[0] in among
            for path in _listed(asked, text)
        ]
        versions = self._dpkg_versions({package for _path, package in hits})
        origins = {origin: target for target, origin in moved.items()}
        for path, package in hits:
            owner = versions.get(package)
            if owner is None:
                continue
            diverter = diverted[path][1] if path in diverted else b""
            if path in origins and os.fsencode(owner.name) != diverter:
                yield origins[path], owner
            if path in wanted and (not diverter or os.fsencode(owner.name) == diverter):
                yield path, owner

    def _dpkg_versions(self, packages: Collection[str]) -> Dict[str, Installed]:
        """By NAME or NAME:ARCH, as the lists are called."""
        found: Dict[str, Installed] = {}
        if not packages:
            return found
        if self._stanzas is None:
            self._status = b"\n" + read_file(self._sysroot, _DPKG + "/status")
            self._stanzas = {}
            for match in re.finditer(rb"\nPackage: ([^\n]+)\n", self._status):
                self._stanzas.setdefault(match.group(1), []).append(match.start())
        names = {os.fsencode(package.partition(":")[0]) for package in packages}
        for start in (start for name in sorted(names) for start in self._stanzas.get(name, ())):
            end = self._status.find(b"\n\n", start)
            stanza = fields(self._status[start : end if end >= 0 else None])
            name, version, arch = (stanza.get(key, "") for key in ("Package", "Version", "Architecture"))
            if version:
                package = Installed(name=name, version=version, arch=arch, kind=DEB)
                found["%s:%s" % (name, arch)] = package
                # Of several architectures, the one that is installed, not one of which but settings are left.
                if name not in found or stanza.get("Status", "").endswith(" installed"):
                    found[name] = package
        return found

    def _by_apk(self, wanted: Collection[bytes]) -> Iterator[Tuple[bytes, Installed]]:
        for path in _APK:
            text = read_file(self._sysroot, path)
            if not text:
                continue
            name = version = arch = ""
            folder = b""
            for line in text.split(b"\n"):
                mark, value = line[:2], line[2:]
                if mark == b"P:":
                    name = os.fsdecode(value)
                elif mark == b"V:":
                    version = os.fsdecode(value)
                elif mark == b"A:":
                    arch = os.fsdecode(value)
                elif mark == b"F:":
                    folder = b"/" + value
                elif mark == b"R:" and folder + b"/" + value in wanted:
                    yield folder + b"/" + value, Installed(name=name, version=version, arch=arch, kind=APK)
            return

    def _by_pacman(self, wanted: Collection[bytes]) -> Iterator[Tuple[bytes, Installed]]:
        relative = {path[1:] for path in wanted}
        host, names = _folder(self._sysroot, _ALPM)
        for folder in names:
            hits = _listed(relative, _lines(os.path.join(host, folder, "files"), _MAX_FILE))
            if not hits:
                continue
            lines = _lines(os.path.join(host, folder, "desc"), _MAX_FILE).split(b"\n")
            name, version, arch = (_after(lines, mark) for mark in (b"%NAME%", b"%VERSION%", b"%ARCH%"))
            for path in hits:
                yield b"/" + path, Installed(name=name, version=version, arch=arch, kind=ALPM)


def _listed(wanted: Set[bytes], text: bytes) -> List[bytes]:
    """Which of these are lines of the text, which begins with a line break."""
    if len(wanted) <= _FEW:
        return [path for path in wanted if b"\n%s\n" % path in text]
    return [path for path in wanted.intersection(text.split(b"\n")) if path]


def spellings(path: str) -> Tuple[str, ...]:
    """A path and, on systems that merged /usr, its other: packages may list /lib/x where the process saw /usr/lib/x."""
    short = plain(path)
    if short != path:
        return path, short
    return (path, "/usr" + path) if plain("/usr" + path) == path else (path,)


def fields(text: bytes) -> Dict[str, str]:
    """One stanza of deb822(5); the first line of each field."""
    found = {}
    for line in text.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and not name.startswith((b" ", b"\t")):
            found[name.decode("utf-8", "replace")] = value.strip().decode("utf-8", "replace")
    return found


def read_file(sysroot: Sysroot, path: str, limit: int = _MAX_FILE) -> bytes:
    """A regular file of the sysroot; b"" if it is not there, cannot be read or is larger than `limit`."""
    try:
        descriptor = open_regular(sysroot.resolve(path).host_path)
    except (OSError, Refused, ValueError):
        return b""
    try:
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return b""
    return data if len(data) <= limit else b""


def _folder(sysroot: Sysroot, path: str) -> Tuple[str, List[str]]:
    """The host's path of a folder, and the sorted names in it; none if it is not there."""
    try:
        host = sysroot.resolve(path).host_path
        return host, sorted(os.listdir(host))[:_MAX_PACKAGES]
    except OSError:
        return "", []


def _lines(host_path: str, limit: int) -> bytes:
    """A file of lines, with a line break before the first; b"" for what cannot be read."""
    try:
        descriptor = open_regular(host_path)
    except (OSError, Refused):
        return b""
    try:
        size = os.fstat(descriptor).st_size
        return b"\n" + os.read(descriptor, size) if size <= limit else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _diversions(sysroot: Sysroot) -> Dict[bytes, Tuple[bytes, bytes]]:
    """Path to where another package's file of that path is kept, and the package that may have the path; ":" stands
    for the administrator."""
    lines = read_file(sysroot, _DPKG + "/diversions").split(b"\n")
    return {lines[at]: (lines[at + 1], lines[at + 2]) for at in range(0, len(lines) - 2, 3)}


def _after(lines: List[bytes], mark: bytes) -> str:
    at = lines.index(mark) + 1 if mark in lines else len(lines)
    return os.fsdecode(lines[at]) if at < len(lines) else ""


def _by_rpm(sysroot: Sysroot, paths: List[str]) -> Dict[str, Installed]:
    """Ask rpm, where there is one and it has a database: its formats are many (Berkeley DB, ndb, sqlite)."""
    import shutil

    program = shutil.which("rpm")
    database = next((folder for folder in _RPM if not _RPM_DATABASES.isdisjoint(_folder(sysroot, folder)[1])), None)
    if program is None or database is None:
        return {}
    # The program's own idea of where it lies may be another: Debian's has it in the home folder.
    words = [program, "-q", "--dbpath", database, "--qf", _RPM_FORMAT]
    if sysroot.root != "/":
        words += ["--root", sysroot.root]
    calls = iter(range(_RPM_CALLS))
    return dict(_ask_rpm(words, paths, lambda: next(calls, None) is not None))


def _ask_rpm(words: List[str], paths: List[str], may_ask: Callable[[], bool]) -> Iterable[Tuple[str, Installed]]:
    """rpm prints a line for each path that is there, in their order; where several packages own one, it prints more,
    and the paths are asked for in halves."""
    import subprocess

    if not paths or not may_ask():
        return
    try:
        done = subprocess.run(
            words + ["-f", "--"] + paths, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=_RPM_SECONDS, env=dict(os.environ, LC_ALL="C"), check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return
    lines = os.fsdecode(done.stdout).split("\n")[:-1]
    absent = set(_ABSENT.findall(os.fsdecode(done.stderr)))
    paths = [path for path in paths if path not in absent]
    if len(lines) == len(paths) or (len(paths) == 1 and lines):
        for path, line in zip(paths, lines):
            row = line.split("\t")
            if len(row) == 3:
                yield path, Installed(name=row[0], version=row[1], arch=row[2], kind=RPM)
    elif len(paths) > 1:
        middle = len(paths) // 2
        yield from _ask_rpm(words, paths[:middle], may_ask)
        yield from _ask_rpm(words, paths[middle:], may_ask)
