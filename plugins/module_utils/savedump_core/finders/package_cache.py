# SPDX-License-Identifier: Apache-2.0
"""The packages that apt, dnf, yum, zypper, pacman and apk have kept, and those in folders of --search-path: an upgraded
library's former package is often still there. The file is taken out without any tool.

Only for what an ID proves: a package of the right name is often of another version. Kernels are left out: the former
kernel's package stays installed beside the new one, and reading some hundred MiB for each module would cost minutes.
"""

import os
from typing import TYPE_CHECKING, Iterator, Optional, Set, Union

from ..model import LOADED, Attempt, Candidate, Want
from ..sysroot import Roots
from .build_id_tree import member

if TYPE_CHECKING:
    from ._packages import Packages

NAME = "package-cache"

# Packages that are read for one want: the versions that a cache has of one package.
MAX_PACKAGES = 6
_DEBUG_TREE = "/usr/lib/debug/.build-id/"


def candidates(want: Want, roots: Roots) -> Iterator[Union[Candidate, Attempt]]:
    if want.release is not None or not _has_id(want):
        return
    packages = roots.remembered(NAME, lambda: _at_hand(roots))
    if packages is None:
        return
    names = _names(want)
    for package in packages.choose(want, names)[:MAX_PACKAGES]:
        for taken in packages.take(package, names, want):
            if isinstance(taken, Attempt):
                yield taken
            else:
                origin = "%s: %s" % (package.shown, taken.path)
                yield Candidate(path=taken.path, finder=NAME, origin=origin, descriptor=taken.descriptor)


def _has_id(want: Want) -> bool:
    return bool(want.build_id or want.go_build_id or want.dwo_ids) or want.crc is not None


def _at_hand(roots: Roots) -> "Optional[Packages]":
    """None if there are none, which is so on most hosts: nothing more is loaded then."""
    from ..packages import stored

    kept = stored.in_caches(roots.sysroot)
    given = [stored.in_folder(folder) for folder in roots.search_paths]
    if not kept and not any(given):
        return None
    from ._packages import Packages

    return Packages(roots.sysroot, NAME, kept, given)


def _names(want: Want) -> Set[str]:
    """What the file may be called in a package: absolute paths, or base names."""
    if want.kind == LOADED:
        return {path for path in want.paths if path.startswith("/") and not path.endswith(" (deleted)")}
    names = {os.path.basename(path) for path in want.paths} - {"", ".", ".."}
    if want.build_id:
        names.add(_DEBUG_TREE + member(want.build_id, ".debug"))
    return names
