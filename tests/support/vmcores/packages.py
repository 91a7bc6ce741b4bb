# SPDX-License-Identifier: Apache-2.0
"""Debian's packages, fetched by an apt that knows nothing but one mirror, and unpacked without being installed.

So the machine may run another release than the packages are of, its lists may be stale, and no script of a package
that changes a host (kexec-tools, kdump-tools) is ever run.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from ..bareroot import SYSTEMS, mirror

from .base import VmcoresError, call

_NATURAL = re.compile(r"(\d+)")


class Packages:
    """The main sections of some releases of Debian, for one architecture."""

    def __init__(self, folder: Path, suites: tuple[str, ...], architecture: str) -> None:
        system = SYSTEMS["debian12"]
        self._folder = folder
        for name in ("lists/partial", "cache/archives/partial", "preferences"):
            (folder / name).mkdir(parents=True)
        sources = folder / "sources.list"
        trusted = f"[arch={architecture} signed-by={system.keyring}]"
        sources.write_text("".join(f"deb {trusted} {mirror(system)} {suite} main\n" for suite in suites))
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "",  # _apt may not enter the folders of whoever runs the tests
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::Cache": folder / "cache",
            "Dir::Cache::pkgcache": "pkgcache.bin",  # container images have it switched off: 2 s for each call
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": folder / "preferences",
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": folder / "preferences",
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": "/dev/null",
        }
        self._options = [f"-o{name}={value}" for name, value in settings.items()]
        call("apt-get", *self._options, "-q", "update")

    def names(self, pattern: str) -> list[str]:
        """The packages whose whole name the regular expression matches, in the order of the numbers in them."""
        listed = call("apt-cache", *self._options, "pkgnames").split()
        return sorted((name for name in listed if re.fullmatch(pattern, name)), key=_by_numbers)

    def needs(self, package: str) -> list[str]:
        """The names that a package's Depends has."""
        shown = call("apt-cache", *self._options, "show", "--no-all-versions", package)
        line = re.search(r"^Depends: (.*)$", shown, re.MULTILINE)
        return re.findall(r"(?:^|, )([^ ,(:]+)", line.group(1)) if line else []

    def fetch(self, packages: list[str]) -> list[Path]:
        """The archives of packages: each "name", or "name/suite"."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        call("apt-get", *self._options, "-q", "download", *packages, cwd=folder)
        archives = sorted(folder.glob("*.deb"))
        if len(archives) != len(packages):
            raise VmcoresError(f"asked for {packages}, got {[path.name for path in archives]}")
        return archives


def _by_numbers(name: str) -> list[object]:
    return [int(part) if part.isdigit() else part for part in _NATURAL.split(name)]


class Programs:
    """Programs of a folder that packages were unpacked into, run with the libraries that lie there, too; under an
    emulator, such as qemu-aarch64, if they are another architecture's."""

    def __init__(self, root: Path, emulator: tuple[str, ...] = ()) -> None:
        self._root = root
        self._loader = _first(root, "lib/*/ld-linux-*.so.*", "lib/ld-linux-*.so.*")
        folders = sorted(str(path) for top in ("lib", "usr/lib") for path in root.glob(top + "/*-linux-gnu"))
        self._command = [*emulator, str(self._loader), "--library-path", ":".join(folders)]

    def argv(self, path: str, *arguments: str) -> list[str]:
        return [*self._command, str(self._root / path), *arguments]

    def files(self, path: str) -> dict[str, bytes]:
        """What a root needs in order to run this program: its interpreter and its libraries, by path."""
        interpreter = re.search(rb"/lib\S*/ld-linux-[\w.-]+", (self._root / path).read_bytes())
        if not interpreter:
            raise VmcoresError(f"{path} names no interpreter")
        found = {os.fsdecode(interpreter.group(0)).lstrip("/"): self._loader.read_bytes()}
        for name, at in re.findall(r"(\S+) => (/\S+)", call(*self._command, "--list", str(self._root / path))):
            found["lib/" + name] = Path(at).read_bytes()
        return found


def _first(root: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            return path
    raise VmcoresError(f"no {patterns[0]} in {root}")
