# SPDX-License-Identifier: Apache-2.0
"""A stream that was cut begins again: what counts as a link that is down, and who may still be at work there."""

import contextlib

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.savedump.toolkit.plugins.action import savedump_stream
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.remote.session import Broken
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _talk

GIVEN = {"stall_timeout": 5, "retries": 2, "wait": 0, "bandwidth_limit": None}


class There:
    """A session in which the link breaks if there is an error to be raised."""

    def __init__(self, error):
        self.error = error


@pytest.fixture
def stream(monkeypatch):
    """stream(what becomes of each session): how long each of those that were had would wait for another run."""

    def run(*outcomes):
        left, waits = list(outcomes), []

        @contextlib.contextmanager
        def opened(*_words):
            outcome = left.pop(0)
            if isinstance(outcome, _talk.Refused):
                raise outcome
            yield There(outcome)

        def go_on(action, there):
            waits.append(action._wait)
            if there.error:
                raise there.error
            return True

        python = type("Python", (), {"runs_core": True, "executable": "python3"})
        monkeypatch.setattr(savedump_stream._python, "ask_target", lambda *_words: (python, []))
        monkeypatch.setattr(savedump_stream._session, "opened", opened)
        monkeypatch.setattr(savedump_stream.time, "sleep", lambda _s: None)
        action = object.__new__(savedump_stream.ActionModule)
        action._task = type("Task", (), {"delegate_to": "web1", "check_mode": False})
        monkeypatch.setattr(savedump_stream.ActionModule, "validate_argument_spec", lambda *_a, **_k: (None, GIVEN))
        monkeypatch.setattr(savedump_stream._control, "check_limits", lambda given: None)
        monkeypatch.setattr(savedump_stream.ActionModule, "_go_on", go_on)
        action._run({})
        assert not left
        return waits

    return run


def test_a_link_that_says_nothing_after_it_was_there_is_tried_again(stream):
    """So is an ssh to a host whose cable is out: no answer, and no word of the kind."""
    assert len(stream(Broken("cut"), _talk.Refused("no byte for 5 seconds"), None)) == 2


def test_a_way_that_never_was_there_is_not_waited_for(stream):
    with pytest.raises(AnsibleActionFail, match="no privileges"):
        stream(_talk.Refused("no privileges"), None)


def test_tries_come_to_an_end(stream):
    with pytest.raises(AnsibleConnectionFailure, match="no byte"):
        stream(Broken("cut"), _talk.Refused("no byte for 5 seconds"), _talk.Refused("no byte for 5 seconds"), None)


def test_the_process_that_a_cut_has_left_there_is_waited_for(stream):
    """It holds the dump's lock until its TCP notices, which is later than we do."""
    first, second = stream(Broken("cut"), None)
    assert first == 0 and second > 120
