# SPDX-License-Identifier: Apache-2.0
"""savedump inspect DUMP|ARCHIVE"""

import argparse
import sys
from typing import Any, Dict, List, Optional

from .. import api
from ..errors import COMPLETE, GAPS, BadDump
from ..manifest import MANIFEST_SCHEMA
from . import instead, options, progress, say

NAME = "inspect"
HELP = "what is it, is it whole, which files does it need, are they here?"
OPERANDS = "DUMP|ARCHIVE"
EPILOG = """examples:
  savedump inspect core.1234
  savedump inspect core.1234 -v             with every place that was tried
  savedump inspect core.1234 --search-path /srv/builds/1.2.3
  savedump inspect core.1234 --json | jq '.modules[].file.status'
  savedump inspect archive-core.1234.tar.gz    what is in it; not unpacked

Of each file that was mapped: found, here and proven by its build ID; mismatch, another build lies there; missing;
unverified, the dump has no build ID to prove it by (--allow-unverified takes it). "file" is what was running, "debug"
its debug information.

exit status: 0 whole, and all that it needs is here; 3 not whole, or a file is missing"""

_FRAMES = 16
_COLOURS = {"found": "green", "missing": "red", "mismatch": "red", "unverified": "yellow"}
# Enough digits to tell any two files of a dump apart; -v and --json have all.
_DIGITS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="DUMP|ARCHIVE", help="a dump, compressed or not, or an archive of savedump's")
    options.add_search(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    told_all = bool(args.json or args.verbose)
    with instead.of_no_dump(args.path):
        with progress.Waiting("reading %s..." % args.path, args.quiet or bool(args.debuginfod)):
            document = api.inspect(args.path, options.search(args), options.client(args), packages=told_all)
    if document["schema"] != MANIFEST_SCHEMA:
        return _report(args, document, document, document["archive_complete"])
    try:
        return _report(args, document, document["dump"], document["complete"])
    except (AttributeError, KeyError, TypeError, ValueError):
        # It may have been written by anybody.
        raise BadDump("%s: its manifest.json is damaged" % args.path) from None


def _report(args: argparse.Namespace, document: Dict[str, Any], dump: Dict[str, Any], complete: bool) -> int:
    if args.json:
        say.document(document)
    else:
        _describe(args.path, dump, args.verbose > 0)
        if dump is not document:
            say.out("archive    made on %s by savedump %s, " % (
                document["host"]["nodename"], document["tool"]["version"]), say.completeness(complete))  # fmt: skip
            say.out("note       only its manifest was read; %s verify checks the rest" % say.program())
        _modules(dump["modules"], args.verbose > 0)
        if dump is document and not args.quiet:
            _say_next(args, dump["modules"])
    return COMPLETE if complete else GAPS


def _describe(path: str, dump: Dict[str, Any], verbose: bool) -> None:
    packed = ""
    if dump["compression"]:
        packed = ", %s in the file (%s)" % (say.size(dump["stored_size"]), dump["compression"])
    kernel = dump["kernel"]
    kind = "kernel dump (%s)" % dump["kind"] if kernel else "userland dump"
    say.out("%s: %s, %s, %s%s" % (path, kind, dump["machine"], say.size(dump["size"]), packed))
    if dump["complete"]:
        say.out("whole      ", say.Mark("yes", "green"))
    else:
        first, *rest = _folded("whole", "NO: %s" % dump["incomplete_why"])
        say.out(first[:11], say.Mark(first[11:13], "red"), first[13:])
        for line in rest:
            say.out(line)
    process = dump["process"]
    if process:
        say.out("program    %s" % (process["executable"] or process["comm"] or "unknown"))
        say.out("process    pid %s, uid %s, %d thread%s, args: %s" % (
            process["pid"], process["uid"], process["threads"], "" if process["threads"] == 1 else "s",
            process["args"]))  # fmt: skip
        if process["signal"]:
            signal = process["signal"]
            at = " at address %s" % signal["address"] if signal["address"] else ""
            say.out("killed by  %s%s" % (signal["name"] or "signal %d" % signal["number"], at))
    if kernel:
        _describe_kernel(kernel, verbose)
        if dump["modules_why"]:
            _fact("modules", "NOT ALL: %s" % dump["modules_why"])
    for warning in dump["warnings"]:
        _fact("note", warning)


def _folded(name: str, value: object) -> List[str]:
    return say.folded("%-10s %s" % (name, value), say.columns(sys.stdout), hanging=" " * 11) or [name]


def _fact(name: str, value: object) -> None:
    for line in _folded(name, value):
        say.out(line)


def _describe_kernel(kernel: Dict[str, Any], verbose: bool) -> None:
    say.out("host       %s" % (kernel["nodename"] or "unknown"))
    _fact("kernel", "%s %s" % (kernel["release"] or "unknown", kernel["version"] or ""))
    say.out("build ID   %s" % (kernel["build_id"] or "unknown"))
    if kernel["crash_time"]:
        say.out("crashed    %s" % say.utc(kernel["crash_time"]))
    _fact("panic", kernel["panic"] or "unknown")
    task = kernel["crashing_task"]
    if task:
        known = [(word, task[word]) for word in ("comm", "pid", "cpu") if task[word] is not None]
        say.out("task       %s" % ", ".join("%s %s" % one for one in known))
    frames = kernel.get("stack") or []
    for number, frame in enumerate(frames if verbose else frames[:_FRAMES]):
        say.out("%-10s %s" % ("" if number else "stack", frame))
    if kernel["taint"]:
        say.out("taint      %s" % kernel["taint"])
    for fact, why in sorted(kernel["unknown"].items()) if verbose else ():
        _fact("unknown", "%s: %s" % (fact, why))


def _modules(modules: List[Dict[str, Any]], verbose: bool) -> None:
    """A table, which on a terminal is as wide as that: there the build IDs are shortened if need be."""
    rows = [
        (_status(module["file"]), _status(module["debug"]), module["build_id"] or "-", module["path"] or module["name"])
        for module in modules
    ]
    widths, digits = [10, 10], 40
    room = say.columns(sys.stdout)
    if room and not verbose and 63 + max([len(row[3]) for row in rows] + [6]) > room:
        widths = [max([len(row[column]) for row in rows] + [5]) for column in (0, 1)]
        digits = _DIGITS
    layout = "%%-%ds  %%s" % digits
    say.out("%-*s %-*s " % (widths[0], "file", widths[1], "debug"), layout % ("build ID", "module"))
    for row, module in zip(rows, modules):
        say.out(
            _cell(row[0], widths[0], "red"), " ", _cell(row[1], widths[1], "yellow"), " ",
            layout % (row[2][:digits], row[3]),
        )  # fmt: skip
        results = [(key, module[key]) for key in ("file", "debug", "supplementary")]
        # The first archives that were made say nothing of split debug information.
        results += [("split", result) for result in module.get("split", ())]
        for key, result in results:
            if result and (verbose or (key != "debug" and result["status"] != "found")):
                for line in say.attempts(result["attempts"], short=bool(room) and not verbose):
                    for part in say.folded("%s: %s" % (key, line), room, "    "):
                        say.out(part)
                if result.get("command"):
                    say.out("    %s: to fill it: %s" % (key, result["command"]))


def _cell(status: str, width: int, missing: str) -> say.Mark:
    colour = missing if status == "missing" else "yellow" if status[:3] == "by " else _COLOURS.get(status, "")
    return say.Mark("%-*s" % (width, status), colour)


def _say_next(args: argparse.Namespace, modules: List[Dict[str, Any]]) -> None:
    """What to do about files that are not here: the trail alone helps nobody who does not know the options."""
    gaps = [module for module in modules if module["file"] and module["file"]["status"] != "found"]
    if not gaps:
        return
    unproven = any(module["file"]["status"] == "unverified" for module in gaps)
    say.notes("savedump: %s not here; look further with --search-path DIR or --debuginfod URL%s%s" % (
        say.count(gaps, "file") + (" is" if len(gaps) == 1 else " are"),
        ", take what nothing proves with --allow-unverified" if unproven else "",
        "" if args.verbose else " (-v: which package has it)"))  # fmt: skip


def _status(result: Optional[Dict[str, Any]]) -> str:
    if result is None:
        return "-"
    if result["status"] == "found" and result["matched_by"] != "build-id":
        return "by %s" % result["matched_by"]
    return result["status"]
