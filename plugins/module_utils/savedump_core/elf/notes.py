# SPDX-License-Identifier: Apache-2.0
"""ELF notes: the walk over them, and what the Linux ones in a core and in a file hold.

Layouts: kernel include/linux/elfcore.h, include/uapi/linux/auxvec.h, fs/binfmt_elf.c (fill_files_note).
"""

import itertools
import struct
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from .header import Header, ReadAt

NT_PRSTATUS, NT_PRPSINFO, NT_AUXV = 1, 3, 6
NT_SIGINFO = 0x53494749
NT_FILE = 0x46494C45
NT_GNU_BUILD_ID = 3

AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_BASE, AT_ENTRY, AT_EXECFN, AT_SYSINFO_EHDR = 0, 3, 4, 5, 7, 9, 31, 33

# A thread has some four notes, and pid_max is at most 1 << 22 on no machine that can hold their stacks.
MAX_NOTES = 1 << 20
# kernel.core_file_note_size_limit defaults to 4 MiB and cannot be set above 16 MiB (fs/coredump.c).
MAX_DESC = 16 << 20
# Rows of NT_FILE: what fits into the default limit, several times over.
MAX_ROWS = 1 << 18
# Notes looked through for a build ID in one place.
MAX_FILE_NOTES = 1024
MAX_BUILD_ID = 64
_NAME_CAP = 256
_WINDOW = 1 << 16


class Note(NamedTuple):
    """Where one note's descriptor lies."""

    name: bytes
    type: int
    offset: int
    size: int


class Status(NamedTuple):
    """Of NT_PRSTATUS: the thread's ID and the signal it was stopped by."""

    tid: int
    signal: int


class Info(NamedTuple):
    """Of NT_PRPSINFO."""

    pid: int
    comm: bytes
    args: bytes
    uid: Optional[int]
    gid: Optional[int]


class FileRow(NamedTuple):
    """One row of NT_FILE, with the path's bytes as the kernel wrote them."""

    start: int
    end: int
    offset: int
    path: bytes


class NoteError(Exception):
    """A note that does not fit; the message is fit for Dump.warnings."""


def _up(value: int, align: int) -> int:
    return (value + align - 1) & ~(align - 1)


def walk(read_at: ReadAt, order: str, offset: int, size: int, align: int = 4) -> Iterator[Note]:
    """The notes in `size` bytes at `offset`. Raises NoteError where they stop making sense; what came before counts.

    Notes are padded to 4 bytes, in 64-bit files too, save where p_align is 8 (.note.gnu.property)."""
    end = offset + size
    unit = 8 if align == 8 else 4
    window, base = b"", offset
    position = offset
    for _count in range(MAX_NOTES):
        if position + 12 > end:
            return
        if position < base or position + 12 + _NAME_CAP > base + len(window):
            base, window = position, read_at(position, min(_WINDOW, end - position))
            if len(window) < 12:
                raise NoteError("the notes end early, at byte %d of %d" % (position + len(window), end))
        namesz, descsz, kind = struct.unpack_from(order + "III", window, position - base)
        if not namesz and not descsz and not kind:
            raise NoteError("the notes run into zeros at byte %d" % position)
        name_at = position - base + 12
        desc = _up(position + 12 + namesz - offset, unit) + offset
        if namesz > _NAME_CAP or desc + descsz > end:
            raise NoteError("a note at byte %d overruns its segment" % position)
        yield Note(window[name_at : name_at + namesz].rstrip(b"\0"), kind, desc, descsz)
        position = _up(desc + descsz - offset, unit) + offset
    raise NoteError("more than %d notes" % MAX_NOTES)


def status(desc: bytes, header: Header) -> Optional[Status]:
    """pr_cursig is a short at 12 and pr_pid follows two longs, in every Linux ABI (x32 lays it out as i386)."""
    at = 32 if header.bits == 64 else 24
    if len(desc) < at + 4:
        return None
    return Status(
        tid=struct.unpack_from(header.order + "i", desc, at)[0],
        signal=struct.unpack_from(header.order + "h", desc, 12)[0],
    )


