# SPDX-License-Identifier: Apache-2.0
"""Wants times finders to Found or Missing. Finders propose, ``prove`` decides; what was found begets wants: of its
debug information, and of what that lacks."""

import errno
import os
from typing import TYPE_CHECKING, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from .elf import split
from .elf.file import ElfFile, describe, spare_relocations
from .elf.header import MAGIC, PT_LOAD, ReadAt, iter_segments, segment_size
from .errors import SavedumpError
from .finders import CHAIN, from_dump
from .finders.kernel_layout import PACKED
from .model import (
    ABSENT,
    BY_BUILD_ID,
    BY_PATH,
    DEBUG,
    LOADED,
    MATCH,
    MISMATCH,
    NO_BUILD_ID,
    REFUSED,
    SPLIT,
    SUPPLEMENTARY,
    UNREADABLE,
    VDSO,
    VMLINUX,
    Attempt,
    Candidate,
    Cut,
    Dump,
    Findings,
    Found,
    Json,
    Missing,
    Module,
    ModuleFiles,
    Result,
    SearchOptions,
    Want,
)  # fmt: skip
from .prove import Case, judge
from .source import open_source
from .sysroot import (
    Held,
    Look,
    OnDisk,
    Owner,
    Refused,
    Roots,
    Sysroot,
    describe_open,
    open_regular,
    read_elf,
    reader,
    rights_of,
)  # fmt: skip

if TYPE_CHECKING:
    from .web.debuginfod import Client

# Of a file none of whose .dwo files is to be found, these are listed.
_SHOWN_UNITS = 16
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL))


class _Proven(NamedTuple):
    """A Found with what later wants need of it."""

    found: Found
    elf: ElfFile
    inside: str
    """Its path as seen from inside its root."""
    root: Optional[str]
    """That root; None for the sysroot."""
    skeletons: Tuple[split.Skeleton, ...]


def search(
    dump: Dump,
    options: SearchOptions,
    held: Held,
    owner: Optional[Owner] = None,
    debuginfod: "Optional[Client]" = None,
    read_at: Optional[ReadAt] = None,
    known: Optional[Look] = None,
    archives: Optional[Look] = None,
) -> Findings:
    """Look for every file the dump's modules need. `held` gets what has to stay open until the files are copied.
    `owner` is whose rights to use for paths that the dump names. `debuginfod` is the client of this run, if servers may
    be asked; `read_at` reads the dump, for files that only its pages prove. `known` has places that go
    before all others, `archives` those in other archives."""
    seeker = _Seeker(dump.machine, dump.kernel or {}, options, held, owner, debuginfod, read_at, known, archives)
    try:
        files = tuple(seeker.files_of(module) for module in dump.modules)
    finally:
        if debuginfod is not None:
            debuginfod.close()
    return Findings(files=files, thread_db=seeker.thread_db(files))


def find_files(wants: Iterable[Want], options: SearchOptions, held: Held) -> List[Result]:
    """Look for single files that another host's dump needs; only a build ID proves such a one."""
    seeker = _Seeker("", {}, options._replace(allow_unverified=False), held)
    return [seeker.find(want) for want in wants if want.build_id]


