# SPDX-License-Identifier: Apache-2.0
"""The .build-id trees that distributions install (gdb manual, "Separate Debug Files"): /usr/lib/debug/.build-id of
debug packages, /usr/lib/.build-id of Fedora's and RHEL's ordinary ones."""

from typing import Iterator

from ..model import LOADED, Candidate, Want
from ..sysroot import Roots

NAME = "build-id-tree"
_TREES = ("/usr/lib/debug/.build-id", "/usr/lib/.build-id")


def member(build_id: bytes, suffix: str = "") -> str:
    """xx/yyyy…, as such trees name a build ID."""
    text = build_id.hex()
    return "%s/%s%s" % (text[:2], text[2:], suffix)


def candidates(want: Want, roots: Roots) -> Iterator[Candidate]:
    if not want.build_id:
        return
    suffix = "" if want.kind == LOADED else ".debug"
    for tree in _TREES:
        yield Candidate(path="%s/%s" % (tree, member(want.build_id, suffix)), finder=NAME)
