# SPDX-License-Identifier: Apache-2.0
"""The functions behind the modules savedump and savedump_info: real dumps in, what Ansible returns out.

They know nothing of Ansible, and so run here on every Python that a target may have.
"""

import json
import os
import stat
import tarfile
import types

import pytest
from ansible_collections.savedump.toolkit.plugins.module_utils import _adapter

elfwriter = pytest.importorskip("support.elfwriter", reason="needs this checkout's tests/support on the path")

# Of a program Linux dumps no more than the first page, unless told otherwise.
PAGE = 4096
PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20, padding=PAGE)
OTHER = elfwriter.elf_file(build_id=b"\x33" * 20)
NOBODY = 65534


class Host:
    """A root with one program in it, and dumps of its processes."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root"
        self.dest = folder / "archives"
        (self.root / "usr/bin").mkdir(parents=True)
        (self.root / "usr/bin/prog").write_bytes(PROGRAM)

    def dump(self, name="core.77", pid=77):
        modules = [elfwriter.Mapped(b"/usr/bin/prog", 0x400000, PROGRAM[:PAGE])]
        elfwriter.process_core(modules=modules, pid=pid).write(str(self.folder / name))
        return str(self.folder / name)

    def archive(self, *dumps, **changed):
        params = {"src": list(dumps), "dest": str(self.dest), "format": "tar.gz", "level": None}
        params.update(search_paths=[], sysroot=str(self.root), allow_unverified=False)
        check_mode = changed.pop("check_mode", False)
        params.update(changed)
        outcome = _adapter.archive_dumps(params, check_mode)
        json.dumps(outcome)  # it has to travel
        return outcome

    def describe(self, *paths, **changed):
        params = {"paths": list(paths), "inspect": False, "verify": False}
        params.update(search_paths=[], sysroot=str(self.root), allow_unverified=False)
        params.update(changed)
        outcome = _adapter.describe_dumps(params, False)
        json.dumps(outcome)
        return outcome


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_one_dump_one_archive(host):
    outcome = host.archive(host.dump())
    (archive,) = outcome["archives"]
    assert outcome["changed"] and archive["changed"] and archive["complete"]
    assert "failed" not in outcome and outcome["warnings"] == [] and outcome["not_archived"] == []
    assert os.path.dirname(archive["path"]) == str(host.dest)
    assert archive["size"] == os.path.getsize(archive["path"])
    assert stat.S_IMODE(os.stat(str(host.dest)).st_mode) == 0o700
    with tarfile.open(archive["path"]) as tar:
        assert tar.next().name.endswith("/manifest.json")


def test_a_directory_stands_for_the_dumps_in_it(host):
    (host.folder / "sub").mkdir()
    dump = host.dump("sub/core.77")
    (host.folder / "sub/notes").write_text("no dump")
    outcome = host.archive(str(host.folder / "sub"))
    assert [each["dump"]["path"] for each in outcome["archives"]] == [dump]
    assert "failed" not in outcome and outcome["looked"]


@pytest.mark.parametrize(
    "name", [b"core.\xff", b"core.caf\xc3\xa9", b"core.\\x2d", b"core.\\xff", b"core.\\x2d\xff\n'\" $(x)"]
)
def test_any_name_is_strict_utf8_in_results_and_is_understood_again(host, name):
    os.rename(host.dump(), os.fsencode(str(host.folder)) + b"/" + name)
    (found,) = host.describe(str(host.folder))["dumps"]
    assert json.dumps(found, ensure_ascii=False).encode("utf-8")
    outcome = host.archive(found["path"])
    assert outcome["archives"][0]["changed"], outcome
    assert json.dumps(outcome, ensure_ascii=False).encode("utf-8")


def test_a_path_that_cannot_be_read_is_said_beside_one_that_can(host):
    """One that is not there is not: not every host has the same folders."""
    dump = host.dump()
    outcome = host.describe(dump, "/proc/self/mem", str(host.folder / "none"))
    assert [each["path"] for each in outcome["dumps"]] == [dump]
    (warning,) = outcome["warnings"]
    assert warning.startswith("/proc/self/mem: Input/output error; ")


def test_the_second_run_changes_nothing(host):
    dump = host.dump()
    first, second = host.archive(dump), host.archive(dump)
    assert not second["changed"]
    assert second["archives"][0]["sha256"] == first["archives"][0]["sha256"]
    assert second["msg"] == "1 dump archived already"


def test_an_archive_with_gaps_is_made_again_once_more_is_found(host):
    dump = host.dump()
    os.rename(str(host.root / "usr/bin/prog"), str(host.folder / "away"))
    assert not host.archive(dump)["archives"][0]["complete"]
    assert not host.archive(dump)["changed"] and not host.archive(dump, check_mode=True)["changed"]
    os.rename(str(host.folder / "away"), str(host.root / "usr/bin/prog"))
    assert host.archive(dump, check_mode=True)["changed"]
    outcome = host.archive(dump)
    assert outcome["changed"] and outcome["archives"][0]["complete"] and outcome["warnings"] == []
    assert not host.archive(dump)["changed"]


def test_check_mode_says_what_and_how_much_and_writes_nothing(host):
    dump = host.dump()
    outcome = host.archive(dump, check_mode=True)
    assert outcome["changed"]
    assert outcome["archives"][0]["sha256"] is None
    assert outcome["archives"][0]["path"] == str(host.dest / "archive-core.77.tar.gz")
    assert outcome["archives"][0]["planned_size"] >= os.path.getsize(dump)
    assert "would archive 1 dump, reading" in outcome["msg"]
    assert not host.dest.exists()


def test_check_mode_after_the_fact(host):
    dump = host.dump()
    host.archive(dump)
    outcome = host.archive(dump, check_mode=True)
    assert not outcome["changed"]


def test_one_bad_dump_does_not_lose_the_others(host):
    text = host.folder / "notes.txt"
    text.write_text("not a dump")
    outcome = host.archive(str(text), host.dump(), str(host.folder / "none"))
    assert len(outcome["archives"]) == 1 and outcome["changed"] and outcome["failed"]
    assert [(each["dump"], each["exit_status"], each["failed"]) for each in outcome["not_archived"]] == [
        (str(text), 65, True),
        (str(host.folder / "none"), 66, True),
    ]
    assert "2 dumps NOT archived" in outcome["msg"]
    assert str(text) in outcome["msg"] and len(outcome["warnings"]) == 1  # of the other


def test_a_gap_is_told_and_is_no_failure(host):
    (host.root / "usr/bin/prog").write_bytes(OTHER)
    outcome = host.archive(host.dump())
    assert "failed" not in outcome and not outcome["archives"][0]["complete"]
    assert outcome["archives"][0]["missing"][0]["module"].endswith("prog")
    assert any("prog" in warning for warning in outcome["warnings"])


def test_our_own_archives_are_passed_over(host):
    dump = host.dump()
    archive = host.archive(dump)["archives"][0]["path"]
    elsewhere = host.folder / "archive-elsewhere.tar.gz"
    os.link(archive, str(elsewhere))
    in_dest = host.dump("archives/core.5", pid=5)
    outcome = host.archive(archive, str(elsewhere), in_dest)
    assert not outcome["changed"] and "failed" not in outcome and outcome["warnings"] == []
    assert [each["failed"] for each in outcome["not_archived"]] == [False, False, False]
    assert "is an archive made by savedump already" in outcome["not_archived"][1]["why"]
    assert outcome["msg"] == "3 passed over"


def test_a_folder_that_another_user_made_first_is_refused(host):
    shared = host.folder / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    if os.geteuid():
        pytest.skip("needs root to make another user's folder")
    trap = shared / "savedump"
    trap.mkdir()
    os.chown(str(trap), NOBODY, NOBODY)
    outcome = host.archive(host.dump(), dest=str(trap))
    assert outcome["failed"] and "could swap the archives" in outcome["msg"]
    assert list(trap.iterdir()) == []


def test_a_link_that_another_user_made_first_is_refused(host):
    if os.geteuid():
        pytest.skip("needs root to make another user's link")
    shared = host.folder / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    target = host.folder / "target"
    target.mkdir()
    (shared / "savedump").symlink_to(target)
    os.chown(str(shared / "savedump"), NOBODY, NOBODY, follow_symlinks=False)
    outcome = host.archive(host.dump(), dest=str(shared / "savedump"))
    assert outcome["failed"]
    assert list(target.iterdir()) == []


def test_dest_that_is_a_file(host):
    host.dest.write_text("")
    outcome = host.archive(host.dump())
    assert outcome["failed"] and "is not a folder" in outcome["msg"]


def test_everybody_has_a_default_place():
    assert _adapter.default_dest().startswith("/var/tmp/savedump")
    assert (_adapter.default_dest() == "/var/tmp/savedump") == (os.geteuid() == 0)


def test_info_finds_what_is_in_a_folder(host):
    host.dump("core.1", pid=1)
    host.dump("core.2", pid=2)
    outcome = host.describe(str(host.folder))
    assert sorted(each["process"]["pid"] for each in outcome["dumps"]) == [1, 2]
    assert all("modules" not in each for each in outcome["dumps"])
    assert not outcome["changed"]


def test_info_says_where_it_looked(host):
    (host.folder / "empty").mkdir()
    outcome = host.describe(str(host.folder / "empty"))
    assert outcome["dumps"] == []
    assert [each["where"] for each in outcome["looked"]] == [str(host.folder / "empty")]


def test_info_that_inspects_says_what_would_be_packed(host):
    dump = host.dump()
    (module,) = host.describe(dump, inspect=True)["dumps"][0]["modules"]
    assert module["file"]["status"] == "found"
    (host.root / "usr/bin/prog").unlink()
    (module,) = host.describe(dump, inspect=True)["dumps"][0]["modules"]
    assert module["file"]["status"] != "found"


def test_verify_reads_all_archives_below_a_folder(host):
    host.archive(host.dump("core.1", pid=1), host.dump("core.2", pid=2))
    outcome = host.describe(str(host.folder), verify=True)
    assert [each["intact"] for each in outcome["archives"]] == [True, True]
    assert outcome["archives"][0]["dump"]["process"]["pid"] in (1, 2)
    assert outcome["msg"] == "2 of 2 archives are intact"


def test_verify_where_nothing_is_or_may_be_seen(host, monkeypatch):
    none, shut = str(host.folder / "none"), str(host.folder / "shut")
    os.makedirs(shut)
    real = os.scandir

    def scandir(path):
        if path == shut:
            raise PermissionError(13, "Permission denied", shut)  # which root never meets
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    outcome = host.describe(none, str(host.folder), verify=True)
    assert outcome["looked"] == [
        {"store": "archives", "where": none, "outcome": "No such file or directory"},
        {"store": "archives", "where": str(host.folder), "outcome": "0 there"},
    ]
    assert [each["path"] for each in outcome["unread"]] == [shut]


def test_verify_of_a_cut_archive(host):
    path = host.archive(host.dump())["archives"][0]["path"]
    with open(path, "r+b") as stream:
        stream.truncate(os.path.getsize(path) // 2)
    (proof,) = host.describe(path, verify=True)["archives"]
    assert not proof["intact"] and proof["problems"]


@pytest.mark.parametrize(
    "size, words",
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_in_words(size, words):
    assert _adapter.in_bytes(size) == words


def test_what_is_carried_comes_first(tmp_path, monkeypatch):
    import sys
    import zipfile

    with zipfile.ZipFile(str(tmp_path / "carried.zip"), "w") as archive:
        archive.writestr("savedump_carried_here.py", "")
    monkeypatch.setenv(_adapter.CARRIED, str(tmp_path / "carried.zip"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    _adapter.use_carried()
    assert sys.path[0] == str(tmp_path / "carried.zip")
    assert _adapter.CARRIED not in os.environ


def test_a_dump_that_is_being_written_is_left_for_later(host):
    """kdump-tools gives it its name when it is whole."""
    (host.folder / "crash").mkdir()
    path = host.dump("crash/vmcore-incomplete")
    outcome = host.archive(str(host.folder / "crash"))
    assert outcome["archives"] == []
    (left,) = outcome["not_archived"]
    assert (left["exit_status"], left["failed"]) == (75, False) and "being written" in left["why"]
    os.utime(path, (1000, 1000))
    outcome = host.archive(str(host.folder / "crash"))
    assert [made["dump"]["path"] for made in outcome["archives"]] == [path]


def test_filters_are_for_what_is_found_and_what_they_leave_is_counted(host):
    first, second = host.dump("core.1", pid=1), host.dump("core.2", pid=2)
    os.utime(first, (1000, 1000))
    outcome = host.archive(str(host.folder), newer_than="1h")
    assert [made["dump"]["path"] for made in outcome["archives"]] == [second]
    assert outcome["left_out"] == 1 and outcome["msg"].endswith("1 more not asked for")
    outcome = host.archive(first, newer_than="1h")  # it was named itself
    assert [made["dump"]["path"] for made in outcome["archives"]] == [first]
    found = host.describe(str(host.folder), older_than="1d")
    assert [each["path"] for each in found["dumps"]] == [first] and found["left_out"] == 1


@pytest.mark.parametrize("name, value", [("newer_than", "yesterday"), ("min_size", "big"), ("signal", ["SIG V"])])
def test_a_filter_that_is_none_is_a_failure(host, name, value):
    for outcome in (host.describe(str(host.folder), **{name: value}), host.archive(str(host.folder), **{name: value})):
        assert outcome["failed"] and "write it as" in outcome["msg"]


def test_a_core_that_is_being_written_is_waited_for(host, monkeypatch):
    dump = host.dump("core.1", pid=1)
    looks = []
    with open(dump, "r+b") as written:
        (found,) = host.describe(str(host.folder), wait_for_dumps=0)["dumps"]
        assert found["in_progress"]
        outcome = host.archive(str(host.folder))
        assert outcome["archives"] == [] and "being written" in outcome["not_archived"][0]["why"]

        def sleep(seconds):
            looks.append(seconds)
            written.close()

        monkeypatch.setattr(_adapter.time, "sleep", sleep)
        (found,) = host.describe(str(host.folder), wait_for_dumps=60)["dumps"]
    assert not found["in_progress"] and len(looks) == 1


def test_one_run_at_a_time_for_each_folder(host):
    dump = host.dump()
    host.dest.mkdir(mode=0o700)
    with _adapter.lock.claimed(str(host.dest)):
        outcome = host.archive(dump)
        assert outcome["failed"] and "another run is at work on %s" % host.dest in outcome["msg"]
        assert host.archive(dump, check_mode=True)["archives"]
    assert host.archive(dump)["changed"]


def test_waiting_for_others_has_one_end_for_all_dumps(host, monkeypatch):
    """Whoever may read a dump can hold its lock: ten dumps are not ten times the wait."""
    dumps = [host.dump("core.%d" % pid, pid=pid) for pid in (1, 2)]
    waits = []

    def archive(path, wait, **_options):
        waits.append(wait)
        raise _adapter.errors.Busy("held", "")

    clock = iter((100.0, 100.0, 101.0, 150.0))
    monkeypatch.setattr(_adapter.api, "archive", archive)
    monkeypatch.setattr(_adapter, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    host.archive(*dumps, wait=10)
    assert waits == [9.0, 0.0]


def test_dumps_are_removed_and_what_is_not_the_same_is_kept(host):
    dumps = [host.dump("core.%d" % pid, pid=pid) for pid in (1, 2, 3)]
    archives = host.archive(*dumps)["archives"]
    host.dump("core.2", pid=99)
    archives[2]["dump"]["parts"] = [dumps[2], dumps[2] + ".2"]
    would = _adapter.remove_dumps({"archives": archives}, True)
    assert would["removed"] == dumps[:1] and would["changed"] and "would be removed" in would["msg"]
    assert os.path.exists(dumps[0])
    done = _adapter.remove_dumps({"archives": archives}, False)
    assert (done["removed"], [each["dump"] for each in done["kept"]]) == (dumps[:1], dumps[1:])
    assert [os.path.exists(dump) for dump in dumps] == [False, True, True]
    again = _adapter.remove_dumps({"archives": archives[:1]}, False)
    assert (again["changed"], again["removed"], again["kept"]) == (False, [], [])