class _Seeker:
    """One search: its roots and the answers so far, for the same file is often wanted twice."""

    def __init__(
        self,
        machine: str,
        kernel: Json,
        options: SearchOptions,
        held: Held,
        owner: Optional[Owner] = None,
        debuginfod: "Optional[Client]" = None,
        read_at: Optional[ReadAt] = None,
        known: Optional[Look] = None,
        archives: Optional[Look] = None,
    ) -> None:
        self._machine = machine
        self._release: Optional[str] = kernel.get("release")
        self._banner: Optional[str] = kernel.get("banner")
        self._whole_vmlinux = options.whole_vmlinux
        self._held = held
        self._case = Case(machine=machine, dump=read_at, unverified=options.allow_unverified)
        self._roots = Roots(Sysroot(options.sysroot), options.search_paths, debuginfod, read_at, archives)
        self._known = known
        # A sysroot is the caller's word, not the dump's, and may lie where only the caller can look.
        self._owner = owner if self._roots.sysroot.root == "/" else None
        self._answers: Dict[Want, Tuple[Result, Optional[_Proven]]] = {}

    def files_of(self, module: Module) -> ModuleFiles:
        if self._release is not None:
            return self._kernel_files_of(module, self._release)
        if module.name == VDSO and module.path is None:
            return ModuleFiles(module=module, file=None)
        literal = "%s (deleted)" % module.path if module.deleted else None
        name = module.path or module.name
        want = Want(
            kind=LOADED, module=name, build_id=module.build_id, paths=_unique((module.path, literal) + module.names),
            go_build_id=module.go_build_id, pieces=module.pieces,
        )  # fmt: skip
        loaded, proven = self._answer(want)
        if proven is not None and proven.elf.has_debug_info:
            return self._with_rest(module, loaded, loaded, proven)
        debug, debug_proven = self._answer(_debug_want(name, module, proven))
        return self._with_rest(module, loaded, debug, debug_proven)

    def _kernel_files_of(self, module: Module, release: str) -> ModuleFiles:
        """A file that holds everything (Debian's vmlinux and debug modules) is loaded and debug file in one."""
        files, debug_files = _kernel_names(module.name, release)
        banner = os.fsencode(self._banner) if self._banner and module.name == VMLINUX and not module.build_id else None
        want = Want(
            kind=LOADED, module=module.name, build_id=module.build_id, paths=files, release=release, banner=banner
        )
        loaded, proven = self._answer(want)
        if proven is not None and proven.elf.has_debug_info:
            return self._with_rest(module, loaded, loaded, proven)
        link = _debug_want(module.name, module, proven)
        want = link._replace(paths=link.paths + debug_files, release=release, banner=banner)
        debug, debug_proven = self._answer(want)
        if debug_proven is not None and isinstance(loaded, Missing) and not debug_proven.elf.debug_only:
            loaded = debug
        return self._with_rest(module, loaded, debug, debug_proven)

    def _with_rest(self, module: Module, loaded: Result, debug: Result, proven: Optional[_Proven]) -> ModuleFiles:
        """With what the debug information is not whole without: a dwz file, .dwo files. Half of it is worse than none:
        gdb 16 refuses a backtrace then."""
        if proven is None:
            return ModuleFiles(module=module, file=loaded, debug=debug)
        supplementary = self._supplementary_of(debug.want.module, proven)
        parts = self._split_of(debug.want.module, proven)
        lacking = [result for result in (supplementary,) + parts if isinstance(result, Missing)]
        if lacking and debug is not loaded and isinstance(debug, Found):
            refused = Attempt(finder="search", path=debug.at, outcome=REFUSED, detail=_needs(lacking))
            debug = Missing(want=debug.want, status="missing", attempts=debug.attempts + (refused,))
        return ModuleFiles(module=module, file=loaded, debug=debug, supplementary=supplementary, split=parts)

    def _supplementary_of(self, module: str, proven: _Proven) -> Optional[Result]:
        link = proven.elf.alt_link
        if link is None:
            return None
        want = Want(
            kind=SUPPLEMENTARY, module=module, build_id=link.build_id, paths=(os.fsdecode(link.path),),
            loaded_at=proven.inside, loaded_in=proven.root,
        )  # fmt: skip
        return self._answer(want)[0]

    def _split_of(self, module: str, proven: _Proven) -> Tuple[Result, ...]:
        """The .dwp that has all units, or else a .dwo for each."""
        if not proven.skeletons:
            return ()
        blank = Want(
            kind=SPLIT, module=module, build_id=None, paths=(), loaded_at=proven.inside, loaded_in=proven.root
        )
        names = tuple(os.path.basename(path) + ".dwp" for path in _unique((proven.inside, module)))
        ids = tuple(sorted({one.dwo_id for one in proven.skeletons}))
        package = self._answer(blank._replace(paths=names, dwo_ids=ids))[0]
        if isinstance(package, Found):
            return (package,)
        if len(proven.skeletons) >= split.MAX_SKELETONS:
            why = "more than %d units of it are elsewhere" % (split.MAX_SKELETONS - 1)
            too_many = Attempt(finder="search", path=proven.found.at, outcome=REFUSED, detail=why)
            return (package._replace(attempts=package.attempts + (too_many,)),)
        wants = [blank._replace(paths=one.paths, dwo_ids=(one.dwo_id,)) for one in proven.skeletons]
        parts = tuple(self._answer(want)[0] for want in wants)
        return parts if any(isinstance(part, Found) for part in parts) else (package,) + parts[:_SHOWN_UNITS]

    def thread_db(self, files: Tuple[ModuleFiles, ...]) -> Optional[Found]:
        """libthread_db.so.1 for the debugger's word size: from beside the libc that was found, or from the host's own
        folders for a static program and for a 32-bit one of a 64-bit host."""
        beside = [
            os.path.dirname(one.file.at)
            for one in files
            if isinstance(one.file, Found) and os.path.basename(one.file.at).startswith(("libc.so.", "libc-"))
        ]
        machines = _DEBUGGERS_MACHINE.get(self._machine, (self._machine,))
        folders = beside + self._library_folders()
        for machine, folder in [(machine, folder) for machine in machines for folder in folders]:
            path = os.path.join(folder, "libthread_db.so.1")
            try:
                on_disk = read_elf(os.path.realpath(path))
            except (OSError, Refused):
                continue
            if on_disk.elf.header.machine_name != machine:
                continue
            # gdb will run it on the analyst's machine: never one that a third person could have put there.
            if on_disk.uid in (0, os.geteuid()) and not on_disk.mode & 0o022:
                want = Want(kind=LOADED, module="libthread_db.so.1", build_id=None, paths=(path,))
                return Found(
                    want=want, at=on_disk.host_path, matched_by=BY_PATH, size=on_disk.identity.size,
                    build_id=on_disk.elf.build_id, attempts=(), mtime_ns=on_disk.identity.mtime_ns,
                )  # fmt: skip
        return None

    def _library_folders(self) -> List[str]:
        """Where distributions keep their libraries: Debian's multiarch folders, then /usr/lib64 and /usr/lib."""
        top = self._roots.sysroot.host_path("/usr/lib")
        try:
            names = sorted(name for name in os.listdir(top) if "-linux-gnu" in name)
        except OSError:
            names = []
        return [os.path.join(top, name) for name in names] + [top + "64", top]

    def find(self, want: Want) -> Result:
        """The verdict on one want."""
        return self._answer(want)[0]

    def _answer(self, want: Want) -> Tuple[Result, Optional[_Proven]]:
        key = want._replace(module="")
        if key not in self._answers:
            self._answers[key] = self._look_for(want)
        return self._answers[key]

    def _look_for(self, want: Want) -> Tuple[Result, Optional[_Proven]]:
        attempts: List[Attempt] = []
        tried = set()
        for candidate in self._candidates(want):
            if isinstance(candidate, Attempt):
                attempts.append(candidate)
                continue
            # What was fetched just now has replaced what bore its name in the cache.
            place = (candidate.root, candidate.folder, candidate.path)
            if place in tried and candidate.origin is None and candidate.descriptor is None:
                continue
            tried.add(place)
            attempt, proven = self._try(want, candidate)
            attempts.append(attempt)
            if proven is not None:
                found = proven.found._replace(attempts=tuple(attempts))
                return found, proven._replace(found=found)
        return Missing(want=want, status=_status(attempts), attempts=tuple(attempts)), None

    def _candidates(self, want: Want) -> Iterator[Union[Candidate, Attempt]]:
        if self._known is not None:
            yield from self._known(want)
        for finder in CHAIN:
            yield from finder.candidates(want, self._roots)

    def _try(self, want: Want, candidate: Candidate) -> Tuple[Attempt, Optional[_Proven]]:
        """Look at one place; keep the file open if it is the one, and no path leads to it for long."""
        finder, shown, descriptor = candidate.finder, self._shown(candidate), candidate.descriptor
        keep = descriptor is not None or candidate.root is not None
        try:
            host, inside = self._resolve(candidate)
            if descriptor is None:
                with rights_of(self._owner if candidate.named_by_dump else None):
                    descriptor = open_regular(host)
            on_disk = _describe(descriptor, host, want)
            if candidate.trusted is not None:
                outcome, detail, matched_by = MATCH, "", candidate.trusted
            else:
                # That a path is the same says nothing in another root, which may be any container's.
                case = self._case._replace(unverified=False) if candidate.root else self._case
                outcome, detail, matched_by = judge(want, on_disk, descriptor, case, finder == from_dump.NAME)
            if outcome == MATCH and finder != from_dump.NAME and candidate.trusted is None:
                _check_whole(want, on_disk, reader(descriptor))
            if outcome == MISMATCH and candidate.by_name:
                outcome, detail = ABSENT, "another file of that name: %s" % detail
            if outcome != MATCH:
                return Attempt(finder, shown, outcome, detail), None
            skeletons = _skeletons(want, on_disk, descriptor)
            found = Found(
                want=want, at=shown if keep else host, matched_by=matched_by, size=on_disk.identity.size,
                build_id=on_disk.elf.build_id, attempts=(), mtime_ns=on_disk.identity.mtime_ns, inside=inside,
                spare=self._spare(want, descriptor, on_disk), descriptor=descriptor if keep else None,
                features=on_disk.elf.features + (("split-dwarf",) if skeletons else ()),
                package_note=on_disk.elf.package_note,
            )  # fmt: skip
            if keep:
                self._held.keep(descriptor)
                descriptor = None
            attempt = Attempt(finder, shown, MATCH, detail or (matched_by if matched_by != BY_BUILD_ID else ""))
            return attempt, _Proven(found, on_disk.elf, inside, candidate.root, skeletons)
        except Refused as refusal:
            return Attempt(finder, shown, REFUSED, str(refusal)), None
        except (OSError, ValueError) as error:
            # ValueError: a path with a NUL byte, which no file can have.
            if isinstance(error, ValueError) or error.errno in _ABSENT:
                return Attempt(finder, shown, ABSENT), None
            return Attempt(finder, shown, UNREADABLE, error.strerror or str(error)), None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _shown(self, candidate: Candidate) -> str:
        """A candidate's place for people to read."""
        if candidate.origin is not None or candidate.descriptor is not None:
            return candidate.origin or candidate.path
        if candidate.folder is not None:
            return os.path.join(candidate.folder, candidate.path)
        return candidate.root + candidate.path if candidate.root else self._roots.sysroot.host_path(candidate.path)

    def _resolve(self, candidate: Candidate) -> Tuple[str, str]:
        """Its path on this host, and as seen from inside its root."""
        if candidate.descriptor is not None:
            return self._shown(candidate), candidate.path
        if candidate.folder is not None:
            return os.path.realpath(os.path.join(candidate.folder, candidate.path)), candidate.path
        sysroot = Sysroot(candidate.root, follow=False) if candidate.root else self._roots.sysroot
        resolved = sysroot.resolve(candidate.path)
        return resolved.host_path, resolved.path

    def _spare(self, want: Want, descriptor: int, on_disk: OnDisk) -> Tuple[Cut, ...]:
        if want.module != VMLINUX or want.release is None or self._whole_vmlinux:
            return ()
        return tuple(spare_relocations(reader(descriptor), on_disk.identity.size))


