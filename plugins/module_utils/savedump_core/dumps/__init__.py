# SPDX-License-Identifier: Apache-2.0
"""SEAM: one file per dump format. A format has KIND, ``sniff(source)`` and ``open_dump(source, sysroot)`` -> Dump.

To add one: a file with these three names, and its name in formats(). The formats of kernel dumps make a Capture of the
container and leave the rest to ``_kernel.kernel_dump``.
"""

import hashlib
from typing import Any, Iterator, Optional, Tuple

from ..elf.header import HEADER_SIZE, parse_header
from ..errors import BadDump
from ..model import Dump
from ..sysroot import Sysroot
from . import core, unread, vmcore

# A kernel's ELF core before a process's, for it is the one that is told by its notes; what is left is a process's.
FORMATS_OF_ELF = (vmcore, core)

SNIFF_SIZE = 4096


def identity_of(source: Any) -> str:
    """16 hex digits that name this dump wherever it is copied: its size and its first 64 KiB, which in a core hold the
    process ID, all registers and the randomised addresses of that one process, and in a kernel's dump its notes."""
    return hashlib.sha256(b"%d\0" % source.size + source.read_at(0, 1 << 16)).hexdigest()[:16]


def formats(source: Any) -> Iterator[Any]:
    """Those that this source may be of, in the order to ask them."""
    header = parse_header(source.read_at(0, HEADER_SIZE))
    if header is None or not header.phnum:
        # Imported here: a third of all imports, which a core does without. Each has a signature of its own (Xen's is an
        # ELF file without segments), and the order decides nothing.
        from . import flattened, kdump, opaque

        yield from (kdump, flattened, opaque)
    yield from FORMATS_OF_ELF


def kinds() -> Tuple[str, ...]:
    """All that the `kind` of a Dump may be."""
    from . import flattened, kdump, opaque

    read = (core.KIND, vmcore.KIND, kdump.KIND, kdump.DISKDUMP_KIND, flattened.KDUMP_KIND, flattened.ELF_KIND)
    return read + opaque.KINDS


def sniff(source: Any) -> Optional[Any]:
    """The format of the dump in this source; None if it is no dump that is known."""
    for dump_format in formats(source):
        if dump_format.sniff(source):
            return dump_format
    return None


def open_dump(source: Any, sysroot: Sysroot) -> Dump:
    """The Dump in this source. Raises BadDump, which names what it is instead if that is known."""
    dump_format = sniff(source)
    if dump_format is not None:
        dump: Dump = dump_format.open_dump(source, sysroot)
        return dump._replace(identity=identity_of(source))
    head = source.read_at(0, SNIFF_SIZE)
    if source.damage and not head:
        raise BadDump("%s: %s" % (source.path, source.damage))
    raise BadDump(*unread.explain(source.path, head))
