# SPDX-License-Identifier: Apache-2.0
"""./collect-dumps before ansible-playbook: what it refuses, and what it hands on."""

import os
import subprocess
import sys

import pytest

from support import checkout

# ansible-playbook in the virtual environment, as far as collect-dumps knows it.
PLAYBOOK = """#!/bin/sh
[ "$*" != --help ] || { echo "  -l SUBSET, --limit SUBSET"; echo "  -e X, --extra-vars X"; exit; }
echo "ran" "$@"
"""


@pytest.fixture
def collect(tmp_path):
    """collect(argument, ..., VARIABLE=value): ./collect-dumps in an environment that is made already."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / "bin/ansible-playbook").write_text(PLAYBOOK)
    (venv / "bin/ansible-playbook").chmod(0o755)
    environment = dict(os.environ, SAVEDUMP_VENV=str(venv))
    environment.pop("PYTHON", None)
    stamp = 'checkout=$1; . "$checkout/tools/bootstrap.sh"; choose_venv; _stamp run >"$venv/stamp-run"'
    subprocess.check_call(["sh", "-euc", stamp, "sh", str(checkout.CHECKOUT)], env=environment)

    def run(*arguments, **variables):
        result = checkout.run("./collect-dumps", *arguments, env=dict(environment, **variables))
        return result.returncode, result.stdout

    return run


def test_options_of_ansible_playbook_are_handed_on(collect):
    words = ["--limit=web", "-e", "x=1", "--extra-vars", "a b --c", "--extra", "y=2"]
    status, said = collect(*words)
    assert status == 0 and said == "ran %s/collect-dumps.yml %s\n" % (checkout.CHECKOUT, " ".join(words))


@pytest.mark.parametrize("option", ["--dmeo", "--hlep=x"])
def test_option_that_nobody_knows(collect, option):
    status, said = collect("--limit", "web", option)
    assert status == 64 and said == (
        "savedump: neither collect-dumps nor ansible-playbook has an option %s; see ./collect-dumps --help\n" % option
    )


@pytest.mark.parametrize("python", ["/nope", "no-such-python", "false"])
def test_python_that_was_named_is_the_one_or_none(collect, python):
    status, said = collect(PYTHON=python)
    assert status == 69 and said.startswith("savedump: PYTHON is %s, which does not run" % python)


def test_python_that_was_named_and_runs(collect):
    assert collect(PYTHON=sys.executable)[0] == 0


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_that_is_not_its_own_is_not_emptied(collect, tmp_path, kind):
    other, venv = tmp_path / "other", tmp_path / "mine"
    other.mkdir()
    (other / ("pyvenv.cfg" if kind == "link" else "file")).touch()
    venv.symlink_to(other) if kind == "link" else other.rename(venv)
    kept = [path.name for path in venv.iterdir()]
    status, said = collect(SAVEDUMP_VENV=str(venv))
    assert status == 73 and str(venv) in said and "SAVEDUMP_VENV" in said
    assert [path.name for path in venv.iterdir()] == kept