# The machine of the debugger that opens a dump of this machine, where the two differ.
_DEBUGGERS_MACHINE = {"i386": ("x86_64", "i386"), "x32": ("x86_64",)}


def _unique(paths: Tuple[Optional[str], ...]) -> Tuple[str, ...]:
    seen: List[str] = []
    for path in paths:
        if path and path not in seen:
            seen.append(path)
    return tuple(seen)


def _kernel_names(module: str, release: str) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """The names of files that hold a kernel module or vmlinux, and of those that hold its debug information: the kernel
    writes "-" in a module's name as "_", its file may have either."""
    if module == VMLINUX:
        return ("vmlinux-" + release, VMLINUX), ("vmlinux-%s.debug" % release, "vmlinux.debug")
    names = _unique((module, module.replace("_", "-")))
    packed = tuple(name + ".ko" + suffix for name in names for suffix in ("",) + PACKED)
    return packed, tuple(name + suffix for name in names for suffix in (".ko.debug", ".ko"))


def _describe(descriptor: int, host_path: str, want: Want) -> OnDisk:
    """The ELF file that is open, which may be compressed if it is a kernel's."""
    try:
        return describe_open(descriptor, host_path)
    except Refused:
        if want.release is None:
            raise
    try:
        with open_source(host_path, descriptor) as source:
            if source.compression is None:
                raise Refused("not an ELF file")
            elf = describe(source.read_at, source.size)
            status = os.fstat(descriptor)
    except SavedumpError as error:
        raise Refused(error.message) from None
    return OnDisk(host_path=host_path, identity=source.identity, elf=elf, uid=status.st_uid, mode=status.st_mode)


