#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the man pages and the shell completion of `savedump`, out of its own argument parser.

    python3 tools/make_man.py OUTDIR

    OUTDIR/share/man/man1/savedump.1, savedump-VERB.1
    OUTDIR/share/bash-completion/completions/savedump
    OUTDIR/share/zsh/site-functions/_savedump
    OUTDIR/share/fish/vendor_completions.d/savedump.fish
    OUTDIR/share/savedump/savedump.tcsh

so that OUTDIR may be /usr, /usr/local or a package's root with /usr. Nothing is compressed. The pages bear the date in
SOURCE_DATE_EPOCH, else today's; everything else depends on the sources alone. Needs argparse-manpage and shtab
(docs/requirements.txt), and no network.
"""

import argparse
import os
import pathlib
import re
import sys

import shtab
from argparse_manpage.manpage import Manpage

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "plugins" / "module_utils"
sys.path.insert(0, str(SOURCES))

from savedump_core import __version__
from savedump_core.__main__ import make_parser

_MANUAL = "savedump"
_NAME = "make core dumps and kernel dumps self-contained"
# Where each shell looks by itself, below /usr/share. tcsh looks nowhere: its users source the file.
_COMPLETIONS = {
    "bash": "bash-completion/completions/savedump",
    "zsh": "zsh/site-functions/_savedump",
    "fish": "fish/vendor_completions.d/savedump.fish",
    "tcsh": "savedump/savedump.tcsh",
}
# What the parser calls the values that are names of files and folders.
_FILES = {"ARCHIVE", "DIR|FILE", "DIR|FILE|-", "DUMP", "DUMP|ARCHIVE", "FILE", "KEY", "PATH"}
_FOLDERS = {"DIR"}
_HEADING = re.compile(r"([a-z]+(?: [a-z]+)?):\s")


def parsers():
    """(the parser of the command, {verb: (what it does in a line, its parser)})."""
    # Each text in one line: what folds it is man, and a fold at a hyphen would leave a space there.
    os.environ["COLUMNS"] = "10000"
    whole = make_parser()
    action = _verbs(whole)
    said = {one.dest: one.help for one in action._choices_actions}
    return whole, {verb: (said[verb], parser) for verb, parser in action.choices.items()}


def _verbs(parser):
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def pages():
    """{name of the page, without .1: its text}."""
    whole, verbs = parsers()
    action = _verbs(whole)
    action._name_parser_map.clear()  # each has a page of its own
    for group in whole._action_groups:
        if action in group._group_actions:
            group.title = "commands"
    made = {"savedump": _page(whole, _NAME, ["savedump-" + verb for verb in verbs])}
    made["savedump"] = re.sub(
        r"^\.SH SYNOPSIS\n.*?(?=^\.SH)", _SYNOPSIS, made["savedump"], flags=re.MULTILINE | re.DOTALL
    )
    for verb, (words, parser) in verbs.items():
        made["savedump-" + verb] = _page(parser, words.rstrip("?"), ["savedump"])
    return made


_SYNOPSIS = r""".SH SYNOPSIS
.B savedump
\\fICOMMAND\\fR [\\fIARGUMENTS\\fR]
.br
.B savedump
\\fIDUMP\\fR
"""


def _page(parser, words, see):
    name = parser.prog.replace(" ", "-")
    sections = _sections(parser.epilog or "")
    parser.epilog = None
    for group in parser._action_groups:
        if group.title == "positional arguments":
            group.title = "arguments"
    page = Manpage(parser, {"project_name": "savedump", "version": __version__, "manual_title": _MANUAL})
    page.prog = name
    page.description = words
    for heading, text in sections:
        page.add_section(heading, "=", text)
    page.add_section("see also", "=", ",\n".join(".BR %s (1)" % _escaped(other) for other in see))
    # mandoc wants no empty lines, and dates as ISO 8601 has them.
    text = re.sub(r"\n{2,}", "\n", str(page))
    return re.sub(r"^\.TH .*", lambda head: head.group().replace("\\-", "-"), text, count=1)


def _sections(epilog):
    """(heading, roff) of the paragraphs after a verb's options: those that begin with a word and a colon (examples, as
    they are typed; exit status) as sections of their own, the others as notes.
    """
    made = {}
    for paragraph in epilog.split("\n\n"):
        named = _HEADING.match(paragraph)
        heading = named.group(1) if named else "notes"
        text = paragraph[named.end() :] if named else paragraph
        roff = _verbatim(text.strip("\n")) if heading == "examples" else _escaped(" ".join(text.split()))
        made[heading] = made[heading] + "\n.PP\n" + roff if heading in made else roff
    return made.items()


def _verbatim(text):
    lines = [line[2:] if line.startswith("  ") else line for line in text.split("\n")]
    return ".nf\n%s\n.fi" % "\n".join(map(_escaped, lines))


def _escaped(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def completions():
    """{shell: script}."""
    whole, verbs = parsers()
    for parser in [parser for _words, parser in verbs.values()]:
        for action in parser._actions:
            if action.metavar in _FILES:
                action.complete = shtab.FILE
            elif action.metavar in _FOLDERS:
                action.complete = shtab.DIRECTORY
    made = {shell: shtab.complete(whole, shell=shell) for shell in _COMPLETIONS}
    # `savedump DUMP` has no verb: where no verb fits, bash goes on with names of files.
    made["bash"] = made["bash"].replace("complete -o bashdefault -F", "complete -o bashdefault -o default -F")
    return made


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    share = pathlib.Path(sys.argv[1], "share")
    written = {share / "man" / "man1" / (name + ".1"): text for name, text in pages().items()}
    written.update((share / _COMPLETIONS[shell], text) for shell, text in completions().items())
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stdout.write("wrote %d files below %s\n" % (len(written), share))


if __name__ == "__main__":
    main()
