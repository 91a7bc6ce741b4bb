# SPDX-License-Identifier: Apache-2.0
"""savedump archive DUMP"""

import argparse
import os
import shlex
import sys
from typing import Any, Dict, List, Optional, Sequence

from .. import api
from ..errors import COMPLETE, GAPS, UsageError
from ..manifest import has_other_id, missing_list, needed
from ..model import ARCHIVE_FORMATS, BY_BUILD_ID, BY_DUMP, VMLINUX, Found, Json, Plan
from . import instead, options, progress, say

NAME = "archive"
HELP = "make the self-contained archive of a dump"
OPERANDS = "DUMP"
EPILOG = """examples:
  savedump core.1234                        archive-core.1234.tar.gz, here
  savedump archive core.1234 --dry-run      what it would hold and lack
  savedump archive core.1234 -o /srv/dumps --format auto
  savedump archive core.1234 --search-path /srv/builds/1.2.3
  savedump archive vmcore --debuginfod https://debuginfod.debian.net
  savedump archive core.1234 -o - | ssh analyst 'cat > core.1234.tar.gz'

The archive is for you alone (mode 0600): it holds the memory of a process, with its secrets. The dump stays as it is.

exit status: 0 complete, 3 archived with gaps (each is listed on stderr; -v: with every place that was tried)"""

