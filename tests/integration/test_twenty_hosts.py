# SPDX-License-Identifier: Apache-2.0
"""Twenty hosts at once, and with some of them everything goes wrong: one is down, one has a full disk, one no dumps,
one a slow link, one link is cut and comes back, and one sshd dies in the middle."""

import concurrent.futures
import hashlib
import json
import random
import tarfile
import time

import pytest
from support import checkout
from support.fleet import Fleet, default_hosts
from support.fleet.controller import Ansible, python_for

from savedump_core import api

MIB = 1 << 20
DATA_MIB = {"host15": 12, "host16": 12}
DOWN, FULL, IDLE, SLOW, CUT, KILLED = "host20", "host19", "host18", "host17", "host16", "host15"
DISTURBED = (CUT, KILLED)


@pytest.fixture(scope="module")
def twenty(fleet_folder, tmp_path_factory):
    """(the fleet, ansible-playbook's front, a clone of the checkout, {host: its dump's SHA-256})"""
    if python_for("2.21") is None:
        pytest.skip("ansible-core 2.21 needs Python 3.12 or newer; there is none")
    clone = checkout.copy(tmp_path_factory.mktemp("clone"))
    # Every folder that a program writes into is full where the disk is full; the dump lies on it already.
    with Fleet(fleet_folder / "f", default_hosts(20, release=None)) as fleet:
        dumps = {}
        for name, host in fleet.hosts.items():
            if name not in (DOWN, IDLE):
                core = host.crash(data_mib=DATA_MIB.get(name, 2)).core
                dumps[name] = hashlib.sha256(host.path(core).read_bytes()).hexdigest()
        full = fleet.hosts[FULL]
        for folder in ("/tmp", "/home/admin/.ansible", "/root/.ansible"):
            full.small_disk(folder, "16m")
        full.small_disk("/var/tmp")
        full.fill_disk("/var/tmp")
        fleet.hosts[SLOW].slow_link("40mbit")
        fleet.hosts[DOWN].stop()
        yield fleet, Ansible("2.21", tmp_path_factory.mktemp("home")), clone, dumps


def disturbed(host, harm, least, most):
    """Do harm to a host once it has sent so many bytes, between `least` and `most` of them; when that was."""
    start, when = host.bytes_sent(), random.randrange(least, most)
    deadline = time.monotonic() + 120
    while host.bytes_sent() - start < when:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.01)
    harm(host)
    return when


def cut(host):
    host.cut_link()
    time.sleep(6)
    host.restore_link()


def kill_sessions(host):
    """Of sshd, the processes that serve a connection."""
    host.run("pkill -KILL -f '^sshd: admin' || true")


def collect(twenty, dest, **variables):
    """(the run, outcomes by host, when harm was done)"""
    fleet, ansible, clone, _dumps = twenty
    variables = {"collect_dest": str(dest), "collect_stall_timeout": 4, "collect_retries": 10, **variables}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        harm = [
            pool.submit(disturbed, fleet.hosts[name], done, 3 * MIB, 10 * MIB)
            for name, done in ((CUT, cut), (KILLED, kill_sessions))
        ]
        run = ansible.play(
            fleet.inventory, "collect-dumps.yml", "-T", "5", "-e", json.dumps(variables),
            cwd=clone, config=clone / "ansible.cfg",
        )  # fmt: skip
        when = [each.result() for each in harm]
    outcomes = [result.values["outcomes"] for result in run.results if "outcomes" in result.values]
    assert outcomes, str(run)
    return run, outcomes[-1], when


def dump_in(path):
    """The SHA-256 of the dump in an archive."""
    with tarfile.open(path) as archive:
        member = next(each for each in archive if each.name.endswith("/core"))
        return hashlib.sha256(archive.extractfile(member).read()).hexdigest()


def proven(outcomes, dumps, hosts):
    for name in hosts:
        (archive,) = outcomes[name]["archives"]
        assert outcomes[name]["status"] == "complete" and archive["verified"], outcomes[name]
        assert api.verify(archive["path"]).problems == ()
        assert dump_in(archive["path"]) == dumps[name]


def test_streamed_each_byte_once(twenty, tmp_path):
    fleet, _ansible, _clone, dumps = twenty
    run, outcomes, when = collect(twenty, tmp_path / "collected", collect_stream=True)
    assert len(outcomes) == 20 and None not in when, str(run)
    assert (outcomes[DOWN]["status"], outcomes[IDLE]["status"]) == ("unreachable", "no-dumps")
    # Nothing has to be written there: a full disk is a disk like any other.
    proven(outcomes, dumps, dumps)
    calm = [name for name in dumps if name not in DISTURBED]
    wire = sum(outcomes[name]["wire_bytes"] for name in calm)
    sizes = sum(fleet.hosts[name].path("/var/crash/core").stat().st_blocks * 512 for name in calm)
    files = sum(
        path.stat().st_size for path in (tmp_path / "collected/store/sha256").rglob("*") if path.is_file()
    )  # fmt: skip
    assert wire <= 1.02 * (sizes + files)
    # What any one of them brought the others did not: together all have saved as much as fifteen sets of files.
    assert sum(outcomes[name]["saved_bytes"] for name in dumps) >= (len(dumps) - 3) * files * 0.9
    assert "host20" in run.output and "NOT REACHED" in run.output


def test_archived_there_and_fetched(twenty, tmp_path):
    _fleet, _ansible, _clone, dumps = twenty
    run, outcomes, when = collect(twenty, tmp_path / "collected")
    assert len(outcomes) == 20 and None not in when, str(run)
    assert (outcomes[DOWN]["status"], outcomes[IDLE]["status"]) == ("unreachable", "no-dumps")
    assert outcomes[FULL]["status"] == "failed" and "/var/tmp" in " ".join(outcomes[FULL]["errors"]), outcomes[FULL]
    proven(outcomes, dumps, [name for name in dumps if name != FULL])
