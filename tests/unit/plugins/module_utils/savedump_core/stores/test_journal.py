# SPDX-License-Identifier: Apache-2.0
"""How journalctl is asked, by one that is played; real journals are in tests/integration/test_stores.py."""

import json
import os

import pytest

from savedump_core.stores import _journal
from savedump_core.sysroot import Sysroot

ENTRY = {"COREDUMP_PID": "77", "COREDUMP_ENVIRON": "SECRET=hunter2", "COREDUMP": None, "MESSAGE": "x"}
OLD = 'for word; do case $word in --output-fields=*) echo "unrecognized option" >&2; exit 1;; esac; done\n'


@pytest.fixture
def played(tmp_path, monkeypatch):
    """journalctl, of which this is the script; returns the crashes, and how often it ran."""

    def play(script, entry=ENTRY):
        (tmp_path / "printed").write_text(json.dumps(entry) + "\n")
        os.makedirs(str(tmp_path / "var/log/journal"))
        program = tmp_path / "bin/journalctl"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\ncd %s; echo >> runs\n%s" % (tmp_path, script))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", "%s:%s" % (program.parent, os.environ["PATH"]))
        found = list(_journal.crashes(Sysroot(str(tmp_path))))
        return found, len((tmp_path / "runs").read_text().splitlines())

    return play


def test_journalctl_that_is_told_which_fields(played):
    assert played("cat printed") == ([{"PID": "77", "INSIDE": "1"}], 1)


def test_journalctl_that_cannot_be_told_which_fields(played):
    """systemd before 236: it prints all, of which no more is kept."""
    assert played(OLD + "cat printed") == ([{"PID": "77", "INSIDE": "1"}], 2)


def test_line_with_all_fields_is_not_too_long(played):
    """No field has 4096 bytes; those that are no UTF-8 are lists of numbers."""
    many = {"COREDUMP_PROC_%d" % index: [255] * 4095 for index in range(8)}
    assert played(OLD + "cat printed", dict(ENTRY, **many))[0] == [{"PID": "77", "INSIDE": "1"}]


@pytest.mark.parametrize("script, runs", [("exit 1", 2), ("exit 0", 1), ("cat printed; exit 1", 1)])
def test_it_is_asked_again_only_if_it_failed_without_a_word(played, script, runs):
    assert played(script)[1] == runs


def test_it_is_not_waited_for_when_the_time_is_over(played, monkeypatch):
    monkeypatch.setattr(_journal, "TIMEOUT_S", 0.2)
    assert played("exec sleep 60") == ([], 1)
