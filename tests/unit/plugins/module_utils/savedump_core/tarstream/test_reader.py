# SPDX-License-Identifier: Apache-2.0
"""Tars of every maker, and what a hostile one may say."""

import io
import os
import shutil
import struct
import subprocess
import tarfile

import pytest

from savedump_core.errors import BadDump
from savedump_core.tarstream import header, reader, sparse
from savedump_core.tarstream.writer import TarWriter

MB = 1 << 20
ACCENT = os.fsdecode(b"caf\xc3\xa9")
LONG = "d" * 120 + "/" + "f" * 200
NOISE = os.urandom(300000)


def read(content):
    """Every member with its data."""
    return [(member, b"".join(member.chunks())) for member in reader.members(io.BytesIO(content))]


def names(content):
    return [member.name for member in reader.members(io.BytesIO(content))]


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "top"
    (top / LONG).parent.mkdir(parents=True)
    (top / LONG).write_bytes(b"long")
    (top / "noise").write_bytes(NOISE)
    (top / "empty").write_bytes(b"")
    (top / ACCENT).write_bytes(b"accent")
    (top / "folder").mkdir()
    (top / "link").symlink_to("noise")
    (top / "longlink").symlink_to("x/" * 200)
    with open(str(top / "core"), "wb") as file:
        for at in (MB, 3 * MB, 5 * MB):
            file.seek(at)
            file.write(NOISE[:8192])
        file.truncate(8 * MB)
    with open(str(top / "many"), "wb") as file:
        for at in range(200):
            file.seek(at * 65536)
            file.write(b"x" * 4096)
    return tmp_path


def run(folder, *arguments):
    return subprocess.run(arguments, cwd=str(folder), stdout=subprocess.PIPE, check=True).stdout


def by_python(folder, form):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        tar.add(str(folder / "top"), "top")
    return sink.getvalue()


def bsdtar(folder, form):
    if shutil.which("bsdtar") is None:
        pytest.skip("no bsdtar here (Debian: libarchive-tools)")
    return run(folder, "bsdtar", "--format", form, "-cf", "-", "top")


