# SPDX-License-Identifier: Apache-2.0
"""What a lying host may say, and that the words for people stand whatever it was."""

import copy
import itertools

import pytest

from savedump_core import summary
from savedump_core.cli import summary as words
from savedump_core.remote import answers
from savedump_core.remote.session import Broken

DUMP = {
    "path": "/var/crash/core", "kind": "core", "size": 10, "stored_size": 10, "mtime_ns": 10**18, "complete": False,
    "incomplete_why": "cut", "in_progress": False, "identity": "00",
    "process": {"executable": "/bin/a", "comm": "a", "pid": 7, "signal": {"name": "SIGSEGV"}},
    "kernel": {"release": "6.1", "panic": "oops"},
}  # fmt: skip
GAP = {
    "module": "/lib/a", "kind": "loaded", "build_id": "00", "needed": True,
    "attempts": [{"path": "/lib/a", "outcome": "mismatch", "detail": "01"}],
}  # fmt: skip
REPORT = {"dumps": [DUMP], "looked": [{"store": "s", "where": "/", "outcome": "1 found"}], "left_out": 0,
          "unread": [{"path": "/c", "why": "No such file", "exit_status": 66}]}  # fmt: skip
LIES = (None, True, -1, 7, 10**30, 1e308, float("nan"), "text", [], [1], {}, {"a": 1})


def places(value, path=()):
    """Every place in a document."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        for place in places(inner, path + (key,)):
            yield place


def with_lie(document, path, lie):
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = lie
    return changed


def say(report, gaps):
    made = dict(
        path="/here/archive-core.tar.gz", dump=report["dumps"][0], sha256="00", size=1, planned_size=1, complete=False,
        changed=True, missing=gaps,
    ) if report["dumps"] else None  # fmt: skip
    steps = summary.Steps(dumps=report["dumps"], looked=report["looked"], left_out=report["left_out"])
    for one in (steps, steps._replace(made=[made] if made else [], arrived={"/here/archive-core.tar.gz": made})):
        assert words.lines({"web1": summary.outcome(one)}, "/here", "/")


def test_the_truth():
    answers.check_report(REPORT)
    answers.check_dump(DUMP)
    answers.check_missing([GAP])
    say(REPORT, [GAP])


@pytest.mark.parametrize("lie", LIES, ids=repr)
def test_lies_are_refused_or_can_be_said(lie):
    refused = 0
    for path in places(REPORT):
        if path in ((), ("dumps",), ("looked",)):  # session.find() has seen to these
            continue
        document = with_lie(REPORT, path, lie)
        try:
            answers.check_report(document)
        except Broken:
            refused += 1
            continue
        say(document, [GAP])
        for each in document.get("unread", ()):
            assert isinstance(each["path"], str) and isinstance(each["why"], str) and 0 < each["exit_status"] < 256
    for path in itertools.islice(places([GAP]), 1, None):
        gaps = with_lie([GAP], path, lie)
        try:
            answers.check_missing(gaps)
        except Broken:
            refused += 1
            continue
        say(REPORT, gaps)
    assert refused
