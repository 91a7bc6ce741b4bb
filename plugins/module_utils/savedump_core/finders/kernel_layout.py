# SPDX-License-Identifier: Apache-2.0
"""Where distributions keep vmlinux and kernel modules, by the kernel's release. The release alone proves nothing: a
kernel that was rebuilt, or upgraded in place, has the same.

Sources: packages of Debian 11 to sid, Ubuntu's ddebs, Fedora's and SUSE's spec files, drgn 0.3.0
(libdrgn/linux_kernel.c, vmlinux_paths), kernel Documentation/kbuild (updates, extra), weak-modules(8).
"""

import os
from typing import Iterator, Optional, Tuple

from ..model import LOADED, VMLINUX, Candidate, Want
from ..sysroot import Roots

NAME = "kernel-layout"

_DEBUG = "usr/lib/debug/"
PACKED = (".xz", ".zst", ".gz")
"""What distributions compress modules and vmlinux with (CONFIG_MODULE_COMPRESS_*; SUSE's vmlinux is a .gz or .xz)."""
# Debian up to 6.12 and Ubuntu; Fedora, RHEL and Debian since; older Debian's link.
_WITH_DEBUG = (_DEBUG + "boot/vmlinux-%s", _DEBUG + "lib/modules/%s/vmlinux", _DEBUG + "vmlinux-%s")
# SUSE before and after it moved kernels below /usr; a kernel built on this host; Arch.
_PLAIN = ("boot/vmlinux-%s", "usr/lib/modules/%s/vmlinux", "lib/modules/%s/vmlinux", "lib/modules/%s/build/vmlinux")
_SPLIT = (
    _DEBUG + "boot/vmlinux-%s.debug", _DEBUG + "lib/modules/%s/vmlinux.debug",
    _DEBUG + "usr/lib/modules/%s/vmlinux.debug",
)  # fmt: skip
_MODULES = ("lib/modules/%s", "usr/lib/modules/%s")
_DEBUG_MODULES = (_DEBUG + "lib/modules/%s", _DEBUG + "usr/lib/modules/%s")


def candidates(want: Want, roots: Roots) -> Iterator[Candidate]:
    release = want.release
    if release is None or not is_release(release):
        return
    for folder in (None,) + roots.search_paths:
        if want.module == VMLINUX:
            yield from _vmlinux(want, release, folder)
        else:
            yield from _module(want, release, folder, roots)


def is_release(release: str) -> bool:
    """True for what can be a folder's name: a release comes out of a dump."""
    return bool(release) and "/" not in release and "\0" not in release and release not in (".", "..")


def _vmlinux(want: Want, release: str, folder: Optional[str]) -> Iterator[Candidate]:
    if want.kind != LOADED:
        yield from (_candidate(pattern % release, folder) for pattern in _SPLIT + _WITH_DEBUG)
        return
    yield from (_candidate(pattern % release, folder) for pattern in _WITH_DEBUG)
    for pattern in _PLAIN:
        yield from (_candidate(pattern % release + suffix, folder) for suffix in ("",) + PACKED)


def _module(want: Want, release: str, folder: Optional[str], roots: Roots) -> Iterator[Candidate]:
    trees: Tuple[str, ...] = _DEBUG_MODULES
    if want.kind == LOADED:
        trees = _MODULES + _DEBUG_MODULES
    for tree in trees:
        for path in roots.below(folder, tree % release, module_name).get(want.module, ()):
            yield _candidate(path, folder)


def _candidate(path: str, folder: Optional[str]) -> Candidate:
    return Candidate(path=path if folder else "/" + path, finder=NAME, folder=folder)


def member(path: str, release: str) -> Optional[str]:
    """The part of a found module's path that tells its place in its release's tree: "kernel/fs/xfs/xfs.ko"."""
    mark = "/lib/modules/%s/" % release
    at = ("/" + path).rfind(mark)
    return ("/" + path)[at + len(mark) :] if at >= 0 else None


def module_name(file_name: str) -> Optional[str]:
    """The module that a file of this name holds: "crc32c_intel" of crc32c-intel.ko.xz; None for no module's name."""
    base, dot, rest = file_name.partition(".ko")
    if not base or not dot or rest not in ("", ".debug") + PACKED:
        return None
    return os.path.basename(base).replace("-", "_")
