# SPDX-License-Identifier: Apache-2.0
"""Fill the gaps of an archive on another machine than the one it was made on.

The archive is unpacked, which verifies it, and goes the way of every dump from there: opened, searched, planned,
written. What it has is proposed before all else, so nothing of it is looked for again; only places that the user names
are looked into for the rest, for this machine's own files are not those of the host that crashed. Of what was there,
every byte and every word of the manifest stays.
"""

import calendar
import os
import re
import time
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from . import unpack
from .dumps import open_dump
from .elf.file import spare_relocations
from .errors import BadDump
from .manifest import TOOL, Host, manifest_json, needed
from .model import (
    BY_BANNER,
    BY_BUILD_ID,
    BY_CRC,
    BY_DUMP,
    BY_GO_BUILD_ID,
    BY_HEADER,
    BY_PAGES,
    BY_PATH,
    DEBUG,
    LOADED,
    SPLIT,
    SUPPLEMENTARY,
    Candidate,
    Entry,
    Findings,
    Found,
    Json,
    Plan,
    SearchOptions,
    Want,
)  # fmt: skip
from .plan import make_plan
from .plan.names import parents
from .search import search as search_files
from .shelf import Shelf
from .source import Source, open_source
from .sysroot import Held, Sysroot, reader, regular_file
from .workroom import many_files, workroom

NAME = "archive"
# What was proven against the host, or by nothing, and cannot be proven again here. By a build ID, or the IDs of units,
# a file is proven once more.
_TRUSTED = (BY_GO_BUILD_ID, BY_CRC, BY_BANNER, BY_PAGES, BY_HEADER, BY_DUMP, BY_PATH)
_RESULTS = (("file", LOADED), ("debug", DEBUG), ("supplementary", SUPPLEMENTARY))
_HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")
_STATUSES = ("missing", "unverified", "mismatch")
_MADE_HERE = ("launcher", "link")
_NOBODY = Host("", "", "", {})


class Ready(NamedTuple):
    """A completed archive that could be written now."""

    plan: Plan
    sources: Tuple[Source, ...]
    added: Tuple[str, ...]
    """The files that the archive lacks and that were found: their member names."""
    before: Json
    """The archive's own manifest."""
    manifest: Json
    """What the completed one's would be, without the SHA-256 of what is added."""
    host: Host
    amendment: "_Amendment"

    def amend(self, manifest: Json) -> Json:
        """archive.write's manifest with all that the archive said of itself. Raises BadDump if a file of the archive
        is not what it was."""
        return self.amendment.of(manifest)

    @property
    def gains(self) -> bool:
        """False if the completed one would be no better than the archive."""
        return bool(self.added) or len(self.manifest["missing"]) < len(self.before["missing"])


@contextmanager
def prepared(
    path: str, target: str, options: SearchOptions, archives: Iterable[str] = (), debuginfod: Any = None,
    on_read: Optional[Callable[[int], None]] = None,
) -> Iterator[Ready]:  # fmt: skip
    """Unpack the archive at `path` beside `target` and look for what it lacks: in `options.search_paths`, in the
    archives in and below the folders `archives`, at `debuginfod`'s servers. Raises BadDump for an archive with any
    problem, CannotWrite, Busy, ToolMissing, OSError."""
    with ExitStack() as stack:
        stack.enter_context(many_files())
        work = stack.enter_context(workroom(target))
        opened = unpack.unpack(path, work, on_read)
        old = _read(path, opened.manifest, opened.path)
        ahead = {gap["build_id"] for gap in old.manifest["missing"] if isinstance(gap.get("build_id"), str)}
        shelf = stack.enter_context(Shelf(archives, work, but=path, ahead=ahead))
        held = stack.enter_context(Held())
        source = stack.enter_context(open_source(old.at(old.dumps[0])))
        dump = open_dump(source, Sysroot(old.top))._replace(mtime_ns=old.mtime_ns)
        sources = [source] + [stack.enter_context(source.sibling(os.path.basename(one.path))) for one in dump.parts]
        options = options._replace(sysroot=old.top)
        findings = search_files(
            dump, options, held, debuginfod=debuginfod, read_at=source.read_at, known=_Known(old).look,
            archives=shelf.look,
        )  # fmt: skip
        findings = _with_own_thread_db(findings, old)
        plan = make_plan(dump, _dump_name(old), findings, Sysroot(old.top))
        plan = _merged(plan._replace(name=os.path.basename(old.top)), old)
        added = tuple(e.path for e in plan.entries if e.origin is not None and old.member_at(e.origin) is None)
        amendment = _Amendment(old, plan, added)
        yield Ready(
            plan=plan, sources=tuple(sources), added=added, before=old.manifest,
            manifest=amendment.of(manifest_json(plan, {}, _NOBODY)), host=_NOBODY, amendment=amendment,
        )  # fmt: skip


