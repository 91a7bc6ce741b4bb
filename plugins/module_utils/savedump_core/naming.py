# SPDX-License-Identifier: Apache-2.0
"""What an archive's file is called and where it goes, and what is there already."""

import os
import re
from typing import FrozenSet, Iterable, Optional, Tuple

from . import check, compression
from .errors import BadDump, CannotWrite, SavedumpError, UsageError
from .model import Json
from .sysroot import regular_file

# The endings of archives and the format that each asks for.
ENDINGS = ((".tar", "tar"), (".tar.gz", "tar.gz"), (".tgz", "tar.gz"), (".tar.zst", "tar.zst"))
_COMPLETED = re.compile(r"\.completed(-[1-9][0-9]*)?\Z")
# Completed archives of one dump side by side; nobody has that many.
_MAX_COMPLETED = 100


def target(
    name: str, identity: str, output: str, archive_format: str, force: bool
) -> Tuple[str, Optional[Json]]:
    """Where to write, and the manifest of the archive of this dump that is there already."""
    if not os.path.isdir(output):
        if output.endswith("/") or not os.path.isdir(os.path.dirname(os.path.abspath(output))):
            raise CannotWrite("there is no folder %s" % (os.path.dirname(output) or output), "make it first")
        other = archived_dump(output)
        if other is None or force:
            return output, None
        if other["dump"]["identity"] == identity:
            return output, other
        raise CannotWrite("%s is there and is no archive of this dump" % output, "give another name, or --force")
    for stem in (name, "%s-%s" % (name, identity)):
        path = os.path.normpath(os.path.join(output, "%s.%s" % (stem, archive_format)))
        other = archived_dump(path)
        if other is None:
            return path, None
        if other["dump"]["identity"] == identity:
            return path, None if force else other
    raise CannotWrite("%s is there already and is no archive" % path, "move it away, or give another name with -o")


_NOT_AN_ARCHIVE: Json = {"dump": {"identity": None}}


def archived_dump(path: str) -> Optional[Json]:
    """The manifest of the archive at this path; None if nothing is there."""
    if not os.path.lexists(path):
        return None
    try:
        manifest = check.read_manifest(path)
        lacks(manifest["missing"])
        return manifest if "identity" in manifest["dump"] and "complete" in manifest else _NOT_AN_ARCHIVE
    except (SavedumpError, OSError, KeyError, TypeError):
        return _NOT_AN_ARCHIVE


def lacks(missing: Iterable[Json]) -> FrozenSet[Tuple[str, str]]:
    """What is missing, by module and kind: where it was looked for is another matter."""
    return frozenset((gap["module"], gap["kind"]) for gap in missing)


def format_of(path: str, output: Optional[str], given: Optional[str]) -> str:
    """The format of a completed archive: the one `given`, or as the ending of `output` asks, or as the archive at
    `path` has it. Raises OSError."""
    if given is not None:
        return given
    if output is not None and not os.path.isdir(output):
        named = [archive_format for ending, archive_format in ENDINGS if output.endswith(ending)]
        if named:
            return named[0]
    with regular_file(os.path.realpath(path)) as file:
        codec = compression.sniff(file.read(compression.HEAD))
    if codec is None:
        return "tar"
    return "tar.zst" if codec is compression.zstd else "tar.gz"


def manifest_of(path: str) -> Json:
    """The manifest of an archive that is to be completed. Raises BadDump if it is none, ToolMissing, OSError."""
    manifest = check.read_manifest(path)
    try:
        lacks(manifest["missing"])
        if isinstance(manifest["dump"]["identity"], str) and isinstance(manifest["complete"], bool):
            return manifest
    except (AttributeError, KeyError, TypeError):
        pass
    raise BadDump("%s: its manifest.json is damaged" % path)


def completed(
    path: str, output: Optional[str], archive_format: str, before: Json, force: bool
) -> Tuple[str, Optional[Json]]:
    """Where the completed archive of the one at `path` goes, and the manifest of the one of this dump that is there
    already: NAME.completed.tar.gz in the folder `output`, or beside the old one. Raises UsageError, CannotWrite."""
    folder, base = os.path.split(os.path.abspath(path))
    identity = before["dump"]["identity"]
    if output is not None and not os.path.isdir(output):
        if os.path.exists(output) and os.path.samefile(output, path):
            raise UsageError("%s is the archive itself, which stays as it is" % output, "give another name")
        return target("", identity, output, archive_format, force)
    ending = max((ending for ending, _format in ENDINGS if base.endswith(ending)), key=len, default="")
    stem = _COMPLETED.sub("", base[: len(base) - len(ending)])
    for number in range(1, _MAX_COMPLETED):
        name = "%s.completed%s.%s" % (stem, "-%d" % number if number > 1 else "", archive_format)
        place = os.path.normpath(os.path.join(folder if output is None else output, name))
        other = archived_dump(place)
        if other is None:
            return place, None
        if other["dump"]["identity"] == identity and not os.path.samefile(place, path):
            return place, None if force else other
    raise CannotWrite("there are %d archives of the name %s" % (_MAX_COMPLETED, stem), "move them away")
