# SPDX-License-Identifier: Apache-2.0
"""The nouns: small immutable values that print, compare and turn into JSON. No input or output here.

Paths are ``str`` decoded once with os.fsdecode (undecodable bytes are surrogates). Build IDs are ``bytes`` inside and
lowercase hex in JSON. Sizes, offsets and addresses are in bytes; addresses become "0x…" strings in JSON.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

Json = Dict[str, Any]

# The name of the one image that no file on any disk holds: the kernel's own.
VDSO = "[vdso]"

# "auto" is tar.zst where the host can write it, else tar.gz.
ARCHIVE_FORMATS = ("tar.gz", "tar.zst", "tar", "auto")

# The name of the module that is the kernel itself, as drgn's and crash's users call its file.
VMLINUX = "vmlinux"

# What a Want is for. The words are drgn's: a loaded file is what was mapped, a debug file holds what was stripped from
# it, a supplementary file (dwz) holds what several debug files share; a split one (.dwo, or .dwp for all of a file's)
# holds what the compiler left out of the object file.
LOADED = "loaded"
DEBUG = "debug"
SUPPLEMENTARY = "supplementary"
SPLIT = "split"

# How a file came to be trusted. Everything but BY_BUILD_ID is said wherever the file is listed.
BY_BUILD_ID = "build-id"
BY_GO_BUILD_ID = "go-build-id"
BY_DWO_ID = "dwo-id"
BY_CRC = "crc"
BY_BANNER = "linux-banner"
BY_PAGES = "pages"
"""The file is the same wherever the dump holds pages of it, and not only its first."""
BY_HEADER = "header"
"""The same, but nothing of it was dumped besides its first page."""
BY_DUMP = "dump"
"""It was rebuilt from the pages in the dump."""
BY_SYMBOLS = "symbols"
"""Of a System.map: every symbol that VMCOREINFO gives has the same address."""
BY_PATH = "path"

# What came of looking at one place.
MATCH = "match"
ABSENT = "absent"
MISMATCH = "other-build-id"
UNREADABLE = "unreadable"
REFUSED = "refused"
NO_BUILD_ID = "no-build-id"


class Mapping(NamedTuple):
    """One row of NT_FILE."""

    start: int
    end: int
    offset: int
    """Byte offset into the file (NT_FILE counts pages; this does not)."""
    path: str
    """As the kernel printed it at dump time; may end in " (deleted)"."""


class Piece(NamedTuple):
    """A run of bytes of a mapped file that the dump holds."""

    offset: int
    """Where in the mapped file."""
    at: int
    """Where in the dump."""
    size: int
    writable: bool
    """True if the process may have changed them: of a writable segment, by the file's own program headers."""


class Module(NamedTuple):
    """Executable, shared object or vDSO that was mapped when the process died."""

    name: str
    """The link map's name if it has one, else the path, else the SONAME or "[vdso]"."""
    path: Optional[str]
    """The real path NT_FILE gives, without " (deleted)"; None for an image no file backs."""
    names: Tuple[str, ...]
    """Every other name it was loaded by (link_map), in order of appearance; may be relative."""
    build_id: Optional[bytes]
    build_id_why: Optional[str]
    """Why build_id is None, else None."""
    start: int
    end: int
    executable: bool
    """True for the one module that AT_PHDR lies in."""
    deleted: bool = False
    """True if the kernel said that the file was unlinked when the dump was made."""
    soname: Optional[str] = None
    go_build_id: Optional[bytes] = None
    """What Go's linker writes where others write a build ID: text, "ACTION/…/CONTENT"."""
    pieces: Tuple[Piece, ...] = ()
    """What the dump holds of its file, by rising offset; read only where a module has no build ID or all of it is in
    the dump."""


class Signal(NamedTuple):
    """Why the process died."""

    number: int
    name: Optional[str]
    code: Optional[int]
    """si_code; None if the dump has no NT_SIGINFO."""
    address: Optional[int]
    """si_addr of the signals that carry one, else None."""


class Process(NamedTuple):
    """The process a core is of. None where the dump's notes do not say."""

    pid: Optional[int]
    comm: Optional[str]
    args: Optional[str]
    """pr_psargs: at most 80 bytes, arguments joined by spaces."""
    execfn: Optional[str]
    executable: Optional[str]
    uid: Optional[int]
    gid: Optional[int]
    signal: Optional[Signal]
    threads: int


class Part(NamedTuple):
    """Another file of a set that makedumpfile --split wrote, besides the one that was named."""

    path: str
    size: int
    mtime_ns: int


