# SPDX-License-Identifier: Apache-2.0
"""Frames on a pipe, and what becomes of those that nobody of ours would send."""

import io
import struct

import pytest
from savedump_core.errors import CannotWrite
from savedump_core.wire import frames


def pair():
    pipe = io.BytesIO()
    return pipe, frames.Sender(pipe.write), frames.Receiver(lambda size: pipe.read(min(size, 7)))


def framed(document):
    return struct.pack(">cI", b"J", len(document)) + document


def test_what_is_sent_arrives():
    pipe, sender, receiver = pair()
    data = bytes(range(256)) * 10000
    sender.alive()
    sender.document({"path": "/a\udcff", "number": 1})
    sender.write(data)
    sender.alive()
    sender.write(b"end")
    sender.end()
    sender.document({})
    pipe.seek(0)
    assert receiver.document() == {"path": "/a\udcff", "number": 1}
    stream = receiver.stream()
    assert stream.read(3) == data[:3]
    rest = b"".join(iter(lambda: stream.read(100000), b""))
    assert data[:3] + rest == data + b"end" and stream.read(1) == b""
    assert receiver.document() == {}
    assert receiver.received == len(pipe.getvalue())


def test_failure_of_the_other_end_is_raised_wherever_it_comes():
    for in_stream in (False, True):
        pipe, sender, receiver = pair()
        if in_stream:
            sender.write(b"some")
        sender.failure(CannotWrite("no room", "make some"))
        sender.document({"next": 1})
        pipe.seek(0)
        with pytest.raises(frames.Failed) as caught:
            receiver.stream().drain() if in_stream else receiver.document()
        assert (caught.value.message, caught.value.hint, caught.value.exit_status) == ("no room", "make some", 73)
        assert receiver.document() == {"next": 1}


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"J",
        struct.pack(">cI", b"J", 10) + b"{}",
        struct.pack(">cI", b"J", frames.MAX_DOCUMENT + 1),
        struct.pack(">cI", b"F", 0xFFFFFFFF),
        struct.pack(">cI", b"A", 1) + b"x",
        struct.pack(">cI", b"X", 0),
        struct.pack(">cI", b"D", 1) + b"x",
        struct.pack(">cI", b"J", 2) + b"[]",
        struct.pack(">cI", b"J", 3) + b"\xff{}",
        struct.pack(">cI", b"J", 40000) + b"[" * 40000,
        b"Welcome to host1\n",
        framed(b'{"path": "/a\\ud800"}'),
        framed(b'{"\\udc7f": 1}'),
        framed(b'{"a": [' + b"[]," * (2 << 20) + b"[]]}"),
    ],
)
def test_nonsense_breaks_the_session(sent):
    with pytest.raises(frames.Broken):
        frames.Receiver(io.BytesIO(sent).read).document()


def test_other_end_that_only_lives_is_not_waited_for_for_ever():
    with pytest.raises(frames.Broken, match="nothing else"):
        frames.Receiver(io.BytesIO(struct.pack(">cI", b"A", 0) * 10000).read).document()


def test_other_end_that_sends_nothing_without_end_is_not_heard_out():
    with pytest.raises(frames.Broken, match="in the middle"):
        frames.Receiver(io.BytesIO(struct.pack(">cI", b"D", 0) * 10).read).stream().read()


def test_stream_that_ends_early_is_broken():
    pipe, sender, receiver = pair()
    sender.write(b"half")
    pipe.seek(0)
    with pytest.raises(frames.Broken):
        receiver.stream().drain()


def test_exit_status_is_that_of_a_program():
    for said, taken in ((69, 69), (0, 1), (-5, 1), (300, 1), ("x", 1), (None, 1)):
        pipe, sender, receiver = pair()
        error = CannotWrite("x" * 10000)
        error.exit_status = said
        sender.failure(error)
        pipe.seek(0)
        with pytest.raises(frames.Failed) as caught:
            receiver.document()
        assert caught.value.exit_status == taken and len(caught.value.message) == 4000
