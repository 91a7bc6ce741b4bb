# SPDX-License-Identifier: Apache-2.0
"""What systemd-coredump left, by its names and attributes. What it really writes, and the journal, are in
tests/integration/test_stores.py."""

import errno
import os
import shutil
import subprocess
import time

import pytest

from savedump_core import api
from savedump_core.stores import systemd_coredump
from savedump_core.stores._systemd_settings import Kept, Quota, doomed, quota
from savedump_core.stores._tmpfiles import Tmpfiles
from savedump_core.sysroot import Sysroot
from support import elfwriter, stores

CORE = elfwriter.process_core(pid=77, comm=b"prog", signal=11, uid=1000).to_bytes()
BARE = elfwriter.process_core(pid=77, without=(1, 3, 6, 0x53494749, 0x46494C45)).to_bytes()
FOLDER = "/var/lib/systemd/coredump/"
DAY = 86400 * 10**9


def find(root):
    report = api.find(sysroot=str(root))
    return [entry for entry in report.entries if entry["store"] == "systemd-coredump"], report


@pytest.mark.parametrize("suffix", sorted(stores.PACK))
def test_core_is_found_whatever_it_is_packed_with(tmp_path, suffix):
    at = stores.systemd(tmp_path, stores.PACK[suffix](CORE), suffix=suffix)
    (entry,), _report = find(tmp_path)
    assert entry["path"] == at and entry["kind"] == "core" and entry["machine"] == "x86_64"
    assert entry["process"]["pid"] == 77 and entry["process"]["signal"]["name"] == "SIGSEGV"
    assert entry["crashed_ns"] == stores.SECONDS * 10**9
    assert entry["claimed_size"] == len(CORE) and entry["stored_size"] == os.path.getsize(at)
    # Nobody reads a packed one to its end for a listing.
    assert (entry["size"], entry["complete"]) == ((None, None) if suffix else (len(CORE), True))


def test_name_tells_what_the_core_does_not(tmp_path):
    stores.systemd(tmp_path, stores.zstd(BARE), comm="a.b c/d", uid=1000, pid=4711)
    stores.put(tmp_path, "/etc/passwd", "root:x:0:0:::\nmax:x:1000:1000:::\n")
    (entry,), _report = find(tmp_path)
    process = entry["process"]
    assert (process["comm"], process["uid"], process["pid"]) == ("a.b c/d", 1000, 4711) and entry["user"] == "max"
    assert process["signal"] is None and process["executable"] is None


def test_attributes_tell_more(tmp_path):
    told = {"signal": 6, "exe": "/opt/x\ny", "gid": 7, "hostname": "box", "uid": "1e9", "timestamp": stores.SECONDS}
    stores.systemd(tmp_path, stores.zstd(BARE), told)
    (entry,), _report = find(tmp_path)
    process = entry["process"]
    assert process["signal"]["number"] == 6 and process["signal"]["name"] == "SIGABRT"
    assert process["executable"] == "/opt/x\ny" and process["gid"] == 7 and entry["host"] == "box"
    assert process["uid"] is None  # no number, so it is nobody


def test_core_speaks_for_itself(tmp_path):
    """Attributes are written by whoever owns the file."""
    stores.systemd(tmp_path, stores.zstd(CORE), {"signal": 9, "exe": "/bin/liar", "uid": 0, "pid": 1}, uid=0, pid=1)
    (entry,), _report = find(tmp_path)
    assert entry["process"]["signal"]["number"] == 11 and entry["process"]["uid"] == 1000
    assert entry["process"]["pid"] == 77


@pytest.mark.parametrize(
    "name, comm, uid, seconds",
    [
        ("core.a\\x2eb.0.%s.1.1400000000000000.lz4" % stores.BOOT, "a.b", 0, 1400000000),
        ("core.my.prog.%s.1.1400000000000000.xz" % stores.BOOT, "my.prog", None, 1400000000),
        ("core.prog.0.%s.1.1400000000.zst" % stores.BOOT, "prog", 0, 1400000000),
        ("core.\n.0.%s.1.1700000000123456" % stores.BOOT, "\n", 0, 1700000000.123456),
        ("core.\\xff.0.%s.1.1700000000123456" % stores.BOOT, "\udcff", 0, 1700000000.123456),
    ],
)
def test_names_of_all_versions(name, comm, uid, seconds):
    told = systemd_coredump.tell_of("/nowhere/" + name, None, False)
    assert (told.comm, told.uid, told.pid) == (comm, uid, 1) and told.when_ns == round(seconds * 10**6) * 1000