class Dump(NamedTuple):
    """One opened dump: everything its own bytes say, and nothing looked up elsewhere."""

    path: str
    size: int
    """Of the dump itself, decompressed; bytes that are there, when the dump is truncated."""
    stored_size: int
    """Of the file as it lies on disk."""
    compression: Optional[str]
    kind: str
    machine: str
    bits: int
    endian: str
    os: str
    complete: bool
    incomplete_why: Optional[str]
    process: Optional[Process]
    modules: Tuple[Module, ...]
    identity: str
    """16 hex digits that tell this dump from any other of the same name: see dumps.identity_of."""
    mtime_ns: int
    """Last change of the dump file, nanoseconds since the epoch."""
    warnings: Tuple[str, ...] = ()
    """What was odd in the dump (a note that overruns, a cap that was reached), one sentence each."""
    kernel: Optional[Json] = None
    """For kernel dumps; None for a userland core."""
    modules_why: Optional[str] = None
    """Why the list of modules is not whole, else None."""
    parts: Tuple[Part, ...] = ()
    """Of a split set: the other parts, in the order of memory; `path` is the one that was named, wherever it stands
    among them."""
    dmesg: Optional[bytes] = None
    """The kernel's log as text, if the dump is a kernel's and has it."""
    vmcoreinfo: Optional[bytes] = None
    """VMCOREINFO as text, if the dump's headers lack it and it was found in memory: debuggers have to be given it."""
    config: Optional[bytes] = None
    """The kernel's configuration as text, if the kernel carries it (CONFIG_IKCONFIG)."""


class Want(NamedTuple):
    """One needed file."""

    kind: str
    """LOADED, DEBUG, SUPPLEMENTARY or SPLIT."""
    module: str
    """On whose behalf: the Module's name."""
    build_id: Optional[bytes]
    paths: Tuple[str, ...]
    """Where the dump (LOADED) or a found file's link (DEBUG, SUPPLEMENTARY) says that it is."""
    crc: Optional[int] = None
    """The CRC-32 that .gnu_debuglink gives, for a DEBUG want with no build ID."""
    loaded_at: Optional[str] = None
    """Where the LOADED file was found, for finders that look beside it."""
    loaded_in: Optional[str] = None
    """The root that `loaded_at` is in, where it is not the sysroot."""
    release: Optional[str] = None
    """For vmlinux and kernel modules: the kernel's release, as uname -r prints it."""
    banner: Optional[bytes] = None
    """For a vmlinux of unknown build ID: the kernel's linux_banner, which its file holds, too."""
    go_build_id: Optional[bytes] = None
    """For a LOADED want with no build ID."""
    pieces: Tuple[Piece, ...] = ()
    """For a LOADED want: what the dump holds of the file."""
    dwo_ids: Tuple[int, ...] = ()
    """For a SPLIT want: the units that the file has to hold."""


class Candidate(NamedTuple):
    """A place a Finder proposes. Search alone decides."""

    path: str
    finder: str
    named_by_dump: bool = False
    """True if the path comes from the dump's own words: then it is opened with the rights of the dump's owner."""
    folder: Optional[str] = None
    """The folder beneath which the path is to be resolved; None for the sysroot."""
    origin: Optional[str] = None
    """Where the file was taken from just now: a URL without password, or a package with the path inside it."""
    root: Optional[str] = None
    """Another root on this host, such as /proc/12/root, beneath which the path is resolved, never out of it; None for
    the sysroot."""
    descriptor: Optional[int] = None
    """Open on the file, where no path leads to it (it was deleted, or taken out of a package): search closes it."""
    trusted: Optional[str] = None
    """BY_CRC and its like, for a file of a verified archive whose manifest says that it was matched so: what proved it
    then may be gone."""
    by_name: bool = False
    """True if it was proposed for its base name alone: another build at another path is no news of the wanted file."""


class Attempt(NamedTuple):
    """One place looked at, and what came of it."""

    finder: str
    path: str
    outcome: str
    """MATCH, ABSENT, MISMATCH, NO_BUILD_ID, UNREADABLE or REFUSED."""
    detail: str = ""
    """The other build ID in hex, the error's text, or the reason for a refusal."""


class Cut(NamedTuple):
    """A section of a found file that its copy does without: the copy has a hole there, and SHT_NULL as its type."""

    name: str
    offset: int
    size: int
    type_at: int
    """Where the file holds the section's sh_type."""


class Package(NamedTuple):
    """What a distribution calls the thing that a file came in."""

    name: str
    version: str
    """"" if nothing tells it."""
    kind: str
    """deb, rpm, apk, alpm or as the file's own .note.package says."""


class Found(NamedTuple):
    """A Want that was met."""

    want: Want
    at: str
    """The path on this host (below the sysroot that was given)."""
    matched_by: str
    """BY_BUILD_ID, BY_CRC, BY_BANNER or BY_PATH."""
    size: int
    build_id: Optional[bytes]
    """The file's own build ID."""
    attempts: Tuple[Attempt, ...]
    mtime_ns: int = 0
    """Last change of the file when it was proven: archive refuses one that changed since."""
    inside: str = ""
    """`at` as seen from inside the sysroot or the folder of --search-path that it was found in."""
    spare: Tuple[Cut, ...] = ()
    """For vmlinux: what no debugger reads."""
    descriptor: Optional[int] = None
    """Open on the file, where `at` is no path that can be opened, or may not be for long: its Held closes it."""
    features: Tuple[str, ...] = ()
    """What of the file not every debugger reads: see elf.file.ElfFile."""
    package_note: Optional[bytes] = None
    """Its .note.package, see elf.file.ElfFile."""
    package: Optional[Package] = None


