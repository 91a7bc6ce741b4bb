# SPDX-License-Identifier: Apache-2.0
"""What `--help` says works: each example is parsed, and no line is longer than a terminal."""

import re
import shlex

import pytest

from savedump_core.__main__ import VERBS, make_parser
from support.command import savedump
from support.terminal import on_terminal


def parsers():
    whole = make_parser()
    choices = next(action.choices for action in whole._actions if action.dest == "verb")
    return {"": whole, **choices}


def examples():
    """Each command line of each --help that starts savedump, without what comes after it in a pipe."""
    found = []
    for verb, parser in parsers().items():
        (block,) = [part for part in parser.epilog.split("\n\n") if part.startswith("examples:")]
        for line in block.splitlines()[1:]:
            command = re.split(r"\s{2,}", line.strip())[0]
            assert line.startswith("  ") and command, line
            parts = [part.strip() for part in re.split(r"[|&]+", command)]
            found.extend((verb, part) for part in parts if part.startswith("savedump"))
    return found


@pytest.mark.parametrize("verb, command", examples())
def test_each_example_is_a_command_line(verb, command):
    words = shlex.split(command)[1:]
    if words[0] not in VERBS:
        words.insert(0, "archive")
    # The parser raises UsageError for an option that there is not.
    assert make_parser().parse_args(words).verb == words[0]


def test_each_verb_has_examples_and_explains_each_option():
    verbs = parsers()
    assert set(verbs) == {"", *VERBS}
    assert {verb for verb, _command in examples()} == set(verbs)
    for verb, parser in verbs.items():
        for action in parser._actions:
            assert action.help or action.dest == "verb", "%s: %s" % (verb, action.option_strings or action.dest)
        named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]+", parser.epilog or "")) - {"--help", "-xf", "-batch", "-ex"}
        named -= {"-r", "-d", "-m"}  # of jq and python3
        known = {option for one in verbs.values() for action in one._actions for option in action.option_strings}
        assert named <= known, verb


@pytest.mark.parametrize("columns", [80, 200])
def test_help_fits_the_terminal(columns, monkeypatch):
    monkeypatch.setattr("sys.argv", ["savedump"])
    monkeypatch.setenv("COLUMNS", str(columns))
    for parser in parsers().values():
        assert [line for line in parser.format_help().splitlines() if len(line) > columns] == []


def test_on_a_narrow_terminal_a_remark_stands_below_its_example():
    shown = on_terminal("find", "--help", columns=50)
    assert shown.status == 0 and "\n  savedump find /var/lib/app /srv/cores\n      in and below" in shown.text


def test_help_in_a_pipe_is_the_same_text():
    assert savedump("find", "--help", status=0).out.startswith("usage: python3 -m savedump_core find [options]")
