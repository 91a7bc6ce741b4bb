# SPDX-License-Identifier: Apache-2.0
"""What is compiled for, and what is booted."""
from typing import Dict, NamedTuple, Tuple

SUITE = "trixie"


class Target(NamedTuple):
    """One ABI: what compiles for it and where its libraries lie in a Debian system."""

    triple: str
    machine: str
    """The name our documents use (model.Dump.machine)."""
    multiarch: str
    package: str
    """Debian's name in libc6-dev-NAME-cross; empty if the compiler's package brings it along."""
    pie: bool = True
    """False: the dynamic program is an ET_EXEC. i386: the cross ld 2.44 turns `push main@GOT` of Scrt1.o into a jump."""
    dynamic: bool = True


class Boot(NamedTuple):
    """One kernel and the emulated machine it runs on."""

    arch: str
    """Debian's architecture."""
    suite: str
    meta: str
    """The package whose dependency is the newest kernel; or "build:NAME", see kernels.py."""
    init: str
    """The target init.c is compiled for."""
    qemu: str
    targets: Tuple[str, ...]


TARGETS: Dict[str, Target] = {
    "x86_64": Target("x86_64-linux-gnu", "x86_64", "x86_64-linux-gnu", ""),
    "i386": Target("i686-linux-gnu", "i386", "i386-linux-gnu", "i386", pie=False),
    "x32": Target("x86_64-linux-gnux32", "x32", "x86_64-linux-gnux32", "x32"),
    "aarch64": Target("aarch64-linux-gnu", "aarch64", "aarch64-linux-gnu", "arm64"),
    "arm": Target("arm-linux-gnueabihf", "arm", "arm-linux-gnueabihf", "armhf"),
    "riscv64": Target("riscv64-linux-gnu", "riscv64", "riscv64-linux-gnu", "riscv64"),
    "ppc64le": Target("powerpc64le-linux-gnu", "ppc64le", "powerpc64le-linux-gnu", "ppc64el"),
    "ppc64": Target("powerpc64-linux-gnu", "ppc64", "powerpc64-linux-gnu", "ppc64"),
    "s390x": Target("s390x-linux-gnu", "s390x", "s390x-linux-gnu", "s390x"),
    "mips64el": Target("mips64el-linux-gnuabi64", "mips64el", "mips64el-linux-gnuabi64", "mips64el"),
    "mips": Target("mips-linux-gnu", "mips", "mips-linux-gnu", "mips"),
    "sparc64": Target("sparc64-linux-gnu", "sparc64", "sparc64-linux-gnu", "sparc64"),
    "loongarch64": Target("loongarch64-linux-gnu", "loongarch64", "loongarch64-linux-gnu", "loong64"),
}

BOOTS: Dict[str, Boot] = {
    "amd64": Boot("amd64", SUITE, "linux-image-amd64", "x86_64",
                  "qemu-system-x86_64 -M q35 -cpu max,-la57 -append 'console=ttyS0 syscall.x32=y {cmdline}'",
                  ("x86_64", "i386", "x32")),
    "i686": Boot("i386", "bookworm", "linux-image-686", "i386",
                 "qemu-system-i386 -M pc -cpu max -append 'console=ttyS0 {cmdline}'", ("i386",)),
    "arm64": Boot("arm64", SUITE, "linux-image-arm64", "aarch64",
                  "qemu-system-aarch64 -M virt -cpu cortex-a72 -append 'console=ttyAMA0 {cmdline}'", ("aarch64", "arm")),
    "armhf": Boot("armhf", SUITE, "linux-image-armmp-lpae", "arm",
                  "qemu-system-arm -M virt -cpu cortex-a15 -append 'console=ttyAMA0 {cmdline}'", ("arm",)),
    "riscv64": Boot("riscv64", SUITE, "linux-image-riscv64", "riscv64",
                    "qemu-system-riscv64 -M virt -append 'console=ttyS0 {cmdline}'", ("riscv64",)),
    "ppc64el": Boot("ppc64el", SUITE, "linux-image-powerpc64le", "ppc64le",
                    "qemu-system-ppc64 -M pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off "
                    "-append 'console=hvc0 {cmdline}'", ("ppc64le",)),
    "s390x": Boot("s390x", SUITE, "linux-image-s390x", "s390x",
                  "qemu-system-s390x -M s390-ccw-virtio -append '{cmdline}'", ("s390x",)),
    "mips64el": Boot("mips64el", "bookworm", "linux-image-5kc-malta", "mips64el",
                     "qemu-system-mips64el -M malta -cpu 5KEf -append 'console=ttyS0 {cmdline}'", ("mips64el",)),
    "loong64": Boot("loong64", "sid", "linux-image-loong64", "loongarch64",
                    "qemu-system-loongarch64 -M virt -append 'console=ttyS0,115200 {cmdline}'", ("loongarch64",)),
}
