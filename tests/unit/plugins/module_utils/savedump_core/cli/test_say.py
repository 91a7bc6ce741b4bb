# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a long step, and when."""

import io
import sys

import pytest

from savedump_core.cli import progress, say, summary


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_words_of_a_step_come_before_its_work(capsys):
    with progress.Work("compressing archive...", sys.stdout, quiet=False) as work:
        work.update(0)
        assert capsys.readouterr().out == "compressing archive..."
        work.update(1 << 20)
    assert capsys.readouterr().out == "done\n"


def test_an_error_starts_on_a_line_of_its_own():
    out = io.StringIO()
    with pytest.raises(OSError, match="no room"), progress.Work("compressing archive...", out, quiet=False) as work:
        work.update(0)
        raise OSError("no room")
    assert out.getvalue() == "compressing archive...\n"


def test_a_step_that_never_began_says_nothing():
    out = io.StringIO()
    with progress.Work("compressing archive...", out, quiet=False):
        pass
    assert out.getvalue() == ""


def test_progress_leaves_whole_words_behind_on_a_terminal(monkeypatch):
    """The bar is drawn over the words, and taken away again."""
    screen, now = Terminal(), [100.0]
    monkeypatch.setattr(progress.sys, "stderr", screen)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    with progress.Work("compressing archive...", screen, quiet=False) as work:
        work.total = 4 << 20
        work.update(0)
        now[0] += 2
        work.update(1 << 20)
    assert screen.getvalue() == (
        "compressing archive..."
        "\rcompressing archive... 1.0 MiB  25 %, 512.0 KiB/s, 6 s left\x1b[K"
        "\r\x1b[Kcompressing archive...done\n"
    )


def test_the_summary_is_folded_where_it_can_be_copied():
    """A path and a command stay whole, what is about them stands below."""
    path = "/srv/" + "x" * 50 + "/core"
    dump = {
        "path": path, "what": "/opt/report/bin/report, SIGSEGV, pid 31", "size": 1, "mtime_ns": 10**9,
        "in_progress": False, "truncated": None,
    }  # fmt: skip
    each = {
        "status": "complete", "dumps": [dump], "archives": [], "errors": [], "left_out": 0, "left": [], "removed": [],
        "kept": [], "changed": False, "looked": [], "wire_bytes": 0, "saved_bytes": 0,
    }  # fmt: skip
    nothing = dict(each, status="no-dumps", dumps=[], looked=[{"store": "given", "where": path, "outcome": "no dump"}])
    folded = summary.lines({"web1": each, "web2": nothing}, hint="-e '%s'" % path, width=60)
    assert folded[1:3] == ["      " + path, "        (/opt/report/bin/report, SIGSEGV, pid 31, 1 bytes,"]
    assert "      looked in %s:" % path in folded and "        no dump" in folded
    assert folded[-2:] == ["To look in another folder:", "  -e '%s'" % path]
    assert any("(/opt/report/bin/report" in line and path in line for line in summary.lines({"web1": each}))


def test_loud_words_of_the_summary_have_their_colours():
    assert summary.painted("web1  FAILED: no") == ["web1  ", say.Mark("FAILED", "red"), ": no"]
    assert summary.painted("/srv/UNFAILED") == ["/srv/UNFAILED"]


@pytest.mark.parametrize("seconds", [99999999999999999, 10**20, -(10**20)])
def test_a_year_that_no_calendar_has(seconds):
    assert say.local_time(seconds) == "????-??-?? ??:??"
    assert say.utc(seconds) == "????-??-?? ??:??:?? UTC"
