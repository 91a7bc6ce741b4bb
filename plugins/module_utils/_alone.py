# SPDX-License-Identifier: Apache-2.0
"""The target's half of the zipapp: run one verb without AnsiballZ, and print its result behind a marker.

For targets whose Python this controller's ansible-core no longer supports, and for work in the background. The zipapp
holds this package, the core, pyelftools if the control host has it, and settings.json:
``{"verb", "params", "check_mode", "paths": [names of options that are paths], "background": bool}``.
"""

import contextlib
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
import zipfile

from . import _files

# In front of the one line of stdout that matters: a login banner or a pty's noise may come before it.
RESULT = "savedump-result "
STARTED = "savedump-started "
_JOB = "savedump-job-"
_UNASKED_S = 7 * 86400


def main():
    """Entry of the zipapp; sys.argv[0] is the zip file itself."""
    with zipfile.ZipFile(sys.argv[0]) as archive:
        settings = json.loads(archive.read("settings.json").decode("ascii"))
    if settings["background"]:
        _in_background(settings)
    else:
        _say(RESULT + json.dumps(_run(settings)))


def _run(settings):
    params = _expanded(settings["params"], settings["paths"])
    return _files.perform(settings["verb"], params, settings["check_mode"])


def _expanded(params, names):
    """What the type ``path`` does in AnsibleModule: ~ and $VARIABLES are the target's, not the controller's."""

    def expand(value):
        return os.path.expanduser(os.path.expandvars(value))

    done = dict(params)
    for name in names:
        value = done.get(name)
        if isinstance(value, list):
            done[name] = [expand(item) for item in value]
        elif value is not None:
            done[name] = expand(value)
    return done


def _in_background(settings):
    """Print where the result will be and the process group that works on it; go on without terminal or parent.

    The result appears under its name when it is whole. The controller's action plugin polls for it, so that a link
    that breaks meanwhile costs nothing.
    """
    _sweep()
    folder = tempfile.mkdtemp(prefix=_JOB)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal may be gone before setsid() below
    worker = os.fork()
    if worker:
        _say(STARTED + json.dumps({"folder": folder, "group": worker}))
        return
    os.setsid()
    signal.signal(signal.SIGTERM, _stopped)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    part = os.path.join(folder, "part")
    with open(part, "w") as stream:
        stream.write(RESULT + json.dumps(_run(settings)) + "\n")
    os.rename(part, os.path.join(folder, "result"))
    # Ansible removes its folder, unless it was killed meanwhile.
    with contextlib.suppress(OSError):
        os.unlink(sys.argv[0])


def _sweep():
    """Remove the outcomes of a week ago that nobody has asked for, because the control host was killed."""
    top = tempfile.gettempdir()
    for name in os.listdir(top):
        path = os.path.join(top, name)
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            old = time.time() - status.st_mtime > _UNASKED_S
            if name.startswith(_JOB) and old and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                shutil.rmtree(path)


def _stopped(_number, _frame):
    """An exception, so that what was begun is taken away on the way out."""
    raise SystemExit(128 + signal.SIGTERM)


def _say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
