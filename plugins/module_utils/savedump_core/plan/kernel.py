# SPDX-License-Identifier: Apache-2.0
"""Lay the archive of a kernel dump out.

vmlinux and modules lie where Debian, Fedora and SUSE install them, so that drgn finds them below usr/lib/debug by build
ID and crash by the tree of the release. Every name that the launchers need stands in .savedump/.
"""

import os
from typing import AbstractSet, Dict, Iterable, List, Optional, Tuple

from ..finders import kernel_layout
from ..finders.build_id_tree import member
from ..model import VMLINUX, Dump, Entry, Findings, Found, ModuleFiles
from .names import BUILD_ID_TREE, DUMP_LINK, MAX_NAME, OWN, parents, relative_link, safe_name

VMLINUX_LINK = OWN + "/vmlinux"
VMLINUX_DEBUG_LINK = OWN + "/vmlinux.debug"
"""Only where vmlinux and its debug information are two files."""
MODULES_LINK = OWN + "/modules"
"""The folder in and below which all modules lie."""
PARTS = OWN + "/parts"
"""Of a split set: links named 1, 2, …: the file that was named, to which DUMP_LINK leads, then the others in the
order of memory."""
DMESG = "dmesg.txt"
VMCOREINFO = OWN + "/vmcoreinfo"
"""For debuggers, if the dump's headers lack it."""

_DEBUG_MODULES = "usr/lib/debug/lib/modules"
# __NEW_UTS_LEN (include/uapi/linux/utsname.h).
_NODENAME_MAX = 64


def archive_name(dump: Dump, name: str) -> str:
    """NODENAME.archive-NAME: support gets such dumps from many hosts, and all are called vmcore."""
    nodename = (dump.kernel or {}).get("nodename")
    host = safe_name(nodename)[:_NODENAME_MAX] + "." if nodename else ""
    return "%sarchive-%s" % (host, name[: MAX_NAME - len(host)])


def entries(
    dump: Dump, name: str, findings: Findings, beside: Iterable[Entry], reserved: AbstractSet[str]
) -> List[Entry]:
    """All members but the launchers: links, text, files, then the dump with all its parts. No file gets a `reserved`
    name."""
    layout = _Layout(safe_name((dump.kernel or {}).get("release") or "unknown"), reserved)
    for files in findings.files:
        if files.module.name == VMLINUX:
            layout.add_vmlinux(files)
        else:
            layout.add_module(files)
    for entry in _texts(dump, layout.release):
        layout.add(entry)
    for entry in beside:
        layout.add(entry)
    dumps = [layout.place_dump(name, dump.path, dump.size, dump.mtime_ns)]
    for part in dump.parts:
        dumps.append(layout.place_dump(safe_name(os.path.basename(part.path)), part.path, part.size, part.mtime_ns))
    return layout.links(dumps) + layout.files() + dumps


def _texts(dump: Dump, release: str) -> List[Entry]:
    made = (
        (DMESG, "dmesg", dump.dmesg), ("config-" + release, "config", dump.config),
        (VMCOREINFO, "vmcoreinfo", dump.vmcoreinfo),
    )  # fmt: skip
    return [Entry(path=path, role=role, size=len(data), data=data) for path, role, data in made if data is not None]


