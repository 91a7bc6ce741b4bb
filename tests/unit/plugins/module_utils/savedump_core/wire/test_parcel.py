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


def packed(known, extents=((0, 5000),)):
    pipe = io.BytesIO()
    sink = parcel.Writer(pipe)
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
