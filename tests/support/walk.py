# SPDX-License-Identifier: Apache-2.0
"""Walks a page: takes its fenced blocks, runs the commands as written, holds what came against what the page claims.

What a fenced block is goes by its info string:

sh        commands, one after the other, in one shell per page: folder and exported variables stay
console   a session: commands behind "$ ", and what each prints
text      what the sh block right before it prints, all its commands together; anywhere else it is an illustration and
          needs a reason, as a command that is not run does
others    content (yaml, ini, ...): written where the page says so, else only read

An HTML comment right before the block, unseen by readers, says what the page's own words cannot:

<!-- walk: on web1 -->            run by root on that host of the fleet, not on the clean machine
<!-- walk: offline -->            run on the clean machine without any network
<!-- walk: exit 3 -->             the exit status of the block's last command; that of all others is 0
<!-- walk: file site.yml -->      write the block's content to this file
<!-- not walked: why -->          not run, and why

What is claimed holds if it is what came, line by line, where

- "..." alone on a line stands for any number of lines, and "..." or "…" within one for any text;
- a number of one digit is itself: a count, an exit status. One of more, or with a point, stands for any number: sizes,
  times, process ids, versions. KiB, MiB and GiB stand for each other, and so do processors (cpu 0, cpu 1);
- eight or more hexadecimal digits stand for any number of them: build IDs, hashes, addresses;
- white space stands for any white space, as figures of another width shift columns.

Commands run on a terminal of 80 columns: what is claimed is what a reader sees.
"""

import re
import subprocess
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import yaml

COMMANDS = ("sh", "console")
_FENCE = re.compile(r"^( *)(`{3,})([^`\n]*)$")
_COMMENT = re.compile(r"^\s*<!--\s*(not walked|walk):\s*(.*?)\s*-->\s*$")
_WORDS = ("on", "offline", "exit", "file")


class WalkError(Exception):
    """A page that cannot be walked: what, and at which line."""


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int
    kind: str
    text: str
    words: Dict[str, str]
    """Of the comment before it: {"on": "web1"}, {"offline": ""}, ..."""
    why_not: Optional[str]
    """Why it is not walked."""
    follows: Optional[int]
    """Index of the block right before it, with nothing but white space in between."""


class Step(NamedTuple):
    """One command."""

    line: int
    command: str
    place: str
    """"" for the clean machine, "offline", or a host's name."""
    status: int
    claim: Optional[Tuple[str, ...]]
    """What it prints; None if the page does not say."""
    before: int = 0
    """So many steps right before it print the first part of what is claimed."""


class Done(NamedTuple):
    status: Optional[int]
    """None if the shell did not come to its end."""
    output: str
    at_s: int = 0
    """When it ended, in seconds since its script began."""


def blocks(text: str) -> List[Block]:
    """The fenced blocks of a page, in order."""
    found: List[Block] = []
    comments: List[Tuple[str, str]] = []
    fence = None
    between = True  # whether there was text since the last block
    for number, line in enumerate(text.splitlines(), 1):
        if fence is not None:
            indent, ticks, kind, begin, body = fence
            if line.strip() == ticks:
                words, why_not = _directives(comments, begin)
                follows = None if between else len(found) - 1
                found.append(Block(begin, kind, "\n".join(body) + "\n" if body else "", words, why_not, follows))
                fence, comments, between = None, [], False
            else:
                body.append(line[len(indent) :] if line.startswith(indent) else line.lstrip(" "))
            continue
        opened = _FENCE.match(line)
        comment = _COMMENT.match(line)
        if opened:
            fence = (opened.group(1), opened.group(2), opened.group(3).strip().split(" ")[0], number, [])
        elif comment:
            comments.append((comment.group(1), comment.group(2)))
        elif line.strip():
            comments, between = [], True
    if fence is not None:
        raise WalkError("line %d: a fenced block without an end" % fence[3])
    return found


