# SPDX-License-Identifier: Apache-2.0
"""One host of a fleet: how to run things in it, and how to make its life hard."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import network
from .base import FleetError, tool
from .crash import Crash, crash_in, gdb
from .roots import LOGIN

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


class HostSpec(NamedTuple):
    """What a host shall be."""

    name: str
    #: Debian release of its file tree ("bullseye"); None: an overlay of the machine's own.
    release: str | None = None
    #: Whether sudo asks the login user for a password.
    ask_password: bool = False
    #: Path of the Python that Ansible shall use; one outside of /usr is shown to the host, at the same path.
    python: str = "/usr/bin/python3"


def default_hosts(count: int, release: str | None = "bullseye", pythons: Sequence[str] = ()) -> tuple[HostSpec, ...]:
    """`count` hosts: the second has the other release's root, the last a sudo that asks, the rest the machine's tree.

    `pythons` are handed out in order to the hosts that share the machine's tree, the first taking up again at the end.
    """
    if not 1 <= count <= 20:
        raise FleetError(f"a fleet has 1 to 20 hosts, not {count}")
    specs, next_python = [], 0
    for number in range(1, count + 1):
        spec = HostSpec(f"host{number}", release if number == 2 else None, number == count)
        if pythons and spec.release is None:
            spec = spec._replace(python=pythons[next_python % len(pythons)])
            next_python += 1
        specs.append(spec)
    return tuple(specs)


@dataclasses.dataclass(frozen=True)
class Host:
    """A running host. Everything here acts as root of the machine, past the host's sshd, unless it says otherwise."""

    name: str
    address: str
    spec: HostSpec
    #: Process ids, as the machine sees them, of the host's init and of the switch.
    init: int
    switch: int
    #: The base of the host's overlay, which a compiler on the machine may take for its sysroot.
    lower: str
    #: The fleet's folder: keys, inventory, things built for the hosts.
    directory: Path

    @property
    def _port(self) -> str:
        return self.name

    def path(self, name: str) -> Path:
        """Where the machine sees the host's file `name`. An absolute link on the way would lead back to the machine."""
        return Path(f"/proc/{self.init}/root") / name.lstrip("/")

    def run(
        self, *argv: str, check: bool = True, input: str | None = None, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside as root; a single word is a shell script. Decodes output as UTF-8 with surrogates."""
        command = ["/bin/sh", "-c", argv[0]] if len(argv) == 1 else list(argv)
        enter = [tool("nsenter"), "--target", str(self.init), "--mount", "--net", "--pid", "--uts", "--ipc", "--"]
        stdin = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done = subprocess.run(
            enter + command,
            env=_ENVIRONMENT,
            cwd="/",
            text=True,
            check=False,
            capture_output=True,
            timeout=timeout,
            encoding="utf-8",
            errors="surrogateescape",
            **stdin,
        )
        if check and done.returncode:
            words = done.stderr.strip() or done.stdout.strip()
            raise FleetError(f"{self.name}: {argv}: exit {done.returncode}: {words}")
        return done

    def ssh(self, command: str, check: bool = True, timeout: float | None = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command as the login user, over ssh, with the fleet's key and known hosts."""
        argv = [
            tool("ssh"),
            *ssh_options(self.directory),
            "-i",
            str(self.directory / "id"),
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
            f"{LOGIN}@{self.address}",
            command,
        ]
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            capture_output=True,
            timeout=timeout,
            encoding="utf-8",
            errors="surrogateescape",
        )
        if check and done.returncode:
            raise FleetError(f"{self.name}: ssh {command!r}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def crash(self, directory: str = "/var/crash", program: str = "report", data_mib: int = 0) -> Crash:
        """Let the kernel dump a real core, owned by root, of `program` (see `crash.SOURCES`) running in `directory`.

        The dump holds `data_mib` MiB of data that does not compress.
        """
        return crash_in(self, directory, program, data_mib)

    def gdb(self, crash: Crash, *commands: str) -> str:
        """What gdb says of a crash here, where all the files are, to these commands."""
        return gdb(self, crash, *commands)

    def cut_link(self) -> None:
        """Pull the cable: packets are lost both ways until `restore_link`; open connections stay open."""
        network.in_switch(self.switch, "ip", "link", "set", self._port, "down")

    def restore_link(self) -> None:
        """Plug the cable in again, at full speed."""
        for pid, device in ((self.switch, self._port), (self.init, "eth0")):
            network.unshape(pid, device)
        network.in_switch(self.switch, "ip", "link", "set", self._port, "up")

    def slow_link(self, rate: str) -> None:
        """Limit both directions to `rate`, in tc's words ("8mbit"), until `restore_link`."""
        for pid, device in ((self.switch, self._port), (self.init, "eth0")):
            network.shape(pid, device, rate)

    def bytes_sent(self) -> int:
        """Bytes that the host's network card has sent since it came up, headers and all."""
        return network.counters(self.switch, self._port)[0]

    def bytes_received(self) -> int:
        """Bytes that the host's network card has received since it came up."""
        return network.counters(self.switch, self._port)[1]

    def small_disk(self, where: str, size: str = "1m") -> None:
        """Mount an empty file system of `size` over the folder `where`, so that it is soon full."""
        self.run("mkdir", "-p", where)
        self.run("mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "small", where)

    def fill_disk(self, where: str) -> None:
        """Write until the file system of the folder `where` has no byte left. Only for a `small_disk`."""
        if (
            self.run("stat", "--file-system", "--format=%T", where).stdout.strip() != "tmpfs"
            or self.run("mountpoint", "--quiet", where, check=False).returncode
        ):
            raise FleetError(f"{self.name}: {where} is no small_disk; filling it could fill the machine's memory")
        self.run(f"dd if=/dev/zero of='{where}/filler' bs=4096 2>/dev/null; true")

    def stop(self) -> None:
        """Take the host down: every process but its init is killed and its cable pulled; its files stay."""
        self.run("kill -KILL -1", check=False)
        self.cut_link()

    def start(self) -> None:
        """Boot: cable in, sshd up and answering."""
        self.restore_link()
        self.run("/usr/sbin/sshd", "-f", "/etc/fleet/sshd_config")
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection((self.address, 22), timeout=5) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise FleetError(f"{self.name}: no sshd on {self.address} after 20 s; see the log in {self.directory}")
            time.sleep(0.02)

    def alive(self) -> bool:
        """Whether the host's init still runs."""
        try:
            os.kill(self.init, 0)
        except ProcessLookupError:
            return False
        return True


def ssh_options(directory: Path) -> list[str]:
    """ssh's arguments that hold a connection to the fleet's own files: no user's config, host keys checked."""
    settings = (
        f"UserKnownHostsFile={directory}/known_hosts",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
    )
    return ["-F", "none"] + [word for setting in settings for word in ("-o", setting)]


def kill(pid: int) -> None:
    """SIGKILL a process and wait until it is gone; one that is gone already is fine."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise FleetError(f"process {pid} does not die")
