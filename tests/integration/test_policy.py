# SPDX-License-Identifier: Apache-2.0
"""The role's policy over real hosts: what is collected, what is waited for, what stops nobody, what is removed."""

import concurrent.futures
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from support import checkout
from support.fleet import Fleet, HostSpec
from support.fleet.controller import Ansible, python_for

from savedump_core import api

#: Of each dump, what gzip cannot make smaller.
DATA_MIB = 4
MIB = 1 << 20


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return checkout.copy(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    """The policy is in the role and in our own modules: one ansible-core is enough for most of it."""
    if python_for("2.21") is None:
        pytest.skip("ansible-core 2.21 needs Python 3.12 or newer; there is none")
    return Ansible("2.21", tmp_path_factory.mktemp("home"))


class Site:
    """Hosts, and an operator with a destination of his own."""

    def __init__(self, ansible, clone, fleet, dest):
        self.ansible, self.clone, self.fleet, self.dest = ansible, clone, fleet, dest
        self.sent = {}

    def play(self, *arguments, **variables):
        before = {name: host.bytes_sent() for name, host in self.fleet.hosts.items()}
        run = self.ansible.play(
            self.fleet.inventory,
            "collect-dumps.yml",
            "-e",
            json.dumps({"collect_dest": str(self.dest), **variables}),
            *arguments,
            cwd=self.clone,
            config=self.clone / "ansible.cfg",
        )
        self.sent = {name: host.bytes_sent() - before[name] for name, host in self.fleet.hosts.items()}
        return run

    def another_operator(self, dest):
        return Site(self.ansible, self.clone, self.fleet, dest)

    def archives(self, host):
        return sorted(path for path in (self.dest / host).glob("*.tar*") if not path.name.endswith(".part"))

    def summary(self):
        return json.loads((self.dest / "summary.json").read_text())


@pytest.fixture
def site(newest, clone, fleet_folder, tmp_path):
    """Two hosts, with one dump each."""
    with Fleet(fleet_folder / "policy", [HostSpec("host1"), HostSpec("host2")]) as fleet:
        for host in fleet.hosts.values():
            host.crash(data_mib=DATA_MIB)
        yield Site(newest, clone, fleet, tmp_path / "collected")


def _outcomes(run):
    found = [result.values["outcomes"] for result in run.results if "outcomes" in result.values]
    assert found, str(run)
    return found[-1]


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_the_filters_leave_and_what_the_summary_says(site):
    host1 = site.fleet.hosts["host1"]
    other = host1.crash("/var/tmp", program="another", data_mib=1)
    run = site.play("--check", collect_executable=["another"], collect_signal=["SEGV"], collect_newer_than="1h")
    assert not run.status, str(run)
    (would,) = _outcomes(run)["host1"]["archives"]
    assert would["dump"] == other.core and MIB < would["estimated_size"] < would["planned_size"]
    said = " ".join(run.output.split())  # the summary is folded
    assert "would be made, reading" in said and "when packed; 1 not asked for" in said, str(run)
    assert not site.dest.exists()

    run = site.play(collect_executable=["another"], collect_signal=["SEGV"], collect_newer_than="1h")
    outcomes = _outcomes(run)
    assert not run.status, str(run)
    assert {name: (each["status"], each["left_out"]) for name, each in outcomes.items()} == {
        "host1": ("complete", 1), "host2": ("no-dumps", 1)
    }  # fmt: skip
    assert "no dumps that were asked for, 1 others" in run.output
    (archive,) = site.archives("host1")
    size = archive.stat().st_size
    assert abs(would["estimated_size"] - size) < size / 5

    said, saved = site.summary(), site.dest / "summary.json"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert (said["schema"], said["hosts"], said["check_mode"]) == ("savedump.summary/1", outcomes, False)
    assert said["totals"]["by_status"]["no-dumps"] == 1
    assert size <= said["totals"]["wire_bytes"] < 1.1 * size and said["totals"]["saved_bytes"] == 0

    run = site.play(savedump_serial=1)  # the first batch's summary does not call the second host a failure
    assert not run.status, str(run)
    texts = [result.values["lines"] for result in run.results if "lines" in result.values]
    assert [[host for host in site.fleet.hosts if any(line.startswith(host) for line in text)] for text in texts] == [
        ["host1"], ["host1", "host2"]
    ]  # fmt: skip
    assert [[line for line in text if "host2" in line] for text in texts][0] == [
        "STILL TO COME, nothing is known of them: host2."
    ]
    assert site.summary()["to_come"] == []
    totals = site.summary()["totals"]
    assert (totals["archives"], totals["saved_bytes"]) == (3, size)
    assert "not sent, being here already" in run.output


def test_a_dump_that_is_being_written_is_waited_for(site):
    """The kernel writes a core under its final name; the writer here keeps it open in the same way."""
    host = site.fleet.hosts["host1"]
    host.run("(exec 3<>/var/crash/core; sleep 600) >/dev/null 2>&1 & echo $! > /run/writer")
    run = site.play(collect_wait_for_dumps=1, collect_fail_on_gaps=False)
    outcome = _outcomes(run)["host1"]
    assert (outcome["status"], outcome["archives"]) == ("gaps", []), str(run)
    assert outcome["left"] == ["/var/crash/core: is still being written; archive it later"]
    assert "not archived: /var/crash/core: is still being written" in run.output
    assert len(site.archives("host2")) == 1

    with concurrent.futures.ThreadPoolExecutor() as pool:
        waits = pool.submit(site.play, collect_wait_for_dumps=120)
        time.sleep(4)
        assert not waits.done()
        host.run("pkill -P $(cat /run/writer); kill $(cat /run/writer)", check=False)
        run = waits.result()
    assert _outcomes(run)["host1"]["status"] == "complete", str(run)
    assert len(site.archives("host1")) == 1


def test_two_operators_make_one_archive(site, tmp_path):
    """Each dump is read and packed once, whoever comes second, and both have it."""
    sites = [site, site.another_operator(tmp_path / "second")]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda each: each.play(), sites))
    made = {"host1": 0, "host2": 0}
    for each, run in zip(sites, runs, strict=True):
        assert not run.status, str(run)
        for name in made:
            (result,) = run.of(name, "Archive each dump")
            made[name] += result.values["changed"]
            assert len(each.archives(name)) == 1
    assert made == {"host1": 1, "host2": 1}
    for name in made:
        assert len({_sha256(each.archives(name)[0]) for each in sites}) == 1


