# SPDX-License-Identifier: Apache-2.0
"""Which of the packages at hand may hold a wanted file, and the file out of them."""

import os
import re
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple, Union

from ..errors import SavedumpError
from ..model import ABSENT, DEBUG, LOADED, SUPPLEMENTARY, UNREADABLE, Attempt, Want
from ..packages import owners, rpm
from ..packages.stored import ALPM, APK, DEB, RPM, Stored
from ..packages.unpacked import Taken, Unpacked, plain
from ..sysroot import Refused, Sysroot, open_regular

# In a folder of --search-path with so few packages, all are read: the user means them.
MAX_MEANT = 8
# All together, in one search: bytes of packages. The cache of a server has some GiB of them.
MAX_READ = 4 << 30
# Headers of .rpm files that are kept in memory for their lists of files.
MAX_LISTED = 64 << 20
# How the package is called that has a package's debug information: Debian's automatic and older hand-made ones, those
# of Fedora and SUSE, Arch, Alpine.
_DEBUG_SUFFIXES = {DEB: ("-dbgsym", "-dbg"), RPM: ("-debuginfo",), ALPM: ("-debug",), APK: ("-dbg",)}


class Packages:
    """The packages at hand, and what was learnt of them so far in this search."""

    def __init__(self, sysroot: Sysroot, finder: str, kept: List[Stored], given: Sequence[List[Stored]]) -> None:
        """`kept` are those of the sysroot's caches, `given` those in each of the user's folders."""
        self._finder = finder
        self._kept = kept + [package for folder in given for package in folder]
        # With the package that they have the debug information of. Of .rpm files the headers tell more.
        self._debug = [(_base_name(one), one) for one in self._kept if one.kind != RPM and _base_name(one)]
        self._meant = [package for folder in given if len(folder) <= MAX_MEANT for package in folder]
        self._databases = owners.Databases(sysroot)
        self._unpacked: Dict[str, Unpacked] = {}
        self._headers: Optional[List[Tuple[Stored, rpm.Header]]] = None
        self._build_ids: Optional[Dict[str, Stored]] = None
        self._read = 0

    def choose(self, want: Want, names: Set[str]) -> List[Stored]:
        """The packages that may hold it, the likeliest first."""
        chosen = self._by_build_id(want) + self._by_header(names) + self._by_owner(want) + self._meant
        unique: List[Stored] = []
        for package in chosen:
            if package not in unique:
                unique.append(package)
        return unique

    def _by_build_id(self, want: Want) -> List[Stored]:
        """Debian's debug packages say in their control file which build IDs they are for."""
        if want.kind != DEBUG or not want.build_id:
            return []
        if self._build_ids is None:
            self._build_ids = {}
            for _base, package in self._debug:
                if package.kind == DEB:
                    for build_id in _control(package).get("Build-Ids", "").split():
                        self._build_ids.setdefault(build_id, package)
        named = self._build_ids.get(want.build_id.hex())
        return [named] if named else []

    def _by_header(self, names: Set[str]) -> List[Stored]:
        """An .rpm has the list of its files in front."""
        if self._headers is None:
            self._headers = list(_headers(self._kept))
        spelt = {spelling for name in names if name.startswith("/") for spelling in owners.spellings(name)}
        bases = [os.fsencode(name) for name in names if not name.startswith("/")]
        return [
            package
            for package, header in self._headers
            if any(rpm.has_path(header, path) for path in spelt) or any(rpm.has_base(header, base) for base in bases)
        ]

    def _by_owner(self, want: Want) -> List[Stored]:
        """By the name of the package that owns the path now, or whose name looks like the file's. Not of .rpm files:
        their headers tell."""
        if want.kind != LOADED:
            return self._debug_by_owner(want)
        kept = [one for one in self._kept if one.kind != RPM]
        if not kept:
            return []
        paths = [path for path in want.paths if path.startswith("/")]
        found = _keys(self._databases.owners_of(paths, rpm=False).values())
        if not found:
            found = _keys(owner for owner in map(self._owner_of_stem, paths) if owner)
        if found:
            return [one for one in kept if (one.name, one.arch) in found]
        guesses = tuple(filter(None, map(_stem, paths)))
        return [one for one in kept if _looks_like(one.name, guesses)]

    def _debug_by_owner(self, want: Want) -> List[Stored]:
        if not self._debug:
            return []
        paths = [path for path in (want.loaded_at, want.module) if path and path.startswith("/")]
        among = {base for base, _package in self._debug}
        found = _keys(self._databases.owners_of(paths, rpm=False, among=among).values())
        # A dwz file lies in the debug package of any of its source's packages: those that were of use already.
        mates = self._unpacked if want.kind == SUPPLEMENTARY else {}
        return [one for base, one in self._debug if one.host_path in mates or (base, one.arch) in found]

    def _owner_of_stem(self, path: str) -> Optional[owners.Installed]:
        """Who owns libx.so.1.4 now had libx.so.1.3 before."""
        start = re.match(r".*/[^/]{3,}\.so\.[0-9]+", path)
        return self._databases.with_prefix(start.group()) if start else None

    def take(self, package: Stored, names: Set[str], want: Want) -> Iterator[Union[Taken, Attempt]]:
        """The files of the package that may be the wanted one, or why there is none."""
        opened = self._open(package)
        if isinstance(opened, Attempt):
            yield opened
            return
        count = 0
        for taken in opened.take(names, want.build_id):
            count += 1
            yield taken
        if opened.why:
            yield Attempt(self._finder, package.shown, UNREADABLE, opened.why)
        elif not count:
            yield Attempt(self._finder, package.shown, ABSENT, "the package does not have it")

    def _open(self, package: Stored) -> Union[Unpacked, Attempt]:
        if package.host_path in self._unpacked:
            return self._unpacked[package.host_path]
        try:
            descriptor = open_regular(package.host_path)
        except Refused as refusal:
            return Attempt(self._finder, package.shown, UNREADABLE, str(refusal))
        except OSError as error:
            return Attempt(self._finder, package.shown, UNREADABLE, error.strerror or str(error))
        self._read += os.fstat(descriptor).st_size
        if self._read > MAX_READ:
            os.close(descriptor)
            return Attempt(
                self._finder, package.shown, UNREADABLE, "%d GiB of packages were read already" % (MAX_READ >> 30)
            )
        opened = self._unpacked[package.host_path] = Unpacked(descriptor)
        return opened


