# SPDX-License-Identifier: Apache-2.0
"""A guest: what it boots from, and its life until it is dumped."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import stat
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from .base import VmcoresError, find

_INIT = Path(__file__).parent / "guest" / "init"
#: Emulated, a guest panics in 6 to 18 s on two cores that have nothing else to do; here they have.
PATIENCE_S = 400


class Machine(NamedTuple):
    """What QEMU emulates."""

    architecture: str
    """As Debian calls it."""
    qemu: str
    arguments: tuple[str, ...]
    console: str
    emulator: tuple[str, ...] = ()
    """What runs the architecture's programs here."""


MACHINES = {
    # Never KVM: not every machine that has it can boot these kernels under it, and where it is makes no difference
    # that a test should see. Without la57 the page tables have four levels, as on most hardware.
    "amd64": Machine(
        "amd64", "qemu-system-x86_64", ("-accel", "tcg,thread=multi", "-cpu", "max,-la57"), "ttyS0"
    ),
    "arm64": Machine(
        "arm64", "qemu-system-aarch64",
        ("-machine", "virt,gic-version=3", "-accel", "tcg,thread=multi", "-cpu", "cortex-a57"),
        "ttyAMA0", ("qemu-aarch64",),
    ),
}  # fmt: skip


class Guest(NamedTuple):
    """One boot."""

    name: str
    crash: str
    """"sysrq" or "oops"."""
    hostname: str
    memory: str = "128M"
    formats: tuple[str, ...] = ("elf", "kdump-zlib")
    """Of QMP's dump-guest-memory, once it has panicked."""
    vmcoreinfo: bool = True
    """False: nothing tells QEMU where the kernel has its VMCOREINFO, so the dump has no such note."""
    append: str = ""
    disk: Path | None = None
    last_words: str = "---[ end Kernel panic"


def run(machine: Machine, guest: Guest, kernel: Path, initrd: Path, into: Path) -> None:
    """Boot a guest, wait for its last words on the console, and dump it: `into`/NAME.console.txt, NAME.qemu-FORMAT."""
    console = into / f"{guest.name}.console.txt"
    append = f"console={machine.console} vm.crash={guest.crash} vm.host={guest.hostname} {guest.append}".strip()
    argv = [find(machine.qemu) or machine.qemu, *machine.arguments, "-m", guest.memory, "-smp", "2", "-nodefaults"]
    argv += ["-display", "none", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd), "-append", append]
    argv += ["-serial", f"file:{console}", "-qmp", "stdio"]
    if guest.vmcoreinfo:
        argv += ["-device", "vmcoreinfo"]
    if guest.disk:
        argv += ["-drive", f"file={guest.disk},if=virtio,format=raw"]
    console.write_bytes(b"")
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as qemu:
        try:
            _wait(qemu, console, guest)
            if not guest.disk:  # else the guest has saved itself
                _dump(qemu, guest, into)
        finally:
            qemu.kill()


def _wait(qemu: subprocess.Popen[str], console: Path, guest: Guest) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while guest.last_words.encode() not in console.read_bytes():
        if qemu.poll() is not None or time.monotonic() > deadline:
            why = "ended" if qemu.poll() is not None else f"was still running after {PATIENCE_S} s"
            said = console.read_bytes().decode("utf-8", "replace")
            raise VmcoresError(f"{guest.name} {why} without {guest.last_words!r}: {said[-2000:]}")
        time.sleep(0.1)


def _dump(qemu: subprocess.Popen[str], guest: Guest, into: Path) -> None:
    _command(qemu, "qmp_capabilities")
    _command(qemu, "stop")
    for kind in guest.formats:
        path = into / f"{guest.name}.qemu-{kind}"
        also = {} if kind == "elf" else {"format": kind}
        _command(qemu, "dump-guest-memory", paging=False, protocol=f"file:{path}", **also)
        path.chmod(0o600)
    _command(qemu, "quit")


def _command(qemu: subprocess.Popen[str], name: str, **arguments: object) -> None:
    assert qemu.stdin and qemu.stdout
    qemu.stdin.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
    qemu.stdin.flush()
    for line in qemu.stdout:
        answer = json.loads(line)
        if "error" in answer:
            raise VmcoresError(f"{name}: {answer['error']['desc']}")
        if "return" in answer:  # the others are the greeting and events
            return
    raise VmcoresError(f"{name}: qemu ended")


def initramfs(target: Path, busybox: Path, modules: list[Path], more: dict[str, bytes]) -> None:
    """A compressed cpio of busybox, our init, kernel modules in the order in which they are to be loaded, and `more`
    files by path."""
    files = {"init": _INIT.read_bytes(), "bin/busybox": busybox.read_bytes(), "bin/sh": b"busybox"}
    order = []
    for path in modules:
        name = path.name[: -len(".xz")] if path.suffix == ".xz" else path.name
        files["mods/" + name] = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        order.append(name + "\n")
    files["mods/order"] = "".join(order).encode()
    files.update(more)
    with gzip.GzipFile(str(target), "wb", compresslevel=3, mtime=0) as file:
        file.write(_cpio(files))


def _cpio(files: dict[str, bytes]) -> bytes:
    """The format "newc" (kernel, Documentation/driver-api/early-userspace/buffer-format.rst). All may be executed;
    bin/sh is a link."""
    folders = {"bin", "dev", "mnt", "proc", "sys", "tmp"}
    for name in files:
        folders.update(str(parent) for parent in Path(name).parents if str(parent) != ".")
    members = [(name, stat.S_IFDIR | 0o755, b"") for name in sorted(folders)]
    members += [(name, (stat.S_IFLNK if name == "bin/sh" else stat.S_IFREG) | 0o755, files[name]) for name in files]
    parts = []
    for number, (name, mode, content) in enumerate([*members, ("TRAILER!!!", 0, b"")], 1):
        head = "".join(
            f"{field:08x}" for field in (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        )
        for part in (b"070701" + head.encode() + name.encode() + b"\0", content):
            parts.append(part + bytes(-len(part) % 4))
    return b"".join(parts)


def with_needed(root: Path, release: str, wanted: tuple[str, ...]) -> list[Path]:
    """The files of these modules and of all that they depend on, in the order in which they can be loaded."""
    folder = root / "lib/modules" / release
    files = {_module_name(path): path for path in folder.rglob("*.ko*")}
    built_in = {_module_name(Path(line)) for line in (folder / "modules.builtin").read_text().splitlines()}
    order: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name)
        if name in built_in:
            return
        if path is None:
            raise VmcoresError(f"{release} has no module {name}")
        if path in order:
            return
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        # .modinfo: strings, each ended by a zero byte (include/linux/moduleparam.h).
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends.group(1).decode().split(",") if depends and depends.group(1) else ():
            add(other.replace("-", "_"))
        order.append(path)

    for name in wanted:
        add(name)
    return order


def _module_name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")
