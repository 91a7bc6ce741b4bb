# SPDX-License-Identifier: Apache-2.0
"""What all verbs share: usage errors, help, the program's name, and signals."""

import os
import signal
import subprocess
import sys

import pytest

from savedump_core import __main__
from savedump_core.cli import say
from support.command import environment, savedump


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["core", "--frob"], "unrecognized arguments: --frob; see python3 -m savedump_core archive --help"),
        (["verify", "x", "--frob"], "unrecognized arguments: --frob; see python3 -m savedump_core verify --help"),
        (
            ["find", "--json=x"],
            "argument --json: ignored explicit argument 'x'; see python3 -m savedump_core find --help",
        ),
    ],
)
def test_usage_error_is_one_line_that_names_the_verbs_help(arguments, words):
    assert savedump(*arguments) == (64, "", "savedump: %s\n" % words)


@pytest.mark.parametrize("verb", __main__.VERBS)
def test_help_is_whole_sentences(verb):
    done = savedump(verb, "--help")
    assert done.status == 0 and done.out.startswith("usage: python3 -m savedump_core %s " % verb)
    assert "?." not in done.out


@pytest.mark.parametrize(
    "called, name",
    [
        ("/usr/lib/python3/savedump_core/__main__.py", "python3 -m savedump_core"),
        ("/usr/local/bin/savedump", "savedump"),
        ("./savedump.pyz", "python3 ./savedump.pyz"),
    ],
)
def test_program_is_named_as_it_was_called(called, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [called])
    assert say.program() == name


@pytest.mark.parametrize("number, words", [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_signal_is_one_line_and_its_status(number, words):
    """A verb that says when it began, and then takes long."""
    reader, writer = os.pipe()
    script = (
        "import os, sys\nfrom savedump_core import __main__\nfrom savedump_core.cli import find\n"
        "def wait(args):\n    os.write(%d, b'x')\n    import time\n    time.sleep(60)\n"
        "find.run = wait\nsys.exit(__main__.main(['find']))\n" % writer
    )
    running = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, env=environment(), pass_fds=[writer]
    )
    os.read(reader, 1)
    running.send_signal(number)
    _out, error = running.communicate()
    os.close(reader)
    os.close(writer)
    assert (running.returncode, error.decode()) == (128 + number, "savedump: %s\n" % words)
