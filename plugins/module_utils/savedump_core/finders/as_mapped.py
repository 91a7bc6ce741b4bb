# SPDX-License-Identifier: Apache-2.0
"""The file at the very path the process mapped it from, by each name the dump gives."""

from typing import Iterator

from ..model import LOADED, Candidate, Want
from ..sysroot import Roots

NAME = "as-mapped"


def candidates(want: Want, roots: Roots) -> Iterator[Candidate]:
    if want.kind != LOADED:
        return
    for path in want.paths:
        # A relative name means the dead process's working directory, which no dump tells.
        if path.startswith("/"):
            yield Candidate(path=path, finder=NAME, named_by_dump=True)
