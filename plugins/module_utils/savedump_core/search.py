# SPDX-License-Identifier: Apache-2.0
"""Wants times finders to Found or Missing. The only place that decides what a file is: finders propose, this verifies.

A file is what a want asks for if its build ID says so. Where the want has none, a debug file may be proven by the CRC
of .gnu_debuglink; a loaded file by nothing, so that it is taken only when the user insists, and marked.
"""

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Deque, Dict, List, NamedTuple, Optional, Tuple

from .elf.file import ElfFile, crc32, describe, spare_relocations
from .errors import SavedumpError
from .finders import CHAIN
from .model import (
    ABSENT,
    BY_BANNER,
    BY_BUILD_ID,
    BY_CRC,
    BY_PATH,
    DEBUG,
    LOADED,
    MATCH,
    MISMATCH,
    NO_BUILD_ID,
    REFUSED,
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
    Missing,
    Module,
    ModuleFiles,
    Result,
    SearchOptions,
    Want,
)  # fmt: skip
from .source import open_source
from .sysroot import OnDisk, Owner, Refused, Roots, Sysroot, open_regular, read_elf

if TYPE_CHECKING:
    from .web.debuginfod import Client

_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL))


class _Proven(NamedTuple):
    """A Found with what later wants need of it."""

    found: Found
    elf: ElfFile
    inside: str
    """Its path as seen from inside the sysroot."""


def search(
    dump: Dump, options: SearchOptions, owner: Optional[Owner] = None, debuginfod: "Optional[Client]" = None
) -> Findings:
    """Look for every file the dump's modules need. `owner` is whose rights to use for paths that the dump names.
    `debuginfod` is the client of this run; without it one is made if `options` names servers."""
    if debuginfod is None and options.debuginfod_urls:
        from .web.debuginfod import Client  # here, for it takes long to import and few ask for it

        debuginfod = Client(options.debuginfod_urls)
    seeker = _Seeker(dump, options, owner, debuginfod)
    try:
        files = tuple(seeker.files_of(module) for module in dump.modules)
    finally:
        if debuginfod is not None:
            debuginfod.close()
    return Findings(files=files, thread_db=seeker.thread_db(files))


