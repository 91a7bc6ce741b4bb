# SPDX-License-Identifier: Apache-2.0
"""Memory of a crashed or stopped kernel in formats that are not read: named exactly, archived whole, and nothing said
of them that their first bytes do not say. crash and libkdumpfile read most of them.
"""

import os
import struct
from typing import Any, Callable, NamedTuple, Optional

from ..elf.header import ET_CORE, HEADER_SIZE, parse_header
from ..kernel.capture import Capture
from ..model import Dump
from ..sysroot import Refused, Sysroot
from . import _kernel, _libkdumpfile

KIND = "opaque"

# media backup: a sadump partition's header lies one block of this size further (crash sadump.c).
_SADUMP_BLOCK = 4096
_MAX_SECTIONS = 64


class _Format(NamedTuple):
    """One format by its first bytes."""

    kind: str
    what: str
    magic: bytes
    order: str = "unknown"
    at: int = 0
    describe: Optional[Callable[[Any, Capture], Capture]] = None


def _s390(source: Any, capture: Capture) -> Capture:
    """drivers/s390/char/zcore.c and s390-tools zgetdump, struct df_s390_hdr: the page size at 20, the time of day clock
    at 64 and the architecture at 80 (1 s390, 2 s390x)."""
    head = source.read_at(0, 84)
    if len(head) < 84:
        return capture
    page_size = struct.unpack_from(">I", head, 20)[0]
    clock = struct.unpack_from(">Q", head, 64)[0]
    arch = struct.unpack_from(">I", head, 80)[0]
    # Units of 2**-12 microseconds since 1900 (z/Architecture Principles of Operation, TOD clock).
    seconds = (clock >> 12) // 1000000 - 2208988800
    return capture._replace(
        machine="s390" if arch == 1 else "s390x",
        bits=32 if arch == 1 else 64,
        page_size=page_size or None,
        crash_time=seconds if seconds > 0 else None,
    )


def _lkcd(source: Any, capture: Capture) -> Capture:
    """LKCD dump.h, struct _dump_header: the page size at 20."""
    head = source.read_at(0, 24)
    page_size = struct.unpack_from(capture.order + "I", head.ljust(24, b"\0"), 20)[0]
    return capture._replace(page_size=page_size or None)


# Sources: libkdumpfile src/kdumpfile, crash (lkcd_common.h, sadump.h, vmware_vmss.h, xendump.h), LiME's documentation,
# QEMU migration/savevm.c, libvirt src/qemu/qemu_saveimage.c, Xen libxl and docs/specs/libxc-migration-stream.pandoc.
_FORMATS = (
    _Format("lkcd", "LKCD", struct.pack("<Q", 0xA8190173618F23ED), "<", describe=_lkcd),
    _Format("lkcd", "LKCD", struct.pack(">Q", 0xA8190173618F23ED), ">", describe=_lkcd),
    _Format("s390-dump", "s390 stand-alone dump", struct.pack(">Q", 0xA8190173618F23FD), ">", describe=_s390),
    _Format("sadump", "sadump", b"sadump\0\0"),
    _Format("sadump", "sadump (media backup)", b"sadump\0\0", at=_SADUMP_BLOCK),
    _Format("vmware-vmss", "VMware state", struct.pack("<I", 0xBED0BED0), "<"),
    _Format("vmware-vmss", "VMware state", struct.pack("<I", 0xBED1BED1), "<"),
    _Format("vmware-vmss", "VMware state", struct.pack("<I", 0xBED2BED2), "<"),
    _Format("vmware-vmss", "VMware state (partial)", struct.pack("<I", 0xBED3BED3), "<"),
    _Format("vmware-vmss", "VMware state (restored)", struct.pack("<I", 0xBAD1BAD1), "<"),
    _Format("vmware-vmss", "VMware state (restored)", struct.pack("<I", 0xBAD2BAD2), "<"),
    _Format("xen-core", "Xen core (xc_core)", struct.pack("<I", 0xF00FEBED), "<"),
    _Format("xen-core", "Xen core (xc_core)", struct.pack(">I", 0xF00FEBED), ">"),
    _Format("xen-core", "Xen core of an HVM guest (xc_core)", struct.pack("<I", 0xF00FEBEE), "<"),
    _Format("xen-core", "Xen core of an HVM guest (xc_core)", struct.pack(">I", 0xF00FEBEE), ">"),
    _Format("xen-save", "Xen save file", b"LinuxGuestRecord"),
    _Format("xen-save", "Xen save file (xl)", b"Xen saved domain"),
    _Format("xen-save", "Xen save file (libxc stream)", b"\xff" * 8 + b"XENF"),
    _Format("lime", "LiME", b"EMiL", "<"),
    _Format("lime", "LiME", b"LiME", ">"),
    _Format("libvirt-save", "libvirt save image", b"LibvirtQemudSave"),
    _Format("libvirt-save", "libvirt save image, of which the writing was not finished", b"LibvirtQemudPart"),
    _Format("qemu-savevm", "QEMU migration stream", b"QEVM", ">"),
)  # fmt: skip

