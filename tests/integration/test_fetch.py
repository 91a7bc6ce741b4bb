# SPDX-License-Identifier: Apache-2.0
"""The action savedump_fetch over real hosts: every way to a host, links that are cut, and what an earlier run left.

What it does on this machine alone is in test_ansible_local.py.
"""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from support import checkout
from support.cuts import survive
from support.fleet import Fleet, HostSpec
from support.fleet.base import cache_folder
from support.fleet.controller import CORES, Ansible, environment, python_for

CHUNK = 4 << 20


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A plain clone of the checkout; nothing of the collection is installed anywhere."""
    return checkout.copy(tmp_path_factory.mktemp("clone"))


class Fetching:
    """The action's command line; each test has a destination of its own."""

    def __init__(self, ansible, clone, fleet, dest):
        self.ansible, self.clone, self.fleet, self.dest = ansible, clone, fleet, dest

    def run(self, pattern, *arguments, inventory=None, become=True, environ=None, variables=None, **options):
        options = {"dest": str(self.dest), **options}
        return self.ansible.adhoc(
            inventory or self.fleet.inventory, pattern, *(["--become"] if become else []),
            "-m", "savedump.toolkit.savedump_fetch", "-a", json.dumps(options), "-e", json.dumps(variables or {}),
            *arguments, cwd=self.clone, config=self.clone / "ansible.cfg", environ=environ,
        )  # fmt: skip

    def fetch(self, host, src, **options):
        """The result of a fetch that has to end well, proven here once more."""
        run = self.run(host.name, src=src, **options)
        (result,) = run.results
        assert result.outcome == "ok", str(run)
        assert sha256(Path(result.values["path"])) == there(host, src) == result.values["sha256"]
        assert [path.name for path in (self.dest / host.name).iterdir()] == [os.path.basename(src)]
        return result.values

    def part(self, host, name, content):
        """What an earlier run has left."""
        folder = self.dest / host.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (name + ".part")).write_bytes(content)


@pytest.fixture
def fetching(ansible, clone, fleet, tmp_path):
    """With the oldest and with the newest ansible-core."""
    return Fetching(ansible, clone, fleet, tmp_path / "dest")


@pytest.fixture
def newest(clone, fleet, tmp_path):
    """With the newest that this machine has a Python for: what is tested is ours alone."""
    releases = [release for release in sorted(CORES) if python_for(release)]
    return Fetching(Ansible(releases[-1], tmp_path / "home"), clone, fleet, tmp_path / "dest")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def there(host, name):
    return host.run("sha256sum", name).stdout.split()[0]


@contextlib.contextmanager
def a_file(host, size, name="/root/big", mode="077"):
    """A random file that only root may read, while it lasts."""
    host.run(f"umask {mode}; head -c {size} /dev/urandom > {name}")
    try:
        yield host.path(name)
    finally:
        host.run("rm", "-f", name)


def test_through_ssh_and_a_sudo_that_may_ask(fetching):
    """Three hosts at once, each by an ssh of its own; a second run moves nothing."""
    size, hosts = (2 << 20) + 12345, fetching.fleet.hosts
    with contextlib.ExitStack() as files:
        for host in hosts.values():
            files.enter_context(a_file(host, size))
        right = {name: there(host, "/root/big") for name, host in hosts.items()}
        for changed in (True, False):
            run = fetching.run("all", src="/root/big")
            values = {result.host: result.values for result in run.results}
            assert not run.status and sorted(values) == sorted(hosts), str(run)
            for name, each in values.items():
                assert sha256(fetching.dest / name / "big") == right[name] == each["sha256"]
                assert (each["changed"], each["wire_bytes"], each["kept_bytes"]) == (changed, changed * size, 0)
                assert each.get("way", "ssh-own") == "ssh-own"


