# SPDX-License-Identifier: Apache-2.0
"""10,000 dumps in the stores of a host, beside what people type to find and tell cores apart, in one run:
`python3 tests/bench/find.py [DUMPS] [--record]`.

Prints medians of interleaved runs, CPU time, the least CPU time of a run, which other load disturbs least, and peak
memory of the largest process; a row for a tenth of the dumps shows what memory depends on. Needs zstd, lz4, file and
elfutils, and a plain kernel.core_pattern. Nothing here passes or fails. What eu-readelf can read are the cores that are
not compressed and not inside another file: one in four.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import record
from archive import ROOT, RUNS, SAVEDUMP

sys.path.insert(0, os.path.join(ROOT, "tests"))

from support import kdumpwriter, stores

_WHAT = (
    "Finding dumps and telling what they are. The others neither look into compressed dumps or crash reports nor"
    " say which program died of what."
)
# Of 10,000.
_SHARES = {"zst": 5000, "lz4": 500, "xz": 500, "plain": 2000, "apport": 500, "abrt": 500, "zip": 500, "kdump": 500}


def core_of_a_shell(folder):
    """What a real process leaves, some hundred KiB."""
    command = "cd %s && ulimit -c unlimited && exec sh -c 'kill -SEGV $$'" % folder
    subprocess.call(["sh", "-c", command], stderr=subprocess.DEVNULL)
    for name in os.listdir(folder):
        if name.startswith("core"):
            with open(os.path.join(folder, name), "rb") as file:
                return file.read()
    sys.exit("no core was written: kernel.core_pattern is %s" % open("/proc/sys/kernel/core_pattern").read().strip())


def fill(root, core, count):
    """The stores beneath `root`; each file is one of its own, as hard links would be one dump."""
    packed = {suffix: stores.PACK[suffix](core) for suffix in (".zst", ".lz4", ".xz")}
    report = stores.report(core)
    kernel = kdumpwriter.kdump(kdumpwriter.Kdump(memory={0: bytes(range(256)) * 16})).to_bytes()
    stores.put(root, "/proc/sys/kernel/core_pattern", "/cores/core.%e.%p.%t\n")
    made = {share: number * count // 10000 for share, number in _SHARES.items()}
    for number in range(count):
        share = next(name for name in made if made[name]) if any(made.values()) else "plain"
        made[share] = made.get(share, 1) - 1
        if share in ("zst", "lz4", "xz"):
            told = {"pid": number, "uid": 1000, "signal": 11, "exe": "/usr/bin/prog", "comm": "prog"}
            stores.systemd(root, packed["." + share], told, pid=number, uid=number % 5, suffix="." + share)
        elif share == "plain":
            at = stores.put(root, "/cores/core.prog.%d.%d" % (number, stores.SECONDS), core[: 1 << 16])
            os.truncate(at, len(core))
        elif share == "apport":
            stores.put(root, "/var/crash/_usr_bin_prog%d.1000.crash" % number, report)
        elif share == "abrt":
            at = stores.abrt(root, core[: 1 << 16], name="ccpp-2023-11-14-22:13:20.%06d-77" % number)
            os.truncate(at, len(core))
        elif share == "zip":
            stores.composed(root, core, pid=number, number=number)
        else:
            stores.put(root, "/var/crash/%012d/dump.%012d" % (number, number), kernel)


# Starts a command and says what it took. A process of its own, for Linux counts the memory of whoever starts a program
# as that program's (fs/exec.c, setmax_mm_hiwater_rss): this one has some 10 MiB, and the benchmark has the dumps.
_STARTER = """
import os, sys, time
start = time.monotonic()
pid = os.spawnv(os.P_NOWAIT, "/bin/sh", ["sh", "-c", sys.argv[1]])
_, status, usage = os.wait4(pid, 0)
wall = time.monotonic() - start
print(os.WEXITSTATUS(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024.0)
"""


def run(command, folder):
    """(wall seconds, CPU seconds, peak RSS in MiB of the largest process) of a shell command."""
    # With its bytecode kept, as an installed package has it.
    environment = dict(os.environ, PYTHONPATH=ROOT, DIR=folder, PYTHONPYCACHEPREFIX=os.path.join(folder, "bytecode"))
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        environment.pop(name, None)
    said = subprocess.check_output([sys.executable, "-I", "-S", "-c", _STARTER, command], env=environment)
    status, wall, cpu, peak = map(float, said.split())
    if command.startswith(SAVEDUMP) and status not in (0, 3):
        sys.exit("failed: %s" % command)
    return wall, cpu, peak


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dumps", nargs="?", type=int, default=10000)
    record.add_option(parser)
    args = parser.parse_args()
    count = args.dumps
    folder = tempfile.mkdtemp(prefix="savedump-bench-", dir="/var/tmp")
    try:
        core = core_of_a_shell(folder)
        root = os.path.join(folder, "root")
        fill(root, core, count)
        fill(os.path.join(folder, "tenth"), core, count // 10)
        rows = {
            "savedump find": SAVEDUMP + " find -q --host-root $DIR/root > $DIR/out",
            "savedump find, a tenth of them": SAVEDUMP + " find -q --host-root $DIR/tenth > $DIR/out10",
            "savedump find --json": SAVEDUMP + " find --json --host-root $DIR/root > $DIR/json",
            "find -name '*core*' | xargs file": (
                "find $DIR/root -name '*core*' -type f -print0 | xargs -0 file > $DIR/file"
            ),
            "find -exec eu-readelf -n": (
                "find $DIR/root/cores $DIR/root/var/spool -name 'core*' -type f -exec eu-readelf -n {} + > $DIR/readelf"
            ),
        }  # fmt: skip
        measured = {title: [] for title in rows}
        for turn in range(RUNS + 1):
            for title, command in rows.items():
                row = run(command, folder)
                if turn:
                    measured[title].append(row)
        with open(os.path.join(folder, "out")) as file:
            found = sum(1 for _ in file)
        print("%d files of %d KiB, %d found" % (count, len(core) >> 10, found))
        base = statistics.median(row[0] for row in measured["savedump find"])
        print("%-36s %9s %9s %9s %9s %9s" % ("", "time", "CPU", "least CPU", "ratio", "peak"))
        rows = []
        for title, each in measured.items():
            wall, cpu, peak = (statistics.median(row[index] for row in each) for index in range(3))
            least = min(row[1] for row in each)
            print("%-36s %7.2f s %7.2f s %7.2f s %7.1f x %5.0f MiB" % (title, wall, cpu, least, wall / base, peak))
            ours = title.startswith("savedump")
            rows.append(record.row(title, ours, wall_s=wall, cpu_s=cpu, peak_mib=peak))
        if args.record:
            title = "%d files, %d dumps in them" % (count, found)
            record.save("find", _WHAT, [(title, rows)], ("find", "file", "eu-readelf"))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
