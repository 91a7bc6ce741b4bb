# SPDX-License-Identifier: Apache-2.0
"""The play over real hosts: archives come home proven, once, and open with the hosts' own files."""

import concurrent.futures
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from support import checkout
from support.fleet import Fleet, HostSpec, default_hosts, frames

#: Of each dump, what gzip cannot make smaller: more than all else that travels in a play, by far.
DATA_MIB = 12


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A plain clone of the checkout; nothing of the collection is installed anywhere."""
    return checkout.copy(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def crashes(fleet):
    """One crash on each host, in a folder that the product looks into by itself."""
    return {name: host.crash(data_mib=DATA_MIB) for name, host in fleet.hosts.items()}


#: gdb's own list of the files it took, but for the kernel's vDSO, which is none.
_LOADED = (
    "import os; [print('loaded', os.path.realpath(file.filename)) for file in gdb.objfiles()"
    " if not file.filename.startswith('system-supplied DSO')]"
)


class Collection:
    """The play's command line, with an archive folder on the targets and a destination of this ansible-core's own."""

    def __init__(self, ansible, clone, fleet, dest):
        self.ansible, self.clone, self.fleet, self.dest = ansible, clone, fleet, dest
        self.archive_dir = f"/var/tmp/archives-{ansible.release}"
        self.sent = {}

    def play(self, *arguments, playbook="collect-dumps.yml", inventory=None, **variables):
        variables = {"collect_dest": str(self.dest), "collect_archive_dir": self.archive_dir, **variables}
        before = {name: host.bytes_sent() for name, host in self.fleet.hosts.items()}
        run = self.ansible.play(
            inventory or self.fleet.inventory,
            playbook,
            "-e",
            json.dumps(variables),
            *arguments,
            cwd=self.clone,
            config=self.clone / "ansible.cfg",
        )
        self.sent = {name: host.bytes_sent() - before[name] for name, host in self.fleet.hosts.items()}
        return run

    def archives(self, host):
        return sorted(path for path in (self.dest / host).rglob("*") if not path.is_dir())


@pytest.fixture(scope="module")
def collected(ansible, clone, fleet, crashes, tmp_path_factory):
    """The play has run once; `first` is that run."""
    collection = Collection(ansible, clone, fleet, tmp_path_factory.mktemp("dest") / "collected")
    collection.first = collection.play()
    assert not collection.first.status, str(collection.first)
    collection.first_sent = collection.sent
    return collection


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _savedump(*words):
    return subprocess.run(
        [sys.executable, "-m", "savedump_core", *map(str, words)],
        cwd=checkout.CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(checkout.CHECKOUT / "plugins/module_utils")},
        check=False,
        capture_output=True,
        text=True,
    )


def _outcomes(run):
    """What the play's summary says of each host."""
    return next(result.values["outcomes"] for result in run.results if "outcomes" in result.values)


def _files(host):
    """Every file of a host with what would change if it did, but for what any login and any Ansible module leave."""
    find = (
        "find /etc /home /opt /root /srv /var /tmp -xdev"
        " -not -path '/home/admin/.ansible*' -not -path '/root/.ansible*' -not -path '/var/lib/sudo/*'"
        " -not -path '/var/log/*'"
        r" -not -path /home/admin -not -path /root -not -path /tmp -printf '%p %y %m %U %i %s %T@\n'"
    )
    return set(host.run(find).stdout.splitlines())


def test_every_host_has_one_verified_archive_at_home(collected, crashes):
    recap = collected.first.recap()
    assert sorted(recap) == ["host1", "host2", "host3"]
    assert {(counts["failed"], counts["unreachable"]) for counts in recap.values()} == {(0, 0)}
    for name, outcome in _outcomes(collected.first).items():
        assert (outcome["status"], outcome["errors"], outcome["gaps"]) == ("complete", [], []), str(collected.first)
        assert [dump["path"] for dump in outcome["dumps"]] == [crashes[name].core]
        (archive,) = collected.archives(name)
        assert [(entry["path"], entry["verified"]) for entry in outcome["archives"]] == [(str(archive), True)]
        assert collected.first_sent[name] > DATA_MIB << 20  # it came over this wire

        on_target = collected.fleet.hosts[name].run("sha256sum", f"{collected.archive_dir}/{archive.name}").stdout
        assert _sha256(archive) == on_target.split()[0]
        verified = _savedump("verify", archive)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        manifest = json.loads(_savedump("inspect", "--json", archive).stdout)
        assert manifest["complete"] is True
        assert manifest["host"]["nodename"] == name


