# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a long step, and when."""

import io
import sys

import pytest

from savedump_core.cli import say


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_words_of_a_step_come_before_its_work(capsys):
    with say.Work("compressing archive...", sys.stdout, quiet=False) as work:
        work.update(0)
        assert capsys.readouterr().out == "compressing archive..."
        work.update(1 << 20)
    assert capsys.readouterr().out == "done\n"


def test_an_error_starts_on_a_line_of_its_own():
    out = io.StringIO()
    with pytest.raises(OSError, match="no room"), say.Work("compressing archive...", out, quiet=False) as work:
        work.update(0)
        raise OSError("no room")
    assert out.getvalue() == "compressing archive...\n"


def test_a_step_that_never_began_says_nothing():
    out = io.StringIO()
    with say.Work("compressing archive...", out, quiet=False):
        pass
    assert out.getvalue() == ""


def test_progress_leaves_whole_words_behind_on_a_terminal(monkeypatch):
    """The bar is drawn over the words, and taken away again."""
    screen, now = Terminal(), [100.0]
    monkeypatch.setattr(say.sys, "stderr", screen)
    monkeypatch.setattr(say.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    with say.Work("compressing archive...", screen, quiet=False) as work:
        work.total = 4 << 20
        work.update(0)
        now[0] += 2
        work.update(1 << 20)
    assert screen.getvalue() == (
        "compressing archive..."
        "\rcompressing archive... 1.0 MiB  25 %, 512.0 KiB/s\x1b[K"
        "\r\x1b[Kcompressing archive...done\n"
    )
