# SPDX-License-Identifier: Apache-2.0
"""python3 -m savedump_core, the console script ``savedump``, and the zipapp."""

import argparse
import os
import signal
import sys
from typing import Any, List, Optional, Sequence

from . import __version__
from .cli import say
from .errors import SavedumpError, UsageError, status_of

VERBS = ("find", "inspect", "archive", "verify", "open", "complete", "store", "collect")

_DESCRIPTION = "Make core dumps self-contained: dump, executable, libraries and debug information in one archive."
_EPILOG = """examples:
  savedump core.1234               the short form of: savedump archive core.1234
  savedump inspect core.1234       is it whole, and is everything it needs here?
  savedump verify ARCHIVE          is it intact?
  savedump open ARCHIVE            unpack it and start the debugger
  savedump complete ARCHIVE        fill its gaps on another machine
  savedump collect web1 web2       bring the dumps of other hosts here over ssh

exit status: 0 complete, 3 archived with gaps, 64 usage, 65 not a dump or damaged, 66 no such file,
69 a needed tool is missing, 73 cannot write, 74 I/O error, 75 busy, try later, 77 permission,
130 interrupted, 143 terminated"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(message)  # which verb's help to see is for main() to say


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
    parser = _Parser(
        prog=say.program(),
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version="savedump %s" % __version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for command in map(_command, verbs_to_add):
        verb = verbs.add_parser(
            command.NAME, help=command.HELP, description=_sentence(command.HELP),
            epilog=command.EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
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
    arguments = list(sys.argv[1:] if argv is None else argv)
    # The ancestor's form: no verb, a dump. A file of a verb's name needs the verb before it.
    if arguments and arguments[0] not in VERBS + ("-h", "--help", "--version"):
        arguments.insert(0, "archive")
    verb = [word for word in arguments[:1] if word in VERBS]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        parser = make_parser(verb or VERBS)
        args = parser.parse_args(arguments)
        if args.verb is None:
            raise UsageError("no dump and no verb given")
        return args.run(args)
    except UsageError as error:
        see = "see %s --help" % " ".join([say.program()] + verb)
        if verb == ["open"]:
            see = "the debugger's arguments come after --; " + see
        say.note("savedump: %s; %s" % (error.message, error.hint or see))
        return error.exit_status
    except SavedumpError as error:
        say.note("savedump: %s" % error)
        return error.exit_status
    except BrokenPipeError:
        # Who read our output went away; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 74
    except OSError as error:
        say.failed(error)
        return status_of(error)
    except KeyboardInterrupt:
        say.note("savedump: interrupted")
        return 130
    except _Terminated:
        say.note("savedump: terminated")
        raise


class _Terminated(SystemExit):
    """SIGTERM came."""


def _leave(number: int, frame: object) -> None:
    """Clean up on the way out, as after any error. Whoever hung up reads no words."""
    raise (_Terminated if number == signal.SIGTERM else SystemExit)(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
