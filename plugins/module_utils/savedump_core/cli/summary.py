# SPDX-License-Identifier: Apache-2.0
"""The words for what a collection brought, host by host (see ../summary.py), for the end of a play and of `savedump
collect`."""

import errno
import os
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..model import Json
from ..space import in_words
from ..stores import core_pattern, given
from ..summary import NOTHING
from . import say

# How many places, gaps or archives of one host are spelled out; the results hold all.
_SPELLED = 20
# Names that take more than one part in so many of a line stand above what is said of their hosts.
_NAMES_SHARE = 3
# Words that decide what is to be done, and how they are to be seen.
_COLOURS = {
    "FAILED": "red", "NOT REACHED": "red", "DAMAGED": "red", "NOT WHOLE": "red", "INCOMPLETE": "yellow",
    "BEING WRITTEN": "yellow", "STILL TO COME": "yellow",
}  # fmt: skip
_LOUD = re.compile("(?<![A-Za-z])(%s)(?![A-Za-z])" % "|".join(_COLOURS))


def lines(
    outcomes: Mapping[str, Json], dest: Optional[str] = None, here: Optional[str] = None,
    removed_here: Sequence[Json] = (), check_mode: bool = False, hint: str = "", width: int = 0,
    to_come: Sequence[str] = (),
) -> List[str]:  # fmt: skip
    """The summary for a person, in printable characters whatever names the targets have. `here` is the directory to
    which paths are shown relative; `hint` says how to look in another folder, if there was no dump on some host;
    `to_come` are hosts that had no turn until now. Lines that are longer than `width`, if that is not 0, are folded;
    commands and paths stay whole."""
    text = []
    names = max([len(say.printable(host)) for host in outcomes] + [4])
    above = bool(width) and names > width // _NAMES_SHARE
    for host, each in outcomes.items():
        first, more = _words(each, here, check_mode)
        label = "    " if above else "%-*s  " % (names, say.printable(host))
        if above:
            text.append(say.printable(host))
        for number, line in enumerate([first] + more):
            text += _folded(say.printable(line), width, label if not number else " " * len(label))
    text += [""] + _removed_here(removed_here, here, check_mode)
    for line in _total(outcomes, dest, here, hint, check_mode) + _to_come(to_come):
        text += _folded(say.printable(line), width, "")
    return [say.printable(line) for line in text]


def painted(line: str) -> List[say.Piece]:
    """A line of lines(), in pieces, with the loud words marked."""
    return [say.Mark(piece, _COLOURS[piece]) if piece in _COLOURS else piece for piece in _LOUD.split(line)]


def _folded(line: str, width: int, before: str) -> List[str]:
    """A line that is too long, with what stands behind two blanks (a remark, a command) on a line of its own."""
    if not width or len(before) + len(line) <= width:
        return [before + line]
    indent = before + " " * (len(line) - len(line.lstrip(" ")))
    below, text = " " * (len(indent) + 2), line.strip()
    command = re.match(r"(To [a-z ]+:)  (.*)\Z", text)
    if command:
        return [indent + command.group(1), below + command.group(2)]
    remark = text.rfind("  (")  # behind a path, which stays whole
    if remark > 0:
        return [indent + text[:remark]] + say.folded(text[remark:].strip(), width, below)
    return _hanging(text, width, indent)


def _hanging(text: str, width: int, indent: str) -> List[str]:
    # "looked in" stays with what it is about: textwrap does not fold at a no-break space.
    kept = re.sub("^looked in ", "looked\u00a0in\u00a0", text)
    first, *rest = [line.replace("\u00a0", " ") for line in say.folded(kept, width, " " * len(indent))]
    return [indent + first.lstrip(" ")] + rest


def _removed_here(removed: Sequence[Json], here: Optional[str], check_mode: bool) -> List[str]:
    """What retention took away on this machine."""
    if not removed:
        return []
    size = in_words(sum(each["size"] for each in removed))
    verb = "Would remove here" if check_mode else "Removed here"
    shown = ["  %s  (%s)" % (_near(each["path"], here), each["why"]) for each in removed[:_SPELLED]]
    if len(removed) > _SPELLED:
        shown.append("  and %d more" % (len(removed) - _SPELLED))
    return ["%s: %s, %s" % (verb, say.count(removed, "archive"), size)] + shown + [""]


def _to_come(hosts: Sequence[str]) -> List[str]:
    """Those of later batches: if the play ends before, this is the only word on them."""
    if not hosts:
        return []
    more = " and %d more" % (len(hosts) - _SPELLED) if len(hosts) > _SPELLED else ""
    return ["STILL TO COME, nothing is known of them: %s%s." % (", ".join(hosts[:_SPELLED]), more)]


