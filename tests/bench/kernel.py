# SPDX-License-Identifier: Apache-2.0
"""The archive of a kernel dump beside what people do without savedump, in one run:
`python3 tests/bench/kernel.py DUMP SYSROOT [--record]`.

SYSROOT holds the crashed kernel's files as Debian installs them (boot, lib/modules, usr/lib/debug); both come with
`python3 -m tests.support.vmcores`. The other side is a tar of the same files through gzip, which is what the ancestor's
tarfile does, given that somebody told it the right files. Nothing here passes or fails.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import record
from archive import ROOT, RUNS, SAVEDUMP, run

_WHAT = (
    "A kernel dump with vmlinux, the modules that were loaded and their debug files; the other side packs the"
    " same files, given that somebody names them. Peak memory is that of the largest process."
)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dump", type=os.path.abspath)
    parser.add_argument("sysroot", type=os.path.abspath)
    record.add_option(parser)
    args = parser.parse_args()
    dump, sysroot = args.dump, args.sysroot
    folder = tempfile.mkdtemp(prefix="savedump-bench-")
    try:
        inspect = subprocess.run(
            SAVEDUMP.split() + ["inspect", "--json", dump, "--sysroot", sysroot],
            stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=ROOT),
        )  # fmt: skip
        modules = json.loads(inspect.stdout.decode())["modules"]
        found = {one["at"] for module in modules for one in (module["file"], module["debug"]) if one and one["at"]}
        if not found:
            sys.exit("no file of that kernel in %s" % sysroot)
        with open(os.path.join(folder, "files"), "w") as files:
            files.write("".join(path + "\n" for path in sorted(found | {dump})))
        print("%s, %d files of the kernel" % (os.path.basename(dump), len(found)))
        archive = SAVEDUMP + " archive -q %s --sysroot %s -o $DIR/%s.%s --format %s"
        rows = {
            "savedump --format auto": archive % (dump, sysroot, "auto", "tar.zst", "auto"),
            "savedump (tar.gz)": archive % (dump, sysroot, "ours", "tar.gz", "tar.gz"),
            "savedump --whole-vmlinux, auto": archive % (dump, sysroot, "whole", "tar.zst", "auto --whole-vmlinux"),
            "tar | gzip": "tar -c -P -T $DIR/files | gzip > $DIR/gzip.tar.gz",
            "tar | zstd -T0": "tar -c -P -T $DIR/files | zstd -q -T0 -f -o $DIR/zstd.tar.zst",
            "savedump inspect": SAVEDUMP + " inspect %s --sysroot %s > /dev/null" % (dump, sysroot),
        }
        made = {
            "savedump --format auto": "auto.tar.zst", "savedump (tar.gz)": "ours.tar.gz", "tar | gzip": "gzip.tar.gz",
            "savedump --whole-vmlinux, auto": "whole.tar.zst", "tar | zstd -T0": "zstd.tar.zst",
        }  # fmt: skip
        measured = {title: [] for title in rows}
        for _ in range(RUNS):
            for title, command in rows.items():
                for name in made.values():
                    if os.path.exists(os.path.join(folder, name)) and made.get(title) == name:
                        os.unlink(os.path.join(folder, name))
                measured[title].append(run(command, folder))
        base = statistics.median(wall for wall, _ in measured["tar | gzip"])
        whole = os.path.getsize(os.path.join(folder, made["tar | gzip"]))
        print("%-32s %9s %8s %9s %9s %9s" % ("", "time", "faster", "peak", "size", "smaller"))
        recorded = []
        for title in rows:
            wall = statistics.median(each for each, _ in measured[title])
            peak = max(each for _, each in measured[title])
            size = os.path.getsize(os.path.join(folder, made[title])) if title in made else 0
            print(
                "%-32s %7.2f s %6.1f x %5.0f MiB" % (title, wall, base / wall, peak)
                + (" %5.1f MiB %7.0f %%" % (size / 2.0**20, 100 - 100.0 * size / whole) if size else "")
            )
            mebibytes = size / 2.0**20 if size else None
            ours = title.startswith("savedump")
            recorded.append(record.row(title, ours, wall_s=wall, peak_mib=peak, size_mib=mebibytes))
        if args.record:
            title = "kdump of %.0f MiB, %d files of the kernel" % (os.path.getsize(dump) / 2.0**20, len(found))
            arguments = [os.path.basename(dump), "SYSROOT", "--record"]
            record.save("kernel", _WHAT, [(title, recorded)], ("tar", "gzip", "zstd"), arguments)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
