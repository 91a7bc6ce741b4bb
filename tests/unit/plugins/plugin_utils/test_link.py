# SPDX-License-Identifier: Apache-2.0
"""What the fetch does when ways refuse and links break: the bytes must be right however they came."""

import hashlib
import os
import re
import subprocess
import sys

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import landing
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _chunks, _far_end, _link, _receiver, _ways

CHUNK = _chunks.SMALLEST
CONTENT = os.urandom(3 * CHUNK + 12345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Action:
    """A target that is this machine. Each command does the next of ``script``: an exception is raised, a number is the
    byte of output after which the link is cut; then all is well."""

    def __init__(self):
        self.script = []
        self.tries = []

    def stream(self, action, way, command, take, stall, block=None):
        verb = re.search(r" (stat|hashes|hash|send-hashed|send) (\S+) (?:'([^']*)'|(\S*)) \d+$", command)
        self.tries.append((way, verb[1], verb[3] or verb[4]) if verb else (way, None, None))
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        said = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=True)
        data = said.stdout[:step]
        for at in range(0, len(data), 100000):
            take(data[at : at + 100000])
        if step is not None:
            raise _ways.Broken("the link is down")

    def _low_level_execute_command(self, command):
        self.tries.append(("low", None, None))
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """fetch(*script): (the way, the receiver) of a fetch whose link does this; fetch.there is the file to fetch, and
    fetch.part writes what an earlier run has left."""
    monkeypatch.setattr(_link, "_PAUSES_S", (0,))
    monkeypatch.setattr(_link._ways, "ways_for", lambda action: ("ssh-own", "ssh-shared", "chunks"))
    source = tmp_path / "there"
    source.write_bytes(CONTENT)
    place = landing.landing(str(tmp_path), "web1", "a")
    action = Action()
    monkeypatch.setattr(_link._ways, "stream", action.stream)

    def run(*script, retries=3, limit=None, python=sys.executable, hashed=False):
        action.script = list(script)
        given = {"retries": retries, "stall_timeout": 1, "bandwidth_limit": limit}
        link = _link.Link(action, "web1", str(source), _far_end.FarEnd(str(source), python), given, "web1: a")
        with landing.opened_part(place) as descriptor:
            receiver = _receiver.Receiver(descriptor, place.part, len(CONTENT))
            if receiver.there:
                link.compare(receiver, receiver.there)
            run.missing = list(receiver.missing)
            run.said = link.fetch(receiver, hashed)
            with open(place.part, "rb") as stream:
                assert stream.read() == CONTENT
            assert receiver.sha256() == SHA256
        return link, receiver

    def part(content):
        os.makedirs(place.folder, exist_ok=True)
        with open(place.part, "wb") as stream:
            stream.write(content)

    run.place, run.part, run.tries, run.there = place, part, action.tries, source
    return run


def sends(tries):
    return [(way, span) for way, verb, span in tries if verb == "send"]


def rest(offset):
    return "%d+%d" % (offset, len(CONTENT) - offset)


def test_at_once(fetch):
    link, receiver = fetch()
    assert (link.way, receiver.wire) == ("ssh-own", len(CONTENT))
    assert fetch.tries == [("ssh-own", "send", rest(0))]
    # What the file is after it was read comes along.
    assert _far_end.read_stat(receiver.rest.decode()) == link.stat()[0]


def test_the_hash_comes_along(fetch):
    fetch(hashed=True)
    assert fetch.tries == [("ssh-own", "send-hashed", rest(0))] and fetch.said == SHA256


@pytest.mark.parametrize("script, verbs", [
    ([100001], ["send-hashed", "send"]),
    ([_ways.Refused("no")], ["send-hashed", "send-hashed"]),
])  # fmt: skip
def test_the_hash_is_said_only_of_what_came_in_one_go(fetch, script, verbs):
    fetch(*script, hashed=True)
    assert [verb for _way, verb, _span in fetch.tries] == verbs
    assert fetch.said == (None if "send" in verbs else SHA256)


def test_a_broken_link_is_taken_up_at_the_byte(fetch):
    _link_, receiver = fetch(100001, 50000)
    assert sends(fetch.tries) == [("ssh-own", rest(0)), ("ssh-own", rest(100001)), ("ssh-own", rest(150001))]
    assert receiver.wire == len(CONTENT)  # no byte came twice


def test_a_way_that_refuses_gives_room_to_the_next(fetch):
    link, _receiver_ = fetch(_ways.Refused("no"), _ways.Refused("no"))
    assert link.way == "chunks"


