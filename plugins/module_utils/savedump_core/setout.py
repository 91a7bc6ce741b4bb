# SPDX-License-Identifier: Apache-2.0
"""Files that another host's dump needs and this host may still have: looked for like any other, proven by build ID
alone, and laid out as debuginfod names them, so that they can be brought to where the dump is.

The wants come from another host's archive, and with it from a dump: paths in them are no more than hints where to look.
"""

import hashlib
import os
import re
from contextlib import contextmanager
from typing import IO, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from .archive import atomic_file
from .elf.file import AltLink
from .errors import Busy, SavedumpError, UsageError
from .model import DEBUG, LOADED, SUPPLEMENTARY, UNREADABLE, Attempt, Found, Json, SearchOptions, Want
from .search import find_files
from .source import CHUNK, Source, open_source
from .sysroot import Held, Refused, describe_open, open_regular

NAME = "set-out"
# A build ID is 20 bytes as a rule, 8 to 32 by other linkers; ld --build-id=0x… takes any.
_BUILD_ID = re.compile(r"(?:[0-9a-f]{2}){2,64}\Z")
_KINDS = {LOADED: "executable", DEBUG: "debuginfo", SUPPLEMENTARY: "debuginfo"}
# As many files as the largest dump that plan/ takes has modules; a kernel has some hundred.
MAX_WANTS = 20000


class SetOut(NamedTuple):
    """One file that is here."""

    want: Want
    at: str
    """Where it was found; for people where no path leads to it."""
    path: Optional[str]
    """The copy of it; None where none was asked for."""
    size: int
    """Of the copy, which is decompressed; of the file where there is no copy."""
    sha256: Optional[str]
    changed: bool

    @property
    def name(self) -> str:
        """Its place in a folder laid out as debuginfod names files."""
        return name_of(self.want)

    def as_json(self) -> Json:
        want = _want_json(self.want)
        return {
            "build_id": want["build_id"],
            "kind": want["kind"],
            "module": want["module"],
            "name": self.name,
            "at": self.at,
            "path": self.path,
            "size": self.size,
            "sha256": self.sha256,
            "want": want,
        }


def set_out(wants: Iterable[Json], dest: Optional[str], options: SearchOptions) -> Json:
    """Look for each of `wants` on this host, and copy what is found to `dest`/buildid/HEX/executable or debuginfo, mode
    0600; with None for `dest`, only say what is here.

    A want is {"build_id": hex, "kind": "loaded", "debug" or "supplementary", "module": name, "paths": [...], "release":
    of a kernel}; all but the first two may be left out. What dwz has put into a file of its own comes along. Returns
    {"files", "missing", "changed"}. Raises UsageError, and OSError if a copy cannot be written."""
    asked = _unique(_want_of(each) for each in wants)
    files: List[SetOut] = []
    missing: List[Json] = []
    with Held() as held:
        todo = list(asked)
        while todo:
            more: List[Want] = []
            for result in find_files(todo, options, held):
                attempts = result.attempts
                if isinstance(result, Found):
                    try:
                        files.append(_copied(result, dest))
                        more.extend(_rest_of(result))
                        continue
                    except (SavedumpError, Refused) as error:
                        attempts += (Attempt(NAME, result.at, UNREADABLE, str(error)),)
                missing.append(dict(_want_json(result.want), attempts=[dict(each._asdict()) for each in attempts]))
            known = [name_of(want) for want in asked]
            todo = [want for want in _unique(more) if name_of(want) not in known]
            asked = asked + todo
    return {
        "files": [each.as_json() for each in files],
        "missing": missing,
        "changed": any(each.changed for each in files),
    }


def name_of(want: Want) -> str:
    """Where this file lies in a folder laid out as debuginfod names files."""
    return place_of((want.build_id or b"").hex(), want.kind)


def place_of(build_id: str, kind: str) -> str:
    """buildid/HEX/executable or buildid/HEX/debuginfo, as in debuginfod(8)'s web API. Raises UsageError if this is no
    build ID, or no kind of file that has one."""
    if not _BUILD_ID.match(build_id) or kind not in _KINDS:
        raise UsageError(
            "no file can be looked for with build ID %r and kind %r" % (build_id, kind),
            "give the build ID in hex, and loaded, debug or supplementary",
        )
    return "buildid/%s/%s" % (build_id, _KINDS[kind])


