# SPDX-License-Identifier: Apache-2.0
"""Userland core dumps as the Linux kernel writes them (fs/binfmt_elf.c, fs/coredump.c), in one file of ELF."""

import bisect
import os
from collections import OrderedDict
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..elf import image, linkmap, notes
from ..elf.header import (
    ET_CORE,
    HEADER_SIZE,
    MAX_SEGMENTS,
    PF_W,
    PF_X,
    PT_INTERP,
    PT_NOTE,
    PT_PHDR,
    Header,
    ReadAt,
    Segment,
    iter_segments,
    parse_header,
    parse_segments,
    segment_count,
    segment_size,
)  # fmt: skip
from ..elf.image import Image
from ..elf.memory import Memory
from ..errors import BadDump
from ..model import VDSO, Dump, Module, Process, Signal
from ..sysroot import Refused, Sysroot, open_regular
from . import _pieces

KIND = "core"

DELETED = " (deleted)"
# One file mapped again and again (a JIT's trick, or an attack) is looked at this often and no more.
MAX_IMAGES_PER_PATH = 64
MAX_MODULES = 8192
# Headers, notes and dynamic section of an image take some 3 KiB.
MAX_IMAGE_BYTES = 32 << 20
# Images asked for DT_DEBUG where the main program does not tell.
MAX_DEBUG_IMAGES = 64
MAX_NAMES_PER_MODULE = 64
MAX_NOTE_SEGMENTS = 16
MAX_WARNINGS = 16
_WRITABLE_KEPT = 1 << 20
_NOTE_CAPS = {
    notes.NT_PRPSINFO: 1024, notes.NT_SIGINFO: 1024, notes.NT_AUXV: 1 << 16, notes.NT_FILE: notes.MAX_DESC,
}  # fmt: skip

# EI_OSABI and note names of other systems' cores: FreeBSD sys/elf_common.h, NetBSD core(5), OpenBSD core(5),
# illumos usr/src/uts/common/sys/elf.h.
_OTHER_ABI = {1: "HP-UX", 2: "NetBSD", 6: "Solaris", 7: "AIX", 8: "IRIX", 9: "FreeBSD", 12: "OpenBSD"}
_OTHER_NOTES = ((b"FreeBSD", "FreeBSD"), (b"NetBSD-CORE", "NetBSD"), (b"OpenBSD", "OpenBSD"), (b"QNX", "QNX"))
_NT_SOLARIS_PSTATUS, _NT_SOLARIS_PSINFO = 10, 13