class _Seeker:
    """One search: its roots and the answers so far, for the same file is often wanted twice."""

    def __init__(
        self, dump: Dump, options: SearchOptions, owner: Optional[Owner], debuginfod: "Optional[Client]"
    ) -> None:
        self._machine = dump.machine
        kernel = dump.kernel or {}
        self._release: Optional[str] = kernel.get("release")
        self._banner: Optional[str] = kernel.get("banner")
        self._whole_vmlinux = options.whole_vmlinux
        self._unverified = options.allow_unverified
        self._roots = Roots(Sysroot(options.sysroot), options.search_paths, debuginfod)
        # A sysroot is the caller's word, not the dump's, and may lie where only the caller can look.
        self._owner = owner if self._roots.sysroot.root == "/" else None
        self._answers: Dict[Want, Tuple[Result, Optional[_Proven]]] = {}

    def files_of(self, module: Module) -> ModuleFiles:
        if self._release is not None:
            return self._kernel_files_of(module, self._release)
        if module.name == VDSO and module.path is None:
            return ModuleFiles(module=module, file=None)
        literal = "%s (deleted)" % module.path if module.deleted else None
        paths = _unique((module.path, literal) + module.names)
        name = module.path or module.name
        loaded, proven = self._answer(Want(kind=LOADED, module=name, build_id=module.build_id, paths=paths))
        if proven is not None and proven.elf.has_debug_info:
            return self._with_supplementary(module, loaded, loaded, proven)
        debug, debug_proven = self._answer(_debug_want(name, module, proven))
        return self._with_supplementary(module, loaded, debug, debug_proven)

    def _kernel_files_of(self, module: Module, release: str) -> ModuleFiles:
        """A file that holds everything (Debian's vmlinux and debug modules) is loaded and debug file in one."""
        files, debug_files = _kernel_names(module.name, release)
        banner = os.fsencode(self._banner) if self._banner and module.name == VMLINUX and not module.build_id else None
        want = Want(
            kind=LOADED, module=module.name, build_id=module.build_id, paths=files, release=release, banner=banner
        )
        loaded, proven = self._answer(want)
        if proven is not None and proven.elf.has_debug_info:
            return self._with_supplementary(module, loaded, loaded, proven)
        link = _debug_want(module.name, module, proven)
        want = link._replace(paths=link.paths + debug_files, release=release, banner=banner)
        debug, debug_proven = self._answer(want)
        if debug_proven is not None and isinstance(loaded, Missing) and not debug_proven.elf.debug_only:
            loaded = debug
        return self._with_supplementary(module, loaded, debug, debug_proven)

    def _with_supplementary(
        self, module: Module, loaded: Result, debug: Result, proven: Optional[_Proven]
    ) -> ModuleFiles:
        """A debug file that needs a dwz file is worth nothing without it: gdb 16 refuses a backtrace then."""
        if proven is None or proven.elf.alt_link is None:
            return ModuleFiles(module=module, file=loaded, debug=debug)
        link = proven.elf.alt_link
        want = Want(
            kind=SUPPLEMENTARY, module=debug.want.module, build_id=link.build_id, paths=(os.fsdecode(link.path),),
            loaded_at=proven.inside,
        )  # fmt: skip
        supplementary = self._answer(want)[0]
        if isinstance(supplementary, Missing) and debug is not loaded and isinstance(debug, Found):
            why = "needs the supplementary file with build ID %s" % link.build_id.hex()
            refused = Attempt(finder="search", path=debug.at, outcome=REFUSED, detail=why)
            debug = Missing(want=debug.want, status="missing", attempts=debug.attempts + (refused,))
        return ModuleFiles(module=module, file=loaded, debug=debug, supplementary=supplementary)

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
                return _found(want, on_disk, BY_PATH, ())
        return None

    def _library_folders(self) -> List[str]:
        """Where distributions keep their libraries: Debian's multiarch folders, then /usr/lib64 and /usr/lib."""
        top = self._roots.sysroot.host_path("/usr/lib")
        try:
            names = sorted(name for name in os.listdir(top) if "-linux-gnu" in name)
        except OSError:
            names = []
        return [os.path.join(top, name) for name in names] + [top + "64", top]

    def _answer(self, want: Want) -> Tuple[Result, Optional[_Proven]]:
        key = want._replace(module="")
        if key not in self._answers:
            self._answers[key] = self._look_for(want)
        return self._answers[key]

    def _look_for(self, want: Want) -> Tuple[Result, Optional[_Proven]]:
        attempts: List[Attempt] = []
        tried = set()
        queue: Deque = deque(CHAIN)
        while queue:
            for candidate in queue.popleft().candidates(want, self._roots):
                if isinstance(candidate, Attempt):
                    attempts.append(candidate)
                    continue
                # What was fetched just now has replaced what bore its name in the cache.
                if (candidate.folder, candidate.path) in tried and candidate.origin is None:
                    continue
                tried.add((candidate.folder, candidate.path))
                attempt, on_disk, inside = self._try(want, candidate)
                attempts.append(attempt)
                if attempt.outcome == MATCH and on_disk is not None:
                    found = _found(want, on_disk, attempt.detail or BY_BUILD_ID, tuple(attempts))
                    found = found._replace(inside=inside, spare=self._spare(want, on_disk))
                    return found, _Proven(found, on_disk.elf, inside)
        return Missing(want=want, status=_status(attempts), attempts=tuple(attempts)), None

    def _try(self, want: Want, candidate: Candidate) -> Tuple[Attempt, Optional[OnDisk], str]:
        """Look at one place. A MATCH that is not by build ID has how it was matched as its detail."""
        sysroot = self._roots.sysroot
        inside = shown = candidate.path
        try:
            if candidate.folder is not None:
                shown = candidate.origin or os.path.join(candidate.folder, candidate.path)
                host = os.path.realpath(os.path.join(candidate.folder, candidate.path))
            else:
                shown = sysroot.host_path(candidate.path)
                resolved = sysroot.resolve(candidate.path)
                host, inside = resolved.host_path, resolved.path
            on_disk = _read(host, want, self._owner if candidate.named_by_dump else None)
            outcome, detail = self._judge(want, on_disk)
        except Refused as refusal:
            return Attempt(candidate.finder, shown, REFUSED, str(refusal)), None, inside
        except (OSError, ValueError) as error:
            # ValueError: a path with a NUL byte, which no file can have.
            if isinstance(error, ValueError) or error.errno in _ABSENT:
                return Attempt(candidate.finder, shown, ABSENT), None, inside
            return Attempt(candidate.finder, shown, UNREADABLE, error.strerror or str(error)), None, inside
        return Attempt(candidate.finder, shown, outcome, detail), on_disk, inside

    def _spare(self, want: Want, on_disk: OnDisk) -> Tuple[Cut, ...]:
        if want.module != VMLINUX or want.release is None or self._whole_vmlinux:
            return ()
        with os.fdopen(open_regular(on_disk.host_path), "rb") as file:
            return tuple(spare_relocations(lambda at, n: os.pread(file.fileno(), n, at), on_disk.identity.size))

    def _judge(self, want: Want, on_disk: OnDisk) -> Tuple[str, str]:
        elf = on_disk.elf
        if want.build_id is not None:
            if elf.build_id == want.build_id:
                if want.release is not None and want.kind == LOADED and elf.debug_only:
                    return REFUSED, "it has the build ID but holds debug information only"
                if want.kind == DEBUG and not elf.has_debug_info:
                    return REFUSED, "it has the build ID but no debug information"
                return MATCH, ""
            if elf.build_id is not None or want.crc is None:
                return MISMATCH, elf.build_id.hex() if elf.build_id else "none"
        if want.crc is not None:
            value = _crc_of(on_disk.host_path)
            return (MATCH, BY_CRC) if value == want.crc else (MISMATCH, "CRC %08x" % value)
        if want.banner is not None:
            same = _holds(on_disk.host_path, want.banner)
            return (MATCH, BY_BANNER) if same else (MISMATCH, "it is not the kernel of this banner")
        if elf.header.machine_name != self._machine:
            return MISMATCH, "a file for %s" % elf.header.machine_name
        if self._unverified:
            return MATCH, BY_PATH
        return NO_BUILD_ID, "the dump has no build ID to prove it by"


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
    packed = tuple(name + ".ko" + suffix for name in names for suffix in ("", ".xz", ".zst", ".gz"))
    return packed, tuple(name + suffix for name in names for suffix in (".ko.debug", ".ko"))


