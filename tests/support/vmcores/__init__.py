# SPDX-License-Identifier: Apache-2.0
"""Real crash dumps of Debian kernels: guests of QEMU that panic, and what makedumpfile and kdump make of them.

Made on the first call, in about two minutes on two cores, and kept in $XDG_CACHE_HOME/savedump/vmcores-KERNEL-RECIPE,
RECIPE being a hash of this folder. ``python3 -m tests.support.vmcores`` makes them, too, and says where they are. To
use a folder that was made elsewhere, name it in SAVEDUMP_VMCORES. For reading only: everybody shares them.

Kernel 6.1 (Debian 12). Guests: `sysrq61` (echo c > sysrq-trigger) and `oops61` (an oops in the out-of-tree module
oopsmod) of 128 MiB each; `novmci61`, as sysrq61, but nothing tells QEMU where VMCOREINFO is; `kdump61`, an oops that
a crash kernel catches.

GUEST.console.txt            the serial console: the kernel's log, and what the guest said of itself
GUEST.qemu-elf               QEMU's dump-guest-memory; not of kdump61
GUEST.qemu-kdump-zlib        the same, in its other format
                             Of sysrq61 and oops61:
GUEST.elf                    qemu-elf with its program headers where makedumpfile looks for them
GUEST.mdf.FORMAT.d31         makedumpfile, FORMAT zlib, lzo, zstd, none or elf; and zlib.d0, zlib.d1. No snappy: no
                             package of Debian's can write it
GUEST.mdf.FORMAT.d31.flat    flattened (-F): zlib, lzo, zstd, elf
GUEST.mdf.split1 2 3         a split set of zlib pages, each part with a third of the pages or so
GUEST.mdf.dmesg              makedumpfile --dump-dmesg
                             Of oops61:
oops61.mdf.zlib.d31.flat.gz  and .bz2 .xz .lz4 .zst: what kdump-tools writes if it has a KDUMP_COMPRESSION
trunc/FORMAT.d31[.flat].cut  the first bytes of oops61.mdf.FORMAT.d31[.flat]: zlib, zlib flattened, elf
                             Of kdump61, below kdump61.kdump:
debian|rhel|suse/var/crash/  as kdump-tools, kdump-utils and SUSE's kdump leave it (zlib flat, lzo, zstd flat)
full/var/crash/              kdump-utils on a full disk: vmcore-incomplete, and marked so; full-elf/: the same in ELF
vmcore.raw.elf, dump.elf.d31 /proc/vmcore as it is, and through makedumpfile -E

Kernel 6.12 (Debian 13; modules are .ko.xz): `sysrq612`, as sysrq61, without oopsmod.
Kernel 6.1-arm64 (Debian 12): `sysrq61arm64`, as sysrq61, without oopsmod.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .base import VmcoresError, find
from .guest import MACHINES
from .recipe import KERNELS, make

__all__ = ["LoadedModule", "Said", "Vmcores", "VmcoresError", "vmcores", "why_not"]


class LoadedModule(NamedTuple):
    """What a guest's /sys/module says of a loaded module."""

    build_id: str
    srcversion: str
    """"" if the kernel has none."""
    taint: str


class Said(NamedTuple):
    """What a guest said on its console before it died."""

    release: str
    build_id: str
    """Of vmlinux, from /sys/kernel/notes."""
    modules: dict[str, LoadedModule]
    """By name, as lsmod has it: the last that was loaded comes first."""
    text: str


class Vmcores(NamedTuple):
    """A folder of dumps, and the files of the kernels that they are of. For reading only."""

    folder: Path

    @property
    def dumps(self) -> Path:
        """Where the dumps lie, by the names above."""
        return self.folder / "vmcores"

    @property
    def release(self) -> str:
        """The kernel's, as uname -r prints it."""
        return next(path.name for path in (self.folder / "root").iterdir())

    def root(self, release: str = "") -> Path:
        """What Debian's packages of a kernel hold: boot, lib/modules, usr/lib/debug; and oopsmod in updates/dkms."""
        return self.folder / "root" / (release or self.release)

    def kdump(self, layout: str) -> Path:
        """The dump that a crash kernel left below var/crash of "debian", "rhel" or "suse"."""
        name = "dump.*" if layout == "debian" else "vmcore"
        return next(self.dumps.glob("kdump61.kdump/%s/var/crash/*/%s" % (layout, name)))

    def said(self, guest: str) -> Said:
        """What a guest said: the truth that its dumps are to be read as."""
        return said((self.dumps / (guest + ".console.txt")).read_bytes().decode("utf-8", "replace"))


