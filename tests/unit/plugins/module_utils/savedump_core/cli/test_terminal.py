# SPDX-License-Identifier: Apache-2.0
"""What a person sees: widths, colours, progress; and a pipe nothing of that."""

import json
import os
import re
import sys

import pytest

from support import elfwriter
from support.command import savedump
from support.terminal import on_terminal

PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20, padding=4096)


@pytest.fixture
def here(tmp_path):
    """A whole core, one that is cut, and an archive of the first, which lacks the program."""
    modules = [elfwriter.Mapped(b"/no/such/prog", 0x400000, PROGRAM[:4096])]
    core = elfwriter.process_core(modules=modules, pid=77).to_bytes()
    (tmp_path / "core.77").write_bytes(core)
    (tmp_path / "core.78").write_bytes(core[:-10])
    savedump("core.77", cwd=str(tmp_path), status=3)
    return str(tmp_path)


def test_colours_are_for_status_words(here):
    raw = on_terminal("find", here).raw
    assert "\x1b[31mNOT WHOLE\x1b[39m: it is cut" in raw
    assert re.findall(r"\x1b\[\d+m", raw) == ["\x1b[31m", "\x1b[39m"]
    assert "\x1b[31mmissing" in on_terminal("inspect", "core.77", cwd=here).raw
    raw = on_terminal("verify", "archive-core.77.tar.gz", cwd=here).raw
    assert "\x1b[32mintact\x1b[39m, \x1b[33mwith gaps\x1b[39m" in raw


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CLICOLOR": "0"}])
def test_no_colours_for_who_wants_none(here, variables):
    for words in (["find", "."], ["inspect", "core.77"], ["verify", "archive-core.77.tar.gz"]):
        assert "\x1b" not in on_terminal(*words, cwd=here, **variables).raw


def test_an_empty_no_color_is_none(here):
    assert "\x1b[31m" in on_terminal("find", here, NO_COLOR="", CLICOLOR="1").raw


def test_json_has_no_colours(here):
    shown = on_terminal("find", ".", "--json", cwd=here)
    assert "\x1b" not in shown.raw and len(json.loads(shown.raw)["dumps"]) == 2


def test_a_pipe_gets_no_colours_and_no_folds(here):
    out = savedump("find", ".", cwd=here, status=0).out
    assert "\x1b" not in out and len(out.splitlines()) == 2
    # Nor if a program says that it were a terminal.
    os.environ["CLICOLOR_FORCE"] = "1"
    try:
        done = savedump("inspect", "core.78", cwd=here)
    finally:
        del os.environ["CLICOLOR_FORCE"]
    assert "\x1b" not in done.out + done.error
    assert re.search(r"^whole      NO: it is cut: .* still being written$", done.out, re.MULTILINE)
    assert re.search(r"^missing    missing    %s  /no/such/prog$" % ("11" * 20), done.out, re.MULTILINE)


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize(
    "words",
    [["find", "."], ["inspect", "core.78"], ["verify", "archive-core.77.tar.gz"], ["core.none"], ["fnd"], ["notes"]],
)
def test_no_line_is_folded_within_a_word(here, columns, words):
    """Longer than the terminal is only what must stay whole: a path, a command, an example."""
    (open(os.path.join(here, "notes"), "w")).close()
    for line in on_terminal(*words, columns=columns, cwd=here, TERM="dumb").text.splitlines():
        whole = "/" in line or "python3 -m" in line or "gz" in line or re.match(r"(found|missing|-|process) ", line)
        assert len(line) <= columns or whole, line


def test_the_path_of_a_dump_stays_whole_on_the_narrowest_terminal(here):
    shown = on_terminal("find", here, columns=20)
    assert "    %s/core.77" % here in shown.text.splitlines()


def test_build_ids_are_whole_where_there_is_room(here):
    assert "11" * 20 in on_terminal("inspect", "core.77", cwd=here, columns=200).text
    narrow = on_terminal("inspect", "core.77", cwd=here, columns=70).text
    assert "missing missing 111111111111  /no/such/prog" in narrow


def test_the_sum_says_which_time_zone(here):
    shown = on_terminal("find", here, TZ="IST-5:30")
    assert "2 dumps, " in shown.text and "1 not whole; times are IST" in shown.text
    assert "times" not in savedump("find", here).error
    assert "times" not in on_terminal("find", "-q", here).text


def test_an_error_has_what_next_on_a_line_of_its_own(here):
    lines = on_terminal("core.none", cwd=here).text.splitlines()
    assert lines[-1] == "  to see which dumps are here: python3 -m savedump_core find"
    assert lines[0].startswith("savedump: No such file or directory:")
    assert len(savedump("core.none", cwd=here).error.splitlines()) == 1


@pytest.mark.parametrize(
    "words, said",
    [
        (["fnd"], "did you mean: python3 -m savedump_core find"),
        (["list"], "did you mean: python3 -m savedump_core find"),
        (["verfy", "x"], "did you mean: python3 -m savedump_core verify"),
        (["help"], "did you mean: python3 -m savedump_core --help"),
        (["-v", "find", "x"], "the verb comes first: python3 -m savedump_core find"),
        (["core"], "to see which dumps are here: python3 -m savedump_core find"),
        (["archive", "x", "--serch-path", "y"], "did you mean --search-path? see python3 -m savedump_core archive"),
    ],
)
def test_a_slip_leads_on(tmp_path, words, said):
    done = savedump(*words, cwd=str(tmp_path))
    assert done.status in (64, 66) and said in done.last


