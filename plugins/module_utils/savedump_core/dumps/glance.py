# SPDX-License-Identifier: Apache-2.0
"""What the first pages of a dump say, for a listing of thousands: who died of what, by headers and notes alone. No
memory is read, no list of modules made, and whether the dump is whole is said only where that is quickly known.

A source that is compressed gives its first bytes only (source/head.py), and does not know its size.
"""

import os
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..elf import notes
from ..elf.header import (
    ET_CORE,
    HEADER_SIZE,
    MAX_SEGMENTS,
    PT_NOTE,
    Header,
    parse_header,
    segment_count,
    segment_size,
)
from ..errors import BadDump
from ..model import Dump, Process
from . import core, unread, vmcore

# Notes of a process; a thread has some four.
MAX_NOTES = 1 << 12
# Headers and notes of a process with one thread and a hundred files take half of this.
_FRONT = 1 << 14
_NOTE_CAPS = {notes.NT_PRPSINFO: 1024, notes.NT_SIGINFO: 1024, notes.NT_AUXV: 1 << 16, notes.NT_FILE: 4 << 20}


class Glance(NamedTuple):
    """A dump as its first pages show it."""

    dump: Dump
    """Without modules and identity; `complete` and `size` are not to be used, but those here."""
    complete: Optional[bool]
    """None: that takes reading it."""
    size: Optional[int]
    """Of the dump, decompressed; None if that takes reading it."""
    claimed_size: Optional[int] = None
    """How long it is by its own headers, if they say."""
    threads: Optional[int] = None


def glance(source: Any) -> Glance:
    """Raises BadDump, which names what it is instead if that is known."""
    head = source.read_at(0, HEADER_SIZE)
    header = parse_header(head)
    if header is not None and header.type == ET_CORE and header.phnum:
        found = _Process(source, header)
        if found.is_kernel or (found.is_kernel is None and vmcore.is_kernel(source)):
            from . import _glance_kernel

            return Glance(*_glance_kernel.elf(source))
        return found.glance()
    from . import _glance_kernel  # imported here, as in dumps.formats()

    kernel = _glance_kernel.other(source)
    if kernel is not None:
        return Glance(*kernel)
    if source.damage and not head:
        raise BadDump("%s: %s" % (source.path, source.damage))
    raise BadDump(*unread.explain(source.path, source.read_at(0, 4096)))


