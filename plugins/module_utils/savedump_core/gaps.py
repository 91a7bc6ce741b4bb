# SPDX-License-Identifier: Apache-2.0
"""What a person needs to know of a file besides where it was: which package it came in, and of one that is missing,
which package would hold it and the one command that would fill the gap.
"""

import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from .model import LOADED, Findings, Found, Missing, ModuleFiles, Package, Result
from .packages import history, owners, stored
from .packages.owners import Installed
from .packages.stored import ALPM, APK, DEB, RPM
from .sysroot import Sysroot, os_release

# What stands for the archive in a command: its name is known when it has been written.
ARCHIVE = "ARCHIVE"

# Names come out of databases, notes and dumps: nothing else gets into a command that a person pastes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:^_-]{0,127}")
_RELEASE = re.compile(r"[0-9][A-Za-z0-9.+~_-]{0,127}")
_MAX_NOTE = 1 << 12
# Missing libraries whose package is looked for by what their names begin with: each costs 30 ms.
_MAX_STEMS = 16


class _Server(NamedTuple):
    """A distribution's public debuginfod."""

    url: str
    executables: bool
    """False if it has debug information only: it is fed with nothing but debug packages."""


# By ID of os-release(5). Sources: sourceware.org/elfutils/Debuginfod.html, "public servers"; rocky-release.spec
# (debug_url). What each serves: the table of pwndbg/debuginfod.pwndbg.re, measured 2026; Ubuntu's answers come from
# ddebs (canonical/hotkdump#49). Alpine, RHEL and SLES have none.
_SERVERS = {
    "debian": _Server("https://debuginfod.debian.net", False),
    "ubuntu": _Server("https://debuginfod.ubuntu.com", False),
    "fedora": _Server("https://debuginfod.fedoraproject.org/", True),
    "centos": _Server("https://debuginfod.centos.org/", True),
    "rocky": _Server("https://debuginfod.rockylinux.org/", True),
    "opensuse-tumbleweed": _Server("https://debuginfod.opensuse.org/", True),
    "opensuse-leap": _Server("https://debuginfod.opensuse.org/", True),
    "arch": _Server("https://debuginfod.archlinux.org", False),
    "void": _Server("https://debuginfod.s.voidlinux.org", False),
    "altlinux": _Server("https://debuginfod.altlinux.org", False),
}
# Of whom others take packages as they are (Linux Mint, EndeavourOS). Clones of RHEL and Fedora's kin build their own,
# under other build IDs.
_SHARED = ("ubuntu", "debian", "arch")
_SYSTEM = ("/usr/", "/lib", "/bin/", "/sbin/")
# Made by hand, long before -dbgsym: Debian's glibc.
_HAND_MADE = {"libc6": "libc6-dbg"}
_DEBUG_SUFFIX = {DEB: "-dbgsym", RPM: "-debuginfo", APK: "-dbg", ALPM: "-debug"}


class _Distribution(NamedTuple):
    """Of os-release(5)."""

    id: str
    version: str
    like: Tuple[str, ...]

    @property
    def server(self) -> Optional[_Server]:
        shared = tuple(name for name in self.like if name in _SHARED)
        return next((_SERVERS[name] for name in (self.id,) + shared if name in _SERVERS), None)

    def is_a(self, *names: str) -> bool:
        return any(name in names for name in (self.id,) + self.like)


def with_packages(findings: Findings, sysroot: Sysroot) -> Findings:
    """The findings with `package` of every file of which it is known, and `command` of every missing one.

    A found file's package is what its own .note.package says, else what the sysroot's databases say of its path; all
    paths are looked up at once. Files from elsewhere (--search-path, a server, another root) have their note only.

    The command, for a person to type, is the one that is most likely to work:

    - Of a file with a build ID that the distribution made, if its debuginfod has such files: ``savedump complete
      ARCHIVE --debuginfod URL``. It needs no rights, no repository to be set up (Debian's and Ubuntu's debug packages
      are in archives that few hosts know) and cannot bring the wrong version. It goes before installing for that.
    - Of an upgraded program or library where it has not, if a log still tells the former version: fetch that package
      and read the file out of it, nothing is installed (``apt-get download PKG=OLD && savedump complete …``).
    - Of a kernel, which is asked for by its release: install the debug package; it is a GiB, and servers give up on it.
    - Of debug information where there is no server: install the debug package of the very version.
    - Of what no package holds: ``savedump complete ARCHIVE --search-path DIR``.
    - Of what is there and cannot be proven: ``savedump archive DUMP --allow-unverified``.
    """
    return _Report(findings, sysroot).findings()


