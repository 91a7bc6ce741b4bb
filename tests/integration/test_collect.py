# SPDX-License-Identifier: Apache-2.0
"""`savedump collect` against real sshd hosts: keys, sudo, jumps, links that are cut. No Ansible anywhere."""

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time

import pytest
from support import command
from support.fleet import Fleet, default_hosts, frames
from support.fleet.roots import LOGIN

#: Of a dump that is on its way for a while: what gzip cannot make smaller.
DATA_MIB = 4
SLOW = "24mbit"
SUMMARY = "collected/summary.json"


@pytest.fixture(scope="module")
def hosts(fleet_folder):
    """host1 and host2 (another release) with a dump each, host3 without, host4 down, host5 whose sudo asks."""
    with Fleet(fleet_folder / "f", default_hosts(5)) as fleet:
        hosts = fleet.hosts
        hosts["host1"].crash(data_mib=DATA_MIB)
        hosts["host2"].crash()
        hosts["host5"].crash()
        hosts["host4"].stop()
        yield fleet


@pytest.fixture(scope="module")
def config(hosts):
    """An ssh config with the hosts by name, all that a login needs in it, and nothing of the user's."""
    known = (hosts.directory / "known_hosts").read_text()
    return _config(hosts, hosts.directory.parent, known, IdentityFile=hosts.directory / "id")


def _config(fleet, folder, known, **settings):
    text = "".join(f"Host {host.name}\n  HostName {host.address}\n" for host in fleet.hosts.values())
    common = {
        "User": LOGIN,
        "UserKnownHostsFile": folder / "known_hosts",
        "GlobalKnownHostsFile": "none",
        "IdentityAgent": "none",
        "ServerAliveInterval": 1,
        "ServerAliveCountMax": 2,
        "ConnectTimeout": 3,
        **settings,
    }
    (folder / "known_hosts").write_text(known)
    path = folder / "config"
    path.write_text(text + "Host *\n" + "".join(f"  {key} {value}\n" for key, value in common.items()))
    return path


def _arguments(config, *words):
    return [sys.executable, "-m", "savedump_core", "collect", "-F", str(config), *map(str, words)]


def _collect(config, *words, cwd, status=None, **options):
    return command.savedump("collect", "-F", config, *words, cwd=str(cwd), status=status, timeout=300, **options)


def _files(host):
    """Every file of a host, with what would change if it did; not what any login leaves."""
    find = (
        "find /etc /home /opt /root /srv /var /tmp /run /dev/shm -xdev -not -path '/var/lib/sudo/*'"
        " -not -path '/run/sudo*' -not -path '/var/log/*' -not -path /run"
        f" -not -path /home/{LOGIN} -not -path /home/{LOGIN}/.sudo_as_admin_successful"  # Debian's sudo
        r" -printf '%p %y %m %U %i %s %T@\n'"
    )
    return set(host.run(find).stdout.splitlines())


def _left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def _verify(path):
    return command.savedump("verify", path, status=0).out


