# SPDX-License-Identifier: Apache-2.0
"""The command line that finds a Python, run by real shells."""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("paramiko", reason="paramiko is for the control host only")

from savedump_core.remote import login

# What any shell could stumble over.
PROGRAM = """
import sys
text = 'it\\'s "$HOME" `id` !! \\\\ é'
print(text, sys.flags.isolated)
"""
SAID = "it's \"$HOME\" `id` !! \\ \u00e9 1"


def run(command, shell="/bin/sh", path=os.environ["PATH"], **options):
    return subprocess.run(
        [shell, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        env=dict(os.environ, PATH=path, PYTHONIOENCODING="utf-8", PYTHONUTF8="1"), **options
    )  # fmt: skip


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "csh", "tcsh", "fish"])
def test_a_program_arrives_as_it_is(shell):
    if not shutil.which(shell):
        pytest.skip("no %s here" % shell)
    done = run(login.command(PROGRAM.replace("print(text, ", "sys.stdout.buffer.write(('%s %d' % (text, ").replace(
        "isolated)", "isolated)).encode('utf-8'))")), shutil.which(shell))  # fmt: skip
    assert (done.stdout.decode("utf-8"), done.returncode) == (SAID, 0), done.stderr


def test_the_first_whole_python_is_taken(tmp_path):
    """One that does not start and one that is too old are passed over. All but the first of the names are of this
    machine, and would do, too."""
    for name in ("sh", "python3"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3.9").symlink_to(sys.executable)
    pythons = login._PYTHONS
    try:
        login._PYTHONS = ("python3", "python3.12", "python3.9")
        done = run(login.command("import sys; print('ran')"), path=str(tmp_path))
        assert (done.stdout, done.returncode) == (b"ran\n", 0), done.stderr
        login._PYTHONS = ("python3", "python3.12")
        done = run(login.command("print('ran')"), path=str(tmp_path))
        assert (done.stdout, done.returncode) == (b"", 69) and login.NO_PYTHON in done.stderr.decode()
    finally:
        login._PYTHONS = pythons


def test_nothing_of_the_folder_is_imported(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('taken over')")
    done = run(login.command("import json; print(json.loads('1'))"), cwd=str(tmp_path))
    assert done.stdout == b"1\n", done.stderr


def test_sudo():
    assert login.command("pass", "root").startswith("sudo -n -H -u root -- /bin/sh -c ")
    assert login.command("pass", "root", "[ask] ").startswith("sudo -S -p '[ask] ' -H -u root -- /bin/sh -c ")
