# SPDX-License-Identifier: Apache-2.0
"""SEAM: one file per codec. A codec has NAME, SUFFIX, sniff(head), available(), reader(fileobj); those that archives
are written with also have can_write() and writer(sink, level, threads)."""

from typing import Any, Optional

from . import apport, bzip2, gzip, lz4, xz, zipped, zstd

# In the order in which dumps are met: systemd-coredump writes zstd, before version 246 lz4, or xz where built so;
# gzip and bzip2 come from core_pattern scripts and from people. Each has a magic number of its own, so the order
# decides nothing but which is asked first.
CODECS = (zstd, lz4, xz, gzip, bzip2)

# Files that hold a dump among other things: what they read as is the dump alone. Most files that begin like these hold
# none.
CONTAINERS = (apport, zipped)

# Bytes that sniff() wants to see, unless the file is shorter.
HEAD = 64


def sniff(head: bytes) -> Optional[Any]:
    """The codec whose stream begins with these bytes, else None."""
    for codec in CODECS + CONTAINERS:
        if codec.sniff(head):
            return codec
    return None