_COMMAND = "to fill it:"
# Of missing files that one command brings: a kernel has a hundred modules, and they are of one package.
_SHOWN = 5
# Other endings say nothing: the archive is a tar.gz then.
_ENDINGS = ((".tar", "tar"), (".tar.gz", "tar.gz"), (".tgz", "tar.gz"), (".tar.zst", "tar.zst"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dump", metavar="DUMP", help="a core or kernel crash dump, also .zst .lz4 .xz .gz .bz2")
    _add_output(parser.add_argument_group("what to write"))
    options.add_search(parser)
    group = parser.add_argument_group("how to work")
    group.add_argument("--nice", action="store_true", help="lowest priority for processor and disk")
    group.add_argument(
        "--wait", type=float, metavar="SECONDS", default=api.LOCK_WAIT_S,
        help="how long to wait for another run that archives this dump (default: %(default)d), then use what it made",
    )  # fmt: skip
    options.add_json(parser)


def _add_output(group: Any) -> None:
    group.add_argument(
        "-o", "--output", metavar="DIR|FILE|-", default=".",
        help='folder or file to write (default: this folder); "-" streams to stdout',
    )  # fmt: skip
    group.add_argument(
        "--format", choices=ARCHIVE_FORMATS,
        help="default: by the ending of -o FILE, else tar.gz, which every tar opens; auto takes zstd if it can",
    )  # fmt: skip
    group.add_argument("--level", type=int, metavar="N", help="compression level (gzip 1-9, zstd 1-19)")
    group.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    group.add_argument("--force", action="store_true", help="make the archive again even if it is there")
    group.add_argument("--ignore-space", action="store_true", help="begin even if the disk seems to be too small")
    group.add_argument(
        "--whole-vmlinux", action="store_true",
        help="keep the .rela.debug sections of vmlinux, half of it, which no debugger reads",
    )  # fmt: skip
    group.add_argument(
        "--gdb-scripts", action="store_true",
        help="also pack the host's scripts for gdb (pretty printers, python3-gdb.py); run-gdb.sh runs them if told to",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    streamed = args.output == api.STDOUT
    if streamed and args.json:
        raise UsageError("--json and -o - both want stdout", "give -o a file")
    if streamed and not args.dry_run and sys.stdout.isatty():
        raise UsageError("an archive does not belong on a terminal", "redirect stdout or give -o a file")
    if args.nice:
        from ..nice import lower

        lower()
    stream = None if args.json or args.quiet else sys.stderr if streamed else sys.stdout

    def tell(line: str) -> None:
        if stream is not None:
            say.line(stream, line)

    def on_plan(plan: Plan) -> None:
        waiting.end()
        work.total = plan.size
        kernel = plan.dump.kernel is not None
        tell("dump type: %s dump" % ("kernel" if kernel else "userland"))
        tell("%s found: %s" % (VMLINUX if kernel else "binary", _binary(plan)))
        if not args.quiet:
            _warn(plan, args.verbose > 0)

    search = options.search(args)._replace(
        whole_vmlinux=args.whole_vmlinux, gdb_scripts=args.gdb_scripts
    )

    def on_wait(why: str) -> None:
        waiting.wipe()
        if not args.quiet:
            say.note("savedump: %s; waiting" % why)

    waiting = progress.Waiting("reading %s..." % args.dump, args.quiet or bool(args.debuginfod))
    work = progress.Work("compressing archive...", stream, args.quiet)
    with instead.of_no_dump(args.dump), instead.full_disk(args.output), waiting, work:
        archived = api.archive(
            args.dump, output=args.output, search=search, format=args.format or _format(args.output), level=args.level,
            dry_run=args.dry_run, force=args.force, on_plan=on_plan, progress=work.update,
            debuginfod=options.client(args), ignore_space=args.ignore_space, wait=args.wait,
            on_wait=on_wait,
        )  # fmt: skip
    missing = archived.manifest["missing"]
    if not archived.changed and not args.quiet:
        dump = archived.manifest["dump"]
        _say_why_incomplete(dump.get("incomplete_why"), missing, dump.get("modules_why"), args.verbose > 0)
    if args.json:
        say.document(archived.as_json())
    elif not archived.changed:
        tell("archive is there already%s: %s" % ("" if archived.complete else ", with gaps", archived.path))
    elif args.dry_run:
        about = ", about %s" % say.size(archived.estimated_size) if archived.estimated_size is not None else ""
        tell("archive to create: %s, from %s%s" % (archived.path or "stdout", say.size(archived.planned_size), about))
    elif archived.path is not None:
        tell("archive created: %s" % archived.path)
    if not args.quiet:
        _say_next(needed(missing), None if args.dry_run and archived.changed else archived.path or "ARCHIVE")
    return COMPLETE if archived.complete else GAPS


def _format(output: str) -> str:
    """The format that the ending of a file's name asks for."""
    named = [archive_format for ending, archive_format in _ENDINGS if output.endswith(ending)]
    return named[0] if named and not os.path.isdir(output) else "tar.gz"


def _binary(plan: Plan) -> str:
    executable = next((files for files in plan.findings.files if files.module.executable), None)
    if executable is None:
        return "none (the dump does not say which program it is of)"
    if isinstance(executable.file, Found):
        return executable.file.at
    return "none (%s)" % (executable.module.path or executable.module.name)


def _warn(plan: Plan, verbose: bool) -> None:
    """What is not as it should be, before anything is written."""
    for warning in plan.dump.warnings:
        say.notes("savedump: %s" % warning)
    _say_why_incomplete(plan.dump.incomplete_why, missing_list(plan.findings), plan.dump.modules_why, verbose)
    debug = len(plan.findings.missing) - len(plan.findings.gaps)
    if debug and plan.dump.kernel is None:
        wanted = len([files for files in plan.findings.files if files.file is not None])
        say.note("savedump: no debug information for %d of %d modules (see inspect -v, complete)" % (debug, wanted))
    for entry in plan.entries:
        # Of the last two the dump knows no build ID.
        if entry.matched_by == BY_DUMP:
            say.note("savedump: %s" % entry.origin)
        elif entry.matched_by not in (None, BY_BUILD_ID) and entry.role not in ("thread-db", "system-map"):
            say.note("savedump: %s is in the archive by its %s alone" % (entry.origin, entry.matched_by))


def _say_why_incomplete(
    incomplete_why: Optional[str], missing: List[Json], modules_why: Optional[str], verbose: bool
) -> None:
    """Why an archive is not complete."""
    if incomplete_why:
        say.notes("savedump: the dump is not whole: %s" % incomplete_why)
    say_gaps(needed(missing), verbose)
    if modules_why:
        say.notes("savedump: not all modules are known: %s" % modules_why)


def say_gaps(gaps: Sequence[Json], verbose: bool) -> None:
    """What is missing, each with gap_lines(). To a person who did not ask for more, what one command fills is told
    together, and of the places that were tried those that had something."""
    if verbose or not say.columns(sys.stderr):
        for gap in gaps:
            for line in gap_lines(gap):
                _say_line(line)
        return
    together: Dict[Any, List[Json]] = {}
    for gap in gaps:
        together.setdefault(gap.get("command"), []).append(gap)
    for command, some in together.items():
        for gap in some[:_SHOWN]:
            for line in gap_lines(dict(gap, attempts=[], command=None, package=None)):
                _say_line(line)
            for line in say.attempts(gap["attempts"], short=True):
                say.notes(line, "    ")
        if len(some) > _SHOWN:
            say.note("savedump: and %d more like these (-v lists all)" % (len(some) - _SHOWN))
        if command:
            say.note("    %s %s" % (_COMMAND, command))


def _say_line(line: str) -> None:
    """A terminal may fold it, but for a command."""
    text = line.lstrip(" ")
    if text.startswith(_COMMAND):
        say.note(line)
    else:
        say.notes(text, " " * (len(line) - len(text)))


def gap_lines(gap: Json) -> List[str]:
    """A missing file with every place tried, both build IDs where they differ, and what would fill the gap."""
    build_id = gap["build_id"] or "none in the dump"
    lines = ["savedump: %s (%s, build ID %s): %s" % (gap["module"], gap["kind"], build_id, gap["status"])]
    for one in gap["attempts"]:
        what = "build ID " if has_other_id(one) else ""
        detail = " (%s%s)" % (what, one["detail"]) if one["detail"] else ""
        lines.append("    %s %s: %s%s" % (one["finder"], one["path"], one["outcome"], detail))
    package = gap.get("package")
    if package:
        lines.append(("    package %s %s" % (package["name"], package["version"])).rstrip())
    if gap.get("command"):
        lines.append("    %s %s" % (_COMMAND, gap["command"]))
    return lines


def _say_next(gaps: List[Json], path: Optional[str]) -> None:
    """The last words: what is missing, and what to do about it, now or with the archive of this path."""
    if not gaps:
        return
    unproven = any(gap["status"] == "unverified" for gap in gaps)
    say.notes("savedump: %s missing; give --search-path DIR and run it again%s" % (
        say.count(gaps, "file"),
        ", or --allow-unverified for what nothing proves" if unproven else ""))  # fmt: skip
    if path is not None:
        say.note("savedump: or later, on any machine: %s complete %s" % (say.program(), shlex.quote(path)))
