# SPDX-License-Identifier: Apache-2.0
"""The verbs. The command line, the Ansible modules and programs all call these and nothing below them."""

import hashlib
import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Callable, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from .dumps import open_dump
from .elf.header import MAGIC
from .errors import UsageError
from .manifest import Host, dump_json, host_of, inspect_json, missing_list
from .model import Dump, Entry, Findings, Json, Plan, SearchOptions
from .search import search as search_files
from .source import Source, open_source
from .sysroot import Held, Owner, Refused, Sysroot, open_regular

# What writes, unpacks or looks around is imported where it is needed: inspect has to be quick.
if TYPE_CHECKING:
    from .store import Stored
    from .stores import Filters, FindReport
    from .stores import Search as FindSearch
    from .unpack import Opened, Verified
    from .web.debuginfod import Client

STDOUT = "-"
LOCK_WAIT_S = 30.0
"""How long archive() waits for another run that archives the same dump, unless told otherwise."""

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
    estimated_size: Optional[int] = None
    """Of the archive in bytes, before it was written; None unless it was a dry run or the disk is short."""

    def as_json(self) -> Json:
        return {
            "path": self.path,
            "sha256": self.sha256,
            "size": self.size,
            "planned_size": self.planned_size,
            "estimated_size": self.estimated_size,
            "complete": self.complete,
            "changed": self.changed,
            "created": self.manifest.get("created"),
            "missing": self.manifest["missing"],
            "dump": {key: value for key, value in self.manifest["dump"].items() if key != "modules"},
        }


def inspect(
    path: str, search: SearchOptions = SearchOptions(), debuginfod: "Optional[Client]" = None, packages: bool = True
) -> Json:
    """What a dump is, whether it is whole, which files it needs and whether they are here: the document of INTERFACE
    "inspect --json"; for an archive, its manifest. Without `packages` nothing is said of those, nor of what would
    fill a gap: asking the databases takes as long as all the rest. Raises SavedumpError or OSError."""
    with open_source(path) as source:
        if source.compression or source.read_at(0, 4) != MAGIC:
            from . import unpack

            if unpack.is_archive(path):
                return unpack.read_manifest(path)
        with Held() as held:
            dump, findings = _read(source, search, held, debuginfod)
            if packages:
                findings = _with_packages(findings, search)
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
    ignore_space: bool = False,
    wait: float = LOCK_WAIT_S,
    on_wait: Optional[Callable[[str], None]] = None,
) -> Archived:
    """Make the self-contained archive of one dump.

    `output` is a folder, the archive's name, or "-" for stdout. An archive of this very dump that is there already is
    made again if it would lack less now, or with `force`, and else left alone; one of another dump of the same name
    makes this one's name carry its identity. `on_plan` is called when it is known what will be (or for a dry run: would
    be) written, `progress` with the bytes read so far: first with 0 when writing begins.

    Raises CannotWrite, before anything is written, if the archive does not fit on its disk, but for `ignore_space`. Two
    runs never read one dump at once: the second waits `wait` seconds (`on_wait` is called with the reason), then uses
    what the first has made there, or raises Busy."""
    from . import archive as archiving
    from . import naming, space

    archive_format = archiving.choose_format(format)
    _check_level(archive_format, level)
    with alone(path, dry_run, wait, on_wait), planned(path, search, debuginfod) as ready:
        plan = ready.plan
        target, existing = None, None
        if output != STDOUT:
            target, existing = naming.target(plan.name, plan.dump.identity, output, archive_format, force)
        if existing is not None and target is not None and not _lacks_less(plan, existing):
            return _unchanged(target, existing, plan.size)
        measured = (plan, ready.sources, archive_format, level, ready.host)
        estimated = None
        if target is not None and not ignore_space:
            estimated = space.check(target, *measured)
        if on_plan is not None:
            on_plan(plan)
        if dry_run:
            return _would_be(target, plan, space.estimate(*measured) if estimated is None else estimated)
        if progress is not None:
            progress(0)
        arguments = (archive_format, level, ready.host, progress)
        if target is None:
            written = archiving.write(plan, ready.sources, sys.stdout.buffer, *arguments)
            sys.stdout.buffer.flush()
        else:
            with archiving.atomic_file(target, replace=force or existing is not None) as file:
                written = archiving.write(plan, ready.sources, file, *arguments)
    return Archived(
        path=target, sha256=written.sha256, size=written.size, planned_size=plan.size, complete=plan.complete,
        changed=True, manifest=written.manifest, estimated_size=estimated,
    )  # fmt: skip


