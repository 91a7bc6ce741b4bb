# SPDX-License-Identifier: Apache-2.0
"""File trees: the base that a host's overlay lies on, and what its upper layer starts with."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from .base import cache_folder, call

#: libc6-dev lets the machine's own compiler build programs for that root (`gcc --sysroot`), which has none.
_PACKAGES = ("libc6-dev", "openssh-server", "python3", "sudo")
_MIRROR = "http://deb.debian.org/debian"
#: Empty in every host, whatever the machine keeps there: its temporary files, homes and dumps are not the host's.
_EMPTY = {
    "home": 0o755,
    "root": 0o700,
    "run": 0o755,
    "tmp": 0o1777,
    "var/crash": 0o1777,
    "var/tmp": 0o1777,
    "var/lib/apport": 0o755,
    "var/lib/systemd/coredump": 0o755,
    "var/spool/abrt": 0o755,
}
LOGIN, LOGIN_ID = "admin", 4242


def base(release: str | None) -> str:
    """The lower folder of a host's overlay: the machine's own `/`, or a Debian release built once and kept."""
    return "/" if release is None else str(debootstrapped(release))


def debootstrapped(release: str) -> Path:
    """A root of Debian `release` in the user's cache folder, built on the first call (about a minute and 300 MB).

    `SAVEDUMP_FLEET_MIRROR` names another mirror, such as http://archive.debian.org/debian for a retired release.
    """
    mirror = os.environ.get("SAVEDUMP_FLEET_MIRROR", _MIRROR)
    recipe = hashlib.sha256(" ".join(_PACKAGES).encode()).hexdigest()[:8]
    cache = cache_folder()
    root = cache / f"{release}-{recipe}"
    with open(cache / f"{release}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            unfinished = Path(tempfile.mkdtemp(prefix=f"{release}-unfinished-", dir=cache))
            try:
                call(
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={','.join(_PACKAGES)}",
                    release,
                    str(unfinished),
                    mirror,
                )
                shutil.rmtree(unfinished / "var/cache/apt", ignore_errors=True)
                unfinished.chmod(0o755)
                unfinished.rename(root)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return root


def prepare(
    layers: Path,
    lower: str,
    hostname: str,
    ask_password: bool,
    public_key: str,
    host_key: Path,
    visible: tuple[str, ...],
) -> None:
    """Fill the layers of a host's overlay: `upper`, and the empty `work` and `root`.

    All that makes the host a host of its own (login user, sudo, names, keys) lies in the upper layer, so that no file
    of the machine changes. `visible` are folders of the machine whose parents anyone in the host may pass.
    """
    upper = layers / "upper"
    for folder in (layers, layers / "root", layers / "work", upper):
        folder.mkdir(mode=0o755)
    for name, mode in _EMPTY.items():
        folder = _folder(upper, name)
        folder.chmod(mode)
        os.setxattr(folder, "trusted.overlay.opaque", b"y")  # kernel Documentation/filesystems/overlayfs.rst
    for entry in os.scandir(lower):
        if entry.is_file(follow_symlinks=False):  # loose files in / are leavings, a core among them
            os.mknod(upper / entry.name, stat.S_IFCHR, os.makedev(0, 0))  # overlayfs' "not here"
    for path in visible:
        _folder(upper, path.lstrip("/"))
    _folder(upper, "run/sshd")
    _accounts(upper, lower)
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n"
    _write(upper, "etc/hostname", f"{hostname}\n")
    _write(upper, "etc/hosts", hosts)  # sudo waits 12 s for a name server when the host's own name is not here
    _write(upper, "etc/resolv.conf", "")
    _write(upper, "etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    rule = "ALL=(ALL:ALL) ALL" if ask_password else "ALL=(ALL:ALL) NOPASSWD: ALL"
    _write(upper, "etc/sudoers", f"Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n{LOGIN} {rule}\n", 0o440)
    _write(upper, "etc/fleet/authorized_keys", public_key)
    _write(upper, "etc/fleet/host_key", host_key.read_text(), 0o600)
    _write(upper, "etc/fleet/sshd_config", _SSHD_CONFIG)


_SSHD_CONFIG = """\
HostKey /etc/fleet/host_key
AuthorizedKeysFile /etc/fleet/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM no
UseDNS no
PidFile none
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""


def _accounts(upper: Path, lower: str) -> None:
    for name, line in (
        ("passwd", f"{LOGIN}:x:{LOGIN_ID}:{LOGIN_ID}::/home/{LOGIN}:/bin/bash"),
        ("group", f"{LOGIN}:x:{LOGIN_ID}:"),
        ("shadow", f"{LOGIN}:*:19000:0:99999:7:::"),
    ):
        source = Path(lower, "etc", name)
        kept = [old for old in source.read_text().splitlines() if not old.startswith(f"{LOGIN}:")]
        _write(upper, f"etc/{name}", "\n".join(kept + [line]) + "\n", 0o600 if name == "shadow" else 0o644)
    home = _folder(upper, f"home/{LOGIN}")
    os.chown(home, LOGIN_ID, LOGIN_ID)
    home.chmod(0o700)


def _folder(upper: Path, name: str) -> Path:
    """A folder in the upper layer, which merges with the one below; all may pass through every step of its path."""
    folder = upper
    for step in Path(name).parts:
        folder = folder / step
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)
    return folder


def _write(upper: Path, name: str, text: str, mode: int = 0o644) -> None:
    path = _folder(upper, os.path.dirname(name)) / os.path.basename(name)
    path.write_text(text)
    path.chmod(mode)
