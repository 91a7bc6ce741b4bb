# SPDX-License-Identifier: Apache-2.0
"""Lay the archive of a process's core out.

The archive's top folder is the sysroot: files stand under the real path that the process had them mapped from, and the
host's own directory links (lib -> usr/lib) make the names of the link map lead there too. What the launchers need
stands under fixed names in .savedump/, so that no name from a dump is ever written into a script.
"""

import os
from typing import AbstractSet, Dict, List, Sequence, Set, Tuple

from ..elf.file import PACKAGE_OF_UNITS
from ..finders.build_id_tree import member
from ..model import BY_CRC, Dump, Entry, Findings, Found, ModuleFiles
from ..sysroot import Sysroot
from .names import BUILD_ID_TREE, DUMP_LINK, OWN, member_path, parents, relative_link, safe_name

EXECUTABLE_LINK = OWN + "/executable"
SOLIB = OWN + "/solib"
THREAD_DB = OWN + "/thread-db/libthread_db.so.1"
DWO = OWN + "/dwo"
"""Links to the folders of files that have .dwo files beside them, for launchers to name: not every debugger looks
there by itself."""
DWO_ELSEWHERE = OWN + "/dwo-elsewhere"
"""The .dwo files that no debugger finds: the compiler called them by an absolute path, or two had one name."""
_DISPLACED = OWN + "/files"
# Top folders that distributions turn into links when they merge /usr (Debian's usrmerge, Fedora's UsrMove).
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


def entries(
    dump: Dump,
    name: str,
    findings: Findings,
    sysroot: Sysroot,
    reserved: AbstractSet[str],
    beside: Sequence[Entry] = (),
) -> List[Entry]:
    """All members but the launchers: links, files, the dump. No file gets a `reserved` name. `beside` is what else
    belongs to the dump, each with the name it is to have, and left out if a file has that already."""
    layout = _Layout(reserved)
    for files in findings.files:
        layout.add_module(files)
    for files in findings.files:
        layout.add_split(files)
    for files in findings.files:
        layout.add_names(files, sysroot)
    layout.add_merged_folders(sysroot)
    if findings.thread_db is not None:
        layout.add_file("/" + THREAD_DB, "thread-db", findings.thread_db, own=True)
    for entry in beside:
        layout.add_beside(entry)
    path = layout.place_dump(name)
    dump_entry = Entry(path=path, role="dump", size=dump.size, origin=dump.path, mtime_ns=dump.mtime_ns)
    return layout.links() + layout.files() + [dump_entry]