@contextmanager
def alone(
    path: str, dry_run: bool, wait: float, on_wait: Optional[Callable[[str], None]] = None
) -> Iterator[None]:
    """Nobody else archives this dump meanwhile: others are waited for, `wait` seconds. Raises Busy after that."""
    from .lock import claimed

    try:
        descriptor = -1 if dry_run else open_regular(os.path.realpath(path))
    except (OSError, Refused):
        descriptor = -1  # planned() says what is wrong with it
    if descriptor < 0:
        yield
        return
    try:
        with claimed(descriptor, wait, on_wait):
            yield
    finally:
        os.close(descriptor)


class Planned(NamedTuple):
    """An archive that can be written: what archive.write() takes."""

    plan: Plan
    sources: List[Source]
    """The dump's files, opened."""
    host: Host


@contextmanager
def planned(
    path: str, search: SearchOptions = SearchOptions(), debuginfod: "Optional[Client]" = None
) -> Iterator[Planned]:
    """Read the dump and search for its files; they stay open inside the context. Raises SavedumpError or OSError."""
    from .plan import make_plan

    root = Sysroot(search.sysroot)
    with open_source(path) as source, ExitStack() as stack:
        held = stack.enter_context(Held())
        dump, findings = _read(source, search, held, debuginfod)
        findings = _with_packages(findings, search)
        plan = make_plan(dump, source.name, findings, root, _beside(dump, findings, source, search))
        parts = [stack.enter_context(source.sibling(os.path.basename(part.path))) for part in dump.parts]
        yield Planned(plan, [source] + parts, host_of(root))


def _check_level(archive_format: str, level: Optional[int]) -> None:
    if level is not None and archive_format in _LEVELS and not 1 <= level <= _LEVELS[archive_format]:
        raise UsageError("%s has no level %d" % (archive_format, level), "choose 1 to %d" % _LEVELS[archive_format])


def verify(path: str, progress: Optional[Callable[[int], None]] = None) -> "Verified":
    """Every hash, every build ID, and whether anything is missing. `progress` is told how many bytes of the archive are
    read. Raises BadDump if it is no archive at all."""
    from . import unpack

    return unpack.verify(path, progress)


def open_archive(
    path: str, into: Optional[str] = None, progress: Optional[Callable[[int], None]] = None
) -> "Opened":
    """Unpack into a private folder (mode 0700) below `into`, or below the current folder, verifying on the way; a
    folder that this made of the same archive before is used again. `progress` is told how many bytes are read."""
    from . import unpack

    return unpack.unpack(path, into or ".", progress)


def complete(
    path: str,
    output: Optional[str] = None,
    search: SearchOptions = SearchOptions(),
    archives: Iterable[str] = (),
    format: Optional[str] = None,
    level: Optional[int] = None,
    dry_run: bool = False,
    force: bool = False,
    on_plan: Optional[Callable[[Plan], None]] = None,
    progress: Optional[Callable[[int], None]] = None,
    debuginfod: "Optional[Client]" = None,
    on_read: Optional[Callable[[int], None]] = None,
) -> Archived:
    """Fill the gaps of the archive at `path`, which is left as it is, from `search.search_paths`, from other archives
    in and below the folders `archives` and from `debuginfod`'s servers, and write a new one.

    `output` is a folder or the new archive's name; without it, NAME.completed.tar.gz beside the old one. The format is
    the old one's, unless the name's ending or `format` says otherwise. If nothing can be filled, nothing is written,
    and the result is about the old archive, with what was tried now; one of the same dump that is there already is left
    alone if it lacks no more than the new one would, but for `force`. `on_read` is told how many bytes of the old one
    are read. Raises SavedumpError or OSError."""
    from . import archive as archiving
    from . import naming
    from .complete import prepared

    before = naming.manifest_of(path)
    if not before["missing"]:
        return _unchanged(path, before, 0)
    archive_format = archiving.choose_format(naming.format_of(path, output, format))
    _check_level(archive_format, level)
    target, existing = naming.completed(path, output, archive_format, before, force)
    with prepared(path, target, search, archives, debuginfod, on_read) as ready:
        if not ready.gains:
            tried = dict(ready.before, missing=ready.manifest["missing"])
            return _unchanged(path, tried, ready.plan.size)
        if existing is not None and naming.lacks(existing["missing"]) <= naming.lacks(ready.manifest["missing"]):
            return _unchanged(target, existing, ready.plan.size)
        if on_plan is not None:
            on_plan(ready.plan)
        if dry_run:
            return Archived(
                path=target, sha256=None, size=None, planned_size=ready.plan.size,
                complete=ready.manifest["complete"], changed=True, manifest=ready.manifest,
            )  # fmt: skip
        if progress is not None:
            progress(0)
        with archiving.atomic_file(target, replace=force or existing is not None) as file:
            written = archiving.write(
                ready.plan, ready.sources, file, archive_format, level, ready.host, progress, ready.amend
            )
    return Archived(
        path=target, sha256=written.sha256, size=written.size, planned_size=ready.plan.size,
        complete=written.manifest["complete"], changed=True, manifest=written.manifest,
    )  # fmt: skip


