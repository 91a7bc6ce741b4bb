# SPDX-License-Identifier: Apache-2.0
"""The test fleet itself: what the other integration tests take for granted about its hosts."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.checkout import CHECKOUT
from support.fleet import Fleet, FleetError, HostSpec, default_hosts, down, fleets, frames

#: Files of the machine that setting hosts up could be tempted to change.
_MACHINE = (
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/sudoers",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/ssh/sshd_config",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/net/ipv4/ip_forward",
)


def _machine():
    return {name: Path(name).read_bytes() for name in _MACHINE if os.path.exists(name)}


def _namespaces(*pids):
    kinds = ("net", "mnt", "pid", "uts", "ipc")
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids for kind in kinds} - {
        os.readlink(f"/proc/self/ns/{kind}") for kind in kinds
    }


def _processes_in(namespaces):
    """Processes of the machine that are in one of these namespaces, as {pid: name}."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if {os.readlink(link) for link in (entry / "ns").iterdir()} & namespaces:
                found[int(entry.name)] = (entry / "comm").read_text().strip()
        except OSError:  # the process ended meanwhile
            continue
    return found


def _processes_of(folder):
    """Processes of the machine, this one excepted, that were started with the folder's name as an argument."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in words and int(entry.name) != os.getpid():
            found[int(entry.name)] = words
    return found


def _reachable(host, timeout=1.0):
    try:
        with socket.create_connection((host.address, 22), timeout=timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.05)


def _nothing_left(folder, link):
    assert link not in fleets()
    assert not os.path.exists(f"/sys/class/net/{link}")
    assert os.fsencode(folder) not in Path("/proc/self/mountinfo").read_bytes()
    assert _processes_of(folder) == {}


@pytest.mark.parametrize("become", [(), ("--become",)], ids=["login", "become"])
def test_hosts_answer_ansible(fleet, ansible, become):
    run = ansible.adhoc(fleet.inventory, "all", "-m", "ping", *become)
    assert not run.status, str(run)
    assert {result.host: result.values["ping"] for result in run.results} == dict.fromkeys(fleet.hosts, "pong")

    run = ansible.adhoc(fleet.inventory, "all", "-m", "command", "-a", "id -un", *become)
    assert {result.values["stdout"] for result in run.results} == {"root" if become else "admin"}, str(run)


def test_one_sudo_asks_for_the_password_in_the_inventory(fleet, ansible):
    asks = [name for name, host in fleet.hosts.items() if host.ssh("sudo -n true", check=False).returncode]
    assert asks == ["host3"]
    run = ansible.adhoc(fleet.inventory, "all", "-m", "ping", "--become", "-e", "ansible_become_password=wrong")
    assert {result.host: result.outcome for result in run.results if result.host == "host3"} != {"host3": "ok"}
    assert {result.host for result in run.results if result.outcome == "ok"} == {"host1", "host2"}, str(run)


def test_host_keys_are_checked(fleet, ansible, tmp_path):
    lines = (fleet.directory / "known_hosts").read_text().splitlines()
    addresses, keys = zip(*(line.split(" ", 1) for line in lines), strict=True)
    swapped = [f"{address} {key}" for address, key in zip(addresses, keys[1:] + keys[:1], strict=True)]
    (tmp_path / "known_hosts").write_text("\n".join(swapped) + "\n")
    text = fleet.inventory.read_text()
    (tmp_path / "inventory.yml").write_text(text.replace(f"{fleet.directory}/known_hosts", f"{tmp_path}/known_hosts"))
    # No connection shared with another test: that one's host key has been accepted already.
    run = ansible.adhoc(tmp_path / "inventory.yml", "all", "-m", "ping", "-e", "ansible_control_path=none")
    assert {result.outcome for result in run.results} == {"unreachable"}, str(run)
    assert "Host key verification failed" in run.output


def test_hosts_are_hosts_of_their_own(fleet):
    host1, host2 = fleet.hosts["host1"], fleet.hosts["host2"]
    assert [host.run("hostname").stdout.strip() for host in fleet.hosts.values()] == ["host1", "host2", "host3"]
    assert "bullseye" in host2.run("cat /etc/os-release").stdout
    assert host2.run("/usr/bin/python3", "-c", "import sys; print(sys.version_info[:2])").stdout.strip() == "(3, 9)"
    libc = "sha256sum /lib/*/libc.so.6 | cut -d' ' -f1"
    assert host1.run(libc).stdout != host2.run(libc).stdout

    host1.run("echo mine > /etc/fleet-was-here; touch /var/crash/x")
    for elsewhere in (host2, fleet.hosts["host3"]):
        assert not elsewhere.path("/etc/fleet-was-here").exists()
        assert not elsewhere.path("/var/crash/x").exists()
    assert not Path("/etc/fleet-was-here").exists()
    host1.run("rm /etc/fleet-was-here /var/crash/x")
    # A core that lies in the machine's own / is not the host's; nor is what stands in its temporary folders.
    assert [name for name in os.listdir("/") if host1.run("test", "-f", f"/{name}", check=False).returncode == 0] == []
    assert host1.run("ls -A /tmp /var/tmp /root | grep -v :").stdout.split() == []
    # What one kernel has once for all hosts cannot be changed from inside of one.
    assert host1.run("echo x > /proc/sys/kernel/core_pattern", check=False).returncode


@pytest.mark.parametrize("name", ["host1", "host2", "host3"])
def test_crash_is_real(fleet, name):
    host = fleet.hosts[name]
    crash = host.crash(f"/var/crash/real {name}")
    status = host.path(crash.core).stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
    stack = frames(host.gdb(crash, "backtrace"))
    # libc may name its inner frames, and may not: it has debug information on the one and not on the other.
    assert [function for function in stack if function in crash.functions] == list(crash.functions), stack
    assert stack[stack.index("render") - 1].endswith("qsort_r"), stack
    assert host.crash(f"/var/crash/real {name}").core == crash.core  # overwrites it, as kernels do


def test_a_crash_may_be_big(fleet):
    host = fleet.hosts["host1"]
    crash = host.crash("/var/tmp/big", data_mib=16)
    assert host.path(crash.core).stat().st_blocks * 512 > 16 << 20
    packed = host.run("sh", "-c", 'gzip -c "$1" | wc -c', "sh", crash.core).stdout
    assert int(packed) > 16 << 20
    host.run("rm", "-r", "/var/tmp/big")


def test_a_cut_link_and_a_stopped_host(fleet):
    host, other = fleet.hosts["host1"], fleet.hosts["host2"]
    assert _reachable(host)
    host.cut_link()
    try:
        assert not _reachable(host)
        assert _reachable(other)
    finally:
        host.restore_link()
    _wait_until(lambda: _reachable(host))

    host.run("echo kept > /var/tmp/kept; sleep 1000 > /dev/null 2>&1 &")
    host.stop()
    try:
        assert not _reachable(host)
        assert "sleep 1000\n" not in host.run("ps -eo args").stdout
    finally:
        host.start()
    assert _reachable(host)
    assert host.ssh("cat /var/tmp/kept").stdout == "kept\n"


def test_a_slow_link_is_slow_both_ways_until_restored(fleet):
    host = fleet.hosts["host1"]

    def shaped():
        inside = host.run("tc qdisc show dev eth0").stdout
        outside = subprocess.check_output(
            ["nsenter", "--target", str(host.switch), "--net", "tc", "qdisc", "show", "dev", host.name], text=True
        )
        return [re.findall(r"tbf .* rate (\S+)", text) for text in (inside, outside)]

    host.slow_link("2Mbit")
    try:
        assert shaped() == [["2Mbit"], ["2Mbit"]]
        host.slow_link("3Mbit")
        assert shaped() == [["3Mbit"], ["3Mbit"]]
        assert host.ssh("echo through").stdout == "through\n"
    finally:
        host.restore_link()
    assert shaped() == [[], []]


def test_bytes_on_the_wire_are_counted(fleet):
    host = fleet.hosts["host2"]
    sent, received = host.bytes_sent(), host.bytes_received()
    host.ssh("head -c 1000000 /dev/urandom")
    assert 1_000_000 < host.bytes_sent() - sent < 1_200_000
    assert 0 < host.bytes_received() - received < 200_000


def test_a_full_disk_is_full(fleet):
    host = fleet.hosts["host1"]
    host.small_disk("/mnt/small", "256k")
    host.fill_disk("/mnt/small")
    refused = host.run("echo x > /mnt/small/more", check=False)
    assert refused.returncode
    host.run("umount", "/mnt/small")
    with pytest.raises(FleetError, match="no small_disk"):
        host.fill_disk("/var/tmp")


def test_down_leaves_nothing_and_the_machine_is_as_before(fleet_folder):
    folder, before = fleet_folder / "left", _machine()
    (fleet_folder / "left").mkdir()
    (folder / "mine").write_text("not the fleet's")
    fleet = Fleet(folder, default_hosts(3)).up()
    link = next(link for link, where in fleets().items() if where == str(folder))
    namespaces = _namespaces(*(host.init for host in fleet.hosts.values()), fleet.hosts["host1"].switch)
    try:
        fleet.hosts["host1"].crash()
        assert len(namespaces) == 3 * 5 + 3  # the switch shares the machine's uts and ipc
        assert len(_processes_in(namespaces)) > 4
        assert os.fsencode(folder) not in Path("/proc/self/mountinfo").read_bytes()
        assert not any(namespace in Path("/proc/self/mountinfo").read_text() for namespace in namespaces)  # ip netns
        assert (
            subprocess.run(
                [sys.executable, "-m", "tests.support.fleet", "list"],
                cwd=CHECKOUT,
                check=False,
                capture_output=True,
                text=True,
            ).stdout.count(f"{link} {folder}\n")
            == 1
        )
    finally:
        fleet.down()
    _nothing_left(folder, link)
    assert _processes_in(namespaces) == {}
    assert os.listdir(folder) == ["mine"]
    assert _machine() == before
    fleet.down()  # again: nothing to do


def test_shared_connections_end_with_the_fleet(fleet_folder, ansible):
    with Fleet(fleet_folder / "shared", default_hosts(2, release=None)) as fleet:
        ansible.adhoc(fleet.inventory, "all", "-m", "ping")
        assert any(b"[mux]" in words for words in _processes_of(fleet_folder / "shared").values())
    _wait_until(lambda: _processes_of(fleet_folder / "shared") == {})


def test_two_fleets_side_by_side(fleet_folder):
    with Fleet(fleet_folder / "one", default_hosts(2, release=None)) as one:
        with Fleet(fleet_folder / "two", default_hosts(4, release=None)) as two:
            for fleet in (one, two):
                assert [host.ssh("hostname").stdout.strip() for host in fleet.hosts.values()] == list(fleet.hosts)
            assert not {host.address for host in one.hosts.values()} & {host.address for host in two.hosts.values()}
            left_behind = list(two.hosts.values())
        assert [_reachable(host) for host in one.hosts.values()] == [True, True]
        assert not any(_reachable(host) for host in left_behind)
    assert not {str(fleet_folder / "one"), str(fleet_folder / "two")} & set(fleets().values())


def test_twenty_hosts(fleet_folder):
    with Fleet(fleet_folder / "many", default_hosts(20, release=None)) as fleet:
        assert len(fleet.hosts) == 20
        assert all(_reachable(host) for host in fleet.hosts.values())
    with pytest.raises(FleetError, match="1 to 20"):
        default_hosts(21)


def test_a_killed_run_takes_its_fleet_along(fleet_folder):
    folder = fleet_folder / "killed"
    script = (
        "import sys, time; from tests.support.fleet import Fleet, default_hosts\n"
        f"Fleet({str(folder)!r}, default_hosts(2, release=None)).up(); print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout.readline() == "up\n"
            link = next(link for link, where in fleets().items() if where == str(folder))
            namespaces = _namespaces(*(host.init for host in Fleet.load(folder).hosts.values()))
        finally:
            run.send_signal(signal.SIGKILL)
    _wait_until(lambda: link not in fleets() and _processes_in(namespaces) == {})
    assert folder.exists()  # nobody was left to remove it: the next one to use the folder does, or down
    with Fleet(folder, default_hosts(1)) as fleet:
        assert _reachable(fleet.hosts["host1"])
    assert not folder.exists()


def test_a_fleet_that_cannot_come_up_leaves_nothing(fleet_folder):
    folder, before = fleet_folder / "half", fleets()
    specs = [HostSpec("host1"), HostSpec("host2", python=sys.executable)._replace(release=None), HostSpec("nowhere")]
    specs[2] = specs[2]._replace(python="/nonexistent/python3")
    with pytest.raises(FleetError, match="/nonexistent/python3"):
        Fleet(folder, specs).up()
    assert fleets() == before
    assert not folder.exists()
    assert _processes_of(folder) == {}


def test_command_line(fleet_folder, tmp_path):
    folder = fleet_folder / "by hand"

    def command(*words):
        return subprocess.run(
            [sys.executable, "-m", "tests.support.fleet", *words],
            cwd=CHECKOUT,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    try:
        up = command("up", "--hosts", "2", "--release", "none", "--python", sys.executable, "--dir", str(folder))
        assert up.returncode == 0, up.stderr
        inventory = json.loads((folder / "inventory.yml").read_text())
        assert sorted(inventory["fleet"]["hosts"]) == ["host1", "host2"]
        assert command("crash", "--dir", str(folder)).stdout.splitlines() == [
            "host1 /var/crash/core",
            "host2 /var/crash/core",
        ]
        ran = command("run", "--dir", str(folder), "host2", "test -s /var/crash/core && hostname; exit 5")
        assert (ran.stdout, ran.returncode) == ("host2\n", 5)
        link = next(link for link, where in fleets().items() if where == str(folder))
        twice = command("up", "--hosts", "1", "--dir", str(folder))
        assert twice.returncode == 1 and "take it down first" in twice.stderr
    finally:
        gone = command("down", "--dir", str(folder))
    assert (gone.returncode, gone.stderr) == (0, "")
    _nothing_left(folder, link)
    assert not folder.exists()
    again = command("crash", "--dir", str(folder))
    assert again.returncode == 1 and again.stderr.startswith("fleet: no fleet in")
    down(folder)  # nothing there: fine
