# SPDX-License-Identifier: Apache-2.0
"""The core through a pipe into a Python's memory."""

import os
import subprocess
import sys
import zipfile

import pytest
from savedump_core.elf import dwarf
from savedump_core.remote import boot


PYTHON = [sys.executable, "-I", "-B", "-c", boot.COMMAND]


def process(*before):
    return subprocess.Popen([*before, *PYTHON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")


def test_code_comes_by_the_pipe_and_from_nowhere_else(tmp_path):
    trace = str(tmp_path / "trace")
    started = process("strace", "-f", "-qq", "-e", "trace=openat,open,mkdir,unlink,rename", "-o", trace)
    output, _nothing = started.communicate(boot.payload(sys.version_info[:2]))
    assert started.returncode == 0 and boot.READY.match(output[1:]) and output[:1] == b"\n"
    trace = (tmp_path / "trace").read_text()
    assert "savedump_core" not in trace and "elftools" not in trace
    written = [line for line in trace.splitlines() if "O_WRONLY" in line or "O_RDWR" in line or "O_CREAT" in line]
    assert [line for line in written if "/dev/null" not in line] == []


def test_no_quote_that_a_shell_would_take():
    assert "'" not in boot.COMMAND and "\\" not in boot.COMMAND


def test_words_before_it_without_an_end_of_line():
    """A title for the terminal, which many a .bashrc sets for shells that have none."""
    started = process("sh", "-c", r'printf "\033]0;me@here\007"; exec "$@"', "sh")
    output, _nothing = started.communicate(boot.payload(sys.version_info[:2]))
    assert started.returncode == 0 and boot.READY.search(output), output


def test_payload_that_ends_early_ends_the_process():
    started = process()
    started.communicate(boot.payload((3, 11))[:1000])
    assert started.returncode == 74


def test_pyelftools_goes_along_only_where_it_runs(monkeypatch):
    if dwarf.version() is None:
        pytest.fail("the tests' environment has pyelftools")
    monkeypatch.setattr(dwarf, "version", lambda: "0.33")
    new, old = boot.payload((3, 10)), boot.payload((3, 9))
    monkeypatch.setattr(dwarf, "version", lambda: "0.32")
    assert len(old) < len(new) == len(boot.payload((3, 6)))
    monkeypatch.setattr(dwarf, "folder", lambda: None)
    assert boot.payload((3, 13)) == old


def test_what_only_the_near_end_needs_stays_here():
    names = [name for name, _text in boot._package(boot._own_folder())]
    assert ".serve" in names and ".elf.__init__" in names and ".__init__" in names
    assert [name for name in names if name.startswith((".cli", ".remote", ".__main__"))] == []


def test_sources_are_found_in_a_zip_file(tmp_path):
    folder = boot._own_folder()
    with zipfile.ZipFile(str(tmp_path / "a.pyz"), "w") as archive:
        for where, _folders, files in os.walk(folder):
            for name in files:
                path = os.path.join(where, name)
                archive.write(path, "deep/savedump_core/" + os.path.relpath(path, folder))
    found = dict(boot._package(str(tmp_path / "a.pyz" / "deep" / "savedump_core")))
    assert found == dict(boot._package(folder))