@pytest.mark.parametrize("chosen", [None, "aes256-ctr,aes128-gcm@openssh.com"])
def test_the_cipher_is_a_fast_one_unless_some_are_chosen(newest, tmp_path, chosen):
    host, log = newest.fleet.hosts["host1"], tmp_path / "log"
    words = "-F none -v -E %s%s" % (log, " -o Ciphers=" + chosen if chosen else "")
    has_aes = re.search(r"^(flags|Features)\b.*\baes\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    with a_file(host, 5000):
        values = newest.fetch(host, "/root/big", variables={"ansible_ssh_extra_args": words})
    assert values["way"] == "ssh-own"
    used = re.findall(r"kex: server->client cipher: (\S+)", log.read_text())
    fast = "aes128-gcm@openssh.com" if has_aes else "chacha20-poly1305@openssh.com"
    assert used[-1] == (chosen.split(",")[0] if chosen else fast), used


@pytest.mark.parametrize("words", ["-o RequestTTY=force", "-tt"])
def test_a_terminal_that_the_user_asks_for_changes_no_byte(newest, words):
    host = newest.fleet.hosts["host1"]
    with a_file(host, 70000):
        values = newest.fetch(host, "/root/big", variables={"ansible_ssh_extra_args": words})
    assert (values["way"], values["wire_bytes"]) == ("ssh-own", 70000)


@contextlib.contextmanager
def meanwhile(run):
    """Something to do while a fetch runs; it must be done before the fetch is."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        yield running
        running.result()


def until(condition, running=None):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline and not (running and running.done()), "it did not come to that"
        time.sleep(0.01)


def came(fetching, host, name="big"):
    """How many bytes there are of an unfinished file."""
    part = fetching.dest / host.name / (name + ".part")
    return part.stat().st_size if part.exists() else 0


def test_a_host_without_python(newest, clone, fleet_folder):
    """Nothing but sh and coreutils, behind a sudo that asks; a .part with a damaged chunk, and the end missing."""
    with Fleet(fleet_folder / "bare", [HostSpec("bare", ask_password=True)]) as fleet:
        fetching, host = Fetching(newest.ansible, clone, fleet, newest.dest), fleet.hosts["bare"]
        host.run("rm -f /usr/bin/python* /usr/local/bin/python* /usr/libexec/platform-python*")
        with a_file(host, 2 * CHUNK + 999) as source:
            damaged = bytearray(source.read_bytes()[: CHUNK + 7])
            damaged[77] ^= 1
            fetching.part(host, "big", damaged)
            values = fetching.fetch(host, "/root/big")
    assert (values["way"], values["resumed_at"]) == ("ssh-own", 0)
    assert (values["repaired_bytes"], values["kept_bytes"]) == (CHUNK, 7)
    assert values["wire_bytes"] == CHUNK + CHUNK + 999 - 7


def test_what_an_earlier_run_left_is_repaired(newest):
    """A chunk with one wrong bit, an end that is missing: those travel again, and nothing else does."""
    host = newest.fleet.hosts["host2"]
    with a_file(host, 5 * CHUNK + 999) as source:
        damaged = bytearray(source.read_bytes()[: 4 * CHUNK + 5])
        damaged[2 * CHUNK + 1] ^= 128
        newest.part(host, "big", damaged)
        before = host.bytes_sent()
        values = newest.fetch(host, "/root/big")
        assert host.bytes_sent() - before < 3 * CHUNK
        assert (values["wire_bytes"], values["repaired_bytes"]) == (2 * CHUNK + 999 - 5, CHUNK)
        assert (values["kept_bytes"], values["resumed_at"]) == (3 * CHUNK + 5, 2 * CHUNK)


def test_a_source_that_changed_since_the_part_was_begun(newest):
    host = newest.fleet.hosts["host1"]
    with a_file(host, 3 * CHUNK) as source:
        newest.part(host, "big", source.read_bytes()[: 2 * CHUNK])
        host.run(f"head -c 10 /dev/urandom | dd of=/root/big bs=1 seek={CHUNK + 5} conv=notrunc 2>/dev/null")
        assert newest.fetch(host, "/root/big")["wire_bytes"] == 2 * CHUNK


def test_a_part_that_is_longer_than_the_file(newest):
    host = newest.fleet.hosts["host1"]
    with a_file(host, CHUNK + 1) as source:
        newest.part(host, "big", source.read_bytes() + bytes(3 * CHUNK))
        assert newest.fetch(host, "/root/big")["wire_bytes"] == 0


def test_a_source_that_changes_while_it_is_read(newest):
    """Longer than what ssh and the kernel's buffers hold, so that the sender cannot be done with it already."""
    host, size = newest.fleet.hosts["host1"], 24 << 20
    with a_file(host, size):
        with meanwhile(lambda: newest.run("host1", src="/root/big", bandwidth_limit="8M")) as running:
            until(lambda: came(newest, host) > 1 << 20, running)
            host.run("echo more >> /root/big")
        (result,) = running.result().results
    assert result.outcome == "failed" and "changed while it was read" in result.values["msg"], str(running.result())
    assert result.values["wire_bytes"] == size
    assert list((newest.dest / "host1").iterdir()) == []


def test_a_bandwidth_limit_holds_the_sender_back(newest):
    """No faster than that, the stall timer is not fooled by our own pauses, and the sender is not ahead of us by more
    than what ssh and the kernel's buffers hold."""
    host, ahead = newest.fleet.hosts["host3"], []
    with a_file(host, 24 << 20):
        begun, before = time.monotonic(), host.bytes_sent()
        with meanwhile(lambda: newest.fetch(host, "/root/big", bandwidth_limit="4M", stall_timeout=1)) as running:
            until(lambda: came(newest, host) > 0, running)
            while not running.done():
                ahead.append(host.bytes_sent() - before - came(newest, host))
                time.sleep(0.1)
                if not came(newest, host):
                    break  # it has its name
        assert time.monotonic() - begun >= 5.5
        values = running.result()
    assert (values["way"], values["wire_bytes"]) == ("ssh-own", 24 << 20)
    assert values["seconds"] >= 5.5 and max(ahead[:-1]) < 16 << 20


def test_a_sender_that_stands_still_is_left(newest):
    """Stopped with SIGSTOP, so that the connection stays open and nothing comes."""
    host = newest.fleet.hosts["host1"]
    with a_file(host, 8 << 20):
        with meanwhile(
            lambda: newest.fetch(host, "/root/big", bandwidth_limit="4M", stall_timeout=2, retries=1)
        ) as running:
            until(lambda: came(newest, host) > 2 << 20, running)
            host.run("pkill -STOP -f '[s]end.* /root/big'")
        host.run("pkill -KILL -f '[s]end.* /root/big'", check=False)
        assert running.result()["wire_bytes"] == 8 << 20


def test_a_jump_host_is_gone_through(fetching, tmp_path):
    """ProxyJump as Ansible's own ssh has it; the host answers nobody but its neighbours."""
    jump, host = fetching.fleet.hosts["host1"], fetching.fleet.hosts["host3"]
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host *\n  User admin\n  IdentityFile {fetching.fleet.directory}/id\n  IdentitiesOnly yes\n"
        f"  IdentityAgent none\n  UserKnownHostsFile {fetching.fleet.directory}/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
    )
    machine = host.address.rpartition(".")[0] + ".1"
    direct = {"ansible_control_path": "none", "ansible_ssh_common_args": f"-F {config}"}
    through = {**direct, "ansible_ssh_common_args": f"-F {config} -J {jump.address}"}
    host.run(f"ip route add blackhole {machine}/32")
    try:
        with a_file(host, 5 << 20):
            run = fetching.run("host3", "-T", "2", src="/root/big", variables=direct)
            assert [result.outcome for result in run.results] == ["unreachable"], str(run)
            before = jump.bytes_sent()
            values = fetching.fetch(host, "/root/big", variables=through)
            assert values["way"] == "ssh-own" and jump.bytes_sent() - before > 5 << 20
    finally:
        host.run(f"ip route del blackhole {machine}/32")


