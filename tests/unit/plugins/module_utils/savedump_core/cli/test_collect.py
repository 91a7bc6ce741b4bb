# SPDX-License-Identifier: Apache-2.0
"""`savedump collect`: its words and exit status where no host is needed; with hosts: tests/integration."""

import json
import socket
import subprocess
import sys

import pytest

from support.command import environment, savedump


@pytest.fixture
def nobody(tmp_path):
    """A port of the loopback that nobody listens to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield "127.0.0.1:%d" % taken.getsockname()[1]


@pytest.mark.parametrize(
    "words, said",
    [
        ((), "HOST"),
        (("-x", "web1"), "-x"),
        (("web1", "--newer-than", "yesterday"), "yesterday"),
        (("web1", "--parallel", "0"), "--parallel"),
    ],
)
def test_usage(words, said):
    done = savedump("collect", *words, status=64)
    assert said in done.last


def test_without_paramiko(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "paramiko.py").write_text("raise ImportError('not on this host')")
    done = savedump("collect", "web1", status=69)
    assert "not on this host" in done.last and "pip install paramiko" in done.last


def test_no_terminal_no_password():
    pytest.importorskip("paramiko", reason="paramiko is for the control host only")
    done = savedump("collect", "web1", "-K", status=64, start_new_session=True)
    assert "no terminal to ask for the sudo password on" in done.last


def test_nobody_there(nobody, tmp_path):
    pytest.importorskip("paramiko", reason="paramiko is for the control host only")
    done = savedump("collect", nobody, "-F", "none", "-b", status=75, cwd=str(tmp_path))
    assert "127.0.0.1  NOT REACHED: cannot reach 127.0.0.1 port" in done.out
    assert "127.0.0.1: FAILED: cannot reach" in done.error
    assert "1 of 1 host not reached." in done.out
    assert list(tmp_path.iterdir()) == []
    done = savedump("collect", nobody, "-F", "none", "-b", "--json", "-q", status=75, cwd=str(tmp_path))
    assert done.error == ""
    (outcome,) = json.loads(done.out)["hosts"].values()
    assert outcome["status"] == "unreachable" and outcome["archives"] == []


@pytest.mark.parametrize("stdout, stderr", [("/dev/null", "/dev/full"), ("/dev/full", "/dev/null")])
def test_what_cannot_be_said_costs_nothing_that_came(nobody, tmp_path, stdout, stderr):
    """A terminal that is gone, a log on a full disk: the summary is written all the same."""
    pytest.importorskip("paramiko", reason="paramiko is for the control host only")
    (tmp_path / "collected").mkdir()
    with open(stdout, "w") as out, open(stderr, "w") as err:
        words = [sys.executable, "-m", "savedump_core", "collect", nobody, "-F", "none", "-b"]
        subprocess.call(words, cwd=str(tmp_path), env=environment(), stdout=out, stderr=err)
    (outcome,) = json.loads((tmp_path / "collected/summary.json").read_text())["hosts"].values()
    assert outcome["status"] == "unreachable" and "cannot reach" in outcome["errors"][0]
