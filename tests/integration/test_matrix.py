# SPDX-License-Identifier: Apache-2.0
"""The matrix of docs/support.md: each ansible-core with each Python on the target, all the way from a dump to a proven
archive at home.

One fleet for all, a host for each Python, and on each of them the same dump: so whatever made an archive, it has to be
the same archive. Each ansible-core runs once, on all hosts at a time.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
from typing import NamedTuple

import pytest
from savedump_core import api
from support import checkout, machine
from support.fleet import Fleet, FleetError, HostSpec
from support.fleet.controller import CORES, MIDDLE, Ansible, environment, package, python_for

PYTHONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
#: The oldest Python that this ansible-core's own modules run on: what its ping says is asserted, too.
FLOOR = {"2.16": (3, 6), "2.19": (3, 8), "2.21": (3, 9)}
#: One ansible-core less in full: the Pythons at both ends, and the oldest of its own.
CELLS = [
    (release, version)
    for release in FLOOR
    for version in (PYTHONS if release in CORES else (PYTHONS[0], "3.8", PYTHONS[-1]))
]
NO_PYTHON_3 = "python2-7"
NEWEST = "2.21"
#: Whether it runs on the target's Python, one for each vehicle. The rest of the matrix is carried with 0.32.
PYELFTOOLS = {
    "0.29": {"3.6": True, "3.13": True},
    "0.30": {"3.6": True, "3.13": True},
    "0.31": {"3.6": True, "3.13": True},
    "0.33": {"3.6": False, "3.9": False, "3.10": True, "3.13": True},
}

PLAYBOOK = """
- name: Each module as it is
  hosts: all
  gather_facts: false
  tasks:
    - name: Ansible alone
      ansible.builtin.ping:
      ignore_errors: true
    - name: Archive in the foreground
      savedump.toolkit.savedump:
        src: "{{ dump }}"
        dest: "{{ direct }}"
      become: true
      ignore_errors: true
- name: The whole way
  import_playbook: collect-dumps.yml
"""


class Ran(NamedTuple):
    """What one ansible-core did with all hosts."""

    run: object
    outcomes: dict
    dest: pathlib.Path

    def archives(self, host):
        return sorted((self.dest / host).rglob("*.tar.*"))


def host_of(version):
    return "python" + version.replace(".", "-")


def python_2():
    """A Python 2.7 of this machine, or None."""
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    found = [shutil.which("python2.7"), *sorted(pathlib.Path(root, "versions").glob("2.7.*/bin/python2.7"))]
    for python in filter(None, found):
        done = subprocess.run([python, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    return None


class Matrix:
    """The hosts, and what came of each ansible-core, which runs when it is first asked for."""

    def __init__(self, fleet, clone, folder, dump):
        self.fleet, self._folder, self.dump = fleet, folder, dump
        self._ran = {}
        self.how = {"cwd": clone, "config": clone / "ansible.cfg", "environ": {"ANSIBLE_VERBOSITY": "2"}}

    def ansible(self, release):
        if python_for(release) is None:
            pytest.skip("ansible-core %s finds no Python here that it runs on" % release)
        try:
            environment(release)
        except FleetError as error:
            pytest.fail("cannot set ansible-core %s up: %s" % (release, error), pytrace=False)
        return Ansible(release, self._folder / ("home-" + release))

    def play(self, release, playbook="matrix.yml", hosts=None):
        hosts = hosts or [host_of(version) for each, version in CELLS if each == release] + [NO_PYTHON_3]
        dest = self._folder / release
        variables = {"dump": self.dump, "direct": "/var/tmp/direct-" + release, "collect_dest": dest}
        variables["collect_archive_dir"] = "/var/tmp/archives-" + release
        words = [word for item in variables.items() for word in ("-e", "%s=%s" % item)]
        run = self.ansible(release).play(
            self.fleet.inventory, playbook, *words, "--limit", ",".join(hosts), **self.how
        )  # fmt: skip
        outcomes = [result.values["outcomes"] for result in run.results if "outcomes" in result.values]
        return Ran(run, outcomes[0] if outcomes else None, dest)

    def ran(self, release):
        if release not in self._ran:
            self._ran[release] = self.play(release)
        assert self._ran[release].outcomes, str(self._ran[release].run)
        return self._ran[release]


@pytest.fixture(scope="module")
def matrix(fleet_folder, tmp_path_factory):
    assert sorted(FLOOR) == sorted({**CORES, **MIDDLE}), "a release without a row, or a row without a release"
    found = {host_of(version): machine.interpreter(version) for version in PYTHONS}
    assert found[host_of(PYTHONS[0])] and found[host_of(PYTHONS[-1])], "the oldest and the newest are needed"
    found[NO_PYTHON_3] = python_2()
    clone = checkout.copy(tmp_path_factory.mktemp("clone"))
    (clone / "matrix.yml").write_text(PLAYBOOK)
    with Fleet(fleet_folder / "m", [HostSpec(name, python=path) for name, path in found.items() if path]) as fleet:
        first, *others = fleet.hosts.values()
        crash = first.crash()
        for host in others:
            for path in (crash.core, crash.executable, crash.plugin):
                os.makedirs(host.path(os.path.dirname(path)), exist_ok=True)
                shutil.copy2(first.path(path), host.path(path))
        if NO_PYTHON_3 in fleet.hosts:
            fleet.hosts[NO_PYTHON_3].run("rm -f /usr/bin/python3* /usr/local/bin/python3*")
        yield Matrix(fleet, clone, tmp_path_factory.mktemp("matrix"), crash.core)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("release, version", CELLS, ids=["-".join(cell) for cell in CELLS])
def test_controller_and_target(matrix, release, version):
    """Found, archived, fetched, verified; with Ansible's own vehicle where it carries, else with ours."""
    name = host_of(version)
    if name not in matrix.fleet.hosts:
        pytest.skip("no Python %s here" % version)
    ran = matrix.ran(release)
    reached = tuple(map(int, version.split("."))) >= FLOOR[release]
    (ping,) = ran.run.of(name, "Ansible alone")
    assert ping.outcome == ("ok" if reached else "failed"), ping.values
    vehicles = re.findall(r"^<%s> savedump: (\w+) with Python %s\." % (name, re.escape(version)), ran.run.output, re.M)
    # Work in the background is the zipapp's; the module in the foreground and the search are Ansible's where it can.
    assert sorted(set(vehicles)) == (["AnsiballZ", "zipapp"] if reached else ["zipapp"]), ran.run.output

    outcome = ran.outcomes[name]
    assert (outcome["status"], outcome["errors"], outcome["gaps"]) == ("complete", [], []), str(ran.run)
    (archive,) = ran.archives(name)
    verified = api.verify(str(archive))
    assert (verified.intact, verified.complete) == (True, True), verified.problems
    assert verified.manifest["host"]["nodename"] == name
    used = [result.values["python"] for result in ran.run.of(name) if "python" in result.values]
    there = [python for python in used if python["executable"] == matrix.fleet.hosts[name].spec.python]
    assert len(there) >= 3 and all(python["version"].startswith(version + ".") for python in there), used
    (direct,) = ran.run.of(name, "in the foreground")
    assert [made["sha256"] for made in direct.values["archives"]] == [sha256(archive)]


