# SPDX-License-Identifier: Apache-2.0
"""The first bytes of other systems' cores, written from their public sources: nobody reads more of them here.

FreeBSD sys/kern/imgact_elf.c: EI_OSABI 9, every note named "FreeBSD"; PRPSINFO first, then per thread PRSTATUS,
FPREGSET and THRMISC, then the NT_PROCSTAT_* notes (sys/sys/elf_common.h).
NetBSD sys/kern/core_elf32.c: notes "NetBSD-CORE" and, per LWP, "NetBSD-CORE@NNN".
OpenBSD sys/kern/exec_elf.c: "OpenBSD", NT_OPENBSD_PROCINFO (10), then AUXV (11) and registers (20, 21).
illumos usr/src/uts/common/exec/elf/elf_notes.c: notes "CORE" as on Linux, but of the types 10 (NT_PSTATUS), 13
(NT_PSINFO) and 16 (NT_LWPSTATUS), after an older segment of types 1 and 3.
"""
from typing import Dict, Tuple

from support import elfwriter as w
from support.elfwriter import PT_LOAD, PT_NOTE, Note, Segment, Sparse

# System, EI_OSABI, the notes of each PT_NOTE.
_CORES: Dict[str, Tuple[int, Tuple[Tuple[Note, ...], ...]]] = {
    "FreeBSD": (9, ((Note(b"FreeBSD", 3, bytes(120)), Note(b"FreeBSD", 1, bytes(224)), Note(b"FreeBSD", 2, bytes(512)),
                     Note(b"FreeBSD", 7, bytes(24)), Note(b"FreeBSD", 8, bytes(1096)),
                     Note(b"FreeBSD", 16, bytes(36))),)),
    "NetBSD": (0, ((Note(b"NetBSD-CORE", 1, bytes(160)), Note(b"NetBSD-CORE", 2, bytes(160)),
                    Note(b"NetBSD-CORE@1", 33, bytes(208))),)),
    "OpenBSD": (0, ((Note(b"OpenBSD", 10, bytes(104)), Note(b"OpenBSD", 11, bytes(128)),
                     Note(b"OpenBSD@100042", 20, bytes(208))),)),
    "Solaris": (0, ((Note(b"CORE", 3, bytes(260)), Note(b"CORE", 1, bytes(824)), Note(b"CORE", 6, bytes(304))),
                    (Note(b"CORE", 13, bytes(416)), Note(b"CORE", 10, bytes(1680)), Note(b"CORE", 16, bytes(1296))))),
}
SYSTEMS = tuple(sorted(_CORES))


def core_of(system: str, osabi: bool = True) -> Sparse:
    """A core of one of SYSTEMS, for x86_64. Without `osabi` its ELF header does not say whose it is."""
    number, parts = _CORES[system]
    segments = [Segment(PT_NOTE, 0, w.note_bytes(w.X86_64, notes), align=4) for notes in parts]
    segments.append(Segment(PT_LOAD, 0x400000, w.elf_file(base=0x400000).ljust(4096, b"\0"), align=4096))
    return w.assemble(w.X86_64, w.ET_CORE, segments, osabi=number if osabi else 0)
