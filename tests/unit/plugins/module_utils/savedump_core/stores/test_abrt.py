# SPDX-License-Identifier: Apache-2.0
"""Problems of abrt's, written by its format: Debian has no abrt, so none is run here."""

import os

import pytest

from savedump_core import api
from support import elfwriter, stores

CORE = elfwriter.process_core(pid=77, uid=1000).to_bytes()
BARE = elfwriter.process_core(without=(1, 3, 6, 0x53494749, 0x46494C45)).to_bytes()


def find(root):
    report = api.find(sysroot=str(root))
    return [entry for entry in report.entries if entry["store"] == "abrt"], report


@pytest.mark.parametrize("file, pack", [("coredump", ""), ("coredump.zst", ".zst"), ("coredump.lz4", ".lz4")])
def test_core_is_found(tmp_path, file, pack):
    at = stores.abrt(tmp_path, stores.PACK[pack](CORE), file=file)
    (entry,), _report = find(tmp_path)
    assert entry["path"] == at and entry["crashed_ns"] == stores.SECONDS * 10**9
    assert entry["host"] == "crashed.example.org" and entry["process"]["signal"]["name"] == "SIGSEGV"
    assert "1000 MiB" in entry["expires"]["why"] and entry["expires"]["at"] is None


def test_files_beside_the_core_tell_what_it_does_not(tmp_path):
    stores.abrt(tmp_path, BARE, executable="/usr/bin/a b", uid="12\n")
    (entry,), _report = find(tmp_path)
    process = entry["process"]
    assert (process["executable"], process["uid"], process["pid"], process["args"]) == (
        "/usr/bin/a b", 12, 77, "prog --serve",
    )  # fmt: skip


def test_settings_say_where_and_how_much(tmp_path):
    stores.put(tmp_path, "/etc/abrt/abrt.conf", "# x\nDumpLocation = /srv/abrt\nMaxCrashReportsSize = 20\n")
    at = stores.abrt(tmp_path, CORE, place="/srv/abrt")
    (entry,), _report = find(tmp_path)
    assert entry["path"] == at and "20 MiB" in entry["expires"]["why"]


def test_no_limit_deletes_nothing(tmp_path):
    stores.put(tmp_path, "/etc/abrt/abrt.conf", "MaxCrashReportsSize = 0\n")
    stores.abrt(tmp_path, CORE, place="/var/tmp/abrt")
    (entry,), _report = find(tmp_path)
    assert entry["expires"] is None


def test_dump_of_a_kernel_in_a_problem_is_found(tmp_path):
    from support import kdumpwriter

    dump = kdumpwriter.kdump(kdumpwriter.Kdump(memory={0: bytes(range(256)) * 16})).to_bytes()
    at = stores.abrt(tmp_path, dump, name="vmcore-127.0.0.1-2023-11-14-22:13:20", file="vmcore", type="vmcore")
    (entry,), _report = find(tmp_path)
    assert entry["path"] == at and entry["kernel"]["nodename"] == "host.example.org"


def test_problem_without_a_core_is_a_log(tmp_path):
    stores.abrt(tmp_path, None, name="oops-2023-11-14-22:13:20-1-0", type="Kerneloops", reason="BUG: at \x1b[31m")
    entries, report = find(tmp_path)
    assert entries == [] and [log.store for log in report.logs] == ["abrt"]
    assert "Kerneloops" in report.logs[0].what and "BUG: at" in report.logs[0].what


def test_problem_that_is_being_saved(tmp_path):
    at = stores.abrt(tmp_path, CORE[:-100], name="ccpp-2023-11-14-22:13:20-77.new")
    (entry,), _report = find(tmp_path)
    assert entry["in_progress"] is True and entry["complete"] is False
    os.utime(at, (1000, 1000))
    (entry,), _report = find(tmp_path)
    assert entry["in_progress"] is False and "abrt did not finish it" in entry["incomplete_why"]


def test_hostile_problem(tmp_path):
    """The folder belongs to the user whose program crashed."""
    folder = os.path.dirname(stores.abrt(tmp_path, BARE))
    for name in ("executable", "time", "pid", "hostname", "uid"):
        os.unlink(os.path.join(folder, name))
    os.mkfifo(os.path.join(folder, "executable"))
    os.symlink("/etc/shadow", os.path.join(folder, "hostname"))
    stores.put(tmp_path, "/var/spool/abrt/%s/time" % os.path.basename(folder), b"9" * 5000)
    stores.put(tmp_path, "/var/spool/abrt/%s/uid" % os.path.basename(folder), b"-1")
    os.symlink("/var", str(tmp_path) + "/var/spool/abrt/ccpp-link")
    (entry,), _report = find(tmp_path)
    assert entry["process"]["executable"] is None and entry["host"] is None
    assert entry["crashed_ns"] is None and entry["process"]["uid"] is None


def test_rule_for_the_folder_of_temporary_files(tmp_path):
    at = stores.abrt(tmp_path, CORE, place="/var/tmp/abrt")
    stores.put(tmp_path, "/usr/bin/systemd-tmpfiles")
    stores.put(tmp_path, "/usr/lib/tmpfiles.d/tmp.conf", "q /var/tmp 1777 root root m:30d\n")
    (entry,) = api.find(sysroot=str(tmp_path)).entries
    assert entry["expires"]["at"] == os.stat(at).st_mtime_ns + 30 * 86400 * 10**9
    assert "abrt deletes problems" in entry["expires"]["why"]
