# SPDX-License-Identifier: Apache-2.0
"""A dump's bytes are the same whatever it is compressed with, and reading back costs a bounded number of passes."""

import bz2
import gzip
import lzma
import os
import random
import subprocess
import zlib

import pytest

from savedump_core import compression
from savedump_core.errors import BadDump, Busy, ToolMissing
from savedump_core.source import open_source, packed as packing
from savedump_core.source.packed import BLOCK
from savedump_core.sysroot import Refused

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
        start = source._start
        monkeypatch.setattr(source, "_start", lambda: passes.append(1) or start())
        source.prefetch([(8 * BLOCK, 100), (0, 100)])
        assert source.read_at(8 * BLOCK, 100) == CONTENT[8 * BLOCK : 8 * BLOCK + 100]
        assert source.read_at(0, 100) == CONTENT[:100]
        assert passes == []
        assert source.read_at(BLOCK, 100) == CONTENT[BLOCK : BLOCK + 100]
        assert passes == [1]


def test_passes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MAX_KEPT", BLOCK)
    path = tmp_path / "core.gz"
    path.write_bytes(gzip.compress(CONTENT))
    with open_source(str(path)) as source:
        answers = [source.read_at((index % 3) * BLOCK, 1) for index in range(6, 40)]
        assert answers[0] == CONTENT[:1]
        assert answers[-1] == b"" and source._passes == packing.MAX_PASSES
        assert "too many passes" in source.damage


def test_stream_that_goes_on_behind_the_dump_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MAX_TAIL", BLOCK)
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
    monkeypatch.setattr(compression.xz, "available", lambda: False)
    with pytest.raises(ToolMissing, match="compressed with xz") as error:
        open_source(str(path))
    assert error.value.exit_status == 69 and "install" in error.value.hint


def scattered(source, content, count=60):
    """Read here and there, as a kernel's memory is."""
    order = random.Random(2)
    for _ in range(count):
        offset = order.randrange(len(content))
        assert source.read_at(offset, 300) == content[offset : offset + 300]


def test_all_over_a_compressed_dump(packed):
    """Whatever the codec; and reading it through afterwards is still the whole of it."""
    with open_source(packed) as source:
        source.random_access()
        scattered(source, CONTENT)
        assert source.size == len(CONTENT) and source.exhausted is None and source.damage is None
        assert b"".join(source.chunks([(0, len(CONTENT))])) == CONTENT
        scattered(source, CONTENT, 5)


def test_gzip_goes_on_from_points(tmp_path, monkeypatch):
    """Reading back costs no pass, and there are never many points."""
    monkeypatch.setattr(packing, "MAX_KEPT", BLOCK)
    monkeypatch.setattr(packing, "MAX_POINTS", 8)
    monkeypatch.setattr(packing, "_FIRST_SPACING", 1)
    content = b"".join(os.urandom(900) * 40 + bytes(5000) for _ in range(120))
    path = tmp_path / "core.gz"
    # Several members, as pigz -i and cat make them, and what zlib packs best and worst.
    path.write_bytes(gzip.compress(content[:700001]) + gzip.compress(content[700001:], 1))
    with open_source(str(path)) as source:
        source.random_access()
        scattered(source, content, 200)
        assert 4 <= len(source._points) <= 8
        assert source._work < 200 * len(content) // 6, "from the nearest point, not from the start"


def test_gzip_points_stop_at_damage(tmp_path):
    content = os.urandom(40 * BLOCK)
    whole = gzip.compress(content)
    path = tmp_path / "core.gz"
    for cut in (len(whole) // 2, len(whole) // 3):
        path.write_bytes(whole[:cut])
        with open_source(str(path)) as source:
            source.random_access()
            size = source.size
            assert "ends early" in source.damage and cut - BLOCK < size < cut
            scattered(source, content[: size - 300])
            assert source.read_at(size - 5, 100) == content[size - 5 : size]


@pytest.mark.parametrize("suffix", [".xz", ".zst"])
def test_reading_that_would_never_end_is_given_up(tmp_path, monkeypatch, suffix):
    """It is no damage of the dump: whoever reads is told to unpack it."""
    for name, value in (("MAX_KEPT", BLOCK), ("MAX_PASSING", 0), ("_MAX_PASSING_SLOW", 0), ("MAX_STASH", 0),
                        ("MAX_WORK", 1), ("_MAX_WORK_SLOW", 1)):  # fmt: skip
        monkeypatch.setattr(packing, name, value)
    pack = dict(PACK.values())[suffix]
    path = tmp_path / ("core" + suffix)
    path.write_bytes(pack(CONTENT))
    with open_source(str(path)) as source:
        source.random_access()
        answers = [source.read_at((index % 5) * BLOCK, 1) for index in range(200, 0, -1)]
        assert answers[0] == CONTENT[:1] and answers[-1] == b""
        assert "unpack it first" in source.exhausted and source.damage is None
        assert source._work <= packing._WORK_PASSES * len(CONTENT)


def test_siblings_are_regular_files_of_the_same_folder(tmp_path):
    folder = tmp_path / "crash"
    folder.mkdir()
    for name in ("dump1", "dump2"):
        (folder / name).write_bytes(name.encode())
    (folder / "link").symlink_to(folder / "dump2")
    os.mkfifo(str(folder / "fifo"))
    (tmp_path / "here").symlink_to(folder / "dump1")
    for path in (folder / "dump1", tmp_path / "here"):
        with open_source(str(path)) as source:
            assert source.sibling_names() == ["dump2", "fifo", "link"]
            other = source.sibling("dump2")
            assert other.read_at(0, 9) == b"dump2" and other.path == str(folder / "dump2")
            for name in ("link", "fifo"):
                with pytest.raises(Refused):
                    source.sibling(name)
            with pytest.raises(OSError):
                source.sibling("dump3")
        with pytest.raises(OSError):
            os.fstat(other._fd)


def test_pages_are_unpacked(tmp_path):
    (tmp_path / "dump").write_bytes(b"")
    with open_source(str(tmp_path / "dump")) as source:
        assert source.unpack_page("zlib", zlib.compress(bytes(4096)), 4096) == bytes(4096)
        with pytest.raises(BadDump):
            source.unpack_page("snappy", b"", 4096)


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_only_regular_files(path):
    with pytest.raises(BadDump, match="not a regular file"):
        open_source(path)