class Missing(NamedTuple):
    """A Want that was not met, with every place tried."""

    want: Want
    status: str
    """"mismatch" if a file was there under another build ID, "unverified" if nothing can prove the file that is
    there, else "missing"."""
    attempts: Tuple[Attempt, ...]
    package: Optional[Package] = None
    """Which package would hold it, if that is known."""
    command: Optional[str] = None
    """What to type to fill the gap."""


Result = Union[Found, Missing]


class ModuleFiles(NamedTuple):
    """A Module and the verdict on each file that it needs."""

    module: Module
    file: Optional[Result]
    """None for the vDSO, which no disk holds."""
    debug: Optional[Result] = None
    """Found at the same place as `file` if that holds its own debug information."""
    supplementary: Optional[Result] = None
    """None if the debug information needs no supplementary (dwz) file."""
    split: Tuple[Result, ...] = ()
    """The .dwp or .dwo files, if the debug information is split."""

    @property
    def results(self) -> List[Result]:
        results = (self.file, self.debug, self.supplementary) + self.split
        return [result for result in results if result is not None]


class Findings(NamedTuple):
    """What the search came to."""

    files: Tuple[ModuleFiles, ...]
    thread_db: Optional[Found] = None
    """The libthread_db that lies beside the libc that was found: gdb reads thread-locals with it."""

    @property
    def missing(self) -> List[Missing]:
        """Every want that was not met, each once."""
        unique: List[Missing] = []
        for files in self.files:
            unique.extend(r for r in files.results if isinstance(r, Missing) and r not in unique)
        return unique

    @property
    def gaps(self) -> List[Missing]:
        """The missing files that make an archive incomplete. Of a process: loaded ones, and what the debug information
        that is packed is not whole without; a missing debug file is listed, but a host without debug packages still
        makes a complete archive (docs/principles.md). Of a kernel: all but the loaded file of a module whose debug file
        is there, for nothing opens without the rest."""
        return [missing for missing in self.missing if not self._dispensable(missing)]

    def _dispensable(self, missing: Missing) -> bool:
        want = missing.want
        if want.kind in (SUPPLEMENTARY, SPLIT):
            return not any(isinstance(files.debug, Found) for files in self.files if missing in files.results)
        if want.release is None:
            return want.kind == DEBUG
        debug = [files.debug for files in self.files if files.module.name == want.module]
        return want.kind == LOADED and want.module != VMLINUX and isinstance(debug[0], Found)


class SearchOptions(NamedTuple):
    """Where to look beyond the places every host has."""

    search_paths: Tuple[str, ...] = ()
    sysroot: str = "/"
    allow_unverified: bool = False
    """Pack a file that nothing but its path speaks for; it is marked so."""
    whole_vmlinux: bool = False
    """Keep what no debugger reads of vmlinux, too."""
    gdb_scripts: bool = False
    """Pack the scripts that gdb would load for the files, such as pretty printers. None of them can be proven."""


class Entry(NamedTuple):
    """One member of the archive to be written: a file on this host, content made here, or a symbolic link."""

    path: str
    """Beneath the archive's top folder; relative, with no "." or ".." in it."""
    role: str
    """launcher, link, executable, library, debug, supplementary, dwp, dwo, gdb-script, thread-db or dump; of a kernel
    dump also vmlinux, kernel-module, system-map, dmesg, config, vmcoreinfo and beside (what the crash kernel wrote
    beside the dump)."""
    size: int = 0
    origin: Optional[str] = None
    """The file on this host whose bytes it gets."""
    descriptor: Optional[int] = None
    """Open on that file, if `origin` is no path to open."""
    mtime_ns: Optional[int] = None
    """That file's last change when it was proven."""
    build_id: Optional[bytes] = None
    matched_by: Optional[str] = None
    target: Optional[str] = None
    """For a symbolic link: where it points, relative to its own folder."""
    data: Optional[bytes] = None
    """The content of what is made here."""
    mode: int = 0o600
    cuts: Tuple[Cut, ...] = ()
    """What of the file is left out."""


class Plan(NamedTuple):
    """What an archive will hold, in order, and what it will lack."""

    name: str
    """The top folder's name: archive-<dump name>."""
    dump: Dump
    findings: Findings
    entries: Tuple[Entry, ...]
    """All members but manifest.json and SHA256SUMS, in order; the dump is the last."""

    @property
    def size(self) -> int:
        """Bytes to be read, before compression and without the dump's holes taken off."""
        return sum(entry.size for entry in self.entries)

    @property
    def complete(self) -> bool:
        """True if the dump is whole, says which program it is of and what that had loaded, and every file that was
        mapped is here and proven."""
        known = any(files.module.executable for files in self.findings.files) and self.dump.modules_why is None
        return self.dump.complete and known and not self.findings.gaps
