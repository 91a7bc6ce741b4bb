# SPDX-License-Identifier: Apache-2.0
"""The recipe: from Debian's packages to a folder of dumps. What can be done side by side is: a guest's first seconds
are single-threaded, and so is the unpacking of 6 GB of debug information."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Callable, NamedTuple

from . import formats, guest
from .base import VmcoresError, call
from .guest import MACHINES, Guest
from .packages import Packages, Programs

#: Drivers, a dash in a file's name, dependencies, a large one, one with per-cpu data.
_MODULES = (
    "qemu_fw_cfg", "virtio_pci", "virtio_blk", "virtio_net", "dummy", "loop", "overlay", "crc32c_intel", "nf_conntrack",
    "xfs", "zram",
)  # fmt: skip
_CAPTURE_MODULES = ("virtio_pci", "virtio_blk")
_LIBRARIES = ("libc6", "libbz2-1.0", "libdw1", "libelf1", "liblzma5", "liblzo2-2", "libzstd1", "zlib1g")
#: What kexec is linked with.
_XEN = (
    "libxencall1", "libxendevicemodel1", "libxenevtchn1", "libxenforeignmemory1", "libxengnttab1", "libxenmisc4.17",
    "libxentoolcore1", "libxentoollog1",
)  # fmt: skip
_HOSTNAME = "prod-db-01.example.net"


class Kernel(NamedTuple):
    """A kernel of Debian's and what is done with it."""

    series: str
    suite: str
    architecture: str
    make: Callable[[Workshop], None]


class Workshop:
    """The folder that is being filled, what it is made with, and work that goes on meanwhile."""

    def __init__(self, kernel: Kernel, into: Path, pool: ThreadPoolExecutor) -> None:
        self.machine = MACHINES[kernel.architecture]
        self.dumps = into / "vmcores"
        self.build = into / "build"
        self._pool = pool
        self._running: list[Future[None]] = []
        for folder in (self.dumps, self.build):
            folder.mkdir()
        suites = tuple(sorted({kernel.suite, "bookworm", "trixie"}))
        self.packages = Packages(self.build / "apt", suites, kernel.architecture)
        series = kernel.series.replace(".", r"\.")
        image = rf"linux-image-{series}\.\S+-cloud-{kernel.architecture}"
        known = set(self.packages.names(image + "(-dbg)?"))
        with_symbols = [name for name in self.packages.names(image) if name + "-dbg" in known]
        if not with_symbols:
            raise VmcoresError(f"the mirror has no {series} cloud kernel with its debug symbols")
        self.image = with_symbols[-1]
        self.release = self.image[len("linux-image-") :]
        self.root = into / "root" / self.release
        # As on every system of today, where /lib is a link.
        (self.root / "usr/lib").mkdir(parents=True)
        (self.root / "lib").symlink_to("usr/lib")
        self.kernel = self.root / "boot" / f"vmlinuz-{self.release}"
        self.tools = self.build / "tools"
        self.busybox = self.tools / "bin/busybox"

    @property
    def programs(self) -> Programs:
        return Programs(self.tools, self.machine.emulator)

    def start(self, work: Callable[..., None], *arguments: object) -> None:
        """Have something done meanwhile; finish() says if it failed."""
        self._running.append(self._pool.submit(work, *arguments))

    def finish(self) -> None:
        for future in self._running:
            future.result()

    def unpack(self) -> None:
        """The kernel, its debug symbols (meanwhile), and the programs."""
        image, symbols, tools, newer = (
            self.packages.fetch(names)
            for names in (
                [self.image],
                [self.image + "-dbg"],
                [f"{name}/bookworm" for name in ("busybox-static", "makedumpfile", *_LIBRARIES)],
                ["makedumpfile/trixie"],
            )
        )
        self.start(_extract, symbols, self.root)
        _extract(image, self.root)
        _extract(tools, self.tools)
        _extract(newer, self.tools / "zstd")

    def initramfs(self, name: str, modules: tuple[str, ...], more: dict[str, bytes]) -> Path:
        target = self.build / f"{name}.initrd.gz"
        guest.initramfs(target, self.busybox, guest.with_needed(self.root, self.release, modules), more)
        return target

    def run(self, one: Guest, initrd: Path) -> None:
        guest.run(self.machine, one, self.kernel, initrd, self.dumps)


def make(kernel: Kernel, into: Path) -> None:
    """Fill the folder `into`: vmcores/ and root/RELEASE/. Raises VmcoresError."""
    with ThreadPoolExecutor(3) as pool:
        workshop = Workshop(kernel, into, pool)
        workshop.unpack()
        kernel.make(workshop)
        workshop.finish()
    shutil.rmtree(workshop.build)


