# SPDX-License-Identifier: Apache-2.0
import errno
import os
import subprocess
import zipfile

import pytest

from savedump_core import api
from savedump_core.stores import find
from savedump_core.sysroot import Sysroot
from support import elfwriter, stores


@pytest.fixture
def cores(tmp_path):
    for index, name in enumerate(("a/core.1", "a/b/core.2")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        elfwriter.process_core(pid=100 + index).write(str(path))
        os.utime(str(path), (1000 + index, 1000 + index))
    (tmp_path / "a/core.text").write_text("no core")
    os.mkfifo(str(tmp_path / "a/core.fifo"))
    (tmp_path / "a/core.link").symlink_to(tmp_path / "a/core.1")
    return str(tmp_path)


def test_folder_is_searched_to_the_bottom_newest_first(cores):
    report = api.find([cores])
    assert [entry["path"] for entry in report.entries] == [cores + "/a/b/core.2", cores + "/a/core.1"]
    assert [entry["process"]["pid"] for entry in report.entries] == [101, 100]
    assert report.entries[0]["store"] == "given" and report.entries[0]["complete"] is True
    assert [(looked.where, looked.outcome) for looked in report.looked] == [(cores, "2 found")]


def test_file_that_is_no_dump_is_said_when_it_was_named(cores):
    report = api.find([cores + "/a/core.text", cores + "/none", cores + "/a/core.fifo"])
    assert report.entries == ()
    outcomes = [looked.outcome for looked in report.looked]
    assert "it is a text file" in outcomes[0] and outcomes[1] == "No such file or directory" and "FIFO" in outcomes[2]


def test_same_file_is_listed_once(cores):
    assert len(api.find([cores + "/a/core.1", cores + "/a/core.link", cores + "/a"]).entries) == 2


def test_report_is_json(cores):
    document = api.find([cores]).as_json()
    assert sorted(document) == ["dumps", "left_out", "logs", "looked"] and document["logs"] == []
    assert document["looked"] == [{"store": "given", "where": cores, "outcome": "2 found"}]


def test_split_set_and_hard_links_are_one_dump(cores):
    os.link(cores + "/a/core.1", cores + "/a/core.too")
    assert len(api.find([cores]).entries) == 2


def test_users_are_named_by_the_roots_own_passwd(tmp_path):
    stores.put(tmp_path, "/proc/sys/kernel/core_pattern", "/cores/core.%p")
    stores.put(tmp_path, "/cores/core.1", elfwriter.process_core(uid=4711).to_bytes())
    stores.put(tmp_path, "/etc/passwd", "root:x:0:0:::\nodd:x:\u00b2:::\nshop:x:4711:4711:::\nlate:x:4711:1:::\n")
    assert [entry["user"] for entry in api.find(sysroot=str(tmp_path)).entries] == ["shop"]


@pytest.mark.parametrize("told, crashed_ns", [(1 << 34, None), ((1 << 34) - 1, ((1 << 34) - 1) * 10**9)])
def test_time_that_nobody_lives_to_see_is_not_told(tmp_path, told, crashed_ns):
    stores.put(tmp_path, "/proc/sys/kernel/core_pattern", "/cores/core.%p.%t")
    stores.put(tmp_path, "/cores/core.1.%d" % told, elfwriter.process_core().to_bytes())
    assert [entry["crashed_ns"] for entry in api.find(sysroot=str(tmp_path)).entries] == [crashed_ns]


def test_dumps_come_one_at_a_time_and_what_was_looked_at_comes_after(cores):
    search = api.finding([cores])
    found = iter(search)
    assert next(found)["path"] == cores + "/a/b/core.2"
    assert next(found)["path"] == cores + "/a/core.1"
    assert next(found, None) is None
    assert [looked.outcome for looked in search.report().looked] == ["2 found"]


@pytest.mark.parametrize("level", [1, 64])
def test_no_more_of_a_packed_core_is_read_than_its_front(tmp_path, level):
    """A bomb: a core whose notes are said to lie far behind what a glance reads."""
    bomb = elfwriter.process_core(extra=[elfwriter.Segment(elfwriter.PT_NOTE, offset=level << 20, filesz=4096)])
    path = tmp_path / "core.zst"
    with open(str(path), "wb") as out:
        packing = subprocess.Popen(["zstd", "-qc"], stdin=subprocess.PIPE, stdout=out)
        packing.stdin.write(bomb.to_bytes())
        for _ in range(level):
            packing.stdin.write(bytes(1 << 20))
        packing.stdin.close()
        assert packing.wait() == 0
    (entry,) = api.find([str(path)]).entries
    assert entry["process"]["pid"] == 4242 and entry["size"] is None and entry["complete"] is None


def test_what_is_no_dump_costs_no_word_in_a_folder(tmp_path):
    with zipfile.ZipFile(str(tmp_path / "some.zip"), "w") as file:
        file.writestr("a.txt", "text")
    stores.put(tmp_path, "x.crash", "ProblemType: Package\n")
    stores.put(tmp_path, "notes.txt", "text")
    damaged = stores.put(tmp_path, "core.zst", b"\x28\xb5\x2f\xfdgarbage")
    report = api.find([str(tmp_path)])
    assert report.entries == ()
    # What is damaged might have been one; so might a report or a zip that bears a store's name.
    said = {os.path.basename(one.where) for one in report.looked} - {tmp_path.name}
    assert damaged.endswith("core.zst") and said == {"core.zst"}


def test_core_of_which_a_full_disk_left_next_to_nothing_is_said(tmp_path):
    whole = elfwriter.process_core(pid=77).to_bytes()
    stores.put(tmp_path, "/proc/sys/kernel/core_pattern", "/cores/core.%p")
    for name, content in (("core.1", whole[:100]), ("core.2", b""), ("core.3", b"a text"), ("empty", b"")):
        stores.put(tmp_path, "/cores/" + name, content)
    cut, empty = "is cut within its program headers", "is an empty file"
    for paths, expected in (((), {"core.1": cut, "core.2": empty}), ((str(tmp_path / "cores"),), {"core.1": cut})):
        report = api.find(paths, sysroot=str(tmp_path))
        said = {os.path.basename(one.where): one.outcome for one in report.looked if "/cores/" in one.where}
        assert sorted(said) == sorted(expected) and all(words in said[name] for name, words in expected.items())
        assert report.passed_over == len(expected) and report.entries == ()


def test_core_that_is_open_for_writing_is_being_written(tmp_path):
    """By the kernel, under its final name."""
    whole = elfwriter.process_core(pid=77).to_bytes()
    with open(str(tmp_path / "core.77"), "wb", 0) as file:
        file.write(whole[:-1])
        (entry,) = api.find([str(tmp_path)]).entries
        assert (entry["in_progress"], entry["complete"]) == (True, False)
        assert entry["incomplete_why"].startswith("it is being written: ")
    (entry,) = api.find([str(tmp_path)]).entries
    assert (entry["in_progress"], entry["complete"]) == (False, False) and "it is cut" in entry["incomplete_why"]


def test_files_in_a_folder_that_may_not_be_read_are_said(cores):
    def describe(path, _sure):
        if path.endswith("core.2"):
            return api._describe(path, True)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    for name in ("core.3.crash", "core.4.zip", "b/core.5"):
        stores.put(cores + "/a", name, "of another user")
    report = find((cores,), Sysroot("/"), describe)
    assert [os.path.basename(entry["path"]) for entry in report.entries] == ["core.2"]
    said = {looked.where: looked.outcome for looked in report.looked}
    assert said.pop(cores + "/a") == "Permission denied: 4 files, such as core.1"
    assert said == {cores + "/a/b": "Permission denied: core.5", cores: "1 found"}


def test_host_without_the_codec_knows_what_the_name_says(tmp_path, monkeypatch):
    at = stores.systemd(tmp_path, stores.zstd(elfwriter.process_core().to_bytes()), {"signal": 6}, uid=12)
    monkeypatch.setattr("savedump_core.compression.zstd.available", lambda: False)
    (entry,) = api.find(sysroot=str(tmp_path)).entries
    assert (entry["path"], entry["kind"], entry["complete"]) == (at, None, None) and "zstd" in entry["warnings"][0]
    assert (entry["process"]["comm"], entry["process"]["uid"]) == ("prog", 12)
    assert entry["process"]["signal"]["name"] == "SIGABRT"


def test_folder_of_a_user_goes_by_the_rules_of_its_host(tmp_path):
    at = stores.put(tmp_path, "/tmp/mine/core.1", elfwriter.process_core().to_bytes())
    stores.put(tmp_path, "/usr/bin/systemd-tmpfiles")
    stores.put(tmp_path, "/usr/lib/tmpfiles.d/tmp.conf", "q /tmp 1777 root root m:10d\n")
    (entry,) = api.find([str(tmp_path) + "/tmp/mine"], sysroot=str(tmp_path)).entries
    assert entry["store"] == "given" and entry["expires"]["at"] == os.stat(at).st_mtime_ns + 10 * 86400 * 10**9
    (entry,) = api.find([at], sysroot=str(tmp_path / "tmp")).entries
    assert entry["expires"] is None
