# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a Python process die for real in the folder given, find its dump, and say so as JSON.

Changes nothing but that folder: kernel.core_pattern stays what it is, and wherever it sends the dump is looked into.
"""

import glob
import json
import os
import re
import resource
import signal
import sys
import time

# string_at(0) reads address 0: SIGSEGV inside libc, called from C, called from Python. A backtrace worth seeing.
PROGRAM = """
import os
def die_here():
    try:
        import ctypes
    except ImportError:
        os.abort()
    ctypes.string_at(0)
die_here()
"""
# Crash handlers write after the process is gone; systemd-coredump compresses, too.
WAIT_S = 30


def main(folder):
    with open("/proc/sys/kernel/core_pattern") as stream:
        pattern = stream.read().strip()
    began = time.time() - 1
    pid, status, limit = crash(folder)
    answer = {
        "pid": pid,
        "executable": os.path.realpath(sys.executable),
        "core_pattern": pattern,
        "dump": None,
        "why": None,
    }
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    answer["signal"] = signal.Signals(number).name if number else None
    if not number:
        answer["why"] = "the process ended by itself with status %d" % os.WEXITSTATUS(status)
    elif limit == 0 and not pattern.startswith("|"):
        answer["why"] = "core dumps are forbidden here: the hard limit (ulimit -H -c) is 0, and only root can raise it"
    else:
        look(answer, places(pattern, folder, pid), began, os.WCOREDUMP(status))
    json.dump(answer, sys.stdout)


def crash(folder):
    """(pid, wait status, the hard limit on core dumps)."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            # Only root may raise the hard limit; so far as it goes otherwise.
            wanted = resource.RLIM_INFINITY if os.geteuid() == 0 else hard
            resource.setrlimit(resource.RLIMIT_CORE, (wanted, wanted))
            os.execv(sys.executable, [sys.executable, "-c", PROGRAM])
        finally:
            os._exit(127)
    _pid, status = os.waitpid(pid, 0)
    return pid, status, resource.RLIM_INFINITY if os.geteuid() == 0 else hard


def places(pattern, folder, pid):
    """Where the dump of this very process may appear (core(5), systemd-coredump(8), apport, abrt), as glob patterns."""
    if not pattern.startswith("|"):
        name = re.sub(r"%(.)|([^%]+)", lambda found: one_part(found, pid), pattern)
        with open("/proc/sys/kernel/core_uses_pid") as stream:
            if stream.read().strip() != "0" and "%p" not in pattern:
                name += ".%d" % pid
        return [os.path.join(glob.escape(folder), name)]
    return [
        "/var/lib/systemd/coredump/core.*.%d.*" % pid,
        "/var/lib/apport/coredump/core.*.%d.*" % pid,
        "/var/spool/abrt/*-%d/coredump" % pid,
        "/var/tmp/abrt/*-%d/coredump" % pid,
        os.path.join(glob.escape(folder), "core*"),
    ]


def one_part(found, pid):
    letter, text = found.groups()
    if text:
        return glob.escape(text)
    return {"p": str(pid), "%": "%"}.get(letter, "*")


def look(answer, patterns, began, dumped):
    """Wait until one of the places holds a whole file, and put it, or the reason why not, into ``answer``."""
    piped = answer["core_pattern"].startswith("|")
    until = time.time() + (WAIT_S if piped else 0)
    sizes = {}
    while True:
        for path in (path for pattern in patterns for path in glob.glob(pattern)):
            found = os.stat(path)
            if found.st_mtime < began or not found.st_size:
                continue
            if not os.access(path, os.R_OK):
                answer["why"] = "%s may not be read by you" % path
            elif not piped or sizes.get(path) == found.st_size:
                answer.update(dump=path, why=None)
                return
            sizes[path] = found.st_size
        if time.time() >= until:
            break
        time.sleep(1)
    if answer["why"]:
        return
    if piped:
        answer["why"] = (
            "the kernel hands dumps to %s, and none of process %d appeared within %d seconds in %s. In a container "
            "that program runs on the host, and the dump stays there"
            % (
                answer["core_pattern"].split()[0],
                answer["pid"],
                WAIT_S,
                ", ".join(os.path.dirname(pattern) for pattern in patterns),
            )
        )
    elif not dumped:
        answer["why"] = (
            "the kernel wrote none (core_pattern is %r); is the disk full, or the place not writable?"
            % (answer["core_pattern"])
        )
    else:
        answer["why"] = "the kernel wrote one, but not to %s" % ", ".join(patterns)


if __name__ == "__main__":
    main(sys.argv[1])
