# SPDX-License-Identifier: Apache-2.0
"""Processes that do nothing but have files mapped, and mount namespaces that live as long as a process does."""

import os
import subprocess
import sys
from contextlib import contextmanager

# dlopen(3) of each, then a byte that says so, then nothing until its input ends.
_MAPS = "import ctypes, sys; [ctypes.CDLL(path) for path in sys.argv[1:]]; print('ready', flush=True); sys.stdin.read()"


@contextmanager
def sleeping(argv, **how):
    """A process that says "ready" and ends with its input; its number."""
    with subprocess.Popen(
        [os.fspath(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **how
    ) as process:
        try:
            said = process.stdout.readline()
            assert said == b"ready\n", "%r said %r" % (argv, said)
            yield process.pid
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def mapping(*paths, **how):
    """A process that has opened these libraries."""
    return sleeping([sys.executable, "-c", _MAPS, *paths], **how)


def in_namespace(script, *arguments, then="echo ready; exec cat"):
    """A process in a mount namespace of its own, made by this shell script, whose mounts end with it. Needs root."""
    words = ["unshare", "-m", "--propagation", "private", "sh", "-ec", "%s\n%s" % (script, then), "sh"]
    return sleeping(words + list(arguments))
