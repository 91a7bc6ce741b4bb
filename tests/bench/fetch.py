# SPDX-License-Identifier: Apache-2.0
"""savedump_fetch beside scp and Ansible's own fetch, over ssh to a host of the test fleet, in one run:
`python3 tests/bench/fetch.py [--speed MIB] [--memory MIB ...] [--slurp MIB] [--runs N] [--ansible 2.21] [--record]`.

Prints seconds of the transfers alone and, for both sides, the peak memory of all processes together (RSS, sampled)
above that of a run that does nothing but ansible.builtin.ping. The file of --speed is random and lies in memory, those
of --memory are sparse there and whole here. Needs root (see tests/support/fleet) and room for the largest file in
TMPDIR or /var/tmp. Nothing here passes or fails.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import record

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import checkout
from support.fleet import Fleet, HostSpec
from support.fleet.controller import Ansible
from support.fleet.host import ssh_options

_EVERY_S = 0.05
_WHAT = (
    "One file from a host of the test fleet over ssh. savedump_fetch counts its transfer with SHA-256 at both ends;"
    " it asks for AES-GCM first, where scp has OpenSSH's default. From ansible.builtin.fetch a run that does nothing is"
    " taken off. Memory is what comes on top of such a run, here and on the other host."
)


class Memory(threading.Thread):
    """The peak of what the processes here that bear a word in their arguments and their children, and all of a host,
    hold at one moment; MiB each, in `here` and `there`."""

    def __init__(self, host, word):
        super().__init__(daemon=True)
        self._space = os.readlink("/proc/%d/ns/pid" % host.init)
        self._word = os.fsencode(word)
        self._ended = threading.Event()
        self.here = self.there = 0.0

    def run(self):
        while not self._ended.wait(_EVERY_S):
            here, there = self._now()
            self.here, self.there = max(self.here, here), max(self.there, there)

    def _now(self):
        parents, sizes, roots, there = {}, {}, set(), 0.0
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, ValueError):
                stat = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
                parents[int(name)], sizes[int(name)] = int(stat[1]), int(stat[21]) * 4096 / 2.0**20
                if os.readlink("/proc/%s/ns/pid" % name) == self._space:
                    there += sizes[int(name)]
                elif self._word in Path("/proc", name, "cmdline").read_bytes() and int(name) != os.getpid():
                    roots.add(int(name))
        return sum(sizes[pid] for pid in sizes if _descends(pid, parents, roots)), there

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()


def _descends(pid, parents, roots):
    while pid not in roots:
        if pid <= 1 or pid not in parents:
            return False
        pid = parents[pid]
    return True


class Bench:
    def __init__(self, ansible, fleet, clone, folder):
        self.ansible, self.fleet, self.clone, self.folder = ansible, fleet, clone, folder
        self.host = fleet.hosts["host1"]
        self.dest = folder / "dest"

    def _empty(self):
        shutil.rmtree(self.dest, ignore_errors=True)
        self.dest.mkdir()

    def task(self, module, become, sampled=True, **options):
        """(result, seconds of the whole run, Memory or None) of one module; what it brought is taken away. To sample
        the memory costs a tenth of a processor, which scp has for itself: not where seconds are compared."""
        self._empty()
        arguments = ["-m", module, "-a", json.dumps(options), "-e", json.dumps({"bench": str(self.dest)})]
        with Memory(self.host, str(self.folder)) if sampled else contextlib.nullcontext() as memory:
            begun = time.monotonic()
            run = self.ansible.adhoc(
                self.fleet.inventory, "host1", *arguments, *(["--become"] if become else []),
                cwd=self.clone, config=self.clone / "ansible.cfg", timeout=7200,
            )  # fmt: skip
            seconds = time.monotonic() - begun
        if run.status:
            sys.exit("failed: %s\n%s" % (module, run))
        self._empty()
        return run.results[0].values, seconds, memory

    def ours(self, path, become, sampled=True):
        """Seconds of the transfer alone, as the action counts them, and Memory. The SHA-256 is given, as in a role."""
        sha256 = self.host.run("sha256sum", path).stdout.split()[0]
        options = {"src": path, "dest": str(self.dest), "checksum": sha256}
        values, _whole, memory = self.task("savedump.toolkit.savedump_fetch", become, sampled, **options)
        return values["seconds"], memory

    def theirs(self, path, become, sampled=True):
        """Seconds and Memory of ansible.builtin.fetch; its run less one that does nothing."""
        _values, idle, _memory = self.task("ansible.builtin.ping", become, sampled, data="pong")
        options = {"src": path, "dest": str(self.dest) + "/"}
        _values, seconds, memory = self.task("ansible.builtin.fetch", become, sampled, **options)
        return max(seconds - idle, 0.01), memory

    def scp(self, path, *options):
        """Seconds."""
        self._empty()
        source = "admin@%s:%s" % (self.host.address, path)
        argv = ["scp", "-q", *ssh_options(self.fleet.directory), "-i", str(self.fleet.directory / "id"), *options]
        begun = time.monotonic()
        subprocess.check_call([*argv, source, str(self.dest / "scp")])
        seconds = time.monotonic() - begun
        self._empty()
        return seconds


def speed(bench, size, runs):
    path = "/home/admin/big"
    make = "head -c %d /dev/zero | openssl enc -aes-128-ctr -pass pass:x -pbkdf2 -nosalt > %s; chmod 644 %s"
    bench.host.run(make % (size << 20, path, path))
    fast = ("-c", "aes128-gcm@openssh.com")
    rows = {"scp": [], " ".join(("scp", *fast)): [], "savedump_fetch": [], "savedump_fetch, become": []}
    for turn in range(runs + 1):
        ours = [bench.ours(path, become, False)[0] for become in (False, True)]
        row = (bench.scp(path), bench.scp(path, *fast), *ours)
        if turn:
            for title, seconds in zip(rows, row):
                rows[title].append(seconds)
    base = statistics.median(rows["scp"])
    recorded = []
    print("%d MiB, medians of %d interleaved runs" % (size, runs))
    for title, each in rows.items():
        recorded.append(_row(title, statistics.median(each), size, base))
    recorded.append(_row("ansible.builtin.fetch (1 run)", bench.theirs(path, False, False)[0], size, base))
    bench.host.run("rm", path)
    return "%d MiB over ssh" % size, recorded


def _row(title, seconds, size, base):
    print(
        "%-36s %8.2f s %7.1f MiB/s  ratio to scp %6.2f" % (title, seconds, size / seconds, seconds / base), flush=True
    )
    return record.row(title, title.startswith("savedump"), wall_s=seconds)


def memory(bench, sizes, slurp):
    idle = {become: bench.task("ansible.builtin.ping", become, data="pong")[2] for become in (False, True)}
    print("\npeak memory of all processes above an idle run, MiB%28s %9s" % ("control", "target"))
    print("%-56s %9.1f %9.1f" % ("(idle, become)", idle[True].here, idle[True].there), flush=True)
    path = "/home/admin/sparse"
    recorded = []
    for size in sizes:
        bench.host.run("truncate -s %dM %s; chmod 644 %s" % (size, path, path))
        for become in (False, True):
            words = "savedump_fetch%s, %d MiB" % (", become" if become else "", size)
            recorded.append(_above(words, bench.ours(path, become)[1], idle[become]))
        if size == min(sizes):
            words = "ansible.builtin.fetch, %d MiB" % size
            recorded.append(_above(words, bench.theirs(path, False)[1], idle[False]))
    bench.host.run("head -c %d /dev/urandom > %s" % (slurp << 20, path))
    seconds, used = bench.theirs(path, True)
    recorded.append(_above("ansible.builtin.fetch, become, %d MiB" % slurp, used, idle[True], seconds))
    seconds, used = bench.ours(path, True)
    recorded.append(_above("savedump_fetch, become, %d MiB" % slurp, used, idle[True], seconds))
    bench.host.run("rm", path)
    return "Memory, of all processes together", recorded


def _above(words, used, idle, seconds=None):
    here, there = used.here - idle.here, used.there - idle.there
    took = "" if seconds is None else " (%.1f s)" % seconds
    print("%-56s %9.1f %9.1f" % (words + took, here, there), flush=True)
    return record.row(words, words.startswith("savedump"), wall_s=seconds, peak_mib=here, target_mib=there)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speed", type=int, default=2048, metavar="MIB")
    parser.add_argument("--memory", type=int, nargs="+", default=[2048, 8192], metavar="MIB")
    parser.add_argument("--slurp", type=int, default=32, metavar="MIB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ansible", default="2.21")
    record.add_option(parser)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sdb-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        if shutil.disk_usage(folder).free < (max([args.speed, *args.memory]) + 1024) << 20:
            sys.exit("too little room in %s" % folder)
        clone = checkout.copy(folder / "clone")
        with Fleet(folder / "f", [HostSpec("host1")]) as fleet:
            bench = Bench(Ansible(args.ansible, folder / "home"), fleet, clone, folder)
            bench.task("ansible.builtin.ping", True, data="pong")
            groups = [speed(bench, args.speed, args.runs), memory(bench, args.memory, args.slurp)]
        if args.record:
            record.save("fetch", "%s ansible-core %s." % (_WHAT, args.ansible), groups, ("ssh",))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
