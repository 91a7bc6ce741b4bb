# SPDX-License-Identifier: Apache-2.0
"""What the real systemd-coredump writes is found, with all that it knows: into files, attributes and the journal.

The real apport is in test_apport.py, and kernels that crash in test_kernel_stores.py. abrt is no package of
Debian's, nor on PyPI, and IBM's core-dump-handler is an image for Kubernetes: their files are written by their
formats, in the unit tests of their stores. Debian's systemd packs with zstd and nothing else, whatever coredump.conf
says: .lz4 and .xz files are in test_systemd_coredump.py.
"""

import json
import os
import shutil
import subprocess
import time

import pytest
from savedump_core import api
from support import coredumps, elfwriter, stores
from support.command import savedump
from support.coredumps import CoredumpsError

WHEN = 1790000000
CORES = "/var/lib/systemd/coredump"
SERVICE = "/system.slice/shop.service"
USER_SERVICE = "/user.slice/user-1001.slice/user@1001.service/app.slice/game.service"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if os.geteuid():
        pytest.skip("needs root: it runs in namespaces of its own")
    if not os.path.exists(coredumps.JOURNALD):
        pytest.skip("this machine has no systemd-journald")
    try:
        return coredumps.unpacked(tmp_path_factory.mktemp("package"))
    except CoredumpsError as error:
        pytest.skip("no systemd-coredump to unpack: %s" % error)


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """Of a real process, killed by a signal."""
    folder = tmp_path_factory.mktemp("core")
    subprocess.run(["sh", "-c", "ulimit -c unlimited; exec sh -c 'kill -SEGV $$'"], cwd=folder, check=False)
    cores = [path for path in folder.iterdir() if path.name.startswith("core")]
    if not cores:
        pytest.skip("kernel.core_pattern hands cores elsewhere")
    return cores[0]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Without the notes that say who it is of: as gcore and qemu-user write them."""
    path = tmp_path_factory.mktemp("bare") / "core"
    return elfwriter.process_core(without=(1, 3, 6, 0x53494749, 0x46494C45)).write(str(path))


@pytest.fixture(scope="module")
def host(program, core, bare, tmp_path_factory):
    """A root with four crashes: whole, cut by its process's own limit, without notes, and one whose file is gone."""
    root = tmp_path_factory.mktemp("host")
    crashes = [
        {"core": str(core), "comm": "whole one", "signal": 11, "uid": 0, "time": WHEN, "cgroup": SERVICE},
        {"core": str(core), "comm": "cut", "signal": 6, "uid": 1000, "time": WHEN + 1, "limit": 65536},
        {"core": str(bare), "comm": "ba.re", "signal": 8, "uid": 1001, "time": WHEN + 2, "cgroup": USER_SERVICE},
        {"core": str(core), "comm": "gone", "signal": 11, "uid": 0, "time": WHEN + 3},
    ]
    (root / "pids").write_text(json.dumps(coredumps.crash(program, root, crashes)))
    (gone,) = (root / CORES.lstrip("/")).glob("core.gone.*")
    gone.unlink()
    return root


def by_name(report):
    """comm in the file's name to the entry."""
    return {os.path.basename(entry["path"]).split(".")[1]: entry for entry in report.entries}


def test_each_core_is_found_once_with_what_its_writer_knew(host):
    report = api.find(sysroot=str(host))
    found = by_name(report)
    assert sorted(found) == ["ba\\x2ere", "cut", "whole\\x20one"]
    for entry, seconds in ((found["whole\\x20one"], WHEN), (found["cut"], WHEN + 1), (found["ba\\x2ere"], WHEN + 2)):
        assert entry["store"] == "systemd-coredump" and entry["kind"] == "core" and entry["compression"] == "zstd"
        assert entry["crashed_ns"] == seconds * 10**9 and entry["host"] == coredumps.HOSTNAME
    whole = found["whole\\x20one"]
    assert whole["complete"] is None and whole["size"] is None
    # The core's own word goes first: it is that of a shell.
    assert whole["process"]["signal"]["name"] == "SIGSEGV" and "sh" in whole["process"]["executable"]
    assert whole["claimed_size"] > whole["stored_size"] > 0