MAKERS = {
    "GNU tar, gnu": lambda folder: run(folder, "tar", "-c", "--format=gnu", "top"),
    "GNU tar, gnu, sparse": lambda folder: run(folder, "tar", "-cS", "--format=gnu", "top"),
    "GNU tar, pax": lambda folder: run(folder, "tar", "-c", "--format=posix", "top"),
    "GNU tar, pax, sparse": lambda folder: run(folder, "tar", "-cS", "--format=posix", "top"),
    "bsdtar, pax": lambda folder: bsdtar(folder, "pax"),
    "bsdtar, gnutar": lambda folder: bsdtar(folder, "gnutar"),
    "Python, pax": lambda folder: by_python(folder, tarfile.PAX_FORMAT),
    "Python, gnu": lambda folder: by_python(folder, tarfile.GNU_FORMAT),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_tars_of_other_makers(make, tree):
    found = {}
    for member, stored in read(make(tree)):
        restored = io.BytesIO()
        placed = sparse.Placed(restored, member.data, member.size)
        placed.write(stored)
        restored.truncate(member.size)
        found[member.name] = (member, restored.getvalue().ljust(member.size, b"\0"))
    assert {member.name: member.kind for member, _ in found.values()} == {
        "top": "dir", "top/" + LONG: "file", "top/" + LONG.split("/")[0]: "dir", "top/noise": "file",
        "top/empty": "file", "top/" + ACCENT: "file", "top/folder": "dir", "top/link": "symlink",
        "top/longlink": "symlink", "top/core": "file", "top/many": "file",
    }  # fmt: skip
    assert found["top/link"][0].target == "noise"
    # GNU tar and bsdtar keep a target as it is, and so did the link.
    assert found["top/longlink"][0].target.rstrip("/") == ("x/" * 200).rstrip("/")
    for name in ("noise", "empty", LONG, ACCENT, "core", "many"):
        assert found["top/" + name][1] == (tree / "top" / name).read_bytes(), name
    assert found["top/noise"][0].mode == os.stat(str(tree / "top/noise")).st_mode & 0o7777


def test_sparse_formats_are_read_as_such(tree):
    for maker in ("GNU tar, gnu, sparse", "GNU tar, pax, sparse", "bsdtar, pax"):
        for member, stored in read(MAKERS[maker](tree)):
            if member.name == "top/many":
                assert len(member.extents) == 200 and len(stored) == 200 * 4096, maker


@pytest.mark.parametrize("version", ["0.0", "0.1"])
def test_older_sparse_formats_are_refused(version, tree):
    content = run(tree, "tar", "-cS", "--format=posix", "--sparse-version=" + version, "top/core")
    with pytest.raises(BadDump, match="sparse member of a format"):
        read(content)


def test_what_unpack_has_to_refuse_is_other(tmp_path):
    os.mkfifo(str(tmp_path / "fifo"))
    (tmp_path / "one").write_bytes(b"1")
    os.link(str(tmp_path / "one"), str(tmp_path / "two"))
    content = run(tmp_path, "tar", "-c", "fifo", "one", "two", "/dev/null")
    assert [member.kind for member, _ in read(content)] == ["other", "file", "other", "other"]


def ours(add):
    sink = io.BytesIO()
    writer = TarWriter(sink, 0)
    add(writer)
    writer.close()
    return sink.getvalue()


def sample(tar):
    tar.add_bytes("top/a", b"first", 0o640)
    tar.add_sparse("top/core", 9 * MB, [(4096, 8192), (5 * MB, 512)], 0o600, [NOISE[:8704]])
    tar.add_symlink("top/l", "a")
    tar.add_bytes("top/" + LONG, NOISE[:5000], 0o600)


def test_our_own():
    members = read(ours(sample))
    assert [(member.name, member.kind, member.size, member.mode, member.target) for member, _ in members] == [
        ("top/a", "file", 5, 0o640, ""),
        ("top/core", "file", 9 * MB, 0o600, ""),
        ("top/l", "symlink", 0, 0o777, "a"),
        ("top/" + LONG, "file", 5000, 0o600, ""),
    ]
    assert [stored for _, stored in members] == [b"first", NOISE[:8704], b"", NOISE[:5000]]
    assert [member.extents for member, _ in members] == [None, [(4096, 8192), (5 * MB, 512)], None, None]
    assert members[0][0].position == 512


def test_digests_are_the_writers():
    written = []

    def add(tar):
        written.append(tar.add_bytes("top/a", b"first", 0o640))
        written.append(tar.add_sparse("top/b", 9 * MB, [(4096, 512)], 0o600, [NOISE[:512]]))
        written.append(tar.add_sparse("top/c", 1 << 42, [(4096, 512), (1 << 41, 5)], 0o600, [NOISE[:517]]))

    read_back = [
        sparse.digest_of(member.data, member.size, member.chunks()) for member in reader.members(io.BytesIO(ours(add)))
    ]
    assert read_back == written
    assert [digest.algorithm for digest in written] == ["sha256", "sha256", "sha256-stored"]


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff" * 150, b"a\nb" * 60, "\u00e9".encode() * 200])
def test_names_byte_for_byte(name):
    assert names(ours(lambda tar: tar.add_bytes(os.fsdecode(name), b"", 0o600))) == [os.fsdecode(name)]
    sparse_one = ours(lambda tar: tar.add_sparse(os.fsdecode(name), 9999, [(0, 512)], 0o600, [bytes(512)]))
    assert names(sparse_one) == [os.fsdecode(name)]


def test_content_may_be_left_unread():
    iterator = reader.members(io.BytesIO(ours(sample)))
    assert next(iterator).name == "top/a"
    core = next(iterator)
    assert next(core.chunks())
    assert [member.name for member in iterator] == ["top/l", "top/" + LONG]


def test_a_source_that_gives_little_at_a_time():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    assert [member.name for member in reader.members(Slow(ours(sample)))] == names(ours(sample))


def test_truncated_anywhere():
    content = ours(sample)
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512 + 1024
    for offset in list(range(0, end, 97)) + [end - 1]:
        with pytest.raises(BadDump, match=r"damaged at byte %d: it ends early" % offset):
            read(content[:offset])
    assert len(read(content[:end])) == 4


def test_flipped_bits_in_headers():
    content = ours(sample)
    # Nobody reads the blank behind the checksum, byte 155.
    for at in list(range(0, 155, 3)) + list(range(156, 512, 5)):
        broken = bytearray(content)
        broken[at] ^= 0x04
        with pytest.raises(BadDump, match="damaged at byte"):
            read(bytes(broken))


@pytest.mark.parametrize("junk", [b"x", b"\0" * 4000 + b"x", NOISE], ids=["byte", "zeros", "noise"])
def test_something_behind_the_end(junk):
    with pytest.raises(BadDump, match="something follows the end"):
        read(ours(sample) + junk)
    assert len(read(ours(sample) + bytes(100000))) == 4


def test_no_tar():
    for content in (b"", b"hello" * 200, NOISE, bytes(512), bytes(512) + NOISE):
        with pytest.raises(BadDump):
            read(content)
    assert read(bytes(1024)) == []


def block(name=b"top/x", size=0, kind=b"0", patch=None):
    raw = bytearray(header.headers(name, 0, 0o600, 0, kind)[:512])
    raw[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    for at, value in (patch or {}).items():
        raw[at : at + len(value)] = value
    raw[148:156] = b"        "
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def padded(content):
    return content + bytes(-len(content) % 512)


def base256(number):
    return struct.pack(">BxxxQ", 0x80, number)


@pytest.mark.parametrize("kind", [b"x", b"L", b"K", b"g"])
def test_extended_headers_of_absurd_size(kind):
    for size in (reader.MAX_EXTENDED + 1, 8**11 - 1, base256(1 << 62), b"\xff" * 12):
        with pytest.raises(BadDump, match="an extended header of|no tar header"):
            read(block(size=size, kind=kind) + bytes(4096))


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"not a size!!"])
def test_members_of_absurd_size(size):
    with pytest.raises(BadDump, match="a member of|no tar header"):
        read(block(size=size) + bytes(2048))


