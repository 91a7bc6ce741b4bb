# SPDX-License-Identifier: Apache-2.0
"""A dump's bytes are the same whatever it is compressed with, and reading back costs a bounded number of passes."""

import bz2
import gzip
import lzma
import os
import random
import subprocess

import pytest

from savedump_core import source as sources
from savedump_core.errors import BadDump, Busy, ToolMissing
from savedump_core.source import BLOCK, open_source

CONTENT = os.urandom(3 * BLOCK) + bytes(5 * BLOCK) + os.urandom(BLOCK + 777) + bytes(BLOCK)

PACK = {
    "gzip": (".gz", gzip.compress),
    "bzip2": (".bz2", bz2.compress),
    "xz": (".xz", lzma.compress),
    "zstd": (
        ".zst",
        lambda data: subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout,
    ),
    "lz4": (".lz4", lambda data: subprocess.run(["lz4", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout),
}


@pytest.fixture(params=sorted(PACK))
def packed(request, tmp_path):
    suffix, pack = PACK[request.param]
    path = tmp_path / ("core.1" + suffix)
    path.write_bytes(pack(CONTENT))
    return str(path)


def test_reads_in_any_order_are_the_content(packed):
    order = random.Random(1)
    with open_source(packed) as source:
        for _ in range(50):
            offset, size = order.randrange(len(CONTENT) + BLOCK), order.randrange(1, 2 * BLOCK)
            assert source.read_at(offset, size) == CONTENT[offset : offset + size]
        assert source.size == len(CONTENT) and source.damage is None
        assert source.name == "core.1" and source.stored_size == os.path.getsize(packed)


def test_straight_through_gives_the_extents(packed):
    with open_source(packed) as source:
        extents = source.extents()
        assert extents[0] == (0, 3 * BLOCK) and extents[1][0] == 8 * BLOCK
        whole = bytearray(source.size)
        chunks = b"".join(source.chunks(extents))
        at = 0
        for offset, size in extents:
            whole[offset : offset + size] = chunks[at : at + size]
            at += size
        assert bytes(whole) == CONTENT and at == len(chunks) < len(CONTENT)


def test_two_passes_under_way_do_not_disturb_each_other(packed):
    with open_source(packed) as source:
        assert source.read_at(0, 10) == CONTENT[:10]
        chunks = source.chunks([(0, 3 * BLOCK)])
        first = next(chunks)
        assert source.read_at(8 * BLOCK, 100) == CONTENT[8 * BLOCK : 8 * BLOCK + 100]
        assert first + b"".join(chunks) == CONTENT[: 3 * BLOCK]


def test_stream_that_is_cut_gives_what_is_there_and_says_so(packed):
    os.truncate(packed, os.path.getsize(packed) * 2 // 3)
    with open_source(packed) as source:
        size = source.size
        assert 0 <= size < len(CONTENT) and source.damage
        assert source.read_at(0, size) == CONTENT[:size]


def test_what_was_announced_costs_one_pass(tmp_path, monkeypatch):
    path = tmp_path / "core.gz"
    path.write_bytes(gzip.compress(CONTENT))
    with open_source(str(path)) as source:
        passes = []
        stream = source._stream
        monkeypatch.setattr(source, "_stream", lambda piece: passes.append(piece) or stream(piece))
        source.prefetch([(8 * BLOCK, 100), (0, 100)])
        assert source.read_at(8 * BLOCK, 100) == CONTENT[8 * BLOCK : 8 * BLOCK + 100]
        assert source.read_at(0, 100) == CONTENT[:100]
        assert passes == []
        assert source.read_at(BLOCK, 100) == CONTENT[BLOCK : BLOCK + 100]
        assert passes == [BLOCK]


def test_passes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_KEPT", BLOCK)
    path = tmp_path / "core.gz"
    path.write_bytes(gzip.compress(CONTENT))
    with open_source(str(path)) as source:
        answers = [source.read_at((index % 3) * BLOCK, 1) for index in range(6, 40)]
        assert answers[0] == CONTENT[:1]
        assert answers[-1] == b"" and source._passes == sources.MAX_PASSES
        assert "too many passes" in source.damage


def test_stream_that_goes_on_behind_the_dump_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_TAIL", BLOCK)
    path = tmp_path / "core.gz"
    path.write_bytes(gzip.compress(bytes(100 * BLOCK)))
    with open_source(str(path)) as source:
        source.expect(2 * BLOCK)
        assert source.size == 4 * BLOCK
        assert "goes on after %d bytes" % (2 * BLOCK) in source.damage


def test_plain_dump_that_shrinks_is_noticed(tmp_path):
    path = tmp_path / "core"
    path.write_bytes(CONTENT)
    with open_source(str(path)) as source:
        os.truncate(str(path), 10)
        with pytest.raises(Busy):
            list(source.chunks([(0, len(CONTENT))]))
        with pytest.raises(Busy):
            source.check_unchanged()


def test_codec_that_is_not_there_is_named(tmp_path, monkeypatch):
    path = tmp_path / "core.xz"
    path.write_bytes(lzma.compress(CONTENT))
    monkeypatch.setattr(sources.compression.xz, "available", lambda: False)
    with pytest.raises(ToolMissing, match="compressed with xz") as error:
        open_source(str(path))
    assert error.value.exit_status == 69 and "install" in error.value.hint


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_only_regular_files(path):
    with pytest.raises(BadDump, match="not a regular file"):
        open_source(path)
