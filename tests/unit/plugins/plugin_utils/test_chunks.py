# SPDX-License-Identifier: Apache-2.0
"""What is here of a file, compared with what the target says of it: only what differs or is missing comes again."""

import hashlib
import os

import pytest
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _chunks, _receiver

CHUNK = _chunks.SMALLEST
#: Five chunks, no two alike, and a bit.
CONTENT = b"".join(bytes([number]) * CHUNK for number in range(5)) + b"end"


def listing(content=CONTENT, chunk=CHUNK):
    lines = [hashlib.sha256(content[at : at + chunk]).hexdigest() for at in range(0, len(content), chunk)]
    return "".join("savedump-chunk %s\n" % line for line in lines).encode()


@pytest.fixture
def receiver(tmp_path):
    """receiver(bytes of a .part): for a file like CONTENT."""
    descriptors = []

    def make(content):
        path = tmp_path / "x.part"
        path.write_bytes(content)
        descriptors.append(os.open(str(path), os.O_RDWR))
        return _receiver.Receiver(descriptors[-1], str(path), len(CONTENT))

    yield make
    for descriptor in descriptors:
        os.close(descriptor)


def compared(receiver, text, length=None):
    comparison = _chunks.Comparison(receiver, receiver.there if length is None else length)
    comparison.take(text)
    comparison.finish()
    return receiver.missing


def test_a_part_that_is_right(receiver):
    there = CONTENT[: 2 * CHUNK + 7]
    assert compared(receiver(there), listing(there)) == [(len(there), len(CONTENT))]


def test_a_whole_part(receiver):
    whole = receiver(CONTENT)
    assert compared(whole, listing()) == []
    assert whole.sha256() == hashlib.sha256(CONTENT).hexdigest()


def test_a_damaged_byte_costs_its_chunk(receiver):
    there = bytearray(CONTENT[: 4 * CHUNK])
    there[CHUNK + 5] ^= 1
    assert compared(receiver(there), listing(CONTENT[: 4 * CHUNK])) == [
        (CHUNK, 2 * CHUNK),
        (4 * CHUNK, len(CONTENT)),
    ]


def test_neighbours_are_one_range(receiver):
    there = bytearray(CONTENT)
    there[CHUNK] ^= 1
    there[2 * CHUNK] ^= 1
    there[-1] ^= 1
    assert compared(receiver(there), listing()) == [(CHUNK, 3 * CHUNK), (5 * CHUNK, len(CONTENT))]


def test_a_foreign_part_is_worth_nothing(receiver):
    assert compared(receiver(os.urandom(3 * CHUNK)), listing(CONTENT[: 3 * CHUNK])) == [(0, len(CONTENT))]


def test_a_part_that_is_longer_than_the_file(receiver):
    longer = receiver(CONTENT + b"of an earlier state")
    assert longer.there == len(CONTENT)
    assert compared(longer, listing()) == []
    with open(longer.path, "rb") as stream:
        assert stream.read() == CONTENT


def test_a_list_that_ends_early_leaves_the_rest_missing(receiver):
    half = b"".join(listing().splitlines(True)[:2])
    assert compared(receiver(CONTENT), half + b"savedump-chunk 1234") == [(2 * CHUNK, len(CONTENT))]


def test_a_list_that_goes_on_in_a_second_one(receiver):
    whole = receiver(CONTENT)
    comparison = _chunks.Comparison(whole, len(CONTENT))
    lines = listing().splitlines(True)
    comparison.take(b"".join(lines[:2]) + lines[2][:30])
    assert comparison.at == 2 * CHUNK
    comparison.begin()
    for line in lines[2:]:
        for at in range(0, len(line), 7):
            comparison.take(line[at : at + 7])
    comparison.finish()
    assert whole.missing == []


def test_more_lines_than_chunks_are_left_alone(receiver):
    assert compared(receiver(CONTENT), listing() * 3) == []


def test_a_pty_changes_line_ends(receiver):
    assert compared(receiver(CONTENT), listing().replace(b"\n", b"\r\n")) == []


def test_no_list(receiver):
    comparison = _chunks.Comparison(receiver(CONTENT), len(CONTENT))
    comparison.take(b"savedump-none\n")
    assert not comparison.possible
    with pytest.raises(_chunks.NoList):
        comparison.take(bytes(1 << 16))
    comparison.begin()
    with pytest.raises(_chunks.NoList):
        comparison.take(b"savedump-going\n" * 5000)


@pytest.mark.parametrize("size", [0, 1, 1 << 30, 1 << 38, (1 << 38) + 1, 1 << 43])
def test_a_list_stays_short_and_chunks_whole_mebibytes(size):
    chunk = _chunks.size_for(size)
    assert chunk >= CHUNK and chunk % (1 << 20) == 0
    assert -(-size // chunk) <= 1 << 16
    assert chunk == CHUNK or size > (1 << 38)
