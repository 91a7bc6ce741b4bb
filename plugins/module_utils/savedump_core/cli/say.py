# SPDX-License-Identifier: Apache-2.0
"""Words to a person: data on stdout, the rest on stderr, and nothing from a dump that a terminal would obey."""

import os
import sys
import textwrap
import time
from typing import Any, List, NamedTuple, Optional, Sequence, Union

from ..errors import next_step
from ..manifest import to_bytes
from ..model import ABSENT

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
# ECMA-48, select graphic rendition: foreground colours, and back to the terminal's own.
_CODES = {"red": "\033[31m", "green": "\033[32m", "yellow": "\033[33m"}
_PLAIN = "\033[39m"
# Narrower terminals fold by themselves.
NARROWEST = 40


class Mark(NamedTuple):
    """A word with a colour, where there are colours."""

    text: object
    colour: str
    """A key of _CODES, or "" for none."""


Piece = Union[str, Mark]


def printable(text: object) -> str:
    """The text with control characters and undecodable bytes as \\xNN, so that a name from a dump stays a name."""
    shown = []
    for char in str(text):
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            shown.append("\\x%02x" % (code - 0xDC00))
        elif char.isprintable():
            shown.append(char)
        else:
            shown.append("\\x%02x" % code if code < 0x100 else "\\u%04x" % code)
    return "".join(shown)


def local_time(seconds: int) -> str:
    """That of a crash, to the minute; question marks for one that no calendar has: a dump can claim anything, and on
    some file systems (btrfs, tmpfs) a file can have been changed in a year of ten digits.
    """
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, OSError):
        return "????-??-?? ??:??"


def utc(seconds: int) -> str:
    """The same to the second, in UTC, which it says."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, OSError):
        return "????-??-?? ??:??:?? UTC"


def line(stream: Any, *pieces: object) -> None:
    """One line. Marks in it have their colour on a terminal, and are words as any others elsewhere."""
    colours = any(isinstance(piece, Mark) for piece in pieces) and has_colours(stream)
    write(stream, "".join(_shown(piece, colours) for piece in pieces) + "\n")


def _shown(piece: object, colours: bool) -> str:
    if not isinstance(piece, Mark):
        return printable(piece)
    text = printable(piece.text)
    return _CODES[piece.colour] + text + _PLAIN if colours and piece.colour else text


def has_colours(stream: Any) -> bool:
    """A terminal that knows colours, and a person who wants them: https://no-color.org, https://bixense.com/clicolors."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("CLICOLOR") != "0"
    return bool(wanted and is_terminal(stream))


def is_terminal(stream: Any) -> bool:
    """Whether a person sees what is written there, on a screen on which it can be written over."""
    return bool(stream.isatty()) and os.environ.get("TERM", "dumb") != "dumb"


def columns(stream: Any) -> int:
    """How wide the terminal is; 0 for anything else."""
    if not stream.isatty():
        return 0
    if os.environ.get("COLUMNS", "").isdecimal():
        return int(os.environ["COLUMNS"]) or 80
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def out(*pieces: object) -> None:
    line(sys.stdout, *pieces)


def note(*pieces: object) -> None:
    line(sys.stderr, *pieces)


def folded(text: str, width: int, indent: str = "", hanging: str = "  ") -> List[str]:
    """The text in lines for a terminal of this width, for any other stream (0) in one. Paths and names of files stay
    whole, and can be copied."""
    if not width:
        return [indent + text]
    return textwrap.wrap(
        text, max(width, NARROWEST), initial_indent=indent, subsequent_indent=indent + hanging, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def write(stream: Any, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "ascii"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def document(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(to_bytes(value).decode("ascii"))
    sys.stdout.flush()


def size(count: int) -> str:
    """Bytes for a person: 1.5 GiB."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return "%d %s" % (count, unit) if unit == "bytes" else "%.1f %s" % (value, unit)
        value /= 1024
    raise AssertionError


def count(items: Sequence[Any], noun: str) -> str:
    """1 dump, 2 dumps."""
    return "%d %s%s" % (len(items), noun, "" if len(items) == 1 else "s")


def completeness(complete: bool) -> Mark:
    return Mark("complete", "green") if complete else Mark("with gaps", "yellow")


def program() -> str:
    """What the command was called as, for words on what to type next."""
    called = sys.argv[0]
    if os.path.basename(called) == "__main__.py":
        return "python3 -m %s" % __name__.partition(".")[0]
    return "python3 %s" % called if called.endswith(".pyz") else "savedump"


def error(message: str, hint: str = "") -> None:
    """What, where, and what next, as one line. A terminal for which it is too long has what next on a line of its own,
    and a command there stays whole."""
    whole = "savedump: %s; %s" % (message, hint) if hint else "savedump: %s" % message
    width = columns(sys.stderr)
    if not width or len(whole) <= width:
        note(whole)
        return
    notes("savedump: %s%s" % (message, ";" if hint else ""))
    if hint and "%s " % program() in hint:
        note("  " + hint)
    elif hint:
        notes(hint, "  ", "")


def notes(text: str, indent: str = "", hanging: str = "    ") -> None:
    """A note that a terminal may fold, for it holds no command."""
    for part in folded(text, columns(sys.stderr), indent, hanging):
        note(part)


def failed(failure: OSError, instead: Optional[str] = None) -> None:
    """An OSError in words; `instead` is what next, if more is known than the error itself tells."""
    where = ": %s" % failure.filename if failure.filename else ""
    error("%s%s" % (failure.strerror or failure, where), instead or next_step(failure))


def attempts(trail: List[Any], short: bool = False) -> List[str]:
    """A line for each place tried; `short`: for each that had something, and one for the others."""
    telling = [one for one in trail if one["outcome"] != ABSENT or not short]
    lines = ["%s: %s%s" % (one["path"], one["outcome"], one["detail"] and " (%s)" % one["detail"]) for one in telling]
    absent = len(trail) - len(telling)
    if absent == 1:
        return lines + attempts([one for one in trail if one["outcome"] == ABSENT])
    return lines + (["absent from %d places (-v names them)" % absent] if absent else [])