def said(text: str) -> Said:
    release = re.search(r"Linux version (\S+)", text)
    notes = re.search(r"^VM-BUILDID-NOTES ([0-9a-f]+)", text, re.MULTILINE)
    assert release and notes, "the console has no banner or no build ID:\n" + text[-2000:]
    modules = {}
    for line in re.finditer(r"^VM-MODNOTE (\S+) ([0-9a-f]*) src=(\S*) taint=(\S*)\r?$", text, re.MULTILINE):
        modules[line.group(1)] = LoadedModule(_gnu_build_id(line.group(2)), line.group(3), line.group(4))
    return Said(release.group(1), _gnu_build_id(notes.group(1)), modules, text)


def _gnu_build_id(notes: str) -> str:
    """Of a dump of ELF notes in hex: the descriptor of NT_GNU_BUILD_ID (namesz 4, descsz 20, type 3, "GNU")."""
    found = re.search(r"040000001400000003000000474e5500([0-9a-f]{40})", notes)
    return found.group(1) if found else ""


def vmcores(kernel: str = "6.1") -> Vmcores:
    """The dumps of this kernel, made if they are not there yet. Raises VmcoresError."""
    named = os.environ.get("SAVEDUMP_VMCORES")
    if named and kernel == "6.1":
        if not Path(named, "vmcores").is_dir():
            raise VmcoresError(f"SAVEDUMP_VMCORES is {named}, which has no folder vmcores in it")
        return Vmcores(Path(named))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "savedump"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"vmcores-{kernel}-{_recipe()}"
    with open(cache / f"vmcores-{kernel}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            # Whoever held the lock and left one was killed.
            for left in cache.glob(f"vmcores-{kernel}-unfinished-*"):
                shutil.rmtree(left)
            unfinished = Path(tempfile.mkdtemp(prefix=f"vmcores-{kernel}-unfinished-", dir=cache))
            try:
                make(KERNELS[kernel], unfinished)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            _forget(cache.glob(f"vmcores-{kernel}-*"), time.time() - 14 * 86400)
        os.utime(folder)
    return Vmcores(folder)


def _forget(folders: Iterable[Path], before: float) -> None:
    """Remove what other recipes made if nobody has used it for long: it is 4 GB each."""
    for folder in folders:
        if folder.stat().st_mtime < before:
            shutil.rmtree(folder)


def _recipe() -> str:
    """A hash of all that decides what the dumps are like, but for what Debian's mirror has."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*here.glob("*.py"), *here.glob("guest/*")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def why_not(kernel: str = "6.1") -> str:
    """Why the dumps cannot be made on this machine; "" if they can, or need not be."""
    if kernel == "6.1" and os.environ.get("SAVEDUMP_VMCORES"):
        return ""
    if platform.machine() != "x86_64":
        return "the programs that make kernel dumps are x86_64's"
    machine = MACHINES[KERNELS[kernel].architecture]
    needed = [*_PROGRAMS, machine.qemu, *machine.emulator]
    missing = [f"{name} ({_PACKAGES.get(name, name)})" for name in needed if find(name) is None]
    return "missing here: " + ", ".join(missing) if missing else ""


_PROGRAMS = ("apt-get", "debugfs", "dpkg-deb", "gcc", "lz4", "make", "mkfs.ext4", "strip", "zstd")
#: Debian's packages of the programs that we need, where they have another name.
_PACKAGES = {
    "apt-get": "apt",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "mkfs.ext4": "e2fsprogs",
    "qemu-aarch64": "qemu-user",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "strip": "binutils",
}