class _Report:
    """One look at the databases for all files of one search."""

    def __init__(self, findings: Findings, sysroot: Sysroot) -> None:
        self._findings = findings
        self._sysroot = sysroot
        self._distribution = _distribution(sysroot)
        self._former: Optional[Dict[str, str]] = None
        self._stems = _MAX_STEMS
        paths: Set[str] = set()
        for files in findings.files:
            for result in files.results:
                paths.update(self._paths(result))
        if findings.thread_db is not None:
            paths.update(self._paths(findings.thread_db))
        self._databases = owners.Databases(sysroot)
        self._owners = self._databases.owners_of(sorted(paths))

    def findings(self) -> Findings:
        files = tuple(self._module(one) for one in self._findings.files)
        thread_db = self._findings.thread_db
        return self._findings._replace(files=files, thread_db=thread_db and self._found(thread_db))

    def _module(self, files: ModuleFiles) -> ModuleFiles:
        loaded = files.file and self._result(files.file, files.file)
        # A file that holds its own debug information stays one.
        debug = loaded if files.debug is files.file else files.debug and self._result(files.debug, files.file)
        return files._replace(
            file=loaded, debug=debug,
            supplementary=files.supplementary and self._result(files.supplementary, files.file),
            split=tuple(self._result(one, files.file) for one in files.split),
        )  # fmt: skip

    def _paths(self, result: Result) -> List[str]:
        """Absolute paths in the sysroot that tell the package."""
        if isinstance(result, Found):
            return [result.inside] if self._in_place(result) else []
        want = result.want
        if want.release is not None:
            return []
        named: Tuple[Optional[str], ...] = want.paths
        if want.kind != LOADED:
            named = (want.module, want.loaded_at if want.loaded_in is None else None)
        return [path for path in named if path and path.startswith("/") and not path.endswith(" (deleted)")]

    def _in_place(self, found: Found) -> bool:
        return (
            found.descriptor is None
            and found.inside.startswith("/")
            and found.at == self._sysroot.host_path(found.inside)
        )

    def _result(self, result: Result, loaded: Optional[Result]) -> Result:
        return self._found(result) if isinstance(result, Found) else self._missing(result, loaded)

    def _found(self, found: Found) -> Found:
        owner = self._holder(found)
        package = _note(found.package_note) or (owner.package if owner else None)
        return found if package is None else found._replace(package=package)

    def _holder(self, found: Found) -> Optional[Installed]:
        """The package that this very file is of."""
        if self._in_place(found):
            return self._owners.get(found.inside)
        # "/var/cache/apt/archives/libx1_1.0-1_amd64.deb: /usr/lib/libx.so.1", as the finder of package caches says.
        words = stored.named(os.path.basename(found.at.split(": /", 1)[0])) if ": /" in found.at else None
        if words is None:
            return None
        kind, name, version, arch = words
        return Installed(name=name, version=version, arch=arch, kind=kind)

    def _missing(self, missing: Missing, loaded: Optional[Result]) -> Missing:
        want = missing.want
        if want.release is not None:
            name, command = _kernel(self._distribution, want.release)
            package = Package(name=name, version="", kind=_kind(self._distribution)) if name else None
            return missing._replace(package=package, command=command or _search_path())
        holder = self._would_hold(missing, loaded)
        package = None
        if holder is not None:
            name = holder.name if want.kind == LOADED else self._debug_name(holder)
            package = Package(name=name, version=holder.version, kind=holder.kind)
        return missing._replace(package=package, command=self._command(missing, holder, package))

    def _would_hold(self, missing: Missing, loaded: Optional[Result]) -> Optional[Installed]:
        """The package that holds the file, or of debug information the one that it belongs to. `version` is "" where
        nothing tells it: a missing file is not the one that is installed now."""
        if missing.want.kind != LOADED and isinstance(loaded, Found):
            return self._holder(loaded)
        owner = next((self._owners[path] for path in self._paths(missing) if path in self._owners), None)
        if owner is None:
            owner = self._by_stem(missing)
        return owner._replace(version=self._former_version(owner)) if owner else None

    def _by_stem(self, missing: Missing) -> Optional[Installed]:
        for path in self._paths(missing):
            start = re.match(r".*/[^/]{3,}\.so\.[0-9]+", path)
            if start and self._stems > 0:
                self._stems -= 1
                return self._databases.with_prefix(start.group())
        return None

    def _former_version(self, owner: Installed) -> str:
        if self._former is None:
            self._former = history.former_versions(self._sysroot)
        return self._former.get("%s:%s" % (owner.name, owner.arch)) or self._former.get(owner.name, "")

    def _debug_name(self, owner: Installed) -> str:
        if owner.kind == DEB:
            by_hand = owner.name + "-dbg"
            if owner.name in _HAND_MADE or self._databases.installed(by_hand):
                return _HAND_MADE.get(owner.name, by_hand)
        return owner.name + _DEBUG_SUFFIX.get(owner.kind, "")

    def _command(self, missing: Missing, holder: Optional[Installed], package: Optional[Package]) -> str:
        want, server = missing.want, self._distribution.server
        if missing.status == "unverified":
            return "savedump archive DUMP --allow-unverified"
        if want.build_id and server and (holder or any(map(_is_system, self._paths(missing)))):
            if want.kind != LOADED or server.executables:
                return "savedump complete %s --debuginfod %s" % (ARCHIVE, server.url)
        if holder is None or package is None or not _are_plain(package, holder):
            return _search_path()
        if want.kind == LOADED:
            fetch = _fetch(holder)
            return "%s && %s" % (fetch, _search_path(".")) if fetch else _search_path()
        return _install(self._distribution, holder, package.name) or _search_path()


