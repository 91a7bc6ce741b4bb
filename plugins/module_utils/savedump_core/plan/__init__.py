# SPDX-License-Identifier: Apache-2.0
"""Lay an archive out: which member goes where, in what order. Decides names only; reads no contents.

The only place that names members: userland.py those of a process's core, kernel.py those of a kernel dump, names.py
what both share.
"""

import re
from typing import List, Optional, Sequence

from ..launchers import LAUNCHERS
from ..model import Dump, Entry, Findings, Json, Plan
from ..sysroot import Sysroot
from . import kernel, userland
from .names import FIRST, LAST, OWN, safe_name

_RESERVED = frozenset([OWN, FIRST, LAST]) | {launcher.NAME for launcher in LAUNCHERS}


def make_plan(
    dump: Dump, dump_name: str, findings: Findings, sysroot: Sysroot, beside: Sequence[Entry] = ()
) -> Plan:
    """All members of the archive in the order they are written: launchers, links, files, the dump. `beside` is what
    belongs to the dump besides: files that lie beside a kernel's, with a base name as path; for a process's, files with
    the names that they are to have."""
    name = safe_name(dump_name)
    if dump.kernel is None:
        top = "archive-" + name
        members = userland.entries(dump, name, findings, sysroot, _RESERVED, beside)
    else:
        top = kernel.archive_name(dump, name)
        members = kernel.entries(dump, name, findings, beside, _RESERVED)
    return Plan(name=top, dump=dump, findings=findings, entries=tuple(_launchers(dump) + members))


def _launchers(dump: Dump) -> List[Entry]:
    facts = {
        "kind": dump.kind, "machine": dump.machine, "bits": dump.bits, "endian": dump.endian,
        "kernel_version": _kernel_version(dump.kernel), "parts": 1 + len(dump.parts),
    }  # fmt: skip
    entries = []
    for launcher in LAUNCHERS:
        if launcher.applies_to({"dump": facts}):
            data = launcher.script({"dump": facts}).encode()
            entries.append(Entry(path=launcher.NAME, role="launcher", size=len(data), data=data, mode=0o700))
    return entries


def _kernel_version(kernel: Optional[Json]) -> Optional[List[int]]:
    """[6, 12] of "6.12.117+deb12"."""
    release = re.match(r"(\d{1,3})\.(\d{1,5})", (kernel or {}).get("release") or "")
    return [int(release.group(1)), int(release.group(2))] if release else None
