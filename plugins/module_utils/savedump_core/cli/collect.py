# SPDX-License-Identifier: Apache-2.0
"""savedump collect HOST..."""

import argparse
import os
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

from .. import summary
from ..errors import COMPLETE, GAPS, BadDump, UsageError
from ..model import ARCHIVE_FORMATS, Json
from . import find, options, progress, say
from . import summary as words

NAME = "collect"
HELP = "bring the dumps of other hosts here over ssh, archived and verified"
OPERANDS = "HOST ..."
EPILOG = """examples:
  savedump collect admin@web1 admin@web2 -K     everybody's dumps, by sudo
  savedump collect web1 --dry-run               what would come, how large
  savedump collect web1 -J bastion --newer-than 2h    by way of a host
  savedump collect web1 web2 --path /srv/cores -o dumps
  savedump collect web1 web2 --store ~/files    each file travels once

Nothing is installed or written on a host: it needs sshd and Python 3.6 or newer. HOST is [USER@]HOST[:PORT] or a name
in ~/.ssh/config, of which HostName, User, Port, IdentityFile, ProxyJump, UserKnownHostsFile and their like are minded.
Paths (--path, --search-path, --sysroot) are the host's own.

exit status: 0 all complete, 3 with gaps, 69 paramiko or a host's Python is missing, 74 a link broke for good, 75 a host
was not reached or a dump is still being written, 77 a host key or a login was refused; of several the greatest"""

# How often a long archive is worth a line, where no bar is.
_LINE_EVERY_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hosts", metavar="HOST", nargs="+", help="[USER@]HOST[:PORT], or a name in ~/.ssh/config")
    parser.add_argument(
        "-o", "--output", metavar="DIR", default="collected",
        help="folder for the archives, made if it is not there; each host has one below it (default: collected)",
    )  # fmt: skip
    parser.add_argument(
        "--path", metavar="PATH", action="append", default=[],
        help="look in this folder, or at this dump, instead of the usual places; may be given again",
    )  # fmt: skip
    find.add_filters(parser)
    options.add_search(parser)
    _add_login(parser.add_argument_group("how to log in"))
    _add_work(parser.add_argument_group("how to work"))
    options.add_json(parser)


def _add_login(group: Any) -> None:
    group.add_argument("-J", "--jump", metavar="HOST[,HOST]", help="by way of these hosts, as ssh -J")
    group.add_argument(
        "-i", "--identity", metavar="KEY", action="append", default=[],
        help="file with a private key, also for jump hosts; may be given again",
    )  # fmt: skip
    group.add_argument("-l", "--login", metavar="USER", help="log in as this user")
    group.add_argument("-p", "--port", type=int, metavar="N", help="port of the hosts that name none")
    group.add_argument("-F", "--ssh-config", metavar="FILE", help='instead of ~/.ssh/config; "none" for none')
    group.add_argument("-k", "--ask-pass", action="store_true", help="ask once for the login password of all hosts")
    group.add_argument("-b", "--become", action="store_true", help="read dumps as root, by sudo")
    group.add_argument("--become-user", metavar="USER", default="root", help="as another user than root")
    group.add_argument(
        "-K", "--ask-become-pass", action="store_true", help="ask once for the sudo password; implies --become"
    )
    group.add_argument(
        "--accept-new", action="store_true",
        help="remember the keys of hosts that known_hosts does not name; a key that changed is always refused",
    )  # fmt: skip
    group.add_argument(
        "--timeout", type=float, metavar="S",
        help="how long to wait for a connection (default: ConnectTimeout of the ssh config, or 20 s)",
    )  # fmt: skip


def _add_work(group: Any) -> None:
    group.add_argument("--parallel", type=int, metavar="N", default=4, help="how many hosts at once (default: 4)")
    group.add_argument(
        "--retries", type=int, metavar="N", default=5,
        help="how often to try again when a link breaks and nothing comes any more (default: 5)",
    )  # fmt: skip
    group.add_argument("--store", metavar="DIR", help="content store here: a file that is in it does not travel")
    group.add_argument("--format", choices=ARCHIVE_FORMATS, default="tar.gz", help="of the archives (default: tar.gz)")
    group.add_argument("--level", type=int, metavar="N", help="compression level (gzip 1-9, zstd 1-19)")
    group.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    group.add_argument("--force", action="store_true", help="make archives again even if they are there")
    group.add_argument("--ignore-space", action="store_true", help="begin even if the disk here seems to be too small")
    group.add_argument(
        "--wait", type=float, metavar="S", default=0.0,
        help="how long to wait for another run that is at work on the same dump there (default: not at all)",
    )  # fmt: skip
    group.add_argument("--whole-vmlinux", action="store_true", help="as that of archive")
    group.add_argument("--gdb-scripts", action="store_true", help="as that of archive")