def pax(*records):
    content = b"".join(records)
    return block(b"x", len(content), b"x") + padded(content)


def record(text):
    for length in range(len(text), len(text) + 10):
        if len(b"%d %s\n" % (length, text)) == length:
            return b"%d %s\n" % (length, text)
    raise AssertionError


@pytest.mark.parametrize(
    "bad",
    [
        b"5 a=b\n", b"99 a=b\n", b"0 a=b\n", b"7 a=b\n", b"x a=b\n", b" a=b\n", b"-6 a=b\n", b"6 aab\n", b"\xff",
        b"9" * 40,
    ],
)  # fmt: skip
def test_pax_records_that_are_none(bad):
    with pytest.raises(BadDump, match="pax record"):
        read(pax(bad) + block() + bytes(1024))


@pytest.mark.parametrize("size", [b"-1", b"x", b"", b"1e9", b"9" * 19, b"9" * 5000, b"\xd9\xa3"])
def test_pax_sizes_that_are_none(size):
    with pytest.raises(BadDump, match="no size"):
        read(pax(record(b"size=" + size)) + block() + bytes(1024))


def test_a_header_for_a_member_that_does_not_come():
    with pytest.raises(BadDump, match="does not come"):
        read(pax(record(b"path=x")) + bytes(1024))


def sparse_member(table, data=b"", realsize=b"10000", stored=None):
    content = padded(table) + data
    head = pax(
        record(b"GNU.sparse.major=1"), record(b"GNU.sparse.minor=0"), record(b"GNU.sparse.name=top/s"),
        record(b"GNU.sparse.realsize=" + realsize),
    )  # fmt: skip
    return head + block(size=len(content) if stored is None else stored) + padded(content) + bytes(1024)


