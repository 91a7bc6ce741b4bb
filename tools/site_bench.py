# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of the docs site, drawn from tests/bench/results.json (see tests/bench/record.py): bars of HTML, which
fit any width and follow light and dark, and a table of the same figures.
"""

import html
import json
import pathlib
import re

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "tests" / "bench" / "results.json"

# In this order; one that is not named here comes after them, under its own name.
_TITLES = {
    "archive": "Archiving the core of a process",
    "kernel": "Archiving the dump of a kernel",
    "search": "Finding the files of a core",
    "find": "Finding dumps",
    "fetch": "Bringing a file home",
}
# key: heading, unit, whether a bar is drawn of it.
_MEASURES = {
    "wall_s": ("Time", "s", True),
    "cpu_s": ("CPU time", "s", False),
    "peak_mib": ("Peak memory", "MiB", True),
    "target_mib": ("Memory on the other host", "MiB", True),
    "size_mib": ("Written", "MiB", True),
}

_SPECIAL = re.compile(r"[\\`*_\[\]<>|]")  # in Markdown


def page(results=RESULTS):
    """Markdown, with HTML in it."""
    if not results.exists():
        return "Nothing is recorded yet: `python3 tests/bench/archive.py --record`.\n"
    runs = json.loads(results.read_text(encoding="utf-8"))["runs"]
    order = [name for name in _TITLES if name in runs] + sorted(set(runs) - set(_TITLES))
    return "\n".join(_run(_TITLES.get(name, name), runs[name]) for name in order)


def _run(title, run):
    parts = ["## %s\n\n%s\n" % (title, run["what"])]
    for group in run["groups"]:
        parts.append("### %s\n\n%s\n%s" % (group["title"], _bars(group["rows"]), _table(group["rows"])))
    machine = run["machine"]
    parts.append(
        "Measured on %s with savedump %s by `%s`; %s, %s processors, %s GiB of memory, %s, kernel %s, Python %s; load"
        " average %s when it began. %s\n"
        % (
            run["date"], run["savedump"], run["command"], machine["processor"], machine["processors"],
            machine["memory_gib"], machine["system"], machine["kernel"], machine["python"], run["load"],
            "; ".join("`%s`: %s" % (tool, said.strip("* ")) for tool, said in sorted(run["tools"].items())),
        )
    )  # fmt: skip
    return "\n".join(parts)


def measures(rows):
    return [key for key in _MEASURES if any(key in row for row in rows)]


def _bars(rows):
    blocks = []
    for key in measures(rows):
        heading, unit, drawn = _MEASURES[key]
        greatest = max(row.get(key, 0) for row in rows)
        if not drawn or greatest <= 0:
            continue
        lines = ["<p>%s</p>" % heading]
        for row in rows:
            if key in row:
                # Measured above an idle run, so that noise may bring it below nothing.
                width = max(100.0 * row[key] / greatest, 0)
                lines.append(
                    '<div class="%s"><span>%s</span><b style="width:%.1f%%"></b><i>%s</i></div>'
                    % ("ours" if row["ours"] else "other", html.escape(row["tool"]), width, figure(row[key], unit))
                )
        blocks.append("<section>%s</section>" % "".join(lines))
    return '<div class="bench">\n%s\n</div>\n' % "\n".join(blocks)


def _table(rows):
    keys = measures(rows)
    base = next((row["wall_s"] for row in rows if row["ours"] and row.get("wall_s")), None)
    heads = [_MEASURES[key][0] for key in keys] + (["Time, savedump = 1"] if base else [])
    lines = ["| |%s" % "".join(" %s |" % head for head in heads), "|---|%s" % ("---:|" * len(heads))]
    for row in rows:
        cells = [figure(row[key], _MEASURES[key][1]) if key in row else "" for key in keys]
        if base:
            cells.append("%.2f" % (row["wall_s"] / base) if "wall_s" in row else "")
        lines.append("| %s |%s" % (_SPECIAL.sub(r"\\\g<0>", row["tool"]), "".join(" %s |" % cell for cell in cells)))
    return "\n".join(lines) + "\n"


def figure(value, unit):
    """Three digits that mean something: 0.123, 1.23, 12.3, 123."""
    digits = 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return "%.*f\u00a0%s" % (digits, value, unit)
