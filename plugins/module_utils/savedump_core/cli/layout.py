# SPDX-License-Identifier: Apache-2.0
"""How `--help` is laid out, and the words for a command line that means nothing."""

import argparse
import re
import shutil
import textwrap
from typing import Any, List

from ..errors import UsageError


class Formatter(argparse.HelpFormatter):
    """Paragraphs are filled, but for the examples, one to a line: a remark that has no room beside its example stands
    below it."""

    def __init__(self, prog: str) -> None:
        # As argparse does from Python 3.8 on.
        super().__init__(prog, width=shutil.get_terminal_size().columns - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled = []
        for paragraph in text.split("\n\n"):
            heading, _newline, rest = paragraph.partition("\n")
            if heading == "examples:":
                filled.append("\n".join([heading] + [example(line, width) for line in rest.splitlines()]))
            else:
                filled.append(_filled(" ".join(paragraph.split()), width))
        return "\n\n".join(filled)


def _filled(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def example(line: str, width: int) -> str:
    """`  COMMAND    remark`, on two lines if there is no room for both."""
    command, gap, remark = re.match(r"(\s*.*?)(?:(\s{2,})(\S.*))?\Z", line).groups()  # type: ignore[union-attr]  # always matches
    return line if not gap or len(line) <= width else "%s\n      %s" % (command, remark)


class Parser(argparse.ArgumentParser):
    """Says what is wrong instead of leaving; which verb's help to see is for main() to say."""

    def error(self, message: str) -> Any:
        hint = ""
        unknown = re.match(r"unrecognized arguments: (--[a-z-]+)", message)
        if unknown:
            import difflib  # here, for only mistakes need it

            parsers: List[argparse.ArgumentParser] = [self]
            for action in self._actions:
                if isinstance(action, argparse._SubParsersAction):
                    parsers.extend(action.choices.values())
            known = [word for one in parsers for action in one._actions for word in action.option_strings]
            hint = "".join(difflib.get_close_matches(unknown.group(1), known, 1, 0.7))
        raise UsageError(message, "did you mean %s?" % hint if hint else "")
