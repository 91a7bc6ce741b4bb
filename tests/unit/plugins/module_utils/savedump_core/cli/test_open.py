# SPDX-License-Identifier: Apache-2.0
"""`savedump open`: refused before anything is unpacked, started, and started once more."""

import os

from support import elfwriter
from support.archives import Archive
from support.command import savedump

LAUNCHER = b'#!/bin/sh\necho started "$@"\nexit 69\n'


def archive(folder):
    made = Archive()
    made.file("run-gdb.sh", LAUNCHER, 0o700, role="launcher")
    made.file("run-crash.sh", LAUNCHER.replace(b"started", b"crash"), 0o700, role="launcher")
    made.write(folder)


def test_wrong_debugger_is_refused_before_anything_is_unpacked(tmp_path):
    archive(tmp_path)
    for more in ([], ["--unpack-only"]):
        done = savedump("open", "archive.tar", "--with", "dbx", *more, cwd=str(tmp_path))
        assert done == (64, "", "savedump: this archive has no launcher for dbx; it has gdb, crash\n")
    assert os.listdir(str(tmp_path)) == ["archive.tar"]


def test_the_second_time_it_is_unpacked_already(tmp_path):
    """Also after the launcher found no debugger: that one can be installed."""
    archive(tmp_path)
    first = savedump("open", "archive.tar", "--", "-batch", cwd=str(tmp_path))
    assert first == (69, "started -batch\n", "savedump: unpacked to ./archive-core.1\n")
    second = savedump("open", "archive.tar", "--with", "crash", cwd=str(tmp_path))
    assert second == (69, "crash\n", "savedump: unpacked already: ./archive-core.1\n")
    third = savedump("open", "archive.tar", "--unpack-only", cwd=str(tmp_path))
    assert third == (0, "./archive-core.1\n", "savedump: unpacked already: ./archive-core.1\n")


def test_options_may_stand_before_the_two_dashes(tmp_path):
    archive(tmp_path)
    done = savedump("open", "archive.tar", "--with", "crash", "--into", ".", "--", "-s", "--", "x", cwd=str(tmp_path))
    assert (done.status, done.out) == (69, "crash -s -- x\n")


def test_another_folder_in_the_way(tmp_path):
    archive(tmp_path)
    (tmp_path / "archive-core.1").mkdir()
    done = savedump("open", "archive.tar", cwd=str(tmp_path))
    assert done.status == 73 and "--into DIR" in done.last


def test_archive_without_a_launcher(tmp_path):
    Archive().write(tmp_path)
    done = savedump("open", "archive.tar", cwd=str(tmp_path))
    assert done.status == 69 and "--unpack-only" in done.last


def test_arguments_of_the_debugger_come_after_two_dashes(tmp_path):
    done = savedump("open", "archive.tar", "-batch", cwd=str(tmp_path))
    assert done.status == 64
    assert done.error == (
        "savedump: unrecognized arguments: -batch; the debugger's arguments come after --; "
        "see python3 -m savedump_core open --help\n"
    )


def test_dump_in_place_of_an_archive(tmp_path):
    elfwriter.process_core(pid=77).write(str(tmp_path / "core.77"))
    for verb in ("open", "verify"):
        done = savedump(verb, "core.77", cwd=str(tmp_path))
        assert done.status == 65 and done.out == ""
        assert done.last == (
            "savedump: core.77 is no archive of savedump's but a dump; "
            "make one of it first: python3 -m savedump_core archive core.77"
        )
    (tmp_path / "text").write_text("hello")
    done = savedump("open", "text", cwd=str(tmp_path))
    assert done.status == 65 and "but a dump" not in done.last