def test_what_is_no_core_is_said_and_what_has_another_name_is_not(tmp_path):
    text = stores.put(tmp_path, FOLDER + stores.systemd_name(suffix=""), b"text")
    damaged = stores.systemd(tmp_path, b"\x28\xb5\x2f\xfdgarbage", pid=2)
    os.mkfifo(str(tmp_path) + FOLDER + "core.fifo.0.%s.3.1" % stores.BOOT)
    os.symlink("/etc/passwd", str(tmp_path) + FOLDER + "core.link.0.%s.4.1" % stores.BOOT)
    stores.put(tmp_path, FOLDER + "README", b"text")
    entries, report = find(tmp_path)
    assert entries == []
    said = {one.where: one.outcome for one in report.looked}
    assert "text file" in said[text] and "zstd" in said[damaged]
    assert not any("fifo" in where or "link" in where or "README" in where for where in said)


def test_temporary_file_is_being_written_or_was_left_behind(tmp_path):
    at = stores.put(tmp_path, FOLDER + ".#core.prog.0.%s.1.1400000000000000.zst0123456789abcdef" % stores.BOOT, CORE)
    (entry,), _report = find(tmp_path)
    assert entry["in_progress"] is True and entry["complete"] is False and "being written" in entry["incomplete_why"]
    os.utime(at, (1000, 1000))
    (entry,), _report = find(tmp_path)
    assert entry["in_progress"] is False and "did not finish" in entry["incomplete_why"]


def test_host_that_starts_no_more_processes_has_dumps_nevertheless(tmp_path, monkeypatch):
    """A host in trouble: fork(2) ends with EAGAIN."""

    def popen(*_words, **_options):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    stores.systemd(tmp_path, CORE, suffix="")
    os.makedirs(str(tmp_path / "var/log/journal"))
    monkeypatch.setattr(shutil, "which", lambda program: "/usr/bin/" + program)
    monkeypatch.setattr(subprocess, "Popen", popen)
    (entry,), report = find(tmp_path)
    assert entry["complete"] is True
    assert ("/var/log/journal", "journalctl: Resource temporarily unavailable") in [
        (looked.where, looked.outcome) for looked in report.looked
    ]