def _want_of(asked: Json) -> Want:
    build_id, kind = str(asked.get("build_id")).lower(), str(asked.get("kind"))
    place_of(build_id, kind)
    module = str(asked.get("module") or "")
    named = list(dict.fromkeys([str(path) for path in asked.get("paths") or ()] + [module]))
    # Only a loaded file lies where the dump says; the others are found by build ID, and by links in files.
    paths = tuple(path for path in named if path.startswith("/")) if kind == LOADED else ()
    return Want(
        kind=kind, module=module, build_id=bytes.fromhex(build_id), paths=paths,
        release=str(asked["release"]) if asked.get("release") else None,
    )  # fmt: skip


def _unique(wants: Iterable[Want]) -> List[Want]:
    """Each file once, with all its paths: several hosts may ask for it by several names."""
    by_name: Dict[Tuple[str, Optional[str]], Want] = {}
    for want in wants:
        key = (name_of(want), want.release)
        known = by_name.setdefault(key, want)
        by_name[key] = known._replace(paths=known.paths + tuple(p for p in want.paths if p not in known.paths))
    if len(by_name) > MAX_WANTS:
        raise UsageError("%d files are asked for; at most %d are looked for at once" % (len(by_name), MAX_WANTS))
    return list(by_name.values())


def _want_json(want: Want) -> Json:
    return {
        "build_id": (want.build_id or b"").hex(),
        "kind": want.kind,
        "module": want.module,
        "paths": list(want.paths),
        "release": want.release,
    }


def _rest_of(found: Found) -> List[Want]:
    """What the debug information in a found file is of no use without: dwz's supplementary file."""
    if found.want.release is not None:
        return []
    link = _alt_link(found)
    if link is None or not _BUILD_ID.match(link.build_id.hex()):
        return []
    return [
        Want(
            kind=SUPPLEMENTARY, module=found.want.module, build_id=link.build_id, paths=(os.fsdecode(link.path),),
            loaded_at=found.inside or found.at,
        )
    ]  # fmt: skip


def _alt_link(found: Found) -> Optional[AltLink]:
    if found.descriptor is not None:
        return describe_open(found.descriptor, found.at).elf.alt_link
    descriptor = open_regular(found.at)
    try:
        return describe_open(descriptor, found.at).elf.alt_link
    finally:
        os.close(descriptor)


def _copied(found: Found, dest: Optional[str]) -> SetOut:
    if dest is None:
        return SetOut(found.want, found.at, path=None, size=found.size, sha256=None, changed=False)
    path = os.path.join(dest, name_of(found.want))
    _make_folders(dest, os.path.dirname(name_of(found.want)))
    with _opened(found) as source:
        if _is_copy(path, source):
            changed = False
        else:
            with atomic_file(path) as file:
                _copy(source, file)
            changed = True
        source.check_unchanged()
    sha256, size = _proven(path, found)
    return SetOut(found.want, found.at, path=path, size=size, sha256=sha256, changed=changed)


def _make_folders(dest: str, below: str) -> None:
    folder = dest
    for part in below.split("/"):
        folder = os.path.join(folder, part)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            if os.path.islink(folder):
                raise UsageError("%s is a symbolic link" % folder, "name another folder in dest") from None


@contextmanager
def _opened(found: Found) -> Iterator[Source]:
    """The very file that was found. A kernel's may be compressed, and is copied decompressed."""
    if found.want.release is not None:
        source = open_source(found.at, found.descriptor)
    elif found.descriptor is not None:
        source = Source(found.at, os.dup(found.descriptor))
    else:
        try:
            source = Source(found.at, open_regular(found.at))
        except Refused as error:
            raise Busy("%s is now %s" % (found.at, error), "try again") from None
    with source:
        if source.mtime_ns != found.mtime_ns or source.stored_size != found.size:
            raise Busy("%s changed while it was looked at" % found.at, "try again")
        yield source


def _copy(source: Source, file: IO[bytes]) -> None:
    """With holes where the file has some."""
    for extent in source.extents():
        file.seek(extent[0])
        for chunk in source.chunks([extent]):
            file.write(chunk)
    file.truncate(source.size)


def _is_copy(path: str, source: Source) -> bool:
    """True if what lies at `path` has the very same bytes."""
    try:
        descriptor = open_regular(path)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size != source.size:
            return False
        return all(file.read(len(chunk)) == chunk for chunk in source.chunks([(0, source.size)]))


def _proven(path: str, found: Found) -> Tuple[str, int]:
    """SHA-256 and size of the copy, in which the build ID is looked for once more: its file could be changed between
    the proof and the copy."""
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        digest = hashlib.sha256()
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
        try:
            build_id = describe_open(descriptor, path).elf.build_id
        except Refused:
            build_id = None
        if build_id != found.want.build_id:
            os.unlink(path)
            raise Busy("%s changed while it was copied" % found.at, "try again")
        return digest.hexdigest(), file.tell()
