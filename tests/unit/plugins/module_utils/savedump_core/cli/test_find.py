# SPDX-License-Identifier: Apache-2.0
"""The words of `savedump find`, and its exit status."""

import json
import os

import pytest

from savedump_core.cli import find
from support import elfwriter, kdumpwriter, stores
from support.command import savedump
from support.terminal import on_terminal


@pytest.fixture
def here(tmp_path):
    elfwriter.process_core(pid=77).write(str(tmp_path / "core.77"))
    (tmp_path / "empty").mkdir()
    return str(tmp_path)


def test_path_that_is_not_there_does_not_hide_the_others(here):
    done = savedump("find", "none", "core.77", cwd=here)
    assert done.status == 66 and "core.77" in done.out
    assert done.error == "savedump: No such file or directory: %s/none\n" % here


def test_path_that_is_not_there_in_json(here):
    done = savedump("find", "core.77", "none", "--json", cwd=here)
    assert done.status == 66 and len(json.loads(done.out)["dumps"]) == 1 and "none" in done.error


def test_no_dump_says_where_it_looked_and_what_next(here):
    done = savedump("find", "empty", cwd=here)
    assert done.status == 0 and done.out == ""
    assert done.error.splitlines() == [
        "no dump found; looked in:",
        "  empty (given): no dump",
        "to look where this host puts its dumps: python3 -m savedump_core find",
    ]


@pytest.fixture
def host(tmp_path):
    """A root with three cores, one of them cut, and rules that delete them."""
    stores.put(tmp_path, "/proc/sys/kernel/core_pattern", "|/usr/lib/systemd/systemd-coredump %P")
    stores.put(tmp_path, "/etc/passwd", "root:x:0:0\nshop:x:1000:1000\n")
    stores.put(tmp_path, "/usr/bin/systemd-tmpfiles")
    stores.put(tmp_path, "/usr/lib/tmpfiles.d/systemd.conf", "d /var/lib/systemd/coredump 0755 root root 2w\n")
    core = elfwriter.process_core(pid=77, comm=b"a\x1b[2Jb\n", uid=1000).to_bytes()
    stores.systemd(tmp_path, stores.zstd(core), pid=1, seconds=stores.SECONDS)
    stores.systemd(tmp_path, core[:-10], pid=2, suffix="", seconds=stores.SECONDS)
    stores.abrt(tmp_path, elfwriter.process_core(signal=6).to_bytes())
    stores.abrt(tmp_path, None, name="oops-1", type="Kerneloops")
    return str(tmp_path)


def test_one_line_for_each_dump_where_no_person_reads(host):
    lines = savedump("find", "--host-root", host, status=0).out.splitlines()
    assert len(lines) == 4
    assert [line.split()[4] for line in lines[:3]].count("SIGSEGV") == 2 and all("/core" in line for line in lines[:3])
    assert sum("(NOT WHOLE)" in line for line in lines) == 1 and sum(" shop " in line for line in lines) == 2
    assert "Kerneloops" in lines[3] and lines[3].endswith("no dump")


@pytest.mark.parametrize("columns", [80, 132, 20])
def test_terminal(host, columns):
    shown = on_terminal("find", "--host-root", host, columns=columns, NO_COLOR="1").raw
    assert "\x1b" not in shown
    lines = shown.splitlines()
    # Names of a crash handler are longer than any terminal, and are never cut; the rest fits.
    assert [line for line in lines if len(line) > max(columns, 60) and "/var/" not in line] == []
    assert sum(line.startswith("    " + host) for line in lines) == 3 + 1
    assert sum(line.startswith("no dump: a problem of type Kerneloops") for line in lines) == 1
    assert "(shop)" in shown and "NOT WHOLE: it is cut" in shown and "gone in 13 days: " in shown.replace("14", "13")


def test_dump_that_is_being_written_is_said_to_be_once(tmp_path):
    dump = kdumpwriter.kdump(kdumpwriter.Kdump(memory={0: bytes(4096)})).to_bytes()
    at = stores.put(tmp_path, "/var/crash/1/vmcore-incomplete", dump[:9000])
    shown = on_terminal("find", "--host-root", str(tmp_path)).text
    assert "BEING WRITTEN: a crash kernel calls it vmcore-incomplete" in shown and at in shown
    assert "it is being written" not in shown


