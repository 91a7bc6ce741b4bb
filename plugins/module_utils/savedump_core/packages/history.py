# SPDX-License-Identifier: Apache-2.0
"""Which version a package had before it was upgraded, by the logs of dpkg, apt, dnf and pacman: the dump may be of a
process that still had the former one mapped.

Formats: dpkg(1), "--log" (DATE TIME upgrade PKG[:ARCH] OLD NEW); apt's history.log (Upgrade: PKG:ARCH (OLD, NEW), …);
dnf.rpm.log of dnf 4 (DATE SUBDEBUG Upgraded: OLD-NEVRA); pacman's [DATE] [ALPM] upgraded PKG (OLD -> NEW).
"""

import os
import re
import zlib
from typing import Dict, Iterator, List, Tuple

from ..sysroot import Sysroot
from .owners import read_file

_DPKG = "/var/log/dpkg.log"
_APT = "/var/log/apt/history.log"
_DNF = "/var/log/dnf.rpm.log"
_PACMAN = "/var/log/pacman.log"
# logrotate keeps a year of monthly logs (debian/dpkg.logrotate).
_ROTATIONS = 12
# Of one log, decompressed.
_MAX_LOG = 16 << 20

_IN_DPKG = re.compile(rb"^\S+ \S+ upgrade (\S+) (\S+) (\S+)$", re.MULTILINE)
_IN_APT = re.compile(rb"(\S+) \(([^,()\s]+), ([^,()\s]+)[^()]*\)")
_IN_DNF = re.compile(rb"^\S+ SUBDEBUG Upgraded: (\S+)-([^-\s]+-[^-\s]+)\.([a-z0-9_]+)$", re.MULTILINE)
_IN_PACMAN = re.compile(rb"^\[[^\]]*\] \[ALPM\] (?:upgraded|downgraded) (\S+) \((\S+) -> (\S+)\)$", re.MULTILINE)


def former_versions(sysroot: Sysroot) -> Dict[str, str]:
    """Package, as NAME and as NAME:ARCH, to the version before its last upgrade that a log still tells."""
    former: Dict[str, str] = {}
    for name, old in _upgrades(sysroot):
        for key in (name, name.partition(":")[0]):
            former.setdefault(key, old)
    return former


def _upgrades(sysroot: Sysroot) -> Iterator[Tuple[str, str]]:
    """Package and former version, the latest upgrade first."""
    for log, pattern in ((_DPKG, _IN_DPKG), (_APT, _IN_APT), (_DNF, _IN_DNF), (_PACMAN, _IN_PACMAN)):
        for text in _rotations(sysroot, log):
            if pattern is _IN_APT:
                text = b"\n".join(line for line in text.split(b"\n") if line.startswith(b"Upgrade: "))
            for name, old, _new in reversed(pattern.findall(text)):
                yield os.fsdecode(name), os.fsdecode(old)


def _rotations(sysroot: Sysroot, log: str) -> Iterator[bytes]:
    """The log and those before it, the latest first."""
    yield read_file(sysroot, log, _MAX_LOG)
    for number in range(1, _ROTATIONS + 1):
        plain = read_file(sysroot, "%s.%d" % (log, number), _MAX_LOG)
        yield plain or _inflated(read_file(sysroot, "%s.%d.gz" % (log, number), _MAX_LOG))


def _inflated(data: bytes) -> bytes:
    """What gzip packed, as far as it goes; a bomb only so far."""
    pieces: List[bytes] = []
    try:
        inflate = zlib.decompressobj(31)
        pieces.append(inflate.decompress(data, _MAX_LOG))
    except zlib.error:
        pass
    return b"".join(pieces)