class TestExpiry:
    """When it will be gone: by the rules on the host that it lies on."""

    def rules(self, root, line, name="systemd.conf", folder="/usr/lib/tmpfiles.d/"):
        stores.put(root, "/usr/bin/systemd-tmpfiles")
        stores.put(root, folder + name, "# a comment\n%s\n" % line)

    def test_what_was_left_unfinished_goes_when_the_system_starts(self, tmp_path):
        self.rules(tmp_path, "r! /var/lib/systemd/coredump/.#*")
        stores.put(tmp_path, FOLDER + ".#core.prog.0.%s.1.1400000000000000.zst0123456789abcdef" % stores.BOOT, CORE)
        (entry,), _report = find(tmp_path)
        assert entry["expires"]["at"] is None and "when the system starts" in entry["expires"]["why"]

    def expires(self, root):
        at = stores.systemd(root, CORE, suffix="")
        os.utime(at, (1000, 1000))
        (entry,), _report = find(root)
        # Nobody sets when the inode was changed last, and that counts, too.
        changed = os.lstat(at).st_ctime_ns
        found = entry["expires"]
        return found and dict(found, at=found["at"] and (found["at"] - changed) / DAY)

    def test_age(self, tmp_path):
        self.rules(tmp_path, "d /var/lib/systemd/coredump 0755 root root 3d")
        found = self.expires(tmp_path)
        assert found["at"] == 3 and "3d" in found["why"] and "/usr/lib/tmpfiles.d/systemd.conf" in found["why"]

    def test_rule_of_etc_hides_that_of_the_package(self, tmp_path):
        self.rules(tmp_path, "d /var/lib/systemd/coredump 0755 root root 3d")
        self.rules(tmp_path, "d /var/lib/systemd/coredump 0755 root root 1w 2d", folder="/etc/tmpfiles.d/")
        assert self.expires(tmp_path)["at"] == 7

    def test_rule_that_was_masked(self, tmp_path):
        self.rules(tmp_path, "d /var/lib/systemd/coredump 0755 root root 3d")
        os.makedirs(str(tmp_path) + "/etc/tmpfiles.d")
        os.symlink("/dev/null", str(tmp_path) + "/etc/tmpfiles.d/systemd.conf")
        assert self.expires(tmp_path) is None

    def test_rule_of_a_folder_above(self, tmp_path):
        self.rules(tmp_path, "d /var/lib - - - 10d")
        assert self.expires(tmp_path)["at"] == 10

    @pytest.mark.parametrize(
        "line",
        ["d /var/lib/systemd/coredump 0755 root root -", "x /var/lib/systemd/coredump/core.*",
         "d /var/lib/other - - - 1d", "d /var/lib/systemd/coredump", "d /var/lib/systemd/coredump - - - nonsense"],
    )  # fmt: skip
    def test_no_rule(self, tmp_path, line):
        self.rules(tmp_path, "d /var/lib - - - 10d" if line.startswith("x") else line)
        self.rules(tmp_path, line, "zz.conf")
        assert self.expires(tmp_path) is None

    @pytest.mark.parametrize(
        "lines, days",
        [
            # A line with "!" is read at the start only.
            ("d! /var/lib/systemd/coredump - - - 3d", None),
            ("d! /var/lib/systemd/coredump - - - 3d\nd /var/lib - - - 10d", 10),
            ("d /var/lib - - - 10d\nx! /var/lib/systemd/coredump", 10),
            ("d /var/lib/systemd/coredump - - - 0", 0),
            ("e /var/lib/system*/core* - - - 1d", 1),
            ("e /var/lib/* - - - 1d", 1),
            ("e /var/* - - - 1d\nd /var/lib/systemd - - - 2d", 2),
            ("e /var/lib*/coredump - - - 1d", None),
            # What has a line of its own is spared, but not what that line itself cleans.
            ("d /var/lib/systemd/coredump - - - 3d\nx /var/lib/systemd/coredump", 3),
            ("d /var/lib/systemd - - - 3d\nx /var/lib/systemd/coredump", None),
            ("d /var/lib/systemd - - - 3d\nx /var/lib/systemd/coredump - - - 5d", 5),
            ("d /var/lib/systemd - - - 3d\nX /var/lib/systemd/coredump", 3),
            ("d /var/lib/systemd - - - m:3d\nX /var/lib/systemd/coredump", 3),
            ("d /var/lib/systemd - - - 3d\nX /var/lib/systemd/coredump/core*", None),
            ("d /var/lib/systemd - - - 3d\nx /var/lib/*", 3),
            ("d /var/lib - - - 3d\nx /var/lib/*", None),
            ("d /var/lib - - - 3d\nx /var/lib/core*", 3),
            ("d /var/lib - - - 3d\nz /var/lib/systemd/coredump/core* 0600", None),
            ("d /var/lib - - - 3d\nL /var/lib/systemd - - - - /srv", None),
            ("d /var/lib - - - 3d\nL /var/lib/system* - - - - /srv", 3),
            ("z /var/lib/systemd/coredump 0700\nd /var/lib/systemd/coredump - - - 3d", 3),
            ("z /var/lib/systemd/core* 0700\ne /var/lib/systemd/core* - - - 3d", 3),
        ],
    )  # fmt: skip
    def test_lines_together(self, tmp_path, lines, days):
        self.rules(tmp_path, lines)
        found = self.expires(tmp_path)
        assert (found and found["at"]) == days

    def test_age_of_nothing_is_the_next_run(self, tmp_path):
        self.rules(tmp_path, "d /var/lib/systemd/coredump - - - 0")
        assert "deletes it when it runs next" in self.expires(tmp_path)["why"]

    @pytest.mark.parametrize(
        "line, goes",
        [("D /var/lib", True), ("D! /var/lib/systemd", True), ("R /var/lib/system*", True),
         ("r! /var/lib/systemd/coredump/core.*", True), ("R /var/*/coredump", False), ("D /var/lib/other", False),
         ("D /var/lib/*", False)],
    )  # fmt: skip
    def test_what_goes_when_the_system_starts(self, tmp_path, line, goes):
        at = stores.systemd(tmp_path, CORE, suffix="")
        self.rules(tmp_path, line)
        (entry,), _report = find(tmp_path)
        why = "systemd-tmpfiles deletes it when the system starts (/usr/lib/tmpfiles.d/systemd.conf)"
        assert entry["path"] == at and entry["expires"] == ({"at": None, "why": why} if goes else None)

    def test_pattern_matches_no_dot_that_begins_a_name(self, tmp_path):
        self.rules(tmp_path, "d /var/lib - - - 3d\nz /var/lib/*")
        expires = Tmpfiles(Sysroot(str(tmp_path))).expires
        assert expires(stores.put(tmp_path, "/var/lib/core")) is None
        assert "3d" in expires(stores.put(tmp_path, "/var/lib/.core"))["why"]

    def test_nobody_applies_the_rules_where_systemd_is_not(self, tmp_path):
        stores.put(tmp_path, "/usr/lib/tmpfiles.d/systemd.conf", "d /var/lib/systemd/coredump - - - 3d\n")
        assert self.expires(tmp_path) is None

    def test_quota_is_reached(self, tmp_path):
        stores.put(tmp_path, "/etc/systemd/coredump.conf", "[Coredump]\nMaxUse=1G\nKeepFree=0\n")
        stores.put(tmp_path, "/etc/systemd/coredump.conf.d/50-small.conf", "[Coredump]\nMaxUse=20K\n")
        paths = [stores.systemd(tmp_path, b"\x7fELF" + CORE[4:], suffix="", pid=pid) for pid in (1, 2, 3)]
        for age, path in enumerate(reversed(paths)):
            os.utime(path, (time.time() - age * 3600,) * 2)
        entries, _report = find(tmp_path)
        doomed_ones = [entry["path"] for entry in entries if entry["expires"]]
        blocks = os.stat(paths[0]).st_blocks * 512
        kept = 20480 // blocks
        assert doomed_ones == sorted(paths[: 3 - kept], reverse=True)
        assert "MaxUse" in entries[-1]["expires"]["why"] and entries[-1]["expires"]["at"] is None

    def limit(self, root):
        return quota(Sysroot(str(root)), str(root)).max_use

    @pytest.mark.parametrize(
        "text, size",
        [("1.9M", 1992294), ("1.5K", 1536), ("0.5GiB", 1 << 29), ("4096", 4096), ("3T", 3 << 40), ("0", None)],
    )
    def test_size(self, tmp_path, text, size):
        stores.put(tmp_path, "/etc/systemd/coredump.conf", "[Coredump]\nMaxUse=%s\n" % text)
        assert self.limit(tmp_path) == size

    def test_empty_file_of_the_host_hides_that_of_the_package(self, tmp_path):
        unset = self.limit(tmp_path)
        stores.put(tmp_path, "/usr/lib/systemd/coredump.conf", "[Coredump]\nMaxUse=20K\n")
        assert self.limit(tmp_path) == 20480
        stores.put(tmp_path, "/etc/systemd/coredump.conf", "")
        assert self.limit(tmp_path) == unset


def test_oldest_of_the_user_with_most_goes_first():
    kept = [Kept("a%d" % n, "1000", n, 10) for n in range(4)] + [Kept("b", "0", -5, 10)]
    assert doomed(kept, Quota(max_use=30, keep_free=None), 0) == ({"a0", "a1"}, 50)
    assert doomed(kept, Quota(max_use=None, keep_free=25), 0) == ({"a0", "a1", "a2"}, 50)
    assert doomed(kept, Quota(max_use=None, keep_free=None), 0) == (set(), 50)
    assert doomed(kept, Quota(max_use=0, keep_free=None), 0)[0] == {"a0", "a1", "a2", "a3", "b"}
