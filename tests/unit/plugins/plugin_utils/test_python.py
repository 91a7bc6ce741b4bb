# SPDX-License-Identifier: Apache-2.0
"""The sh line that asks a target for its Pythons, run by a real sh over real and crippled interpreters."""

import subprocess
import sys

import pytest
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _python

VERSION = tuple(sys.version_info[:3])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "bin with spaces"
    folder.mkdir()
    return folder


def put(folder, name, script):
    path = folder / name
    path.write_text("#!/bin/sh\n" + script + "\n")
    path.chmod(0o755)
    return str(path)


def whole(folder, name):
    return put(folder, name, 'exec "%s" "$@"' % sys.executable)


def lacking(folder, name):
    """As Debian's python3-minimal: starts, and has no shutil."""
    return put(folder, name, 'exec "%s" -c "import sys; sys.modules[\'shutil\'] = None; $2"' % sys.executable)


def old(folder, name, version="3.5.3"):
    """Says that it is another version; the rest is what _python._ASK prints."""
    return put(folder, name, 'printf "%s complete"; exit 1' % version)


def broken(folder, name):
    return put(folder, name, "echo 'pyenv: %s: command not found' >&2; exit 127" % name)


def ask(folder, *names):
    done = subprocess.run(
        ["/bin/sh", "-c", _python.question(names)],
        env={"PATH": str(folder), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return _python.answer(done.stdout)


def test_a_whole_python(folder):
    (found,) = ask(folder, "python3.99", whole(folder, "python3"))
    assert (found.executable, found.version, found.complete) == (str(folder / "python3"), VERSION, True)
    assert found.runs_core and found.runs_modules


def test_the_search_ends_at_the_first_that_suits_ansible(folder):
    whole(folder, "python3.11"), whole(folder, "python3.10")
    assert [found.name for found in ask(folder, "python3.12", "python3.11", "python3.10")] == ["python3.11"]


def test_a_python_without_its_library_is_seen_as_that(folder):
    lacking(folder, "python3"), whole(folder, "python3.9")
    first, second = ask(folder, "python3", "python3.9")
    assert (first.version, first.complete, first.runs_core) == (VERSION, False, False)
    assert second.runs_core


def test_an_old_python_does_not_end_the_search(folder):
    old(folder, "python3"), whole(folder, "other")
    first, second = ask(folder, "python3", "other")
    assert (first.version, first.runs_core, first.runs_modules) == ((3, 5, 3), False, False)
    assert second.name == "other"


def test_one_that_does_not_start(folder):
    broken(folder, "python3"), whole(folder, "other")
    first, second = ask(folder, "python3", "other")
    assert first.version == (0, 0, 0) and not first.runs_core
    assert second.runs_core


def test_none(folder):
    assert ask(folder, "python3", "/no/such/python") == []


def test_home(folder):
    whole(folder, "mine")
    assert [found.executable for found in ask(folder, "~/mine")] == [str(folder / "mine")]


@pytest.mark.parametrize("name", ["$(touch pwned)", "`id`", "a;b", "'"])
def test_a_name_is_no_command(folder, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ask(folder, name) == []
    assert not (tmp_path / "pwned").exists()


def test_noise_around_the_answer():
    text = "Welcome to web1\r\nsavedump-python 3.6.8 complete|python3|/usr/bin/python3\r\nlast login: never\r\n"
    (found,) = _python.answer(text)
    assert found == _python.Python("/usr/bin/python3", (3, 6, 8), True, "python3")
    assert found.words == "Python 3.6.8 at /usr/bin/python3"


def test_floors():
    assert _python.CORE_FLOOR == (3, 6) <= _python.ANSIBLE_FLOOR