def _extract(archives: list[Path], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        call("dpkg-deb", "--extract", str(archive), str(into))
        archive.unlink()


def _all_of_61(shop: Workshop) -> None:
    _build_oopsmod(shop)
    shop.start(_true_kdump, shop)
    initrd = shop.initramfs("main", (*_MODULES, "oopsmod"), {})
    for name, crash in (("sysrq61", "sysrq"), ("oops61", "oops")):
        shop.run(Guest(name, crash, _HOSTNAME), initrd)
        formats.convert(shop.programs, name, shop.dumps, formats.OLD)
    formats.compress(shop.dumps / "oops61.mdf.zlib.d31.flat")
    for name, size in (("zlib.d31", 9_000_000), ("zlib.d31.flat", 9_000_000), ("elf.d31", 30_000_000)):
        formats.cut(shop.dumps / f"oops61.mdf.{name}", shop.dumps / "trunc" / f"{name}.cut", size)
    shop.run(Guest("novmci61", "sysrq", _HOSTNAME, vmcoreinfo=False), initrd)


def _build_oopsmod(shop: Workshop) -> None:
    """As DKMS does: from the headers' packages, stripped into updates/dkms; whole as a debug package would have it."""
    headers = f"linux-headers-{shop.release}"
    needed = [name for name in shop.packages.needs(headers) if name.startswith(("linux-headers-", "linux-kbuild-"))]
    tree, source = shop.build / "headers", shop.build / "oopsmod"
    _extract(shop.packages.fetch([headers, *needed]), tree)
    makefile = tree / "usr/src" / headers / "Makefile"
    # It includes the common headers' Makefile by an absolute path.
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{tree}/usr/src/"))
    source.mkdir()
    shutil.copy(Path(__file__).parent / "guest" / "oopsmod.c", source)
    (source / "Makefile").write_text("obj-m := oopsmod.o\n")
    flags = f"KCFLAGS=-ffile-prefix-map={source}=/usr/src/oopsmod-1.2.3"
    call("make", "-s", "-C", str(makefile.parent), f"M={source}", "CC=gcc", flags, "modules")
    for top in ("usr/lib/debug/lib/modules", "lib/modules"):
        folder = shop.root / top / shop.release / "updates/dkms"
        folder.mkdir(parents=True)
        shutil.copy(source / "oopsmod.ko", folder)
    call("strip", "--strip-debug", str(folder / "oopsmod.ko"))


def _true_kdump(shop: Workshop) -> None:
    """A kernel with a crash kernel beside it, which writes /proc/vmcore to a disk in every way that we know."""
    _extract(shop.packages.fetch([f"{name}/bookworm" for name in ("kexec-tools", *_XEN)]), shop.tools)
    programs = shop.programs
    capture: dict[str, bytes] = {}
    for name, path in (("makedumpfile", formats.OLD), ("makedumpfile-zstd", formats.NEW)):
        capture.update(programs.files(path))
        capture["bin/" + name] = (shop.tools / path).read_bytes()
    main = programs.files("sbin/kexec")
    main["bin/kexec"] = (shop.tools / "sbin/kexec").read_bytes()
    main["kdump/vmlinuz"] = shop.kernel.read_bytes()
    main["kdump/initrd.gz"] = shop.initramfs("capture", _CAPTURE_MODULES, capture).read_bytes()
    disk, found = shop.build / "kdump.disk", shop.dumps / "kdump61.kdump"
    with disk.open("wb") as file:
        file.truncate(800 << 20)
    call("mkfs.ext4", "-q", "-O", "^metadata_csum", str(disk))
    one = Guest(
        "kdump61", "oops", "kdump-host.example.org", memory="512M", append="crashkernel=160M", disk=disk,
        last_words="VM-CAPTURE done",
    )  # fmt: skip
    modules = tuple(name for name in _MODULES if name != "virtio_blk") + ("oopsmod",)
    shop.run(one, shop.initramfs("kdump", modules, main))
    said = (shop.dumps / "kdump61.console.txt").read_bytes().decode("utf-8", "replace")
    for name in ("debian", "rhel", "suse", "elf", "raw"):
        if f"VM-CAPTURE {name} rc=0" not in said:
            raise VmcoresError(f"the crash kernel saved no {name}: {said[-2000:]}")
    found.mkdir()
    call("debugfs", "-R", "rdump / .", str(disk), cwd=found)
    shutil.rmtree(found / "lost+found", ignore_errors=True)
    disk.unlink()


def _sysrq_of_612(shop: Workshop) -> None:
    modules = tuple(name for name in _MODULES if name != "crc32c_intel")
    shop.run(Guest("sysrq612", "sysrq", _HOSTNAME, memory="160M"), shop.initramfs("main", modules, {}))
    formats.convert(shop.programs, "sysrq612", shop.dumps, formats.NEW)


def _sysrq_on_arm64(shop: Workshop) -> None:
    modules = tuple(name for name in _MODULES if name != "crc32c_intel")
    shop.run(Guest("sysrq61arm64", "sysrq", _HOSTNAME), shop.initramfs("main", modules, {}))
    formats.convert(shop.programs, "sysrq61arm64", shop.dumps, formats.OLD)


KERNELS = {
    "6.1": Kernel("6.1", "bookworm", "amd64", _all_of_61),
    "6.12": Kernel("6.12", "trixie", "amd64", _sysrq_of_612),
    "6.1-arm64": Kernel("6.1", "bookworm", "arm64", _sysrq_on_arm64),
}