def test_who_holds_the_lock_for_ever_stops_his_own_host_only(site):
    host = site.fleet.hosts["host1"]
    holder = "import fcntl,time; f=open('/var/crash/core'); fcntl.flock(f, 2); open('/run/held','w'); time.sleep(600)"
    host.run(f'python3 -c "{holder}" >/dev/null 2>&1 & while [ ! -e /run/held ]; do sleep 0.02; done')
    run = site.play(collect_wait_for_others=2)
    outcomes = _outcomes(run)
    assert {name: each["status"] for name, each in outcomes.items()} == {"host1": "failed", "host2": "complete"}
    assert "another run is at work on /var/crash/core (pid " in outcomes["host1"]["errors"][0], str(run)
    assert not site.archives("host1")


@pytest.fixture
def small_dest(tmp_path):
    """A folder on the control host with room for one host's archive: the data, and the host's C library and debug
    information, which take 5 to 6 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DATA_MIB + 9}m", "small", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_control_host_that_is_too_small_for_all_is_told_before_it_is_full(site, small_dest):
    """Each host's archive would fit on its own."""
    small = site.another_operator(small_dest / "collected")
    small.dest.mkdir()
    run = small.play()
    outcomes = _outcomes(run)
    assert {each["status"] for each in outcomes.values()} == {"failed"}, str(run)
    for each in outcomes.values():
        assert "2 archives of 2 hosts need 1" in each["errors"][0] and "too few" in each["errors"][0]
        assert f"{small_dest} (small)" in each["errors"][0]
    assert not any(small.archives(name) for name in outcomes)
    assert all(sent < DATA_MIB * MIB for sent in small.sent.values())
    run = small.play("--limit", "host1", collect_store="")
    assert not run.status and len(small.archives("host1")) == 1, str(run)


