# SPDX-License-Identifier: Apache-2.0
"""Runs a chosen ansible-core against a fleet, shut off from the user's own configuration, and keeps every result."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import machine
from .base import FleetError, cache_folder

#: Release to pinned version and the control-side Pythons it runs on, in the order in which they are tried.
CORES = {
    "2.16": ("2.16.19", ("3.11", "3.10", "3.12")),
    "2.21": ("2.21.5", ("3.12", "3.13", "3.14")),
}
#: Between oldest and newest, for the matrix alone: what ./collect-dumps installs for Python 3.11.
MIDDLE = {"2.19": ("2.19.14", ("3.13", "3.11", "3.12"))}
_KNOWN = {**CORES, **MIDDLE}


@dataclasses.dataclass(frozen=True)
class Result:
    """One task's outcome on one host, as the callback plugin saw it."""

    host: str
    task: str
    #: "ok", "failed", "skipped" or "unreachable".
    outcome: str
    #: The module's own return values.
    values: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """An ended ansible or ansible-playbook."""

    status: int
    #: Both streams, in the order written.
    output: str
    results: tuple[Result, ...]

    def of(self, host: str, task: str | None = None) -> list[Result]:
        """The results of one host, all or those of tasks whose name contains `task`, in order."""
        return [result for result in self.results if result.host == host and (task is None or task in result.task)]

    def __str__(self) -> str:
        """For the message of a failed assertion: what was on the screen, and what each failed module itself said."""
        keys = ("msg", "module_stdout", "module_stderr", "exception", "failed_when_suppressed_exception")
        broken = [
            result
            for result in self.results
            if result.outcome != "ok" or keys[-1] in result.values or "module_stdout" in result.values
        ]
        said = [
            f"{result.host}: {result.task}: {key}: {result.values[key]}"
            for result in broken
            for key in keys
            if result.values.get(key)
        ]
        return "\n".join([f"exit {self.status}", self.output, *said])

    def recap(self) -> dict[str, dict[str, int]]:
        """ansible-playbook's last lines: {"host1": {"ok": 5, "changed": 0, "unreachable": 0, "failed": 0, ...}}."""
        _, _, lines = self.output.rpartition("PLAY RECAP")
        found = re.findall(r"^(\S+)\s+: (ok=\d+.*)$", lines, re.MULTILINE)
        return {host: {key: int(count) for key, count in re.findall(r"(\w+)=(\d+)", words)} for host, words in found}


class Ansible:
    """One ansible-core release in a virtual environment of its own; `home` is its HOME and holds all it writes."""

    def __init__(self, release: str, home: Path) -> None:
        self.release = release
        self.home = home
        self._bin = environment(release) / "bin"

    def adhoc(self, inventory: Path, pattern: str, *arguments: str, **options: Any) -> Run:
        """`ansible PATTERN -i INVENTORY ARGUMENTS`."""
        return self.run("ansible", pattern, "-i", str(inventory), *arguments, **options)

    def play(self, inventory: Path, playbook: str, *arguments: str, **options: Any) -> Run:
        """`ansible-playbook PLAYBOOK -i INVENTORY ARGUMENTS`."""
        return self.run("ansible-playbook", playbook, "-i", str(inventory), *arguments, **options)

    def run(
        self,
        program: str,
        *arguments: str,
        cwd: Path | None = None,
        config: Path | None = None,
        environ: dict[str, str] | None = None,
        timeout: float = 600,
    ) -> Run:
        """Run one of the release's programs. `config` is its ansible.cfg; None: none but Ansible's defaults."""
        self.home.mkdir(exist_ok=True)
        if config is None:
            config = self.home / "empty.cfg"
            config.touch()
        descriptor, record = tempfile.mkstemp(dir=self.home, prefix="results-", suffix=".jsonl")
        os.close(descriptor)
        ours = ("ANSIBLE_", "PYTHON", "SSH_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment = {
            **kept,
            "PATH": f"{self._bin}:{kept.get('PATH', os.defpath)}",
            "HOME": str(self.home),
            "PWD": str(cwd or self.home),  # as a shell sets it
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(config),
            "ANSIBLE_HOME": str(self.home / ".ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORKS": "20",
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",  # for ad-hoc commands, too
            "SAVEDUMP_TEST_RECORD": record,
            **(environ or {}),
        }
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            check=False,
            cwd=cwd or self.home,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="surrogateescape",
            env=environment,
        )
        lines = Path(record).read_text(encoding="utf-8").splitlines()
        os.unlink(record)
        return Run(done.returncode, done.stdout, tuple(Result(**json.loads(line)) for line in lines))


def python_for(release: str) -> str | None:
    """The first Python of this machine that carries ansible-core `release`, or None."""
    found = (machine.interpreter(version) for version in _KNOWN[release][1])
    return next((path for path in found if path), None)


def environment(release: str) -> Path:
    """A virtual environment with ansible-core `release`, made in the cache folder on the first call."""
    version, pythons = _KNOWN[release]
    python = python_for(release)
    if python is None:
        wanted = " or ".join(pythons)
        raise FleetError(f"ansible-core {release} needs Python {wanted}; none is on this machine")

    def make(folder: Path) -> None:
        _install([python, "-m", "venv", str(folder)])
        _install(_pip(folder), f"ansible-core=={version}", "pyelftools==0.32")

    return _kept(f"ansible-core-{version}", make)


def package(name: str, version: str, release: str) -> Path:
    """A folder with one release of a package and nothing else, to be put before what `release`'s environment has."""
    pip = _pip(environment(release))

    def make(folder: Path) -> None:
        _install(pip, "--no-deps", "--target", str(folder), f"{name}=={version}")

    return _kept(f"{name}-{version}", make)


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, made on the first call; one process makes it and the others wait."""
    cache = cache_folder()
    folder = cache / name
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready"
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            ready.write_text(f"{sys.version}\n")
    return folder


def _pip(environment: Path) -> list[str]:
    return [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _install(argv: list[str], *more: str) -> None:
    done = subprocess.run([*argv, *more], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise FleetError(f"{' '.join([*argv, *more])}: {done.stdout.strip()[-1000:]}")