class _Layout:
    """The members that were given a name so far; no name is given twice."""

    def __init__(self, release: str, reserved: AbstractSet[str]) -> None:
        self.release = release
        self._taken = set(reserved)
        self._files: Dict[str, Entry] = {}
        self._links: Dict[str, str] = {}
        self._placed: Dict[Tuple[str, int], str] = {}

    def add_vmlinux(self, files: ModuleFiles) -> None:
        loaded, debug = files.file, files.debug
        if isinstance(loaded, Found):
            path = self._place(loaded, "vmlinux-%s%s" % (self.release, _packing(loaded.at)), "vmlinux")
            self._links[VMLINUX_LINK] = path
            self._by_build_id(loaded, path, "")
        if isinstance(debug, Found):
            path = self._place(debug, "vmlinux-%s.debug" % self.release, "debug")
            if debug is not loaded and debug.at != getattr(loaded, "at", None):
                self._links[VMLINUX_DEBUG_LINK] = path
            self._links.setdefault(VMLINUX_LINK, path)
            self._by_build_id(debug, path, ".debug")
        self._add_supplementary(files)

    def add_module(self, files: ModuleFiles) -> None:
        debug, loaded = files.debug, files.file
        if isinstance(debug, Found):
            place = kernel_layout.member(debug.inside, self.release) or _file_name(debug, files)
            path = self._place(debug, "%s/%s/%s" % (_DEBUG_MODULES, self.release, place), "debug")
            self._by_build_id(debug, path, ".debug")
        if isinstance(loaded, Found):
            place = kernel_layout.member(loaded.inside, self.release) or _file_name(loaded, files)
            path = self._place(loaded, "lib/modules/%s/%s" % (self.release, place), "kernel-module")
            self._by_build_id(loaded, path, "")
        self._add_supplementary(files)

    def _add_supplementary(self, files: ModuleFiles) -> None:
        if isinstance(files.supplementary, Found):
            build_id = files.supplementary.build_id or b""
            self._place(files.supplementary, "%s/%s" % (BUILD_ID_TREE, member(build_id, ".debug")), "supplementary")

    def _place(self, found: Found, wanted: str, role: str) -> str:
        key = (found.at, found.mtime_ns)
        if key not in self._placed:
            self._placed[key] = self.add(Entry(
                path=wanted, role=role, size=found.size, origin=found.at, mtime_ns=found.mtime_ns,
                build_id=found.build_id, matched_by=found.matched_by, cuts=found.spare,
                descriptor=found.descriptor,
            ))  # fmt: skip
        return self._placed[key]

    def add(self, entry: Entry) -> str:
        """Give the entry its name, or one with a number before it if that is taken; the name."""
        folder, base = os.path.split(os.path.normpath("/" + entry.path).lstrip("/"))
        path, count = os.path.join(folder, base), 1
        while path in self._taken:
            count += 1
            path = os.path.join(folder, "%d-%s" % (count, base))
        self._taken.update(parents(path) + [path])
        self._files[path] = entry._replace(path=path)
        return path

    def place_dump(self, name: str, origin: str, size: int, mtime_ns: int) -> Entry:
        while name in self._taken:
            name = "dump-" + name
        self._taken.add(name)
        return Entry(path=name, role="dump", size=size, origin=origin, mtime_ns=mtime_ns)

    def _by_build_id(self, found: Found, path: str, suffix: str) -> None:
        if found.build_id:
            self._links.setdefault("%s/%s" % (BUILD_ID_TREE, member(found.build_id, suffix)), path)

    def links(self, dumps: List[Entry]) -> List[Entry]:
        self._links[DUMP_LINK] = dumps[0].path
        if len(dumps) > 1:
            self._links.update(("%s/%d" % (PARTS, number), dump.path) for number, dump in enumerate(dumps, 1))
        modules = self._modules_folder()
        if modules:
            self._links[MODULES_LINK] = modules
        return [
            Entry(path=link, role="link", target=relative_link(link, target))
            for link, target in sorted(self._links.items())
            if link not in self._taken
        ]

    def _modules_folder(self) -> Optional[str]:
        for folder in (_DEBUG_MODULES, "lib/modules"):
            where = "%s/%s" % (folder, self.release)
            if any(path.startswith(where + "/") for path in self._files):
                return where
        return None

    def files(self) -> List[Entry]:
        return [self._files[path] for path in sorted(self._files)]


def _packing(path: str) -> str:
    suffix = os.path.splitext(path)[1]
    return suffix if suffix in kernel_layout.PACKED else ""


def _file_name(found: Found, files: ModuleFiles) -> str:
    """For a file of --search-path that lies in no release's tree, and may have any name."""
    base = os.path.basename(found.at)
    if kernel_layout.module_name(base) == files.module.name:
        return base
    return safe_name(files.module.name) + ".ko" + _packing(found.at)
