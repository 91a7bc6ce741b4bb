# SPDX-License-Identifier: Apache-2.0
"""The real systemd-coredump, out of its package and never installed, for that changes kernel.core_pattern: called as
the kernel and as systemd would call it, with a journal of its own, in namespaces that end with it.

`python3 coredumps.py PROGRAM FOLDER CRASHES` is what runs in there; CRASHES is JSON.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

JOURNALD = "/lib/systemd/systemd-journald"
HOSTNAME = "crashed.example.org"


class CoredumpsError(Exception):
    """It cannot be had or run here; the message says why."""


def unpacked(folder):
    """The program, from the package of the release that runs here."""
    from . import debs  # not where this file runs as a program

    try:
        root = debs.unpacked("systemd-coredump", folder)
    except debs.DebsError as error:
        raise CoredumpsError(str(error)) from None
    found = [path for path in root.rglob("systemd-coredump") if os.access(path, os.X_OK)]
    programs = [path for path in found if path.is_file()]
    if not programs:
        raise CoredumpsError("the package has no program systemd-coredump")
    return programs[0]


def crash(program, root, crashes, settings=""):
    """Let each of `crashes`, {"core": path, "comm": name, "signal": number, "uid": number}, be dumped beneath `root`:
    /var/lib/systemd/coredump and /var/log/journal get what the real programs write. "limit" is the process's own, in
    bytes, "time" in seconds, "cgroup" what systemd had it in. `settings` is coredump.conf. Returns their PIDs."""
    for path in ("var/lib/systemd/coredump", "var/log/journal"):
        os.makedirs(os.path.join(str(root), path), exist_ok=True)
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--propagation", "private"]
    arguments = [str(program), str(root), json.dumps(crashes), settings]
    done = subprocess.run(
        command + [sys.executable, __file__] + arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CoredumpsError("it ended with %d: %s" % (done.returncode, done.stdout.decode()[-2000:]))
    return [int(line.split()[1]) for line in done.stdout.decode().splitlines() if line.startswith("PID ")]


def _inside(program, root, crashes, settings):
    """In a mount, a network and a process namespace of its own: nothing it does outlives it but the two folders."""
    for path in ("/run", "/etc/systemd", "/var/lib/systemd", "/var/log"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
    # In a network namespace of its own journald has no audit socket; the kernel's log is none of its business.
    Path("/etc/systemd/journald.conf").write_text("[Journal]\nAudit=\nReadKMsg=no\nStorage=persistent\nSeal=no\n")
    Path("/etc/systemd/coredump.conf").write_text("[Coredump]\nKeepFree=0\n" + settings)
    for path in ("/var/lib/systemd/coredump", "/var/log/journal"):
        os.makedirs(path)
        subprocess.run(["mount", "--bind", root + path, path], check=True)
    os.makedirs("/run/systemd/journal")
    # Else it writes into /run until systemd-journal-flush.service says that /var is there.
    Path("/run/systemd/journal/flushed").touch()
    journald = subprocess.Popen([JOURNALD], env={})
    _wait_for("/run/systemd/journal/socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("/run/systemd/coredump")
    listener.listen(1)
    for one in crashes:
        _crash(program, one, listener)
    subprocess.run(["journalctl", "--sync"], check=False, stderr=subprocess.DEVNULL, timeout=20)
    journald.terminate()
    journald.wait()


def _crash(program, one, listener):
    """The kernel calls the program with the core on its stdin, which asks the socket; systemd answers with another."""
    os.makedirs("/run/victims", exist_ok=True)
    copy = "/run/victims/" + one["comm"]
    if not os.path.exists(copy):
        shutil.copy(shutil.which("sleep"), copy)
    victim = subprocess.Popen([copy, "60"])
    print("PID", victim.pid, flush=True)
    if "cgroup" in one:
        # Of both versions: which of the lines is read depends on what is mounted.
        Path("/run/cgroup").write_text("1:name=systemd:%s\n0::%s\n" % (one["cgroup"], one["cgroup"]))
        subprocess.run(["mount", "--bind", "/run/cgroup", "/proc/%d/cgroup" % victim.pid], check=True)
    # %P %u %g %s %t RLIMIT %h
    words = [victim.pid, one["uid"], one["uid"], one["signal"], one["time"], one.get("limit", (1 << 64) - 1), HOSTNAME]
    try:
        with open(one["core"], "rb") as core:
            asking = subprocess.Popen([program] + [str(word) for word in words], stdin=core, env={})
        listener.settimeout(20)
        connection, _address = listener.accept()
        pid = os.fork()
        if not pid:
            os.dup2(connection.fileno(), 3)
            os.execve(program, [program], {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
        _pid, status = os.waitpid(pid, 0)
        if status or asking.wait(20):
            sys.exit("systemd-coredump failed")
    finally:
        victim.kill()
        victim.wait()


def _wait_for(path):
    deadline = time.monotonic() + 20
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            sys.exit("there is no %s" % path)
        time.sleep(0.05)


if __name__ == "__main__":
    _inside(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4])
