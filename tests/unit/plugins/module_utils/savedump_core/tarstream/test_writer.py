# SPDX-License-Identifier: Apache-2.0
"""What we write, as GNU tar, bsdtar and Python's tarfile restore it."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from savedump_core.errors import Busy
from savedump_core.tarstream import header, sparse
from savedump_core.tarstream.sparse import Digest
from savedump_core.tarstream.writer import TarWriter

MB = 1 << 20
LONG = "/".join(["d" * 200] * 8) + "/" + "f" * 200
NAMES = {
    "short": b"top/file",
    "exactly 100": b"top/" + b"n" * 96,
    "101": b"top/" + b"n" * 97,
    "over 255": b"top/" + b"a" * 130 + b"/" + b"b" * 200,
    "over 1600": b"top/" + LONG.encode(),
    "UTF-8": "top/\u00e9\u4e16".encode(),
    "not UTF-8": b"top/caf\xe9\xff",
    "long, not UTF-8": b"top/" + b"\xe9" * 150 + b"/" + b"\xff" * 40,
    "newline": b"top/new\nline=\n1 a=b",
    "backslash": b"top/back\\slash \\n",
    "looks like an option": b"-top/--x",
}


class Tar:
    """Collects a tar in memory."""

    def __init__(self, mtime=1600000000):
        self.sink = io.BytesIO()
        self.writer = TarWriter(self.sink, mtime)

    def __enter__(self):
        return self.writer

    def __exit__(self, *error):
        if error[0] is None:
            self.writer.close()

    @property
    def content(self):
        return self.sink.getvalue()


def make(add):
    tar = Tar()
    with tar as writer:
        add(writer)
    return tar.content


def by_gnu_tar(content, folder, locale):
    done = subprocess.run(
        ["tar", "-xf", "-"], input=content, cwd=folder, stderr=subprocess.PIPE, env=dict(os.environ, LC_ALL=locale)
    )
    assert (done.returncode, done.stderr) == (0, b"")


def by_bsdtar(content, folder, locale):
    if shutil.which("bsdtar") is None:
        pytest.skip("no bsdtar here (Debian: libarchive-tools)")
    done = subprocess.run(
        ["bsdtar", "-xf", "-"], input=content, cwd=folder, stderr=subprocess.PIPE, env=dict(os.environ, LC_ALL=locale)
    )
    # A sparse member's name is UTF-8 by definition: bsdtar restores any other, and says that it is not.
    complaint = b"Pathname can't be converted from UTF-8 to current locale" in done.stderr
    assert complaint or (done.returncode, done.stderr) == (0, b"")
    assert not complaint or b"GNU.sparse.name" in content


def by_python(content, folder, locale):
    if sys.getfilesystemencoding() == "ascii" and "\u00e9".encode() in content:
        pytest.skip("the tarfile of Python 3.6 cannot make such a file in the C locale")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))


UNPACKERS = {
    "GNU tar": lambda content, folder: by_gnu_tar(content, folder, "C"),
    "GNU tar, UTF-8": lambda content, folder: by_gnu_tar(content, folder, "C.UTF-8"),
    "bsdtar": lambda content, folder: by_bsdtar(content, folder, "C"),
    "Python": lambda content, folder: by_python(content, folder, "C"),
}
unpackers = pytest.mark.parametrize("unpack", UNPACKERS.values(), ids=list(UNPACKERS))


def files_below(folder):
    found = {}
    raw = os.fsencode(str(folder))
    for top, _, names in os.walk(raw):
        for name in names:
            path = os.path.join(top, name)
            found[os.path.relpath(path, raw)] = path
    return found


@unpackers
@pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))
def test_names_are_restored_byte_for_byte(unpack, name, tmp_path):
    content = make(lambda tar: tar.add_bytes(os.fsdecode(name), b"content", 0o644))
    unpack(content, str(tmp_path))
    found = files_below(tmp_path)
    assert list(found) == [name]
    with open(found[name], "rb") as file:
        assert file.read() == b"content"


def test_names_too_long_to_unpack_are_listed():
    """Longer than a path may be (PATH_MAX): nothing can make that file, but the archive is sound."""
    name = "top/" + "/".join(["x" * 99] * 50)
    content = make(lambda tar: (tar.add_bytes(name, b"1", 0o644), tar.add_bytes("top/next", b"2", 0o644)))
    listed = subprocess.run(["tar", "-tf", "-"], input=content, stdout=subprocess.PIPE, check=True).stdout
    assert listed.decode().splitlines() == [name, "top/next"]
    assert tarfile.open(fileobj=io.BytesIO(content)).getnames() == [name, "top/next"]


@unpackers
@pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))
def test_sparse_members_are_restored(unpack, name, tmp_path):
    data = [(512, 1024), (3 * MB, 4096), (9 * MB - 100, 100)]
    stored = os.urandom(sparse.stored_size(data))
    content = make(lambda tar: tar.add_sparse(os.fsdecode(name), 9 * MB, data, 0o600, [stored]))
    unpack(content, str(tmp_path))
    found = files_below(tmp_path)
    assert list(found) == [name]
    expected = bytearray(9 * MB)
    at = 0
    for offset, length in data:
        expected[offset : offset + length] = stored[at : at + length]
        at += length
    with open(found[name], "rb") as file:
        assert file.read() == bytes(expected)
    assert os.stat(found[name]).st_blocks * 512 < MB


@unpackers
@pytest.mark.parametrize(
    "data", [[], [(0, 512)], [(0, 700)], [(4096, 512)], [(n * 8192, 4096) for n in range(500)]], ids=len
)
def test_a_hole_at_the_end_and_nothing_but_a_hole(unpack, data, tmp_path):
    size = 5 * MB
    stored = os.urandom(sparse.stored_size(data))
    content = make(lambda tar: (tar.add_sparse("a/f", size, data, 0o600, [stored]), tar.add_bytes("a/g", b"g", 0o600)))
    unpack(content, str(tmp_path))
    with open(str(tmp_path / "a/f"), "rb") as file:
        restored = file.read()
    assert len(restored) == size
    assert b"".join(restored[offset : offset + length] for offset, length in data) == stored
    assert restored.count(b"\0") >= size - len(stored)
    assert (tmp_path / "a/g").read_bytes() == b"g"


@unpackers
def test_terabytes(unpack, tmp_path):
    data = [(0, 512), (1 << 40, 512)]
    content = make(lambda tar: tar.add_sparse("a/core", (1 << 41) + 5, data, 0o600, [b"a" * 512, b"b" * 512]))
    assert len(content) == 10240
    unpack(content, str(tmp_path))
    assert os.path.getsize(str(tmp_path / "a/core")) == (1 << 41) + 5
    with open(str(tmp_path / "a/core"), "rb") as file:
        file.seek(1 << 40)
        assert file.read(513) == b"b" * 512 + b"\0"


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, (1 << 40) + 5])
def test_plain_members_above_8_gib(size, tmp_path):
    """Only the headers are written; the file is all holes."""
    path = str(tmp_path / "huge.tar")
    head = header.headers(b"a/huge", size, 0o644, 0)
    after = io.BytesIO()
    with open(path, "wb") as file:
        file.write(head)
        file.seek(size + -size % 512, os.SEEK_CUR)
        tail = TarWriter(after, 0)
        tail.add_bytes("a/next", b"next", 0o644)
        tail.close()
        file.write(after.getvalue())
    listed = subprocess.run(["tar", "-tvf", path], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    assert [line.split()[2] for line in listed] == [str(size), "4"]
    with tarfile.open(path) as tar:
        assert [(member.name, member.size) for member in tar] == [("a/huge", size), ("a/next", 4)]


@unpackers
@pytest.mark.parametrize("target", [b"../lib/x", b"t" * 100, b"u" * 101, b"\xe9/" * 400, b"a\nb"], ids=len)
def test_links(unpack, target, tmp_path):
    content = make(lambda tar: tar.add_symlink("a/link", os.fsdecode(target)))
    unpack(content, str(tmp_path))
    assert os.readlink(os.fsencode(str(tmp_path / "a/link"))) == target


def test_modes_times_and_owners(tmp_path):
    content = make(lambda tar: (tar.add_bytes("a/x", b"", 0o700), tar.add_symlink("a/y", "x")))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 1600000000)
            assert member.pax_headers == {}
        assert tar.getmember("a/x").mode == 0o700
    by_gnu_tar(content, str(tmp_path), "C")
    assert os.stat(str(tmp_path / "a/x")).st_mode & 0o777 == 0o700
    for mtime, written in ((-5, 0), (8**12, 8**11 - 1)):
        tar = Tar(mtime)
        with tar as writer:
            writer.add_bytes("a", b"", 0o600)
        assert tarfile.open(fileobj=io.BytesIO(tar.content)).next().mtime == written


def test_same_members_same_bytes():
    def add(tar):
        tar.add_bytes(os.fsdecode(b"a/\xe9"), b"1", 0o600)
        tar.add_sparse("a/core", MB, [(4096, 512)], 0o600, [b"x" * 512])
        tar.add_symlink("a/l", "core")

    assert make(add) == make(add)
    assert len(make(add)) % 10240 == 0


def test_digests():
    digests = []
    content = bytes(4096) + b"x" * 512 + bytes(MB - 4608)
    huge = sparse.HASHED_HOLES_MAX * 2
    make(
        lambda tar: digests.extend(
            [
                tar.add_bytes("a", b"abc", 0o600),
                tar.add_file("b", 6, 0o600, [b"abc", b"", b"def"]),
                tar.add_sparse("c", MB, [(4096, 512)], 0o600, [b"x" * 512]),
                tar.add_sparse("d", 6, [(0, 6)], 0o600, [b"abcdef"]),
                tar.add_sparse("e", huge, [(0, 512)], 0o600, [b"x" * 512]),
                tar.add_symlink("f", "a"),
            ]
        )
    )
    assert digests == [
        Digest("sha256", hashlib.sha256(b"abc").hexdigest()),
        Digest("sha256", hashlib.sha256(b"abcdef").hexdigest()),
        Digest("sha256", hashlib.sha256(content).hexdigest()),
        Digest("sha256", hashlib.sha256(b"abcdef").hexdigest()),
        Digest(
            "sha256-stored", hashlib.sha256(sparse.encode_map([(0, 512)], huge) + b"x" * 512).hexdigest()
        ),
        None,
    ]  # fmt: skip


def test_a_file_without_holes_is_a_plain_member():
    plain = make(lambda tar: tar.add_file("a/f", 1000, 0o600, [b"x" * 1000]))
    assert make(lambda tar: tar.add_sparse("a/f", 1000, [(0, 1000)], 0o600, [b"x" * 1000])) == plain
    empty = make(lambda tar: tar.add_file("a/f", 0, 0o600, []))
    assert make(lambda tar: tar.add_sparse("a/f", 0, [], 0o600, [])) == empty


@pytest.mark.parametrize("chunks", [[], [b"12"], [b"1234"], [b"123", b"4"]], ids=str)
def test_a_file_that_changes_while_it_is_read(chunks):
    with pytest.raises(Busy, match="a/f has (less|more) than 3 bytes"):
        Tar().writer.add_file("a/f", 3, 0o600, chunks)
    with pytest.raises(Busy):
        Tar().writer.add_sparse("a/f", 5000, [(4097, 3)], 0o600, chunks)


@pytest.mark.parametrize("data", [[(0, 100), (512, 512)], [(0, 512), (100, 512)], [(0, 9000)]])
def test_extents_that_no_tar_could_restore(data):
    with pytest.raises(ValueError):
        Tar().writer.add_sparse("a/f", 8192, data, 0o600, [])


def test_an_error_of_the_sink_passes():
    with open("/dev/full", "wb", buffering=0) as full:
        with pytest.raises(OSError):
            TarWriter(full, 0).add_bytes("a", b"b", 0o600)
