# SPDX-License-Identifier: Apache-2.0
"""A stream that was cut begins again: what counts as a link that is down, who may still be at work there, and what is
told when it does not come back."""

import contextlib

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.savedump.toolkit.plugins.action import savedump_stream
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.remote.session import Broken
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _summary, _talk

GIVEN = {"stall_timeout": 5, "retries": 2, "wait": 0, "bandwidth_limit": None}
SILENCE = _talk.Refused("no byte for 5 seconds")


@pytest.fixture
def action(monkeypatch):
    """An action on web1. Each of its `sessions` is refused, or one in which the link breaks, or all comes; `waits` has
    how long those that were had would have waited for another run."""
    action = object.__new__(savedump_stream.ActionModule)
    action._task = type("Task", (), {"delegate_to": "web1", "check_mode": False})
    action._waiting = None
    action.sessions, action.waits = [], []

    @contextlib.contextmanager
    def opened(*_words):
        outcome = action.sessions.pop(0)
        if isinstance(outcome, _talk.Refused):
            raise outcome
        yield outcome

    def go_on(action, there):
        action.waits.append(action._wait)
        if there:
            raise there
        return True

    python = type("Python", (), {"runs_core": True, "executable": "python3"})
    monkeypatch.setattr(savedump_stream._python, "ask_target", lambda *_words: (python, []))
    monkeypatch.setattr(savedump_stream._session, "opened", opened)
    monkeypatch.setattr(savedump_stream._control, "check_limits", lambda given: None)
    monkeypatch.setattr(savedump_stream.time, "sleep", lambda _s: None)
    monkeypatch.setattr(savedump_stream.ActionBase, "run", lambda *_words: None)
    monkeypatch.setattr(savedump_stream.ActionModule, "validate_argument_spec", lambda *_a, **_k: (None, GIVEN))
    monkeypatch.setattr(savedump_stream.ActionModule, "_go_on", go_on)
    return action


def test_a_link_that_says_nothing_after_it_was_there_is_tried_again(action):
    """So is an ssh to a host whose cable is out: no answer, and no word of the kind."""
    action.sessions = [Broken("cut"), SILENCE, None]
    assert action._run({})["msg"] == "no dumps found" and action.sessions == []


def test_a_way_that_never_was_there_is_not_waited_for(action):
    action.sessions = [_talk.Refused("no privileges"), None]
    with pytest.raises(AnsibleActionFail, match="no privileges"):
        action._run({})


def test_tries_come_to_an_end(action):
    action.sessions = [Broken("cut"), SILENCE, SILENCE, None]
    result = action.run(None, {})
    assert result["unreachable"] and "no byte" in result["msg"] and action.sessions == [None]


def test_the_process_that_a_cut_has_left_there_is_waited_for(action):
    """It holds the dump's lock until its TCP notices, which is later than we do."""
    action.sessions = [Broken("cut"), None]
    action._run({})
    assert action.waits[0] == 0 and action.waits[1] > 120


def test_what_came_before_the_link_broke_for_good_is_told_and_so_is_the_rest(action, monkeypatch):
    made = {
        "path": "/here/archive-core.1.tar.gz", "sha256": "ab" * 32, "size": 9, "complete": True, "missing": [],
        "changed": True, "planned_size": 9, "wire_bytes": 9, "saved_bytes": 0,
        "dump": {"path": "/core.1", "identity": "1"},
    }  # fmt: skip

    def go_on(action, there):
        if action._waiting is None:
            action._outcome["archives"].append(made)
            action._waiting = [("/core.2", True), ("/core.3", False)]
        raise there

    monkeypatch.setattr(savedump_stream.ActionModule, "_go_on", go_on)
    action.sessions = [Broken("cut"), SILENCE, SILENCE]
    result = action.run(None, {})
    assert result["unreachable"] and result["archives"] == [made]
    found = {"dumps": [{"path": "/core.%d" % number} for number in (1, 2, 3)], "looked": []}
    proof = {"archives": [{"path": made["path"], "intact": True, "problems": []}]}
    outcome = _summary.outcome(found, result, None, proof, coming=True)
    assert [(each["path"], each["verified"]) for each in outcome["archives"]] == [(made["path"], True)]
    assert outcome["status"] == "failed" and outcome["wire_bytes"] == 9
    assert outcome["errors"] == [
        "no byte for 5 seconds; 1 dumps are here, and the next run begins with the others",
        "/core.2: did not come, for the connection broke",
        "/core.3: did not come, for the connection broke",
    ]
