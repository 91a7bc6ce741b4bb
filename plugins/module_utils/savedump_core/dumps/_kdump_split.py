# SPDX-License-Identifier: Apache-2.0
"""The parts of a set that `makedumpfile --split` wrote: all of one crash, each with some of the pages.

Names tell nothing. What belongs together has the same header but for the page range, the same VMCOREINFO and notes
(registers at the crash), and the same bitmaps: each part has those of the whole.
"""

import hashlib
import os
from typing import Any, List, NamedTuple, Optional, Tuple

from ..errors import SavedumpError
from ..sysroot import Refused
from ._kdump_header import HEAD, KdumpHeader, is_kdump, read_header

# Files looked at in the folder, and parts taken: each is a descriptor, of which a process has 1024.
MAX_LOOKED_AT = 4096
MAX_PARTS = 256
_COMPARED = 1 << 16


class Part(NamedTuple):
    """One file of a set."""

    source: Any
    data: Any
    """What has read_at and size: the source, save inside a flattened file."""
    header: KdumpHeader


def whole_set(source: Any, data: Any, header: KdumpHeader) -> Tuple[List[Part], Optional[str]]:
    """Every part that lies in this one's folder, by rising page number, and what lacks, if anything does."""
    own = Part(source, data, header)
    others = [] if data is not source or source.compression else _others(own)
    parts: List[Part] = []
    reached = 0
    gaps = []
    for part in sorted(others + [own], key=lambda one: _pages(one) + (one is not own, one.source.path)):
        twice = parts and _pages(part) == _pages(parts[-1])
        if part.header.start_pfn < reached or twice or len(parts) >= MAX_PARTS:
            if part is not own:
                part.source.close()
                continue
            # Another file has the same pages, and says the same: the one that was asked for counts.
            while parts and parts[-1].header.end_pfn > part.header.start_pfn:
                parts.pop().source.close()
            reached = parts[-1].header.end_pfn if parts else 0
        if part.header.start_pfn > reached:
            gaps.append((reached, part.header.start_pfn))
        parts.append(part)
        reached = part.header.end_pfn
    if reached < header.max_mapnr:
        gaps.append((reached, header.max_mapnr))
    if not gaps:
        return parts, None
    shown = ", ".join("0x%x to 0x%x" % (first * header.block_size, end * header.block_size) for first, end in gaps[:8])
    more = " and %d more" % (len(gaps) - 8) if len(gaps) > 8 else ""
    why = "%d of a set's files are here, and none with the memory from %s%s" % (len(parts), shown, more)
    if data is not source or source.compression:
        why += "; a part that is packed is read alone: unpack all of them first"
    return parts, why


def _pages(part: Part) -> Tuple[int, int]:
    """To sort by: a part without pages (of a small machine) stands before the one with those that follow."""
    return part.header.start_pfn, part.header.end_pfn


def _others(own: Part) -> List[Part]:
    wanted = _signature(own)
    found: List[Part] = []
    names = own.source.sibling_names()
    # In a full folder those with names most like its own are looked at.
    alike = [os.path.commonprefix([name, os.path.basename(own.source.path)]) for name in names]
    order = sorted(range(len(names)), key=lambda index: -len(alike[index]))
    for name in [names[index] for index in order[:MAX_LOOKED_AT]]:
        part = _part(own, name)
        if part is None:
            continue
        if len(found) < MAX_PARTS and _signature(part) == wanted:
            found.append(part)
        else:
            part.source.close()
    return found


def _part(own: Part, name: str) -> Optional[Part]:
    """This file as a part of some set; None if it is none."""
    try:
        source = own.source.sibling(name)
    except (OSError, Refused, SavedumpError):
        return None
    header = None
    # Another user's file is none of this crash's.
    if source.uid == own.source.uid and not source.compression and is_kdump(source.read_at(0, HEAD)):
        try:
            header = read_header(source, source.path)
        except SavedumpError:
            pass
    if header is None or not header.split:
        source.close()
        return None
    return Part(source, source, header)


def _signature(part: Part) -> Tuple[KdumpHeader, bytes]:
    """What all parts of one set have in common."""
    header = part.header
    digest = hashlib.sha256()
    for offset, size in (header.vmcoreinfo, header.notes, (header.bitmap_at, header.bitmap_size)):
        digest.update(part.data.read_at(offset, min(size, _COMPARED)))
    return header._replace(start_pfn=0, end_pfn=0, status=header.status & ~8), digest.digest()
