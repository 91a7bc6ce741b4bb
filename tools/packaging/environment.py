# SPDX-License-Identifier: Apache-2.0
"""The virtual environment of requirements.txt, made below the user's cache folder on the first call."""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
# requirements.txt takes the versions of the tools that docs/ has, too, from there.
CONSTRAINTS = HERE.parents[1] / "docs" / "requirements.txt"


def programs():
    """The environment's folder of programs. subprocess.CalledProcessError, after pip's words, if it cannot be made.

    An environment for each Python and each set of versions; one that was being made when the power went is made anew.
    """
    wanted = REQUIREMENTS.read_bytes() + CONSTRAINTS.read_bytes() + sys.version.encode()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "savedump"
    folder = cache / ("packaging-" + hashlib.sha256(wanted).hexdigest()[:12])
    ready = folder / "ready"
    if not ready.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with open(str(folder) + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                shutil.rmtree(str(folder), ignore_errors=True)
                subprocess.check_call([sys.executable, "-m", "venv", str(folder)])
                pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                subprocess.check_call(pip + ["-r", str(REQUIREMENTS)])
                ready.touch()
    return folder / "bin"


def environ(**more):
    """The variables for its programs: theirs first in PATH, and nothing of the caller's own Ansible or Python."""
    foreign = ("ANSIBLE_", "PYTHON", "VIRTUAL_ENV", "GALAXY_IMPORTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    # Ansible refuses to start under an encoding other than UTF-8.
    return dict(kept, PATH="%s%s%s" % (programs(), os.pathsep, kept.get("PATH", os.defpath)), LC_ALL="C.UTF-8", **more)