@pytest.fixture(scope="module")
def collected(hosts, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("collected")
    before = {name: _files(hosts.hosts[name]) for name in ("host1", "host2")}
    done = _collect(config, "host1", "host2", "host3", "host4", "host5", "--become", "-v", cwd=folder)
    after = {name: _files(hosts.hosts[name]) for name in before}
    return folder, done, before, after


def test_several_hosts_at_once_and_none_stops_another(collected):
    folder, done, _before, _after = collected
    assert done.status == 77, done.error  # the greatest: sudo said no on host5; host4 would be 75
    assert _left(folder) == ["collected/host1/archive-core.tar.gz", "collected/host2/archive-core.tar.gz", SUMMARY]
    saved = json.loads((folder / SUMMARY).read_text())
    assert {name: each["status"] for name, each in saved["hosts"].items()} == {
        "host1": "complete", "host2": "complete", "host3": "no-dumps", "host4": "unreachable", "host5": "failed",
    }  # fmt: skip
    rows = {row.split()[0]: row for row in done.out.splitlines() if row.startswith("host")}
    assert "1 archive, " in rows["host1"] and "1 archive, " in rows["host2"]
    assert "no dumps" in rows["host3"] and "NOT REACHED: cannot reach" in rows["host4"]
    assert "FAILED: sudo asks for a password on admin@host5; give it with -K" in rows["host5"]
    assert done.out.count("verified)") == 2
    assert "1 of 5 hosts without dumps; 1 of 5 hosts not reached; 1 of 5 hosts failed." in done.out
    assert "--path DIR" in done.out and "--become reads all" not in done.error
    for name in ("host1", "host2"):
        archive = folder / "collected" / name / "archive-core.tar.gz"
        assert "intact, complete" in _verify(archive)
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600 and stat.S_IMODE(archive.parent.stat().st_mode) == 0o700
        manifest = json.loads(command.savedump("inspect", "--json", archive, status=0).out)
        assert manifest["host"]["nodename"] == name


def test_nothing_is_written_on_a_host(collected):
    _folder, _done, before, after = collected
    for name in before:
        assert sorted(before[name] ^ after[name]) == []


def test_it_opens_in_gdb(collected, hosts, tmp_path):
    folder, *_rest = collected
    with tarfile.open(folder / "collected/host2/archive-core.tar.gz") as archive:
        archive.extractall(tmp_path, filter="tar")
    said = subprocess.run(
        [tmp_path / "archive-core/run-gdb.sh", "-batch", "-ex", "backtrace"],
        check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    host = hosts.hosts["host2"]
    assert [name for name in frames(said.stdout) if name in ("compare_rows", "render", "run_job", "main")] == [
        "compare_rows", "render", "run_job", "main",
    ], host.name + said.stdout  # fmt: skip


def test_a_second_run_brings_nothing(collected, hosts, config):
    folder, *_rest = collected
    host = hosts.hosts["host1"]
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.tar.gz")}
    before = host.bytes_sent()
    done = _collect(config, "host1", "host2", "--become", "--json", "-q", cwd=folder, status=0)
    document = json.loads(done.out)
    assert {each["status"] for each in document["hosts"].values()} == {"complete"}
    assert not any(each["changed"] for each in document["hosts"].values()) and done.error == ""
    assert host.bytes_sent() - before < 1 << 20
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.tar.gz")} == times


def test_dry_run_and_filters(hosts, config, tmp_path):
    done = _collect(config, "host1", "host2", "-b", "--dry-run", "--min-size", "2M", cwd=tmp_path, status=0)
    assert "1 archive would be made, reading " in done.out
    assert "no dumps that were asked for, 1 others" in done.out
    assert _left(tmp_path) == []
    done = _collect(config, "host1", "-b", "--path", "/nowhere", cwd=tmp_path, status=0)
    assert "no dumps" in done.out and "/nowhere" in done.out


def test_without_become_only_own_dumps(hosts, config, tmp_path):
    host = hosts.hosts["host3"]
    core = host.crash("/var/tmp").core
    host.run("chown", LOGIN, core)
    try:
        done = _collect(config, "host3", "host1", cwd=tmp_path, status=0)
    finally:
        host.run("rm", core)
    assert _left(tmp_path) == ["collected/host3/archive-core.tar.gz", SUMMARY]
    assert done.error.splitlines()[-1] == (
        f"savedump: only dumps that {LOGIN} may read are found; --become reads all"
    )


def test_a_dump_that_is_being_written_is_for_later(hosts, config, tmp_path):
    host = hosts.hosts["host3"]
    host.crash("/var/tmp")
    try:
        with host.path("/var/tmp/core").open("ab"):
            done = _collect(config, "host3", "-b", cwd=tmp_path, status=75)
        assert "not archived: /var/tmp/core: is still being written; collect it later" in done.out
        assert _left(tmp_path) == []
        _collect(config, "host3", "-b", cwd=tmp_path, status=0)
    finally:
        host.run("rm", "/var/tmp/core")


class Terminal:
    """A command that has a terminal, and somebody who answers each prompt that shows there."""

    def __init__(self, words, cwd, answers):
        self._answers = dict(answers)
        pid, self._terminal = pty.fork()
        if not pid:
            os.chdir(cwd)
            os.execve(words[0], words, command.environment())
        self.said = ""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            select.select([self._terminal], [], [], 1)
            try:
                self.said += os.read(self._terminal, 1 << 16).decode("utf-8", "replace")
            except OSError:  # the other side is closed
                break
            for prompt in [prompt for prompt in self._answers if self.said.endswith(prompt)]:
                os.write(self._terminal, self._answers.pop(prompt).encode() + b"\n")
        os.close(self._terminal)
        self.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_sudo_password_is_asked_for_once(hosts, config, tmp_path):
    words = _arguments(config, "host5", "host2", "-K")
    done = Terminal(words, tmp_path, {"sudo password: ": hosts.password})
    assert done.status == 0, done.said
    assert _left(tmp_path) == ["collected/host2/archive-core.tar.gz", "collected/host5/archive-core.tar.gz", SUMMARY]
    assert hosts.password not in done.said and done.said.count("sudo password") == 1
    said = Terminal(_arguments(config, "host5", "-K", "-o", "other"), tmp_path, {"sudo password: ": "wrong"})
    assert said.status == 77 and f"sudo on {LOGIN}@host5 does not take the password" in said.said, said.said
    assert not (tmp_path / "other").exists()


def test_a_passphrase_is_asked_for_once(hosts, tmp_path):
    key = tmp_path / "locked"
    shutil.copy(hosts.directory / "id", key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "it's one", "-f", key], check=True)
    config = _config(hosts, tmp_path, (hosts.directory / "known_hosts").read_text(), IdentityFile=key)
    words = _arguments(config, "host1", "host2", "host3", "--become", "--dry-run")
    done = Terminal(words, tmp_path, {f"passphrase of the key {key}: ": "it's one"})
    assert done.status == 0, done.said
    assert done.said.count("passphrase of") == 1


def test_keys_of_the_agent(hosts, tmp_path):
    known = (hosts.directory / "known_hosts").read_text()
    config = _config(hosts, tmp_path, known, IdentityAgent=tmp_path / "agent", IdentityFile="none")
    refused = _collect(config, "host1", cwd=tmp_path, status=77)
    assert f"{LOGIN}@host1 lets nobody in with no key and no password; it takes publickey" in refused.out
    with subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL) as agent:
        try:
            _until(lambda: (tmp_path / "agent").exists())
            environment = {**os.environ, "SSH_AUTH_SOCK": str(tmp_path / "agent")}
            subprocess.run(["ssh-add", "-q", hosts.directory / "id"], env=environment, check=True)
            done = _collect(config, "host1", "host2", "-b", "--dry-run", cwd=tmp_path, status=0)
        finally:
            agent.terminate()
    assert done.out.count("1 archive would be made") == 2


