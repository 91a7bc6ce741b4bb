# SPDX-License-Identifier: Apache-2.0
"""What belongs to a kernel dump and no debugger asks for: the text files that the crash kernel wrote beside it, and the
System.map of the kernel that crashed."""

import os
import re
import stat
from typing import Dict, Iterator, List, Optional, Set

from .kernel.vmcoreinfo import MASK, Unreadable, Vmcoreinfo
from .model import BY_SYMBOLS, Dump, Entry
from .stores.kdump import LOG
from .sysroot import Refused, Sysroot, regular_file

# kdump-utils (dracut-kdump.sh), SUSE's kdump-save, makedumpfile.
_TEXTS = re.compile(r"(kexec-dmesg(-incomplete)?\.log|README\.txt|makedumpfile-R\.pl)\Z")
_SYSTEM_MAPS = (
    "/boot/System.map-%s", "/usr/lib/debug/boot/System.map-%s", "/usr/lib/modules/%s/System.map",
    "/lib/modules/%s/System.map",
)  # fmt: skip
# A log is at most some MiB; what is larger is something else by the same name.
MAX_TEXT = 64 << 20
MAX_SYSTEM_MAP = 64 << 20
# Not where these variables are but what they hold: VMCOREINFO_SYMBOL_ARRAY of a pointer (kernel/vmcore_info.c).
_VALUES = ("mem_section", "vmemmap")


def entries(dump: Dump, owner: int, sysroot: Sysroot) -> List[Entry]:
    """The files, each with the name that it shall have as path. `owner` is the dump's: a text file of somebody else's
    in the same folder has no business here."""
    found = list(_texts(dump.path, owner))
    system_map = _system_map(dump, sysroot)
    return found + ([system_map] if system_map is not None else [])


def _texts(path: str, owner: int) -> Iterator[Entry]:
    folder = os.path.dirname(os.path.realpath(path))
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        at = os.path.join(folder, name)
        if not (LOG.match(name) or _TEXTS.match(name)):
            continue
        try:
            status = os.lstat(at)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_uid == owner and 0 < status.st_size <= MAX_TEXT:
            yield _entry(name, "beside", at, status)


def _system_map(dump: Dump, sysroot: Sysroot) -> Optional[Entry]:
    """Debian's /boot/System.map is a stub of one line, and a rebuilt kernel has the same release, and on x86 the same
    _stext: it counts if it puts everything where the dump does, without KASLR's offset."""
    kernel = dump.kernel or {}
    release = kernel.get("release")
    wanted = _addresses(kernel.get("vmcoreinfo") or {})
    if not release or "/" in release or "_stext" not in wanted:
        return None
    for pattern in _SYSTEM_MAPS:
        try:
            at = sysroot.resolve(pattern % release).host_path
            with regular_file(at) as file:
                places = _places(file.read(MAX_SYSTEM_MAP), wanted)
                status = os.fstat(file.fileno())
        except (OSError, Refused, ValueError):
            continue
        if "_stext" in places and all(wanted[name] in places[name] for name in places):
            return _entry("System.map-" + release, "system-map", at, status)._replace(matched_by=BY_SYMBOLS)
    return None


def _addresses(vmcoreinfo: Dict[str, str]) -> Dict[str, int]:
    """Where the symbols that VMCOREINFO has would be without KASLR's offset."""
    info = Vmcoreinfo(vmcoreinfo)
    names = [key[len("SYMBOL(") : -1] for key in vmcoreinfo if key.startswith("SYMBOL(") and key.endswith(")")]
    try:
        offset = info.hexadecimal("KERNELOFFSET") or 0
        return {name: (info.symbol(name) - offset) & MASK for name in names if name not in _VALUES}
    except Unreadable:
        return {}


def _places(system_map: bytes, wanted: Dict[str, int]) -> Dict[str, Set[int]]:
    """Where the map puts these symbols; static ones of one name have several places."""
    found: Dict[str, Set[int]] = {}
    for line in system_map.splitlines():
        fields = line.split()
        name = os.fsdecode(fields[-1]) if len(fields) == 3 else ""
        if name in wanted:
            found.setdefault(name, set()).add(int(fields[0], 16))
    return found


def _entry(name: str, role: str, at: str, status: os.stat_result) -> Entry:
    return Entry(path=name, role=role, size=status.st_size, origin=at, mtime_ns=status.st_mtime_ns)
