# SPDX-License-Identifier: Apache-2.0
"""What is compiled for, and what is booted."""
from typing import Dict, NamedTuple, Tuple

SUITE = "trixie"


class Target(NamedTuple):
    """One ABI: what compiles for it and where its libraries lie in a Debian system."""

    triple: str
    machine: str
    """The name savedump's documents use (model.Dump.machine)."""
    package: str = ""
    """Debian's name in libc6-dev-NAME-cross; empty if another target's compiler does."""
    multiarch: str = ""
    """Where Debian keeps its libraries; empty: there are none, only the program without a library is made."""
    pie: bool = True
    """False: the dynamic program is an ET_EXEC. i386: the cross ld 2.44 turns Scrt1.o's `push main@GOT` into a jump."""
    flags: str = ""
    """What the compiler needs to make code for this ABI."""
    page: int = 4096
    """The booted kernel's page size. No more than that, so that a file's segments share pages and cores stay tiny."""

    @property
    def dynamic(self) -> bool:
        return bool(self.multiarch)


class Boot(NamedTuple):
    """One kernel and the emulated machine it runs on."""

    init: str
    """The target that init.c is compiled for: the kernel's own ABI."""
    targets: Tuple[str, ...]
    """All ABIs whose programs it is to run; those beside `init` go through the compat layer."""
    qemu: str
    command_line: str
    arch: str = ""
    """Debian's architecture of the kernel package; empty: the kernel is built here, see `config`."""
    package: str = ""
    """The meta package that depends on the newest kernel."""
    suite: str = SUITE
    config: str = ""
    """kernels/NAME.config, with kernels/common.config, for `make alldefconfig` of Debian's linux-source."""
    linux_arch: str = ""
    """The kernel tree's ARCH=."""


def _same(triple: str, machine: str, package: str, pie: bool = True, page: int = 4096) -> Target:
    return Target(triple, machine, package, triple.replace("i686", "i386"), pie, page=page)


TARGETS: Dict[str, Target] = {
    "x86_64": Target("x86_64-linux-gnu", "x86_64", "", "x86_64-linux-gnu"),
    "i386": _same("i686-linux-gnu", "i386", "i386", pie=False),
    "x32": _same("x86_64-linux-gnux32", "x32", "x32"),
    "aarch64": _same("aarch64-linux-gnu", "aarch64", "arm64"),
    "arm": _same("arm-linux-gnueabihf", "arm", "armhf"),
    "armeb": Target("arm-linux-gnueabihf", "arm", flags="-mbig-endian"),
    "aarch64_be": Target("aarch64-linux-gnu", "aarch64", flags="-mbig-endian"),
    "riscv64": _same("riscv64-linux-gnu", "riscv64", "riscv64"),
    "ppc64le": _same("powerpc64le-linux-gnu", "ppc64le", "ppc64el"),
    "ppc64": _same("powerpc64-linux-gnu", "ppc64", "ppc64", page=65536),
    "ppc": Target("powerpc64-linux-gnu", "ppc", flags="-m32", page=65536),
    "s390x": _same("s390x-linux-gnu", "s390x", "s390x"),
    "s390": Target("s390x-linux-gnu", "s390", flags="-m31"),
    "mips64el": _same("mips64el-linux-gnuabi64", "mips64el", "mips64el"),
    "mipsn32el": Target("mips64el-linux-gnuabi64", "mipsel", flags="-mabi=n32"),
    "mipsel": Target("mips64el-linux-gnuabi64", "mipsel", flags="-mabi=32"),
    "loongarch64": _same("loongarch64-linux-gnu", "loongarch64", "loong64", page=16384),
}

_PSERIES = "qemu-system-ppc64 -M pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
BOOTS: Dict[str, Boot] = {
    "amd64": Boot("x86_64", ("x86_64", "i386", "x32"), "qemu-system-x86_64 -M q35 -cpu max,-la57",
                  "console=ttyS0 syscall.x32=y", "amd64", "linux-image-amd64"),
    "i686": Boot("i386", ("i386",), "qemu-system-i386 -M pc -cpu max", "console=ttyS0", "i386", "linux-image-686",
                 "bookworm"),
    "arm64": Boot("aarch64", ("aarch64", "arm"), "qemu-system-aarch64 -M virt -cpu cortex-a72", "console=ttyAMA0",
                  "arm64", "linux-image-arm64"),
    "armhf": Boot("arm", ("arm",), "qemu-system-arm -M virt -cpu cortex-a15", "console=ttyAMA0", "armhf",
                  "linux-image-armmp-lpae"),
    "riscv64": Boot("riscv64", ("riscv64",), "qemu-system-riscv64 -M virt", "console=ttyS0", "riscv64",
                    "linux-image-riscv64"),
    "ppc64el": Boot("ppc64le", ("ppc64le",), _PSERIES, "console=hvc0", "ppc64el", "linux-image-powerpc64le"),
    "s390x": Boot("s390x", ("s390x", "s390"), "qemu-system-s390x -M s390-ccw-virtio", "", "s390x", "linux-image-s390x"),
    "mips64el": Boot("mips64el", ("mips64el", "mipsn32el", "mipsel"), "qemu-system-mips64el -M malta -cpu 5KEf",
                     "console=ttyS0", "mips64el", "linux-image-5kc-malta", "bookworm"),
    "loong64": Boot("loongarch64", ("loongarch64",), "qemu-system-loongarch64 -M virt",
                    # There is no keyboard controller behind the ports that the driver tries.
                    "console=ttyS0,115200 initcall_blacklist=i8042_init",
                    "loong64", "linux-image-loong64", "sid"),
    # Debian has no kernels of these in its archive: built from its linux-source package.
    "ppc64": Boot("ppc64", ("ppc64", "ppc"), _PSERIES, "console=hvc0", config="ppc64", linux_arch="powerpc"),
}

# Nobody builds a kernel of these any more: their cores are qemu-user's own, which have neither NT_FILE nor NT_SIGINFO.
USER_MODE: Dict[str, str] = {"armeb": "qemu-armeb", "aarch64_be": "qemu-aarch64_be"}