def _keys(found: Iterable[owners.Installed]) -> Set[Tuple[str, str]]:
    """Name and architecture, which the names of .apk files lack."""
    return {(one.name, one.arch if one.kind != APK else "") for one in found}


def _base_name(package: Stored) -> str:
    """The package that this one has the debug information of; "" if it is no debug package."""
    for suffix in _DEBUG_SUFFIXES[package.kind]:
        if package.name.endswith(suffix):
            return package.name[: -len(suffix)]
    return ""


def _stem(path: str) -> str:
    """What a package of this file may be called: libxml2 of libxml2.so.2.9.14, prog of /usr/bin/prog."""
    stem = os.path.basename(plain(path)).split(".so", 1)[0]
    return stem if len(stem) >= 3 else ""


def _looks_like(name: str, guesses: Tuple[str, ...]) -> bool:
    """True for libxml2, and for libgtk-3-0 of libgtk-3.so.0, of which "-0" is left (Debian policy, 8.1)."""
    for guess in guesses:
        rest = name[len(guess) :] if name.startswith(guess.lower()) else "?"
        if not rest.strip("-.0123456789") or rest in ("-bin", "-core", "-libs", "t64"):
            return True
    return False


def _control(package: Stored) -> Dict[str, str]:
    from ..packages.contents import control

    try:
        with os.fdopen(open_regular(package.host_path), "rb") as file:
            return control(file)
    except (OSError, Refused, SavedumpError):
        return {}


def _headers(packages: List[Stored]) -> Iterator[Tuple[Stored, rpm.Header]]:
    """The .rpm files among them, each with what its header lists of files."""
    room = MAX_LISTED
    for package in packages:
        if package.kind != RPM or room <= 0:
            continue
        try:
            with os.fdopen(open_regular(package.host_path), "rb") as file:
                header = rpm.file_list(rpm.read_header(file))
        except (OSError, Refused, SavedumpError):
            continue
        room -= len(header.store)
        yield package, header
