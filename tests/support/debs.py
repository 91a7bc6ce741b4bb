# SPDX-License-Identifier: Apache-2.0
"""Packages of the release that runs here, fetched with apt-get and only unpacked: some would change the system.

A package that was fetched once is kept under XDG_CACHE_HOME, by its file's name, which has the version.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

# No user _apt: it may not write where the file goes to.
_APT = ["apt-get", "-q", "-oAPT::Sandbox::User="]


class DebsError(Exception):
    """It cannot be had; the message says why."""


def cache():
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "savedump/packages"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetched(name):
    """The path of the package's file."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise DebsError("this is no Debian")
    with tempfile.TemporaryDirectory(dir=str(cache())) as folder:
        # It says nothing of a package that lies where it is called.
        said = _run(_APT + ["download", "--print-uris", name], folder)
        match = re.search(r"^'\S+' (\S+\.deb) ", said, re.MULTILINE)
        if match is None:
            raise DebsError("apt-get download %s: %s" % (name, said.strip()[-500:] or "it says nothing"))
        path = cache() / match.group(1)
        if not path.is_file():
            _run(_APT + ["download", name], folder)
            os.replace(os.path.join(folder, path.name), str(path))
    return path


def unpacked(name, folder):
    """The folder, with the package's files beneath it."""
    _run(["dpkg-deb", "-x", str(fetched(name)), str(folder)], folder)
    return Path(str(folder))


def _run(command, folder):
    done = subprocess.run(
        command, cwd=str(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise DebsError("%s: %s" % (" ".join(command), done.stdout.strip()[-500:]))
    return done.stdout
