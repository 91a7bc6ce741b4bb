# SPDX-License-Identifier: Apache-2.0
"""SEAM: one file per dump format. A format has KIND, ``sniff(head)`` and ``open_dump(source, sysroot)`` -> Dump.

To add one: a file with these three names, and a line in FORMATS.
"""

import hashlib
from typing import Any

from ..errors import BadDump
from ..model import Dump
from ..sysroot import Sysroot
from . import core, unread

# Core first: an ELF core is the common case, and its reader is the one that tells kernel and foreign cores apart.
FORMATS = (core,)

SNIFF_SIZE = 4096


def identity_of(source: Any) -> str:
    """16 hex digits that name this dump wherever it is copied: its size and its first 64 KiB, which in a core hold the
    process ID, all registers and the randomised addresses of that one process."""
    return hashlib.sha256(b"%d\0" % source.size + source.read_at(0, 1 << 16)).hexdigest()[:16]


def open_dump(source: Any, sysroot: Sysroot) -> Dump:
    """The Dump in this source. Raises BadDump, which names what it is instead if that is known."""
    head = source.read_at(0, SNIFF_SIZE)
    for dump_format in FORMATS:
        if dump_format.sniff(head):
            return dump_format.open_dump(source, sysroot)._replace(identity=identity_of(source))
    if source.damage and not head:
        raise BadDump("%s: %s" % (source.path, source.damage))
    raise BadDump(*unread.explain(source.path, head))
