# SPDX-License-Identifier: Apache-2.0
"""Other roots on this host in which the same path may still hold the file: mount namespaces of running processes, the
layers of containers (also of those that are gone), snapshots, ostree deployments.

In each the file is looked for where it would be in the sysroot: as mapped, in the build-ID trees, where a debug link
leads. Of a root only what it has is proposed; how many had nothing of that name is said in one line for each kind. A
file whose ID proves it is opened with the caller's rights, one that has none with those of the dump's owner.
"""

import os
import stat
from functools import partial
from typing import Dict, Iterator, List, Optional, Set, Tuple, Union

from ..model import ABSENT, LOADED, REFUSED, VMLINUX, Attempt, Candidate, Want
from ..sysroot import Roots, Sysroot
from . import as_mapped, build_id_tree, debug_link, kernel_layout
from ._root_places import Place, Places, deployments, layers, namespaces, snapshots

NAME = "other-root"

# Files that are looked into for one want.
MAX_TRIED = 256
# Folders above a path that are asked for snapshots.
MAX_PARENTS = 16
# Earlier states of the host whose trees of kernel modules are walked: 0.1 s each.
MAX_KERNELS = 8

_DEBUG_TREES = ("/usr/lib/debug", "/usr/lib/.build-id")

# Inode, size, time of last change and of the inode's: the same for one file by whatever mount or snapshot.
_Same = Tuple[int, int, int, int]
_Lying = Tuple[Place, str, bool, os.stat_result]
# Path, and whether it is read with the rights of the dump's owner.
_Paths = Dict[str, bool]
_ByGroup = Dict[str, Set[str]]


def candidates(want: Want, roots: Roots) -> Iterator[Union[Candidate, Attempt]]:
    if not _can_be_proven(want):
        return
    paths = _paths(want, roots)
    asked: _ByGroup = {}
    had: _ByGroup = {}
    tried: Optional[Set[_Same]] = None
    count = 0
    for place, path, named_by_dump, status in _lying(want, paths, roots, asked):
        if tried is None:
            tried = _in_sysroot(paths, roots)
        had.setdefault(place.group, set()).add(place.root)
        same = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if same in tried:
            continue
        tried.add(same)
        count += 1
        if count > MAX_TRIED:
            yield Attempt(NAME, path, REFUSED, "in too many roots: %d were looked into" % MAX_TRIED)
            break
        yield Candidate(path=path, finder=NAME, root=place.root, named_by_dump=named_by_dump)
    for group, places in asked.items():
        if places - had.get(group, set()):
            # Not in how many: of what runs just now an archive says nothing that the next one would not.
            yield Attempt(NAME, group, ABSENT, "not in the others" if had.get(group) else "in none of them")
    if want.kind == LOADED:
        yield from _everywhere(roots).unreadable


def _can_be_proven(want: Want) -> bool:
    if want.release is not None:
        return bool(want.build_id or want.banner)
    if want.kind == LOADED:
        return bool(want.build_id or want.go_build_id or want.pieces)
    return bool(want.build_id or want.crc is not None or want.dwo_ids)


def _paths(want: Want, roots: Roots) -> _Paths:
    """Where the file would be in the sysroot, and whether it is to be read with the rights of the dump's owner; of a
    kernel's, what is asked of every root alike."""
    finders = (build_id_tree,) if want.release is not None else (as_mapped, build_id_tree, debug_link)
    paths: _Paths = {}
    for candidate in (one for finder in finders for one in finder.candidates(want, roots)):
        named = candidate.named_by_dump
        if want.kind == LOADED:
            # An ID proves the file, whoever named it.
            named = not (want.build_id or want.go_build_id or want.release)
        paths.setdefault("/" + candidate.path.lstrip("/"), named)
    return paths


def _lying(want: Want, paths: _Paths, roots: Roots, asked: _ByGroup) -> Iterator[_Lying]:
    """What there is at these paths in other roots; `asked` gets the roots that were looked into, by their group."""
    if want.release is not None:
        yield from _kernels(want, paths, roots, asked)
        return
    if want.loaded_in is not None:
        # What was stripped from a file of a container lies in the container; debug_link has looked beside it.
        place = Place(root=want.loaded_in, group=want.loaded_in)
        for path, named in paths.items():
            yield from _at(place, None, path, named)
    for below in _belows(paths, roots):
        places = _asked(want, below, roots)
        if not places:
            continue
        # Not in the order of a set: what is said of a dump is the same each time.
        for place in _places(below, roots):
            if place in places:
                asked.setdefault(place.group, set()).add(place.root)
        for path, named in paths.items():
            inside = _inside(path, below)
            for place, folder in _having(os.path.dirname(inside), below, roots) if inside is not None else ():
                if place in places:
                    yield from _at(place, folder, inside or path, named)


def _kernels(want: Want, paths: _Paths, roots: Roots, asked: _ByGroup) -> Iterator[_Lying]:
    """The same for a kernel's files, in earlier states of the host: a container has no kernel."""
    folders = ["/lib/modules/%s" % want.release, "/usr/lib/modules/%s" % want.release, "/usr/lib/debug"]
    with_trees = {place for folder in folders for place, _host in _having(folder, "/", roots) if place.earlier}
    count = 0
    for place in _places("/", roots):
        if not place.earlier:
            continue
        asked.setdefault(place.group, set()).add(place.root)
        count += place in with_trees
        if want.module != VMLINUX and (place not in with_trees or count > MAX_KERNELS):
            continue
        inside = roots.remembered((NAME, "kernel", place.root), partial(_roots_of, place))
        for path in [one.path for one in kernel_layout.candidates(want, inside)] + list(paths):
            yield from _at(place, None, path, named_by_dump=False)