def run(args: argparse.Namespace) -> int:
    from ..remote.auth import Keyring
    from ..remote.collect import collect
    from ..remote.failures import paramiko

    find.filters(args)  # a mistake in them is told before anybody is asked for a password
    if args.parallel < 1 or args.retries < 0 or (args.timeout is not None and args.timeout <= 0):
        raise UsageError("--parallel, --retries and --timeout are not negative, and not all of them may be 0")
    paramiko()
    asking = _Asking()
    try:
        login = _now(asking, "login password: ") if args.ask_pass else None
        sudo = _now(asking, "sudo password: ") if args.ask_become_pass else None
        keyring = Keyring(asking if asking.terminal() else None, login)
        with _Progress(args, len(set(args.hosts)) == 1) as telling:
            collected = collect(args.hosts, _options(args, sudo), keyring, telling.tell)
    finally:
        asking.restore()
    outcomes = {one.host: _outcome(one) for one in collected}
    dest = os.path.abspath(args.output)
    document = summary.document(outcomes, dest, args.dry_run)
    try:
        if not args.dry_run and os.path.isdir(dest):  # else nothing came, and nothing is made
            summary.save(dest, document)
    finally:
        _say(args, collected, outcomes, document)
    return _status(collected, outcomes)


def _say(args: argparse.Namespace, collected: List[Any], outcomes: Dict[str, Json], document: Json) -> None:
    if args.json:
        say.document(document)
    elif not args.quiet:
        width = say.columns(sys.stdout)
        for line in words.lines(outcomes, document["dest"], os.getcwd(), (), args.dry_run, "--path DIR", width):
            say.out(*words.painted(line))
    if not args.quiet and not (args.become or args.ask_become_pass):
        users = sorted({str(one.user) for one in collected if one.report is not None} - {"root"})
        if users:
            say.note("savedump: only dumps that %s may read are found; --become reads all" % ", ".join(users))


def _options(args: argparse.Namespace, sudo_password: Optional[str]) -> Any:
    from ..remote.collect import Options
    from ..remote.login import Become
    from ..remote.settings import Wishes

    return Options(
        dest=os.path.abspath(args.output),
        paths=tuple(args.path),
        filters={
            "kinds": args.kind, "executable": args.executable, "signal": args.signal, "newer_than": args.newer_than,
            "older_than": args.older_than, "min_size": args.min_size, "max_size": args.max_size,
        },
        search=options.search(args)._replace(whole_vmlinux=args.whole_vmlinux, gdb_scripts=args.gdb_scripts),
        debuginfod_urls=tuple(args.debuginfod),
        format=args.format,
        level=args.level,
        store=args.store,
        wishes=Wishes(
            user=args.login, port=args.port, jump=args.jump, keys=tuple(args.identity), config=args.ssh_config,
            accept_new=args.accept_new, timeout_s=args.timeout,
        ),
        become=Become(args.become_user, sudo_password) if args.become or args.ask_become_pass else None,
        parallel=args.parallel,
        retries=args.retries,
        dry_run=args.dry_run,
        force=args.force,
        wait_s=args.wait,
        ignore_space=args.ignore_space,
    )  # fmt: skip


class _Asking:
    """Asks on the terminal, without echo. What interrupts us in another thread must not leave it without one."""

    def __init__(self) -> None:
        self._before: Any = None

    @staticmethod
    def terminal() -> Any:
        """How it is set; None if there is none."""
        import termios

        try:
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return termios.tcgetattr(descriptor)
        except termios.error:
            return None
        finally:
            os.close(descriptor)

    def __call__(self, prompt: str) -> Optional[str]:
        import getpass

        settings = self.terminal()
        if settings is None:
            return None
        self._before = self._before or settings
        try:
            return getpass.getpass(say.printable(prompt))
        except EOFError:
            return None

    def restore(self) -> None:
        if self._before is None:
            return
        import termios

        try:
            with open("/dev/tty", "rb", buffering=0) as terminal:
                termios.tcsetattr(terminal.fileno(), termios.TCSADRAIN, self._before)
        except (OSError, termios.error):
            pass  # the terminal is gone