def test_host_keys_are_checked(hosts, tmp_path):
    lines = (hosts.directory / "known_hosts").read_text().splitlines()
    address, other = hosts.hosts["host1"].address, hosts.hosts["host2"].address
    keys = dict(line.split(" ", 1) for line in lines)
    config = _config(hosts, tmp_path, f"{address} {keys[other]}\n", IdentityFile=hosts.directory / "id")
    known, id_file = tmp_path / "known_hosts", hosts.directory / "keys/host1.pub"
    shown = subprocess.check_output(["ssh-keygen", "-lf", id_file], text=True).split()[1]

    for accept_new in ((), ("--accept-new",)):
        done = _collect(config, "host1", "-b", *accept_new, cwd=tmp_path, status=77)
        assert f"NOT REACHED: THE KEY OF {address} HAS CHANGED: it shows a ssh-ed25519 key {shown}" in done.out
        assert known.read_text() == f"{address} {keys[other]}\n"
    # What it says to do helps, and then the host is a new one.
    hint = done.out.split("remove the old key: ")[1].splitlines()[0]
    subprocess.run(hint, shell=True, check=True, capture_output=True)
    done = _collect(config, "host1", "-b", cwd=tmp_path, status=77)
    assert f"{address} is not known: it shows a ssh-ed25519 key {shown}" in done.out and "--accept-new" in done.out
    assert known.read_text() == ""
    done = _collect(config, "host1", "-b", "--accept-new", "--dry-run", cwd=tmp_path, status=0)
    assert known.read_text() == f"{address} {keys[address]}\n"
    _collect(config, "host1", "-b", "--dry-run", cwd=tmp_path, status=0)
    assert _left(tmp_path) == ["config", "known_hosts", "known_hosts.old"]


