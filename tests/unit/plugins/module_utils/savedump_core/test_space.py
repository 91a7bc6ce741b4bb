# SPDX-License-Identifier: Apache-2.0
"""What an archive will take is known before it is written, and a disk that is too small is left as it is."""

import os
import subprocess
import zlib

import pytest

from savedump_core import api, errors, space
from savedump_core.model import SearchOptions
from support import elfwriter

PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20, padding=0x2000)
MIB = 1 << 20


def text(size, seed):
    """Something that shrinks by half, evenly."""
    words = [b"%x " % zlib.crc32(b"%d %d" % (seed, number)) for number in range(size // 6)]
    return b"".join(words)[:size]


@pytest.fixture
def dump(tmp_path):
    """dump(DATA): a core of a program that is there, which holds this."""
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/prog").write_bytes(PROGRAM)
    (tmp_path / "out").mkdir()

    def make(data=b"", hole=0):
        path = str(tmp_path / "core.77")
        modules = [elfwriter.Mapped(b"/usr/bin/prog", 0x400000, PROGRAM, header_only=True)]
        elfwriter.process_core(modules=modules, pid=77).write(path)
        with open(path, "r+b") as file:
            file.seek(hole, os.SEEK_END)
            file.write(data)
        return path

    make.search = SearchOptions(sysroot=str(root))
    make.out = str(tmp_path / "out")
    return make


def measured(path, search, archive_format):
    with api.planned(path, search) as ready:
        return space.estimate(ready.plan, ready.sources, archive_format, None, ready.host)


@pytest.mark.parametrize("hole", [0, 700 * MIB], ids=["plain", "with a hole too large to be hashed"])
def test_of_tar_every_byte_is_known(dump, hole):
    path = dump(os.urandom(3 * MIB + 7), hole)
    expected = measured(path, dump.search, "tar")
    assert api.archive(path, output=dump.out, search=dump.search, format="tar").size == expected


@pytest.mark.parametrize("archive_format", ["tar.gz", "tar.zst"])
def test_of_what_is_compressed_a_sample_tells(dump, archive_format):
    """Half of it shrinks and half does not: a sample of one place only would be wrong by half."""
    path = dump(os.urandom(12 * MIB) + text(12 * MIB, 1))
    try:
        expected = measured(path, dump.search, archive_format)
    except errors.ToolMissing:
        pytest.skip("this host cannot write zstd")
    size = api.archive(path, output=dump.out, search=dump.search, format=archive_format).size
    assert 0.95 * size < expected < 1.1 * size


def test_of_a_compressed_dump_its_own_size_tells(dump):
    path = dump(os.urandom(2 * MIB) + text(4 * MIB, 2))
    subprocess.check_call(["gzip", path])
    expected = measured(path + ".gz", dump.search, "tar.gz")
    size = api.archive(path + ".gz", output=dump.out, search=dump.search).size
    assert size < expected < 1.2 * size


def test_dry_run_says_how_large(dump):
    path = dump(os.urandom(MIB))
    would = api.archive(path, output=dump.out, search=dump.search, dry_run=True).as_json()
    made = api.archive(path, output=dump.out, search=dump.search).as_json()
    assert would["size"] is None and abs(would["estimated_size"] - made["size"]) < made["size"] / 20
    assert os.listdir(dump.out) == [os.path.basename(made["path"])]


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "small disk"
    disk.mkdir()
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=2m", "small", str(disk)])
    yield str(disk)
    subprocess.check_call(["umount", str(disk)])


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_does_not_fit_is_refused_with_how_much_is_missing_and_where(dump, small_disk, dry_run):
    path = dump(os.urandom(5 * MIB))
    with pytest.raises(errors.CannotWrite) as refused:
        api.archive(path, output=small_disk, search=dump.search, dry_run=dry_run)
    words = str(refused.value)
    assert "about 5." in words and "%s (small) has 2.0 MiB free: 3." % small_disk in words
    assert "MiB too few" in words and os.listdir(small_disk) == []


def test_what_fits_compressed_is_written(dump, small_disk):
    path = dump(bytes(10) + b"a" * 5 * MIB)
    assert api.archive(path, output=small_disk, search=dump.search).size < 2 * MIB
    with pytest.raises(errors.CannotWrite):
        api.archive(path, output=small_disk, search=dump.search, format="tar")


def test_who_insists_learns_it_from_the_disk(dump, small_disk):
    path = dump(os.urandom(5 * MIB))
    with pytest.raises(OSError):
        api.archive(path, output=small_disk, search=dump.search, ignore_space=True)
    assert os.listdir(small_disk) == []


def test_what_a_killed_run_left_is_counted_as_free(dump, small_disk):
    path = dump(os.urandom(MIB))
    with open(os.path.join(small_disk, ".archive-core.77.tar.part"), "wb") as part:
        part.write(os.urandom(MIB + MIB // 2))
    assert api.archive(path, output=small_disk, search=dump.search, format="tar").size > MIB


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    room = space.room_of(str(tmp_path / "not" / "made"))
    seen = os.statvfs(str(tmp_path))
    assert room.free is not None and abs(room.free - seen.f_bavail * seen.f_frsize) < 1 << 30
    assert os.path.ismount(room.mount_point) and str(tmp_path).startswith(room.mount_point.rstrip("/") + "/")
    assert room.device


def test_a_mount_point_with_a_blank(small_disk):
    assert space.room_of(small_disk)[:2] == ("small", small_disk)


@pytest.mark.parametrize(
    "size, words",
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 50, "3072.0 TiB")],
)
def test_sizes_in_words(size, words):
    assert space.in_words(size) == words