def test_a_dump_is_removed_once_its_archive_is_proven_here(site):
    host1, host2 = (site.fleet.hosts[name] for name in ("host1", "host2"))
    host2.run("rm /opt/report/lib/render.so")  # so that its archive is incomplete
    cores = {name: host.path("/var/crash/core") for name, host in site.fleet.hosts.items()}
    options = {"collect_remove_dumps": "complete", "collect_fill_gaps": False}
    run = site.play("--check", **options)
    assert "would remove there: /var/crash/core" in run.output, str(run)
    assert all(core.exists() for core in cores.values()) and not site.dest.exists()

    assert not site.play(collect_fill_gaps=False, collect_verify=False, collect_remove_dumps="always").status
    assert all(core.exists() for core in cores.values())  # nothing was verified

    run = site.play(**options)
    outcomes = _outcomes(run)
    assert outcomes["host1"]["removed"] == ["/var/crash/core"] and outcomes["host2"]["removed"] == [], str(run)
    assert {name: core.exists() for name, core in cores.items()} == {"host1": False, "host2": True}
    assert "removed there: /var/crash/core" in run.output
    assert len(site.archives("host1")) == 1


def test_a_streamed_dump_is_removed_once_its_archive_is_proven_here(site):
    site.fleet.hosts["host2"].run("rm /opt/report/lib/render.so")  # so that its archive is incomplete
    cores = {name: host.path("/var/crash/core") for name, host in site.fleet.hosts.items()}
    options = {"collect_stream": True, "collect_remove_dumps": "complete", "collect_fill_gaps": False}
    run = site.play("--check", **options)
    assert "would remove there: /var/crash/core" in run.output, str(run)
    assert all(core.exists() for core in cores.values()) and not site.dest.exists()

    run = site.play(**options)
    outcomes = _outcomes(run)
    assert outcomes["host1"]["removed"] == ["/var/crash/core"] and outcomes["host2"]["removed"] == [], str(run)
    assert {name: core.exists() for name, core in cores.items()} == {"host1": False, "host2": True}
    assert [len(site.archives(name)) for name in cores] == [1, 1]


def test_old_archives_go_and_the_newest_and_what_is_still_there_stay(site):
    assert not site.play("--limit", "host1").status
    (archive,) = site.archives("host1")
    gone = site.dest / "host9"  # a host that is no longer collected
    gone.mkdir()
    week = 7 * 86400
    for folder, name, age in (
        (archive.parent, "archive-old1.tar.gz", 9 * week),
        (archive.parent, "archive-old2.tar.gz", week),
        (gone, "archive-a.tar.gz", 9 * week),
        (gone, "archive-b.tar.gz", 8 * week),
    ):
        shutil.copy(archive, folder / name)
        os.utime(folder / name, (time.time() - age,) * 2)
    foreign = archive.parent / "backup.tar.gz"
    foreign.write_bytes(b"\x1f\x8b\x08 not ours")
    os.utime(archive, (time.time() - 20 * week,) * 2)  # the oldest, and its dump is still on its host
    os.utime(foreign, (0, 0))

    def there():
        return {str(path.relative_to(site.dest)) for path in site.dest.glob("host*/*.tar.gz")}

    before = there()
    run = site.play("--limit", "host1", "--check", collect_keep_days=30)
    assert "Would remove here: 2 archives" in run.output and there() == before, str(run)
    run = site.play("--limit", "host1", collect_keep_days=30)
    assert not run.status, str(run)
    assert before - there() == {"host1/archive-old1.tar.gz", "host9/archive-a.tar.gz"}
    assert "older than 30 days" in run.output
    assert len(site.summary()["removed_here"]) == 2


# -- a control host that dies --


def _processes():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            yield int(entry), parent, words


def _kill_play(dest):
    """SIGKILL to ansible-playbook and all that it has started, as when the control host loses its power."""
    table = list(_processes())
    doomed = {pid for pid, _, words in table if any(os.fsencode(str(dest)) in word for word in words)}
    assert doomed
    while True:
        more = {pid for pid, parent, _ in table if parent in doomed} - doomed
        if not more:
            break
        doomed |= more
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)


def _until(what, timeout=60):
    deadline = time.monotonic() + timeout
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.002)


def _workers(host):
    """The processes at work for us in a host, as the machine sees them."""
    space = os.readlink(f"/proc/{host.init}/ns/pid")
    found = []
    for pid, _, words in _processes():
        try:
            if any(word.endswith(b"savedump.pyz") for word in words) and os.readlink(f"/proc/{pid}/ns/pid") == space:
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.fixture
def lone(ansible, clone, fleet_folder, tmp_path):
    """One host, with a dump that takes a moment; for every ansible-core, for each has its own way to run a task."""
    with Fleet(fleet_folder / "lone", [HostSpec("host1")]) as fleet:
        fleet.hosts["host1"].crash(data_mib=96)
        yield Site(ansible, clone, fleet, tmp_path / "collected")


