# SPDX-License-Identifier: Apache-2.0
"""What a target answers is taken as it is, but for what it cannot know."""

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.savedump.toolkit.plugins.module_utils import _alone
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _play, _summary, _verb

MADE = {"path": "/home/me/collected/other/archive-core.tar.gz", "sha256": "ab" * 32, "size": 1, "changed": True}


@pytest.fixture
def answered(monkeypatch):
    """answered(ANSWER): what the action makes of a module's answer."""
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp=None, task_vars=None: {})

    def run(answer):
        action = _verb.VerbAction.__new__(_verb.VerbAction)
        monkeypatch.setattr(action, "_run", lambda task_vars: answer)
        return action.run()

    return run


def test_no_target_says_that_an_archive_came_here(answered):
    """Its path would be read on this machine, and proven."""
    made = dict(MADE, planned_size=1, complete=True, dump=None)
    lie = {"changed": True, "looked": [], "archives": [made, dict(made, wire_bytes=5, saved_bytes=0)]}
    result = answered(lie)
    assert result == {"changed": True, "looked": [], "archives": [made, made]}
    assert _play.paths_here({"__collect_archived": lie}) == [MADE["path"]]
    assert _play.paths_here({"__collect_archived": result}) == []
    proven = {"archives": [{"path": MADE["path"], "intact": True, "problems": []}]}
    archives = _summary.outcome(result, result, None, proven)["archives"]
    assert [(each["path"], each["verified"], each["wire_bytes"]) for each in archives] == [(None, None, 0)] * 2


@pytest.mark.parametrize(
    "answer", [{"failed": True, "msg": "no"}, {"archives": None}, {"archives": "text"}, {"archives": [1, None, "a"]}]
)
def test_any_other_answer_stays(answered, answer):
    assert answered(answer) == answer


@pytest.mark.parametrize("said", ['{"changed": tr', "[1]", "", "[" * 5])
def test_what_is_no_answer_is_shown(said):
    """As of a target that was cut off, or lies."""
    reply = {"stdout": "a greeting\n%s%s" % (_alone.RESULT, said), "stderr": "killed", "rc": 137}
    with pytest.raises(AnsibleActionFail, match="exit status 137.*killed"):
        _verb._result(reply)
    reply["stdout"] += '\n%s{"changed": true}\n' % _alone.RESULT
    assert _verb._result(reply) == {"changed": True}
