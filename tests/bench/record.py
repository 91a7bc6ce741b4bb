# SPDX-License-Identifier: Apache-2.0
"""results.json: what the benchmarks measured, and on what. The docs site draws its page from it and from nothing else.

    {"schema": "savedump.bench/1",
     "runs": {NAME: {"what", "command", "date", "savedump", "machine", "load", "tools": {NAME: "version"},
                     "groups": [{"title", "rows": [ROW, ...]}]}}}

ROW: "tool"; "ours": whether that is savedump; then what was measured: "wall_s", "cpu_s" (seconds, medians), "peak_mib"
(of the largest process, or of all together where the group says so), "target_mib" (the same on the other host),
"size_mib" (what was written). "load" is the machine's load average, over one minute, when the benchmark began.
"""

import datetime
import json
import os
import platform
import subprocess
import sys

RESULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results.json")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOAD = os.getloadavg()[0]


def add_option(parser):
    parser.add_argument("--record", action="store_true", help="put the figures into tests/bench/results.json")


def save(name, what, groups, tools=(), arguments=None):
    """Replace a benchmark's results. groups: (title, rows) each; tools: the other sides' commands, asked for their
    version; arguments: what to write for those of the command line, where they are paths of this machine.
    """
    results = {"schema": "savedump.bench/1", "runs": {}}
    if os.path.exists(RESULTS):
        with open(RESULTS, encoding="utf-8") as stream:
            results = json.load(stream)
    results["runs"][name] = {
        "what": what,
        "command": "python3 tests/bench/%s" % " ".join([os.path.basename(sys.argv[0])] + (arguments or sys.argv[1:])),
        "date": datetime.date.today().isoformat(),
        "savedump": _version(),
        "machine": machine(),
        "load": round(LOAD, 1),
        "tools": {tool: _version_of(tool) for tool in tools},
        "groups": [{"title": title, "rows": rows} for title, rows in groups],
    }
    with open(RESULTS, "w", encoding="utf-8") as stream:
        json.dump(results, stream, indent=1, sort_keys=True)
        stream.write("\n")
    print("recorded in %s" % os.path.relpath(RESULTS))


def row(tool, ours, **measured):
    """A row; what was not measured is None and left out."""
    rounded = {key: round(one, 3) for key, one in measured.items() if one is not None}
    return dict({"tool": tool, "ours": ours}, **rounded)


def machine():
    """What the figures depend on, and no name."""
    return {
        "processor": _field("/proc/cpuinfo", "model name", ":") or platform.machine(),
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2.0**30, 1),
        "system": (_field("/etc/os-release", "PRETTY_NAME", "=") or platform.system()).strip('"'),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _field(path, name, separator):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            key, _, value = line.partition(separator)
            if key.strip() == name:
                return value.strip()
    return ""


def _version():
    said = subprocess.check_output([sys.executable, "-m", "savedump_core", "--version"], cwd=ROOT)
    return said.decode().split()[-1]


def _version_of(tool):
    words = ["ssh", "-V"] if tool == "ssh" else [tool, "--version"]
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout.decode()
    return next((line.strip() for line in said.splitlines() if line.strip()), "")