def info(desc: bytes, header: Header) -> Optional[Info]:
    """Read from the end of the descriptor, where every ABI agrees: psargs 80, comm 16, then sid, pgrp, ppid, pid.
    uid and gid before them are 16 bit wide where the whole is 124 bytes (i386, x32, arm, m68k, sh, s390)."""
    if len(desc) < 112:
        return None
    uid = gid = None
    if len(desc) == 124:
        uid, gid = struct.unpack(header.order + "HH", desc[-116:-112])
    elif len(desc) in (128, 136):
        uid, gid = struct.unpack(header.order + "II", desc[-120:-112])
    return Info(
        pid=struct.unpack(header.order + "i", desc[-112:-108])[0],
        comm=desc[-96:-80].split(b"\0")[0],
        args=desc[-80:].split(b"\0")[0].rstrip(b" "),
        uid=uid,
        gid=gid,
    )


def auxv(desc: bytes, header: Header) -> Dict[int, int]:
    """Type to value, up to AT_NULL."""
    pair = header.order + ("QQ" if header.bits == 64 else "II")
    size = struct.calcsize(pair)
    values = {}
    for key, value in struct.iter_unpack(pair, desc[: len(desc) // size * size]):
        if key == AT_NULL:
            break
        values[key] = value
    return values


def siginfo(desc: bytes, header: Header) -> Optional[Tuple[int, int, Optional[int]]]:
    """(si_signo, si_code, si_addr) of the signal that was being delivered. si_addr is None when a process sent the
    signal (si_code <= 0), for those bytes hold the sender then. MIPS swaps errno and code (uapi/asm/siginfo.h)."""
    at = 16 if header.bits == 64 else 12
    if len(desc) < at + header.word_size:
        return None
    number, second, third = struct.unpack_from(header.order + "iii", desc)
    code = second if header.machine == 8 else third
    address = struct.unpack_from(header.word, desc, at)[0] if code > 0 else None
    return number, code, address


def file_rows(desc: bytes, header: Header) -> List[FileRow]:
    """NT_FILE: count, page size, count times (start, end, offset in pages), then count names. Raises NoteError."""
    word = header.word_size
    if len(desc) < 2 * word:
        raise NoteError("NT_FILE is cut")
    count, page = struct.unpack_from(header.order + header.word[1] * 2, desc)
    names_at = 2 * word + count * 3 * word
    if names_at > len(desc):
        raise NoteError("NT_FILE claims %d rows and has room for %d" % (count, len(desc) // (3 * word)))
    rows = struct.iter_unpack(header.order + header.word[1] * 3, desc[2 * word : names_at])
    if count > MAX_ROWS:
        raise NoteError("NT_FILE claims %d rows; %d are the most that are read" % (count, MAX_ROWS))
    names = desc[names_at:].split(b"\0", count)
    if len(names) <= count:
        raise NoteError("NT_FILE has %d names for %d rows" % (len(names) - 1, count))
    return [FileRow(start, end, offset * page, name) for (start, end, offset), name in zip(rows, names)]


class FileNotes(NamedTuple):
    """What the notes of a file, or of its image in memory, say that it is."""

    build_id: Optional[bytes] = None
    """binutils: name "GNU", type NT_GNU_BUILD_ID."""
    go_build_id: Optional[bytes] = None
    """Go's src/cmd/internal/buildid: name "Go", type 4; text."""
    package: Optional[bytes] = None
    """systemd's "Package Metadata for Executable Files": name "FDO", type 0xcafe1a7e; JSON."""


def file_notes(data: bytes, order: str, align: int) -> FileNotes:
    """The first of each kind among these notes."""
    found: Dict[str, bytes] = {}
    try:
        whole = walk(lambda at, n: data[at : at + n], order, 0, len(data), align)
        for note in itertools.islice(whole, MAX_FILE_NOTES):
            field, limit = _OF_FILES.get((note.name, note.type), ("", 0))
            if 0 < note.size <= limit:
                found.setdefault(field, data[note.offset : note.offset + note.size])
    except NoteError:
        pass
    return FileNotes(**found)


_OF_FILES = {
    (b"GNU", NT_GNU_BUILD_ID): ("build_id", MAX_BUILD_ID),
    (b"Go", 4): ("go_build_id", 256),
    (b"FDO", 0xCAFE1A7E): ("package", 1 << 12),
}


def build_id(data: bytes, order: str, align: int) -> Optional[bytes]:
    """The GNU build ID among these notes, if there is one."""
    return file_notes(data, order, align).build_id