def test_sigkill_while_archiving_and_again_while_fetching(lone):
    """Nothing begins again from nothing: the archive goes on without the control host, the transfer at its byte."""
    host = lone.fleet.hosts["host1"]
    folder = host.path("/var/tmp/savedump")

    def parts():
        return list(folder.glob(".*.part")) if folder.exists() else []

    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(lone.play)
        _until(parts)
        workers = _workers(host)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)  # in the middle of it, for as long as the test wants
        assert parts(), "it was written faster than it could be stopped"
        _kill_play(lone.dest)
        assert first.result().status == -signal.SIGKILL
        assert workers and not list(folder.glob("archive-*")) and not lone.archives("host1")

        # The next run comes while that one is still at work, waits for it, and takes what it made.
        second = pool.submit(lone.play)
        _until(lambda: set(_workers(host)) - set(workers))
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        host.slow_link("160mbit")
        before = host.bytes_sent()
        _until(lambda: host.bytes_sent() - before > 24 * MIB)
        _kill_play(lone.dest)
        assert second.result().status == -signal.SIGKILL
    (archive,) = folder.glob("archive-*")
    made = archive.stat()
    assert not parts() and not lone.archives("host1")
    (part,) = (lone.dest / "host1").glob("*.part")
    kept = part.stat().st_size
    assert 8 * MIB < kept < made.st_size
    host.restore_link()

    third = lone.play()
    outcome = _outcomes(third)["host1"]
    assert not third.status and outcome["status"] == "complete", str(third)
    (result,) = third.of("host1", "Archive each dump")
    assert not result.values["changed"]
    assert (archive.stat().st_ino, archive.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    (here,) = lone.archives("host1")
    assert _sha256(here) == _sha256(archive)
    assert lone.sent["host1"] < made.st_size - kept + 16 * MIB
    assert outcome["wire_bytes"] < made.st_size - kept + 12 * MIB and outcome["saved_bytes"] > 0


def test_sigkill_while_streaming(lone):
    """Nothing partial bears a final name, nothing goes on at the host, and the next run brings it whole."""
    host = lone.fleet.hosts["host1"]
    host.slow_link("160mbit")
    before = host.bytes_sent()

    def at_work():
        return host.run("pgrep", "-f", "[b]64decode", check=False).stdout

    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(lone.play, collect_stream=True)
        _until(lambda: host.bytes_sent() - before > 24 * MIB)
        assert at_work()
        _kill_play(lone.dest)
        assert first.result().status == -signal.SIGKILL
    assert not lone.archives("host1")
    _until(lambda: not at_work())
    host.restore_link()

    run = lone.play(collect_stream=True)
    outcome = _outcomes(run)["host1"]
    assert not run.status and outcome["status"] == "complete", str(run)
    (here,) = lone.archives("host1")
    assert api.verify(here).problems == ()
    assert [path.name for path in here.parent.iterdir()] == [here.name]
    assert host.path("/var/crash/core").exists()


def test_a_localhost_of_the_inventory_that_is_another_machine(site):
    """As a virtual machine behind a port of this one. What came is verified here all the same, and so is a relative
    folder, though modules run in another one than ansible-playbook does."""
    inventory = json.loads(site.fleet.inventory.read_text())
    inventory["fleet"]["hosts"] = {"localhost": inventory["fleet"]["hosts"]["host1"]}
    (site.ansible.home / "localhost.json").write_text(json.dumps(inventory))

    def play(playbook):
        words = ("-e", json.dumps({"collect_dest": "came", "collect_store": "", "collect_remove_dumps": "complete"}))
        environ = {"ANSIBLE_CONFIG": str(site.clone / "ansible.cfg")}
        inventory = site.ansible.home / "localhost.json"
        return site.ansible.play(inventory, str(site.clone / playbook), *words, environ=environ)

    run = play("collect-dumps.yml")
    outcome = _outcomes(run)["localhost"]
    assert not run.status and outcome["status"] == "complete", str(run)
    assert [each["verified"] for each in outcome["archives"]] == [True]
    assert outcome["removed"] == ["/var/crash/core"]
    assert sorted(os.listdir(site.ansible.home / "came")) == ["localhost", "summary.json"]

    run = play("verify-archives.yml")
    (archive,) = _outcomes(run)["localhost"]["archives"]
    assert not run.status and archive["verified"], str(run)
    assert archive["path"] == str(site.ansible.home / "came/localhost/archive-core.tar.gz")
    shutil.rmtree(site.ansible.home / "came")