def store(
    folder: str, archives: Iterable[str], dry_run: bool = False, progress: Optional[Callable[[str, int], None]] = None
) -> "Stored":
    """Put the files of these archives that a build ID proves into the content store `folder`, which is made if it is
    not there. An archive with any problem is left out whole. `progress` is told the archive and how many of its bytes
    are read. Raises OSError or SavedumpError if the store cannot be written."""
    from . import store as storing

    return storing.add(folder, archives, dry_run, progress)


def find(paths: Iterable[str] = (), sysroot: str = "/", filters: "Optional[Filters]" = None) -> "FindReport":
    """The dumps in every store of this host, or in and below these paths, and where was looked. Of each what its first
    pages say: inspect() reads the rest."""
    search = finding(paths, sysroot, filters)
    return search.report(tuple(search))


def finding(paths: Iterable[str] = (), sysroot: str = "/", filters: "Optional[Filters]" = None) -> "FindSearch":
    """As find(), one dump at a time: iterate over it, then ask for its report(). Raises UsageError for a kind that no
    dump is of: it would match nothing."""
    from . import stores

    if filters and filters.kinds:
        from . import dumps

        known = (stores.filters.PROCESS, stores.filters.KERNEL) + dumps.kinds()
        unknown = sorted(set(filters.kinds).difference(known))
        if unknown:
            raise UsageError("no dump is of kind %s" % unknown[0], "there are %s" % ", ".join(known))
    return stores.Search(tuple(paths), Sysroot(sysroot), _describe, filters or stores.Filters())


def _describe(path: str, sure: bool) -> Optional[Json]:
    """What find() says of one dump; None for no dump, if it is not `sure` that it is one. Raises BadDump."""
    from .dumps.glance import glance
    from .elf.header import ET_CORE, HEADER_SIZE, parse_header
    from .errors import BadDump
    from .source.head import open_head

    with open_head(path) as source:
        try:
            seen = glance(source)
        except BadDump:
            # One that is cut within its headers, as on a full disk, or of another system, is worth a word anywhere.
            header = parse_header(source.read_at(0, HEADER_SIZE))
            if sure or (source.damage and not source.container) or (header is not None and header.type == ET_CORE):
                raise
            return None
    facts = dump_json(seen.dump)
    facts.update(size=seen.size, complete=seen.complete, identity=None, claimed_size=seen.claimed_size)
    if facts["process"] is not None:
        facts["process"]["threads"] = seen.threads
    return facts


def _read(
    source: Source, options: SearchOptions, held: Held, debuginfod: "Optional[Client]"
) -> Tuple[Dump, Findings]:
    dump = open_dump(source, Sysroot(options.sysroot))
    return dump, search_files(dump, options, held, _owner(source, dump), debuginfod, source.read_at)


def _with_packages(findings: Findings, options: SearchOptions) -> Findings:
    from .gaps import with_packages

    return with_packages(findings, Sysroot(options.sysroot))


def _beside(dump: Dump, findings: Findings, source: Source, options: SearchOptions) -> List[Entry]:
    """What no debugger needs, and people do."""
    if dump.kernel is not None:
        from . import beside

        return beside.entries(dump, source.uid, Sysroot(options.sysroot))
    if options.gdb_scripts:
        from . import scripts

        return scripts.entries(findings, Sysroot(options.sysroot))
    return []


def _owner(source: Source, dump: Dump) -> Optional[Owner]:
    """Whose rights to open with what the dump names: the file's owner; for a file of root's (a crash handler's) the
    user that the dump is of, for that can only lessen root's rights."""
    if source.uid:
        return Owner(source.uid, source.gid)
    process = dump.process
    if process is not None and process.uid:
        return Owner(process.uid, process.gid if process.gid is not None else process.uid)
    return None


def _lacks_less(plan: Plan, manifest: Json) -> bool:
    """True if an archive made now would have something that the one there lacks, and lack nothing that it has."""
    from .naming import lacks

    return lacks(missing_list(plan.findings)) < lacks(manifest["missing"])


def _unchanged(target: str, manifest: Json, planned_size: int) -> Archived:
    digest = hashlib.sha256()
    with open(target, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
        size = file.tell()
    return Archived(
        path=target, sha256=digest.hexdigest(), size=size, planned_size=planned_size, complete=manifest["complete"],
        changed=False, manifest=manifest,
    )  # fmt: skip


def _would_be(target: Optional[str], plan: Plan, estimated: int) -> Archived:
    manifest = {
        "dump": dump_json(plan.dump),
        "missing": missing_list(plan.findings),
        "complete": plan.complete,
    }
    return Archived(
        path=target, sha256=None, size=None, planned_size=plan.size, complete=plan.complete, changed=True,
        manifest=manifest, estimated_size=estimated,
    )  # fmt: skip