def _now(asking: _Asking, prompt: str) -> str:
    answer = asking(prompt)
    if answer is None:
        raise UsageError("there is no terminal to ask for the %s on" % prompt.rstrip(": "))
    return answer


class _Progress:
    """A line for each event on stderr; for one host on a terminal a bar while an archive comes."""

    def __init__(self, args: argparse.Namespace, alone: bool) -> None:
        self._quiet, self._verbose, self._dry_run = args.quiet, args.verbose, args.dry_run
        self._here = os.getcwd()
        self._bar = alone and not args.quiet and sys.stderr.isatty()
        self._work: Optional[progress.Work] = None
        self._told: Dict[Tuple[str, Optional[str]], float] = {}

    def tell(self, event: Any) -> None:
        try:
            self._tell(event)
        except OSError:  # the terminal is gone, or the disk with the log is full: that stops no host
            self._quiet, self._bar, self._work = True, False, None

    def _tell(self, event: Any) -> None:
        from ..remote import collect as kinds

        if event.kind == kinds.PROGRESS:
            self._tell_bytes(event)
            return
        self._end()
        said = None
        what = "%s: " % event.dump if event.dump else ""
        if event.kind == kinds.CONNECTED and self._verbose:
            said = "connected, Python %s" % event.words
        elif event.kind == kinds.FOUND:
            said = "%d dump%s" % (event.done, "" if event.done == 1 else "s")
        elif event.kind == kinds.BEGUN:
            self._told[event.host, event.dump] = time.monotonic()
            said = "%sarchiving" % what if self._verbose else None
        elif event.kind == kinds.LATER:
            said = what + event.words
        elif event.kind == kinds.CAME and not self._dry_run:
            said = "%sin %s" % (what, os.path.relpath(event.words, self._here))
        elif event.kind == kinds.AGAIN:
            said = "%s%s; once more in %d s" % (what, event.words, event.done)
        elif event.kind == kinds.FAILED:
            said = "%sFAILED: %s" % (what, event.words)
        if said is not None and not self._quiet:
            say.note("%s: %s" % (event.host, said))

    def _tell_bytes(self, event: Any) -> None:
        if self._bar:
            if self._work is None:
                self._work = progress.Work("%s:" % event.host, None, False)
            self._work.total = event.total
            self._work.update(event.done)
            return
        now = time.monotonic()
        if not self._quiet and now - self._told.get((event.host, event.dump), now) >= _LINE_EVERY_S:
            self._told[event.host, event.dump] = now
            say.note("%s: %s: %s of %s" % (event.host, event.dump, say.size(event.done), say.size(event.total)))

    def _end(self) -> None:
        if self._work is not None:
            self._work.end()
            self._work = None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end()


def _outcome(one: Any) -> Json:
    """One host in the words of the play's summary."""
    about_host = [failure.why for failure in one.failures if failure.dump is None]
    if one.report is None:
        why = about_host[0] if about_host else "nothing was done"
        return summary.outcome(summary.Steps(broken=why) if one.reached else summary.Steps(unreachable=why))
    here = [arrived for arrived in one.arrived if arrived.problems is not None]
    return summary.outcome(
        summary.Steps(
            dumps=one.report["dumps"],
            looked=one.report["looked"],
            left_out=int(one.report.get("left_out") or 0),
            made=[arrived.streamed.as_json() for arrived in one.arrived],
            not_archived=[
                {"dump": failure.dump, "why": failure.why, "failed": not failure.later}
                for failure in one.failures
                if failure.dump is not None
            ],
            arrived={arrived.streamed.path: arrived.streamed.as_json() for arrived in here},
            proofs={
                arrived.streamed.path: {"intact": not arrived.problems, "problems": arrived.problems}
                for arrived in here
            },
            errors=about_host,
        )
    )


def _status(collected: List[Any], outcomes: Dict[str, Json]) -> int:
    """The greatest of all that did not come."""
    failed = [failure.exit_status for one in collected for failure in one.failures]
    failed += [BadDump.exit_status for one in collected for arrived in one.arrived if arrived.problems]
    if failed:
        return max(failed)
    return GAPS if any(each["status"] == summary.GAPS for each in outcomes.values()) else COMPLETE
