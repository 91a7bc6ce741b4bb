# SPDX-License-Identifier: Apache-2.0
"""Writers of ELF bytes for tests: small executables and libraries, userland cores of any Linux ABI, and broken ones.

Nothing here reads, and nothing here is shared with the code under test, so that one mistake cannot cancel another.
``elf_file`` makes what lies on a disk, ``process_core`` the core of a process that had such files mapped, ``assemble``
anything at all, sane or not. What comes back is a ``Sparse``: pieces at offsets, so that a core of 3 GiB of zeros costs
neither memory nor disk.

Layouts: System V gABI chapters 4 and 5 (headers, notes); Linux include/linux/elfcore.h and elfcore-compat.h
(elf_prstatus, elf_prpsinfo), fs/binfmt_elf.c fill_files_note (NT_FILE); glibc elf/link.h (r_debug, link_map).
"""
import os
import struct
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

ET_EXEC, ET_DYN, ET_CORE = 2, 3, 4
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR = 1, 2, 3, 4, 6
PN_XNUM = 0xFFFF
R, W, X = 4, 2, 1
SHT_NULL, SHT_PROGBITS, SHT_STRTAB, SHT_DYNAMIC, SHT_NOTE, SHT_NOBITS = 0, 1, 3, 6, 7, 8
SHF_ALLOC, SHF_EXECINSTR = 2, 4
NT_PRSTATUS, NT_PRFPREG, NT_PRPSINFO, NT_AUXV = 1, 2, 3, 6
NT_FILE, NT_SIGINFO = 0x46494C45, 0x53494749
NT_GNU_BUILD_ID = 3
AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_ENTRY, AT_UID, AT_GID = 0, 3, 4, 5, 6, 7, 9, 11, 13
AT_EXECFN, AT_SYSINFO_EHDR = 31, 33
DT_NULL, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_DEBUG = 0, 5, 10, 14, 21
SIGSEGV, SEGV_MAPERR = 11, 1


class Abi(NamedTuple):
    """What differs between the cores of two Linux ABIs."""

    name: str
    machine: int
    bits: int
    """The ELF class, which is also the width of the C long in the notes (x32 is 32)."""
    order: str
    """struct's byte order: "<" or ">"."""
    gregs: int
    """sizeof(elf_gregset_t), bytes."""
    uid_bytes: int = 4
    """sizeof(__kernel_uid_t) as elf_prpsinfo has it: 2 on the oldest 32-bit ABIs."""
    flags: int = 0
    """e_flags that readelf wants to see."""

    @property
    def word(self) -> str:
        """struct's letter for an address."""
        return "Q" if self.bits == 64 else "I"

    @property
    def bytes_per_word(self) -> int:
        return self.bits // 8

    @property
    def header_size(self) -> int:
        return 64 if self.bits == 64 else 52

    @property
    def segment_header_size(self) -> int:
        return 56 if self.bits == 64 else 32

    def pack(self, letters: str, *values: int) -> bytes:
        """struct.pack in this ABI's byte order; the letter "W" is an address."""
        return struct.pack(self.order + letters.replace("W", self.word), *values)


# gregs is ELF_NGREG * sizeof(elf_greg_t) of arch/*/include/{asm,uapi/asm}/elf.h.
ABIS: Dict[str, Abi] = {
    abi.name: abi
    for abi in (
        Abi("x86_64", 62, 64, "<", 27 * 8),
        Abi("i386", 3, 32, "<", 17 * 4, uid_bytes=2),
        Abi("x32", 62, 32, "<", 27 * 8, uid_bytes=2),
        Abi("aarch64", 183, 64, "<", 34 * 8),
        Abi("aarch64_be", 183, 64, ">", 34 * 8),
        Abi("arm", 40, 32, "<", 18 * 4, uid_bytes=2, flags=0x05000000),
        Abi("armeb", 40, 32, ">", 18 * 4, uid_bytes=2, flags=0x05800000),
        Abi("riscv64", 243, 64, "<", 32 * 8),
        Abi("riscv32", 243, 32, "<", 32 * 4),
        Abi("ppc64le", 21, 64, "<", 48 * 8, flags=2),
        Abi("ppc64", 21, 64, ">", 48 * 8, flags=1),
        Abi("ppc", 20, 32, ">", 48 * 4),
        Abi("s390x", 22, 64, ">", 27 * 8),
        Abi("s390", 22, 32, ">", 36 * 4, uid_bytes=2),
        Abi("mips", 8, 32, ">", 45 * 4, flags=0x1000),
        Abi("mipsel", 8, 32, "<", 45 * 4, flags=0x1000),
        Abi("mips64", 8, 64, ">", 45 * 8, flags=0x20000000),
        Abi("mips64el", 8, 64, "<", 45 * 8, flags=0x20000000),
        Abi("mipsn32", 8, 32, ">", 45 * 8, flags=0x20000020),
        Abi("sparc", 2, 32, ">", 38 * 4, uid_bytes=2),
        Abi("sparc64", 43, 64, ">", 36 * 8),
        Abi("loongarch64", 258, 64, "<", 45 * 8),
        Abi("alpha", 0x9026, 64, "<", 33 * 8),
    )
}
X86_64 = ABIS["x86_64"]


