# SPDX-License-Identifier: Apache-2.0
"""A stream whose link was cut: what counts as a link that is down, that it goes on where it was, who may still be at
work there, and what is told when it does not come back."""

import contextlib

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.savedump.toolkit.plugins.action import savedump_stream
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.remote.session import (
    PREDECESSOR_S,
    Broken,
    Failed,
)
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _summary, _talk

SILENCE = _talk.Refused("no byte for 5 seconds")
CUT = Broken("cut")


def made(path):
    return {
        "path": "/here/archive-%s.tar.gz" % path[1:], "sha256": "ab" * 32, "size": 9, "complete": True, "missing": [],
        "changed": True, "planned_size": 9, "wire_bytes": 9, "saved_bytes": 0,
        "dump": {"path": path, "identity": path},
    }  # fmt: skip


class Came:
    changed = True

    def __init__(self, path):
        self.path = path

    def as_json(self):
        return made(self.path)


class There:
    """A session in which each stream does the next of `steps`: raises it, or is cut after so many bytes of the archive,
    or brings the archive."""

    def __init__(self, dumps, steps, asked):
        self._dumps, self._steps, self._asked = dumps, steps, asked

    def find(self, *_words):
        return {"dumps": [{"path": path} for path in self._dumps], "looked": []}

    def stream(self, path, _folder, wait, again, **_options):
        self._asked.append((path, wait))
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if step is None:
                break
            again(CUT, step)
        return Came(path)


@pytest.fixture
def action(monkeypatch):
    """An action on web1 with the dumps `dumps`. Of its `links` each is refused, breaks at once, or is there, and then
    its streams do the `steps`; `asked` has which dumps were asked for, and how long a session would wait for another
    run that is at work on them."""
    action = object.__new__(savedump_stream.ActionModule)
    action._task = type("Task", (), {"delegate_to": "web1", "check_mode": False})
    action.dumps, action.links, action.steps, action.asked, action.closed = ["/core.1"], [], [], [], 0

    @contextlib.contextmanager
    def opened(*_words):
        link = action.links.pop(0)
        if link:
            raise link
        try:
            yield There(action.dumps, action.steps, action.asked)
        finally:
            action.closed += 1

    given = {name: spec.get("default") for name, spec in savedump_stream.SPEC.items()}
    given.update(dest="/here", retries=2)
    python = type("Python", (), {"runs_core": True, "executable": "python3"})
    monkeypatch.setattr(savedump_stream._python, "ask_target", lambda *_words: (python, []))
    monkeypatch.setattr(savedump_stream._session, "opened", opened)
    monkeypatch.setattr(savedump_stream.time, "sleep", lambda _s: None)
    monkeypatch.setattr(savedump_stream.ActionBase, "run", lambda *_words: None)
    monkeypatch.setattr(savedump_stream.ActionModule, "validate_argument_spec", lambda *_a, **_k: (None, given))
    return action


def archives(result):
    return [each["dump"]["path"] for each in result["archives"]]


def told(action, result):
    """The play's summary of it."""
    found = {"dumps": [{"path": path} for path in action.dumps], "looked": []}
    proof = {"archives": [{"path": each["path"], "intact": True, "problems": []} for each in result["archives"]]}
    return _summary.outcome(found, result, None, proof, coming=True)


def test_a_link_that_says_nothing_after_it_was_there_is_tried_again(action):
    """So is an ssh to a host whose cable is out: no answer, and no word of the kind."""
    action.links, action.steps = [None, SILENCE, None], [CUT, None]
    assert archives(action.run()) == ["/core.1"] and action.links == []
    assert action.closed == 2


def test_paramiko_that_cannot_connect_once_more_is_tried_again(action):
    action.links, action.steps = [None, AnsibleConnectionFailure("timed out"), None], [CUT, None]
    assert archives(action.run()) == ["/core.1"] and action.links == []
    action.links = [AnsibleConnectionFailure("timed out"), None]
    assert action.run()["unreachable"] and action.links == [None], "it is down"


def test_a_way_that_never_was_there_is_not_waited_for(action):
    action.links = [_talk.Refused("no privileges"), None]
    result = action.run()
    assert result["failed"] and result["msg"].startswith("no privileges") and action.links == [None]


def test_tries_come_to_an_end(action):
    action.links, action.steps = [None, CUT, SILENCE, None], [CUT]
    result = action.run()
    assert result["unreachable"] and "no byte" in result["msg"] and action.links == [None]


def test_it_goes_on_where_it_was_and_what_came_earns_new_tries(action):
    action.links, action.steps = [None] * 7, [1 << 20, 2 << 20, 3 << 20, 4 << 20, 5 << 20, 6 << 20, None]
    assert archives(action.run()) == ["/core.1"] and action.links == [] and action.closed == 7
    assert action.asked == [("/core.1", 0)], "it was begun once"


def test_what_brings_next_to_nothing_each_time_is_given_up(action):
    action.links, action.steps = [None] * 9, list(range(9))
    assert action.run()["unreachable"] and len(action.links) == 6


def test_the_process_that_a_cut_has_left_there_is_waited_for(action):
    """It holds the dump's lock until its TCP notices, which is later than we do."""
    action.dumps = ["/core.1", "/core.2"]
    action.links, action.steps = [None, None], [CUT, None]
    assert archives(action.run()) == action.dumps
    assert action.asked == [("/core.1", 0), ("/core.1", PREDECESSOR_S), ("/core.2", 0)]


def test_what_came_before_the_link_broke_for_good_is_told_and_so_is_the_rest(action):
    action.dumps = ["/core.1", "/core.2", "/core.3"]
    action.links, action.steps = [None, SILENCE, SILENCE], [None, CUT]
    result = action.run()
    assert result["unreachable"] and archives(result) == ["/core.1"]
    outcome = told(action, result)
    assert [(each["path"], each["verified"]) for each in outcome["archives"]] == [(made("/core.1")["path"], True)]
    assert outcome["status"] == "failed" and outcome["wire_bytes"] == 9
    assert outcome["errors"] == [
        "no byte for 5 seconds; 1 dumps are here, and the next run begins with the others",
        "/core.2: did not come, for the connection broke",
        "/core.3: did not come, for the connection broke",
    ]


def test_what_goes_wrong_here_costs_one_dump(action):
    action.dumps = ["/core.1", "/core.2"]
    action.links, action.steps = [None, None], [OSError(28, "No space left on device", "/here")]
    result = action.run()
    assert result["failed"] and archives(result) == ["/core.2"]
    assert [each["dump"] for each in result["not_archived"]] == ["/core.1"]


def test_what_nobody_thought_of_does_not_cost_what_came(action):
    action.dumps = ["/core.1", "/core.2"]
    action.links, action.steps = [None], [None, ZeroDivisionError("oops")]
    result = action.run()
    assert result["failed"] and "oops" in result["msg"] and archives(result) == ["/core.1"]
    assert told(action, result)["errors"] == ["/core.2: savedump itself failed: ZeroDivisionError: oops"]


def test_a_host_that_could_not_look_is_no_host_without_dumps(action, monkeypatch):
    def find(*_words):
        raise Failed("cannot read /proc")

    monkeypatch.setattr(There, "find", find)
    action.links = [None]
    result = action.run()
    assert result["failed"] and told(action, result)["errors"] == ["cannot read /proc"]
