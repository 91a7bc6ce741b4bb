# SPDX-License-Identifier: Apache-2.0
"""The play's last words on gaps: what was filled, and from which host; what could not be, and why."""

import pytest
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _summary

MODULE, PLACE = "/opt/libx.so", "buildid/2222/executable"
DUMP = {"path": "/var/crash/core.1", "complete": True, "process": {"executable": "/opt/prog"}, "identity": "0" * 16}
GAP = {"module": MODULE, "kind": "loaded", "build_id": "2222", "needed": True, "attempts": []}
MADE = {
    "path": "/var/tmp/savedump/archive-core.1.tar.gz", "sha256": "ab" * 32, "size": 10, "planned_size": 20,
    "complete": False, "changed": False, "missing": [GAP], "dump": DUMP,
}  # fmt: skip
HOME = "/home/me/collected/web1/archive-core.1.tar.gz"
FOUND = {"dumps": [DUMP], "looked": []}
ARCHIVED = {"archives": [MADE], "not_archived": []}
FETCHED = {"results": [{"item": MADE, "path": HOME, "sha256": "ab" * 32, "changed": True}]}
VERIFIED = {"archives": [{"path": HOME, "intact": True, "problems": [], "sha256": "ab" * 32}]}
BETTER = {
    "on_target": MADE["path"], "path": HOME, "sha256": "cd" * 32, "size": 30, "complete": True, "missing": [],
    "better": True, "filled": [{"module": MODULE, "kind": "loaded", "build_id": "2222", "place": PLACE}],
}  # fmt: skip


def outcome(home=None, senders=None, filling=(), fetched=FETCHED, **completed):
    completed = dict({"archives": [home] if home else [], "errors": []}, **completed)
    return _summary.outcome(FOUND, ARCHIVED, fetched, VERIFIED, completed, senders, filling)


def text(each):
    return "\n".join(_summary.lines({"web1": each}, dest="/home/me/collected", here="/home/me"))


def test_a_filled_gap_is_none_and_says_who_sent_the_file():
    each = outcome(BETTER, {PLACE: "web2"})
    assert (each["status"], each["gaps"], each["errors"]) == ("complete", [], [])
    (archive,) = each["archives"]
    assert (archive["path"], archive["sha256"], archive["size"]) == (HOME, "cd" * 32, 30)
    assert (archive["complete"], archive["verified"], archive["changed"]) == (True, True, True)
    assert "  filled: %s, from web2" % MODULE in text(each)
    assert "INCOMPLETE" not in text(each) and "lacks" not in text(each)


def test_from_the_store():
    assert "  filled: %s, from the store" % MODULE in text(outcome(BETTER))


def test_one_that_was_completed_in_an_earlier_run_counts_without_being_fetched():
    each = outcome(dict(BETTER, filled=[], sha256=None), fetched={"results": [{"item": MADE, "skipped": True}]})
    (archive,) = each["archives"]
    assert (each["status"], archive["path"], archive["changed"], archive["verified"]) == ("complete", HOME, False, True)
    assert archive["sha256"] == "ab" * 32  # what the step that verifies has read
    assert "nothing new" in text(each)


def test_what_is_still_missing_is_named():
    other = dict(GAP, module="/opt/liby.so")
    each = outcome(dict(BETTER, complete=False, missing=[other]))
    assert each["status"] == "gaps" and "/opt/liby.so" in each["gaps"][0] and MODULE not in each["gaps"][0]
    assert "INCOMPLETE" in text(each)


def test_what_is_here_and_no_better_changes_nothing():
    plain = _summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED)
    assert outcome(dict(BETTER, better=False, filled=[])) == plain
    assert outcome() == plain


@pytest.mark.parametrize(
    "step",
    [
        {"msg": "No space left on device"},
        {"unreachable": True, "msg": "No space left on device"},
        {"errors": ["x is not in the store: No space left on device"]},
        {"results": [{"sha256": "ab", "path": "/x"}, {"msg": "No space left on device"}]},
    ],
)
def test_a_step_that_failed_is_said(step):
    each = outcome(filling=[None, {"skipped": True}, {"files": [], "missing": []}, step])
    assert each["status"] == "failed"
    assert "FAILED: " in text(each) and "No space left on device" in text(each)


def test_an_archive_that_could_not_be_completed_is_said():
    assert outcome(errors=["%s was not completed: why" % HOME])["errors"] == ["%s was not completed: why" % HOME]
