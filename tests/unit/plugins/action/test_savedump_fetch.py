# SPDX-License-Identifier: Apache-2.0
"""The steps of a fetch: what counts as proven, what is repaired, and what is given up."""

import contextlib
import hashlib
import os

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.savedump.toolkit.plugins.action import savedump_fetch
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import landing
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.errors import Busy
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _chunks, _far_end

CHUNK = _chunks.SMALLEST
CONTENT = os.urandom(2 * CHUNK + 300)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
STAT = _far_end.Stat(len(CONTENT), "1 2 3")


class Link:
    """Stands for the way to the target, which has CONTENT: `damage` gives a byte that comes wrong in each fetch."""

    way = "ssh-own"

    def __init__(self, *damage, hashes=True, after=STAT):
        self.damage, self.hashes, self.after = list(damage), hashes, after
        self.came = []
        self.hashed = 0

    def stat(self):
        return self.after, {}

    def hash(self, length):
        self.hashed += 1
        return hashlib.sha256(CONTENT[:length]).hexdigest() if self.hashes else None

    def compare(self, receiver, length):
        comparison = _chunks.Comparison(receiver, length)
        for at in range(0, length if self.hashes else 0, CHUNK):
            line = hashlib.sha256(CONTENT[at : min(at + CHUNK, length)]).hexdigest()
            comparison.take(b"savedump-chunk %s\n" % line.encode())
        comparison.finish()
        return self.hashes

    def fetch(self, receiver, hashed=False):
        sent, whole = bytearray(CONTENT), receiver.left == receiver.size
        if self.damage:
            at = self.damage.pop(0)
            sent[at] ^= 1
        for start, length in receiver.asked(500):
            self.came.append((start, length))
            receiver.take(bytes(sent[start : start + length]))
        return SHA256 if hashed and whole and self.hashes else None


@pytest.fixture
def fetch(tmp_path):
    """fetch(link, checksum, what an earlier run has left): the result."""

    def run(link, wanted=None, part=None):
        action = savedump_fetch.ActionModule.__new__(savedump_fetch.ActionModule)
        action._host, action._source, action._link, action._receiver = "web1", "/var/tmp/a", link, None
        action._given = {"dest": str(tmp_path)}
        run.place = action._place = landing.landing(str(tmp_path), "web1", "a")
        if part is not None:
            os.makedirs(action._place.folder)
            with open(action._place.part, "wb") as stream:
                stream.write(part)
        result = action._fetch(STAT, wanted)
        with open(action._place.path, "rb") as stream:
            assert stream.read() == CONTENT
        assert os.listdir(action._place.folder) == ["a"]
        return result

    return run


def test_what_came_before_the_link_broke_is_counted(tmp_path, monkeypatch):
    def broken(receiver, hashed=False):
        receiver.asked(1)
        receiver.take(CONTENT[:CHUNK])
        raise AnsibleConnectionFailure("no route to host")

    link = Link()
    link.fetch = broken
    action = savedump_fetch.ActionModule.__new__(savedump_fetch.ActionModule)
    action._host, action._source, action._link, action._receiver = "web1", "/var/tmp/a", link, None
    action._given, action._place = {"dest": str(tmp_path)}, landing.landing(str(tmp_path), "web1", "a")
    monkeypatch.setattr(action, "_run", lambda task_vars: action._fetch(STAT, SHA256))
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
    result = action.run()
    assert (result["unreachable"], result["msg"], result["wire_bytes"]) == (True, "no route to host", CHUNK)
    assert os.path.getsize(action._place.part) == CHUNK


@pytest.mark.parametrize("wanted", [None, SHA256], ids=["computed there", "given"])
def test_fetched(fetch, wanted):
    link = Link()
    result = fetch(link, wanted)
    assert link.hashed == 0, "it is read there once"
    assert (result["changed"], result["sha256"], result["resumed_at"]) == (True, SHA256, 0)
    assert (result["wire_bytes"], result["kept_bytes"], result["repaired_bytes"]) == (len(CONTENT), 0, 0)


def test_what_an_earlier_run_left_is_kept(fetch):
    link = Link()
    result = fetch(link, part=CONTENT[: CHUNK + 5])
    assert link.hashed == 1
    assert result["resumed_at"] == result["kept_bytes"] == CHUNK + 5
    assert result["wire_bytes"] == len(CONTENT) - CHUNK - 5