def test_without_an_argument_there_is_a_start(tmp_path):
    done = savedump(cwd=str(tmp_path))
    assert done.status == 64 and done.out == ""
    assert all(" %s" % verb in done.error for verb in ("find", "inspect", "open"))
    assert max(map(len, on_terminal(cwd=str(tmp_path)).text.splitlines())) <= 80


def test_what_one_command_fills_is_told_together(here):
    """A kernel lacks a hundred modules, of one package; a pipe and -v get every place that was tried."""
    gaps = []
    for number in range(1, 9):
        file = elfwriter.elf_file(build_id=bytes([number] * 20), padding=4096)
        gaps.append(elfwriter.Mapped(b"/no/such/lib%d.so" % number, 0x100000 * number, file[:4096]))
    elfwriter.process_core(modules=gaps, pid=80).write(os.path.join(here, "core.80"))
    words = ["core.80", "--dry-run"]
    piped = savedump(*words, cwd=here, status=3).error
    assert piped.count("to fill it:") == 8 and piped.count("build-id-tree") >= 16
    shown = on_terminal(*words, cwd=here).text
    assert shown.count("to fill it:") == 1 and "savedump: and 3 more like these (-v lists all)" in shown
    assert "absent from" in shown and "build-id-tree" not in shown
    assert on_terminal("archive", "-v", *words, cwd=here, columns=200).text.count("build-id-tree") >= 16
    shown = on_terminal("inspect", "core.80", cwd=here).text
    assert shown.count("absent from") == 8 and ".build-id/01/" not in shown


def test_a_locale_without_letters_of_ones_own(tmp_path):
    name = "core.ü"
    elfwriter.process_core(pid=77).write(os.path.join(str(tmp_path), name))
    for variables in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}):
        shown = on_terminal("find", ".", cwd=str(tmp_path), **variables)
        assert shown.status == 0 and "1 dump, " in shown.text and "Traceback" not in shown.text
        assert ("./" + name in shown.text) == (variables["LC_ALL"] == "C.UTF-8"), shown.text


# What takes its time, seen from outside: each read of the archive is slow.
_SLOW = """
import os, sys, time
from savedump_core import check
from savedump_core.__main__ import main
read = check.HashedFile.read
def slow(self, size):
    time.sleep(0.15)
    return read(self, min(size, 1 << 16))
check.HashedFile.read = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def large(tmp_path):
    modules = [elfwriter.Mapped(b"/bin/prog", 0x400000, PROGRAM[:4096])]
    core = elfwriter.process_core(modules=modules, pid=77).to_bytes() + os.urandom(200000)
    (tmp_path / "core.77").write_bytes(core)
    savedump("archive", "core.77", "--format", "tar", cwd=str(tmp_path))
    return str(tmp_path)


def test_long_work_shows_progress_and_leaves_none(large):
    slow = [sys.executable, "-c", _SLOW]
    shown = on_terminal("verify", "archive-core.77.tar", program=slow, cwd=large, columns=100)
    bars = re.findall(r"\rverifying archive-core.77.tar: .*?\x1b\[K", shown.raw)
    assert bars and re.search(r" \d+ %, .*/s, \d+ s left", bars[0])
    assert [line for line in shown.screen if "verifying" in line] == []
    assert any("archive-core.77.tar: intact" in line for line in shown.screen)


@pytest.mark.parametrize("words, variables", [(["-q"], {}), ([], {"TERM": "dumb"})])
def test_no_progress_for_who_wants_none(large, words, variables):
    slow = [sys.executable, "-c", _SLOW]
    shown = on_terminal("verify", *words, "archive-core.77.tar", program=slow, cwd=large, **variables)
    assert "intact" in shown.raw and "verifying" not in shown.raw


def test_an_interrupt_leaves_a_clean_line(large):
    slow = [sys.executable, "-c", _SLOW]
    keys = ("verifying", b"\x03")
    shown = on_terminal("verify", "archive-core.77.tar", program=slow, cwd=large, columns=40, keys=keys)
    assert shown.status == 130 and shown.screen[-2] == "savedump: interrupted"
    assert [line for line in shown.screen if "verifying" in line] == []
    assert all(len(bar) < 40 for bar in re.findall(r"\r(verifying .*?)\x1b\[K", shown.raw))


def test_waiting_is_told_and_wiped():
    """The seconds of what nobody can foresee, until somebody else has something to say."""
    script = (
        "import sys, time; from savedump_core.cli import progress, say\n"
        "with progress.Waiting('looking...', False) as waiting:\n"
        "    time.sleep(3)\n"
        "    waiting.wipe()\n"
        "    say.out('found one')\n"
    )
    shown = on_terminal(program=[sys.executable, "-c", script])
    assert "\rlooking... 2 s\x1b[K" in shown.raw
    assert shown.screen == ["found one", ""]
