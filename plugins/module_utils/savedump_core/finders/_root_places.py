# SPDX-License-Identifier: Apache-2.0
"""Where on a host other roots lie: mount namespaces of running processes, layers of containers, snapshots, ostree
deployments. Only folders that no link leads out of the sysroot for are given; what lies in them is not looked at."""

import os
import stat
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

from ..model import UNREADABLE, Attempt
from ..sysroot import Refused, Sysroot, regular_file
from .processes import MAX_PROCESSES, denied_text, process_ids

MAX_NAMESPACES = 256
# The newest of one store; a host with hundreds of images has some thousand layers.
MAX_LAYERS = 512
# The newest of one file system. Each of ZFS's is mounted when it is looked into, and stays so for five minutes.
MAX_SNAPSHOTS = 64
MAX_DEPLOYMENTS = 16
MAX_HOMES = 256
# Names looked at in one folder.
MAX_NAMES = 1 << 14

_CONTAINERD = "io.containerd.snapshotter.v1."
# Docker's drivers (overlay2; fuse-overlayfs where it runs without root), its snap; podman's, cri-o's and buildah's
# containers/storage; containerd as of Kubernetes and of Docker since 29, in the folders of k3s, rke2, k0s and microk8s;
# LXC, LXD, Incus and systemd-nspawn. The mounted whole ("merged") comes after its layers: it is there for containers
# without a process only.
_LAYERS = tuple(
    pattern
    for docker in ("/var/lib/docker", "/var/snap/docker/common/var-lib-docker")
    for pattern in (
        docker + "/overlay2/*/diff", docker + "/overlay2/*/merged", docker + "/fuse-overlayfs/*/diff",
        docker + "/btrfs/subvolumes/*", docker + "/vfs/dir/*",
    )
) + tuple(
    "/var/lib/containers/storage/" + rest
    for rest in ("overlay/*/diff", "overlay/*/merged", "btrfs/subvolumes/*", "vfs/dir/*")
) + tuple(
    "%s/%s%s" % (top, _CONTAINERD, rest)
    for top in (
        "/var/lib/containerd", "/var/lib/rancher/k3s/agent/containerd", "/var/lib/rancher/rke2/agent/containerd",
        "/var/lib/k0s/containerd", "/var/snap/microk8s/common/var/lib/containerd",
    )
    for rest in ("overlayfs/snapshots/*/fs", "fuse-overlayfs/snapshots/*/fs", "native/snapshots/*")
) + (
    "/var/lib/lxc/*/rootfs", "/var/lib/lxd/storage-pools/*/containers/*/rootfs",
    "/var/snap/lxd/common/lxd/storage-pools/*/containers/*/rootfs",
    "/var/lib/incus/storage-pools/*/containers/*/rootfs", "/var/lib/machines/*",
)  # fmt: skip
# What a user's own containers leave in his home.
_HOME_LAYERS = (
    ".local/share/containers/storage/overlay/*/diff", ".local/share/containers/storage/vfs/dir/*",
    ".local/share/docker/overlay2/*/diff", ".local/share/docker/fuse-overlayfs/*/diff",
)  # fmt: skip
# Timeshift by rsync, on the root's own disk or on another that it has mounted just now; by btrfs.
_TIMESHIFT = tuple(
    top + rest
    for top in ("", "/run/timeshift/backup", "/run/timeshift/*/backup")
    for rest in ("/timeshift/snapshots/*/localhost", "/timeshift-btrfs/snapshots/*/@")
)
_OSTREE = ("/ostree/deploy/*/deploy/*", "/sysroot/ostree/deploy/*/deploy/*")
# File systems in which a look at a home may wait for a server, or mount it.
_FAR = ("autofs", "nfs", "nfs4", "cifs", "smb3", "ceph", "afs", "9p", "glusterfs", "lustre", "fuse.sshfs")


class Place(NamedTuple):
    """A root that is not the one the dump's paths are looked up in first."""

    root: str
    """Its path on this host."""
    group: str
    """What is of its kind, as a pattern for people."""
    below: str = "/"
    """The folder of the sysroot that it is another state of: of /home/.snapshots/3/snapshot, /home."""
    earlier: bool = False
    """True if it is another state of this host, which has kernels, and not some container's root."""


class Places(NamedTuple):
    """What there is, and what could not be looked for."""

    found: Tuple[Place, ...]
    unreadable: Tuple[Attempt, ...]


def namespaces(finder: str) -> Places:
    """/proc/PID/root for each mount namespace that is not this process's, and for each root within one that a process
    has changed to."""
    try:
        seen = {_root_of("self")}
    except OSError:
        return Places((), ())
    found: List[Place] = []
    denied = False
    for pid in process_ids()[:MAX_PROCESSES]:
        try:
            key = _root_of(str(pid))
        except PermissionError:
            denied = True
            continue
        except OSError:
            # It ended just now.
            continue
        if key not in seen and len(found) < MAX_NAMESPACES:
            seen.add(key)
            found.append(Place(root="/proc/%d/root" % pid, group="/proc/*/root"))
    unreadable = (Attempt(finder, "/proc/*/root", UNREADABLE, denied_text()),) if denied else ()
    return Places(tuple(found), unreadable)


