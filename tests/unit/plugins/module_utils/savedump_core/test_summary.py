# SPDX-License-Identifier: Apache-2.0
"""Who collects without Ansible says what was done as Steps, and gets the same summary."""

import json
import os
import stat

import pytest

from savedump_core import summary
from savedump_core.cli.summary import lines
from savedump_core.summary import Steps

DUMP = {
    "path": "/var/crash/core.1", "stored_size": 9 << 20, "mtime_ns": 1700000000 * 10**9, "kind": "core",
    "complete": True, "identity": "0123456789abcdef",
    "process": {"executable": "/usr/sbin/httpd", "pid": 1, "signal": {"number": 11, "name": "SIGSEGV"}},
}  # fmt: skip
MADE = {
    "path": "/var/tmp/savedump/archive-core.1.tar.gz", "sha256": "ab" * 32, "size": 3 << 20, "planned_size": 9 << 20,
    "complete": True, "changed": True, "missing": [], "dump": DUMP,
}  # fmt: skip
HERE = "/home/me/collected/web1/archive-core.1.tar.gz"
CAME = {"path": HERE, "sha256": "ab" * 32, "size": 3 << 20, "changed": True}
STEPS = Steps(
    dumps=[DUMP],
    made=[MADE],
    not_archived=[],
    arrived={MADE["path"]: CAME},
    proofs={HERE: {"intact": True, "problems": []}},
)


def text(outcome, **options):
    return "\n".join(lines({"web1": outcome}, dest="/home/me/collected", here="/home/me", **options))


def test_what_came():
    outcome = summary.outcome(STEPS)
    assert (outcome["status"], outcome["wire_bytes"], outcome["saved_bytes"]) == ("complete", 3 << 20, 0)
    assert "Sent over the wire: 3.0 MiB." in text(outcome)


@pytest.mark.parametrize(
    "came, wire, saved",
    [
        ({"changed": False}, 0, 3 << 20),
        ({"wire_bytes": 1 << 20}, 1 << 20, 2 << 20),
        ({"wire_bytes": 4 << 20}, 4 << 20, 0),
        ({"wire_bytes": 5, "saved_bytes": 7}, 5, 7),
    ],
)
def test_bytes_on_the_wire_and_bytes_saved(came, wire, saved):
    outcome = summary.outcome(STEPS._replace(arrived={MADE["path"]: dict(CAME, **came)}))
    assert (outcome["wire_bytes"], outcome["saved_bytes"]) == (wire, saved)
    assert ("not sent, being here already" in text(outcome)) == bool(saved)


def test_what_is_still_being_written_is_left_and_said_once():
    late = dict(DUMP, path="/var/crash/core.2", in_progress=True)
    told = {"dump": "/var/crash/core.2", "why": "is still being written; archive it later", "failed": False}
    for left in ([], [told]):
        outcome = summary.outcome(STEPS._replace(dumps=[DUMP, late], not_archived=left))
        assert outcome["status"] == "gaps"
        assert outcome["left"] == ["/var/crash/core.2: is still being written; archive it later"]
        assert text(outcome).count("not archived: /var/crash/core.2") == 1
    only_found = summary.outcome(Steps(dumps=[late]))
    assert only_found["status"] == "complete" and "BEING WRITTEN" in text(only_found)


def test_what_the_filters_left_out_is_counted():
    assert "nothing new" not in text(summary.outcome(STEPS))
    assert "; 4 not asked for" in text(summary.outcome(STEPS._replace(left_out=4)))
    assert "no dumps that were asked for, 4 others" in text(summary.outcome(Steps(left_out=4)))


def test_what_was_removed_there_and_here():
    kept = {"dump": "/b", "why": "/b is no longer the dump that was archived"}
    outcome = summary.outcome(STEPS._replace(removed={"removed": ["/a"], "kept": [kept], "freed": 5}))
    assert outcome["changed"] and outcome["removed"] == ["/a"]
    gone = {"path": "/home/me/collected/web1/old.tar", "size": 2 << 20, "why": "older than 30 days"}
    words = text(outcome, removed_here=[gone])
    assert "removed there: /a" in words and "kept there: /b is no longer" in words
    # What is here already is no plan, but its dump is still there in check mode.
    words_before = text(outcome, check_mode=True)
    assert "would remove there: /a" in words_before and " removed there" not in words_before
    assert "Removed here: 1 archive, 2.0 MiB" in words and "collected/web1/old.tar  (older than 30 days)" in words


@pytest.mark.parametrize(
    "steps, status, words",
    [
        (Steps(unreachable="no route"), "unreachable", "NOT REACHED: no route"),
        (Steps(broken="no Python"), "failed", "FAILED: no Python"),
        (Steps(), "no-dumps", "no dumps"),
        (STEPS._replace(errors=["the disk is full"]), "failed", "FAILED: the disk is full"),
        (STEPS._replace(arrived={MADE["path"]: {"error": "cut"}}), "failed", "was not fetched: cut"),
    ],
)
def test_what_went_wrong(steps, status, words):
    outcome = summary.outcome(steps)
    assert outcome["status"] == status and words in text(outcome)


def test_document_and_file(tmp_path):
    outcomes = {"web1": summary.outcome(STEPS), "web2": summary.outcome(Steps(unreachable="no route"))}
    document = summary.document(outcomes, "/dest", now=1700000000)
    assert (document["schema"], document["created"]) == ("savedump.summary/1", "2023-11-14T22:13:20Z")
    assert document["totals"] == {
        "hosts": 2, "archives": 1, "bytes": 3 << 20, "incomplete": 0, "wire_bytes": 3 << 20, "saved_bytes": 0,
        "by_status": {"complete": 1, "gaps": 0, "no-dumps": 0, "failed": 0, "unreachable": 1},
    }  # fmt: skip
    folder = str(tmp_path / "new" / "dest")
    for _time in (1, 2):
        path = summary.save(folder, document)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert os.listdir(folder) == ["summary.json"]
    with open(path) as file:
        assert json.load(file) == document


def test_every_key_is_documented():
    top = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 5))
    with open(os.path.join(top, "docs/summary.md")) as file:
        words = file.read()
    outcome = summary.outcome(STEPS)
    document = summary.document({"web1": outcome}, None)
    keys = set(document) | set(document["totals"]) | set(outcome) | set(outcome["archives"][0])
    assert [key for key in sorted(keys) if "`%s`" % key not in words] == []
    assert [key for key in outcome["dumps"][0] if '"%s"' % key not in words] == []
