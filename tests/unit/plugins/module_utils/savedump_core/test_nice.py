# SPDX-License-Identifier: Apache-2.0
"""Lowest priority, in a process of its own: what is lowered cannot be raised again."""

import os
import subprocess
import sys

import savedump_core
from savedump_core import nice

_LOWERED = """
import sys, threading
from savedump_core import nice
nice.lower()
with open("/proc/thread-self/stat") as stat:
    print(stat.read().rpartition(")")[2].split()[16])
import ctypes, platform
number = nice._NUMBERS.get((platform.machine(), ctypes.sizeof(ctypes.c_void_p)))
found = []
def ask():
    found.append(-1 if number is None else ctypes.CDLL(None).syscall(number + 1, 1, 0))
thread = threading.Thread(target=ask)
thread.start(); thread.join()
print(found[0])
"""


def _in_a_process(code):
    top = os.path.dirname(os.path.dirname(os.path.realpath(savedump_core.__file__)))
    environment = dict(os.environ, PYTHONPATH=top)
    return subprocess.check_output([sys.executable, "-c", code], env=environment, universal_newlines=True).split()


def test_processor_and_disk_and_for_threads_that_begin_later():
    niceness, class_and_level = map(int, _in_a_process(_LOWERED))
    assert niceness == 19
    # ioprio_get(2), whose number follows on ioprio_set's on all of these.
    assert class_and_level == -1 or class_and_level >> 13 == 3


def test_where_it_cannot_be_had_it_is_done_without(monkeypatch):
    monkeypatch.setattr(os, "nice", lambda _by: (_ for _ in ()).throw(PermissionError(1, "no")))
    monkeypatch.setattr(nice.platform, "machine", lambda: "pdp11")
    nice.lower()
