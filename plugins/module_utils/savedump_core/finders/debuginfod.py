# SPDX-License-Identifier: Apache-2.0
"""debuginfod servers that the user named, by build ID alone. They are asked when this finder's turn comes, which is
after every place that costs nothing; what they send lies in the cache and is proven like any other file."""

from typing import Iterator, Union

from ..model import LOADED, Attempt, Candidate, Want
from ..sysroot import Roots

NAME = "debuginfod"


def candidates(want: Want, roots: Roots) -> Iterator[Union[Candidate, Attempt]]:
    client = roots.debuginfod
    if client is None or not want.build_id:
        return
    # A supplementary file (dwz) is the debug information of its own build ID.
    kind = "executable" if want.kind == LOADED else "debuginfo"
    for one in client.look(want.build_id, kind, patient=want.release is not None):
        if isinstance(one, Attempt):
            yield one
        else:
            yield Candidate(path=one.path, finder=NAME, folder=client.folder, origin=one.origin)
