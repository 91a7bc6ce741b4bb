# SPDX-License-Identifier: Apache-2.0
"""savedump inspect DUMP|ARCHIVE"""

import argparse
import time
from typing import Any, Dict, List, Optional

from .. import api
from ..errors import COMPLETE, GAPS, BadDump
from ..manifest import MANIFEST_SCHEMA
from . import instead, options, say

NAME = "inspect"
HELP = "what is it, is it whole, which files does it need, are they here?"
EPILOG = """examples:
  savedump inspect core.1234
  savedump inspect core.1234 -v             with every place that was tried
  savedump inspect core.1234 --json | jq '.modules[] | select(.file.status != "found")'
  savedump inspect archive-core.1234.tar.gz what an archive holds, without unpacking it"""


_FRAMES = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="DUMP|ARCHIVE")
    options.add_search(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    told_all = bool(args.json or args.verbose)
    with instead.of_no_dump(args.path):
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
            say.out("archive    made on %s by savedump %s, %s" % (
                document["host"]["nodename"], document["tool"]["version"],
                "complete" if complete else "with gaps"))  # fmt: skip
            say.out("note       only its manifest was read; %s verify checks the rest" % say.program())
        _modules(dump["modules"], args.verbose > 0)
    return COMPLETE if complete else GAPS


def _describe(path: str, dump: Dict[str, Any], verbose: bool) -> None:
    packed = ""
    if dump["compression"]:
        packed = ", %s in the file (%s)" % (say.size(dump["stored_size"]), dump["compression"])
    kernel = dump["kernel"]
    kind = "kernel dump (%s)" % dump["kind"] if kernel else "userland dump"
    say.out("%s: %s, %s, %s%s" % (path, kind, dump["machine"], say.size(dump["size"]), packed))
    say.out("whole      %s" % ("yes" if dump["complete"] else "NO: %s" % dump["incomplete_why"]))
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
            say.out("modules    NOT ALL: %s" % dump["modules_why"])
    for warning in dump["warnings"]:
        say.out("note       %s" % warning)


def _describe_kernel(kernel: Dict[str, Any], verbose: bool) -> None:
    say.out("host       %s" % (kernel["nodename"] or "unknown"))
    say.out("kernel     %s %s" % (kernel["release"] or "unknown", kernel["version"] or ""))
    say.out("build ID   %s" % (kernel["build_id"] or "unknown"))
    if kernel["crash_time"]:
        say.out("crashed    %s" % time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(kernel["crash_time"])))
    say.out("panic      %s" % (kernel["panic"] or "unknown"))
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
        say.out("unknown    %s: %s" % (fact, why))


def _modules(modules: List[Dict[str, Any]], verbose: bool) -> None:
    say.out("%-10s %-10s %-40s  %s" % ("file", "debug", "build ID", "module"))
    for module in modules:
        say.out("%-10s %-10s %-40s  %s" % (
            _status(module["file"]), _status(module["debug"]), module["build_id"] or "-",
            module["path"] or module["name"]))  # fmt: skip
        results = [(key, module[key]) for key in ("file", "debug", "supplementary")]
        # The first archives that were made say nothing of split debug information.
        results += [("split", result) for result in module.get("split", ())]
        for key, result in results:
            if result and (verbose or (key != "debug" and result["status"] != "found")):
                for line in say.attempts(result["attempts"]):
                    say.out("    %s: %s" % (key, line))
                if result.get("command"):
                    say.out("    %s: to fill it: %s" % (key, result["command"]))


def _status(result: Optional[Dict[str, Any]]) -> str:
    if result is None:
        return "-"
    if result["status"] == "found" and result["matched_by"] != "build-id":
        return "by %s" % result["matched_by"]
    return result["status"]
