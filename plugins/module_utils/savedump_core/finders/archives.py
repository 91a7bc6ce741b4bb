# SPDX-License-Identifier: Apache-2.0
"""Other archives that the user named, by build ID: twenty dumps of one program hold its libraries twenty times, and
what one host had lost another one packed. Looking into them is for who may read archives: ``shelf``."""

from typing import Iterator, Union

from ..model import Attempt, Candidate, Want
from ..sysroot import Roots

NAME = "archives"


def candidates(want: Want, roots: Roots) -> Iterator[Union[Candidate, Attempt]]:
    if roots.archives is not None and want.build_id:
        yield from roots.archives(want)