class Sparse(NamedTuple):
    """Bytes with holes."""

    size: int
    pieces: Tuple[Tuple[int, bytes], ...]
    """(offset, bytes); what no piece covers is zero. A later piece overwrites an earlier one."""

    def to_bytes(self) -> bytes:
        whole = bytearray(self.size)
        for offset, data in self.pieces:
            whole[offset:offset + len(data)] = data
        return bytes(whole[:self.size])

    def write(self, path: str) -> str:
        """Write to `path`, leaving holes where there are no pieces; returns the path."""
        with open(path, "wb") as out:
            for offset, data in self.pieces:
                out.seek(offset)
                out.write(data)
            out.truncate(self.size)
        return path


class Segment(NamedTuple):
    """One program header and its bytes. Whatever is None is worked out; whatever is given is written as it is."""

    type: int
    vaddr: int = 0
    data: bytes = b""
    filesz: Optional[int] = None
    memsz: Optional[int] = None
    offset: Optional[int] = None
    flags: int = R
    align: int = 1


class Section(NamedTuple):
    """One section header and its bytes."""

    name: str
    data: bytes
    type: int = SHT_PROGBITS
    flags: int = 0
    addr: int = 0
    offset: Optional[int] = None
    """None: the bytes are appended to the file. Given: they are there already."""
    align: int = 1
    link: int = 0
    entsize: int = 0


class Note(NamedTuple):
    """One note. A `namesz` or `descsz` given is a lie."""

    name: bytes
    type: int
    desc: bytes
    namesz: Optional[int] = None
    descsz: Optional[int] = None


def note_bytes(abi: Abi, notes: Iterable[Note]) -> bytes:
    """The body of a PT_NOTE. Linux pads name and descriptor to 4 bytes in both classes (fs/binfmt_elf.c writenote)."""
    out = []
    for note in notes:
        name = note.name + b"\0"
        namesz = len(name) if note.namesz is None else note.namesz
        descsz = len(note.desc) if note.descsz is None else note.descsz
        out.append(abi.pack("III", namesz, descsz, note.type))
        out.append(name + bytes(-len(name) % 4))
        out.append(note.desc + bytes(-len(note.desc) % 4))
    return b"".join(out)


def build_id_note(build_id: bytes) -> Note:
    return Note(b"GNU", NT_GNU_BUILD_ID, build_id)


def segment_header(abi: Abi, segment: Segment, offset: int) -> bytes:
    filesz = len(segment.data) if segment.filesz is None else segment.filesz
    memsz = filesz if segment.memsz is None else segment.memsz
    if abi.bits == 64:
        return abi.pack("IIQQQQQQ", segment.type, segment.flags, offset, segment.vaddr, 0, filesz, memsz, segment.align)
    return abi.pack("IIIIIIII", segment.type, offset, segment.vaddr, 0, filesz, memsz, segment.flags, segment.align)