def _root_of(process: str) -> Tuple[str, int, int]:
    status = os.stat("/proc/%s/root" % process)
    return os.readlink("/proc/%s/ns/mnt" % process), status.st_dev, status.st_ino


def layers(finder: str, sysroot: Sysroot) -> Places:
    """What containers have written and what their images brought, of each store the newest first."""
    listed = [_matching(finder, sysroot, "", pattern, MAX_LAYERS) for pattern in _LAYERS]
    listed += [
        _matching(finder, sysroot, home, "/" + pattern, MAX_LAYERS)
        for home in _homes(sysroot)
        for pattern in _HOME_LAYERS
    ]
    return _joined(listed)


def snapshots(finder: str, sysroot: Sysroot, folder: str) -> Places:
    """Earlier states of the file system that is mounted at this folder: snapper's (and what others keep in .snapshots),
    ZFS's, whose folder no listing shows, and Timeshift's."""
    top = "" if folder == "/" else folder
    snapper = _matching(finder, sysroot, top, "/.snapshots/*/snapshot", MAX_SNAPSHOTS)
    others = _matching(finder, sysroot, top, "/.snapshots/*", MAX_SNAPSHOTS)
    known = {place.root for place in snapper.found}
    others = others._replace(found=tuple(one for one in others.found if one.root + "/snapshot" not in known))
    listed = [snapper, others, _matching(finder, sysroot, top, "/.zfs/snapshot/*", MAX_SNAPSHOTS)]
    if folder == "/":
        listed += [_matching(finder, sysroot, "", pattern, MAX_SNAPSHOTS) for pattern in _TIMESHIFT]
    joined = _joined(listed)
    return joined._replace(found=tuple(one._replace(below=folder, earlier=True) for one in joined.found))


def deployments(finder: str, sysroot: Sysroot) -> Places:
    """The trees that ostree has checked out, of which one is this host's /usr."""
    joined = _joined([_matching(finder, sysroot, "", pattern, MAX_DEPLOYMENTS) for pattern in _OSTREE])
    return joined._replace(found=tuple(one._replace(earlier=True) for one in joined.found))


def _joined(listed: List[Places]) -> Places:
    """All of them, each folder once: /ostree is a link to /sysroot/ostree."""
    found: Dict[str, Place] = {}
    for place in (place for places in listed for place in places.found):
        found.setdefault(place.root, place)
    return Places(tuple(found.values()), tuple({one.path: one for two in listed for one in two.unreadable}.values()))


def _matching(finder: str, sysroot: Sysroot, top: str, pattern: str, most: int) -> Places:
    """The folders that `top` + `pattern` stands for, at most so many, the newest first. `top` is no pattern; the part
    before the first star may lead through links, which stay in the sysroot, and the rest is followed through none."""
    head, _star, rest = pattern.partition("/*")
    found, unreadable = [], []
    try:
        host = sysroot.resolve(top + head).host_path
        folders = [host] if stat.S_ISDIR(os.lstat(host).st_mode) else []
        for part in ("*" + rest).split("/"):
            folders = [path for folder in folders for path in _inside(folder, part)][:most]
        found = [Place(root=folder, group=top + pattern) for folder in folders]
    except PermissionError as error:
        unreadable = [Attempt(finder, top + pattern, UNREADABLE, error.strerror or str(error))]
    except (OSError, ValueError):
        # It is not there.
        pass
    return Places(tuple(found), tuple(unreadable))


def _inside(folder: str, part: str) -> Iterator[str]:
    """The folders in a folder: all, the newest first, or the one of that name."""
    if part != "*":
        path = os.path.join(folder, part)
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                yield path
        except OSError:
            pass
        return
    dated = []
    for name in os.listdir(folder)[:MAX_NAMES]:
        path = os.path.join(folder, name)
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            dated.append((status.st_mtime_ns, path))
    for _time, path in sorted(dated, reverse=True):
        yield path


def _homes(sysroot: Sysroot) -> List[str]:
    """The homes in /etc/passwd that lie on this host's own disks."""
    try:
        with regular_file(sysroot.resolve("/etc/passwd").host_path) as file:
            lines = file.read(1 << 20).split(b"\n")
    except (OSError, Refused):
        return []
    far = _far_devices()
    homes: List[str] = []
    for fields in (line.split(b":") for line in lines):
        home = os.path.normpath(os.fsdecode(fields[5])) if len(fields) == 7 else ""
        if home.startswith("/") and home != "/" and home not in homes:
            try:
                # lstat of the home itself sets off no automounter (fs/stat.c, AT_NO_AUTOMOUNT).
                above = sysroot.resolve(os.path.dirname(home)).host_path
                device = os.lstat(os.path.join(above, os.path.basename(home))).st_dev
            except (OSError, ValueError):
                continue
            if device not in far:
                homes.append(home)
    return homes[:MAX_HOMES]


def _far_devices() -> Set[int]:
    """The devices of mounted file systems that may wait (proc_pid_mountinfo(5))."""
    far: Set[int] = set()
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            lines = file.read(16 << 20).split(b"\n")
    except OSError:
        return far
    for line in lines:
        before, _dash, after = line.partition(b" - ")
        if os.fsdecode(after.split(b" ")[0]) in _FAR:
            major, _colon, minor = before.split(b" ")[2].partition(b":")
            far.add(os.makedev(int(major), int(minor)))
    return far
