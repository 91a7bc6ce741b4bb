# SPDX-License-Identifier: Apache-2.0
"""The first pages of a kernel's dump: which machine, which kernel, when, by the container's headers and VMCOREINFO."""

import struct
from typing import Any, List, NamedTuple, Optional, Tuple

from ..elf.header import HEADER_SIZE, PT_LOAD, PT_NOTE, parse_header
from ..errors import BadDump
from ..kernel import vmcoreinfo
from ..kernel.capture import Capture
from ..model import Dump
from ..sysroot import Sysroot
from . import _kernel, flattened, kdump, opaque, vmcore
from ._kdump_header import INCOMPLETE, METHODS, KdumpHeader, machine_by_notes, read_header

# Whether a dump is whole takes a look at its bitmap, or at all its records: 5 ms for each 20 MB of the first kind, 50
# ms of the other.
MAX_PROVEN, MAX_RECORDS_PROVEN = 128 << 20, 32 << 20
_NOT_READ = "a listing does not read the kernel's memory; inspect does"
# Of a flattened stream: headers and notes come first, in records of 64 KiB at most.
_MAX_FRONT, _MAX_FRONT_BYTES = 4096, 256 << 10
_END = struct.pack(">qq", -1, -1)
_NOTHING = Capture(machine="unknown", bits=0, order="unknown", read=_kernel.not_read, stored=lambda: iter(()))


class _Seen(NamedTuple):
    """As glance.Glance, whose file this one is imported by."""

    dump: Dump
    complete: Optional[bool]
    size: Optional[int]
    claimed_size: Optional[int] = None


def elf(source: Any) -> _Seen:
    """An ELF core of a kernel."""
    container = vmcore.open_elf(source, source)
    if source.compression:
        return _seen(source, vmcore.KIND, container._replace(incomplete_why=None), False)
    return _seen(source, vmcore.KIND, container, True)._replace(claimed_size=_end_of_elf(source))


def other(source: Any) -> Optional[_Seen]:
    """A kernel's dump of any other format; None if it is none."""
    if kdump.sniff(source):
        return _kdump(source, source, kdump.KIND, source.compression is None and source.size <= MAX_PROVEN)
    if flattened.sniff(source):
        return _flattened(source)
    found = opaque._find(source)
    return _opaque(source, found) if found is not None else None


def _end_of_elf(source: Any) -> Optional[int]:
    header = parse_header(source.read_at(0, HEADER_SIZE))
    if header is None:
        return None
    rows = vmcore._rows(source, header)
    return max((row.offset + row.filesz for row in rows if row.type in (PT_NOTE, PT_LOAD)), default=None)


def _kdump(data: Any, source: Any, kind: str, prove: bool) -> _Seen:
    """`data` is the source, or the front of what a flattened one holds. `prove` it to be whole, or only see whether it
    cannot be."""
    header = read_header(data, source.path)
    if header.diskdump:
        kind = kdump.DISKDUMP_KIND
    if prove:
        return _seen(source, kind, kdump.open_kdump(data, source, header), True)
    warnings: List[str] = []
    capture = _capture(data, header, warnings)
    why = None
    if header.status & INCOMPLETE:
        why = "makedumpfile marked it incomplete: its disk was full"
    elif data is source and source.size < header.descriptors_at:
        why = "it is cut within its bitmap, so that no page can be found"
    return _seen(source, kind, _kernel.Container(capture, why, tuple(warnings)), False)


def _capture(data: Any, header: KdumpHeader, warnings: List[str]) -> Capture:
    """As kdump.open_kdump makes it, without the pages."""
    found = kdump._vmcoreinfo(data, header, warnings)
    return Capture(
        machine=header.machine or kdump._told(found) or machine_by_notes(data, header) or "unknown",
        bits=header.bits,
        order=header.order,
        read=_kernel.not_read,
        stored=lambda: iter(()),
        page_size=header.block_size,
        vmcoreinfo=found,
        utsname=header.utsname,
        dump_level=header.dump_level,
        compression=next((name for flag, name in METHODS if header.status & flag), None),
        crash_time=header.timestamp[0] if 0 < header.timestamp[0] < kdump._YEAR_2500 else None,
    )


