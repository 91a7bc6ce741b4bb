# SPDX-License-Identifier: Apache-2.0
"""python3 -m savedump_core, the console script ``savedump``, and the zipapp."""

import argparse
import os
import signal
import sys
from typing import Any, List, Optional, Sequence

from . import __version__
from .cli import instead, layout, say
from .errors import SavedumpError, UsageError, status_of

VERBS = ("find", "inspect", "archive", "verify", "open", "complete", "store", "collect")

_DESCRIPTION = "Make core dumps self-contained: dump, executable, libraries and debug information in one archive."
_EPILOG = """examples:
  savedump find                 which dumps are on this host?
  savedump inspect core.1234    is it whole, is everything it needs here?
  savedump core.1234            short for: savedump archive core.1234
  savedump verify archive-core.1234.tar.gz
  savedump open archive-core.1234.tar.gz    unpack it, start the debugger
  savedump complete archive-core.1234.tar.gz --search-path /srv/builds
  savedump collect web1 web2    bring the dumps of other hosts here by ssh

Each verb has a help of its own: savedump archive --help

words: a dump is the memory of a process (a core) or of a kernel (a vmcore) as it was at the crash; an archive holds a
dump and all that a debugger needs to read it; a build ID is a file's fingerprint, which the dump knows, so that nothing
but the very file is taken; a gap is a file that an archive lacks; debug information gives names and line numbers to
addresses, and debuginfod is a server of it.

exit status: 0 complete, 3 archived with gaps, 64 usage, 65 not a dump or damaged, 66 no such file, 69 a needed tool is
missing, 73 cannot write, 74 I/O error, 75 busy, try later, 77 permission, 130 interrupted, 143 terminated"""

_START = """usage: %(program)s DUMP | %(program)s VERB ...

  %(program)s find              which dumps are on this host?
  %(program)s inspect DUMP      is it whole, is everything it needs here?
  %(program)s DUMP              make an archive of it, with all that it needs
  %(program)s open ARCHIVE      open that in a debugger, on any machine
"""


def _command(verb: str) -> Any:
    """The module of a verb. Each imports what it needs: a look at a small core is over before all are imported."""
    command: Any
    if verb == "find":
        from .cli import find as command
    elif verb == "inspect":
        from .cli import inspect as command
    elif verb == "archive":
        from .cli import archive as command
    elif verb == "verify":
        from .cli import verify as command
    elif verb == "complete":
        from .cli import complete as command
    elif verb == "store":
        from .cli import store as command
    elif verb == "collect":
        from .cli import collect as command
    else:
        from .cli import open as command
    return command


def make_parser(verbs_to_add: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    program = say.program()
    parser = layout.Parser(
        prog=program, description=_DESCRIPTION, epilog=_EPILOG, formatter_class=layout.Formatter,
        usage="%s DUMP | %s VERB ..." % (program, program),
    )  # fmt: skip
    parser.add_argument("--version", action="version", version="savedump %s" % __version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", prog=program, parser_class=layout.Parser)
    for command in map(_command, verbs_to_add):
        verb = verbs.add_parser(
            command.NAME, help=command.HELP, description=_sentence(command.HELP), epilog=command.EPILOG,
            formatter_class=layout.Formatter,
            usage="%s %s [options] %s" % (program, command.NAME, command.OPERANDS),
        )  # fmt: skip
        verb.add_argument("-q", "--quiet", action="store_true", help="errors only")
        verb.add_argument("-v", "--verbose", action="count", default=0, help="more words")
        command.add_arguments(verb)
        verb.set_defaults(run=command.run)
    return parser


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + ("" if words.endswith("?") else ".")


def main(argv: Optional[List[str]] = None) -> int:
    """Run one command and give its exit status. One line on stderr says what went wrong, where, and what next."""
    given = list(sys.argv[1:] if argv is None else argv)
    # The ancestor's form: no verb, a dump. A file of a verb's name needs the verb before it.
    short = bool(given) and given[0] not in VERBS + ("-h", "--help", "--version")
    arguments = (["archive"] if short else []) + given
    verb = [word for word in arguments[:1] if word in VERBS]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        parser = make_parser(verb or VERBS)
        # argparse would take them for the archive's, behind an option.
        at = arguments.index("--") if verb == ["open"] and "--" in arguments[2:] else len(arguments)
        args = parser.parse_args(arguments[:at])
        if args.verb is None:
            for line in (_START % {"program": say.program()}).split("\n"):
                for part in layout.example(line, say.columns(sys.stderr) or 80).split("\n"):
                    say.note(part)
            raise UsageError("no dump and no verb given")
        if at < len(arguments):
            args.arguments += arguments[at + 1 :]
        return args.run(args)
    except UsageError as error:
        say.error(error.message, _next(error.hint, verb, given if short else []))
        return error.exit_status
    except SavedumpError as error:
        say.error(error.message, error.hint)
        return error.exit_status
    except BrokenPipeError:
        # Who read our output went away; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 74
    except OSError as error:
        say.failed(error, instead.of_nothing(error, verb, given if short else []))
        return status_of(error)
    except KeyboardInterrupt:
        say.note("savedump: interrupted")
        return 130
    except _Terminated:
        say.note("savedump: terminated")
        raise


def _next(hint: str, verb: List[str], short: List[str]) -> str:
    """What to do about a command line that means nothing."""
    meant = instead.of_no_verb(short)
    if meant or (hint and not hint.startswith("did you mean")):
        return meant or hint
    see = "see %s --help" % " ".join([say.program()] + verb)
    if verb == ["open"]:
        see = "the debugger's arguments come after --; " + see
    return "%s %s" % (hint, see) if hint else see


class _Terminated(SystemExit):
    """SIGTERM came."""


def _leave(number: int, frame: object) -> None:
    """Clean up on the way out, as after any error. Whoever hung up reads no words."""
    raise (_Terminated if number == signal.SIGTERM else SystemExit)(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
