# SPDX-License-Identifier: Apache-2.0
"""The packages that lie in folders, and what their names say: package managers keep what they downloaded."""

import os
import re
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ..sysroot import Sysroot

DEB, RPM, APK, ALPM = "deb", "rpm", "apk", "alpm"

# Where package managers keep packages: apt.conf(5), dnf.conf(5) (dnf 4 and 5, yum 3 in cachedir/BASEARCH/VERSION/REPO),
# PackageKit's cache, zypper(8), pacman.conf(5), apk-cache(5) (/etc/apk/cache is a link to it where it is used).
CACHES = (
    "/var/cache/apt/archives", "/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum", "/var/cache/PackageKit",
    "/var/cache/zypp/packages", "/var/cache/pacman/pkg", "/var/cache/apk",
)  # fmt: skip
# Below these, packages lie at most this deep (yum: ARCH/VERSION/REPO/packages).
_DEPTH = 5
_MAX_FILES = 20000
_MAX_FOLDERS = 2000

_DEB_NAME = re.compile(r"([a-z0-9][a-z0-9.+-]*)_([^_/]+)_([a-z0-9-]+)\.d?deb")
_RPM_NAME = re.compile(r"(.+)-([^-]+-[^-]+)\.([a-z0-9_]+)\.rpm")
_APK_NAME = re.compile(r"(.+)-([0-9][^-]*-r[0-9]+)\.[0-9a-f]{8}\.apk")
_ALPM_NAME = re.compile(r"(.+)-([^-]+-[^-]+)-([a-z0-9_]+)\.pkg\.tar(?:\.[a-z0-9]+)?")


class Stored(NamedTuple):
    """A package that lies in a folder."""

    host_path: str
    shown: str
    """The same as seen from inside the sysroot, or in the folder as the user named it."""
    kind: str
    """DEB, RPM, APK or ALPM."""
    name: str
    version: str
    arch: str
    mtime_ns: int


def named(file_name: str) -> Optional[Tuple[str, str, str, str]]:
    """Kind, package, version and architecture, by a file's name; None if it is no package's."""
    for kind, pattern in ((DEB, _DEB_NAME), (RPM, _RPM_NAME), (APK, _APK_NAME), (ALPM, _ALPM_NAME)):
        match = pattern.fullmatch(file_name)
        if match:
            name, version = match.group(1), match.group(2)
            # apt writes the colon of an epoch as %3a.
            version = version.replace("%3a", ":") if kind == DEB else version
            return kind, name, version, match.group(3) if kind != APK else ""
    return None


def in_caches(sysroot: Sysroot) -> List[Stored]:
    """What the package managers of this sysroot have kept, the newest first."""
    found: List[Stored] = []
    for cache in CACHES:
        try:
            top = sysroot.resolve(cache)
        except OSError:
            continue
        found.extend(_below(top.host_path, top.path, _DEPTH))
    return sorted(found, key=_age)


def in_folder(folder: str) -> List[Stored]:
    """The packages that lie in a folder itself, the newest first."""
    return sorted(_below(folder, folder, 0), key=_age)


def _age(package: Stored) -> Tuple[int, str]:
    return -package.mtime_ns, package.shown


def _below(host: str, shown: str, depth: int) -> Iterator[Stored]:
    """No link is followed on the way."""
    todo, files, folders = [(host, shown, depth)], 0, 0
    while todo and folders < _MAX_FOLDERS:
        host, shown, depth = todo.pop()
        folders += 1
        try:
            entries = list(os.scandir(host))
        except OSError:
            continue
        for entry in entries:
            words = named(entry.name)
            files += 1
            if files > _MAX_FILES:
                return
            try:
                if words and entry.is_file(follow_symlinks=False):
                    kind, name, version, arch = words
                    yield Stored(
                        host_path=entry.path, shown=os.path.join(shown, entry.name), kind=kind, name=name,
                        version=version, arch=arch, mtime_ns=entry.stat(follow_symlinks=False).st_mtime_ns,
                    )  # fmt: skip
                elif depth and entry.is_dir(follow_symlinks=False):
                    todo.append((entry.path, os.path.join(shown, entry.name), depth - 1))
            except OSError:
                continue
