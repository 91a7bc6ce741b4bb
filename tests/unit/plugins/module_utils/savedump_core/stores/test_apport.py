# SPDX-License-Identifier: Apache-2.0
"""Crash reports and cores of apport, written by their format. What the real one writes: integration/test_apport.py."""

import os
import time

import pytest

from savedump_core import api
from savedump_core.stores import apport
from support import elfwriter, stores

CORE = elfwriter.process_core(pid=77, uid=1000).to_bytes()
BARE = elfwriter.process_core(without=(1, 3, 6, 0x53494749, 0x46494C45)).to_bytes()
NAME = "/var/crash/_usr_bin_prog.1000.crash"
CRON = """#!/bin/sh -e
find /var/crash/. ! -name . -prune -type f \\( -size 0 -o -mtime +7 \\) -exec rm -f -- '{}' \\;
"""


def find(root):
    report = api.find(sysroot=str(root))
    return [entry for entry in report.entries if entry["store"] == "apport"], report


def test_core_in_a_report_is_found(tmp_path):
    at = stores.put(tmp_path, NAME, stores.report(CORE))
    (entry,), _report = find(tmp_path)
    assert entry["path"] == at and entry["compression"] == "apport" and entry["kind"] == "core"
    assert entry["process"]["pid"] == 77 and entry["claimed_size"] == len(CORE) and entry["complete"] is None
    assert entry["crashed_ns"] == int(time.mktime((2023, 11, 14, 22, 13, 20, 0, 0, -1))) * 10**9


def test_text_tells_what_the_core_does_not_and_no_secret(tmp_path):
    stores.put(tmp_path, NAME, stores.report(BARE, signal=6))
    (entry,), _report = find(tmp_path)
    process = entry["process"]
    assert (process["executable"], process["uid"], process["gid"], process["comm"]) == (
        "/usr/bin/prog",
        1000,
        1001,
        "prog",
    )
    assert (
        process["signal"]["name"] == "SIGABRT" and process["pid"] == 77 and process["args"] == "/usr/bin/prog --serve"
    )
    assert "hunter2" not in str(entry)


def test_signal_behind_a_long_memory_map(tmp_path):
    maps = "".join(" %08x-%08x r-xp 0 fd:00 77 /usr/lib/x.so\n" % (n, n + 1) for n in range(8000))
    stores.put(tmp_path, NAME, stores.report(BARE, before="Attached:\n" + maps))
    (entry,), _report = find(tmp_path)
    assert entry["process"]["signal"]["number"] == 11


def test_report_that_lost_its_core_is_said(tmp_path):
    at = stores.put(tmp_path, NAME, stores.report(None))
    entries, report = find(tmp_path)
    assert entries == [] and any(one.where == at and "no core in it" in one.outcome for one in report.looked)


def test_report_of_another_problem_is_a_log(tmp_path):
    at = stores.put(tmp_path, "/var/crash/linux-image.0.crash", "ProblemType: KernelOops\nDate: x\n")
    entries, report = find(tmp_path)
    assert entries == [] and [(log.path, "KernelOops" in log.what) for log in report.logs] == [(at, True)]


def test_report_that_is_being_written(tmp_path):
    stores.put(tmp_path, NAME, stores.report(CORE), mode=0)
    (entry,), _report = find(tmp_path)
    assert entry["in_progress"] is True and "being written" in entry["incomplete_why"]
    os.utime(str(tmp_path) + NAME, (1000000000, 1000000000))
    (entry,), _report = find(tmp_path)
    assert entry["in_progress"] is False and "apport did not finish it" in entry["incomplete_why"]


def test_cut_report_is_not_whole(tmp_path):
    whole = stores.report(os.urandom(1 << 16) + CORE)
    text = stores.report(CORE + os.urandom(1 << 16))
    stores.put(tmp_path, NAME, text[: len(text) - 80000])
    (entry,), _report = find(tmp_path)
    assert entry["complete"] is False and "ends early" in entry["incomplete_why"] and whole


def test_cron_job_deletes_after_a_week(tmp_path):
    at = stores.put(tmp_path, NAME, stores.report(CORE))
    os.utime(at, (stores.SECONDS, stores.SECONDS))
    stores.put(tmp_path, "/etc/cron.daily/apport", CRON)
    (entry,), _report = find(tmp_path)
    assert entry["expires"]["at"] == (stores.SECONDS + 8 * 86400) * 10**9 and "7 days" in entry["expires"]["why"]
    os.unlink(str(tmp_path) + "/etc/cron.daily/apport")
    assert find(tmp_path)[0][0]["expires"] is None


def test_cores_by_the_processs_own_limit(tmp_path):
    boot = "12345678-1234-1234-1234-123456789abc"
    name = "/var/lib/apport/coredump/core._opt_my_prog.1000.%s.%d.9999"
    paths = [stores.put(tmp_path, name % (boot, pid), BARE) for pid in range(1, 5)]
    stores.put(tmp_path, "/var/lib/apport/coredump/README", b"text")
    entries, _report = find(tmp_path)
    assert sorted(entry["path"] for entry in entries) == paths and not any(entry["expires"] for entry in entries)
    assert {entry["process"]["pid"] for entry in entries} == {1, 2, 3, 4} and entries[0]["process"]["uid"] == 1000
    for age, path in enumerate(paths):
        os.utime(path, (stores.SECONDS - age, stores.SECONDS - age))
    for pid, going in ((5, paths[3:]), (6, paths[2:])):
        stores.put(tmp_path, name % (boot, pid), BARE)
        stores.put(tmp_path, name.replace("1000", "1001") % (boot, pid), BARE)
        expires = {entry["path"]: entry["expires"] for entry in find(tmp_path)[0] if entry["expires"]}
        assert sorted(expires) == going and all("next crash" in one["why"] for one in expires.values())


@pytest.mark.parametrize(
    "text", ["", "Tue Nov 14", "Tue Nov 14 22:13:20 99999", "Tue Foo 14 22:13:20 2023", "\udcff" * 9]
)
def test_date_that_is_none(text):
    assert apport._seconds(text) is None


def test_anybody_may_put_files_there(tmp_path):
    stores.put(tmp_path, "/var/crash/text.crash", "no report")
    stores.put(tmp_path, "/var/crash/long.crash", b"ProblemType: Crash\n" + b"A" * (3 << 20))
    os.mkfifo(str(tmp_path) + "/var/crash/fifo.crash")
    os.symlink("/etc/passwd", str(tmp_path) + "/var/crash/link.crash")
    stores.put(tmp_path, "/var/crash/a\nb\x1b[2J.crash", stores.report(CORE))
    entries, report = find(tmp_path)
    assert [os.path.basename(entry["path"]) for entry in entries] == ["a\nb\x1b[2J.crash"]
    assert not any("fifo" in one.where or "link" in one.where for one in report.looked)


def test_cores_go_by_the_packages_own_rule(tmp_path):
    boot = "12345678-1234-1234-1234-123456789abc"
    at = stores.put(tmp_path, "/var/lib/apport/coredump/core._opt_my_prog.1000.%s.1.9999" % boot, BARE)
    stores.put(tmp_path, "/usr/bin/systemd-tmpfiles")
    stores.put(tmp_path, "/usr/lib/tmpfiles.d/apport.conf", "d /var/lib/apport/coredump 0755 root root m:3d\n")
    (entry,), _report = find(tmp_path)
    assert entry["expires"]["at"] == os.stat(at).st_mtime_ns + 3 * 86400 * 10**9