# Numbers that every Linux machine shares (arch/*/include/uapi/asm/signal.h); the rest differ on these.
_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 8: "SIGFPE", 9: "SIGKILL",
    11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
}  # fmt: skip
_SIGNALS_COMMON = {7: "SIGBUS", 10: "SIGUSR1", 12: "SIGUSR2", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS"}
_SIGNALS_MIPS = {7: "SIGEMT", 10: "SIGBUS", 12: "SIGSYS", 16: "SIGUSR1", 17: "SIGUSR2", 30: "SIGXCPU", 31: "SIGXFSZ"}
_SIGNALS_SPARC = {7: "SIGEMT", 10: "SIGBUS", 12: "SIGSYS", 24: "SIGXCPU", 25: "SIGXFSZ", 30: "SIGUSR1", 31: "SIGUSR2"}
_WITH_ADDRESS = (4, 5, 7, 8, 10, 11)


class _Notes(NamedTuple):
    """What the PT_NOTE segments hold."""

    threads: int
    signal: Optional[Signal]
    info: Optional[notes.Info]
    auxv: Dict[int, int]
    rows: List[notes.FileRow]


def sniff(source: Any) -> bool:
    """True for any ELF core, whoever made it: those of kernels were claimed before (vmcore.py)."""
    header = parse_header(source.read_at(0, HEADER_SIZE))
    return header is not None and header.type == ET_CORE


def open_dump(source: Any, sysroot: Sysroot) -> Dump:
    """Read a core. `sysroot` is only looked at when the program's own headers were not dumped (coredump_filter without
    bit 4). Raises BadDump for another system's core, or one cut within its program headers."""
    warnings: List[str] = []
    header = parse_header(source.read_at(0, HEADER_SIZE))
    if header is None:
        raise BadDump("%s: the ELF header is cut" % source.path)
    if header.osabi in _OTHER_ABI:
        raise _other_system(source, _OTHER_ABI[header.osabi])
    raw = _read_segments(source, header)
    found = _read_notes(source, header, [one for one in iter_segments(header, raw) if one.type == PT_NOTE], warnings)
    end = max(one.offset + one.filesz for one in iter_segments(header, raw))
    source.expect(end)
    memory = Memory(header, iter_segments(header, raw), source.read_at)
    _announce(source, memory, found)
    modules, all_modules = _modules(source, memory, header, found, sysroot, warnings)
    complete, why = _completeness(source, end)
    if not all_modules:
        complete, why = False, why or "it has more modules than are read (%d were): the rest is unknown" % len(modules)
    executable = next((module for module in modules if module.executable), None)
    if executable is None:
        warnings.append("it does not say which program it is of, so that nothing proves its files to be all")
    execfn = memory.string(found.auxv[notes.AT_EXECFN]) if notes.AT_EXECFN in found.auxv else None
    info = found.info
    return Dump(
        path=source.path,
        size=source.size,
        stored_size=source.stored_size,
        compression=source.compression,
        kind=KIND,
        machine=header.machine_name,
        bits=header.bits,
        endian="little" if header.order == "<" else "big",
        os="linux",
        complete=complete,
        incomplete_why=why,
        process=Process(
            pid=info.pid if info else None,
            comm=os.fsdecode(info.comm) if info else None,
            args=os.fsdecode(info.args) if info else None,
            execfn=_text(execfn),
            executable=executable.path if executable else None,
            uid=info.uid if info else None,
            gid=info.gid if info else None,
            signal=found.signal,
            threads=found.threads,
        ),
        modules=tuple(modules),
        identity="",
        mtime_ns=source.mtime_ns,
        warnings=_some(warnings),
    )


def _some(warnings: List[str]) -> Tuple[str, ...]:
    more = len(warnings) - MAX_WARNINGS
    return tuple(warnings[:MAX_WARNINGS] + (["%d more like these" % more] if more > 0 else []))


def _text(data: Optional[bytes]) -> Optional[str]:
    return None if data is None else os.fsdecode(data)


def _other_system(source: Any, name: str) -> BadDump:
    return BadDump("%s is a core of %s, not of Linux" % (source.path, name), "open it with that system's debugger")


def _read_segments(source: Any, header: Header) -> bytes:
    """The program headers, whole."""
    count = segment_count(header, source.read_at)
    if header.phentsize != segment_size(header):
        raise BadDump("%s: damaged ELF header (e_phentsize is %d)" % (source.path, header.phentsize))
    if not 0 < count <= MAX_SEGMENTS:
        raise BadDump("%s: damaged ELF header (%d program headers)" % (source.path, count))
    raw = source.read_at(header.phoff, count * header.phentsize)
    if len(raw) < count * header.phentsize:
        raise BadDump(
            "%s is cut within its program headers: nothing of the process is left" % source.path,
            "it has %d bytes; look for a core size limit (ulimit -c) or a full disk" % source.size,
        )
    return raw


def _read_notes(source: Any, header: Header, segments: List[Segment], warnings: List[str]) -> _Notes:
    threads, signal_number = 0, None
    firsts: Dict[int, bytes] = {}
    if len(segments) > MAX_NOTE_SEGMENTS:
        warnings.append("%d note segments: the first %d are read" % (len(segments), MAX_NOTE_SEGMENTS))
    for segment in segments[:MAX_NOTE_SEGMENTS]:
        try:
            for note in notes.walk(source.read_at, header.order, segment.offset, segment.filesz, segment.align):
                _refuse_foreign(source, note)
                if note.name != b"CORE":
                    continue
                if note.type == notes.NT_PRSTATUS:
                    threads += 1
                    if signal_number is None:
                        status = notes.status(source.read_at(note.offset, min(note.size, 64)), header)
                        signal_number = status.signal if status else None
                elif note.type in _NOTE_CAPS and note.type not in firsts:
                    if note.size > _NOTE_CAPS[note.type]:
                        raise notes.NoteError("a note of type 0x%x has %d bytes" % (note.type, note.size))
                    # Only the first of a kind counts, as the kernel writes but one.
                    firsts[note.type] = source.read_at(note.offset, note.size)
        except notes.NoteError as error:
            warnings.append(str(error))
    rows: List[notes.FileRow] = []
    try:
        rows = notes.file_rows(firsts[notes.NT_FILE], header) if notes.NT_FILE in firsts else []
    except notes.NoteError as error:
        warnings.append(str(error))
    if not rows:
        warnings.append("no NT_FILE note: paths are known from the dynamic linker's list only")
    siginfo = notes.siginfo(firsts.get(notes.NT_SIGINFO, b""), header)
    return _Notes(
        threads=threads,
        signal=_signal(header, signal_number, siginfo),
        info=notes.info(firsts.get(notes.NT_PRPSINFO, b""), header),
        auxv=notes.auxv(firsts.get(notes.NT_AUXV, b""), header),
        rows=rows,
    )


def _refuse_foreign(source: Any, note: notes.Note) -> None:
    for name, system in _OTHER_NOTES:
        if note.name.startswith(name):
            raise _other_system(source, system)
    if note.name == b"CORE" and note.type in (_NT_SOLARIS_PSTATUS, _NT_SOLARIS_PSINFO):
        raise _other_system(source, "Solaris")


def _signal(
    header: Header, cursig: Optional[int], siginfo: Optional[Tuple[int, int, Optional[int]]]
) -> Optional[Signal]:
    number = siginfo[0] if siginfo else cursig
    if not number:
        return None
    machine = header.machine_name
    special = _SIGNALS_COMMON
    if machine.startswith("mips"):
        special = _SIGNALS_MIPS
    elif machine.startswith(("sparc", "alpha")):
        special = _SIGNALS_SPARC
    elif machine == "hppa":
        special = {}
    return Signal(
        number=number,
        name=_SIGNALS.get(number) or special.get(number),
        code=siginfo[1] if siginfo else None,
        address=siginfo[2] if siginfo and number in _WITH_ADDRESS else None,
    )


def _completeness(source: Any, end: int) -> Tuple[bool, Optional[str]]:
    """Whether the dump reaches the end of its last segment, and if not, why that may be."""
    # Asked for first: a compressed stream has to be read to its end before its damage is known.
    size = source.size
    if source.damage:
        return False, "%s; %d bytes could be read" % (source.damage, size)
    if size >= end:
        return True, None
    missing = end - size
    return False, (
        "it is cut: %d of %d bytes are there, %d (%.1f %%) are missing; a core size limit (ulimit -c), a full disk, "
        "or it is still being written" % (source.size, end, missing, 100.0 * missing / end)
    )


def _announce(source: Any, memory: Memory, found: _Notes) -> None:
    """Tell a compressed source what the rest will read: the first page of each mapped file, the small writable
    segments where the dynamic linker keeps its lists, and the stack's end with the program's name."""
    if source.compression is None:
        return
    heads = {row.start for row in found.rows if row.offset == 0}
    named = [found.auxv[key] for key in (notes.AT_PHDR, notes.AT_EXECFN, notes.AT_SYSINFO_EHDR) if key in found.auxv]
    ranges: List[Tuple[int, int]] = []
    for address in named:
        load = memory.load_at(address)
        if load is not None:
            ranges.append((load.offset + address - load.vaddr, 4096))
    for load in memory.loads():
        if load.filesz and (load.vaddr in heads or not found.rows):
            ranges.append((load.offset, 4096))
        if load.filesz and load.flags & PF_W:
            ranges.append((load.offset, min(load.filesz, _WRITABLE_KEPT)))
    source.prefetch(ranges)


def _modules(
    source: Any, memory: Memory, header: Header, found: _Notes, sysroot: Sysroot, warnings: List[str]
) -> Tuple[List[Module], bool]:
    """The modules, the executable first, and whether these are all."""
    images, all_images = _images(memory, found)
    layout = _Layout(images, found.rows)
    maps, problems = _link_maps(memory, header, found, layout, sysroot)
    warnings.extend(problems)
    names = _names(maps, layout)
    executable = _executable(found, maps, layout)
    interpreter = layout.owner(found.auxv.get(notes.AT_BASE))
    if interpreter is not None and interpreter not in names:
        names[interpreter] = _interpreter_on_disk(layout.row_at(found.auxv.get(notes.AT_PHDR, 0)), sysroot)
    vdso = found.auxv.get(notes.AT_SYSINFO_EHDR)
    pieces = _pieces.pieces_of(source, memory, layout.images, layout.row_at, warnings)
    modules = []
    for path, one in layout.images:
        if path is None and one.base == vdso:
            modules.append(_module(None, [], VDSO, one.build_id, one.build_id_why, one.base, one.end, False))
            continue
        others, soname = names.get(one.base, []), _text(one.soname)
        if path is None and not others and soname is None and one.build_id is None:
            continue
        module = _module(
            path, others, soname, one.build_id, one.build_id_why, one.base, one.end, one.base == executable
        )
        modules.append(module._replace(go_build_id=one.go_build_id, pieces=pieces.get(one.base, ())))
    seen = {path for path, _one in layout.images}
    for path, rows in layout.by_path.items():
        start, others = rows[0].start, names.get(rows[0].start, [])
        if path in seen or not (others or start == executable or _is_code(memory, rows)):
            continue
        why = "its ELF header is not in the dump (coredump_filter)"
        modules.append(_module(path, others, None, None, why, start, rows[-1].end, start == executable))
    modules.sort(key=lambda module: (not module.executable, module.start))
    return modules[:MAX_MODULES], all_images and len(modules) <= MAX_MODULES


def _module(
    path: Optional[bytes], names: List[bytes], soname: Optional[str], build_id: Optional[bytes], why: Optional[str],
    start: int, end: int, executable: bool,
) -> Module:  # fmt: skip
    shown = _text(path)
    deleted = shown is not None and shown.endswith(DELETED)
    if deleted and shown is not None:
        shown = shown[: -len(DELETED)]
    others = tuple(name for name in (os.fsdecode(raw) for raw in names) if name and name != shown)
    return Module(
        name=next(iter(others), None) or shown or soname or "0x%x" % start,
        path=shown,
        names=others,
        build_id=build_id,
        build_id_why=why,
        start=start,
        end=end,
        executable=executable,
        deleted=deleted,
        soname=soname,
    )


class _Layout:
    """Who owns an address: the images that were dumped, and NT_FILE's rows where they were not."""

    def __init__(self, images: List[Tuple[Optional[bytes], Image]], rows: List[notes.FileRow]) -> None:
        self.images = images
        """(path, image) by rising address."""
        self.by_path: OrderedDict[bytes, List[notes.FileRow]] = OrderedDict()
        self._rows = sorted(rows)
        for row in self._rows:
            self.by_path.setdefault(row.path, []).append(row)
        self._bases = [one.base for _path, one in images]
        self._starts = [row.start for row in self._rows]

    def image_at(self, address: int) -> Optional[Image]:
        index = bisect.bisect_right(self._bases, address) - 1
        return self.images[index][1] if index >= 0 and address < self.images[index][1].end else None

    def row_at(self, address: int) -> Optional[notes.FileRow]:
        index = bisect.bisect_right(self._starts, address) - 1
        return self._rows[index] if index >= 0 and address < self._rows[index].end else None

    def owner(self, address: Optional[int]) -> Optional[int]:
        """The start address of the module that this address lies in."""
        if not address:
            return None
        one = self.image_at(address)
        if one is not None:
            return one.base
        row = self.row_at(address)
        return self.by_path[row.path][0].start if row else None


def _images(memory: Memory, found: _Notes) -> Tuple[List[Tuple[Optional[bytes], Image]], bool]:
    """Every ELF image whose header was dumped: at each first page of a mapped file, and at each segment's start that no
    file backs (the vDSO; everything, if NT_FILE is missing). And whether these are all: False where a cap was reached.
    """
    backed = {row.start for row in found.rows}
    starts: List[Tuple[int, Optional[bytes]]] = [(row.start, row.path) for row in found.rows if row.offset == 0]
    starts += [(one.vaddr, None) for one in memory.loads() if one.vaddr not in backed and memory.is_elf(one)]
    images: List[Tuple[Optional[bytes], Image]] = []
    spans: Dict[Optional[bytes], List[Tuple[int, int]]] = {}
    for start, path in sorted(starts, key=lambda pair: pair[0]):
        if len(images) > MAX_MODULES or memory.bytes_read > MAX_IMAGE_BYTES:
            return images, False
        inside = spans.setdefault(path, [])
        if path is not None and len(inside) >= MAX_IMAGES_PER_PATH:
            continue
        # A small program maps its first page twice, for text and for data: that is not a second image.
        if inside and inside[-1][0] <= start < inside[-1][1]:
            continue
        one = image.read_image(memory, start)
        if one is not None:
            inside.append((start, max(one.end, start + 1)))
            images.append((path, one))
    return images, True


def _is_code(memory: Memory, rows: List[notes.FileRow]) -> bool:
    """True if any of this file's mappings was executable: the program headers keep the flags of what was not dumped."""
    return any(memory.flags_at(row.start) & PF_X for row in rows)


def _link_maps(
    memory: Memory, header: Header, found: _Notes, layout: _Layout, sysroot: Sysroot
) -> Tuple[List[linkmap.LinkMap], List[str]]:
    """By way of the main program's DT_DEBUG, or of any image that has one that was filled in."""
    main = _main_dynamic(memory, header, found, layout, sysroot)
    for dynamic in [main] + [one.dynamic for _path, one in layout.images[:MAX_DEBUG_IMAGES]]:
        r_debug = linkmap.find_r_debug(memory, header, dynamic) if dynamic else None
        if r_debug:
            return linkmap.walk(memory, header, r_debug)
    return [], []


def _names(maps: List[linkmap.LinkMap], layout: _Layout) -> Dict[int, List[bytes]]:
    """Start address of a module to the names its link maps give it; l_ld tells whose a link map is."""
    names: Dict[int, List[bytes]] = {}
    for one in maps:
        start = layout.owner(one.dynamic)
        if not one.name or start is None:
            continue
        known = names.setdefault(start, [])
        if len(known) < MAX_NAMES_PER_MODULE and one.name not in known:
            known.append(one.name)
    return names


def _executable(found: _Notes, maps: List[linkmap.LinkMap], layout: _Layout) -> Optional[int]:
    """Start address of the main program: the first link map's, for with `ld.so prog` AT_PHDR describes ld.so; else
    the one AT_PHDR lies in. Never AT_EXECFN: that is the script of a "#!" program."""
    first = layout.owner(maps[0].dynamic) if maps else None
    return first or layout.owner(found.auxv.get(notes.AT_PHDR)) or layout.owner(found.auxv.get(notes.AT_ENTRY))


def _main_dynamic(
    memory: Memory, header: Header, found: _Notes, layout: _Layout, sysroot: Sysroot
) -> Optional[Tuple[int, int]]:
    """Where the main program's dynamic section lies. AT_PHDR gives its program headers; where that page was not dumped
    they are read from the file, which for this one question need not be proven."""
    address = found.auxv.get(notes.AT_PHDR)
    if not address:
        return None
    placed = layout.image_at(address)
    if placed is not None and placed.dynamic:
        return placed.dynamic
    count, size = found.auxv.get(notes.AT_PHNUM, 0), segment_size(header)
    if found.auxv.get(notes.AT_PHENT) != size or not 0 < count <= image.MAX_IMAGE_SEGMENTS:
        return None
    raw = memory.read_all(address, count * size) or _headers_on_disk(layout.row_at(address), sysroot)
    segments = parse_segments(header, raw)
    own = next((segment for segment in segments if segment.type == PT_PHDR), None)
    return image.dynamic_of(header, segments, address - own.vaddr if own else 0)


def _headers_on_disk(row: Optional[notes.FileRow], sysroot: Sysroot) -> bytes:
    """The program headers of a file that was mapped, read from the disk: it is not proven to be the same file."""
    with _on_disk(row, sysroot) as read_at:
        on_disk = parse_header(read_at(0, HEADER_SIZE))
        if on_disk is None or on_disk.phentsize != segment_size(on_disk):
            return b""
        return read_at(on_disk.phoff, on_disk.phnum * on_disk.phentsize)


def _interpreter_on_disk(row: Optional[notes.FileRow], sysroot: Sysroot) -> List[bytes]:
    """The name that the program gives its dynamic linker (PT_INTERP), for a dump without the page that holds it: the
    link map's name of ld.so points into that page."""
    raw = _headers_on_disk(row, sysroot)
    with _on_disk(row, sysroot) as read_at:
        on_disk = parse_header(read_at(0, HEADER_SIZE))
        if on_disk is None:
            return []
        for segment in iter_segments(on_disk, raw):
            if segment.type == PT_INTERP:
                return [read_at(segment.offset, min(segment.filesz, 4096)).split(b"\0", 1)[0]]
    return []


@contextmanager
def _on_disk(row: Optional[notes.FileRow], sysroot: Sysroot) -> Iterator[ReadAt]:
    """A mapped file as it lies on the disk now; empty if it cannot be read."""
    try:
        if row is None:
            raise FileNotFoundError
        descriptor = open_regular(sysroot.resolve(os.fsdecode(row.path)).host_path)
    except (OSError, Refused):
        yield lambda offset, size: b""
        return
    try:
        yield lambda offset, size: os.pread(descriptor, size, offset) if offset < 1 << 62 else b""
    finally:
        os.close(descriptor)