def test_files_that_could_not_be_read_are_not_passed_over_without_a_word(tmp_path):
    for name, content in (("core.1", elfwriter.process_core(pid=1).to_bytes()), ("core.zst", b"\x28\xb5\x2f\xfdno")):
        stores.put(tmp_path, name, content)
    done = savedump("find", str(tmp_path), status=0)
    assert len(done.out.splitlines()) == 1
    assert done.error.startswith("a file that may be a dump could not be read: ") and "find -v says why" in done.error
    done = savedump("find", "-v", str(tmp_path), status=0)
    assert "core.zst" in done.error and "may be a dump" not in done.error


def test_filters(host):
    done = savedump("find", "--host-root", host, "--signal", "abrt", "--kind", "core", status=0)
    assert len(done.out.splitlines()) == 1 and "ccpp-" in done.out
    assert done.error == "2 more dumps are here that are not asked for\n"
    done = savedump("find", "--host-root", host, "--older-than", "1w", "--max-size", "10T", "--json", status=0)
    document = json.loads(done.out)
    assert len(document["dumps"]) == 3 and document["left_out"] == 0 and len(document["logs"]) == 1
    done = savedump("find", "--host-root", host, "--executable", "nothing*", status=0)
    assert done.out == "" and "3 more dumps" in done.error


def test_time_that_no_calendar_has(tmp_path):
    """As names and small files tell it: of 20 digits, as many as a number of 64 bits has."""
    far = "9" * 20
    stores.put(tmp_path, "/proc/sys/kernel/core_pattern", "/cores/core.%p.%t")
    core = elfwriter.process_core(pid=77).to_bytes()
    paths = [stores.put(tmp_path, "/cores/core.1." + far, core), stores.abrt(tmp_path, core, time=far)]
    paths.append(stores.composed(tmp_path, core, seconds=int(far)))
    out = savedump("find", "--host-root", str(tmp_path), status=0).out
    assert len(out.splitlines()) == 3 and all(path in out for path in paths)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--newer-than", "yesterday"], "'yesterday' is neither an age nor a date; write it as 2h"),
        (["--min-size", "big"], "'big' is no size"),
        (["--signal", "!"], "'!' is no signal"),
    ],
)
def test_words_that_mean_nothing(words, said):
    done = savedump("find", *words)
    assert done.status == 64 and said in done.error


def test_documents_without_and_with_one_dump(host, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    document = json.loads(savedump("find", str(empty), "--json", status=0).out)
    assert document["dumps"] == [] and document["looked"][0]["where"] == str(empty)
    document = json.loads(savedump("find", "--host-root", host, "--signal", "6", "--json", status=0).out)
    assert [entry["expires"]["at"] for entry in document["dumps"]] == [None]


def test_names_that_are_no_utf_8(tmp_path):
    at = os.fsencode(str(tmp_path)) + b"/core.\xff\n"
    os.rename(elfwriter.process_core().write(str(tmp_path / "core")), at)
    document = json.loads(savedump("find", str(tmp_path), "--json", status=0).out)
    assert os.fsencode(document["dumps"][0]["path"]) == at
    assert "core.\\xff\\x0a" in savedump("find", str(tmp_path), status=0).out


@pytest.mark.parametrize(
    "left, words",
    [(-5, "any time"), (30, "in 0 min"), (3600, "in 60 min"), (86400, "in 24 hours"), (9 * 86400, "in 9 days")],
)
def test_how_long_it_stays(left, words):
    assert find._in_words((1000 + left) * 10**9, now=1000) == words


def test_what_would_be_looked_for_in_the_wrong_place_or_would_match_nothing(host):
    done = savedump("find", "--host-root", host, "/var/crash", status=64)
    assert "/var/crash is not in --host-root" in done.error and host + "/var/crash" in done.error
    assert savedump("find", "--host-root", host, host, status=0).out
    done = savedump("find", "--host-root", host, "--kind", "vmcore", status=64)
    assert "no dump is of kind vmcore; there are userland, kernel, core, vmcore-elf" in done.error