def _read(host_path: str, want: Want, owner: Optional[Owner]) -> OnDisk:
    """The ELF file at this path, which may be compressed if it is a kernel's."""
    try:
        return read_elf(host_path, owner)
    except Refused:
        if want.release is None:
            raise
    try:
        with open_source(host_path) as source:
            if source.compression is None:
                raise Refused("not an ELF file")
            elf = describe(source.read_at, source.size)
            status = os.stat(host_path)
    except SavedumpError as error:
        raise Refused(error.message) from None
    return OnDisk(host_path=host_path, identity=source.identity, elf=elf, uid=status.st_uid, mode=status.st_mode)


def _holds(host_path: str, text: bytes) -> bool:
    """True if the file has these bytes anywhere."""
    before = b""
    with os.fdopen(open_regular(host_path), "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            if text in before + chunk:
                return True
            before = chunk[-len(text) :]
    return False


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
    )


def _found(want: Want, on_disk: OnDisk, matched_by: str, attempts: Tuple[Attempt, ...]) -> Found:
    return Found(
        want=want,
        at=on_disk.host_path,
        matched_by=matched_by,
        size=on_disk.identity.size,
        build_id=on_disk.elf.build_id,
        attempts=attempts,
        mtime_ns=on_disk.identity.mtime_ns,
    )


def _crc_of(host_path: str) -> int:
    descriptor = open_regular(host_path)
    with os.fdopen(descriptor, "rb") as file:
        return crc32(iter(lambda: file.read(1 << 20), b""))


def _status(attempts: List[Attempt]) -> str:
    outcomes = [attempt.outcome for attempt in attempts]
    if MISMATCH in outcomes:
        return "mismatch"
    return "unverified" if NO_BUILD_ID in outcomes else "missing"