def test_cut_one_is_said_by_the_journal(host):
    cut = by_name(api.find(sysroot=str(host)))["cut"]
    assert cut["complete"] is False and "systemd-coredump cut it" in cut["incomplete_why"]


def test_what_the_core_does_not_say_is_known(host):
    process = by_name(api.find(sysroot=str(host)))["ba\\x2ere"]["process"]
    assert process["comm"] == "ba.re" and process["signal"] == {
        "number": 8, "name": "SIGFPE", "code": None, "address": None,
    }  # fmt: skip
    assert process["executable"] == "/run/victims/ba.re" and process["args"].endswith("ba.re 60")
    assert (process["uid"], process["gid"]) == (1001, 1001)
    assert process["pid"] == json.loads((host / "pids").read_text())[2]


def test_units(host):
    found = by_name(api.find(sysroot=str(host)))
    assert {name: entry["unit"] for name, entry in found.items()} == {
        "whole\\x20one": "shop.service", "cut": None, "ba\\x2ere": "game.service",
    }  # fmt: skip


def test_crash_whose_file_is_gone_is_a_log(host):
    (log,) = api.find(sysroot=str(host)).logs
    assert log.store == "systemd-coredump" and "/core.gone." in log.path
    assert "gone was killed by signal 11; the file is gone" in log.what


def test_no_environment_is_read_from_the_journal(host):
    done = savedump("find", "--json", "--host-root", host)
    assert "PATH=" not in done.out and "LISTEN_FDS" not in done.out


def test_without_the_journal_and_without_attributes(host, tmp_path):
    """As a plain copy has them: cp keeps no attributes, and nobody copies the journal."""
    shutil.copytree(str(host) + CORES, str(tmp_path) + CORES, copy_function=shutil.copyfile)
    report = api.find(sysroot=str(tmp_path))
    found = by_name(report)
    assert sorted(found) == ["ba\\x2ere", "cut", "whole\\x20one"] and report.logs == ()
    process = found["ba\\x2ere"]["process"]
    assert (process["comm"], process["uid"], process["signal"]) == ("ba.re", 1001, None)
    assert found["ba\\x2ere"]["crashed_ns"] == (WHEN + 2) * 10**9
    # Nobody says it any more, and only reading it to its end would.
    assert found["cut"]["complete"] is None
    assert api.inspect(found["cut"]["path"])["complete"] is False


def test_attributes_alone(host, tmp_path):
    shutil.copytree(str(host) + CORES, str(tmp_path) + CORES)
    process = by_name(api.find(sysroot=str(tmp_path)))["ba\\x2ere"]["process"]
    if "user.coredump.signal" not in os.listxattr(by_name(api.find(sysroot=str(tmp_path)))["ba\\x2ere"]["path"]):
        pytest.skip("this file system has no user attributes")
    assert process["signal"]["number"] == 8 and process["executable"].endswith("/ba.re")


def crashed(program, core, root, settings):
    """What find says of one crash under these settings, and the number of the process."""
    crashes = [{"core": str(core), "comm": "prog", "signal": 11, "uid": 0, "time": WHEN}]
    (pid,) = coredumps.crash(program, root, crashes, settings)
    return api.find(sysroot=str(root)), pid


def test_without_compression_it_is_seen_to_be_whole(program, core, tmp_path):
    (entry,) = crashed(program, core, tmp_path, "Compress=no\n")[0].entries
    assert (entry["complete"], entry["compression"], entry["size"]) == (True, None, os.path.getsize(str(core)))


@pytest.mark.parametrize("compress", ["yes", "no"])
def test_cut_by_its_settings(program, core, tmp_path, compress):
    settings = "Compress=%s\nProcessSizeMax=65536\nExternalSizeMax=65536\n" % compress
    (entry,) = crashed(program, core, tmp_path, settings)[0].entries
    assert entry["complete"] is False and "ExternalSizeMax" in entry["incomplete_why"]
    assert api.inspect(entry["path"])["complete"] is False


