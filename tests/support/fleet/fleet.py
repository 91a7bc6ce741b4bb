# SPDX-License-Identifier: Apache-2.0
"""The fleet as a whole: brings hosts up, writes the inventory, takes everything down again."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import boot, network, roots
from .base import FleetError, call, tool
from .host import Host, HostSpec, default_hosts, kill, ssh_options

if TYPE_CHECKING:
    from typing_extensions import Self

_STATE = "state.json"
#: All that `up` writes into the fleet's folder, and `down` takes away again.
_OURS = (_STATE, "built", "cp", "id", "id.pub", "inventory.yml", "keys", "known_hosts", "layers", "log")


class Fleet:
    """Hosts by name in `hosts` once it is up. Use it as a context manager, or call `up` and `down`.

    `directory` is made if need be; its path should be short, since ssh's control sockets (at most 108 bytes) lie in it.
    """

    def __init__(self, directory: str | os.PathLike[str], specs: Sequence[HostSpec] | int = 3) -> None:
        self.directory = Path(directory).absolute()
        self.specs = default_hosts(specs) if isinstance(specs, int) else tuple(specs)
        self.hosts: dict[str, Host] = {}
        #: The login user's password where sudo asks for one: with what a careless command line would trip over.
        self.password = f'it\'s $5 "a" \\piece {secrets.token_hex(8)}'
        self._processes: list[subprocess.Popen[str]] = []
        self._link = ""
        self._switch = 0

    @property
    def inventory(self) -> Path:
        """The inventory file (JSON, which is YAML): group `fleet`, with all that a login and sudo need."""
        return self.directory / "inventory.yml"

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> Self:
        """Bring everything up, sshd answering in every host; what was built is taken down again on an error."""
        if os.geteuid():
            raise FleetError("a fleet needs root: it makes network and mount namespaces, and its dumps are root's")
        if str(self.directory) in fleets().values():
            raise FleetError(f"a fleet is up in {self.directory}; take it down first")
        if (self.directory / "layers").exists():  # a run was killed here
            down(self.directory)
        names = [spec.name for spec in self.specs]
        if len(set(names)) != len(names) or not 1 <= len(names) <= 20 or any(len(name) > 15 for name in names):
            raise FleetError(f"1 to 20 hosts, with names of at most 15 letters (a link bears them), each once: {names}")
        self.directory.mkdir(parents=True, exist_ok=True)
        atexit.register(self.down)
        try:
            self._up()
        except BaseException:
            self.down()
            raise
        return self

    def _up(self) -> None:
        for folder in ("layers", "keys", "cp"):
            (self.directory / folder).mkdir(mode=0o700)
        bases = {spec.release: roots.base(spec.release) for spec in self.specs}
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", str(self.directory / "id"))
        enter = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        self._switch = self._begin(enter, boot.SWITCH, "savedump-fleet", str(self.directory))
        self._link, subnet = network.connect_machine(self._switch, str(self.directory))
        self._save()
        for number, spec in enumerate(self.specs):
            host = self._boot(spec, bases[spec.release], str(subnet[11 + number]), str(subnet[1]))
            self.hosts[spec.name] = host
        for host in self.hosts.values():
            host.start()
        self._write_inventory()
        self._save()

    def _boot(self, spec: HostSpec, lower: str, address: str, gateway: str) -> Host:
        key = self.directory / "keys" / spec.name
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", spec.name, "-f", str(key))
        with open(self.directory / "known_hosts", "a") as known:
            known.write(f"{address} {' '.join(Path(f'{key}.pub').read_text().split()[:2])}\n")
        shown = () if spec.python.startswith("/usr/bin/") else (_prefix_of(spec.python),)
        layers = self.directory / "layers" / spec.name
        public = (self.directory / "id.pub").read_text()
        in_switch = Path(f"/proc/{self._switch}/root{layers}")
        roots.prepare(in_switch, lower, spec.name, spec.ask_password, public, key, shown)
        enter = ["nsenter", "--target", str(self._switch), "--mount", "--net", "--pid", "--"]
        enter += [tool("unshare"), "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        init = self._begin(enter, boot.HOST, "savedump-fleet-host", lower, str(layers), spec.name, *shown)
        network.connect_host(self._switch, init, spec.name, address, gateway)
        host = Host(spec.name, address, spec, init, self._switch, lower, self.directory)
        if spec.ask_password:
            host.run("chpasswd", "--crypt-method", "SHA512", input=f"{roots.LOGIN}:{self.password}\n")
        return host

    def _begin(self, enter: list[str], script: str, name: str, *arguments: str) -> int:
        """Start a first process in new namespaces; returns its pid, as the machine counts, once it is ready."""
        argv = [tool(enter[0]), *enter[1:], "/bin/sh", "-c", script, name, *arguments]
        log = self.directory / "log"
        with log.open("a") as words:
            process = subprocess.Popen(
                argv,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                start_new_session=True,  # Ctrl-C at a terminal is for pytest, which then takes the fleet down
            )
        self._processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise FleetError(f"{name} did not start: {log.read_text().strip()[-1000:]}")
        return int(line)

    def _write_inventory(self) -> None:
        hosts: dict[str, dict[str, object]] = {}
        for host in self.hosts.values():
            variables: dict[str, object] = {"ansible_host": host.address}
            variables["ansible_python_interpreter"] = host.spec.python
            if host.spec.ask_password:
                variables["ansible_become_password"] = self.password
            hosts[host.name] = variables
        common = {
            "ansible_user": roots.LOGIN,
            "ansible_ssh_private_key_file": str(self.directory / "id"),
            "ansible_ssh_common_args": " ".join(ssh_options(self.directory)),
            "ansible_control_path_dir": str(self.directory / "cp"),
            "ansible_host_key_checking": True,
        }
        self._private("inventory.yml", json.dumps({"fleet": {"hosts": hosts, "vars": common}}, indent=2) + "\n")

    def _save(self) -> None:
        state = {
            "switch": self._switch,
            "link": self._link,
            "password": self.password,
            "hosts": {
                host.name: {
                    "address": host.address,
                    "init": host.init,
                    "lower": host.lower,
                    "spec": host.spec._asdict(),
                }
                for host in self.hosts.values()
            },
        }
        self._private(_STATE, json.dumps(state, indent=2) + "\n")

    def _private(self, name: str, text: str) -> None:
        with open(self.directory / name, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)

    def stay(self) -> None:
        """Let the fleet outlive this process; `down` with its folder ends it."""
        switch = self._processes[0].stdin
        assert switch is not None
        switch.write("stay\n")
        switch.flush()
        atexit.unregister(self.down)

    def down(self) -> None:
        """Take everything down and remove what the fleet wrote. A second call does nothing."""
        atexit.unregister(self.down)
        if self._switch or self._processes:
            _end(self.directory, self._switch, self._link)
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
        self._processes, self.hosts, self._switch, self._link = [], {}, 0, ""
        _remove(self.directory)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Fleet:
        """The running fleet that was made in `directory` by another process and told to `stay`."""
        path = Path(directory).absolute() / _STATE
        if not path.exists():
            raise FleetError(f"no fleet in {path.parent}: there is no {_STATE}")
        state = json.loads(path.read_text())
        specs = [HostSpec(**host["spec"]) for host in state["hosts"].values()]
        fleet = cls(directory, specs)
        fleet.password, fleet._switch, fleet._link = state["password"], state["switch"], state["link"]
        fleet.hosts = {
            name: Host(
                name,
                host["address"],
                HostSpec(**host["spec"]),
                host["init"],
                state["switch"],
                host["lower"],
                fleet.directory,
            )
            for name, host in state["hosts"].items()
        }
        return fleet


def fleets() -> dict[str, str]:
    """The folders of all fleets that run on this machine, by the name of the machine's link into each."""
    return {link: directory for link, (_, directory) in network.links().items()}