def _flattened(source: Any) -> _Seen:
    front = _Front(source)
    in_front = kdump.sniff(front) or vmcore.is_kernel(front)
    if source.compression is None and (source.size <= MAX_RECORDS_PROVEN or not in_front):
        return _indexed(source)
    if kdump.sniff(front):
        seen = _kdump(front, source, flattened.KDUMP_KIND, False)
    elif in_front:
        container = vmcore.open_elf(front, source)._replace(incomplete_why=None)
        seen = _seen(source, flattened.ELF_KIND, container, False)
    else:
        # makedumpfile writes an ELF file's header last, a kdump file's first.
        seen = _seen(source, flattened.ELF_KIND, _kernel.Container(_NOTHING), False)
    if source.compression is None and source.read_at(source.size - len(_END), len(_END)) != _END:
        why = "; ".join(filter(None, ("its end marker is missing: the stream was cut", seen.dump.incomplete_why)))
        seen = seen._replace(dump=seen.dump._replace(complete=False, incomplete_why=why), complete=False)
    return seen


def _indexed(source: Any) -> _Seen:
    """With all its records looked at."""
    view = flattened.Flattened(source)
    if vmcore.is_kernel(view):
        kind, container = flattened.ELF_KIND, vmcore.open_elf(view, source)
    elif kdump.sniff(view):
        kind, container = flattened.KDUMP_KIND, kdump.open_kdump(view, source)
    else:
        raise BadDump("%s is flattened (makedumpfile -F), and what is within is no kernel's dump" % source.path)
    why = "; ".join(reason for reason in (view.why_cut, container.incomplete_why) if reason)
    return _seen(source, kind, container._replace(incomplete_why=why or None), True)


class _Front:
    """The first records of a flattened stream, as the file within: its headers. As flattened.Flattened."""

    size = 1 << 62

    def __init__(self, source: Any) -> None:
        self._source = source
        self._records: List[Tuple[int, int, int]] = []
        at = flattened._HEADER
        for _count in range(_MAX_FRONT):
            raw = source.read_at(at, 16)
            offset, size = struct.unpack(">qq", raw) if len(raw) == 16 else (-1, -1)
            if offset < 0 or size <= 0:
                break
            self._records.append((offset, offset + size, at + 16))
            at += 16 + size
            if at > _MAX_FRONT_BYTES:
                break

    def read_at(self, offset: int, size: int) -> bytes:
        """What these records say; zeros where they say nothing."""
        whole = bytearray(size)
        for start, end, at in self._records:
            first, last = max(start, offset), min(end, offset + size)
            if first < last:
                data = self._source.read_at(at + first - start, last - first)
                whole[first - offset : first - offset + len(data)] = data
        return bytes(whole)


def _opaque(source: Any, found: Any) -> _Seen:
    """As opaque.open_dump without libkdumpfile."""
    container = _kernel.Container(_NOTHING._replace(order=found.order))
    dump = opaque.open_dump(source, Sysroot()) if found.kind not in opaque._libkdumpfile.KINDS else None
    if dump is None:
        if found.describe is not None:
            container = container._replace(capture=found.describe(source, container.capture))
        dump = _kernel.opaque_dump(source, found.kind, found.what, container)
    return _Seen(dump, None, None if source.compression else source.size)


def _seen(source: Any, kind: str, container: _kernel.Container, proven: bool) -> _Seen:
    """`proven`: that nothing lacks if the container does not say so."""
    capture = container.capture
    dump = _kernel.opaque_dump(source, kind, "", container)
    kernel = dict(dump.kernel or {})
    kernel.update(dump_level=capture.dump_level, compression=capture.compression, unknown={"panic": _NOT_READ})
    if capture.vmcoreinfo:
        lines = vmcoreinfo.parse(capture.vmcoreinfo)
        said = lines.values
        kernel["release"] = kernel["release"] or said.get("OSRELEASE")
        kernel["build_id"] = said.get("BUILD-ID")
        kernel["crash_time"] = _number(said.get("CRASHTIME"), 10) or kernel["crash_time"]
        kernel["page_size"] = kernel["page_size"] or _number(said.get("PAGESIZE"), 10)
        offset = _number(said.get("KERNELOFFSET"), 16)
        kernel["kaslr_offset"] = None if offset is None else "0x%x" % offset
        if kernel["machine"] is None and capture.machine != "unknown":
            kernel["machine"] = capture.machine
    why = container.incomplete_why
    if source.damage:
        why = "%s; %s" % (source.damage, why) if why else source.damage
    complete = False if why else (True if proven else None)
    dump = dump._replace(
        kernel=kernel, complete=bool(complete), incomplete_why=why, modules=(), modules_why=_NOT_READ,
        parts=container.parts,
    )  # fmt: skip
    return _Seen(dump, complete, None if source.compression else source.size)


def _number(text: Optional[str], base: int) -> Optional[int]:
    try:
        return int(text[:32], base) if text else None
    except ValueError:
        return None