def test_core_in_the_journal_is_said_with_the_way_to_it(program, core, tmp_path):
    report, pid = crashed(program, core, tmp_path, "Storage=journal\nJournalSizeMax=1G\n")
    assert report.entries == ()
    (log,) = report.logs
    assert "prog was killed by signal 11" in log.what and "coredumpctl dump %d -o FILE" % pid in log.what


def test_crash_of_which_no_core_is_kept_is_said(program, core, tmp_path):
    report, _pid = crashed(program, core, tmp_path, "Storage=none\n")
    assert report.entries == ()
    (log,) = report.logs
    assert "prog was killed by signal 11; no core of it was kept" in log.what


def test_host_without_journalctl(host, tmp_path, monkeypatch):
    """The files and their attributes are all there is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = savedump("find", "--json", "--host-root", host)
    entries = {os.path.basename(entry["path"]).split(".")[1]: entry for entry in json.loads(done.out)["dumps"]}
    assert sorted(entries) == ["ba\\x2ere", "cut", "whole\\x20one"] and json.loads(done.out)["logs"] == []
    assert [entries["ba\\x2ere"][key] for key in ("unit", "host")] == [None, coredumps.HOSTNAME]
    assert entries["ba\\x2ere"]["process"]["signal"]["number"] == 8


def test_real_systemd_tmpfiles_deletes_those_that_are_said_to_go(tmp_path):
    """The rule counts the last change only, because nobody can set when the inode was changed."""
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("this machine has no systemd-tmpfiles")
    stores.put(tmp_path, "/usr/bin/systemd-tmpfiles")
    stores.put(tmp_path, "/usr/lib/tmpfiles.d/systemd.conf", "d /var/lib/systemd/coredump 0755 root root m:3d\n")
    paths = [stores.systemd(tmp_path, b"x", pid=pid, suffix="") for pid in (1, 2)]
    core = elfwriter.process_core().to_bytes()
    for path, left_s in zip(paths, (-60, 60)):
        with open(path, "wb") as file:
            file.write(core)
        os.utime(path, (time.time() - 3 * 86400 + left_s,) * 2)
    entries = api.find(sysroot=str(tmp_path)).entries
    said = {entry["path"]: entry["expires"]["at"] / 1e9 > time.time() for entry in entries}
    assert said == {paths[0]: False, paths[1]: True}
    subprocess.run(["systemd-tmpfiles", "--clean", "--root=%s" % tmp_path], check=True)
    assert [os.path.exists(path) for path in paths] == [False, True]


def test_quota_of_the_real_program_takes_those_that_are_said_to_go(program, core, tmp_path):
    """MaxUse is so small that one of three must go at the next crash; the next crash shows which."""
    crashes = [
        {"core": str(core), "comm": "prog", "signal": 11, "uid": uid, "time": WHEN + number}
        for number, uid in enumerate((1000, 1000, 0))
    ]
    coredumps.crash(program, tmp_path, crashes)
    paths = {entry["path"]: os.stat(entry["path"]) for entry in api.find(sysroot=str(tmp_path)).entries}
    limit = sum(status.st_blocks * 512 for status in paths.values()) - 1
    (tmp_path / "etc/systemd").mkdir(parents=True)
    (tmp_path / "etc/systemd/coredump.conf").write_text("[Coredump]\nMaxUse=%d\nKeepFree=0\n" % (limit // 4096 * 4096))
    doomed = {entry["path"] for entry in api.find(sysroot=str(tmp_path)).entries if entry["expires"]}
    assert len(doomed) == 1
    crashes = [{"core": os.devnull, "comm": "next", "signal": 11, "uid": 5, "time": WHEN + 9}]
    coredumps.crash(program, tmp_path, crashes, "MaxUse=%d\n" % (limit // 4096 * 4096))
    assert {path for path in paths if not os.path.exists(path)} == doomed


def test_found_core_is_archived_under_its_own_name(host, tmp_path):
    path = by_name(api.find(sysroot=str(host)))["whole\\x20one"]["path"]
    done = savedump("archive", path, "-o", tmp_path, "--json")
    made = json.loads(done.out)
    assert done.status in (0, 3) and os.path.getsize(made["path"]) == made["size"]
