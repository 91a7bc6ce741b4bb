# SPDX-License-Identifier: Apache-2.0
"""The folder shared with elfutils' clients: where it is, who may write to it, and what is cleaned away."""

import os
import stat
import time

import pytest

from savedump_core.web.cache import Cache, folder

NAME = "ab" * 20 + "/debuginfo"
WEEK_S = 604800


@pytest.fixture
def cache(tmp_path):
    return Cache(str(tmp_path / "cache"))


def put(cache, name=NAME, content=b"x", age_s=0):
    at = os.path.join(cache.path, name)
    os.makedirs(os.path.dirname(at), exist_ok=True)
    with open(at, "wb") as file:
        file.write(content)
    os.utime(at, (time.time() - age_s,) * 2)
    return at


def test_where(tmp_path):
    home = str(tmp_path)
    assert folder({"HOME": home}) == home + "/.cache/debuginfod_client"
    assert folder({"HOME": home, "XDG_CACHE_HOME": "/x"}) == "/x/debuginfod_client"
    (tmp_path / ".debuginfod_client_cache").mkdir()
    assert folder({"HOME": home, "XDG_CACHE_HOME": "/x"}) == home + "/.debuginfod_client_cache"
    assert folder({"HOME": home, "XDG_CACHE_HOME": "/x", "DEBUGINFOD_CACHE_PATH": "/y"}) == "/y"


def test_looking_makes_nothing(cache):
    assert not cache.has(NAME) and cache.missed(NAME) is None and cache.unsafe() is None
    assert not os.path.exists(cache.path)


def test_incoming_gets_its_name_when_it_is_published(cache):
    with cache.incoming(NAME) as (file, path):
        file.write(b"whole")
        assert not cache.has(NAME)
        cache.publish(file, path, NAME, 1000000000)
    assert cache.has(NAME)
    status = os.stat(os.path.join(cache.path, NAME))
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o400, 1000000000)


def test_nothing_stays_of_what_was_given_up(cache):
    with pytest.raises(KeyboardInterrupt):
        with cache.incoming(NAME) as (file, _path):
            file.write(b"half")
            raise KeyboardInterrupt
    assert os.listdir(cache.path) == ["cache_clean_interval_s"]


def test_use_is_noted(cache):
    at = put(cache, age_s=1000)
    before = os.stat(at).st_mtime_ns
    assert cache.has(NAME)
    assert os.stat(at).st_atime > time.time() - 100
    assert os.stat(at).st_mtime_ns == before


def test_links_are_not_followed(cache, tmp_path):
    at = put(cache)
    os.rename(at, at + ".real")
    os.symlink(at + ".real", at)
    assert not cache.has(NAME)
    os.mkdir(str(tmp_path / "elsewhere"))
    os.symlink(str(tmp_path / "elsewhere"), os.path.join(cache.path, "cd" * 20))
    with pytest.raises(OSError):
        with cache.incoming("cd" * 20 + "/debuginfo"):
            pass
    assert os.listdir(str(tmp_path / "elsewhere")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_folder_of_another_user(cache):
    """With sudo, HOME may be another user's: who owns the folder could lead our writing anywhere."""
    os.mkdir(cache.path)
    os.chown(cache.path, 12345, 12345)
    assert "user 12345" in cache.unsafe()


def test_folder_of_everybody(cache):
    os.mkdir(cache.path)
    os.chmod(cache.path, 0o1777)
    assert "everybody" in cache.unsafe()


def test_miss_with_its_servers(cache, tmp_path):
    cache.note_missed(NAME, ("http://a", "http://b"))
    miss = cache.missed(NAME)
    assert os.path.getsize(miss.path) == 0
    try:
        os.setxattr(str(tmp_path), "user.test", b"x")
    except OSError:
        assert miss.asked is None
    else:
        assert miss.asked == ("http://a", "http://b")


def test_miss_does_not_replace_a_file(cache):
    put(cache)
    cache.note_missed(NAME, ("http://a",))
    assert cache.has(NAME)


@pytest.mark.parametrize(
    "text, age_s, missed", [("", 500, True), ("", 700, False), ("30", 40, False), ("x", 500, True)]
)
def test_miss_grows_old(cache, text, age_s, missed):
    put(cache, content=b"", age_s=age_s)
    put(cache, "cache_miss_s", text.encode())
    assert (cache.missed(NAME) is not None) == missed


def fetch(cache):
    """A download begins; what is cleaned is cleaned now."""
    with Cache(cache.path).incoming("ef" * 20 + "/executable"):
        pass


def test_cleaning(cache):
    old, new = put(cache, age_s=WEEK_S + 100), put(cache, "cd" * 20 + "/debuginfo", age_s=WEEK_S - 100)
    partial = put(cache, "cd" * 20 + "/executable.Xy12_z", age_s=WEEK_S + 100)
    foreign = put(cache, "notes/debuginfo", age_s=WEEK_S + 100)
    own = put(cache, "cd" * 20 + "/mine", age_s=WEEK_S + 100)
    fetch(cache)
    assert os.path.exists(old), "the first client only begins the first day"
    with open(os.path.join(cache.path, "cache_clean_interval_s")) as file:
        assert file.read() == "86400"
    put(cache, "cache_clean_interval_s", b"86400", age_s=90000)
    fetch(cache)
    assert [os.path.exists(path) for path in (old, new, partial, foreign, own)] == [False, True, False, True, True]
    put(cache, age_s=WEEK_S + 100)
    fetch(cache)
    assert os.path.exists(old), "not twice a day"


def test_cleaning_by_the_settings(cache):
    at = put(cache, age_s=100)
    put(cache, "max_unused_age_s", b"50")
    put(cache, "cache_clean_interval_s", b"10", age_s=20)
    fetch(cache)
    assert not os.path.exists(at)
