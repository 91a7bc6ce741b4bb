# SPDX-License-Identifier: Apache-2.0
"""A cold search for the files of 200 modules on a host with 200 processes: `python3 tests/bench/search.py [--record]`.

One program has 200 libraries open when it dies. A fifth of them is then deleted (a process that still has them open
sleeps on), a fifth is upgraded in place and mapped by nobody, and none has debug information. The others are what a
user would take instead; none of them gets a file back. Needs gcc, gdb, elfutils and a plain kernel.core_pattern.
Nothing here passes or fails.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

import record
from archive import RUNS, SAVEDUMP, run

MODULES = 200
PROCESSES = 200
_WHAT = (
    "A cold search for the files of a core, of which a fifth was deleted and a fifth upgraded in place since the"
    " crash. The others name the files and get none back."
)
# A body of its own for each, so that no two are the same file.
LIBRARY = "int number_%d[400] = {%d}; int of_%d(int at) { return number_%d[at]; }"
# Opens its arguments, says so, and dies when it reads a byte; at the end of its input it just ends.
PROGRAM = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    char byte;
    for (int i = 1; i < argc; i++)
        if (!dlopen(argv[i], RTLD_NOW))
            return 2;
    puts("ready");
    fflush(stdout);
    if (read(0, &byte, 1) != 1)
        return 0;
    abort();
}
"""


def compiled(path, source, *options):
    subprocess.run(["gcc", "-x", "c", "-", "-o", path, "-Wl,--build-id"] + list(options), input=source.encode())
    return path


def start(words, folder):
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    process = subprocess.Popen(
        words, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, unlimited),
    )  # fmt: skip
    process.stdout.readline()
    return process


def main():
    parser = argparse.ArgumentParser()
    record.add_option(parser)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="savedump-bench-")
    sleepers = []
    try:
        program = compiled(os.path.join(folder, "prog"), PROGRAM, "-ldl")
        libraries = [
            compiled(os.path.join(folder, "lib%03d.so" % n), LIBRARY % (n, n, n, n), "-shared", "-fPIC")
            for n in range(MODULES)
        ]
        deleted, upgraded = libraries[: MODULES // 5], libraries[MODULES // 5 : MODULES * 2 // 5]
        sleepers = [start([program] + deleted, folder) for _ in range(5)]
        sleepers += [start([program], folder) for _ in range(PROCESSES - 5)]
        start([program] + libraries, folder).communicate(b"x")
        core = next((os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("core")), None)
        if core is None:
            sys.exit("no core was written: see kernel.core_pattern")
        for path in deleted:
            os.unlink(path)
        for path in upgraded:
            os.rename(compiled(path + ".new", "int another;", "-shared", "-fPIC"), path)
        report = "%s/report.json" % folder
        rows = {
            "savedump inspect": SAVEDUMP + " inspect --json %s > %s" % (core, report),
            "eu-unstrip -n --core": "eu-unstrip -n --core=%s > /dev/null" % core,
            "gdb info sharedlibrary": "gdb -nx -batch -iex 'set debuginfod enabled off' %s -core %s"
            " -ex 'info sharedlibrary' > /dev/null 2>&1" % (program, core),
            # By hand: is this one still mapped somewhere, and by whom? Then copy /proc/PID/map_files/… and compare.
            "grep each in /proc/*/maps": "for name in %s; do grep -l -F $name /proc/[0-9]*/maps; done > /dev/null 2>&1;"
            " true" % " ".join(os.path.basename(path) for path in deleted + upgraded),
        }
        measured = {title: [] for title in rows}
        for _ in range(RUNS):
            for title, command in rows.items():
                measured[title].append(run(command, folder))
        with open(report) as file:
            states = [one["file"]["status"] for one in json.load(file)["modules"] if one["file"]]
        print(
            "%d modules, %d processes: %d found, %d not (%d upgraded and mapped by nobody)"
            % (len(states), PROCESSES, states.count("found"), len(states) - states.count("found"), len(upgraded))
        )
        ours = statistics.median(wall for wall, _ in measured["savedump inspect"])
        print("%-28s %9s %9s %9s" % ("", "time", "ratio", "peak"))
        recorded = []
        for title in rows:
            wall = statistics.median(each for each, _ in measured[title])
            peak = max(each for _, each in measured[title])
            print("%-28s %7.2f s %9.2f %5.0f MiB" % (title, wall, ours / wall, peak))
            recorded.append(record.row(title, title.startswith("savedump"), wall_s=wall, peak_mib=peak))
        if args.record:
            title = "%d modules, %d processes" % (len(states), PROCESSES)
            record.save("search", _WHAT, [(title, recorded)], ("gdb", "eu-unstrip"))
    finally:
        for process in sleepers:
            process.communicate()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
