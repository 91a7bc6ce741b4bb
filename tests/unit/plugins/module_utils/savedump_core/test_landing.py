# SPDX-License-Identifier: Apache-2.0
"""Where a fetched file comes down: names no target can choose, and nothing under a final name that is not whole."""

import os
import re
import stat
import subprocess
import sys

import pytest
from savedump_core import landing
from savedump_core.errors import Busy

HOSTILE = [
    "../../etc/cron.d/x",
    "/etc/passwd",
    "..",
    ".",
    "",
    ".bashrc",
    "-rf",
    "a b",
    "$(touch pwned)",
    "line\nbreak",
    "\udcff\udcfe.tar.gz",
    "x" * 5000,
    "nul\0byte",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_harmless_file_name(name):
    safe = landing.safe_name(name)
    assert re.match(r"[A-Za-z0-9_+@=][A-Za-z0-9._+@=-]*\Z", safe)
    assert len(os.fsencode(safe)) < 230


def test_two_names_never_become_one():
    names = HOSTILE + ["a_b", "a b", "a\tb", "a_b-" + "0" * 8, "archive-core.1.tar.gz"]
    assert len({landing.safe_name(name) for name in names}) == len(set(names))


@pytest.mark.parametrize(
    "name", ["archive-core.1.tar.gz", "archive-core.python3.1000.tar.zst", "big", "web-1.example.org"]
)
def test_a_plain_name_stays(name):
    assert landing.safe_name(name) == name


@pytest.mark.parametrize("name", ["core.1.part", "core.1.part.copy", "core.1.copy"])
def test_no_final_name_is_that_of_something_unfinished(name):
    assert re.match(re.escape(name) + r"_-[0-9a-f]{8}\Z", landing.safe_name(name))


def test_the_suffix_stays_last():
    assert re.match(r"archive-a_b-[0-9a-f]{8}\.tar\.gz\Z", landing.safe_name("archive-a b.tar.gz"))


@pytest.mark.parametrize("host", ["../up", "a/b", "web1"])
@pytest.mark.parametrize("source", ["/x/../../y", "/x/..", "..", "/var/tmp/a b"])
def test_a_file_lands_two_levels_below_dest(tmp_path, host, source):
    place = landing.landing(str(tmp_path), host, source)
    assert os.path.dirname(os.path.dirname(os.path.realpath(place.path))) == os.path.realpath(str(tmp_path))


def test_finish_makes_a_private_whole_file(tmp_path):
    place = landing.landing(str(tmp_path / "new"), "web1", "/var/tmp/a.tar.gz")
    with landing.opened_part(place) as descriptor:
        os.write(descriptor, b"bytes")
        assert not os.path.exists(place.path)
        landing.finish(descriptor, place)
    with open(place.path, "rb") as stream:
        assert stream.read() == b"bytes"
    assert os.listdir(place.folder) == ["a.tar.gz"]
    assert stat.S_IMODE(os.stat(place.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(place.folder).st_mode) == 0o700


def test_a_part_is_one_runs_alone(tmp_path):
    place = landing.landing(str(tmp_path), "web1", "a")
    hold = (
        "import fcntl, os, sys; d = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(d, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    os.makedirs(place.folder)
    with subprocess.Popen(
        [sys.executable, "-c", hold, place.part], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match="a is being fetched by another run; wait for it to end$"):
            with landing.opened_part(place):
                pytest.fail("two runs write to one .part")
        other.stdin.close()
    with landing.opened_part(place):
        pass


def test_a_link_in_place_of_the_part_is_not_followed(tmp_path):
    place = landing.landing(str(tmp_path), "web1", "a")
    os.makedirs(place.folder)
    os.symlink(str(tmp_path / "elsewhere"), place.part)
    with pytest.raises(OSError), landing.opened_part(place):
        pytest.fail("followed")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("kind", ["another's", "linked", "fifo"])
def test_a_part_that_others_can_read_is_not_written_to(tmp_path, kind):
    """In a folder that others may write into, one of theirs may lie in wait for the bytes."""
    place = landing.landing(str(tmp_path), "web1", "a")
    os.makedirs(place.folder)
    if kind == "fifo":
        os.mkfifo(place.part)
    else:
        with open(place.part, "w"):
            pass
    if kind == "another's":
        if os.geteuid():
            pytest.skip("only root makes files of others")
        os.chown(place.part, 65534, 65534)
    if kind == "linked":
        os.link(place.part, str(tmp_path / "kept"))
    with pytest.raises(PermissionError, match="not ours"), landing.opened_part(place):
        pytest.fail("written to")


def test_a_part_of_an_earlier_run_is_ours_alone_before_anything_comes(tmp_path):
    place = landing.landing(str(tmp_path), "web1", "a")
    os.makedirs(place.folder)
    with open(place.part, "w"):
        os.chmod(place.part, 0o644)
    with landing.opened_part(place) as descriptor:
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600


def test_a_folder_that_goes_while_a_file_comes_is_said(tmp_path):
    place = landing.landing(str(tmp_path), "web1", "a")
    with pytest.raises(FileNotFoundError):
        with landing.opened_part(place) as descriptor:
            os.unlink(place.part)
            landing.finish(descriptor, place)
    assert os.listdir(place.folder) == []


def test_other_bytes_under_a_name_go_beside(tmp_path):
    place = landing.landing(str(tmp_path), "web1", "archive-core.tar.gz")
    assert os.path.basename(place.beside("0123456789abcdef").path) == "archive-core-01234567.tar.gz"


def test_sha256_of_a_prefix(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abcdef")
    assert landing.sha256_of(str(path), 3).hexdigest() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1: "abc"
    )
    assert landing.sha256_of(str(path), 7) is None
    assert landing.sha256_of(str(tmp_path / "none")) is None


def test_a_pipe_under_the_name_is_not_waited_for(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    with pytest.raises(OSError, match="is in the way and no regular file"):
        landing.sha256_of(str(tmp_path / "pipe"))


def test_space_that_the_part_takes_already_counts(tmp_path):
    place = landing.landing(str(tmp_path), "web1", "a")
    assert landing.missing_space(place, 1) == 0
    free = os.statvfs(str(tmp_path)).f_bavail * os.statvfs(str(tmp_path)).f_frsize
    assert landing.missing_space(place, free * 2) > 0
    with landing.opened_part(place) as descriptor:
        os.ftruncate(descriptor, free * 2)
    assert landing.missing_space(place, free * 2) == 0
