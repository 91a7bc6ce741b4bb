# SPDX-License-Identifier: Apache-2.0
"""What belongs to a kernel dump and no debugger asks for: the text files that the crash kernel wrote beside it, and the
System.map of the kernel that crashed."""

import os
import re
import stat
from typing import Iterator, List, Optional

from .model import Dump, Entry
from .sysroot import Refused, Sysroot, open_regular

# kdump-utils (dracut-kdump.sh), kdump-tools (kdump-config), SUSE's kdump-save; kdump-tools puts its STAMP behind.
_TEXTS = re.compile(
    r"(vmcore-dmesg(-incomplete)?\.txt|kexec-dmesg(-incomplete)?\.log|README\.txt|dmesg(\.\d{8,14})?|makedumpfile-R\.pl)\Z"
)
_SYSTEM_MAPS = (
    "/boot/System.map-%s", "/usr/lib/debug/boot/System.map-%s", "/usr/lib/modules/%s/System.map",
    "/lib/modules/%s/System.map",
)  # fmt: skip
# A log is at most some MiB; what is larger is something else by the same name.
MAX_TEXT = 64 << 20
MAX_SYSTEM_MAP = 64 << 20
_STEXT = re.compile(rb"^([0-9a-f]{8,16}) [Tt] _stext$", re.MULTILINE)


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
        if not _TEXTS.match(name):
            continue
        try:
            status = os.lstat(at)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_uid == owner and 0 < status.st_size <= MAX_TEXT:
            yield _entry(name, "beside", at, status)


def _system_map(dump: Dump, sysroot: Sysroot) -> Optional[Entry]:
    """Debian's /boot/System.map is a stub of one line, and a rebuilt kernel has the same release: it counts if it puts
    _stext where the dump does, without KASLR's offset."""
    kernel = dump.kernel or {}
    vmcoreinfo = kernel.get("vmcoreinfo") or {}
    release = kernel.get("release")
    try:
        stext = int(vmcoreinfo["SYMBOL(_stext)"], 16) - int(vmcoreinfo.get("KERNELOFFSET", "0"), 16)
    except (KeyError, ValueError):
        return None
    if not release or "/" in release:
        return None
    for pattern in _SYSTEM_MAPS:
        try:
            at = sysroot.resolve(pattern % release).host_path
            with os.fdopen(open_regular(at), "rb") as file:
                match = _STEXT.search(file.read(MAX_SYSTEM_MAP))
                status = os.fstat(file.fileno())
        except (OSError, Refused, ValueError):
            continue
        if match and int(match.group(1), 16) == stext:
            return _entry("System.map-" + release, "system-map", at, status)._replace(matched_by="_stext")
    return None


def _entry(name: str, role: str, at: str, status: os.stat_result) -> Entry:
    return Entry(path=name, role=role, size=status.st_size, origin=at, mtime_ns=status.st_mtime_ns)
