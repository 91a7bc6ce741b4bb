# SPDX-License-Identifier: Apache-2.0
"""What becomes of many hosts when some of them fail: the order of steps, tries and words. Hosts and archives are played
here; the real ones are in tests/integration/test_collect.py."""

import threading

import pytest

pytest.importorskip("paramiko", reason="paramiko is for the control host only")

from savedump_core.errors import Busy, UsageError
from savedump_core.remote import answers, tries
from savedump_core.remote import collect as collecting
from savedump_core.remote.auth import Keyring
from savedump_core.remote.collect import Options, collect, labels
from savedump_core.remote.failures import Refused, Unreachable
from savedump_core.remote.session import Broken, Failed, Streamed


class Played:
    """Hosts: {name: steps}; a step is what the next call of find or stream does: an exception, or what it returns."""

    def __init__(self, **hosts):
        self.hosts = {name: list(steps) for name, steps in hosts.items()}
        self.connected = []
        self.events = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def connect(self, spec, _wishes, _keyring):
        self.connected.append(spec)
        if self.hosts[spec] and isinstance(self.hosts[spec][0], (Unreachable, Refused)):
            raise self.hosts[spec].pop(0)
        return _Connection(spec)

    def start_python(self, connection, _program, _become):
        return _Process(connection.spec)

    def session(self, read, _write):
        return _Session(self, read.spec)

    def verify(self, path):
        return _Verified("damaged" in path)

    def step(self, spec):
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            step = self.hosts[spec].pop(0)
            if callable(step):
                step = step()
            if isinstance(step, BaseException):
                raise step
            return step
        finally:
            with self._lock:
                self._now -= 1

    def kinds(self, host):
        return [event.kind for event in self.events if event.host == host]


class _Connection:
    def __init__(self, spec):
        self.spec = spec
        self.where = self
        self.user = "admin"
        self.words = "admin@" + spec

    def close(self):
        pass

    def why_lost(self):
        return "lost"


class _Process:
    def __init__(self, spec):
        self.spec = spec
        self.stdout = self.stdin = self

    @property
    def read(self):
        return self

    write = None


class _Session:
    def __init__(self, played, spec):
        self._played, self._spec = played, spec

    def start(self):
        return "3.6"

    def find(self, *_arguments):
        return answers.check_report(self._played.step(self._spec))

    def stream(self, path, folder, **_options):
        return self._played.step(self._spec)


class _Verified:
    def __init__(self, damaged):
        self.problems = ("core: another SHA-256",) if damaged else ()


def report(*paths, **more):
    return {"dumps": [dict(path=path, in_progress=False, **more) for path in paths], "looked": []}


def streamed(path="/here/archive.tar.gz", complete=True):
    known = dict(
        path=path, sha256="00", size=10, planned_size=20, complete=complete, changed=True, missing=[], dump={},
        wire_bytes=5, saved_bytes=3,
    )  # fmt: skip
    return Streamed(**dict(dict.fromkeys(Streamed._fields), **known))


@pytest.fixture
def play(monkeypatch):
    def run(parallel=4, retries=2, **hosts):
        played = Played(**hosts)
        monkeypatch.setattr(tries, "_FIRST_WAIT_S", 0.0)
        monkeypatch.setattr(collecting, "connect", played.connect)
        monkeypatch.setattr(collecting.login, "start_python", played.start_python)
        monkeypatch.setattr(collecting, "Session", played.session)
        monkeypatch.setattr(collecting.api, "verify", played.verify)
        options = Options(dest="/here", parallel=parallel, retries=retries)
        played.outcomes = {
            one.host: one for one in collect(list(hosts), options, Keyring(), played.events.append)
        }
        return played

    return run


def whys(outcome):
    return [failure.why for failure in outcome.failures]


def test_labels():
    assert labels(["admin@web1:22", "web2", "web2"]) == {"admin@web1:22": "web1", "web2": "web2"}
    assert labels(["a@web1", "b@web1"]) == {"a@web1": "a@web1", "b@web1": "b@web1"}
    for wrong in ([], ["-x"]):
        with pytest.raises(UsageError):
            labels(wrong)


def test_one_host_stops_no_other(play):
    played = play(
        fine=[report("/core.1", "/core.2"), streamed(), streamed()],
        down=[Unreachable("no answer")],
        strange=[Refused("its key is not known")],
        empty=[report()],
        half=[report("/core.1", "/core.2"), Failed("/core.1: not a dump"), streamed()],
    )
    assert list(played.outcomes) == ["fine", "down", "strange", "empty", "half"]
    fine = played.outcomes["fine"]
    assert (len(fine.arrived), fine.failures, fine.wire_bytes, fine.saved_bytes, fine.user) == (2, (), 10, 6, "admin")
    for name, why in (("down", "no answer"), ("strange", "its key is not known")):
        outcome = played.outcomes[name]
        assert (outcome.reached, whys(outcome), outcome.report) == (False, [why], None)
    assert played.connected.count("down") == played.connected.count("strange") == 1
    empty, half = played.outcomes["empty"], played.outcomes["half"]
    assert (empty.reached, empty.arrived, empty.failures) == (True, (), ())
    assert whys(half) == ["/core.1: not a dump"] and [one.dump for one in half.arrived] == ["/core.2"]
    assert played.connected.count("half") == 1  # a refusal of the host's ends no session
    assert played.kinds("fine") == ["connected", "found", "begun", "came", "begun", "came", "over"]