_XEN_CORE = _Format("xen-core", "Xen core (ELF)", b"\x7fELF")
# A state of VMware's that is a snapshot's is told by its name.
_SNAPSHOT = "vmware-vmsn"
KINDS = tuple(sorted({one.kind for one in _FORMATS} | {_SNAPSHOT}))


def sniff(source: Any) -> bool:
    return _find(source) is not None


def open_dump(source: Any, sysroot: Sysroot) -> Dump:
    """What the first bytes say, with `complete` False: nobody knows. Where libkdumpfile is there and reads the format,
    all that the kernel's memory says."""
    found = _find(source) or _XEN_CORE
    kind = found.kind
    read = _libkdumpfile.open_container(source) if kind in _libkdumpfile.KINDS else None
    if read is not None:
        return _kernel.kernel_dump(source, kind, read)
    if kind == "vmware-vmss" and os.path.splitext(source.name)[1].lower() == ".vmsn":
        kind = _SNAPSHOT
    capture = Capture(
        machine="unknown", bits=0, order=found.order, read=_kernel.not_read, stored=lambda: iter(())
    )  # fmt: skip
    if found is _XEN_CORE:
        header = parse_header(source.read_at(0, HEADER_SIZE))
        if header is not None:
            capture = capture._replace(machine=header.machine_name, bits=header.bits, order=header.order)
    elif found.describe is not None:
        capture = found.describe(source, capture)
    container = _kernel.Container(capture=capture)
    if found.kind == "vmware-vmss":
        container = _with_vmem(source, container)
    return _kernel.opaque_dump(source, kind, found.what, container)


def _find(source: Any) -> Optional[_Format]:
    head = source.read_at(0, 64)
    for one in _FORMATS:
        there = head[: len(one.magic)] if not one.at else source.read_at(one.at, len(one.magic))
        if there == one.magic:
            return one
    return _XEN_CORE if _is_xen_core(source, head) else None


def _is_xen_core(source: Any, head: bytes) -> bool:
    """`xl dump-core` writes ELF cores with sections and no segments (xen docs/misc/dump-core-format.txt)."""
    header = parse_header(head)
    if header is None or header.type != ET_CORE or header.phnum or not 0 < header.shnum <= _MAX_SECTIONS:
        return False
    if header.shentsize != (64 if header.bits == 64 else 40) or header.shstrndx >= header.shnum:
        return False
    raw = source.read_at(header.shoff + header.shstrndx * header.shentsize, header.shentsize)
    if len(raw) < header.shentsize:
        return False
    at, size = struct.unpack_from(header.word + header.word[1], raw, 24 if header.bits == 64 else 16)
    return b"\0.xen_" in source.read_at(at, min(size, 4096))


def _with_vmem(source: Any, container: _kernel.Container) -> _kernel.Container:
    """A VMware state's memory may lie beside it: NAME.vmem beside NAME.vmss."""
    name = os.path.splitext(source.name)[0] + ".vmem"
    try:
        with source.sibling(name) as memory:
            if memory.uid == source.uid:
                return container._replace(parts=(_kernel.part_of(memory),))
    except (OSError, Refused):
        pass
    return container._replace(warnings=("there is no %s beside it: the memory may be within, or lost" % name,))