def test_archives_are_for_their_owner_only(collected):
    assert stat.S_IMODE(collected.dest.stat().st_mode) & 0o077 == 0 or all(
        stat.S_IMODE((collected.dest / name).stat().st_mode) == 0o700 for name in collected.fleet.hosts
    )
    for name, host in collected.fleet.hosts.items():
        (archive,) = collected.archives(name)
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        there = host.path(f"{collected.archive_dir}/{archive.name}").stat()
        assert (stat.S_IMODE(there.st_mode), there.st_uid) == (0o600, 0)
        refused = host.ssh(f"cat {collected.archive_dir}/{archive.name}", check=False)
        assert refused.returncode and "Permission denied" in refused.stderr


@pytest.mark.parametrize("name", ["host1", "host2", "host3"])
def test_the_archive_opens_with_the_hosts_own_files(collected, crashes, name, tmp_path):
    host, crash = collected.fleet.hosts[name], crashes[name]
    (archive,) = collected.archives(name)
    place = tmp_path / "a place with spaces"
    place.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
    (top,) = place.iterdir()
    shown = subprocess.run(
        ["./run-gdb.sh", "-batch", "-ex", "bt", "-ex", "print job_number", "-ex", f"python {_LOADED}"],
        cwd=top,
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
    )
    words = shown.stdout + shown.stderr
    stack = frames(shown.stdout)
    assert [function for function in stack if function in crash.functions] == list(crash.functions), words
    assert stack == frames(host.gdb(crash, "backtrace")), words  # libc's frames, too, as on the host
    assert "$1 = 42\n" in shown.stdout, words

    loaded = re.findall(r"^loaded (.*)$", shown.stdout, re.MULTILINE)
    assert [path for path in loaded if not path.startswith(f"{os.path.realpath(top)}/")] == [], words
    (libc,) = [path for path in loaded if os.path.basename(path).startswith(("libc.", "libc-"))]
    assert any(path.endswith(crash.plugin) for path in loaded), words
    theirs = host.run("sha256sum /lib/*/libc.so.6").stdout.split()[0]
    assert _sha256(Path(libc)) == theirs
    if host.spec.release:
        assert _sha256(next(Path("/lib").glob("*/libc.so.6"))) != theirs  # this machine's would not have done


def test_a_second_run_changes_and_moves_nothing(collected):
    def state():
        return {
            str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_ctime_ns)
            for path in sorted(collected.dest.rglob("*"))
            if path.is_file() and path.name != "summary.json"  # which is of the last run, whatever that did
        }

    before, targets = state(), {name: _files(host) for name, host in collected.fleet.hosts.items()}
    again = collected.play()
    assert not again.status, str(again)
    assert {name: counts["changed"] for name, counts in again.recap().items()} == dict.fromkeys(
        collected.fleet.hosts, 0
    )
    assert state() == before
    for name, host in collected.fleet.hosts.items():
        assert _files(host) ^ targets[name] == set()
        assert collected.sent[name] < DATA_MIB << 18  # a quarter; an Ansible play sends some words, too
    assert all(outcome["archives"][0]["verified"] for outcome in _outcomes(again).values())


