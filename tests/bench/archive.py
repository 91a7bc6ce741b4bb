# SPDX-License-Identifier: Apache-2.0
"""savedump beside the tools a user would pick instead, in one run:
`python3 tests/bench/archive.py [MEBIBYTES] [--record]`.

Prints medians of interleaved runs, ratios, peak memory of the whole process tree's largest process, and bytes. Needs
gcc, gdb, GNU tar, pigz and zstd, and a plain kernel.core_pattern. Nothing here passes or fails.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import record

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RUNS = 3
SAVEDUMP = "%s -m savedump_core" % sys.executable

_WHAT = (
    "savedump reads the dump, finds its files, hashes everything and writes the archive; the other side packs the dump"
    " alone. Peak memory is that of the largest process."
)


def crash(folder, source, flags, arguments=()):
    """The core of a program made from this source."""
    program = os.path.join(folder, source.replace(".c", ""))
    subprocess.check_call(["gcc", "-g", "-O1", "-o", program, os.path.join(HERE, source)] + flags)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    subprocess.call(
        [program] + list(arguments), cwd=folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, unlimited)
    )
    for name in os.listdir(folder):
        if name == "core" or name.startswith("core."):
            core = os.path.join(folder, source.replace(".c", ".core"))
            os.rename(os.path.join(folder, name), core)
            return core
    sys.exit("no core was written: kernel.core_pattern is %s" % open("/proc/sys/kernel/core_pattern").read().strip())


def run(command, folder):
    """(wall seconds, peak RSS in MiB of the largest process) of a shell command."""
    start = time.monotonic()
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], dict(os.environ, PYTHONPATH=ROOT, DIR=folder))
    _, status, usage = os.wait4(pid, 0)
    if os.WEXITSTATUS(status) not in (0, 3):
        sys.exit("failed: %s" % command)
    return time.monotonic() - start, usage.ru_maxrss / 1024.0


def compare(names, folder, ours, theirs, output=None):
    """Run both in turn, RUNS times after a warm-up, and print a line; (title, rows) for record.save()."""
    title, our_name, their_name = names
    rows = {ours: [], theirs: []}
    sizes = {}
    for turn in range(RUNS + 1):
        for command in (ours, theirs):
            if output:
                for name in os.listdir(output):
                    os.unlink(os.path.join(output, name))
            measured = run(command, folder)
            if turn:
                rows[command].append(measured)
            if output:
                sizes[command] = sum(os.stat(os.path.join(output, name)).st_size for name in os.listdir(output))
    walls = {command: statistics.median(wall for wall, _ in rows[command]) for command in rows}
    peaks = {command: max(peak for _, peak in rows[command]) for command in rows}
    ratio = statistics.median(a[0] / b[0] for a, b in zip(rows[ours], rows[theirs]))
    print(
        "%-56s %8.2f s %8.2f s  ratio %.2f  peak %4.0f / %4.0f MiB"
        % (title, walls[ours], walls[theirs], ratio, peaks[ours], peaks[theirs])
        + ("  size %.1f / %.1f MiB" % (sizes[ours] / 2.0**20, sizes[theirs] / 2.0**20) if output else ""),
        flush=True,
    )
    mebibytes = {command: size / 2.0**20 for command, size in sizes.items()}
    return title, [
        record.row(name, is_ours, wall_s=walls[one], peak_mib=peaks[one], size_mib=mebibytes.get(one))
        for name, one, is_ours in ((our_name, ours, True), (their_name, theirs, False))
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mebibytes", nargs="?", default="1100")
    record.add_option(parser)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="savedump-bench-")
    output = os.path.join(folder, "out")
    os.mkdir(output)
    try:
        big = crash(folder, "big.c", [], [args.mebibytes])
        sparse = crash(folder, "sparse.c", ["-static", "-nostdlib", "-ffreestanding", "-O1"])
        for core in (big, sparse):
            status = os.stat(core)
            print(
                "%s: %.1f MiB, %.1f MiB on disk"
                % (os.path.basename(core), status.st_size / 2.0**20, status.st_blocks / 2048.0)
            )
        print("%-56s %10s %10s" % ("", "savedump", "other"))
        ours = SAVEDUMP + " archive -q %s -o $DIR/out --format %s"
        tar = "tar -S -c -C $DIR %s | %s > $DIR/out/other"
        size = "core of %.0f MiB" % (os.path.getsize(big) / 2.0**20)
        hole = "core of 4 GiB, all but %.1f MiB a hole" % (os.stat(sparse).st_blocks / 2048.0)
        groups = []
        for core, what, form, other in (
            (big, size, "tar.zst", "zstd -q -T0"),
            (big, size, "tar.gz", "pigz"),
            (big, size, "tar", "cat"),
            (sparse, hole, "tar.gz", "gzip"),
        ):
            names = ("%s, %s" % (what, form), "savedump --format " + form, "tar -S | " + other)
            theirs = tar % (os.path.basename(core), other)
            groups.append(compare(names, folder, ours % (core, form), theirs, output))
        gdb = "gdb -nx -batch -iex 'set debuginfod enabled off' %s -core %s -ex 'info sharedlibrary' > /dev/null 2>&1"
        for core, what in ((big, size), (sparse, hole)):
            names = ("inspect: " + what, "savedump inspect", "gdb, info sharedlibrary")
            command = gdb % (core.replace(".core", ""), core)
            groups.append(compare(names, folder, SAVEDUMP + " inspect %s > /dev/null" % core, command))
        if args.record:
            record.save("archive", _WHAT, groups, ("tar", "zstd", "pigz", "gzip", "gdb"))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