class _Process:
    """A core of a process; or of a kernel, if its notes are a kernel's."""

    def __init__(self, source: Any, header: Header) -> None:
        if header.osabi in core._OTHER_ABI:
            raise core._other_system(source, core._OTHER_ABI[header.osabi])
        self._source = source
        self._header = header
        self._front: bytes = source.read_at(0, _FRONT)
        self.is_kernel: Optional[bool] = None
        """None if the notes do not tell."""
        self._threads = 0
        self._all_threads = True
        self._signal: Optional[int] = None
        self._firsts: Dict[int, bytes] = {}
        self._info: Optional[notes.Info] = None
        self._end = 0
        for offset, size, align in self._segments()[: core.MAX_NOTE_SEGMENTS]:
            try:
                self._read_notes(offset, size, align)
            except notes.NoteError:
                self._all_threads = False

    def _read_at(self, offset: int, size: int) -> bytes:
        if offset + size <= len(self._front):
            return self._front[offset : offset + size]
        return self._source.read_at(offset, size)

    def _segments(self) -> List[Tuple[int, int, int]]:
        """(offset, size, alignment) of the notes. Where the last segment ends is kept on the way."""
        header, source = self._header, self._source
        count, size = segment_count(header, self._read_at), segment_size(header)
        if header.phentsize != size or not 0 < count <= MAX_SEGMENTS:
            raise BadDump("%s: damaged ELF header (%d program headers)" % (source.path, count))
        raw = self._read_at(header.phoff, count * size)
        if len(raw) < count * size and not getattr(source, "ran_out", False):
            raise BadDump(
                "%s is cut within its program headers: nothing of the process is left" % source.path,
                "it has %d bytes; look for a core size limit (ulimit -c) or a full disk" % source.stored_size,
            )
        found = []
        end = 0
        # Type, offset, size in the file and alignment.
        layout = "I4xQ16xQ8xQ" if header.bits == 64 else "II8xI8xI"
        for kind, offset, filesz, align in struct.iter_unpack(header.order + layout, raw[: len(raw) // size * size]):
            if offset + filesz > end:
                end = offset + filesz
            if kind == PT_NOTE:
                found.append((offset, filesz, align))
        self._end = end if len(raw) == count * size else 0
        return found

    def _read_notes(self, offset: int, size: int, align: int) -> None:
        """As notes.walk, without a value for each: most notes are passed over."""
        unpack, window = struct.Struct(self._header.order + "III").unpack_from, self._front
        at, end = offset, offset + size
        for _count in range(MAX_NOTES):
            if at + 12 > end:
                return
            if at + 12 > len(window):
                break
            name_size, desc_size, kind = unpack(window, at)
            desc = at + 12 + (name_size + 3 & ~3)
            if align == 8 or desc + desc_size > end or not (name_size or desc_size or kind) or name_size > 256:
                break
            if desc + desc_size > len(window):
                break
            self._take(window[at + 12 : at + 12 + name_size].rstrip(b"\0"), kind, desc, desc_size)
            if self.is_kernel:
                return
            at = desc + (desc_size + 3 & ~3)
        read_at = self._source.read_at
        for number, note in enumerate(notes.walk(read_at, self._header.order, at, end - at, align)):
            if number >= MAX_NOTES:
                self._all_threads = False
                return
            self._take(note.name, note.type, note.offset, note.size)
            if self.is_kernel:
                return

    def _take(self, name: bytes, kind: int, at: int, size: int) -> None:
        if name == b"LINUX":
            return
        if name == b"CORE" and kind == notes.NT_PRSTATUS:
            self._threads += 1
            if self._signal is None:
                status = notes.status(self._read_at(at, min(size, 64)), self._header)
                self._signal = status.signal if status else None
        elif name == b"CORE" and kind in _NOTE_CAPS:
            if kind in self._firsts or size > _NOTE_CAPS[kind]:
                return
            self._firsts[kind] = self._read_at(at, size)
            if kind != notes.NT_PRPSINFO:
                self.is_kernel = False
                return
            # s390's /proc/vmcore has one: see vmcore.py.
            self._info = notes.info(self._firsts[kind], self._header)
            self.is_kernel = None if self._info is None else self._info.comm == b"vmlinux"
        elif name.startswith(vmcore._KERNEL_NOTES):
            self.is_kernel = True
        else:
            core._refuse_foreign(self._source, notes.Note(name, kind, at, size))

    def glance(self) -> Glance:
        source, header, info = self._source, self._header, self._info
        siginfo = notes.siginfo(self._firsts.get(notes.NT_SIGINFO, b""), header)
        complete, why = self._completeness()
        process = Process(
            pid=info.pid if info else None,
            comm=os.fsdecode(info.comm) if info else None,
            args=os.fsdecode(info.args) if info else None,
            execfn=None,
            executable=self._executable(),
            uid=info.uid if info else None,
            gid=info.gid if info else None,
            signal=core._signal(header, self._signal, siginfo),
            threads=self._threads,
        )
        dump = Dump(
            path=source.path,
            size=0,
            stored_size=source.stored_size,
            compression=source.compression,
            kind=core.KIND,
            machine=header.machine_name,
            bits=header.bits,
            endian="little" if header.order == "<" else "big",
            os="linux",
            complete=bool(complete),
            incomplete_why=why,
            process=process,
            modules=(),
            identity="",
            mtime_ns=source.mtime_ns,
        )
        return Glance(
            dump=dump,
            complete=complete,
            size=None if source.compression else source.size,
            claimed_size=self._end or None,
            threads=self._threads if self._all_threads and self._threads else None,
        )

    def _completeness(self) -> Tuple[Optional[bool], Optional[str]]:
        source = self._source
        if source.damage:
            return False, source.damage
        return (None, None) if source.compression or not self._end else core._completeness(source, self._end)

    def _executable(self) -> Optional[str]:
        """The file that AT_PHDR lies in; None for `ld.so PROGRAM`, where only the dynamic linker's list tells."""
        auxv = notes.auxv(self._firsts.get(notes.NT_AUXV, b""), self._header)
        address = auxv.get(notes.AT_PHDR) or auxv.get(notes.AT_ENTRY)
        path = _mapped_at(self._firsts.get(notes.NT_FILE, b""), self._header, address) if address else None
        if path is None or (not auxv.get(notes.AT_BASE) and os.path.basename(path).startswith(b"ld")):
            return None
        name = os.fsdecode(path)
        return name[: -len(core.DELETED)] if name.endswith(core.DELETED) else name


def _mapped_at(desc: bytes, header: Header, address: int) -> Optional[bytes]:
    """The path that NT_FILE gives for this address: see notes.file_rows."""
    word, letters = header.word_size, header.order + header.word[1] * 3
    if len(desc) < 2 * word:
        return None
    count = struct.unpack_from(header.word, desc)[0]
    names_at = 2 * word + count * 3 * word
    if names_at > len(desc):
        return None
    for index, (start, end, _offset) in enumerate(struct.iter_unpack(letters, desc[2 * word : names_at])):
        if start <= address < end:
            names = desc[names_at:].split(b"\0", index + 1)
            return names[index] if len(names) > index + 1 else None
    return None
