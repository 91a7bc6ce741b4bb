# SPDX-License-Identifier: Apache-2.0
"""The scripts that gdb would load for the files of a dump: pretty printers, python3-gdb.py and their like (gdb manual,
"The objfile-gdb.ext file").

Nothing in a dump proves them, and they run on the analyst's machine: they are packed when asked for, only if nobody but
root or the caller could have written them, and run only when the analyst says so.
"""

import itertools
import os
import re
import stat
from typing import Dict, Iterator, List, Optional, Tuple

from .finders.build_id_tree import member
from .model import BY_CRC, BY_PATH, Entry, Findings, Found, ModuleFiles
from .plan.names import BUILD_ID_TREE, member_path
from .sysroot import Refused, Sysroot, open_regular, regular_file

ROLE = "gdb-script"

SUFFIXES = ("-gdb.py", "-gdb.gdb", "-gdb.scm")
# gdb's data directory with its own auto-load tree, as every distribution has it ("set auto-load scripts-directory").
_AUTO_LOAD = "/usr/share/gdb/auto-load"
# Folders that distributions turned into links when they merged /usr. Their packages may still name the old place:
# Debian 12 has the script for /usr/lib/x86_64-linux-gnu/libc.so.6 in auto-load/lib/x86_64-linux-gnu.
_MERGED = re.compile(r"^/usr(/(?:s?bin|lib[^/]*)/)")
# The largest known, CPython's, has 80 KiB; libstdc++'s printers are 15 files with less than 300.
MAX_SIZE = 1 << 20
MAX_SCRIPTS = 256
MAX_MODULES = 64
_MAX_DEPTH = 4

# How libstdc++'s script, made from hook.in of its sources, finds the folder that it imports from: by the way from one
# to the other of these, taken from where its library lies.
_HOOK = re.compile(rb"^(pythondir|libdir) = '(/[^'\n]*)'$", re.MULTILINE)


def entries(findings: Findings, sysroot: Sysroot) -> List[Entry]:
    """A member for each script that gdb finds by the name of a file that was found, and for what libstdc++'s script
    imports."""
    packed: Dict[str, Entry] = {}
    for files in findings.files:
        for found, at in _placed(files):
            for name, host in _scripts(found, sysroot):
                if len(packed) < MAX_SCRIPTS:
                    _pack(packed, at + name, host)
                    for path, module in _imported(packed.get(at + name), at, sysroot):
                        _pack(packed, path, module)
    return [packed[path] for path in sorted(packed)]


def _placed(files: ModuleFiles) -> Iterator[Tuple[Found, str]]:
    """What was found of a module, and where plan.userland puts it. (One that had to give way to another of its name
    goes without scripts.)"""
    loaded, debug = files.file, files.debug
    at = None
    if isinstance(loaded, Found):
        names = (files.module.path,) + files.module.names
        absolute = (name for name in names if name and name.startswith("/"))
        at = member_path(next(absolute, "/" + os.path.basename(loaded.at)))
        if at is not None:
            yield loaded, at
    if isinstance(debug, Found) and not (isinstance(loaded, Found) and loaded.at == debug.at):
        build_id = debug.want.build_id or debug.build_id
        if debug.matched_by == BY_CRC and at is not None:
            yield debug, "%s/.debug/%s" % (os.path.dirname(at), os.path.basename(debug.want.paths[0]))
        elif build_id:
            yield debug, "%s/%s" % (BUILD_ID_TREE, member(build_id, ".debug"))


def _scripts(found: Found, sysroot: Sysroot) -> Iterator[Tuple[str, str]]:
    """(suffix, path on this host) for each place where gdb, run on the host, would look: beside the file, and by its
    path in the auto-load tree."""
    for suffix in SUFFIXES:
        if found.descriptor is None:
            yield suffix, os.path.realpath(found.at) + suffix
        for path in _names(found):
            try:
                yield suffix, sysroot.resolve(_AUTO_LOAD + path + suffix).host_path
            except (OSError, ValueError):
                continue


def _names(found: Found) -> List[str]:
    """By which paths packages may have it: where it lies, and where it lay before /usr was merged."""
    names = [path for path in (found.inside,) + found.want.paths[:1] if path.startswith("/") and ".." not in path]
    return names + [_MERGED.sub(r"\1", path) for path in names if _MERGED.match(path)]


def _pack(packed: Dict[str, Entry], path: str, host: str) -> None:
    """Add it, unless one from a better place is there, or somebody else could have put it there."""
    if path in packed:
        return
    status = _trusted(host)
    if status is not None:
        packed[path] = Entry(
            path=path, role=ROLE, size=status.st_size, origin=host, mtime_ns=status.st_mtime_ns, matched_by=BY_PATH
        )


def _trusted(host: str) -> Optional[os.stat_result]:
    """Its status, if it is a file that only root or the caller can have written, in a folder that only they can have
    put it into: another user's hard link to a file of root's would be packed else."""
    try:
        descriptor = open_regular(host)
        try:
            status, folder = os.fstat(descriptor), os.stat(os.path.dirname(host))
        finally:
            os.close(descriptor)
    except (OSError, ValueError, Refused):
        return None
    owned = all(one.st_uid in (0, os.geteuid()) and not stat.S_IMODE(one.st_mode) & 0o022 for one in (status, folder))
    return status if owned and status.st_size <= MAX_SIZE else None


def _imported(script: Optional[Entry], at: str, sysroot: Sysroot) -> Iterator[Tuple[str, str]]:
    """(member, path on this host) of the Python files that libstdc++'s script imports: below `pythondir`, to lie in the
    archive as far from the library as on the host."""
    if script is None or script.origin is None:
        return
    try:
        with regular_file(script.origin) as file:
            named = {key: os.fsdecode(value) for key, value in _HOOK.findall(file.read(MAX_SIZE))}
    except (OSError, Refused):
        return
    if len(named) != 2:
        return
    top, library = os.path.normpath(named[b"pythondir"]), os.path.normpath(named[b"libdir"])
    below = os.path.normpath(os.path.join("/" + os.path.dirname(at), os.path.relpath(top, library)))
    try:
        host = sysroot.resolve(top).host_path
    except (OSError, ValueError):
        return
    for relative in itertools.islice(_python_files(host), MAX_MODULES):
        path = member_path(os.path.join(below, relative))
        if path is not None:
            yield path, os.path.join(host, relative)


def _python_files(host: str) -> Iterator[str]:
    """The .py files of the package libstdcxx below this folder, relative to it; no link is followed."""
    top = os.path.join(host, "libstdcxx")
    for where, folders, names in os.walk(top) if not os.path.islink(top) else ():
        relative = os.path.relpath(where, host)
        folders.sort()
        if relative.count(os.sep) >= _MAX_DEPTH:
            del folders[:]
        for name in sorted(names):
            if name.endswith(".py"):
                yield os.path.join(relative, name)
