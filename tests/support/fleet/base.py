# SPDX-License-Identifier: Apache-2.0
"""What all of the fleet stands on: its one error, the machine's tools, the cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

#: Debian package of each program that the fleet calls.
PACKAGE_OF = {
    "chpasswd": "passwd",
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "gdb": "gdb",
    "ip": "iproute2",
    "mount": "mount",
    "nsenter": "util-linux",
    "pivot_root": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "sudo": "sudo",
    "tc": "iproute2",
    "unshare": "util-linux",
}

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class FleetError(Exception):
    """A fleet could not do what was asked of it; the message holds the failing program's own words."""


def tool(name: str) -> str:
    """The path of a program, looked for in PATH and in the sbin folders, which a user's PATH may lack."""
    found = shutil.which(name) or shutil.which(name, path=_SBIN)
    if not found:
        raise FleetError(f"{name} is missing; on Debian: apt-get install {PACKAGE_OF.get(name, name)}")
    return found


def call(*argv: str, input: str | None = None) -> str:
    """Run a program of the machine to its end and return its standard output; FleetError unless it exits 0."""
    done = subprocess.run([tool(argv[0]), *argv[1:]], input=input, check=False, capture_output=True, text=True)
    if done.returncode:
        raise FleetError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def cache_folder() -> Path:
    """Where what is slow to make is kept between runs, outside of the checkout: $XDG_CACHE_HOME/savedump/fleet."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "savedump" / "fleet"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