@pytest.mark.slow
def test_the_archive_is_the_same_whatever_made_it(matrix):
    """Byte by byte for a host; for the others but for the host's name."""
    manifests = []
    for name in matrix.fleet.hosts:
        if name == NO_PYTHON_3:
            continue
        archives = [path for release in FLOOR if name in matrix.ran(release).outcomes
                    for path in matrix.ran(release).archives(name)]  # fmt: skip
        assert len(archives) >= 2 and len({sha256(path) for path in archives}) == 1, archives
        manifest = api.verify(str(archives[0])).manifest
        assert manifest["host"].pop("nodename") == name
        manifests.append(manifest)
    assert manifests == manifests[:1] * len(manifests)


@pytest.mark.slow
def test_a_second_run_changes_nothing(matrix):
    matrix.ran(NEWEST)
    both = [host_of(PYTHONS[0]), host_of(PYTHONS[-1])]  # one for each vehicle
    again = matrix.play(NEWEST, playbook="collect-dumps.yml", hosts=both)
    recap = again.run.recap()
    assert {name: counts["changed"] for name, counts in recap.items()} == dict.fromkeys(both, 0), str(again.run)


@pytest.mark.slow
@pytest.mark.parametrize("version", PYELFTOOLS)
def test_pyelftools_of_the_control_host(matrix, version, tmp_path):
    """Carried where the target's Python runs it; where not, that is said. The archive is the same."""
    runs_there = PYELFTOOLS[version]
    hosts = {host_of(python): runs for python, runs in runs_there.items() if host_of(python) in matrix.fleet.hosts}
    how = dict(matrix.how, environ={**matrix.how["environ"], "PYTHONPATH": str(package("pyelftools", version, NEWEST))})
    run = matrix.ansible(NEWEST).adhoc(
        matrix.fleet.inventory, ",".join(hosts), "--become", "-m", "savedump",
        "-a", "src=%s dest=/var/tmp/pyelftools-%s" % (matrix.dump, version), **how
    )  # fmt: skip
    for name, runs in hosts.items():
        (result,) = run.of(name)
        assert result.outcome == "ok", str(run)
        assert result.values["python"]["pyelftools"] == (version if runs else None), str(run)
        said = "<%s> .*pyelftools %s does not run on the target's Python" % (name, re.escape(version))
        assert bool(re.search(said, run.output)) == (not runs), run.output
        (made,) = result.values["archives"]
        there = shutil.copy(matrix.fleet.hosts[name].path(made["path"]), tmp_path)
        first, second = (api.verify(str(path)).manifest for path in (there, *matrix.ran(NEWEST).archives(name)))
        assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("release", FLOOR)
def test_target_with_nothing_but_python_2(matrix, release):
    """No vehicle reaches it, and the play says so, in one line that says what to do; the others are not stopped."""
    if NO_PYTHON_3 not in matrix.fleet.hosts:
        pytest.skip("no Python 2.7 here")
    ran = matrix.ran(release)
    outcome = ran.outcomes[NO_PYTHON_3]
    assert outcome["status"] == "failed" and ran.archives(NO_PYTHON_3) == [], str(ran.run)
    (words,) = outcome["errors"]
    assert re.match(r"python2-7 has Python 2\.7\.\d+ at \S+; savedump needs Python 3\.6 or newer there", words), words
    assert "Install python3, or name one in ansible_python_interpreter" in words
    assert words in re.sub(r"\s+", " ", ran.run.output)
    (direct,) = ran.run.of(NO_PYTHON_3, "in the foreground")
    assert direct.values["msg"] == words and "Traceback" not in str(direct.values)