def file_header(abi: Abi, e_type: int, phnum: int, phoff: int, shoff: int = 0, shnum: int = 0, shstrndx: int = 0,
                entry: int = 0, osabi: int = 0, phentsize: Optional[int] = None) -> bytes:
    """The ELF header."""
    ident = b"\x7fELF" + bytes((abi.bits // 32, 1 if abi.order == "<" else 2, 1, osabi)) + bytes(8)
    return ident + abi.pack(
        "HHIWWWIHHHHHH", e_type, abi.machine, 1, entry, phoff, shoff, abi.flags, abi.header_size,
        abi.segment_header_size if phentsize is None else phentsize, phnum, 64 if abi.bits == 64 else 40, shnum,
        shstrndx)


def assemble(abi: Abi, e_type: int, segments: Sequence[Segment], sections: Sequence[Section] = (), entry: int = 0,
             osabi: int = 0, claimed_phnum: Optional[int] = None) -> Sparse:
    """An ELF file of these segments and sections, in order.

    Segments with no `offset` are laid one after the other, congruent to their address modulo their alignment. With
    65,535 segments or more the count goes into section header 0, as the kernel does (PN_XNUM, fs/binfmt_elf.c
    fill_extnum_info). `claimed_phnum` lies about the count.
    """
    count = len(segments) if claimed_phnum is None else claimed_phnum
    at = abi.header_size + len(segments) * abi.segment_header_size
    pieces: List[Tuple[int, bytes]] = []
    headers = []
    for segment in segments:
        if segment.offset is None:
            at += (segment.vaddr - at) % max(segment.align, 1)
            offset = at
            at += len(segment.data) if segment.filesz is None else segment.filesz
        else:
            offset = segment.offset
        if segment.data:
            pieces.append((offset, segment.data))
        headers.append(segment_header(abi, segment, offset))
    extended = count >= PN_XNUM
    end = max([at] + [offset + len(data) for offset, data in pieces])
    table: List[bytes] = []
    shoff = 0
    if sections or extended:
        table, placed, end = _section_table(abi, sections, end, count if extended else 0)
        pieces.extend(placed)
        shoff = end + -end % 8
        pieces.append((shoff, b"".join(table)))
        end = shoff + sum(map(len, table))
    header = file_header(abi, e_type, PN_XNUM if extended else count, abi.header_size, shoff, len(table),
                         len(table) - 1 if sections else 0, entry, osabi)
    # Last, so that the headers win over a PT_LOAD that begins at offset 0.
    pieces.append((0, header + b"".join(headers)))
    return Sparse(max(end, abi.header_size), tuple(pieces))


def _section_table(abi: Abi, sections: Sequence[Section], end: int,
                   extended_phnum: int) -> Tuple[List[bytes], List[Tuple[int, bytes]], int]:
    """(headers, pieces, end of file). Header 0 carries the number of segments when e_phnum cannot."""
    def header(name: int, section: Section, offset: int, size: int, info: int = 0) -> bytes:
        return abi.pack("IIWWWWIIWW", name, section.type, section.flags, section.addr, offset, size, section.link, info,
                        section.align, section.entsize)

    headers = [header(0, Section("", b"", SHT_NULL, align=0), 0, 0, extended_phnum)]
    pieces: List[Tuple[int, bytes]] = []
    if not sections:
        return headers, pieces, end
    names = b"\0"
    everything = list(sections)
    strings = b"\0" + b"".join(section.name.encode() + b"\0" for section in everything) + b".shstrtab\0"
    everything.append(Section(".shstrtab", strings, SHT_STRTAB))
    for section in everything:
        offset = section.offset
        if offset is None:
            offset = end + -end % max(section.align, 1)
            if section.type != SHT_NOBITS:
                pieces.append((offset, section.data))
                end = offset + len(section.data)
        headers.append(header(len(names), section, offset, len(section.data)))
        names += section.name.encode() + b"\0"
    return headers, pieces, end


# --- files as they lie on disk ------------------------------------------------------------------------------------


def elf_file(abi: Abi = X86_64, build_id: Optional[bytes] = None, soname: Optional[str] = None,
             debuglink: Optional[Tuple[str, int]] = None, altlink: Optional[Tuple[str, bytes]] = None,
             base: int = 0, sections: Sequence[Section] = (), padding: int = 0, interpreter: str = "",
             notes: Sequence[Note] = ()) -> bytes:
    """A small executable or library: one PT_LOAD from offset 0, PT_DYNAMIC with an empty DT_DEBUG, notes.

    `base` other than 0 makes an ET_EXEC linked there. `debuglink` is (file name, CRC-32), `altlink` (path, build ID).
    `padding` bytes lengthen the loaded part. The file has no code: it is to be found, read and mapped, not run.
    """
    if build_id is not None:
        notes = tuple(notes) + (build_id_note(build_id),)
    note_data = note_bytes(abi, notes)
    name = (soname or "").encode()
    strings = b"\0" + name + b"\0"
    interp = interpreter.encode() + b"\0" if interpreter else b""
    count = 3 + bool(note_data) + bool(interp)
    note_at = abi.header_size + count * abi.segment_header_size
    note_at += -note_at % 8
    interp_at = note_at + len(note_data)
    dynamic_at = interp_at + len(interp)
    dynamic_at += -dynamic_at % 8
    entries = [(DT_SONAME, 1)] if soname else []
    strings_at = dynamic_at + (len(entries) + 4) * 2 * abi.bytes_per_word
    entries += [(DT_STRTAB, base + strings_at), (DT_STRSZ, len(strings)), (DT_DEBUG, 0), (DT_NULL, 0)]
    dynamic = b"".join(abi.pack("WW", *entry) for entry in entries)
    body = bytearray(strings_at + len(strings) + padding)
    for at, data in ((note_at, note_data), (interp_at, interp), (dynamic_at, dynamic), (strings_at, strings)):
        body[at:at + len(data)] = data
    phdr_size = count * abi.segment_header_size
    segments = [Segment(PT_PHDR, base + abi.header_size, offset=abi.header_size, filesz=phdr_size, align=8)]
    if interp:
        segments.append(Segment(PT_INTERP, base + interp_at, offset=interp_at, filesz=len(interp)))
    segments.append(Segment(PT_LOAD, base, bytes(body), offset=0, flags=R | W | X, align=0x1000))
    segments.append(Segment(PT_DYNAMIC, base + dynamic_at, offset=dynamic_at, filesz=len(dynamic), align=8))
    if note_data:
        segments.append(Segment(PT_NOTE, base + note_at, offset=note_at, filesz=len(note_data), align=4))
    wanted = [Section(".dynstr", strings, SHT_STRTAB, SHF_ALLOC, base + strings_at, strings_at),
              Section(".dynamic", dynamic, SHT_DYNAMIC, SHF_ALLOC, base + dynamic_at, dynamic_at, 8, link=1,
                      entsize=2 * abi.bytes_per_word)]
    if build_id is not None:
        own = note_bytes(abi, [build_id_note(build_id)])
        own_at = interp_at - len(own)
        wanted.append(Section(".note.gnu.build-id", own, SHT_NOTE, SHF_ALLOC, base + own_at, own_at, align=4))
    wanted.extend(sections)
    if debuglink is not None:
        link = debuglink[0].encode() + b"\0"
        wanted.append(Section(".gnu_debuglink", link + bytes(-len(link) % 4) + abi.pack("I", debuglink[1]), align=4))
    if altlink is not None:
        wanted.append(Section(".gnu_debugaltlink", altlink[0].encode() + b"\0" + altlink[1]))
    return assemble(abi, ET_EXEC if base else ET_DYN, segments, wanted, entry=base + dynamic_at).to_bytes()


# --- notes of a core ----------------------------------------------------------------------------------------------


def prstatus(abi: Abi, tid: int, signal: int = 0, code: int = 0, error: int = 0, ppid: int = 1, pgrp: int = 0,
             sid: int = 0, registers: bytes = b"") -> Note:
    """struct elf_prstatus. `error` is si_errno; `registers` is padded to the ABI's size."""
    head = abi.pack("iiihHWWiiii", signal, code, error, signal, 0, 0, 0, tid, ppid, pgrp, sid)
    times = bytes(8 * abi.bytes_per_word)
    body = head + times + registers.ljust(abi.gregs, b"\0") + abi.pack("i", 0)
    align = 8 if abi.bits == 64 or abi.name in ("x32", "mipsn32", "s390") else 4
    return Note(b"CORE", NT_PRSTATUS, body + bytes(-len(body) % align))


def prpsinfo(abi: Abi, pid: int, comm: bytes = b"prog", args: bytes = b"prog", uid: int = 0, gid: int = 0,
             ppid: int = 1, pgrp: int = 0, sid: int = 0, state: bytes = b"R") -> Note:
    """struct elf_prpsinfo."""
    head = struct.pack("BBBb", 0, state[0], 0, 0)
    if abi.bits == 64:
        head += bytes(4)
    head += abi.pack("W", 0)
    head += abi.pack("II" if abi.uid_bytes == 4 else "HH", uid, gid)
    head += abi.pack("iiii", pid, ppid, pgrp, sid)
    return Note(b"CORE", NT_PRPSINFO, head + comm[:16].ljust(16, b"\0") + args[:80].ljust(80, b"\0"))


def siginfo(abi: Abi, signal: int = SIGSEGV, code: int = SEGV_MAPERR, address: int = 0, error: int = 0) -> Note:
    """siginfo_t of a fault. MIPS has si_code before si_errno (arch/mips/include/uapi/asm/siginfo.h)."""
    second, third = (code, error) if abi.machine == 8 else (error, code)
    desc = abi.pack("iii", signal, second, third) + (bytes(4) if abi.bits == 64 else b"") + abi.pack("W", address)
    return Note(b"CORE", NT_SIGINFO, desc.ljust(128, b"\0"))


def auxv(abi: Abi, entries: Iterable[Tuple[int, int]]) -> Note:
    """NT_AUXV; AT_NULL is added."""
    return Note(b"CORE", NT_AUXV, b"".join(abi.pack("WW", *entry) for entry in entries) + abi.pack("WW", AT_NULL, 0))


class FileRow(NamedTuple):
    """One row of NT_FILE; `pages` is the offset in pages."""

    start: int
    end: int
    pages: int
    path: bytes


def nt_file(abi: Abi, rows: Sequence[FileRow], page_size: int = 4096, claimed: Optional[int] = None) -> Note:
    """NT_FILE; `claimed` lies about the number of rows."""
    desc = abi.pack("WW", len(rows) if claimed is None else claimed, page_size)
    desc += b"".join(abi.pack("WWW", row.start, row.end, row.pages) for row in rows)
    return Note(b"CORE", NT_FILE, desc + b"".join(row.path + b"\0" for row in rows))


# --- cores --------------------------------------------------------------------------------------------------------


class LinkMap(NamedTuple):
    """One struct link_map to be written."""

    l_addr: int
    name: bytes
    l_ld: int = 0


def link_maps(abi: Abi, address: int, namespaces: Sequence[Sequence[LinkMap]], version: int = 1,
              cyclic: bool = False) -> bytes:
    """r_debug (one per dlmopen namespace, chained by r_next) at `address`, the link maps and their names behind it.

    With more than one namespace `version` should be 2. `cyclic` makes the last link map and the last r_debug point
    back to the first of their kind.
    """
    word = abi.bytes_per_word
    debug_size, map_size = 6 * word, 5 * word
    maps_at = address + debug_size * len(namespaces)
    strings_at = maps_at + map_size * sum(map(len, namespaces))
    debugs, maps, strings = [], [], b""
    at = maps_at
    for number, namespace in enumerate(namespaces):
        first = at
        following = address + (number + 1) * debug_size if number + 1 < len(namespaces) else address if cyclic else 0
        debugs.append(abi.pack("i", version) + bytes(word - 4) +
                      abi.pack("WWWWW", first if namespace else 0, 0, 0, 0, following))
        for index, entry in enumerate(namespace):
            last = index + 1 == len(namespace)
            forward = (first if cyclic else 0) if last else at + map_size
            backward = at - map_size if index else 0
            maps.append(abi.pack("WWWWW", entry.l_addr, strings_at + len(strings), entry.l_ld, forward, backward))
            strings += entry.name + b"\0"
            at += map_size
    return b"".join(debugs) + b"".join(maps) + strings


class Mapped(NamedTuple):
    """A file that the process had mapped, from its offset 0, in one piece."""

    path: bytes
    """As NT_FILE is to have it."""
    base: int
    content: bytes
    link_name: Optional[bytes] = None
    """As the link map is to have it; None: the same as `path`. The executable's is always empty."""
    dumped: bool = True
    """False: the core has the segment with p_filesz 0, as coredump_filter without bit 4 leaves it."""
    header_only: bool = False
    """True: of the segment only the first page was dumped, as Linux does by default."""


def dynamic_of(abi: Abi, content: bytes) -> Tuple[int, int]:
    """(file offset, size) of PT_DYNAMIC in a file made by elf_file; (0, 0) if it has none."""
    phoff, = struct.unpack_from(abi.order + abi.word, content, 32 if abi.bits == 64 else 28)
    phnum, = struct.unpack_from(abi.order + "H", content, 56 if abi.bits == 64 else 44)
    for index in range(phnum):
        at = phoff + index * abi.segment_header_size
        kind, = struct.unpack_from(abi.order + "I", content, at)
        if kind == PT_DYNAMIC:
            offset, = struct.unpack_from(abi.order + abi.word, content, at + (8 if abi.bits == 64 else 4))
            size, = struct.unpack_from(abi.order + abi.word, content, at + (32 if abi.bits == 64 else 16))
            return offset, size
    return 0, 0


def with_dt_debug(abi: Abi, content: bytes, r_debug: int) -> bytes:
    """The image as the dynamic linker leaves it: DT_DEBUG filled in."""
    offset, size = dynamic_of(abi, content)
    for at in range(offset, offset + size, 2 * abi.bytes_per_word):
        if struct.unpack_from(abi.order + abi.word, content, at)[0] == DT_DEBUG:
            at += abi.bytes_per_word
            return content[:at] + abi.pack("W", r_debug) + content[at + abi.bytes_per_word:]
    return content


def process_core(abi: Abi = X86_64, modules: Sequence[Mapped] = (), pid: int = 4242, threads: int = 1,
                 signal: int = SIGSEGV, address: int = 0, comm: bytes = b"prog", args: bytes = b"prog",
                 execfn: bytes = b"./prog", uid: int = 0, gid: int = 0, extra: Sequence[Segment] = (),
                 more_notes: Sequence[Note] = (), without: Iterable[int] = (), namespaces: int = 1,
                 page_size: int = 4096, cyclic: bool = False) -> Sparse:
    """The core of a process whose first module is the executable.

    `without` names note types to leave out; `extra` and `more_notes` are appended as they are. Modules beyond the
    first go round robin into `namespaces` link-map namespaces.
    """
    stack = 0x7FFF0000 if abi.bits == 32 else 0x7FFF00000000
    r_debug = stack + 0x100
    spaces: List[List[LinkMap]] = [[] for _ in range(namespaces)]
    rows, loads = [], []
    for index, module in enumerate(modules):
        fixed = struct.unpack_from(abi.order + "H", module.content, 16)[0] == ET_EXEC
        name = b"" if index == 0 else module.path if module.link_name is None else module.link_name
        l_ld = module.base + dynamic_of(abi, module.content)[0]
        spaces[max(index - 1, 0) % namespaces].append(LinkMap(0 if fixed else module.base, name, l_ld))
        size = len(module.content) + -len(module.content) % page_size
        rows.append(FileRow(module.base, module.base + size, 0, module.path))
        image = with_dt_debug(abi, module.content, r_debug).ljust(size, b"\0") if module.dumped else b""
        image = image[:page_size] if module.header_only else image
        loads.append(Segment(PT_LOAD, module.base, image, memsz=size, flags=R | X, align=page_size))
    pairs = [(AT_PAGESZ, page_size), (AT_UID, uid), (AT_GID, gid), (AT_EXECFN, stack + 8)]
    if modules:
        phnum, = struct.unpack_from(abi.order + "H", modules[0].content, 56 if abi.bits == 64 else 44)
        pairs += [(AT_PHDR, modules[0].base + abi.header_size), (AT_PHENT, abi.segment_header_size), (AT_PHNUM, phnum)]
    memory = bytes(8) + execfn[:0xF0] + b"\0"
    memory = memory.ljust(0x100, b"\0") + link_maps(abi, r_debug, spaces, 1 if namespaces == 1 else 2, cyclic)
    memory += bytes(-len(memory) % page_size)
    loads.append(Segment(PT_LOAD, stack, memory, flags=R | W, align=page_size))
    notes = [prstatus(abi, pid, signal), prpsinfo(abi, pid, comm, args, uid, gid),
             siginfo(abi, signal, address=address), auxv(abi, pairs), nt_file(abi, rows, page_size)]
    notes += [prstatus(abi, pid + index) for index in range(1, threads)]
    notes = [note for note in notes if note.type not in frozenset(without)] + list(more_notes)
    note_segment = Segment(PT_NOTE, 0, note_bytes(abi, notes), memsz=0, flags=0, align=4)
    return assemble(abi, ET_CORE, [note_segment] + loads + list(extra))


def truncated(core: Sparse, size: int) -> Sparse:
    """The first `size` bytes."""
    return Sparse(min(size, core.size), tuple((at, data[:size - at]) for at, data in core.pieces if at < size))


def disk_usage(path: str) -> int:
    """Bytes that the file takes on disk, to show that a test's big file is sparse."""
    return os.stat(path).st_blocks * 512