class _Layout:
    """The members that were given a name so far. No name is given twice, and none lies below a link."""

    def __init__(self, reserved: AbstractSet[str]) -> None:
        self._files: Dict[str, Entry] = {}
        self._folders: Set[str] = set()
        self._links: Dict[str, str] = {}
        self._placed: Dict[Tuple[str, int], str] = {}
        self._relative_names: Dict[str, Dict[str, str]] = {}
        self._dwo_folders: Set[str] = set()
        self._reserved = reserved

    def add_module(self, files: ModuleFiles) -> None:
        """Its loaded, debug and supplementary files, the build-ID links to them, the executable's link."""
        loaded = files.file
        if isinstance(loaded, Found):
            role = "executable" if files.module.executable else "library"
            wanted = files.module.path or next((name for name in files.module.names if name.startswith("/")), None)
            path = self.add_file(wanted or "/" + os.path.basename(loaded.at), role, loaded)
            if files.module.executable:
                self._links.setdefault(EXECUTABLE_LINK, relative_link(EXECUTABLE_LINK, path))
            if loaded.build_id:
                by_id = "%s/%s" % (BUILD_ID_TREE, member(loaded.build_id))
                self._links.setdefault(by_id, relative_link(by_id, path))
        for role, result in (("debug", files.debug), ("supplementary", files.supplementary)):
            if isinstance(result, Found) and not (isinstance(loaded, Found) and result.at == loaded.at):
                self._add_debug(role, result, loaded)

    def _add_debug(self, role: str, result: Found, loaded: object) -> None:
        build_id = result.want.build_id or result.build_id
        if result.matched_by == BY_CRC and isinstance(loaded, Found):
            # gdb looks in .debug beside the loaded file for what .gnu_debuglink names.
            beside = os.path.dirname("/" + self._placed[_key(loaded)])
            self.add_file("%s/.debug/%s" % (beside, os.path.basename(result.want.paths[0])), role, result)
        if build_id:
            self.add_file("/%s/%s" % (BUILD_ID_TREE, member(build_id, ".debug")), role, result)

    def add_split(self, files: ModuleFiles) -> None:
        """Its .dwp or .dwo files, where debuggers look from the file that has their skeletons."""
        whole = self._placed.get(_key(files.debug)) if isinstance(files.debug, Found) else None
        for part in files.split:
            if whole is not None and isinstance(part, Found):
                if PACKAGE_OF_UNITS in part.features:
                    self._add_package(part, whole, files)
                else:
                    self._add_unit(part, whole)

    def _add_package(self, part: Found, whole: str, files: ModuleFiles) -> None:
        """Called after that file. For one that was stripped off a program gdb 13 looks in its folder, by the program's
        name, which is that of the launcher's link; lldb 14 beside the program."""
        path = self.add_file("/%s.dwp" % whole, "dwp", part)
        folder = os.path.dirname(whole)
        loaded = self._placed[_key(files.file)] if isinstance(files.file, Found) else whole
        names = [whole, loaded, os.path.join(folder, os.path.basename(loaded))]
        if files.module.executable:
            names.append(os.path.join(folder, os.path.basename(EXECUTABLE_LINK)))
        for name in names:
            self._add_link(name + ".dwp", path)

    def _add_unit(self, part: Found, whole: str) -> None:
        """By the name that it has in that file, relative to it: there gdb 13 and libdw look."""
        name, folder = part.want.paths[-1], os.path.dirname(whole)
        beside = member_path(os.path.normpath("/" + os.path.join(folder, name)))
        placed = self._placed.get(_key(part))
        if name.startswith("/") or beside is None or (placed is None and self._is_taken(beside)):
            path = member_path(os.path.normpath("/" + part.want.paths[0])) or "unit.dwo"
            self.add_file("/%s/%s" % (DWO_ELSEWHERE, path), "dwo", part, own=True)
            return
        self._add_link(beside, self.add_file("/" + beside, "dwo", part))
        if folder:
            self._dwo_folders.add(folder)

    def add_beside(self, entry: Entry) -> None:
        """What comes with a name of its own; it gives way to everything else."""
        path = member_path(entry.path)
        if path is not None and not self._is_taken(path):
            self._files[path] = entry._replace(path=path)
            self._folders.update(parents(path))

    def add_file(self, wanted: str, role: str, found: Found, own: bool = False) -> str:
        """Give a file its member name: the wanted path, or one beneath .savedump/files if that is taken by another
        file, or would stand where the archive's own members do and is not meant to. Returns the name."""
        if _key(found) in self._placed:
            return self._placed[_key(found)]
        path = member_path(wanted)
        if path is None or self._is_taken(path, own):
            label = found.build_id.hex() if found.build_id else "%d" % len(self._files)
            path = "%s/%s/%s" % (_DISPLACED, label, safe_name(os.path.basename(wanted)))
        self._files[path] = Entry(
            path=path, role=role, size=found.size, origin=found.at, mtime_ns=found.mtime_ns, build_id=found.build_id,
            matched_by=found.matched_by, descriptor=found.descriptor,
        )  # fmt: skip
        self._placed[_key(found)] = path
        self._folders.update(parents(path))
        return path

    def _is_taken(self, path: str, own: bool = False) -> bool:
        if path in self._files or path in self._folders or not self._files.keys().isdisjoint(parents(path)):
            return True
        return path.split("/")[0] in self._reserved and not own

    def place_dump(self, name: str) -> str:
        """The dump's member name: its own, unless the process had a file or folder of that name in its root."""
        tops = {path.split("/")[0] for paths in (self._files, self._links, self._reserved) for path in paths}
        while name in tops:
            name = "dump-" + name
        self._links[DUMP_LINK] = relative_link(DUMP_LINK, name)
        return name

    def add_names(self, files: ModuleFiles, sysroot: Sysroot) -> None:
        """Make the other names of a module's file lead to it."""
        if not isinstance(files.file, Found):
            return
        path = self._placed[_key(files.file)]
        for name in files.module.names:
            if name.startswith("/"):
                self._add_absolute_name(name, path, sysroot)
            else:
                self._relative_names.setdefault(os.path.basename(name), {})[name] = path

    def add_merged_folders(self, sysroot: Sysroot) -> None:
        """The host's own /lib -> usr/lib and their like, for names that the link map of a dump does not tell."""
        for folder in _MERGED:
            try:
                resolved = sysroot.resolve(folder)
            except OSError:
                continue
            target = resolved.path.lstrip("/")
            if resolved.links and target in self._folders:
                self._add_link(folder.lstrip("/"), target)

    def _add_absolute_name(self, name: str, path: str, sysroot: Sysroot) -> None:
        directory, base = os.path.split(name)
        try:
            resolved = sysroot.resolve(directory)
        except (OSError, ValueError):
            link = member_path(name)
        else:
            for at, target in resolved.links:
                self._add_link(at[1:], target.lstrip("/"))
            link = member_path(os.path.join(resolved.path, base))
        if link and link != path:
            self._add_link(link, path)

    def _add_relative_names(self) -> None:
        """gdb 13 finds a relative name below solib-search-path by its base name only. Where different files share one,
        the whole relative names are kept, for a debugger whose working directory is .savedump/solib."""
        for base, names in sorted(self._relative_names.items()):
            if len(set(names.values())) == 1:
                self._add_link("%s/%s" % (SOLIB, base), next(iter(names.values())))
                continue
            for relative, path in ((member_path(name), path) for name, path in names.items()):
                if relative:
                    self._add_link("%s/%s" % (SOLIB, relative), path)

    def _add_link(self, link: str, target: str) -> None:
        # A member may be called .savedump/…, but a name from the dump only below its solib.
        if link.split("/")[0] in self._reserved and not link.startswith(SOLIB + "/"):
            return
        if member_path(link) == link and member_path(target) == target and link != target:
            self._links.setdefault(link, relative_link(link, target))

    def links(self) -> List[Entry]:
        """Links that stand in no file's way: unpacking never goes through a link, so a link that a member lies below
        is dropped, and so is one that lies below another link."""
        self._add_relative_names()
        for number, folder in enumerate(sorted(self._dwo_folders), 1):
            link = "%s/%d" % (DWO, number)
            self._links[link] = relative_link(link, folder)
        blocked: Set[str] = set()
        for path in list(self._files) + list(self._links):
            blocked.update(parents(path))
        kept = [link for link in sorted(self._links) if link not in self._files and link not in blocked]
        chosen = set(kept)
        return [
            Entry(path=link, role="link", target=self._links[link])
            for link in kept
            if not any(parent in chosen or parent in self._files for parent in parents(link))
        ]

    def files(self) -> List[Entry]:
        return [self._files[path] for path in sorted(self._files)]


def _key(found: Found) -> Tuple[str, int]:
    return found.at, found.mtime_ns