def test_a_way_that_has_brought_something_stays(fetch):
    link, _receiver_ = fetch(1000, _ways.Refused("connection refused"))
    assert link.way == "ssh-own"
    assert sends(fetch.tries) == [("ssh-own", rest(0)), ("ssh-own", rest(1000)), ("ssh-own", rest(1000))]


def test_a_file_that_went_away_is_no_link_that_is_down(fetch, monkeypatch):
    def gone(*_, **__):
        fetch.there.unlink(missing_ok=True)
        raise _ways.Refused("exit status 1: savedump: No such file or directory")

    monkeypatch.setattr(_link._ways, "stream", gone)
    with pytest.raises(AnsibleActionFail, match="can no longer be read: No such file or directory"):
        fetch()


@pytest.mark.parametrize("method", ["fetch", "compare"])
@pytest.mark.parametrize("way", ["ssh-own", "chunks"])
@pytest.mark.parametrize("python", [sys.executable, None], ids=["python", "sh"])
def test_a_file_that_became_shorter_ends_it(fetch, monkeypatch, method, way, python):
    """The far end's own line after the last byte is no progress, and no other try brings what is not there."""
    begin, receivers = getattr(_link.Link, method), []

    def shortened(link, receiver, *rest):
        receivers.append(receiver)
        link.stat()
        os.truncate(fetch.there, CHUNK)
        del fetch.tries[:]
        return begin(link, receiver, *rest)

    monkeypatch.setattr(_link._ways, "ways_for", lambda action: (way,))
    monkeypatch.setattr(_link.Link, method, shortened)
    fetch.part(CONTENT if method == "compare" else b"")
    with pytest.raises(AnsibleActionFail, match="there on web1 changed while it was read; fetch it again"):
        fetch(python=python)
    assert receivers[0].wire < CHUNK + 100 and len(fetch.tries) <= 4


def test_a_file_that_ends_early_and_is_what_it_was_is_asked_for_no_more_than_retries_allow(fetch, monkeypatch):
    """As a disk that fails to be read, where dd says nothing."""
    asked = []

    def short(action, way, command, take, stall, block=None):
        asked.append(command)
        take(b"savedump-stat 1 2 3 4\n")

    monkeypatch.setattr(_link._ways, "stream", short)
    with pytest.raises(AnsibleConnectionFailure, match="it ended at byte 66 of"):
        fetch(retries=2)
    assert len(asked) == 3


def test_a_link_that_was_down_at_first_costs_no_way(fetch):
    link, _receiver_ = fetch(_ways.Broken("Connection timed out"))
    assert link.way == "ssh-own"


def test_it_gives_up_and_keeps_what_came(fetch):
    with pytest.raises(AnsibleConnectionFailure, match="195.3 KiB of 12.0 MiB.*the next run goes on from there"):
        fetch(200000, _ways.Broken("down"), _ways.Broken("down"), retries=2)
    assert os.path.getsize(fetch.place.part) == 200000
    del fetch.tries[:]
    _link_, receiver = fetch()
    assert sends(fetch.tries) == [("ssh-own", rest(200000))]
    assert receiver.wire == len(CONTENT) - 200000


def test_tries_that_go_on_are_not_counted(fetch):
    fetch(CHUNK, CHUNK, CHUNK, 100, retries=1)
    assert len(fetch.tries) == 5


def test_a_damaged_chunk_alone_comes_again(fetch):
    damaged = bytearray(CONTENT)
    damaged[CHUNK + 77] ^= 1
    fetch.part(damaged)
    _link_, receiver = fetch()
    assert [span for _, span in sends(fetch.tries)] == ["%d+%d" % (CHUNK, CHUNK)]
    assert receiver.wire == CHUNK


def test_several_holes_are_one_command(fetch):
    damaged = bytearray(CONTENT[: 2 * CHUNK + 5])
    damaged[3] ^= 1
    fetch.part(damaged)
    fetch()
    assert [span for _, span in sends(fetch.tries)] == ["0+%d,%s" % (CHUNK, rest(2 * CHUNK + 5))]


def test_many_holes_are_several_commands(fetch, monkeypatch):
    monkeypatch.setattr(_link, "_RANGES", 1)
    damaged = bytearray(CONTENT)
    damaged[3] ^= 1
    damaged[2 * CHUNK] ^= 1
    fetch.part(damaged)
    fetch()
    assert [span for _, span in sends(fetch.tries)] == ["0+%d" % CHUNK, "%d+%d" % (2 * CHUNK, CHUNK)]


