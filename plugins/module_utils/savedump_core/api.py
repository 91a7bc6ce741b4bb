# SPDX-License-Identifier: Apache-2.0
"""The verbs. The command line, the Ansible modules and programs all call these and nothing below them."""

import hashlib
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Callable, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from .dumps import open_dump
from .elf import dwarf
from .elf.header import MAGIC
from .errors import CannotWrite, SavedumpError, UsageError
from .manifest import dump_json, host_of, inspect_json, missing_list
from .model import Dump, Entry, Findings, Json, Plan, SearchOptions
from .search import search as search_files
from .source import Source, may_be_dump, open_source
from .sysroot import Held, Owner, Sysroot

# What writes, unpacks or looks around is imported where it is needed: inspect has to be quick.
if TYPE_CHECKING:
    from .stores import FindReport
    from .unpack import Opened, Verified
    from .web.debuginfod import Client

STDOUT = "-"

# The codecs refuse other levels, too, but not before the dump was read and its files were looked for.
_LEVELS = {"tar.gz": 9, "tar.zst": 19}


class Archived(NamedTuple):
    """What archive() made, or would make."""

    path: Optional[str]
    """None if it was streamed."""
    sha256: Optional[str]
    """None for a dry run."""
    size: Optional[int]
    """Of the archive in bytes; None for a dry run."""
    planned_size: int
    """Bytes to be read for it: the dump with its holes, and every file."""
    complete: bool
    changed: bool
    """False if an archive of this very dump was there already, and was left as it is."""
    manifest: Json
    """As manifest.json; for a dry run {"dump", "missing", "complete"} only."""

    def as_json(self) -> Json:
        return {
            "path": self.path,
            "sha256": self.sha256,
            "size": self.size,
            "planned_size": self.planned_size,
            "complete": self.complete,
            "changed": self.changed,
            "missing": self.manifest["missing"],
            "dump": {key: value for key, value in self.manifest["dump"].items() if key != "modules"},
        }


def inspect(path: str, search: SearchOptions = SearchOptions(), debuginfod: "Optional[Client]" = None) -> Json:
    """What a dump is, whether it is whole, which files it needs and whether they are here: the document of INTERFACE
    "inspect --json"; for an archive, its manifest. Raises SavedumpError or OSError."""
    with open_source(path) as source:
        if source.compression or source.read_at(0, 4) != MAGIC:
            from . import unpack

            if unpack.is_archive(path):
                return unpack.read_manifest(path)
        with Held() as held:
            dump, findings = _read(source, search, held, debuginfod)
    if dump.kernel is not None:
        dump = dump._replace(kernel=_with_stack(dump.kernel, dump, findings))
    return inspect_json(dump, findings)


def _with_stack(kernel: Json, dump: Dump, findings: Findings) -> Json:
    """For inspect only: an archive's bytes must not depend on whether a host has drgn."""
    from .stack import read_stack

    stack = read_stack(dump, findings)
    unknown = dict(kernel["unknown"]) if stack.why is None else dict(kernel["unknown"], stack=stack.why)
    return dict(kernel, stack=stack.frames, unknown=unknown)


def archive(
    path: str,
    output: str = ".",
    search: SearchOptions = SearchOptions(),
    format: str = "tar.gz",
    level: Optional[int] = None,
    dry_run: bool = False,
    force: bool = False,
    on_plan: Optional[Callable[[Plan], None]] = None,
    progress: Optional[Callable[[int], None]] = None,
    debuginfod: "Optional[Client]" = None,
) -> Archived:
    """Make the self-contained archive of one dump.

    `output` is a folder, the archive's name, or "-" for stdout. An archive of this very dump that is there already is
    made again if it would lack less now, or with `force`, and else left alone; one of another dump of the same name
    makes this one's name carry its identity. `on_plan` is called when it is known what will be (or for a dry run: would
    be) written, `progress` with the bytes read so far: first with 0 when writing begins."""
    from . import archive as archiving
    from .plan import make_plan

    archive_format = archiving.choose_format(format)
    if level is not None and archive_format in _LEVELS and not 1 <= level <= _LEVELS[archive_format]:
        raise UsageError("%s has no level %d" % (archive_format, level), "choose 1 to %d" % _LEVELS[archive_format])
    with open_source(path) as source, ExitStack() as stack:
        held = stack.enter_context(Held())
        dump, findings = _read(source, search, held, debuginfod)
        plan = make_plan(dump, source.name, findings, Sysroot(search.sysroot), _beside(dump, source, search))
        target, existing = (None, None) if output == STDOUT else _target(plan, output, archive_format, force)
        if existing is not None and target is not None and not _lacks_less(plan, existing):
            return _unchanged(target, existing, plan)
        if on_plan is not None:
            on_plan(plan)
        if dry_run:
            return _would_be(target, plan)
        host, tool = host_of(search.sysroot), {"pyelftools": dwarf.version()}
        if progress is not None:
            progress(0)
        sources = [source] + [stack.enter_context(source.sibling(os.path.basename(part.path))) for part in dump.parts]
        arguments = (archive_format, level, host, tool, progress)
        if target is None:
            written = archiving.write(plan, sources, sys.stdout.buffer, *arguments)
            sys.stdout.buffer.flush()
        else:
            with archiving.atomic_file(target) as file:
                written = archiving.write(plan, sources, file, *arguments)
    return Archived(
        path=target, sha256=written.sha256, size=written.size, planned_size=plan.size, complete=plan.complete,
        changed=True, manifest=written.manifest,
    )  # fmt: skip