class _Old(NamedTuple):
    """The archive as it was, unpacked."""

    top: str
    """The folder."""
    manifest: Json
    files: Dict[str, Json]
    """Its members, by name as this host has it."""
    by_origin: Dict[str, str]
    """Names of those that came from the host, by what the manifest calls their origin."""
    dumps: Tuple[str, ...]
    modules: Tuple[Json, ...]
    mtime_ns: int
    """The dump's last change, to the second."""

    def at(self, member: str) -> str:
        return os.path.join(self.top, member)

    def member_at(self, at: Optional[str]) -> Optional[str]:
        """The member that lies at this path of this host; None for another file."""
        if at is None or not at.startswith(self.top + "/"):
            return None
        member = at[len(self.top) + 1 :]
        return member if member in self.files else None


def _read(path: str, manifest: Json, top: str) -> _Old:
    """What is needed of the manifest, of which only the files were checked. Raises BadDump."""
    try:
        files = {os.fsdecode(entry["path"].encode("utf-8", "surrogateescape")): entry for entry in manifest["files"]}
        for entry in files.values():
            _expect(entry["role"], str)
            _expect(entry["build_id"], str, type(None))
            if entry["build_id"] is not None and not _HEX.match(entry["build_id"]):
                raise ValueError(entry["build_id"])
        modules = tuple(manifest["dump"]["modules"])
        for module in modules:
            _expect(module["name"], str)
            _expect(module["path"], str, type(None))
            _expect(module.get("split", []), list)
            for result in [module[key] for key, _kind in _RESULTS] + module.get("split", []):
                _expect(result, dict, type(None))
                _expect((result or {"attempts": []})["attempts"], list)
        for gap in manifest["missing"]:
            _expect(gap.get("attempts", []), list)
        created = calendar.timegm(time.strptime(manifest["created"], "%Y-%m-%dT%H:%M:%SZ"))
        _expect(manifest["host"], dict)
        _expect(manifest["tool"], dict)
        _expect(manifest["dump"]["complete"], bool)
        _expect(manifest.get("completed", []), list)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadDump("%s: its manifest.json is damaged" % path) from None
    dumps = tuple(name for name, entry in files.items() if entry["role"] == "dump")
    if not dumps:
        raise BadDump("%s has no dump in it" % path)
    origins = {
        entry["origin"]: name
        for name, entry in files.items()
        if entry["role"] not in _MADE_HERE and isinstance(entry.get("origin"), str)
    }
    return _Old(
        top=top, manifest=manifest, files=files, by_origin=origins, dumps=dumps, modules=modules,
        mtime_ns=created * 10**9,
    )  # fmt: skip


def _expect(value: object, *types: type) -> None:
    if not isinstance(value, types):
        raise TypeError(repr(value)[:80])


class _Known:
    """What the archive has, as candidates."""

    def __init__(self, old: _Old) -> None:
        self._old = old
        self._by_module: Dict[Tuple[str, str], List[Tuple[str, Optional[str]]]] = {}
        self._by_build_id: Dict[str, List[str]] = {}
        for module in old.modules:
            for kind, result in _results(module):
                member = old.by_origin.get(result.get("at") or "")
                if result.get("status") == "found" and member is not None:
                    matched_by = result.get("matched_by")
                    trusted = matched_by if matched_by in _TRUSTED else None
                    self._by_module.setdefault((kind, _name_of(module, old)), []).append((member, trusted))
        for name, entry in old.files.items():
            if entry["build_id"] is not None and entry.get("matched_by") == BY_BUILD_ID:
                self._by_build_id.setdefault(entry["build_id"], []).append(name)

    def look(self, want: Want) -> Iterator[Candidate]:
        """First what stood for this very want, then what has its build ID."""
        for member, trusted in self._by_module.get((want.kind, want.module), ()):
            yield Candidate(path=member, finder=NAME, folder=self._old.top, trusted=trusted)
        for member in self._by_build_id.get((want.build_id or b"").hex(), ()):
            yield Candidate(path=member, finder=NAME, folder=self._old.top)


