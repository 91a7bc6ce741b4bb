# SPDX-License-Identifier: Apache-2.0
"""What has come of a file: every byte in its place and counted once, whatever the order."""

import hashlib
import os
import time

import pytest
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _receiver

CONTENT = os.urandom(300000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def part(tmp_path):
    """part(what is there): a Receiver for CONTENT."""
    path, descriptors = tmp_path / "x.part", []

    def make(there=b""):
        path.write_bytes(there)
        descriptors.append(os.open(str(path), os.O_RDWR))
        return _receiver.Receiver(descriptors[-1], str(path), len(CONTENT))

    yield make
    for descriptor in descriptors:
        os.close(descriptor)


def is_whole(receiver):
    with open(receiver.path, "rb") as stream:
        return stream.read() == CONTENT and receiver.sha256() == SHA256 and receiver.left == 0


def test_in_order(part):
    receiver = part()
    assert receiver.asked(500) == [(0, len(CONTENT))]
    for at in range(0, len(CONTENT), 70001):
        assert receiver.left == len(CONTENT) - at
        receiver.take(CONTENT[at : at + 70001])
    assert is_whole(receiver) and receiver.wire == len(CONTENT) and receiver.rest == b""


def test_it_goes_to_the_disk_while_the_rest_comes(part, monkeypatch):
    told = []
    monkeypatch.setattr(_receiver, "_SEND_OFF", 100000)
    monkeypatch.setattr(os, "posix_fadvise", lambda _descriptor, at, size, _advice: told.append((at, size)))
    receiver = part()
    receiver.asked(1)
    for at in range(0, len(CONTENT), 70000):
        receiver.take(CONTENT[at : at + 70000])
    assert is_whole(receiver) and told == [(0, 140000), (140000, 140000)]


def test_what_comes_beyond_the_end_is_not_of_the_file(part):
    receiver = part()
    receiver.asked(1)
    receiver.take(CONTENT + b"savedump-stat 1")
    receiver.take(b" 2 3 4\n")
    receiver.take(bytes(1 << 20))
    assert is_whole(receiver) and receiver.wire == len(CONTENT)
    assert receiver.rest.startswith(b"savedump-stat 1 2 3 4\n") and len(receiver.rest) < 5000


def test_holes_are_filled(part):
    damaged = bytearray(CONTENT)
    damaged[100000:110000] = bytes(10000)
    damaged[200000:] = b""
    receiver = part(damaged)
    assert receiver.matches(0, 100000, hashlib.sha256(CONTENT[:100000]).hexdigest())
    assert not receiver.matches(100000, 10000, hashlib.sha256(CONTENT[100000:110000]).hexdigest())
    assert receiver.matches(110000, 90000, hashlib.sha256(CONTENT[110000:200000]).hexdigest())
    receiver.missing = [(100000, 110000), (200000, len(CONTENT))]
    assert receiver.asked(1) == [(100000, 10000)]
    receiver.take(CONTENT[100000:110000] + b"line")
    assert receiver.missing == [(200000, len(CONTENT))] and receiver.rest == b"line"
    assert receiver.asked(2) == [(200000, 100000)] and receiver.rest == b""
    receiver.take(CONTENT[200000:])
    assert is_whole(receiver) and receiver.wire == len(CONTENT) - 190000


def test_what_comes_again_counts_for_the_digest_as_it_is_then(part):
    receiver = part()
    receiver.asked(1)
    receiver.take(CONTENT[:1000] + bytes(1000) + CONTENT[2000:])
    assert receiver.sha256() != SHA256
    receiver.missing = [(1000, 2000)]
    receiver.asked(1)
    receiver.take(CONTENT[1000:2000])
    assert is_whole(receiver)


def test_what_does_not_match_spoils_no_digest(part):
    receiver = part(bytes(1000))
    assert not receiver.matches(0, 1000, SHA256)
    receiver.asked(1)
    receiver.take(CONTENT)
    assert is_whole(receiver)


def test_what_is_not_there_does_not_match(part):
    assert not part(CONTENT[:10]).matches(0, 20, hashlib.sha256(CONTENT[:20]).hexdigest())


def test_a_pace_is_kept():
    pace = _receiver.Pace(100000)
    assert 4096 <= pace.block <= 100000
    start = time.monotonic()
    for _ in range(10):
        pace.passed(10000)
    # The first quarter of a second may come at once. Never faster; how much slower depends on the machine.
    assert time.monotonic() - start >= 0.74


def test_a_pause_is_not_made_up_for():
    pace = _receiver.Pace(100000)
    pace.passed(10)
    time.sleep(1)
    start = time.monotonic()
    pace.passed(100000)
    assert time.monotonic() - start >= 0.74


def test_without_a_limit_nothing_waits(monkeypatch):
    monkeypatch.setattr(_receiver.time, "sleep", lambda seconds: pytest.fail("slept"))
    _receiver.Pace(0).passed(1 << 40)


def test_words_come_ever_more_seldom(monkeypatch):
    """Over an hour at 1 MiB/s, asked every second."""
    said, clock = [], [1000.0]
    monkeypatch.setattr(_receiver.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(_receiver.display, "display", lambda words: said.append((clock[0] - 1000, words)))
    progress = _receiver.Progress("web1: core.gz")
    for second in range(3600):
        clock[0] = 1000.0 + second
        progress.at("fetched", second << 20, 3600 << 20)
    moments = [moment for moment, _ in said]
    assert moments[:6] == [10, 30, 70, 150, 310, 630] and len(moments) == 15
    assert said[0][1] == "web1: core.gz: fetched 10.0 MiB of 3.5 GiB (0 %), 1.0 MiB/s, 59 min left"
    assert all("\n" not in words and words.startswith("web1: ") for _, words in said)