def test_a_sparse_map_that_is_right():
    ((member, stored),) = read(sparse_member(b"3\n0\n5\n512\n6\n10000\n0\n", b"hello world"))
    assert (member.name, member.size, member.extents, stored) == ("top/s", 10000, [(0, 5), (512, 6)], b"hello world")


@pytest.mark.parametrize(
    "table, data",
    [
        (b"2\n0\n512\n100\n512\n", bytes(1024)),
        (b"2\n512\n512\n0\n512\n", bytes(1024)),
        (b"1\n9990\n11\n", bytes(11)),
        (b"1\n0\n512\n", bytes(511)),
        (b"1\n0\n512\n", bytes(513)),
        (b"1\n99999999999999999999\n5\n", bytes(5)),
        (b"1\n-5\n5\n", bytes(5)),
        (b"1\nx\n5\n", bytes(5)),
        (b"2\n0\n512\n", bytes(512)),
        (b"9999999\n", b""),
        (b"", b""),
        (b"1" * 511, bytes(2048)),
        (b"\n\n\n", b""),
    ],
)  # fmt: skip
def test_sparse_maps_that_are_wrong(table, data):
    with pytest.raises(BadDump, match="sparse map"):
        read(sparse_member(table, data))


@pytest.mark.parametrize("realsize", [b"", b"-1", b"x", b"9" * 30])
def test_real_sizes_that_are_none(realsize):
    with pytest.raises(BadDump, match="a real size"):
        read(sparse_member(b"1\n0\n1\n", b"x", realsize))


def test_a_sparse_map_of_millions_of_entries_is_not_read():
    class Endless(io.RawIOBase):
        """A map that goes on for ever; counts what is taken of it."""

        taken = 0
        head = sparse_member(b"", stored=8**11 - 1)[:1536] + b"5000000\n"

        def read(self, size=-1):
            piece = (self.head[self.taken : self.taken + size] or b"1\n" * (size // 2))[:size]
            self.taken += len(piece)
            return piece

    source = Endless()
    with pytest.raises(BadDump, match="5000000 extents"):
        list(reader.members(source))
    assert source.taken < 1 << 16


def old_sparse(rows, size, extended=0):
    table = b"".join(b"%011o\0%011o\0" % row for row in rows)
    return {386: table.ljust(96, b"\0"), 482: bytes([extended]), 483: b"%011o\0" % size}


def test_old_gnu_sparse_that_is_wrong():
    good = block(size=1024, kind=b"S", patch=old_sparse([(0, 512), (4096, 512)], 9000)) + bytes(1024 + 1024)
    ((member, stored),) = read(good)
    assert member.extents == [(0, 512), (4096, 512)] and member.size == 9000
    for rows, size in (([(4096, 512), (0, 512)], 9000), ([(0, 512), (4096, 512)], 4100), ([(0, 512)], 9000)):
        with pytest.raises(BadDump, match="sparse map"):
            read(block(size=1024, kind=b"S", patch=old_sparse(rows, size)) + bytes(2048))
    broken = old_sparse([], 9000)
    broken[386] = b"zzzzzzzzzzz\0"
    with pytest.raises(BadDump, match="sparse map|no tar header"):
        read(block(size=1024, kind=b"S", patch=broken) + bytes(2048))


def test_old_gnu_sparse_that_never_ends():
    class Endless(io.RawIOBase):
        head = block(kind=b"S", patch=old_sparse([(0, 512)] * 4, 9000, extended=1))
        taken = 0

        def read(self, size=-1):
            more = (b"%011o\0%011o\0" % (0, 512)) * 21 + b"\1" + bytes(7)
            piece = (self.head if not self.taken else more)[:size]
            self.taken += len(piece)
            return piece

    with pytest.raises(BadDump, match="more than"):
        list(reader.members(Endless()))