def _results(module: Json) -> Iterator[Tuple[str, Json]]:
    for key, kind in _RESULTS:
        if module[key] is not None:
            yield kind, module[key]
    for result in module.get("split", []):
        yield SPLIT, result


def _name_of(module: Json, old: _Old) -> str:
    """What wants call it: see search."""
    return str(module["name"] if old.manifest["dump"].get("kernel") else module["path"] or module["name"])


def _dump_name(old: _Old) -> str:
    """The dump's own name, which the archive may have had to change."""
    name, top = os.path.basename(old.dumps[0]), os.path.basename(old.top)
    while name.startswith("dump-") and not top.endswith("archive-" + name):
        name = name[len("dump-") :]
    return name


def _with_own_thread_db(findings: Findings, old: _Old) -> Findings:
    """gdb's library for thread-locals stays what it was; a new one only comes along with a libc that was lacking."""
    found = findings.thread_db
    has_one = any(entry["role"] == "thread-db" for entry in old.files.values())
    return findings._replace(thread_db=None) if has_one and found is not None else findings


def _merged(plan: Plan, old: _Old) -> Plan:
    """The plan with all that the archive holds, whatever became of the wants that it was packed for. Raises BadDump for
    an archive that cannot be laid out again."""
    entries = {entry.path: entry for entry in plan.entries}
    placed = {entry.origin for entry in plan.entries if entry.origin is not None}
    for name, said in old.files.items():
        at, there = old.at(name), entries.get(name)
        if said["role"] == "link" or said.get("target") is not None:
            if there is None and _fits(name, entries):
                entries[name] = Entry(path=name, role="link", target=os.readlink(at))
        elif said["role"] == "dump":
            if at not in placed:
                raise BadDump("%s is not among the files of the dump any more" % name)
        elif there is not None and there.role == "launcher":
            continue
        elif there is not None and (there.origin == at or there.data is not None):
            entries[name] = _entry(name, said, old)
        elif at not in placed:
            if there is not None or not _fits(name, entries):
                raise BadDump("%s cannot be kept: another file has to lie there" % name)
            entries[name] = _entry(name, said, old)
    return plan._replace(entries=tuple(sorted(entries.values(), key=_rank)))


def _rank(entry: Entry) -> Tuple[int, str]:
    """As plan/ orders them: launchers, links, files, the dump; a split set's parts stay in their order."""
    rank = {"launcher": 0, "link": 1, "dump": 3}.get(entry.role, 2)
    return rank, "" if rank in (0, 3) else entry.path


def _fits(name: str, entries: Dict[str, Entry]) -> bool:
    """No other member lies above or below."""
    if any(above in entries for above in parents(name)):
        return False
    return name not in entries and not any(other.startswith(name + "/") for other in entries)


def _entry(name: str, said: Json, old: _Old) -> Entry:
    """A file of the archive as it was packed before, holes and all."""
    at = old.at(name)
    with regular_file(at) as file:
        status = os.fstat(file.fileno())
        cuts = tuple(spare_relocations(reader(file.fileno()), status.st_size)) if said.get("left_out") else ()
    return Entry(
        path=name, role=said["role"], size=status.st_size, origin=at, mtime_ns=status.st_mtime_ns,
        build_id=bytes.fromhex(said["build_id"]) if said["build_id"] is not None else None,
        matched_by=said.get("matched_by"), mode=0o700 if said["role"] == "launcher" else 0o600, cuts=cuts,
    )  # fmt: skip


