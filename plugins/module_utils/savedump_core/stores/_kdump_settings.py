# SPDX-License-Identifier: Apache-2.0
"""Where the settings of the distributions' kdump services send dumps. They are read as data: two of the three are shell
scripts to their services, and nothing of them is ever run here."""

import os
import re
import shlex
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from ..sysroot import Refused, Sysroot, regular_file

DEFAULT = "/var/crash"
KDUMP_TOOLS, SUSE = "/etc/default/kdump-tools", "/etc/sysconfig/kdump"

# The words of kdump.conf that name a file system to be mounted (kdump.conf(5); kdump-lib-initramfs.sh, is_fs_type_*).
_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "minix", "f2fs", "nfs", "nfs4", "virtiofs")
_BY_NAME = {
    "LABEL": "by-label", "UUID": "by-uuid", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel",
}  # fmt: skip
_MAX_SETTINGS = 1 << 16
_MAX_MOUNTS = 1 << 20


class Target(NamedTuple):
    """Where dumps are sent to."""

    folder: Optional[str]
    """As seen from inside the sysroot; None if they are in no folder of this host's."""
    where: str
    """Who sends them there, and what it calls the place."""
    why: str = ""
    """Why there is no folder."""


def targets(sysroot: Sysroot) -> Iterator[Target]:
    """What each service's settings say, then the folder that all of them use unless told otherwise."""
    yield from _kdump_tools(sysroot)
    yield from _kdump_utils(sysroot)
    yield from _suse(sysroot)
    yield Target(DEFAULT, "the default")


def _kdump_tools(sysroot: Sysroot) -> Iterator[Target]:
    """Debian and Ubuntu: kdump-tools(5); kdump-config, kdump_save_core."""
    at = KDUMP_TOOLS
    said = settings(sysroot, at, ("KDUMP_COREDIR", "NFS", "SSH", "FTP"))
    yield from _folder(said.pop("KDUMP_COREDIR", ""), at)
    for name, value in sorted(said.items()):
        if name == "NFS" and value:
            # It is mounted on KDUMP_COREDIR only while a dump is saved.
            yield _mounted(sysroot, value, "", "%s: NFS %s" % (at, value))
        elif value:
            yield Target(None, "%s: %s %s" % (at, name, value), _ELSEWHERE)


def _kdump_utils(sysroot: Sysroot) -> Iterator[Target]:
    """RHEL, Fedora and kin: kdump.conf(5); dracut's kdump.sh, dump_fs: the path is below what is mounted."""
    at = "/etc/kdump.conf"
    path, kind, spec = DEFAULT, "", ""
    for line in _text(sysroot, at, _MAX_SETTINGS).splitlines():
        words = line.partition("#")[0].split(None, 1)
        if len(words) < 2:
            continue
        value = words[1].strip()
        if words[0] == "path":
            # Both are put behind the mount point as they stand, with a slash between.
            path = value if value.startswith("/") else "/" + value
        elif words[0] in _FILE_SYSTEMS + ("raw", "ssh", "net"):
            kind, spec = words[0], value
        elif words[0] == "dracut_args" and "--mount" in value:
            kind, spec = "mount", _dracut_mount(value)
    where = "%s: %s %s" % (at, kind, spec)
    if kind in ("ssh", "net"):
        yield Target(None, where, _ELSEWHERE)
    elif kind == "raw":
        why = "a bare device, which is not read: kdumpctl saves the dump that lies on it in %s at the next start" % path
        yield Target(None, where, why)
    elif kind:
        yield _mounted(sysroot, spec, path, where)
    # Besides: what lay on a bare device, and what failure_action (older: default) dump_to_rootfs saved when the target
    # failed. "/" is not searched for what is only perhaps there.
    if not kind or path.strip("/"):
        yield from _folder(path, at)


