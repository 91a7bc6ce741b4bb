# SPDX-License-Identifier: Apache-2.0
"""What this machine has: interpreters, and how it reaches its package indexes, to be handed on to a bare system."""

import ast
import os
import pathlib
import shutil
import subprocess
import sys

VERSIONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def interpreter(version):
    """The path of a working Python of this version ("3.6"), from PATH or pyenv; None when there is none."""
    candidates = [shutil.which("python" + version)]
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    candidates += sorted(pathlib.Path(root, "versions").glob(version + ".*/bin/python" + version))
    for candidate in filter(None, candidates):
        # pyenv has a shim for versions that are switched off, too: only running it tells.
        # The file itself, not a virtual environment's link to it: other roots have no such environment.
        question = "import os, sys, venv, ensurepip; "
        question += "print('%d.%d' % sys.version_info[:2], os.path.realpath(sys.executable))"
        answer = subprocess.run(
            [str(candidate), "-c", question],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
            check=False,
        )
        if answer.returncode == 0 and answer.stdout.startswith(version + " "):
            return answer.stdout.split(" ", 1)[1].strip()
    return None


def pip_settings():
    """pip's settings in force here as {"global.find-links": "/opt/wheels", ...}: from the files and from PIP_*."""
    listing = subprocess.check_output(
        [sys.executable, "-m", "pip", "config", "list"], stderr=subprocess.DEVNULL, universal_newlines=True
    )
    settings, from_environment = {}, {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        if key.startswith(":env:."):
            from_environment["global." + key[len(":env:.") :]] = ast.literal_eval(value)
        else:
            settings[key] = ast.literal_eval(value)
    settings.update(from_environment)
    # Says where the files are, which is not true of the place that the settings are carried to.
    settings.pop("global.config-file", None)
    return settings


def pip_conf(settings):
    """The text of a pip.conf with these settings."""
    lines = []
    for section in sorted({key.split(".", 1)[0] for key in settings}):
        lines.append("[%s]" % section)
        for key, value in sorted(settings.items()):
            if key.split(".", 1)[0] == section:
                lines.append("%s = %s" % (key.split(".", 1)[1], "\n    ".join(value.split("\n"))))
    return "\n".join(lines) + "\n"


def paths_in(values):
    """Existing local paths named in settings, bare or as file:// URLs: an index or a certificate on this machine."""
    found = set()
    for value in values:
        for word in value.split():
            path = word[len("file://") :] if word.startswith("file://") else word
            if word != path and os.path.basename(path.rstrip("/")) == "simple":
                # An index's pages point at files beside their own folder (PEP 503 leaves the place open).
                path = os.path.dirname(path.rstrip("/"))
            if path.startswith("/") and os.path.exists(path):
                found.add(path)
    return sorted(found)