def test_through_another_host(hosts, config, tmp_path):
    far, near = hosts.hosts["host2"], hosts.hosts["host3"]
    before = near.bytes_sent()
    _collect(config, "host2", "-b", "-J", "host3", cwd=tmp_path, status=0)
    archive = tmp_path / "collected/host2/archive-core.tar.gz"
    _verify(archive)
    assert near.bytes_sent() - before > archive.stat().st_size * 0.9
    done = _collect(config, "host4", "-b", "-J", "host3", "-o", "other", cwd=tmp_path, status=75)
    assert f"{LOGIN}@host3 cannot reach {hosts.hosts['host4'].address} port 22" in done.out
    assert far.name == "host2" and not (tmp_path / "other").exists()


def test_what_the_store_has_does_not_travel(hosts, config, tmp_path):
    host1, host3 = hosts.hosts["host1"], hosts.hosts["host3"]
    host3.crash("/var/tmp/same")
    try:
        words = ("-b", "--store", tmp_path / "store", "--path", "/var/crash", "--path", "/var/tmp/same", "--json", "-q")
        first = json.loads(_collect(config, "host1", *words, cwd=tmp_path, status=0).out)
        second = json.loads(_collect(config, "host3", *words, cwd=tmp_path, status=0).out)
    finally:
        host3.run("rm", "-r", "/var/tmp/same")
    assert first["totals"]["saved_bytes"] == 0 and host1.name
    assert second["totals"]["saved_bytes"] > 1 << 20 > second["totals"]["wire_bytes"]
    for name in ("host1", "host3"):
        assert "intact, complete" in _verify(tmp_path / "collected" / name / "archive-core.tar.gz")


def _until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.05)


@contextlib.contextmanager
def _on_its_way(host, config, cwd, *words):
    """A run that collects from a host on a slow link, at a moment when some of the dump has come."""
    host.slow_link(SLOW)
    log = cwd / "log"
    with log.open("w") as stderr:
        run = subprocess.Popen(
            _arguments(config, host.name, "-b", "-v", *words),
            cwd=cwd, env=command.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
            text=True,
        )  # fmt: skip
        try:
            _until(lambda: "archiving" in log.read_text() or run.poll() is not None)
            before = host.bytes_sent()
            _until(lambda: host.bytes_sent() - before > 2 << 20 or run.poll() is not None)
            assert run.poll() is None, log.read_text()
            yield run, log
        finally:
            run.kill()
            run.communicate()
            host.restore_link()


def test_a_cut_that_is_short_is_not_noticed(hosts, config, tmp_path):
    host = hosts.hosts["host1"]
    with _on_its_way(host, config, tmp_path) as (run, log):
        host.cut_link()
        time.sleep(1)
        host.restore_link()
        out, _none = run.communicate(timeout=120)
    assert run.returncode == 0, log.read_text()
    assert "once more" not in log.read_text() and "verified)" in out


def test_a_link_that_was_cut_and_comes_back(hosts, config, tmp_path):
    host = hosts.hosts["host1"]
    with _on_its_way(host, config, tmp_path) as (run, log):
        host.cut_link()
        _until(lambda: "once more" in log.read_text())
        assert [name for name in _left(tmp_path) if name.endswith(".tar.gz")] == []
        host.restore_link()
        out, _none = run.communicate(timeout=120)
    assert run.returncode == 0, log.read_text()
    assert f"{LOGIN}@host1 has not answered for " in log.read_text()
    assert _left(tmp_path) == ["collected/host1/archive-core.tar.gz", SUMMARY, "log"]
    assert "intact, complete" in _verify(tmp_path / "collected/host1/archive-core.tar.gz")


