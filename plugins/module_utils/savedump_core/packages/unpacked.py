# SPDX-License-Identifier: Apache-2.0
"""The ELF files of one package, written out of it in one pass into a temporary file that has no name.

Searches want one file after the other, often several of one package (libc has five): what is small is kept from the
first pass on, and only what did not fit costs another.
"""

import errno
import os
import posixpath
from typing import TYPE_CHECKING, Any, Collection, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from ..elf.file import describe
from ..elf.header import MAGIC
from ..errors import BadDump, SavedumpError
from ..sysroot import MAX_LINKS

if TYPE_CHECKING:
    from .contents import Member

# What is kept of a package besides what was asked for: all of libc6 is 9 MiB, of libLLVM 120.
MAX_KEPT = 64 << 20
# One file: the debug information of a browser engine is 2 GiB.
MAX_MEMBER = 8 << 30
MAX_PASSES = 3
# Those of kernels and their headers, the largest with ELF files in them, have some 20,000. Each costs 0.05 ms.
MAX_MEMBERS = 1 << 16
_CHUNK = 1 << 20
# Top folders that are links into /usr on merged systems: the same file has either path.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Taken(NamedTuple):
    """One file of a package."""

    path: str
    """Where the package would install it."""
    descriptor: int
    """Open on a copy without a name; the caller's to close."""


class _Extent(NamedTuple):
    path: str
    at: int
    size: int


class _Spool:
    """A temporary file without a name, closed when it is no longer needed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = 0

    def __del__(self) -> None:
        os.close(self.descriptor)


def nameless_file() -> int:
    """A descriptor on a new file that no path leads to. In /var/tmp, for /tmp may be memory (file-hierarchy(7))."""
    import tempfile

    folder = None if os.environ.get("TMPDIR") or not os.access("/var/tmp", os.W_OK) else "/var/tmp"
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())


def plain(path: str) -> str:
    """The one spelling of a path that a merged /usr gives two: /usr/lib/x is /lib/x."""
    parts = path.split("/", 3)
    return "/" + "/".join(parts[2:]) if parts[1] == "usr" and len(parts) > 3 and parts[2] in _MERGED else path


class Unpacked:
    """What was taken out of one package so far."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is open on the package, and closed when this is no longer needed."""
        self._descriptor = descriptor
        self._spools: List[_Spool] = []
        self._kept: Dict[str, Tuple["_Spool", "_Extent"]] = {}
        self._build_ids: Dict[bytes, str] = {}
        self._left_out: Set[str] = set()
        self._links: Dict[str, str] = {}
        self._passes = 0
        self.why = ""
        """What went wrong so far, for people to read."""

    def __del__(self) -> None:
        os.close(self._descriptor)

    def take(self, wanted: Collection[str], build_id: Optional[bytes]) -> Iterator[Taken]:
        """The files that have one of these names (absolute paths, or base names), links followed, and the one with this
        build ID, whatever its name: that one first."""
        names = {plain(name) if name.startswith("/") else name for name in wanted}
        if not self._passes:
            self._pass(names)
        given: Set[str] = set()
        for attempt in range(2):
            here = [self._build_ids[build_id]] if build_id in self._build_ids and build_id else []
            here += [end for end in map(self._end_of, sorted(self._named(names))) if end]
            for key in here:
                if key in self._kept and key not in given:
                    given.add(key)
                    taken = self._copy(key)
                    if taken is not None:
                        yield taken
            lacking = {key for key in here if key in self._left_out}
            if attempt or not lacking or self._passes >= MAX_PASSES:
                return
            self._pass(lacking)

    def _named(self, names: Set[str]) -> Set[str]:
        known = set(self._kept) | self._left_out | set(self._links)
        bases = {name for name in names if "/" not in name}
        return names & known | {key for key in known if bases and posixpath.basename(key) in bases}

    def _end_of(self, key: str) -> str:
        """Where a name leads inside the package; "" for nowhere."""
        for _step in range(MAX_LINKS):
            if key in self._kept or key in self._left_out:
                return key
            if key not in self._links:
                return ""
            target = posixpath.join(posixpath.dirname(key), self._links[key])
            key = plain(posixpath.normpath("/" + target.lstrip("/")))
        return ""

    def _pass(self, wanted: Set[str]) -> None:
        """Read the package once; keep what is wanted, and other ELF files as long as there is room."""
        # Only here: the codecs and tarfile take some ms to load, and most searches open no package.
        from .contents import members

        self._passes += 1
        try:
            self._spools.append(_Spool(nameless_file()))
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                self._keep(members(file), wanted)
        except OSError as error:
            self.why = error.strerror or str(error)
        except SavedumpError as error:
            self.why = error.message

    def _keep(self, found: "Iterator[Member]", wanted: Set[str]) -> None:
        spool, room = self._spools[-1], MAX_KEPT
        for count, member in enumerate(found):
            if count >= MAX_MEMBERS:
                raise BadDump("it has more than %d files" % MAX_MEMBERS)
            key = plain(member.path)
            if member.target:
                self._links.setdefault(key, member.target)
                continue
            if key in self._kept:
                continue
            asked = key in wanted or posixpath.basename(key) in wanted
            if member.size > (MAX_MEMBER if asked else room):
                self._left_out.add(key)
                if asked:
                    raise BadDump("%s in it claims %d bytes" % (member.path, member.size))
                continue
            extent = _write(spool, member)
            if extent is not None:
                self._left_out.discard(key)
                self._add(key, spool, extent)
                room -= 0 if asked else member.size

    def _add(self, key: str, spool: _Spool, extent: _Extent) -> None:
        self._kept[key] = spool, extent
        try:
            elf = describe(lambda at, size: _read(spool, extent, at, size), extent.size)
        except BadDump:
            return
        if elf.build_id:
            self._build_ids.setdefault(elf.build_id, key)

    def _copy(self, key: str) -> Optional[Taken]:
        spool, extent = self._kept[key]
        try:
            _demand_space(spool.descriptor, extent.size)
            descriptor = nameless_file()
        except OSError as error:
            self.why = error.strerror or str(error)
            return None
        try:
            at, end = extent.at, extent.at + extent.size
            while at < end:
                data = os.pread(spool.descriptor, min(_CHUNK, end - at), at)
                _write_all(descriptor, data)
                at += len(data)
        except OSError as error:
            os.close(descriptor)
            self.why = error.strerror or str(error)
            return None
        return Taken(extent.path, descriptor)


def _read(spool: _Spool, extent: _Extent, at: int, size: int) -> bytes:
    size = min(size, extent.size - at)
    return os.pread(spool.descriptor, size, extent.at + at) if size > 0 else b""


def _write(spool: _Spool, member: "Member") -> Optional[_Extent]:
    """Write the member out; None if it is no ELF file."""
    at = spool.size
    try:
        for chunk in member.chunks():
            if spool.size == at:
                if chunk[:4] != MAGIC:
                    return None
                _demand_space(spool.descriptor, member.size)
            _write_all(spool.descriptor, chunk)
            spool.size += len(chunk)
    except (OSError, SavedumpError):
        # Half a file is none, and what it took up may be all that was free.
        os.ftruncate(spool.descriptor, at)
        raise
    return _Extent(member.path, at, member.size) if spool.size > at else None


def _write_all(descriptor: int, data: bytes) -> None:
    """write(2) may take less than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _demand_space(descriptor: int, size: int) -> None:
    """Never take more than half of what is free: other programs write there, too."""
    status: Any = os.fstatvfs(descriptor)
    if size > status.f_bavail * status.f_frsize // 2:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