def _check_whole(want: Want, on_disk: OnDisk, read_at: ReadAt) -> None:
    """Raises Refused for a file of the right ID that lacks what was loaded of it: the debug file that was stripped off
    it has that ID, too, and so has a copy of it that broke off."""
    if want.kind != LOADED or read_at(0, len(MAGIC)) != MAGIC:  # a kernel's module may lie there compressed
        return
    elf, size = on_disk.elf, on_disk.identity.size
    if elf.debug_only:
        raise Refused("it holds debug information only")
    header = elf.header
    # BFD takes nothing whose section table is cut off (elfcode.h, elf_object_p).
    end = header.shoff + max(header.shnum, 1) * header.shentsize if header.shoff else 0
    if header.phentsize == segment_size(header):
        raw = read_at(header.phoff, header.phnum * header.phentsize)
        end = max([end] + [one.offset + one.filesz for one in iter_segments(header, raw) if one.type == PT_LOAD])
    if end > size:
        raise Refused("it is cut off: it has %d of %d bytes" % (size, end))


def _skeletons(want: Want, on_disk: OnDisk, descriptor: int) -> Tuple[split.Skeleton, ...]:
    """The units of which this file has but a skeleton; a kernel is never built so."""
    if want.release is not None or want.kind not in (LOADED, DEBUG) or not on_disk.elf.has_debug_info:
        return ()
    return tuple(split.skeletons(reader(descriptor), on_disk.identity.size))


def _needs(lacking: List[Missing]) -> str:
    wants = [one.want for one in lacking]
    if wants[0].build_id:
        return "needs the supplementary file with build ID %s" % wants[0].build_id.hex()
    return "needs %s, which is missing" % ", ".join(wants[0].paths[:1])


def _debug_want(name: str, module: Module, proven: Optional[_Proven]) -> Want:
    """What was stripped from this module: by the build ID, and by the link that the loaded file holds."""
    link = proven.elf.debug_link if proven else None
    return Want(
        kind=DEBUG,
        module=name,
        build_id=module.build_id or (proven.elf.build_id if proven else None),
        paths=(os.fsdecode(link.name),) if link else (),
        crc=link.crc if link else None,
        loaded_at=proven.inside if proven else None,
        loaded_in=proven.root if proven else None,
    )


def _status(attempts: List[Attempt]) -> str:
    outcomes = [attempt.outcome for attempt in attempts]
    if MISMATCH in outcomes:
        return "mismatch"
    return "unverified" if NO_BUILD_ID in outcomes else "missing"
