# SPDX-License-Identifier: Apache-2.0
"""A tar in which files are references."""

import hashlib
import io
import random
import struct

import pytest
from savedump_core.tarstream.writer import TarWriter
from savedump_core.wire import parcel
from savedump_core.wire.frames import Broken

FILE = random.Random(1).getrandbits(8 * 5000).to_bytes(5000, "big")
SHA = hashlib.sha256(FILE).hexdigest()
EXTENTS = [(512, 1024), (4096, 904)]


def packed(known, extents=((0, 5000),), after=0):
    pipe = io.BytesIO()
    sink = parcel.Writer(pipe, after)
    tar = TarWriter(sink, mtime=1)
    tar.add_bytes("first", b"x" * 700, 0o600)
    if known:
        tar.add_known("file", 5000, extents, 0o644, SHA)
    else:
        chunks = [FILE[offset : offset + size] for offset, size in extents]
        tar.add_sparse("file", 5000, extents, 0o644, chunks)
    tar.close()
    sink.close()
    return pipe.getvalue()


def unpacked(data):
    whole = b""
    for piece in parcel.records(io.BytesIO(data)):
        if isinstance(piece, parcel.Reference):
            assert (piece.sha256, piece.size) == (SHA, 5000)
            piece = b"".join(FILE[offset : offset + size] for offset, size in piece.extents)
        whole += piece
    return whole


@pytest.mark.parametrize("extents", [[(0, 5000)], EXTENTS, []])
def test_reference_stands_for_the_very_bytes(extents):
    assert unpacked(packed(True, extents)) == unpacked(packed(False, extents))
    assert len(packed(True, extents)) < len(packed(False, extents)) or not extents


def test_empty_file_may_be_known():
    pipe = io.BytesIO()
    sink = parcel.Writer(pipe)
    TarWriter(sink, mtime=1).add_known("file", 0, [], 0o644, SHA)
    sink.close()
    assert [piece for piece in parcel.records(io.BytesIO(pipe.getvalue())) if not isinstance(piece, bytes)] == [
        parcel.Reference(SHA, 0, ())
    ]


def test_every_cut_and_every_flipped_byte_is_noticed():
    whole = packed(True, EXTENTS)
    for at in range(len(whole)):
        with pytest.raises(Broken):
            list(parcel.records(io.BytesIO(whole[:at])))
    for at in random.Random(2).sample(range(len(whole)), 300):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(Broken):
            list(parcel.records(io.BytesIO(bytes(damaged))))


def test_what_was_cut_off_goes_on_wherever_it_was():
    """In the middle of data, before and after a reference, at the very end; the sender has other pieces than before."""
    whole = packed(True, EXTENTS)
    pieces = list(parcel.records(io.BytesIO(whole)))
    for cut in range(len(whole)):
        mark, came = parcel.Mark(), []
        with pytest.raises(Broken):
            _keep(parcel.records(io.BytesIO(whole[:cut]), mark), came)
        rest = list(parcel.records(io.BytesIO(packed(True, EXTENTS, mark.at)), mark))
        assert _joined(came + rest) == _joined(pieces)
    for at in range(1, 700):
        mark, stream = parcel.Mark(), pieces[0] + pieces[1]
        mark.passed(stream[:at])
        assert _joined([stream[:at], *parcel.records(io.BytesIO(packed(True, EXTENTS, at)), mark)]) == _joined(pieces)


def _keep(pieces, came):
    for piece in pieces:
        came.append(piece)  # noqa: PERF402  # what came before it breaks stays


def _joined(pieces):
    """Data that comes one after the other as one."""
    joined = [b""]
    for piece in pieces:
        if isinstance(piece, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


@pytest.mark.parametrize("before, after", [(b"y" * 600, 600), (b"", 0), (b"x", 99999)])
def test_what_does_not_go_on_is_refused(before, after):
    mark = parcel.Mark()
    mark.passed(before or b"x")
    with pytest.raises(parcel.Changed):
        list(parcel.records(io.BytesIO(packed(True, EXTENTS, after)), mark))


@pytest.mark.parametrize(
    "record",
    [
        b"X",
        struct.pack(">cI", b"L", 0xFFFFFFFF),
        struct.pack(">c32sQI", b"R", b"", 1 << 40, 0xFFFFFFFF),
        struct.pack(">c32sQIQQ", b"R", b"", 100, 1, 50, 100),
        struct.pack(">c32sQIQQQQ", b"R", b"", 100, 2, 50, 10, 40, 10),
        struct.pack(">c32sQIQQ", b"R", b"", 100, 1, 50, 0),
    ],
)
def test_record_that_cannot_be_is_refused_before_memory_is_taken(record):
    with pytest.raises(Broken):
        list(parcel.records(io.BytesIO(record)))