def test_a_new_dump_is_all_that_moves(collected, crashes):
    host = collected.fleet.hosts["host1"]
    (old,) = collected.archives("host1")
    before = old.stat()
    crash = host.crash("/var/tmp", program="another", data_mib=1)
    try:
        run = collected.play()
        assert not run.status, str(run)
        assert {name: counts["changed"] > 0 for name, counts in run.recap().items()} == {
            "host1": True, "host2": False, "host3": False
        }  # fmt: skip
        (new,) = set(collected.archives("host1")) - {old}
        manifest = json.loads(_savedump("inspect", "--json", new).stdout)
        assert manifest["dump"]["process"]["executable"] == "/opt/another/bin/another"
        assert (old.stat().st_ino, old.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert 1 << 20 < collected.sent["host1"] < DATA_MIB << 20
    finally:
        host.run("rm", crash.core)
        host.run(f"rm -f {collected.archive_dir}/{new.name}")
        new.unlink()


def test_check_mode_says_what_and_how_much_and_changes_nothing(collected, crashes, tmp_path):
    before = {name: _files(host) for name, host in collected.fleet.hosts.items()}
    fresh = Collection(collected.ansible, collected.clone, collected.fleet, tmp_path / "not made")
    fresh.archive_dir = "/var/tmp/not-made"
    run = fresh.play("--check")
    assert not run.status, str(run)
    assert not fresh.dest.exists()
    for name, host in fresh.fleet.hosts.items():
        assert _files(host) ^ before[name] == set()
        core = host.path(crashes[name].core).stat().st_size
        (would,) = _outcomes(run)[name]["archives"]
        assert would["dump"] == crashes[name].core
        assert core < would["planned_size"] < core + (32 << 20)
        assert crashes[name].core in run.output
        assert fresh.sent[name] < DATA_MIB << 18
    assert run.output.count("would be made, reading") == 3, str(run)

    # Archives that are on the hosts already would only be fetched.
    fresh.archive_dir = collected.archive_dir
    run = fresh.play("--check")
    assert not run.status, str(run)
    assert {each["status"] for each in _outcomes(run).values()} == {"complete"}, str(run)
    assert "3 archives would be in" in run.output and "To open one" not in run.output, str(run)
    assert not fresh.dest.exists()

    # Where all is done already, check mode would do nothing.
    done = collected.play("--check")
    assert not done.status, str(done)
    assert {counts["changed"] for counts in done.recap().values()} == {0}


def test_no_host_stops_another(ansible, clone, fleet_folder, tmp_path):
    specs = [*default_hosts(3), HostSpec("host4"), HostSpec("host5")]
    with Fleet(fleet_folder / "trouble", specs) as fleet:
        for name in ("host1", "host2", "host4", "host5"):
            fleet.hosts[name].crash(data_mib=2)
        fleet.hosts["host1"].stop()  # host3, whose sudo asks, has no dumps
        fleet.hosts["host4"].small_disk("/var/tmp/archives-" + ansible.release, "1m")
        fleet.hosts["host5"].run("rm /opt/report/lib/render.so")
        collection = Collection(ansible, clone, fleet, tmp_path / "collected")
        run = collection.play("-T", "3", collect_fill_gaps=False)  # host4 has what host5 lacks: test_ask_hosts.py
        outcomes = _outcomes(run)
        assert {name: outcome["status"] for name, outcome in outcomes.items()} == {
            "host1": "unreachable",
            "host2": "complete",
            "host3": "no-dumps",
            "host4": "failed",
            "host5": "gaps",
        }, str(run)
        assert {name: len(collection.archives(name)) for name in fleet.hosts} == {
            "host1": 0, "host2": 1, "host3": 0, "host4": 0, "host5": 1
        }  # fmt: skip
        assert run.status != 0  # the default policy: what went wrong shows in the exit status, after all is done
        recap = run.recap()
        assert [name for name in recap if recap[name]["failed"] or recap[name]["unreachable"]] == ["host1", "host4"]
        said = " ".join(run.output.split())  # the summary is folded
        assert re.search(r"needs about .* and /var/tmp/\S+ \(small\) has 1.0 MiB free: .* too few", said), str(run)
        assert "/opt/report/lib/render.so" in " ".join(outcomes["host5"]["gaps"])
        left = fleet.hosts["host4"].run(f"ls -A {collection.archive_dir}").stdout
        assert left == ""  # nothing whole, so nothing at all
        for name in fleet.hosts:
            assert re.search(rf"^\s*{name}\b", run.output, re.MULTILINE)

        # The host comes back: the next run brings what was missing, and only that.
        fleet.hosts["host1"].start()
        fleet.hosts["host4"].run("umount", collection.archive_dir)
        again = collection.play(collect_fill_gaps=False)
        assert not again.status, str(again)
        assert {name: len(collection.archives(name)) for name in fleet.hosts} == {
            "host1": 1, "host2": 1, "host3": 0, "host4": 1, "host5": 1
        }  # fmt: skip
        changed = [name for name, counts in again.recap().items() if counts["changed"]]
        assert changed == ["host1", "host4"]
        assert collection.sent["host2"] < 1 << 20


def test_by_its_collection_name(collected, tmp_path):
    """`ansible-playbook savedump.toolkit.collect_dumps` in the clone: the same play, so all is done already."""
    run = collected.play(playbook="savedump.toolkit.collect_dumps")
    assert not run.status, str(run)
    assert {counts["changed"] for counts in run.recap().values()} == {0}
    assert {outcome["status"] for outcome in _outcomes(run).values()} == {"complete"}


def test_ad_hoc_in_a_clone(collected, crashes):
    run = collected.ansible.adhoc(
        collected.fleet.inventory,
        "all",
        "--become",
        "-m",
        "savedump",
        "-a",
        f"src={crashes['host1'].core} dest=/var/tmp/adhoc-{collected.ansible.release}",
        cwd=collected.clone,
        config=collected.clone / "ansible.cfg",
    )
    assert not run.status, str(run)
    for name, host in collected.fleet.hosts.items():
        (result,) = run.of(name)
        (archive,) = result.values["archives"]
        assert (archive["complete"], archive["changed"], result.values["changed"]) == (True, True, True)
        assert archive["sha256"] == host.run("sha256sum", archive["path"]).stdout.split()[0]


def test_installed_from_a_tarball(collected, tmp_path):
    """Built, installed, and run from a folder that knows nothing of the checkout."""
    ansible, target = collected.ansible, tmp_path / "collections"
    for words in (
        ("build", "--output-path", str(tmp_path), str(collected.clone)),
        ("install", "--offline", "--collections-path", str(target), "TARBALL"),
    ):
        tarball = next(map(str, tmp_path.glob("*.tar.gz")), "")
        run = ansible.run("ansible-galaxy", "collection", *(tarball if w == "TARBALL" else w for w in words))
        assert not run.status, str(run)
    with tarfile.open(tarball) as members:
        assert not [name for name in members.getnames() if name.startswith((".collections", "tests/output"))]
    dest = tmp_path / "elsewhere" / "collected"
    dest.parent.mkdir()
    run = ansible.play(
        collected.fleet.inventory,
        "savedump.toolkit.collect_dumps",
        "-e",
        json.dumps({"collect_archive_dir": collected.archive_dir}),
        cwd=dest.parent,
        environ={"ANSIBLE_COLLECTIONS_PATH": str(target)},
    )
    assert not run.status, str(run)
    for name in collected.fleet.hosts:
        (archive,) = (dest / name).iterdir()
        assert _sha256(archive) == _sha256(collected.archives(name)[0])


def _cut_in_the_middle(host, bytes_first, seconds):
    """Once the host has sent so many bytes, cut its link for so long; returns whether it came to that."""
    before, deadline = host.bytes_sent(), time.monotonic() + 120
    while host.bytes_sent() - before < bytes_first:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    host.cut_link()
    time.sleep(seconds)
    host.restore_link()
    return True


def test_a_fetch_through_a_sudo_that_asks_survives_a_cut(collected, tmp_path):
    """The transfer stands still while the link is cut, and what comes is what was sent."""
    host = collected.fleet.hosts["host3"]
    host.run("umask 077; head -c 8000000 /dev/urandom > /root/big")
    host.slow_link("16mbit")
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            cut = pool.submit(_cut_in_the_middle, host, 2_000_000, 4)
            run = collected.ansible.adhoc(
                collected.fleet.inventory,
                "host3",
                "--become",
                "-m",
                "savedump.toolkit.savedump_fetch",
                "-a",
                f"src=/root/big dest={tmp_path}",
                cwd=collected.clone,
                config=collected.clone / "ansible.cfg",
            )
            assert cut.done() and cut.result(), str(run)  # not after the transfer: then nothing was shown
    finally:
        host.restore_link()
    (result,) = run.results
    assert (result.outcome, result.values.get("changed")) == ("ok", True), str(run)
    (here,) = [path for path in tmp_path.rglob("big*") if path.is_file()]
    assert _sha256(here) == host.run("sha256sum", "/root/big").stdout.split()[0] == result.values["sha256"]
    host.run("rm", "/root/big")


def test_a_module_that_breaks_is_explained(ansible, fleet_folder, tmp_path):
    """A fault of our own in a module shows with its words, not only as a failure."""
    clone = checkout.copy(tmp_path / "clone")
    with (clone / "plugins/module_utils/savedump_core/api.py").open("a") as api:
        api.write("\n\ndef find(*args, **options):\n    raise RuntimeError('planted by a test')\n")
    with Fleet(fleet_folder / "broken", default_hosts(1)) as fleet:
        run = Collection(ansible, clone, fleet, tmp_path / "collected").play()
    assert run.status
    assert "planted by a test" in " ".join(_outcomes(run)["host1"]["errors"]), str(run)
