# SPDX-License-Identifier: Apache-2.0
"""What the fetch does when ways refuse and links break: the bytes must be right however they came."""

import hashlib
import os

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.savedump.toolkit.plugins.action import savedump_fetch
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import landing
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _far_end, _ways

CONTENT = os.urandom(300000)
STAT = _far_end.Stat(len(CONTENT), "1 2 3")


class Link:
    """Stands for the way to the target: each try does the next of ``script``, then all is well."""

    def __init__(self, *script):
        self.script = list(script)
        self.tries = []

    def stream(self, action, way, command, take, stall):
        offset = command[0]
        self.tries.append((way, offset))
        step = self.script.pop(0) if self.script else len(CONTENT)
        if isinstance(step, Exception):
            raise step
        take(CONTENT[offset : offset + step])
        if offset + step < len(CONTENT):
            raise _ways.Broken("the link is down")


class FarEnd:
    def send(self, offset, length):
        return (offset, length)


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """A fetch without a target; run(link) gives (the way, the receiver)."""
    monkeypatch.setattr(savedump_fetch, "_BETWEEN_TRIES_S", 0)
    monkeypatch.setattr(savedump_fetch._ways, "ways_for", lambda action: ("ssh-own", "ssh-shared", "other"))
    action = savedump_fetch.ActionModule.__new__(savedump_fetch.ActionModule)
    action._host, action._source, action._far = "web1", "/var/tmp/a", FarEnd()
    action._place = landing.landing(str(tmp_path), "web1", "a")
    action._far_hash = lambda length: hashlib.sha256(CONTENT[:length]).hexdigest()

    def run(link, retries=3):
        monkeypatch.setattr(savedump_fetch._ways, "stream", link.stream)
        action._given = {"retries": retries, "stall_timeout": 1}
        with landing.opened_part(action._place) as descriptor:
            receiver = savedump_fetch._Receiver(descriptor, len(CONTENT), "web1: a")
            way = action._pull(receiver, STAT)
            with open(action._place.part, "rb") as stream:
                assert stream.read() == CONTENT
            assert receiver.digest.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
            return way, receiver

    run.place = action._place
    return run


def test_at_once(fetch):
    link = Link()
    assert fetch(link)[0] == "ssh-own"
    assert link.tries == [("ssh-own", 0)]


def test_a_broken_link_is_taken_up_at_the_byte(fetch):
    link = Link(100001, 50000)
    assert fetch(link)[0] == "ssh-own"
    assert link.tries == [("ssh-own", 0), ("ssh-own", 100001), ("ssh-own", 150001)]


def test_a_way_that_refuses_gives_room_to_the_next(fetch):
    link = Link(_ways.Refused("no"), _ways.Refused("no"))
    assert fetch(link)[0] == "other"


def test_a_way_that_has_brought_something_stays(fetch):
    link = Link(1000, _ways.Refused("connection refused"))
    assert fetch(link)[0] == "ssh-own"
    assert link.tries == [("ssh-own", 0), ("ssh-own", 1000), ("ssh-own", 1000)]


def test_it_gives_up_and_keeps_what_came(fetch):
    with pytest.raises(AnsibleConnectionFailure, match="195.3 KiB of 293.0 KiB.*the next run goes on from there"):
        fetch(Link(200000, _ways.Broken("down"), _ways.Broken("down")), retries=2)
    assert os.path.getsize(fetch.place.part) == 200000
    link = Link()
    _way, receiver = fetch(link)
    assert link.tries == [("ssh-own", 200000)] and receiver.start == 200000


def test_a_part_that_is_not_ours_is_begun_anew(fetch):
    os.makedirs(fetch.place.folder)
    with open(fetch.place.part, "wb") as stream:
        stream.write(b"x" * 1000)
    link = Link()
    fetch(link)
    assert link.tries == [("ssh-own", 0)]


def test_a_part_that_is_longer_than_the_file_is_begun_anew(fetch):
    os.makedirs(fetch.place.folder)
    with open(fetch.place.part, "wb") as stream:
        stream.write(CONTENT + b"x")
    fetch(Link())


def test_a_whole_part_needs_no_transfer(fetch):
    os.makedirs(fetch.place.folder)
    with open(fetch.place.part, "wb") as stream:
        stream.write(CONTENT)
    link = Link()
    fetch(link)
    assert link.tries == []


def test_back_to_a_block_keeps_the_digest_right(fetch, tmp_path):
    with landing.opened_part(fetch.place) as descriptor:
        receiver = savedump_fetch._Receiver(descriptor, len(CONTENT), "web1: a")
        receiver.take(CONTENT[:70000])
        receiver.back_to(65536)
        receiver.take(CONTENT[65536:])
        assert receiver.digest.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
        assert os.fstat(descriptor).st_size == len(CONTENT)
