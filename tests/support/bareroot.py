# SPDX-License-Identifier: Apache-2.0
"""A minimal Debian or Ubuntu with python3, git and certificates, and nothing else: where a newcomer may start from.

Made once by debootstrap and kept under XDG_CACHE_HOME; each test works on an overlay of its own, in its own mount,
process and host name space, on this machine's network. How this machine reaches its package mirror and index is
carried in, whatever it is: a mirror, a proxy, certificates, an index in a local folder.
"""

import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import tempfile
from typing import List, NamedTuple

import pytest

from . import machine

PACKAGES = ("python3", "git", "ca-certificates")


class System(NamedTuple):
    """A distribution's release and what debootstrap must know of it."""

    distribution: str
    """"Debian" or "Ubuntu", as apt names the origin."""
    suite: str
    mirror: str
    """Where it is published; this machine's apt sources and SAVEDUMP_MIRROR_DEBIAN, ..._UBUNTU come first."""
    components: str
    keyring: str


SYSTEMS = {
    # Python 3.11 without ensurepip: ansible-core 2.19.
    "debian12": System(
        "Debian", "bookworm", "http://deb.debian.org/debian", "main", "/usr/share/keyrings/debian-archive-keyring.gpg"
    ),
    # Python 3.13: the newest ansible-core.
    "debian13": System(
        "Debian", "trixie", "http://deb.debian.org/debian", "main", "/usr/share/keyrings/debian-archive-keyring.gpg"
    ),
    # Python 3.10: ansible-core 2.16. Its python3.10-venv is in universe.
    "ubuntu2204": System(
        "Ubuntu",
        "jammy",
        "http://archive.ubuntu.com/ubuntu",
        "main,universe",
        "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    ),
}

# Run by unshare as process 1 of the new name spaces: $1 lower, $2 work folder, $3 user, $4 file of commands. Binds
# named in $2/binds, one path a line.
ENTER = r"""
set -eu
root=$2/root
mkdir -p "$root" "$2/upper" "$2/overlay"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/overlay" overlay "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
# Nodes of its own: a package's script that changes the mode of /dev/null must not do so outside.
while read -r device major minor; do
    mknod -m 666 "$root/dev/$device" c "$major" "$minor"
done <<DEVICES
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
DEVICES
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
while read -r path; do
    mkdir -p "$root$path"
    mount --bind -o ro "$path" "$root$path"
done <"$2/binds"
hostname bare
ulimit -c unlimited
home=/root
id=0
if [ "$3" != root ]; then
    chroot "$root" sh -c 'id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"' - "$3"
    home=/home/$3
    id=$(chroot "$root" id -u "$3")
fi
cp "$4" "$root/commands"
# env -i: nothing of this machine's environment but the proxies, which the file of commands sets.
exec chroot "$root" env -i HOME="$home" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --reuid "$id" --regid "$id" --clear-groups sh -c 'cd && exec bash -e /commands'
"""


class BareRoot:
    """One system as debootstrap left it, plus what run() has done to it so far."""

    def __init__(self, lower: pathlib.Path, work: pathlib.Path) -> None:
        self.lower = lower
        self.work = work
        upper = work / "upper"
        (upper / "etc").mkdir(parents=True)
        settings = machine.pip_settings()
        apt = _apt_settings()
        directories = []  # type: List[str]
        for path in machine.paths_in(list(settings.values()) + apt) + ["/etc/ssl/certs/ca-certificates.crt"]:
            if os.path.isdir(path):
                directories.append(path)
            elif os.path.exists(path):
                _put(upper, path, pathlib.Path(path).read_bytes())
        (work / "binds").write_text("".join(path + "\n" for path in directories))
        _put(upper, "/etc/pip.conf", machine.pip_conf(settings).encode())
        _put(upper, "/etc/apt/apt.conf.d/90machine", "\n".join(apt + [""]).encode())
        _put(upper, "/etc/resolv.conf", pathlib.Path("/etc/resolv.conf").read_bytes())
        _put(upper, "/etc/hosts", pathlib.Path("/etc/hosts").read_bytes() + b"\n127.0.1.1 bare\n")

    def put(self, path: str, content: bytes) -> None:
        """Write a file into the system, for all to read."""
        _put(self.work / "upper", path, content)

    def run(self, commands: str, user: str = "root") -> "subprocess.CompletedProcess[str]":
        """Run bash commands in the user's home folder; both output streams are in the result, as text."""
        script = self.work / "commands"
        proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        exports = "".join("export %s=%s\n" % (name, shlex.quote(value)) for name, value in sorted(proxies.items()))
        script.write_text(exports + commands + "\n")
        script.chmod(0o644)
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        return subprocess.run(
            unshare + ["sh", "-c", ENTER, "enter", str(self.lower), str(self.work), user, str(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            check=False,
        )


def lower(name: str) -> pathlib.Path:
    """The folder of a fresh system, made by debootstrap if it is not there yet."""
    if os.geteuid() != 0:
        pytest.skip("a bare system is entered with chroot and mounts, which need root")
    system = SYSTEMS[name]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "savedump"
    made = cache / "bare" / ("%s-%s" % (name, platform.machine()))
    if made.is_dir():
        return made
    if not shutil.which("debootstrap"):
        pytest.skip("debootstrap is not installed")
    keyring = _keyring(system, cache)
    made.parent.mkdir(parents=True, exist_ok=True)
    fresh = pathlib.Path(tempfile.mkdtemp(prefix=".%s-" % name, dir=str(made.parent)))
    fresh.chmod(0o755)
    command = ["debootstrap", "--variant=minbase", "--keyring=%s" % keyring, "--components=" + system.components]
    command += ["--include=" + ",".join(PACKAGES), system.suite, str(fresh), mirror(system)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail("%s\n%s" % (" ".join(command), done.stdout[-3000:]), pytrace=False)
        fresh.rename(made)
    finally:
        if fresh.exists():
            shutil.rmtree(str(fresh))
    return made


def _keyring(system: System, cache: pathlib.Path) -> pathlib.Path:
    """What proves the system's packages: this machine's own, else, of Ubuntu, that in a package of Debian 13."""
    own = pathlib.Path(system.keyring)
    if own.exists():
        return own
    kept = cache / "keyrings" / own.name
    why = "there is none here"
    if system.distribution == "Ubuntu" and not kept.exists():
        with tempfile.TemporaryDirectory() as work:
            debian = BareRoot(lower("debian13"), pathlib.Path(work))
            why = debian.run(
                "apt-get -q update; apt-get -q -oAPT::Sandbox::User= download ubuntu-keyring\n"
                "dpkg-deb -x ubuntu-keyring_*.deb ."
            ).stdout[-500:]
            found = debian.work / "upper/root" / own.relative_to("/")
            if found.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(found), str(kept))
    if not kept.exists():
        pytest.skip("%s, which proves packages of %s, cannot be had: %s" % (own, system.distribution, why))
    return kept


def mirror(system: System) -> str:
    named = os.environ.get("SAVEDUMP_MIRROR_" + system.distribution.upper())
    if named:
        return named
    # The one that this machine's apt uses, if it runs the same distribution; the security archive is no mirror.
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        universal_newlines=True,
        check=False,
    )
    for line in sorted(set(asked.stdout.splitlines())):
        origin, _, uri = line.partition(" ")
        if origin == system.distribution and "security" not in uri:
            return uri
    return system.mirror


def _apt_settings() -> List[str]:
    """Lines of apt.conf: how this machine's apt reaches its mirrors."""
    if not shutil.which("apt-config"):
        return []
    listing = subprocess.check_output(["apt-config", "dump", "Acquire"], universal_newlines=True)
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::AllowInsecure")
    return [line for line in listing.splitlines() if line.startswith(wanted)]


def _put(upper: pathlib.Path, path: str, content: bytes) -> None:
    target = upper / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