def _directives(comments: Sequence[Tuple[str, str]], line: int) -> Tuple[Dict[str, str], Optional[str]]:
    words: Dict[str, str] = {}
    why_not = None
    for key, value in comments:
        if key == "not walked":
            why_not = value
            continue
        for word in value.split(";"):
            name, _space, rest = word.strip().partition(" ")
            if name not in _WORDS:
                raise WalkError("line %d: %r is no word of a walk" % (line, name))
            words[name] = rest.strip()
    return words, why_not


def steps(page: Sequence[Block]) -> List[Step]:
    """The commands of a page that are run, in order, each with what it is to print."""
    found: List[Step] = []
    for index, block in enumerate(page):
        place = "offline" if "offline" in block.words else block.words.get("on", "")
        if block.why_not is not None or (block.kind not in COMMANDS and "file" not in block.words):
            continue
        if "file" in block.words:
            end = "END_OF_%s" % re.sub(r"\W", "_", block.words["file"])
            command = "cat >%s <<'%s'\n%s%s" % (block.words["file"], end, block.text, end)
            found.append(Step(block.line, command, place, 0, None))
            continue
        status = int(block.words.get("exit", "0"))
        mine = _session(block) if block.kind == "console" else _lines(block, page[index + 1 : index + 2], index)
        last = mine.pop()
        found += [step._replace(place=place) for step in mine] + [last._replace(place=place, status=status)]
    return found


def _lines(block: Block, after: Sequence[Block], index: int) -> List[Step]:
    """An sh block's commands; the text right after it is what they print together."""
    found: List[Step] = []
    for offset, line in enumerate(block.text.splitlines(), 1):
        if found and incomplete(found[-1].command):
            found[-1] = found[-1]._replace(command=found[-1].command + "\n" + line)
        elif line.strip():
            found.append(Step(block.line + offset, line, "", 0, None))
    if not found:
        raise WalkError("line %d: no command in it" % block.line)
    if after and after[0].kind == "text" and after[0].follows == index and after[0].why_not is None:
        found[-1] = found[-1]._replace(claim=tuple(after[0].text.splitlines()), before=len(found) - 1)
    return found


def _session(block: Block) -> List[Step]:
    """A console block's commands, each with what it prints."""
    found: List[Step] = []
    for offset, line in enumerate(block.text.splitlines(), 1):
        if line.startswith("$ "):
            found.append(Step(block.line + offset, line[2:], "", 0, None))
        elif not found:
            raise WalkError("line %d: a console block begins with a command, behind $" % block.line)
        elif not found[-1].claim and incomplete(found[-1].command):
            found[-1] = found[-1]._replace(command=found[-1].command + "\n" + line)
        else:
            found[-1] = found[-1]._replace(claim=(found[-1].claim or ()) + (line,))
    return found


