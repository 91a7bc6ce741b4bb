# SPDX-License-Identifier: Apache-2.0
"""The places gdb looks for what a file's own .gnu_debuglink or .gnu_debugaltlink names (gdb manual, "Separate Debug
Files"; gdb/symfile.c, find_separate_debug_file): beside it, in .debug beside it, and below the global folder."""

import os
from typing import Iterator

from ..model import DEBUG, SUPPLEMENTARY, Candidate, Want
from ..sysroot import Roots

NAME = "debug-link"
_GLOBAL = "/usr/lib/debug"


def candidates(want: Want, roots: Roots) -> Iterator[Candidate]:
    if want.loaded_at is None or want.kind not in (DEBUG, SUPPLEMENTARY):
        return
    beside = os.path.dirname(want.loaded_at)
    for name in want.paths:
        if want.kind == SUPPLEMENTARY:
            # dwz writes the path absolute, or relative to the file that holds the link.
            yield Candidate(path=os.path.join(beside, name), finder=NAME)
            continue
        yield Candidate(path=os.path.join(beside, name), finder=NAME)
        yield Candidate(path=os.path.join(beside, ".debug", name), finder=NAME)
        yield Candidate(path="%s%s/%s" % (_GLOBAL, beside, name), finder=NAME)