class _Amendment:
    """What turns the manifest of a search in an unpacked archive into that of the host's archive, completed."""

    def __init__(self, old: _Old, plan: Plan, added: Tuple[str, ...]) -> None:
        self._old = old
        self._plan = plan
        self._completed = {"tool": TOOL, "added": list(added)}
        self._found = frozenset(_found(plan))
        self._had = {(_name_of(one, old), kind) for one in old.modules for kind, result in _results(one)
                     if result.get("status") == "found"}  # fmt: skip

    def of(self, manifest: Json) -> Json:
        old = self._old.manifest
        missing = self._missing(manifest["missing"])
        dump = dict(old["dump"], modules=self._modules(manifest["dump"]["modules"]))
        dump["modules_why"] = manifest["dump"]["modules_why"]
        known = any(files.module.executable for files in self._plan.findings.files) and dump["modules_why"] is None
        return dict(
            old,
            dump=dump,
            files=[self._file(entry, said) for entry, said in zip(self._plan.entries, manifest["files"])],
            missing=missing,
            complete=bool(old["dump"]["complete"] and known and not needed(missing)),
            completed=old.get("completed", []) + [self._completed],
        )

    def _file(self, entry: Entry, said: Json) -> Json:
        member = self._old.member_at(entry.origin)
        if member is None:
            return said
        before = self._old.files[member]
        if said["size"] != before["size"] or said["sha256"] not in (None, before["sha256"]):
            raise BadDump("%s is not what it was in the archive" % member)
        return dict(before, path=said["path"])

    def _modules(self, modules: List[Json]) -> List[Json]:
        """In the order of before; each with what was known of it and what is new."""
        after = {_identity(module): module for module in modules}
        merged = [self._module(module, after.pop(_identity(module), None)) for module in self._old.modules]
        return merged + [self._module(None, module) for module in after.values()]

    def _module(self, before: Optional[Json], after: Optional[Json]) -> Json:
        if before is None or after is None:
            module = dict(before or after or {})
            after = None if before else after
        else:
            module = dict(before)
        for key, _kind in _RESULTS:
            module[key] = self._result(before[key] if before else None, after[key] if after else None)
        split = list(before.get("split", [])) if before else []
        if after is not None and any(result.get("status") != "found" for result in split or [{}]):
            split = [self._result(None, result) for result in after["split"]]
        module["split"] = split
        return module

    def _result(self, before: Optional[Json], after: Optional[Json]) -> Optional[Json]:
        if after is None or (before is not None and before.get("status") == "found"):
            return before
        member = self._old.member_at(after["at"])
        at = self._old.files[member].get("origin") if member is not None else after["at"]
        earlier = before["attempts"] if before is not None else []
        return dict(after, at=at, attempts=self._attempts(earlier, after["attempts"]))

    def _missing(self, after: List[Json]) -> List[Json]:
        """Of each file what was tried there and here. What the archive has is not missing, even if this version would
        want it otherwise."""
        before = {_gap_key(gap): gap for gap in self._old.manifest["missing"]}
        merged = []
        for gap in after:
            earlier = before.pop(_gap_key(gap), None) or {}
            if (gap["module"], gap["kind"]) in self._had and gap["kind"] != SPLIT:
                continue
            gap = dict(gap, attempts=self._attempts(earlier.get("attempts", []), gap["attempts"]))
            gap["status"] = max(gap["status"], earlier.get("status"), key=_how_bad)
            for key in ("package", "command"):
                gap[key] = gap.get(key) or earlier.get(key)
            merged.append(gap)
        return merged + [gap for gap in before.values() if (gap["module"], gap["kind"]) not in self._found]

    def _attempts(self, before: List[Json], after: List[Json]) -> List[Json]:
        """Without those in the unpacked archive itself."""
        inside = self._old.top + "/"
        return before + [one for one in after if not one["path"].startswith(inside) and one not in before]


def _found(plan: Plan) -> Iterator[Tuple[str, str]]:
    """(module, kind) of what there is now; one file may be the loaded and the debug file of its module."""
    for files in plan.findings.files:
        module = files.module
        name = module.name if plan.dump.kernel is not None else module.path or module.name
        results = ((LOADED, files.file), (DEBUG, files.debug), (SUPPLEMENTARY, files.supplementary))
        yield from ((name, kind) for kind, result in results if isinstance(result, Found))
        if files.split and all(isinstance(result, Found) for result in files.split):
            yield name, SPLIT


def _identity(module: Json) -> Tuple[Any, ...]:
    return tuple(module.get(key) for key in ("name", "path", "start", "end"))


def _gap_key(gap: Json) -> Tuple[Any, ...]:
    return tuple(gap.get(key) for key in ("module", "kind", "build_id"))


def _how_bad(status: Any) -> int:
    return _STATUSES.index(status) if status in _STATUSES else -1
