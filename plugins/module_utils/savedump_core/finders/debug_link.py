# SPDX-License-Identifier: Apache-2.0
"""Beside a file and below /usr/lib/debug: what its .gnu_debuglink, .gnu_debugaltlink, .debug_sup or split DWARF names,
and what distributions put there without being told, in every place that a debugger looks.

gdb: symfile.c, find_separate_debug_file (beside it, in .debug beside it, below the global folder by the file's folder);
dwarf2/read.c, open_and_init_dwp_file and open_dwo_file; dwarf2/dwz.c. elfutils: libdwfl/find-debuginfo.c, which goes on
below the global folder with one leading folder less each time, and so finds what a distribution with /lib -> usr/lib
still packs for /lib; libdw/libdw_find_split_unit.c.
"""

import os
from typing import Iterator, List

from ..model import DEBUG, SPLIT, SUPPLEMENTARY, Candidate, Want
from ..sysroot import Roots

NAME = "debug-link"
_GLOBAL = "/usr/lib/debug"
_DWZ = "/.dwz/"


def candidates(want: Want, roots: Roots) -> Iterator[Candidate]:
    del roots
    if want.kind == DEBUG:
        yield from _debug(want)
    elif want.kind == SUPPLEMENTARY:
        yield from _supplementary(want)
    elif want.kind == SPLIT:
        yield from _packages(want) if all(name.endswith(".dwp") for name in want.paths) else _units(want)


def _debug(want: Want) -> Iterator[Candidate]:
    if want.build_id is None and want.crc is None and not want.release:
        # Nothing could prove it: debug information of another build is worse than none.
        return
    files = _files(want)
    for file in files:
        folder, base = os.path.split(file)
        names = want.paths or (base + ".debug",)
        for name in names:
            yield _near(want, file, os.path.join(folder, name))
            yield _near(want, file, os.path.join(folder, ".debug", name))
        for place in _below_global(folder) if not want.release else [_GLOBAL + folder]:
            for name in names:
                yield from _in_global(want, os.path.join(place, name))
    if not want.release:
        for file in files:
            folder, base = os.path.split(file)
            # Older packages of Debian, and Fedora's by path: the same path again, without and with a suffix.
            for place in (_GLOBAL + folder, _GLOBAL + _without_usr(folder)):
                for name in (base + ".debug", base):
                    yield from _in_global(want, os.path.join(place, name))


def _supplementary(want: Want) -> Iterator[Candidate]:
    for name in want.paths:
        # dwz writes the path absolute, or relative to the file that holds the link; after that file was moved (into a
        # .build-id tree, say), to where it was.
        folders = [os.path.dirname(file) for file in _files(want)]
        for folder in folders:
            yield Candidate(path=os.path.join(folder, name), finder=NAME, root=want.loaded_in)
        if not name.startswith("/"):
            for folder in folders:
                yield from _in_global(want, os.path.normpath(os.path.join(_GLOBAL + folder, name)))
        _before, dwz, rest = ("/" + name).rpartition(_DWZ)
        if dwz:
            yield from _in_global(want, _GLOBAL + dwz + rest)


def _packages(want: Want) -> Iterator[Candidate]:
    """The .dwp of all units, called after the program, or after the file that was stripped off it."""
    names = list(want.paths)
    names += [name[: -len(".debug.dwp")] + ".dwp" for name in names if name.endswith(".debug.dwp")]
    for file in _files(want):
        folder = os.path.dirname(file)
        for name in names:
            yield _near(want, file, os.path.join(folder, name))
            yield _near(want, file, os.path.join(folder, ".debug", name))
        for place in _below_global(folder):
            for name in names:
                yield from _in_global(want, os.path.join(place, name))


def _units(want: Want) -> Iterator[Candidate]:
    """One .dwo: where the compiler put it; as it was called there, relative to the files that need it and to the global
    folder; by its last part beside these files. Its name is the word of a file that may be the dump's owner's own, so
    it is opened with his rights."""
    for path in want.paths:
        if path.startswith("/"):
            yield from _roots_for(want, path, named_by_dump=True)
            continue
        for file in _files(want):
            yield from _roots_for(want, os.path.join(os.path.dirname(file), path), named_by_dump=True)
        yield from _roots_for(want, os.path.join(_GLOBAL, path), named_by_dump=True)
    bases = []
    for path in want.paths:
        if os.path.basename(path) not in bases:
            bases.append(os.path.basename(path))
    for file in _files(want):
        for base in bases:
            yield _near(want, file, os.path.join(os.path.dirname(file), base))


def _files(want: Want) -> List[str]:
    """The file that names what is wanted, and the module that it is for, as the process had it mapped."""
    files = []
    # What was found below a folder of --search-path has a path relative to that: another finder's.
    for path in (want.loaded_at, want.module):
        if path and path.startswith("/"):
            path = os.path.normpath(path)
            if path not in files:
                files.append(path)
    return files


def _near(want: Want, file: str, path: str) -> Candidate:
    return Candidate(path=path, finder=NAME, root=want.loaded_in, named_by_dump=file != want.loaded_at)


def _in_global(want: Want, path: str) -> Iterator[Candidate]:
    yield from _roots_for(want, path, named_by_dump=False)


def _roots_for(want: Want, path: str, named_by_dump: bool) -> Iterator[Candidate]:
    """In the root that the file was found in, and in the sysroot."""
    if want.loaded_in is not None:
        yield Candidate(path=path, finder=NAME, root=want.loaded_in, named_by_dump=named_by_dump)
    yield Candidate(path=path, finder=NAME, named_by_dump=named_by_dump)


def _below_global(folder: str) -> Iterator[str]:
    """/usr/lib/debug/usr/bin, /usr/lib/debug/bin, /usr/lib/debug of /usr/bin."""
    parts = folder.strip("/").split("/")
    for count in range(len(parts) + 1):
        yield os.path.join(_GLOBAL, *parts[count:])


def _without_usr(folder: str) -> str:
    return folder[len("/usr") :] if folder.startswith("/usr/") else folder