def test_a_damaged_part_is_repaired(fetch):
    link, part = Link(), bytearray(CONTENT)
    part[CHUNK + 9] ^= 1
    result = fetch(link, part=part)
    assert link.came == [(CHUNK, CHUNK)]
    assert (result["resumed_at"], result["repaired_bytes"], result["kept_bytes"]) == (CHUNK, CHUNK, CHUNK + 300)


@pytest.mark.parametrize("wanted", [None, SHA256], ids=["computed there", "given"])
def test_what_was_damaged_on_its_way_comes_once_more(fetch, wanted):
    link = Link(CHUNK + 9)
    result = fetch(link, wanted)
    assert link.came == [(0, len(CONTENT)), (CHUNK, CHUNK)]
    assert (result["wire_bytes"], result["repaired_bytes"]) == (len(CONTENT) + CHUNK, CHUNK)


def test_what_is_always_damaged_is_given_up(fetch):
    link = Link(CHUNK + 9, CHUNK + 9)
    with pytest.raises(AnsibleActionFail, match="computed there was " + SHA256):
        fetch(link)
    assert len(link.came) == 2 and os.listdir(fetch.place.folder) == []


def test_a_wrong_checksum_moves_nothing_twice(fetch):
    link = Link()
    with pytest.raises(AnsibleActionFail, match="asked for was 0000"):
        fetch(link, "0" * 64)
    assert len(link.came) == 1 and os.listdir(fetch.place.folder) == []


def test_a_source_that_changed_is_refused(fetch):
    with pytest.raises(AnsibleActionFail, match="changed while it was read"):
        fetch(Link(after=_far_end.Stat(len(CONTENT), "2 2 3")), SHA256)
    assert os.listdir(fetch.place.folder) == []


def test_what_cannot_be_proven_is_refused(fetch):
    with pytest.raises(AnsibleActionFail, match="cannot be proven"):
        fetch(Link(hashes=False))
    assert os.listdir(fetch.place.folder) == []


def test_a_checksum_proves_where_nothing_hashes(fetch):
    assert fetch(Link(hashes=False), SHA256, part=CONTENT[:CHUNK])["wire_bytes"] == len(CONTENT)


def test_what_another_run_fetched_while_this_one_waited_is_kept(fetch, monkeypatch):
    """Of another archive of the same name: two inventories may call two hosts web1."""
    real = landing.opened_part

    def finished(place):
        monkeypatch.setattr(savedump_fetch.landing, "opened_part", real)
        os.makedirs(place.folder)
        with open(place.path, "wb") as stream:
            stream.write(b"theirs")
        raise Busy("is being fetched by another run")

    monkeypatch.setattr(savedump_fetch.landing, "opened_part", finished)
    with pytest.raises(Busy, match="meanwhile"):
        fetch(Link())
    with open(fetch.place.path, "rb") as stream:
        assert stream.read() == b"theirs"


@pytest.mark.parametrize(
    "theirs, wanted", [(CONTENT, SHA256), (b"theirs", SHA256), (CONTENT, None)], ids=["same", "other", "not known"]
)
def test_what_another_run_fetched_meanwhile(fetch, monkeypatch, theirs, wanted):
    """Nothing of this run stays, and if it is what was wanted, all is well."""
    real = landing.opened_part

    @contextlib.contextmanager
    def finished(place):
        with real(place) as descriptor:
            with open(place.path, "wb") as stream:
                stream.write(theirs)
            yield descriptor

    monkeypatch.setattr(savedump_fetch.landing, "opened_part", finished)
    if (theirs, wanted) == (CONTENT, SHA256):
        result = fetch(Link(), wanted)
        assert not result["changed"] and result["wire_bytes"] == 0
    else:
        with pytest.raises(Busy, match="meanwhile"):
            fetch(Link(), wanted)
    assert os.listdir(fetch.place.folder) == ["a"]


def test_the_part_of_a_run_that_just_ended_is_waited_for(fetch, tmp_path, monkeypatch):
    """As after ansible-playbook was killed: its worker lets go a moment later."""
    calls = []
    real = landing.opened_part

    def busy_at_first(place):
        calls.append(place)
        if len(calls) < 3:
            raise Busy("is being fetched by another run")
        return real(place)

    monkeypatch.setattr(savedump_fetch.landing, "opened_part", busy_at_first)
    assert fetch(Link())["changed"] and len(calls) == 3
    monkeypatch.setattr(savedump_fetch, "_BUSY_FOR_S", 0)
    del calls[:]
    with pytest.raises(Busy):
        fetch(Link())