def _roots_of(place: Place) -> Roots:
    return Roots(Sysroot(place.root, follow=False))


def _asked(want: Want, below: str, roots: Roots) -> Set[Place]:
    """The roots that are worth a look: for a debug file, those with a tree of debug files."""
    if want.kind == LOADED:
        return roots.remembered((NAME, "all", below), lambda: set(_places(below, roots)))

    def with_debug() -> Set[Place]:
        trees = [_inside(tree, below) for tree in _DEBUG_TREES]
        return {place for tree in trees if tree is not None for place, _host in _having(tree, below, roots)}

    return roots.remembered((NAME, "debug", below), with_debug)


def _at(place: Place, folder: Optional[str], path: str, named_by_dump: bool) -> Iterator[_Lying]:
    """What the place has at this path. `folder` is where the path's folder is on this host, if that is known."""
    try:
        status = None if folder is None else os.lstat(os.path.join(folder, os.path.basename(path)))
        if status is None or stat.S_ISLNK(status.st_mode):
            status = os.lstat(Sysroot(place.root, follow=False).resolve(path).host_path)
    except (OSError, ValueError):
        return
    # Overlay file systems mark a file as deleted by a device with number 0 (kernel Documentation, overlayfs.rst).
    if not stat.S_ISDIR(status.st_mode) and not (stat.S_ISCHR(status.st_mode) and not status.st_rdev):
        yield place, path, named_by_dump, status


def _inside(path: str, below: str) -> Optional[str]:
    """A path of the sysroot as seen from inside an earlier state of the folder `below`."""
    if below == "/":
        return path
    return path[len(below) :] if path.startswith(below + "/") else None


def _having(folder: str, below: str, roots: Roots) -> List[Tuple[Place, str]]:
    """The places that have this folder, and where on this host. Asked from the top down, so that a tree that no root
    has costs one look at each root for all that would be in it."""
    having = [(place, place.root) for place in _places(below, roots)]
    parts = [part for part in folder.split("/") if part not in ("", ".")]
    if ".." in parts:
        return [(place, host) for place, _host in having for host in _resolved(place, folder)]
    inside = ""
    for part in parts:
        if not having:
            break
        inside += "/" + part
        having = roots.remembered((NAME, "folder", below, inside), partial(_step, having, inside, part))
    return having


def _step(having: List[Tuple[Place, str]], inside: str, part: str) -> List[Tuple[Place, str]]:
    """Those of the places whose folder has a folder of this name."""
    found = []
    for place, folder in having:
        host = os.path.join(folder, part)
        try:
            mode = os.lstat(host).st_mode
        except (OSError, ValueError):
            continue
        if stat.S_ISDIR(mode):
            found.append((place, host))
        elif stat.S_ISLNK(mode):
            found.extend((place, one) for one in _resolved(place, inside))
    return found


def _resolved(place: Place, folder: str) -> Iterator[str]:
    """Where in this root a folder is that links lead to."""
    try:
        host = Sysroot(place.root, follow=False).resolve(folder).host_path
        if stat.S_ISDIR(os.lstat(host).st_mode):
            yield host
    except (OSError, ValueError):
        pass


def _in_sysroot(paths: _Paths, roots: Roots) -> Set[_Same]:
    """The files that lie at these paths in the sysroot: other finders proposed them."""
    found = set()
    for path in paths:
        try:
            status = os.lstat(roots.sysroot.resolve(path).host_path)
        except (OSError, ValueError):
            continue
        found.add((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return found


def _belows(paths: _Paths, roots: Roots) -> List[str]:
    """The top, and the folders above these paths that have snapshots of their own."""
    belows = ["/"]
    for path in paths:
        folder = ""
        for part in path.split("/")[1:-1][:MAX_PARENTS]:
            folder += "/" + part
            if part in ("", ".", "..", ".build-id"):
                break
            if not roots.remembered((NAME, "is", folder), partial(_is_folder, folder, roots)):
                break
            if folder not in belows and _places(folder, roots):
                belows.append(folder)
    return belows


def _is_folder(path: str, roots: Roots) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(roots.sysroot.resolve(path).host_path).st_mode)
    except (OSError, ValueError):
        return False


def _places(below: str, roots: Roots) -> Tuple[Place, ...]:
    if below == "/":
        return _everywhere(roots).found
    return roots.remembered((NAME, "places", below), lambda: snapshots(NAME, roots.sysroot, below)).found


def _everywhere(roots: Roots) -> Places:
    """All roots that may have any path. The live host's processes say nothing about a mounted image."""

    def look() -> Places:
        listed = [namespaces(NAME)] if roots.sysroot.root == "/" else []
        listed += [layers(NAME, roots.sysroot), snapshots(NAME, roots.sysroot, "/"), deployments(NAME, roots.sysroot)]
        return Places(
            tuple(place for places in listed for place in places.found),
            tuple(attempt for places in listed for attempt in places.unreadable),
        )

    return roots.remembered((NAME, "places", "/"), look)
