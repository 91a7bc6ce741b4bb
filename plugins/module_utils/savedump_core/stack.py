# SPDX-License-Identifier: Apache-2.0
"""The stack of the task that crashed a kernel, where drgn is at hand: it can unwind, and this package cannot.

drgn runs in a process of its own, for a dump may be hostile and drgn's readers are native code; it gets the files that
were proven, and looks for no others.
"""

import json
import os
import sys
from typing import List, NamedTuple, Optional

from .model import Dump, Findings, Found

_TIMEOUT_S = 120
_MAX_FRAMES = 256
_MAX_FRAME = 512

_SCRIPT = """
import json, sys, drgn
wanted = json.load(sys.stdin)
prog = drgn.Program()
prog.set_core_dump(wanted["dump"])
try:
    prog.load_debug_info(wanted["files"])
except drgn.MissingDebugInfoError:
    pass  # of what was not found; the frames show what it is good for
json.dump(str(prog.crashed_thread().stack_trace()).splitlines(), sys.stdout)
"""


class Stack(NamedTuple):
    """What drgn said."""

    frames: Optional[List[str]]
    """Innermost first, a line each, as drgn prints them: "#0  panic (kernel/panic.c:373:4)"."""
    why: Optional[str] = None
    """Why there is none."""


def read_stack(dump: Dump, findings: Findings) -> Stack:
    """Ask drgn, if this Python has it. Raises nothing for what drgn cannot do."""
    if not any(os.path.isdir(os.path.join(folder, "drgn")) for folder in sys.path):
        return Stack(None, "drgn, which unwinds it, is not installed for this Python")
    results = [result for files in findings.files for result in (files.file, files.debug) if isinstance(result, Found)]
    if dump.parts or dump.compression:
        return Stack(None, "drgn does not open a dump that is split or compressed as a whole")
    return _ask({"dump": os.path.abspath(dump.path), "files": sorted({result.at for result in results})})


def _ask(wanted: object) -> Stack:
    import subprocess

    environment = {key: value for key, value in os.environ.items() if not key.startswith("DEBUGINFOD")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], input=json.dumps(wanted).encode("ascii"), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Stack(None, "drgn took more than %d s" % _TIMEOUT_S)
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Stack(None, "drgn: %s" % (words[-1] if words else "it left with status %d" % done.returncode))
    try:
        frames = json.loads(done.stdout.decode("utf-8"))
        return Stack([str(frame)[:_MAX_FRAME] for frame in frames[:_MAX_FRAMES]])
    except (TypeError, ValueError):
        return Stack(None, "drgn gave no stack")