def _search_path(folder: str = "DIR") -> str:
    return "savedump complete %s --search-path %s" % (ARCHIVE, folder)


def _is_system(path: str) -> bool:
    """True where distributions put files."""
    return path.startswith(_SYSTEM) and not path.startswith("/usr/local/")


def _are_plain(package: Package, holder: Installed) -> bool:
    return bool(
        _NAME.fullmatch(package.name)
        and _NAME.fullmatch(holder.name)
        and _VERSION.fullmatch(holder.version)
        and (not holder.arch or _NAME.fullmatch(holder.arch))
    )


def _fetch(holder: Installed) -> Optional[str]:
    """Download the package into the current folder."""
    if holder.kind == DEB:
        return "apt-get download %s:%s=%s" % (holder.name, holder.arch, holder.version)
    if holder.kind == RPM:
        return "dnf download %s-%s.%s" % (holder.name, holder.version, holder.arch)
    return None


def _install(distribution: _Distribution, holder: Installed, name: str) -> Optional[str]:
    """Install the debug package, from what the distribution has set up for it: Debian's and Ubuntu's debug archives
    have to be added first, dnf and zypper switch theirs on for the one call."""
    if holder.kind == DEB:
        return "apt-get install %s:%s=%s" % (name, holder.arch, holder.version)
    if holder.kind == RPM:
        if distribution.is_a("suse", "opensuse"):
            return "zypper --plus-content debug install %s=%s" % (name, holder.version)
        return "%s %s-%s.%s" % (_debuginfo_install(distribution), holder.name, holder.version, holder.arch)
    if holder.kind == APK:
        return "apk add %s=%s" % (name, holder.version)
    return None


def _debuginfo_install(distribution: _Distribution) -> str:
    # Of yum-utils; dnf has the plug-in.
    old = distribution.version.split(".")[0] in ("6", "7") and distribution.is_a("rhel")
    return "debuginfo-install" if old else "dnf debuginfo-install"


def _kernel(distribution: _Distribution, release: str) -> Tuple[str, Optional[str]]:
    """The package that has vmlinux or the modules of this release with their debug information, and the command that
    installs it; ("", None) where that is not known."""
    if not _RELEASE.fullmatch(release):
        return "", None
    if distribution.is_a("ubuntu"):
        name = "linux-image-%s-dbgsym" % release
        return name, "apt-get install " + name
    if distribution.is_a("debian"):
        name = "linux-image-%s-dbg" % release
        return name, "apt-get install " + name
    if distribution.is_a("suse", "opensuse"):
        flavour = release.rpartition("-")[2]
        name = "kernel-%s-debuginfo" % flavour
        # uname's release lacks the last part of the package's: no version can be given.
        return name, "zypper --plus-content debug install " + name
    if distribution.is_a("fedora", "rhel", "centos"):
        name = "kernel-debuginfo-" + release
        return name, "%s kernel-%s" % (_debuginfo_install(distribution), release)
    return "", None


def _kind(distribution: _Distribution) -> str:
    return DEB if distribution.is_a("debian", "ubuntu") else RPM


def _note(note: Union[bytes, str, None]) -> Optional[Package]:
    """The package of a .note.package (systemd's "Package Metadata for Executable Files"); None if it says none that is
    a plain name."""
    if not note or len(note) > _MAX_NOTE:
        return None
    try:
        text = note.decode("utf-8") if isinstance(note, bytes) else note
        document: Any = json.loads(text.rstrip("\0"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    name, version, kind = (str(document.get(key, "")) for key in ("name", "version", "type"))
    if not (_NAME.fullmatch(name) and _VERSION.fullmatch(version) and _NAME.fullmatch(kind)):
        return None
    return Package(name=name, version=version, kind=kind)


def _distribution(sysroot: Sysroot) -> _Distribution:
    values = os_release(sysroot)
    like = tuple(values.get("ID_LIKE", "").split())
    return _Distribution(id=values.get("ID", ""), version=values.get("VERSION_ID", ""), like=like)
