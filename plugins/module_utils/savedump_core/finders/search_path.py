# SPDX-License-Identifier: Apache-2.0
"""The folders of --search-path: by the path as mapped (for what the compiler split off: as it was named), by base name,
as a .build-id tree, in debuginfod's own layout, and by build ID over the ELF files in the folder itself."""

import os
from typing import Iterator

from ..model import LOADED, SPLIT, Candidate, Want
from ..sysroot import Roots

NAME = "search-path"
_TREES = ("", ".build-id", "usr/lib/debug/.build-id")
# What servers publish and the content store is (debuginfod(8), "WEBAPI"), and the cache of its clients.
_SERVED = ("buildid", "")
# Files of one build ID in one folder that are tried: copies of a program, and its debug file.
MAX_TRIED = 16


def candidates(want: Want, roots: Roots) -> Iterator[Candidate]:
    for folder in roots.search_paths:
        for path in want.paths:
            relative = os.path.normpath("/" + path).lstrip("/")
            yield _in(folder, relative)
            if os.path.basename(relative) != relative:
                yield _in(folder, os.path.basename(relative))
        if want.build_id and want.kind != SPLIT:
            text, loaded = want.build_id.hex(), want.kind == LOADED
            for tree in _TREES:
                yield _in(folder, os.path.join(tree, text[:2], text[2:] + ("" if loaded else ".debug")))
            for top in _SERVED:
                yield _in(folder, os.path.join(top, text, "executable" if loaded else "debuginfo"))
            for named in roots.in_folder(folder, want.build_id)[:MAX_TRIED]:
                yield _in(folder, os.path.basename(named))


def _in(folder: str, relative: str) -> Candidate:
    return Candidate(path=relative, finder=NAME, folder=folder)