def test_a_source_that_changed_since(fetch):
    """An earlier state's bytes that are still right stay, the others come."""
    earlier = bytearray(CONTENT[: 3 * CHUNK])
    earlier[2 * CHUNK :] = os.urandom(CHUNK)
    fetch.part(earlier)
    _link_, receiver = fetch()
    assert receiver.wire == len(CONTENT) - 2 * CHUNK


@pytest.mark.parametrize(
    "content", [os.urandom(2 * CHUNK), CONTENT + b"x", bytes(len(CONTENT))], ids=["foreign", "longer", "zeros"]
)
def test_a_part_that_is_not_ours(fetch, content):
    fetch.part(content)
    _link_, receiver = fetch()
    assert receiver.wire == (0 if content.startswith(CONTENT) else len(CONTENT))


def test_a_whole_part_needs_no_transfer(fetch):
    fetch.part(CONTENT)
    fetch()
    assert sends(fetch.tries) == []


def test_comparing_that_breaks_goes_on_where_it_broke(fetch):
    fetch.part(CONTENT)
    line = len("savedump-chunk %s\n" % SHA256)
    fetch(line * 2 + 10)
    assert [span for _, verb, span in fetch.tries if verb == "hashes"] == [rest(0), rest(2 * CHUNK)]


def test_by_chunks_with_a_limit(fetch, monkeypatch):
    monkeypatch.setattr(_link._ways, "ways_for", lambda action: ("copy", "chunks"))
    monkeypatch.setattr(_receiver.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(_link, "_SLICE", 1)
    damaged = bytearray(CONTENT)
    damaged[CHUNK + 77] ^= 1
    fetch.part(damaged)
    link, receiver = fetch(limit=1 << 20)
    assert (link.way, receiver.wire) == ("chunks", CHUNK)  # a copy cannot be slowed down
    assert len(fetch.tries) == 4 + 4  # hashes of one chunk each, then 1 MiB at a time


def test_a_copy_that_is_always_too_short_is_given_up(fetch, monkeypatch):
    """It begins at zero each time, so what comes of it is no going on."""
    copies = []

    def short(_action, _source, path):
        copies.append(path)
        with open(path, "wb") as stream:
            stream.write(CONTENT[:-1])

    monkeypatch.setattr(_link._ways, "ways_for", lambda action: ("copy",))
    monkeypatch.setattr(_link._ways, "copy", short)
    with pytest.raises(AnsibleConnectionFailure, match="it ended at byte %d of" % (len(CONTENT) - 1)):
        fetch(retries=2)
    assert len(copies) == 3


def test_without_anything_that_hashes_all_comes_again(fetch, monkeypatch):
    monkeypatch.setattr(_far_end.FarEnd, "hashes", lambda *_: "echo savedump-none; : hashes a 0+1 1")
    fetch.part(CONTENT)
    _link_, receiver = fetch()
    assert receiver.wire == len(CONTENT)


def test_the_hash_of_the_whole_survives_a_cut(fetch):
    link, _receiver_ = fetch()
    action = link._action
    action.script = [20, _ways.Broken("down")]
    assert link.hash(len(CONTENT)) == SHA256
    assert link.hash(10) == hashlib.sha256(CONTENT[:10]).hexdigest()


@pytest.mark.parametrize("more", [b"savedump-going\n", b"savedump-going "], ids=["lines", "no line"])
def test_a_target_that_says_more_than_it_was_asked_for(fetch, monkeypatch, more):
    """Without end, whatever it was asked: it is not listened to for ever."""
    link, _receiver_ = fetch()

    def endless(action, way, command, take, stall, block=None):
        if " send " in command:
            take(CONTENT)
        for _ in range(1 << 20):
            take(more * 1000)
        pytest.fail("still listening")

    monkeypatch.setattr(_link._ways, "stream", endless)
    with pytest.raises(AnsibleConnectionFailure, match="more came than a hash"):
        link.hash(len(CONTENT))
    os.unlink(fetch.place.part)
    _link_, receiver = fetch()
    assert len(receiver.rest) < 5000


def test_hashing_that_always_breaks_ends(fetch):
    link, _receiver_ = fetch()
    link._action.script = [50] * 10
    with pytest.raises(AnsibleConnectionFailure, match="12.0 MiB were to be hashed"):
        link.hash(len(CONTENT))
    assert len(link._action.script) == 10 - 4
