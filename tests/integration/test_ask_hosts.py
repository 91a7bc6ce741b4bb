# SPDX-License-Identifier: Apache-2.0
"""What one host has lost, another one still has: the play asks, brings it, and completes the archive here."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import checkout, machine
from support.fleet import Fleet, HostSpec, frames

PLUGIN = "/opt/report/lib/render.so"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A plain clone of the checkout; nothing of the collection is installed anywhere."""
    return checkout.copy(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def decoy(tmp_path_factory):
    """Another plug-in of the same name: the same functions, another build ID."""
    folder = tmp_path_factory.mktemp("decoy")
    (folder / "plugin.c").write_text("int render(int job) { return job; }\n")
    command = ["gcc", "-g", "-shared", "-fPIC", "-Wl,--build-id", "-o", "render.so", "plugin.c"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "render.so"


class Shop:
    """Three hosts with the same program. A process of lost crashed, and its plug-in was upgraded since; kept has still
    the old one at the same path, other has a decoy there."""

    def __init__(self, fleet, decoy, ansible, clone, dest):
        self.fleet, self.ansible, self.clone, self.dest = fleet, ansible, clone, dest
        self.decoy = decoy.read_bytes()
        self.lost, self.kept, self.other = (fleet.hosts[name] for name in ("lost", "kept", "other"))
        self.crash = self.lost.crash()
        self.old = self.lost.path(PLUGIN).read_bytes()
        for host in (self.kept, self.other):
            for path in (self.crash.executable, PLUGIN):
                host.path(path).parent.mkdir(parents=True)
                host.path(path).write_bytes(self.lost.path(path).read_bytes())
        for host in (self.lost, self.other):
            host.path(PLUGIN).write_bytes(self.decoy)

    def play(self, *arguments, **variables):
        run = self.ansible.play(
            self.fleet.inventory,
            "collect-dumps.yml",
            "-e",
            json.dumps({"collect_dest": str(self.dest), **variables}),
            *arguments,
            cwd=self.clone,
            config=self.clone / "ansible.cfg",
        )
        outcomes = [result.values["outcomes"] for result in run.results if "outcomes" in result.values]
        assert outcomes, str(run)
        return run, outcomes[-1]

    def archives(self):
        return sorted(path for path in (self.dest / "lost").iterdir())

    def here(self):
        """Every file on the control host with what would change if it did."""
        return {
            str(path): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ctime_ns)
            for path in self.dest.rglob("*")
            if path.is_file() and path.name != "summary.json"
        }


@pytest.fixture
def shop(ansible, clone, decoy, fleet_folder, tmp_path):
    # The oldest Python where there is something to do: what ansible-core's own modules may no longer run with.
    oldest = machine.interpreter("3.6") or "/usr/bin/python3"
    specs = [HostSpec("lost", python=oldest), HostSpec("kept", python=oldest), HostSpec("other")]
    with Fleet(fleet_folder / "ask", specs) as fleet:
        yield Shop(fleet, decoy, ansible, clone, tmp_path / "collected")


def _savedump(*words):
    return subprocess.run(
        [sys.executable, "-m", "savedump_core", *map(str, words)],
        cwd=checkout.CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(checkout.CHECKOUT / "plugins/module_utils")},
        check=False,
        capture_output=True,
        text=True,
    )


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _left_on(host):
    """What of ours is left on a host in the places for temporary files."""
    return host.run("find /tmp /var/tmp -name '*savedump-*' -o -name buildid").stdout.split()


def test_the_gap_is_filled_from_the_host_that_still_has_the_file(shop, tmp_path):
    run, outcomes = shop.play()
    assert not run.status, str(run)
    assert {name: outcome["status"] for name, outcome in outcomes.items()} == {
        "lost": "complete", "kept": "no-dumps", "other": "no-dumps"
    }, str(run)  # fmt: skip

    # On the host itself the archive has its gap; here is one archive, without.
    (entry,) = outcomes["lost"]["archives"]
    (archive,) = shop.archives()
    assert (entry["path"], entry["complete"], entry["verified"], entry["gaps"]) == (str(archive), True, True, [])
    assert entry["sha256"] == _sha256(archive.read_bytes())
    assert f"filled: {PLUGIN}, from kept" in run.output
    verified = _savedump("verify", archive)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    manifest = json.loads(_savedump("inspect", "--json", archive).stdout)
    assert manifest["complete"] is True
    (file,) = [file for file in manifest["files"] if file["path"] == PLUGIN.lstrip("/")]
    assert (file["sha256"], file["matched_by"]) == (_sha256(shop.old), "build-id")

    # It opens, and what the plug-in did is seen.
    place = tmp_path / "opened"
    place.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
    (top,) = place.iterdir()
    assert (top / PLUGIN.lstrip("/")).read_bytes() == shop.old
    shown = subprocess.run(
        ["./run-gdb.sh", "-batch", "-ex", "bt"],
        cwd=top,
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
    )
    functions = [function for function in frames(shown.stdout) if function in shop.crash.functions]
    assert functions == list(shop.crash.functions), shown.stdout + shown.stderr

    # The decoy never came, from neither host; the right file is in the store, once, where only its owner gets in.
    store = shop.dest / "store"
    kept = [path for path in store.rglob("*") if path.is_file()]
    assert not [path for path in kept if path.read_bytes() == shop.decoy]
    assert len({path.stat().st_ino for path in kept if path.read_bytes() == shop.old}) == 1
    (place,) = [path for path in kept if path.name == "executable" and path.read_bytes() == shop.old]
    assert place.parent.parent == store / "buildid"
    assert store.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in shop.dest.iterdir()} == {"lost", "store", "summary.json"}
    assert [_left_on(host) for host in (shop.lost, shop.kept, shop.other)] == [[], [], []]

    # A second run changes nothing, and does not fetch the archive with the gap again.
    before = shop.here()
    again, outcomes = shop.play()
    assert not again.status, str(again)
    assert {name: counts["changed"] for name, counts in again.recap().items()} == dict.fromkeys(outcomes, 0)
    assert shop.here() == before
    assert outcomes["lost"]["status"] == "complete"
    assert outcomes["lost"]["archives"][0]["path"] == str(archive)
    assert outcomes["lost"]["archives"][0]["verified"] is True
    assert not again.of("kept", "Ask which"), str(again)  # nothing is missing any more

    # Nor does it when the host's archive is removed each time.
    third, outcomes = shop.play(collect_remove_archives=True)
    assert not third.status, str(third)
    assert shop.here() == before
    assert outcomes["lost"]["status"] == "complete"
    assert shop.lost.run("ls -A /var/tmp/savedump").stdout == ""