def _suse(sysroot: Sysroot) -> Iterator[Target]:
    """SUSE: kdump(5). KDUMP_SAVEDIR is a URL or several, or a path."""
    at = SUSE
    said = settings(sysroot, at, ("KDUMP_SAVEDIR", "KDUMP_TRANSFER"))
    if said.get("KDUMP_TRANSFER"):
        # The command may hold a password.
        yield Target(None, "%s: KDUMP_TRANSFER" % at, "a command of the host's own saves dumps: look where it does")
    for url in said.get("KDUMP_SAVEDIR", "").split():
        scheme, colon, rest = url.partition("://")
        scheme = scheme.lower()
        if not colon or scheme == "file":
            yield from _folder(rest if colon else url, at)
        else:
            # The URL may hold a password.
            where = "%s: %s %s" % (at, scheme, _host_of(url))
            folder = _nfs_folder(sysroot, url) if scheme == "nfs" else None
            yield Target(folder, where, "" if folder else _ELSEWHERE)


_ELSEWHERE = "dumps go to that host: look there"


def _folder(value: str, at: str) -> Iterator[Target]:
    if "$" in value or "`" in value:
        yield Target(None, "%s: %s" % (at, value), "the shell works this out, which is not done here: give the path")
    elif value.startswith("/"):
        yield Target(value, at)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _dracut_mount(value: str) -> str:
    """The device in ``--mount "DEVICE MOUNTPOINT TYPE OPTIONS"`` (dracut(8))."""
    try:
        words = shlex.split(value)
        return words[words.index("--mount") + 1].split()[0]
    except (ValueError, IndexError):
        return ""


def _mounted(sysroot: Sysroot, spec: str, path: str, where: str) -> Target:
    """The folder `path` of the file system `spec`, if that is mounted."""
    names = {spec, spec.rstrip("/")}
    key, equals, value = spec.partition("=")
    device = "/dev/disk/%s/%s" % (_BY_NAME.get(key, ""), value.strip('"')) if equals else spec
    names.update(_real(sysroot, device))
    for mounted, point in _mounts(sysroot):
        if mounted in names or names.intersection(_real(sysroot, mounted)):
            return Target(os.path.join(point, path.lstrip("/")), where)
    return Target(None, where, "not mounted here: mount it, and give the path")


def _nfs_folder(sysroot: Sysroot, url: str) -> Optional[str]:
    """Where nfs://HOST/PATH lies here, if HOST's PATH or a folder above it is mounted: the nearest one counts."""
    host = _host_of(url)
    path = "/" + urlsplit(url).path.strip("/") if host else ""
    folder, nearest = None, 0
    for mounted, point in _mounts(sysroot):
        server, colon, export = mounted.partition(":/")
        above = "/" + export.strip("/") + "/" if export.strip("/") else "/"
        if colon and server.strip("[]").lower() == host and (path + "/").startswith(above) and len(above) >= nearest:
            folder, nearest = os.path.join(point, path[len(above) :]), len(above)
    return folder


def _mounts(sysroot: Sysroot) -> Iterator[Tuple[str, str]]:
    """What is mounted, and where."""
    for line in _text(sysroot, "/proc/mounts", _MAX_MOUNTS).splitlines():
        fields = [re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), f) for f in line.split(" ")]
        if len(fields) > 2:
            yield fields[0], fields[1]


def _real(sysroot: Sysroot, device: str) -> List[str]:
    try:
        return [sysroot.resolve(device).path] if device.startswith("/") else []
    except OSError:
        return []


def settings(sysroot: Sysroot, path: str, names: Tuple[str, ...]) -> Dict[str, str]:
    """NAME=VALUE lines of a shell script, the last of each name; what is within quotes is taken as it stands."""
    found: Dict[str, str] = {}
    for line in _text(sysroot, path, _MAX_SETTINGS).splitlines():
        match = re.match(r"\s*(?:export\s+)?([A-Z_]+)=(.*)", line)
        if match and match.group(1) in names:
            try:
                found[match.group(1)] = (shlex.split(match.group(2), comments=True) or [""])[0]
            except ValueError:
                # A quote that goes on in the next line: no path has that.
                continue
    return found


def _text(sysroot: Sysroot, path: str, limit: int) -> str:
    """The first `limit` bytes of a file; "" if there is none."""
    try:
        with regular_file(sysroot.resolve(path).host_path) as file:
            return os.fsdecode(file.read(limit))
    except (OSError, Refused):
        return ""