def _words(each: Json, here: Optional[str], check_mode: bool) -> Tuple[str, List[str]]:
    """(the line beside the host's name, more lines below it)."""
    if each["status"] == "unreachable":
        return "NOT REACHED: %s" % each["errors"][0], []
    more = []
    if not each["dumps"] and not each["archives"]:
        if each["errors"]:
            return "FAILED: %s" % each["errors"][0], ["FAILED: %s" % error for error in each["errors"][1:]]
        first = "no dumps that were asked for, %d others" % each["left_out"] if each["left_out"] else "no dumps"
        return "no archives" if _is_of_archives(each) else first, _looked(each["looked"])
    if not each["archives"]:
        first = "%s found" % say.count(each["dumps"], "dump")
        more = ["%s  %s" % (dump["path"], _about(dump)) for dump in each["dumps"][:_SPELLED]]
    else:
        size = sum(archive["size"] or archive["planned_size"] or 0 for archive in each["archives"])
        planned = any(archive["sha256"] is None and archive["planned_size"] for archive in each["archives"])
        first = "%s%s%s" % (
            say.count(each["archives"], "archive"),
            " would be made, reading " if planned else ", ",
            in_words(size),
        )
        estimated = sum(archive["estimated_size"] or 0 for archive in each["archives"])
        if planned and estimated:
            first += ", about %s when packed" % in_words(estimated)
        if not each["changed"]:
            first += ", nothing new"
        for archive in each["archives"][:_SPELLED]:
            more.extend(_archive_words(archive, here))
    if each["left_out"]:
        first += "; %d not asked for" % each["left_out"]
    more.extend(_looked(filter(_is_trouble, each["looked"])))
    more.extend("not archived: %s" % words for words in each["left"][:_SPELLED])
    verb = "would remove there" if check_mode else "removed there"
    more.extend("%s: %s" % (verb, path) for path in each["removed"][:_SPELLED])
    more.extend("kept there: %s" % kept["why"] for kept in each["kept"][:_SPELLED])
    more.extend("FAILED: %s" % error for error in each["errors"])
    return first, more


def _archive_words(archive: Json, here: Optional[str]) -> List[str]:
    if archive["path"]:
        where = _near(archive["path"], here)
    else:
        where = "%s -> %s" % (archive["dump"], archive["on_target"]) if archive["dump"] else archive["on_target"]
    state = [archive["what"]]
    if archive["verified"]:
        state.append("verified")
    elif archive["verified"] is False:
        state.append("DAMAGED")
    if archive["gaps"]:
        state.append("INCOMPLETE")
    filled = ["  filled: %s" % words for words in archive["filled"][:_SPELLED]]
    return ["%s  (%s)" % (where, ", ".join(state))] + filled + [
        "  lacks %s" % gap if "not whole" not in gap else "  %s" % gap for gap in archive["gaps"][:_SPELLED]
    ]


def _is_trouble(place: Json) -> bool:
    """Whether dumps may lie at a place that could not be looked into, so that it is said though others were found. What
    was named and is not there is said, too; of what else was named the outcome has a word elsewhere."""
    store, outcome = place.get("store"), str(place["outcome"])
    if store == given.NAME:
        return outcome == os.strerror(errno.ENOENT)
    a_rule = store == core_pattern.NAME and not str(place["where"]).startswith("/")
    return not a_rule and not NOTHING.match(outcome)


def _is_of_archives(each: Json) -> bool:
    """Whether only archives were looked for on a host, and no dumps."""
    return bool(each["looked"]) and all(place.get("store") == "archives" for place in each["looked"])


def _looked(looked: Iterable[Json]) -> List[str]:
    """Places with the same outcome on one line: a sweep looks into dozens of folders."""
    by_outcome: Dict[str, List[str]] = {}
    for place in looked:
        where, outcome = str(place["where"]), str(place["outcome"])
        if place.get("store") == "core_pattern" and not where.startswith("/"):
            where, outcome = "core_pattern %s" % where, outcome.partition("relative: ")[2] or outcome
        places = by_outcome.setdefault(outcome, [])
        if where not in places:
            places.append(where)
    return [
        "looked in %s%s: %s"
        % (
            ", ".join(places[:_SPELLED]),
            " and %d more" % (len(places) - _SPELLED) if len(places) > _SPELLED else "",
            outcome,
        )
        for outcome, places in by_outcome.items()
    ]


def _about(dump: Json) -> str:
    words = [dump["what"]]
    if dump["size"] is not None:
        words.append(in_words(dump["size"]))
    if dump["mtime_ns"]:
        words.append(say.utc(dump["mtime_ns"] // 10**9))
    if dump["in_progress"]:
        words.append("BEING WRITTEN")
    elif dump["truncated"]:
        words.append("NOT WHOLE: %s" % dump["truncated"])
    return "(%s)" % ", ".join(words)


def _total(
    outcomes: Mapping[str, Json], dest: Optional[str], here: Optional[str], hint: str, check_mode: bool
) -> List[str]:
    archives = [archive for each in outcomes.values() for archive in each["archives"]]
    home = [archive for archive in archives if archive["path"]]
    parts = []
    if home:
        size = in_words(sum(archive["size"] for archive in home))
        where = "would be in" if check_mode else "in"
        parts.append("%s %s %s (%s)" % (say.count(home, "archive"), where, _near(dest, here), size))
    gaps = [archive for archive in archives if archive["gaps"]]
    if gaps:
        parts.append("%d incomplete" % len(gaps))
    for status, words in (("no-dumps", "without dumps"), ("unreachable", "not reached"), ("failed", "failed")):
        number = sum(1 for each in outcomes.values() if each["status"] == status)
        if number:
            parts.append("%d of %s %s" % (number, say.count(list(outcomes), "host"), words))
    text = ["%s." % "; ".join(parts)] if parts else []
    wire, saved = (sum(each[key] for each in outcomes.values()) for key in ("wire_bytes", "saved_bytes"))
    if (wire or saved) and not check_mode:
        here_already = "; %s not sent, being here already" % in_words(saved) if saved else ""
        text.append("Sent over the wire: %s%s." % (in_words(wire), here_already))
    if hint and any(each["status"] == "no-dumps" and not _is_of_archives(each) for each in outcomes.values()):
        text.append("To look in another folder:  %s" % hint)
    if home and not check_mode:
        first = _near(home[0]["path"], here)
        text.append("To open one:  tar -xf %s && %s/%s" % (first, home[0]["top"], home[0]["opener"]))
    return text


def _near(path: Any, here: Optional[str]) -> Any:
    """`path` relative to `here` if it lies below it."""
    if path and here and path.startswith(here.rstrip("/") + "/"):
        return os.path.relpath(path, here)
    return path