def down(directory: str | os.PathLike[str]) -> None:
    """Take down whatever fleet there is in `directory`: running, half made, or left by a run that was killed."""
    directory = Path(directory).absolute()
    switch, link = 0, ""
    for name, (pid, folder) in network.links().items():
        if folder == str(directory):
            switch, link = pid, name
    if not link and (directory / _STATE).exists():
        state = json.loads((directory / _STATE).read_text())
        switch, link = state["switch"], state["link"]
    _end(directory, switch, link)
    _remove(directory)


def _end(directory: Path, switch: int, link: str) -> None:
    """End ssh's connection sharers, the link and the switch, with which every process of the fleet ends."""
    for socket in directory.glob("cp/*"):
        subprocess.run(
            [tool("ssh"), "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "fleet"],
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
        )
    if link:
        network.disconnect_machine(link)
    if switch and _is_switch(switch, directory):
        kill(switch)


def _is_switch(pid: int, directory: Path) -> bool:
    """Whether `pid` is still the switch of the fleet in `directory`; its number may serve another process by now."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"savedump-fleet" in words and os.fsencode(directory) in words


def _prefix_of(python: str) -> str:
    """The folder that holds an interpreter and its standard library."""
    return os.path.realpath(call(python, "-c", "import sys; print(getattr(sys, 'base_prefix', sys.prefix))").strip())


def _remove(directory: Path) -> None:
    for name in _OURS:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
