# SPDX-License-Identifier: Apache-2.0
"""The folders of --search-path: by the path as mapped, by base name, as a .build-id tree, and by build ID over the ELF
files in the folder itself."""

import os
from typing import Iterator

from ..model import LOADED, Candidate, Want
from ..sysroot import Roots

NAME = "search-path"


def candidates(want: Want, roots: Roots) -> Iterator[Candidate]:
    suffix = "" if want.kind == LOADED else ".debug"
    for folder in roots.search_paths:
        for path in want.paths:
            relative = os.path.normpath("/" + path).lstrip("/")
            yield _in(folder, relative)
            if os.path.basename(relative) != relative:
                yield _in(folder, os.path.basename(relative))
        if want.build_id:
            text = want.build_id.hex()
            for tree in ("", ".build-id", "usr/lib/debug/.build-id"):
                yield _in(folder, os.path.join(tree, text[:2], text[2:] + suffix))
            named = roots.in_folder(folder, want.build_id)
            if named:
                yield _in(folder, os.path.basename(named))


def _in(folder: str, relative: str) -> Candidate:
    return Candidate(path=relative, finder=NAME, folder=folder)