def test_a_host_that_is_down_stops_nothing_and_the_gap_is_named(shop):
    shop.kept.stop()
    run, outcomes = shop.play("-T", "3")
    assert {name: outcome["status"] for name, outcome in outcomes.items()} == {
        "lost": "gaps", "kept": "unreachable", "other": "no-dumps"
    }, str(run)  # fmt: skip
    (entry,) = outcomes["lost"]["archives"]
    assert (entry["complete"], entry["verified"]) == (False, True)
    assert [PLUGIN in gap for gap in entry["gaps"]] == [True]
    assert len(run.of("kept")) <= len(run.of("other"))
    assert len([result for result in run.of("kept") if result.outcome == "unreachable"]) == 1  # asked no more

    # It comes back: now the gap is filled, and only that happens.
    shop.kept.start()
    again, outcomes = shop.play()
    assert not again.status, str(again)
    assert outcomes["lost"]["status"] == "complete"
    assert len(shop.archives()) == 1
    changed = [name for name, counts in again.recap().items() if counts["changed"]]
    assert "lost" in changed and "other" not in changed


def test_each_file_comes_once_though_two_hosts_have_it(shop):
    shop.other.path(PLUGIN).write_bytes(shop.old)
    run, outcomes = shop.play()
    assert outcomes["lost"]["status"] == "complete", str(run)
    brought = [
        result for name in ("kept", "other") for result in run.of(name, "Bring them to the control host")
        if result.outcome == "ok" and "way" in json.dumps(result.values)
    ]  # fmt: skip
    assert {result.host for result in brought} == {"kept"}


def test_check_mode_asks_and_moves_nothing(shop):
    run, outcomes = shop.play("--check")
    assert not run.status, str(run)
    assert not shop.dest.exists()
    (asked,) = run.of("kept", "Ask which of the files it has")
    assert [file["at"] for file in asked.values["files"]] == [PLUGIN]
    assert "1 of " in asked.values["msg"]
    assert run.of("other", "Ask which of the files it has")[0].values["files"] == []
    assert [_left_on(host) for host in (shop.lost, shop.kept, shop.other)] == [[], [], []]


def test_without_a_store_of_its_own(shop):
    run, outcomes = shop.play(collect_store="")
    assert not run.status, str(run)
    assert outcomes["lost"]["status"] == "complete"
    assert {path.name for path in shop.dest.iterdir()} == {"lost", "summary.json"}


def test_nobody_is_asked_when_it_is_not_wanted(shop):
    run, outcomes = shop.play(collect_fill_gaps=False)
    assert not run.status, str(run)
    assert outcomes["lost"]["status"] == "gaps"
    assert not run.of("kept", "Ask which")
    # What was completed before stays what counts.
    shop.play()
    run, outcomes = shop.play(collect_fill_gaps=False)
    assert outcomes["lost"]["status"] == "complete", str(run)
    assert len(shop.archives()) == 1


def test_a_file_that_lies_about_itself_is_not_kept(shop, tmp_path):
    """A host that sends other bytes than it was asked for: the control host proves them itself."""
    lie = Path(tmp_path / "executable")
    lie.write_bytes(shop.decoy)
    wanted = "11" * 20
    run = shop.ansible.adhoc(
        shop.fleet.inventory,
        "kept",
        "-m",
        "savedump_store",
        "-a",
        json.dumps(
            {
                "store": str(tmp_path / "store"),
                "files": [{"path": str(lie), "build_id": wanted, "kind": "loaded"}],
            }
        ),
        cwd=shop.clone,
        config=shop.clone / "ansible.cfg",
    )
    (result,) = run.results
    assert result.outcome == "failed" and "has build ID" in result.values["msg"], str(run)
    assert not lie.exists()
    assert not list((tmp_path / "store").rglob("executable"))
