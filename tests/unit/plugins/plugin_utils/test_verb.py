# SPDX-License-Identifier: Apache-2.0
"""What a target answers is taken as it is, but for what it cannot know."""

import os
import signal
import subprocess
import sys

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


@pytest.fixture
def waited(monkeypatch, tmp_path):
    """waited(PID, PROGRAM, seconds): what the action makes of work in the background, asked for in sh here."""

    def sh(script):
        done = subprocess.run(["/bin/sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        return {"stdout": done.stdout.decode(), "stderr": done.stderr.decode(), "rc": done.returncode}

    def wait(pid, program, limit):
        action = _verb.VerbAction.__new__(_verb.VerbAction)
        monkeypatch.setattr(action, "_become_sh", sh)
        return action._wait({"folder": str(tmp_path / "job"), "group": pid}, program, limit, 0.1)

    return wait


@pytest.fixture
def worker(tmp_path):
    """A process group that sleeps, and the name of its program."""
    program = tmp_path / "ansible-tmp-it's $5 a/savedump.pyz"
    program.parent.mkdir()
    program.write_text("import time; time.sleep(600)")
    process = subprocess.Popen([sys.executable, str(program)], start_new_session=True)
    yield process, str(program)
    process.kill()
    process.wait()


def test_work_that_takes_too_long_is_stopped(waited, worker):
    process, program = worker
    assert waited(process.pid, program, 1)["msg"] == "stopped: not done within the 1 seconds of async"
    assert process.wait(60) == -signal.SIGTERM


def test_a_number_that_is_another_process_by_now_is_not_waited_for(waited, worker):
    """As after a reboot of the target: who has it would be waited for for a day, and then killed."""
    process, program = worker
    gone = "savedump was killed on the target before it was done"
    assert waited(process.pid, program + "-of-before", 600)["msg"] == gone
    assert waited(process.pid, program + "-of-before", 0)["msg"] == gone
    assert process.poll() is None
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert waited(process.pid, program, 600)["msg"] == gone  # nobody has waited for it yet: a zombie