def test_a_broken_link_is_tried_again(play):
    played = play(
        once=[Broken("cut"), report("/core.1", "/core.2"), streamed(), Broken("cut"), Broken("cut"), streamed()],
        gone=[report("/core.1", "/core.2"), Broken("cut"), Unreachable("down"), Unreachable("down"), streamed()],
    )
    once, gone = played.outcomes["once"], played.outcomes["gone"]
    assert [one.dump for one in once.arrived] == ["/core.1", "/core.2"] and once.failures == ()
    assert played.connected.count("once") == 4
    assert played.kinds("once").count("again") == 3
    # It is down for good: its other dump is not waited for.
    assert whys(gone) == ["down"] and gone.reached and played.connected.count("gone") == 3


def test_what_came_earns_new_tries(play, monkeypatch):
    """A link that breaks again and again, and brings something each time; and one that brings nothing."""
    monkeypatch.setattr(tries, "_LONGEST_WAIT_S", 0.0)

    def stream(_session, path, _folder, again, wait, **_options):
        waits.append(wait)
        for number in range(1, 10):
            again(Broken("cut"), number * step)
        return streamed()

    monkeypatch.setattr(_Session, "stream", stream)
    waits, step = [], tries._PROGRESS
    played = play(one=[report("/core.1")])
    assert len(played.outcomes["one"].arrived) == 1 and played.connected.count("one") == 10 and waits == [0.0]
    waits, step = [], tries._PROGRESS // 4
    played = play(one=[report("/core.1")])
    # Two tries, and two more after the fourth.
    assert whys(played.outcomes["one"]) == ["cut"] and played.connected.count("one") == 3


def test_what_a_broken_link_left_running_there_is_waited_for(play, monkeypatch):
    """It holds the dump until its sshd notices."""
    waits = []
    stream = _Session.stream
    monkeypatch.setattr(_Session, "stream", lambda self, path, folder, wait, **options: (
        waits.append(wait), stream(self, path, folder))[1])  # fmt: skip
    played = play(one=[report("/core.1", "/core.2"), Broken("cut"), streamed(), streamed()])
    assert len(played.outcomes["one"].arrived) == 2 and waits == [0.0, collecting.PREDECESSOR_S, 0.0]


def test_what_goes_wrong_here_ends_the_session_only(play):
    played = play(
        here=[report("/core.1", "/core.2", "/core.3", "/core.4"), OSError(28, "No space left on device", "/here"),
              OSError(28, "No space left on device"), Busy("changed"), streamed()],
    )  # fmt: skip
    outcome = played.outcomes["here"]
    assert whys(outcome) == [
        "/here: No space left on device", "here in /here: No space left on device", "changed",
    ]  # fmt: skip
    assert [failure.exit_status for failure in outcome.failures] == [73, 73, 75]
    assert len(outcome.arrived) == 1 and played.connected.count("here") == 4


def test_a_damaged_archive_is_no_archive(play):
    played = play(one=[report("/core.1"), streamed("/here/damaged.tar.gz")])
    (arrived,) = played.outcomes["one"].arrived
    assert arrived.problems == ("core: another SHA-256",)
    assert [event.words for event in played.events if event.kind == "failed"] == [
        "/here/damaged.tar.gz is damaged: core: another SHA-256"
    ]


def test_a_dump_that_is_being_written_is_left_alone(play):
    listed = report("/core.1", "/core.2")
    listed["dumps"][0]["in_progress"] = True
    played = play(one=[listed, streamed()])
    outcome = played.outcomes["one"]
    assert [one.dump for one in outcome.arrived] == ["/core.2"]
    assert [(failure.exit_status, failure.later) for failure in outcome.failures] == [(75, True)]


def test_what_was_named_and_cannot_be_looked_at_is_said(play):
    """That a path is not there is said, and no failure: not every host has every folder. Not readable is one."""
    unread = [{"path": "/gone", "why": "No such file or directory", "exit_status": 66},
              {"path": "/closed", "why": "Permission denied", "exit_status": 77}]  # fmt: skip
    played = play(one=[dict(report("/core.1"), unread=unread), streamed()], two=[dict(report(), unread=unread[:1])])
    one, two = played.outcomes["one"], played.outcomes["two"]
    assert [(each.dump, each.why, each.exit_status, each.later) for each in one.failures] == [
        ("/closed", "Permission denied", 77, False)]  # fmt: skip
    assert len(one.arrived) == 1 and two.failures == ()
    said = [(event.dump, event.words) for event in played.events if event.host == "two" and event.kind == "later"]
    assert said == [("/gone", "No such file or directory")]
    assert played.kinds("one") == ["connected", "found", "later", "failed", "begun", "came", "over"]


def test_a_host_that_talks_nonsense(play):
    played = play(one=[{"dumps": [{"no": "path"}], "looked": []}] * 3, fine=[report()])
    assert "makes no sense" in whys(played.outcomes["one"])[0] and played.outcomes["fine"].failures == ()


@pytest.mark.parametrize("parallel", [1, 3])
def test_so_many_at_once(play, parallel):
    together = threading.Barrier(parallel)

    def meet():
        together.wait(20)
        return report()

    hosts = {"host%d" % number: [meet] for number in range(3 * parallel)}
    played = play(parallel=parallel, **hosts)
    assert played.most_at_once == parallel
    assert all(outcome.reached for outcome in played.outcomes.values())


def test_a_mistake_of_ours_is_not_swallowed_and_costs_no_other_host_its_summary(play):
    played = play(one=[report("/core.1", "/core.2"), streamed(), ZeroDivisionError("by what it sent")], two=[report()])
    one = played.outcomes["one"]
    assert [each.dump for each in one.arrived] == ["/core.1"] and played.outcomes["two"].failures == ()
    (failure,) = one.failures
    assert (failure.dump, failure.exit_status, failure.later) == (None, 70, False)
    assert failure.why.startswith("savedump itself failed: ZeroDivisionError: by what it sent (test_collect.py line ")
    with pytest.raises(GeneratorExit):
        play(one=[report("/core.1"), GeneratorExit()])
