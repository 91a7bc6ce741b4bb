# SPDX-License-Identifier: Apache-2.0
"""Where a file's data lies, the map of it, and the digest rule."""

import errno
import hashlib
import io
import os

import pytest

from savedump_core.tarstream import sparse
from savedump_core.tarstream.sparse import Digest

MB = 1 << 20


def holes(path, data, size):
    with open(str(path), "wb") as file:
        for offset, content in data:
            file.seek(offset)
            file.write(content)
        file.truncate(size)
    return str(path)


def extents_of(path, size=None):
    with open(path, "rb") as file:
        return sparse.extents(file.fileno(), os.path.getsize(path) if size is None else size)


def test_extents_of_a_real_file(tmp_path):
    path = holes(tmp_path / "f", [(MB, b"x" * 8192), (5 * MB, b"y" * 5000)], 9 * MB)
    assert extents_of(path) == [(MB, 8192), (5 * MB, 8192)]
    assert extents_of(holes(tmp_path / "end", [(MB, b"z" * 5000)], MB + 5000)) == [(MB, 5000)]
    assert extents_of(holes(tmp_path / "hole", [], MB)) == []
    assert extents_of(holes(tmp_path / "empty", [], 0)) == []
    assert extents_of(holes(tmp_path / "full", [(0, b"a" * 9000)], 9000)) == [(0, 9000)]


def test_what_a_file_has_beyond_the_size_that_was_asked_for_is_left_out(tmp_path):
    path = holes(tmp_path / "grown", [(0, b"a" * 8192), (MB, b"b" * 8192)], 2 * MB)
    assert extents_of(path, MB + 100) == [(0, 8192), (MB, 100)]
    assert extents_of(path, 4096) == [(0, 4096)]


def test_a_file_that_shrank(tmp_path):
    path = holes(tmp_path / "shrunk", [(0, b"a" * 8192)], 8192)
    assert extents_of(path, MB) == [(0, 8192)]


def test_where_nobody_can_tell(monkeypatch):
    read_end, write_end = os.pipe()
    try:
        assert sparse.extents(read_end, 1000) == [(0, 1000)]
    finally:
        os.close(read_end)
        os.close(write_end)
    monkeypatch.delattr(os, "SEEK_DATA")
    assert sparse.extents(-1, 1000) == [(0, 1000)]
    assert sparse.extents(-1, 0) == []


class Seeks:
    """lseek of a file with data at these [start, end)."""

    def __init__(self, data):
        self.data = data

    def __call__(self, fd, at, whence):
        for start, end in self.data:
            if at < end:
                if whence == os.SEEK_DATA:
                    return max(at, start)
                return at if at < start else end
        raise OSError(errno.ENXIO, "No such device or address")


def test_extents_are_rounded_to_blocks(monkeypatch):
    """A file system may have holes of any granularity; GNU tar restores whole blocks of 512."""
    monkeypatch.setattr(os, "lseek", Seeks([(700, 900), (1030, 1100), (9000, 9001), (10001, 10007)]))
    assert sparse.extents(3, 10007) == [(512, 1024), (8704, 512), (9728, 279)]


def test_answers_that_make_no_sense(monkeypatch):
    monkeypatch.setattr(os, "lseek", lambda fd, at, whence: 512)
    assert sparse.extents(3, 5000) == [(512, 4488)]


def test_an_error_of_the_disk_passes(monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "lseek", fail)
    with pytest.raises(OSError):
        sparse.extents(3, 1000)


def test_very_many_extents_are_merged(monkeypatch):
    count = 3 * sparse.MAX_EXTENTS
    data = [(n * 8192, n * 8192 + 4096) for n in range(count)]
    data += [(1 << 40, (1 << 40) + 4096)]

    class Direct:
        """As Seeks, for an even pattern."""

        def __call__(self, fd, at, whence):
            if at >= data[-1][1]:
                raise OSError(errno.ENXIO, "No such device or address")
            if at >= count * 8192:
                return data[-1][0] if whence == os.SEEK_DATA else data[-1][1]
            inside = at % 8192 < 4096
            if whence == os.SEEK_DATA:
                return at if inside else self(fd, at - at % 8192 + 8192, whence)
            return at - at % 8192 + 4096 if inside else at

    monkeypatch.setattr(os, "lseek", Direct())
    found = sparse.extents(3, (1 << 40) + 8192)
    assert len(found) <= sparse.MAX_EXTENTS
    sparse.check(found, (1 << 40) + 8192)
    assert found[0][0] == 0 and found[-1] == (1 << 40, 4096)
    covered = iter(found)
    offset, length = next(covered)
    for start, end in data:
        while start >= offset + length:
            offset, length = next(covered)
        assert offset <= start and end <= offset + length


@pytest.mark.parametrize("data", [[(0, 0)], [(5, -1)], [(0, 10), (9, 5)], [(10, 5), (0, 5)], [(95, 6)], [(-1, 5)]])
def test_bad_extents(data):
    with pytest.raises(ValueError):
        sparse.check(data, 100)


def test_map():
    assert sparse.encode_map([(512, 512), (4096, 10)], 4106) == b"2\n512\n512\n4096\n10\n".ljust(512, b"\0")
    assert sparse.encode_map([(0, 512)], 2000) == b"2\n0\n512\n2000\n0\n".ljust(512, b"\0")
    assert sparse.encode_map([], 2000) == b"1\n2000\n0\n".ljust(512, b"\0")
    assert len(sparse.encode_map([(n << 30, 512) for n in range(100)], 1 << 60)) % 512 == 0


def test_digest_of_small_holes_is_that_of_the_content():
    content = bytes(1000) + b"a" * 700 + bytes(5 * MB) + b"b" * 300 + bytes(77)
    data = [(1000, 700), (1700 + 5 * MB, 300)]
    expected = Digest("sha256", hashlib.sha256(content).hexdigest())
    for step in (1, 650, 1000):
        stored = b"a" * 700 + b"b" * 300
        chunks = [stored[at : at + step] for at in range(0, 1000, step)]
        assert sparse.digest_of(data, len(content), chunks) == expected


def test_digest_of_large_holes_is_that_of_the_member_as_stored():
    limit = sparse.HASHED_HOLES_MAX
    at_limit = sparse.digest_of([(0, 512)], limit + 512, [b"x" * 512])
    assert at_limit.algorithm == "sha256"
    beyond = sparse.digest_of([(0, 512)], limit + 513, [b"x" * 512])
    table = ("2\n0\n512\n%d\n0\n" % (limit + 513)).encode().ljust(512, b"\0")
    assert beyond == Digest("sha256-stored", hashlib.sha256(table + b"x" * 512).hexdigest())


def test_placed():
    file = io.BytesIO()
    placed = sparse.Placed(file, [(10, 4), (100, 6)], 200)
    for chunk in (b"ab", b"cdef", b"ghij"):
        placed.write(chunk)
    assert file.getvalue() == bytes(10) + b"abcd" + bytes(86) + b"efghij"
    assert placed.read_at(98, 5) == b"\0\0efg"
    assert placed.read_at(-1, 5) == placed.read_at(200, 5) == placed.read_at(1 << 64, 1) == b""
    assert sparse.Placed(None, [], 5).read_at(0, 5) == b""