def incomplete(command: str) -> bool:
    """Whether a shell would ask for another line: an open quote, a here-document without its end, a backslash."""
    if re.search(r"(^|[^\\])\\$", command):
        return True
    read = subprocess.run(
        ["bash", "-n"],
        input=command + "\n",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    return any(words in read.stderr for words in ("unexpected end of file", "unexpected EOF", "delimited by end"))


def untold(page: Sequence[Block]) -> List[str]:
    """What is neither run nor compared nor read, and does not say why; and reasons that are none."""
    found = []
    for block in page:
        reason = block.why_not
        if reason is not None:
            if len(reason.split()) < 3:
                found.append("line %d: not walked for no reason: %r" % (block.line, reason))
        elif block.kind == "":
            found.append("line %d: a block without an info string: sh, console, text or another" % block.line)
        elif block.kind == "text" and (block.follows is None or page[block.follows].kind != "sh"):
            found.append("line %d: text that follows no sh block, without a reason" % block.line)
        elif block.kind == "yaml":
            try:
                list(yaml.safe_load_all(block.text))
            except yaml.YAMLError as error:
                found.append("line %d: %s" % (block.line, error))
    return found


def script(commands: Sequence[Step], token: str, keep: str) -> str:
    """One bash script, to be run on a terminal, for steps of one place, up to the first that ends otherwise than it
    should; `keep` is a file there that carries the folder and the exported variables on to the next script."""
    lines = [
        # A terminal's width, but nothing that moves or shines, and nobody who types.
        "stty cols 80 rows 50",
        "export TERM=dumb NO_COLOR=1 ANSIBLE_NOCOLOR=1 PAGER=cat",
        "exec 2>&1 </dev/null",
        "cd",
        "[ ! -e %s ] || . %s" % (keep, keep),
    ]
    for number, step in enumerate(commands):
        begin = "printf '%s begin %d\\n'" % (token, number)
        end = "walked=$?; printf '\\n%s end %d %%d %%d\\n' $walked $SECONDS" % (token, number)
        lines += [begin, step.command, end, "[ $walked = %d ] || exit 0" % step.status]
    lines.append('{ export -p; printf "cd %%q\\n" "$PWD"; } >%s' % keep)
    return "\n".join(lines) + "\n"


def outcomes(output: str, token: str, count: int) -> List[Done]:
    """What each of `count` steps of a script() did; shorter if it ended early."""
    found = []
    output = re.sub(r"[^\n]*\r(?!\n)(?:\x1b\[K)?", "", output.replace("\r\n", "\n"))  # only what a line ends up as
    for number in range(count):
        begun = re.search(r"^%s begin %d\n" % (re.escape(token), number), output, re.MULTILINE)
        if not begun:
            break
        ended = re.compile(r"\n%s end %d (\d+) (\d+)\n" % (re.escape(token), number)).search(output, begun.end() - 1)
        if not ended:
            found.append(Done(None, output[begun.end() :]))
            break
        printed = output[begun.end() : max(begun.end(), ended.start())]
        found.append(Done(int(ended.group(1)), printed, int(ended.group(2))))
    return found


def differs(claim: Sequence[str], output: str) -> Optional[str]:
    """Where what came is not what the page claims; None if it is."""
    came = [line.rstrip() for line in output.rstrip("\n").split("\n")] if output.strip("\n") else []
    wanted = [line.rstrip() for line in claim]
    while wanted and not wanted[-1]:
        wanted.pop()
    reached = [0]

    def fits(index: int, at: int) -> bool:
        reached[0] = max(reached[0], index)
        if index == len(wanted):
            return at == len(came)
        if wanted[index].strip() == "...":
            return any(fits(index + 1, later) for later in range(at, len(came) + 1))
        return at < len(came) and bool(pattern(wanted[index]).match(came[at])) and fits(index + 1, at + 1)

    if fits(0, 0):
        return None
    where = "the end, and more came" if reached[0] == len(wanted) else repr(wanted[reached[0]])
    return "the page claims, up to %s:\n%s\nbut it printed:\n%s" % (
        where, _indented(wanted), _indented(came) or "    (nothing)")  # fmt: skip


def _indented(lines: Sequence[str]) -> str:
    return "\n".join("    " + line for line in lines)


_LOOSE = re.compile(
    r"(?P<any>\.\.\.|…)|(?P<cpu>\bcpu \d+)|(?P<hex>\b(?:0x)?[0-9a-f]{8,}\b)"
    r"|(?P<number>\d+(?:\.\d+)*)|(?P<unit>\b(?:KiB|MiB|GiB)\b)|(?P<space>\s+)"
)


def pattern(line: str) -> "re.Pattern[str]":
    """A claimed line as a regular expression; the rules are at the head of this file."""
    parts, at = [], 0
    for token in _LOOSE.finditer(line):
        parts.append(re.escape(line[at : token.start()]))
        at = token.end()
        text = token.group()
        if token.lastgroup == "any":
            parts.append(".*")
        elif token.lastgroup == "cpu":
            parts.append(r"cpu \d+")
        elif token.lastgroup == "hex" and re.search(r"\d", text):
            parts.append(r"(?:0x)?[0-9a-f]{8,}")
        elif token.lastgroup == "number" and len(text) > 1:
            parts.append(r"\d+(?:\.\d+)*")
        elif token.lastgroup == "unit":
            parts.append("(?:bytes|KiB|MiB|GiB)")
        elif token.lastgroup == "space":
            parts.append(r"\s+" if token.start() else r"\s*")
        else:
            parts.append(re.escape(text))
    parts.append(re.escape(line[at:]))
    return re.compile("".join(parts) + r"$")