def verify(path: str) -> "Verified":
    """Every hash, every build ID, and whether anything is missing. Raises BadDump if it is no archive at all."""
    from . import unpack

    return unpack.verify(path)


def open_archive(path: str, into: Optional[str] = None) -> "Opened":
    """Unpack into a private folder (mode 0700) below `into`, or below the current folder, verifying on the way; a
    folder that this made of the same archive before is used again."""
    from . import unpack

    return unpack.unpack(path, into or ".")


def find(paths: Iterable[str] = (), sysroot: str = "/") -> "FindReport":
    """The dumps in every store of this host, or in and below these paths, and where was looked."""
    from . import stores

    return stores.find(tuple(paths), Sysroot(sysroot), may_be_dump, _describe)


def _describe(path: str) -> Json:
    """What find() says of one dump: everything but its modules. Raises BadDump if it is none."""
    with open_source(path) as source:
        return dump_json(open_dump(source, Sysroot("/")))


def _read(
    source: Source, options: SearchOptions, held: Held, debuginfod: "Optional[Client]"
) -> Tuple[Dump, Findings]:
    dump = open_dump(source, Sysroot(options.sysroot))
    return dump, search_files(dump, options, held, _owner(source, dump), debuginfod, source.read_at)


def _beside(dump: Dump, source: Source, options: SearchOptions) -> List[Entry]:
    if dump.kernel is None:
        return []
    from . import beside

    return beside.entries(dump, source.uid, Sysroot(options.sysroot))


def _owner(source: Source, dump: Dump) -> Optional[Owner]:
    """Whose rights to open with what the dump names: the file's owner; for a file of root's (a crash handler's) the
    user that the dump is of, for that can only lessen root's rights."""
    if source.uid:
        return Owner(source.uid, source.gid)
    process = dump.process
    if process is not None and process.uid:
        return Owner(process.uid, process.gid if process.gid is not None else process.uid)
    return None


def _target(plan: Plan, output: str, archive_format: str, force: bool) -> Tuple[str, Optional[Json]]:
    """Where to write, and the manifest of the archive of this dump that is there already."""
    if not os.path.isdir(output):
        if output.endswith("/") or not os.path.isdir(os.path.dirname(os.path.abspath(output))):
            raise CannotWrite("there is no folder %s" % (os.path.dirname(output) or output), "make it first")
        other = _archived_dump(output)
        if other is None or force:
            return output, None
        if other["dump"]["identity"] == plan.dump.identity:
            return output, other
        raise CannotWrite("%s is there and is no archive of this dump" % output, "give another name, or --force")
    for name in (plan.name, "%s-%s" % (plan.name, plan.dump.identity)):
        target = os.path.normpath(os.path.join(output, "%s.%s" % (name, archive_format)))
        other = _archived_dump(target)
        if other is None:
            return target, None
        if other["dump"]["identity"] == plan.dump.identity:
            return target, None if force else other
    raise CannotWrite("%s is there already and is no archive" % target, "move it away")


_NOT_AN_ARCHIVE: Json = {"dump": {"identity": None}}


def _archived_dump(path: str) -> Optional[Json]:
    """The manifest of the archive at this path; None if nothing is there."""
    if not os.path.lexists(path):
        return None
    from . import unpack

    try:
        manifest = unpack.read_manifest(path)
        _lacks(manifest["missing"])
        return manifest if "identity" in manifest["dump"] and "complete" in manifest else _NOT_AN_ARCHIVE
    except (SavedumpError, OSError, KeyError, TypeError):
        return _NOT_AN_ARCHIVE


def _lacks(missing: Iterable[Json]) -> FrozenSet[Tuple[str, str]]:
    """What is missing, by module and kind: where it was looked for is another matter."""
    return frozenset((gap["module"], gap["kind"]) for gap in missing)


def _lacks_less(plan: Plan, manifest: Json) -> bool:
    """True if an archive made now would have something that the one there lacks, and lack nothing that it has."""
    return _lacks(missing_list(plan.findings)) < _lacks(manifest["missing"])


def _unchanged(target: str, manifest: Json, plan: Plan) -> Archived:
    digest = hashlib.sha256()
    with open(target, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
        size = file.tell()
    return Archived(
        path=target, sha256=digest.hexdigest(), size=size, planned_size=plan.size, complete=manifest["complete"],
        changed=False, manifest=manifest,
    )  # fmt: skip


def _would_be(target: Optional[str], plan: Plan) -> Archived:
    manifest = {
        "dump": dump_json(plan.dump),
        "missing": missing_list(plan.findings),
        "complete": plan.complete,
    }
    return Archived(
        path=target, sha256=None, size=None, planned_size=plan.size, complete=plan.complete, changed=True,
        manifest=manifest,
    )  # fmt: skip