def test_cut_again_and_again_each_byte_comes_once(hosts, config, tmp_path):
    """More often than it is tried in vain, and without a byte on the host's disk: what came stays."""
    host = hosts.hosts["host3"]
    host.crash("/var/tmp/large", data_mib=4 * DATA_MIB)
    part = tmp_path / "collected/host3/.archive-core.tar.gz.part"
    final = tmp_path / "collected/host3/archive-core.tar.gz"
    before = _files(host)
    try:
        with _on_its_way(host, config, tmp_path, "--path", "/var/tmp/large", "--retries", "2") as (run, log):
            sent, cuts = host.bytes_sent(), 0
            while cuts < 5:
                size = part.stat().st_size
                _until(lambda size=size: run.poll() is not None or part.stat().st_size > size + (2 << 20))
                assert run.poll() is None, log.read_text()
                if cuts % 2:
                    host.run("pkill -KILL -f '[s]shd: admin'")
                else:
                    host.cut_link()
                cuts += 1
                _until(lambda cuts=cuts: log.read_text().count("once more") >= cuts or run.poll() is not None)
                host.restore_link()
                host.slow_link(SLOW)
            out, _none = run.communicate(timeout=120)
            sent = host.bytes_sent() - sent
        assert run.returncode == 0, log.read_text()
        assert _files(host) ^ before == set()
    finally:
        host.run("rm", "-r", "/var/tmp/large")
    assert "verified)" in out and "intact, complete" in _verify(final)
    # What was under way at each cut, the code and the plan: less than a chunk of savedump_fetch.
    assert sent < final.stat().st_size + cuts * (4 << 20), (sent, log.read_text())
    assert log.read_text().count("archiving") == 1


def test_what_the_old_link_left_running_there_is_waited_for(hosts, config, tmp_path):
    """An sshd that does not hear of the end, as after a change of networks: its session holds the dump."""
    host = hosts.hosts["host1"]
    with _on_its_way(host, config, tmp_path) as (run, log):
        old = host.run("pgrep -f '[s]shd: admin'").stdout.split()
        host.run("kill", "-STOP", *old)
        try:
            _until(lambda: "it is waited for" in log.read_text() or run.poll() is not None)
            assert run.poll() is None, log.read_text()
        finally:
            host.run("kill", "-CONT", *old)
        out, _none = run.communicate(timeout=120)
    assert run.returncode == 0 and "verified)" in out, log.read_text()
    assert "another run is at work on /var/crash/core" in log.read_text()


def test_a_link_that_stays_cut(hosts, config, tmp_path):
    host = hosts.hosts["host1"]
    with _on_its_way(host, config, tmp_path, "--retries", "0") as (run, log):
        host.cut_link()
        out, _none = run.communicate(timeout=120)
    assert run.returncode == 74, log.read_text()
    assert "FAILED: /var/crash/core: " in out and "has not answered" in out
    assert _left(tmp_path) == [SUMMARY, "log"]


def test_sshd_killed_on_the_way(hosts, config, tmp_path):
    host = hosts.hosts["host1"]
    with _on_its_way(host, config, tmp_path) as (run, log):
        host.run("pkill -KILL -f '[s]shd: admin'")
        host.restore_link()
        out, _none = run.communicate(timeout=120)
    assert run.returncode == 0, log.read_text()
    assert "once more" in log.read_text()
    assert _left(tmp_path) == ["collected/host1/archive-core.tar.gz", SUMMARY, "log"]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_interrupted(hosts, config, tmp_path, number, status):
    host = hosts.hosts["host1"]
    with _on_its_way(host, config, tmp_path) as (run, log):
        run.send_signal(number)
        run.communicate(timeout=60)
    assert run.returncode in (status, 128 + number), log.read_text()
    assert (_left(tmp_path), "Traceback" in log.read_text()) == (["log"], False), log.read_text()
    # Nothing of ours goes on there.
    _until(lambda: "b64decode" not in host.run("ps -eo args").stdout)