def test_a_changed_host_key_is_refused(fetching, tmp_path):
    """By our own ssh as by Ansible's, even while Ansible's connection from before the change is still open."""
    host = fetching.fleet.hosts["host1"]
    known = tmp_path / "known_hosts"
    known.write_text((fetching.fleet.directory / "known_hosts").read_text())
    lines = known.read_text().splitlines()
    addresses, keys = zip(*(line.split(" ", 1) for line in lines), strict=True)
    changed = "".join(f"{address} {key}\n" for address, key in zip(addresses, keys[1:] + keys[:1], strict=True))
    variables = {
        "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null"
        " -o IdentitiesOnly=yes -o IdentityAgent=none"
    }
    with a_file(host, 1000), tempfile.TemporaryDirectory(prefix="cp-") as sockets:
        variables["ansible_control_path_dir"] = sockets
        try:
            run = fetching.ansible.adhoc(fetching.fleet.inventory, "host1", "-m", "ping", "-e", json.dumps(variables))
            assert not run.status, str(run)
            known.write_text(changed)
            run = fetching.run("host1", "-vv", src="/root/big", variables=variables)
            (result,) = run.results
            assert result.values["way"] == "ssh-shared" and "Host key verification failed" in run.output, str(run)
        finally:
            for socket in Path(sockets).iterdir():
                subprocess.run(["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "x"], check=False)
        shutil.rmtree(fetching.dest)
        run = fetching.run("host1", src="/root/big", variables={**variables, "ansible_control_path": "none"})
        assert [result.outcome for result in run.results] == ["unreachable"], str(run)
        assert not fetching.dest.exists()


@pytest.fixture(scope="module")
def with_paramiko(clone, fleet, tmp_path_factory):
    """The newest ansible-core of these tests that has the paramiko connection; it went in 2.21."""
    if python_for("2.16") is None:
        pytest.skip("ansible-core 2.16, which has the paramiko connection, finds no Python here")
    ansible = Ansible("2.16", tmp_path_factory.mktemp("home"))
    target = cache_folder() / "paramiko-for-2.16"
    with open(cache_folder() / "paramiko-for-2.16.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "ready").exists():
            pip = [str(environment("2.16") / "bin/python"), "-m", "pip", "install", "--quiet", "--upgrade"]
            subprocess.run([*pip, "--target", str(target), "paramiko==5.1.0"], check=True)
            (target / "ready").touch()
    (ansible.home / ".ssh").mkdir(parents=True)
    (ansible.home / ".ssh/known_hosts").write_text((fleet.directory / "known_hosts").read_text())
    fetching = Fetching(ansible, clone, fleet, tmp_path_factory.mktemp("paramiko") / "dest")
    fetching.options = {
        "environ": {"PYTHONPATH": str(target)},
        "variables": {
            "ansible_connection": "paramiko_ssh",
            "ansible_paramiko_private_key_file": f"{fleet.directory}/id",
        },
    }
    return fetching


@pytest.mark.parametrize("name", ["host2", "host3"])
def test_paramiko_with_become(with_paramiko, name):
    host = with_paramiko.fleet.hosts[name]
    with a_file(host, 2 * CHUNK + 12345) as source:
        damaged = bytearray(source.read_bytes()[:CHUNK])
        damaged[5] ^= 1
        with_paramiko.part(host, "big", damaged)
        values = with_paramiko.fetch(host, "/root/big", **with_paramiko.options)
    assert (values["way"], values["repaired_bytes"]) == ("paramiko", CHUNK)


def test_paramiko_without_become_survives_a_killed_sshd(with_paramiko):
    host = with_paramiko.fleet.hosts["host1"]
    with a_file(host, 8 << 20, name="/home/admin/mine", mode="022"):
        options = {"bandwidth_limit": "4M", "become": False, **with_paramiko.options}
        with meanwhile(lambda: with_paramiko.fetch(host, "/home/admin/mine", **options)) as running:
            until(lambda: came(with_paramiko, host, "mine") > 3 << 20, running)
            host.run("pkill -KILL -f '^sshd: admin'")
        assert (running.result()["way"], running.result()["wire_bytes"]) == ("paramiko", 8 << 20)


def test_paramiko_refuses_a_changed_host_key(with_paramiko):
    known = with_paramiko.ansible.home / ".ssh/known_hosts"
    right = known.read_text()
    lines = right.splitlines()
    addresses, keys = zip(*(line.split(" ", 1) for line in lines), strict=True)
    known.write_text("".join(f"{a} {key}\n" for a, key in zip(addresses, keys[1:] + keys[:1], strict=True)))
    try:
        run = with_paramiko.run("host1", src="/etc/hosts", **with_paramiko.options)
    finally:
        known.write_text(right)
    assert [result.outcome for result in run.results] == ["unreachable"], str(run)
    assert "host key mismatch" in run.output


def test_progress_is_one_line_at_a_time(fetching, tmp_path):
    """Three hosts at once under ansible-playbook: the host first, whole lines, nothing before ten seconds."""
    playbook = tmp_path / "play.yml"
    task = {
        "savedump.toolkit.savedump_fetch": {"src": "/root/big", "dest": str(fetching.dest), "bandwidth_limit": "96K"}
    }
    playbook.write_text(json.dumps([{"hosts": "all", "become": True, "gather_facts": False, "tasks": [task]}]))
    with contextlib.ExitStack() as files:
        for host in fetching.fleet.hosts.values():
            files.enter_context(a_file(host, 12 * 96 << 10))
        run = fetching.ansible.play(
            fetching.fleet.inventory, str(playbook), cwd=fetching.clone, config=fetching.clone / "ansible.cfg"
        )
    assert not run.status, str(run)
    said = [line for line in run.output.splitlines() if "fetched" in line]
    words = r"host\d: big: fetched \d+\.\d KiB of 1\.1 MiB \(\d+ %\), \d+\.\d KiB/s, \d+ s left"
    assert sorted(line[:5] for line in said) == ["host1", "host2", "host3"], str(run)
    assert [line for line in said if not re.fullmatch(words, line)] == []


def test_random_cuts(fetching):
    """The link cut, sshd's sessions killed, ansible killed, each at a random moment: what comes is what was there, and
    a cut costs no more than two chunks. SAVEDUMP_CUTS=200 runs so many with each ansible-core."""
    count, seed = int(os.environ.get("SAVEDUMP_CUTS", "3")), int.from_bytes(os.urandom(4), "big")
    host, size = fetching.fleet.hosts["host1"], 64 << 20
    part, final = fetching.dest / "host1/big.part", fetching.dest / "host1/big"
    files = []
    with a_file(host, size):
        right = there(host, "/root/big")
        host.slow_link("160mbit")

        def whole():
            files.append(sha256(final))
            final.unlink()

        def run():
            fetching.run("host1", src="/root/big", stall_timeout=2)

        cuts = survive(run, whole, host, part, final, size, count, seed)
    worst = max(cut.sent_again for cut in cuts)
    dear = [cut for cut in cuts if cut.sent_again > 2 * CHUNK]
    said = f"seed {seed}: {len(files)} files, {len(cuts)} cuts, at most {worst} bytes again; too many: {dear}"
    print(said)
    assert set(files) == {right}, said
    assert len(cuts) == count and dear == [], said
