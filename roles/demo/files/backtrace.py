# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack an archive on the control host and print the backtrace that its own launchers give.

usage: backtrace.py ARCHIVE FOLDER MODULE_UTILS
"""

import importlib.util
import os
import shutil
import subprocess
import sys

# (what has to be there, the launcher, its arguments for a backtrace without a question)
DEBUGGERS = (
    (lambda: shutil.which("gdb") or shutil.which("gdb-multiarch"), "run-gdb.sh", ["-batch", "-ex", "bt"]),
    (lambda: importlib.util.find_spec("drgn"), "run-drgn.sh", ["-e", "print(prog.crashed_thread().stack_trace())"]),
    (lambda: shutil.which("lldb"), "run-lldb.sh", ["-b", "-o", "bt"]),
)


def main(archive, folder, module_utils):
    sys.path.insert(0, module_utils)
    from savedump_core import api

    opened = api.open_archive(archive, into=folder)
    # drgn may be in Ansible's own environment and not on the user's PATH.
    search = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    for there, launcher, arguments in DEBUGGERS:
        script = os.path.join(opened.path, launcher)
        if there() and os.path.exists(script):
            done = subprocess.run(
                [script] + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=dict(os.environ, PATH=search), universal_newlines=True, errors="replace", check=False,
            )  # fmt: skip
            print(worth_seeing(done.stdout))
            return
    print(
        "No debugger is here to show it. Install one (Debian, Ubuntu: apt install gdb; Fedora, RHEL: dnf install gdb)."
    )


def worth_seeing(text):
    """From the words that say how the process died to the last frame."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("Program terminated", "Core was generated", "#0", "* thread")):
            return "\n".join(lines[number:])
    return text


if __name__ == "__main__":
    main(*sys.argv[1:])
