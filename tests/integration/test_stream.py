# SPDX-License-Identifier: Apache-2.0
"""Dumps archived straight over the connection: nothing is written on the host, each library comes once for all hosts,
and a cut is survived."""

import concurrent.futures
import json
import os
import re
import time
from pathlib import Path

import pytest
from support import checkout, machine
from support.fleet import Fleet, default_hosts

from savedump_core import api

#: Of each dump, what does not compress.
DATA_MIB = 8


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A plain clone of the checkout."""
    return checkout.copy(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def fleet(fleet_folder):
    """host1's Python is the oldest one, host2 another release, and host3's sudo wants a password."""
    oldest = machine.interpreter("3.6")
    with Fleet(fleet_folder / "f", default_hosts(3, pythons=[oldest] if oldest else ())) as running:
        yield running


@pytest.fixture(scope="module")
def crashes(fleet):
    """One dump on each host, where it is found unasked."""
    return {name: host.crash(data_mib=DATA_MIB) for name, host in fleet.hosts.items()}


class Here:
    """The control host, with a folder for archives and one for the store."""

    def __init__(self, ansible, clone, fleet, folder):
        self.ansible, self.clone, self.fleet = ansible, clone, fleet
        self.dest, self.store = folder / "collected", folder / "store"

    def stream(self, *more, hosts="all", store=True, **options):
        """(the run, {host: the result})."""
        options = {"dest": str(self.dest), "store": str(self.store) if store else "", **options}
        run = self.ansible.adhoc(
            self.fleet.inventory, hosts, "-m", "savedump_stream", "-b", "-a", json.dumps(options), *more,
            cwd=self.clone, config=self.clone / "ansible.cfg",
        )  # fmt: skip
        return run, {result.host: result for result in run.results}


@pytest.fixture
def here(ansible, clone, fleet, tmp_path):
    return Here(ansible, clone, fleet, tmp_path)


def written(host):
    """Every file that was ever written on a host, with what would change if it were again, but for what any login and
    any sudo leave."""
    upper = Path(f"/proc/{host.switch}/root{host.directory}/layers/{host.name}/upper")
    found = {}
    for folder, folders, names in os.walk(upper):
        below = os.path.relpath(folder, upper)
        folders[:] = [name for name in folders if os.path.join(below, name) not in ("./run", "var/log", "var/lib/sudo")]
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            found[os.path.join(below, name)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    found.pop("home/admin/.sudo_as_admin_successful", None)
    return found


def test_nothing_is_written_there_and_each_file_comes_once(here, crashes):
    before = {name: written(host) for name, host in here.fleet.hosts.items()}
    assert all("var/crash/core" in found for found in before.values())
    sent = {name: host.bytes_sent() for name, host in here.fleet.hosts.items()}
    run, results = here.stream()
    assert sorted(results) == ["host1", "host2", "host3"] and run.status == 0, str(run)
    sent = {name: host.bytes_sent() - sent[name] for name, host in here.fleet.hosts.items()}
    archives = {name: result.values["archives"] for name, result in results.items()}
    for name, host in here.fleet.hosts.items():
        (archive,) = archives[name]
        assert archive["dump"]["path"] == crashes[name].core
        assert os.path.dirname(archive["path"]) == str(here.dest / name)
        verified = api.verify(archive["path"])
        assert verified.problems == () and verified.manifest["complete"]
        assert verified.manifest["host"]["nodename"] == name
        # ssh's packets and the core of the product are on the wire besides.
        assert archive["wire_bytes"] < sent[name] < archive["wire_bytes"] * 1.1 + (1 << 20)
        assert written(host) == before[name]
    # host1 and host3 have the same files, which one of the two sent.
    saved = [archives[name][0]["saved_bytes"] for name in ("host1", "host3")]
    libc = 1 << 20
    assert sum(saved) > libc
    alone, _results = here.stream(hosts="host1", store=False, dest=str(here.dest.parent / "alone"))
    assert alone.status == 0
    by_itself = alone.of("host1")[-1].values["archives"][0]
    assert by_itself["sha256"] == archives["host1"][0]["sha256"]
    again, results = here.stream()
    assert again.status == 0 and not any(result.values["changed"] for result in results.values()), str(again)
    assert [len(list((here.dest / name).iterdir())) for name in here.fleet.hosts] == [1, 1, 1]


def test_check_mode_brings_nothing_and_says_what_would_come(here, crashes):
    run, results = here.stream("--check", hosts="host1")
    (archive,) = results["host1"].values["archives"]
    assert results["host1"].values["changed"] and (archive["sha256"], archive["complete"]) == (None, True), str(run)
    assert archive["planned_size"] > DATA_MIB << 20
    assert not here.dest.exists() and not here.store.exists()


def test_host_that_can_write_nothing(here, crashes):
    """As one whose disk is full, and worse."""
    host = here.fleet.hosts["host1"]
    host.run("mount -o remount,ro /")
    try:
        assert host.run("touch /var/tmp/x /tmp/x /root/x", check=False).returncode
        run, results = here.stream(hosts="host1")
        assert results["host1"].outcome == "ok" and results["host1"].values["archives"][0]["complete"], str(run)
    finally:
        host.run("mount -o remount,rw /")


def test_link_that_is_cut_and_comes_back(here, crashes):
    host = here.fleet.hosts["host3"]
    host.slow_link("16mbit")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            start = host.bytes_sent()
            here.stream(hosts="host3", dest=str(here.dest / "undisturbed"))
            whole, start = host.bytes_sent() - start, host.bytes_sent()
            running = pool.submit(here.stream, hosts="host3", stall_timeout=3, retries=5)
            while host.bytes_sent() - start < 3 << 20 and not running.done():
                time.sleep(0.05)
            host.cut_link()
            parts = [path for path in (here.dest / "host3").rglob("*") if path.is_file()]
            assert [path.name for path in parts if not path.name.endswith(".part")] == []
            time.sleep(4)
        finally:
            host.restore_link()
        run, results = running.result(120)
    assert results["host3"].outcome == "ok", str(run)
    (archive,) = results["host3"].values["archives"]
    assert api.verify(archive["path"]).problems == () and re.search(r"trying\s+again\s+in\s+2\s+s", run.output)
    assert len(list((here.dest / "host3").iterdir())) == 1
    # It went on where it was: more than half of what had come before would have come once more.
    assert host.bytes_sent() - start < whole + (3 << 20) // 2


def test_what_cannot_be_archived_is_told_and_the_others_come(here, crashes):
    host = here.fleet.hosts["host1"]
    host.run("mkdir -p /srv/dumps && echo nothing > /srv/dumps/text")
    host.run("cp", crashes["host1"].core, "/srv/dumps/core")
    host.run("head -c 100000 /srv/dumps/core > /srv/dumps/cut")
    try:
        run, results = here.stream(hosts="host1", src=["/srv/dumps", "/srv/nowhere", "/srv/dumps/text"])
        values = results["host1"].values
        assert results["host1"].outcome == "failed"
        assert {each["dump"]["path"]: each["complete"] for each in values["archives"]} == {
            "/srv/dumps/core": True, "/srv/dumps/cut": False,
        }, str(run)  # fmt: skip
        assert {each["dump"]: each["exit_status"] for each in values["not_archived"]} == {"/srv/nowhere": 66}
    finally:
        host.run("rm -r /srv/dumps")


def test_no_way_leads_there(here):
    run = here.ansible.adhoc(
        here.fleet.inventory, "host1", "-m", "savedump_stream", "-a", json.dumps({"dest": str(here.dest)}),
        "-e", "ansible_connection=ansible.builtin.ssh", "-e", "ansible_user=nobody-knows",
        cwd=here.clone, config=here.clone / "ansible.cfg",
    )  # fmt: skip
    assert run.results[-1].outcome == "unreachable", str(run)
