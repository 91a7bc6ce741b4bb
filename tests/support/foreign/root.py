# SPDX-License-Identifier: Apache-2.0
"""The Debian root in which everything is compiled and run, and the kernels in it."""
import os
import re
import shutil
import struct
import subprocess

from targets import BOOTS, SUITE, TARGETS, Boot

HERE = os.path.dirname(os.path.abspath(__file__))
MIRROR = "http://deb.debian.org/debian"
LINUX_SOURCE = "linux-source-6.12"
PACKAGES = """ca-certificates cpio xz-utils gcc libc6-dev binutils elfutils
    qemu-system-arm qemu-system-mips qemu-system-misc qemu-system-ppc qemu-system-riscv qemu-system-s390x
    qemu-system-x86 qemu-user ipxe-qemu opensbi seabios
    zstd make bc flex bison libelf-dev libssl-dev perl python3-minimal """ + LINUX_SOURCE


class Root:
    """A Debian root and what is done in it. Everything runs at the lowest priority."""

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self, command: str, output: bool = False, directory: str = "/build") -> str:
        """Run a shell command in the root; raises CalledProcessError."""
        script = "export DEBIAN_FRONTEND=noninteractive LC_ALL=C; cd %s; %s" % (directory, command)
        done = subprocess.run(["chroot", self.path, "nice", "-n", "15", "sh", "-ec", script], check=True,
                              stdout=subprocess.PIPE if output else None)
        return done.stdout.decode() if output else ""

    def host(self, path: str) -> str:
        """The path on this host of an absolute path in the root, links resolved within the root."""
        return self.path + self.run("readlink -f %s" % path, output=True).strip()

    def make(self) -> None:
        """Debootstrap and install; what is there already is kept."""
        if not os.path.exists(self.path + "/etc/debian_version"):
            subprocess.run(["nice", "-n", "15", "debootstrap", "--variant=minbase", SUITE, self.path, MIRROR],
                           check=True)
        os.makedirs(self.path + "/build", exist_ok=True)
        packaged = [boot for boot in BOOTS.values() if boot.arch]
        # A mirror's copy of sid may be older than its Release file allows; the signature still is checked.
        options = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no"
        with open(self.path + "/etc/apt/sources.list", "w") as sources:
            for suite in sorted({boot.suite for boot in packaged}):
                arches = ",".join(sorted({boot.arch for boot in packaged if boot.suite == suite}))
                sources.write("deb [arch=%s %s] %s %s main\n" % (arches, options, MIRROR, suite))
        for boot in packaged:
            self.run("dpkg --add-architecture " + boot.arch, directory="/")
        compilers = ["gcc-%s libc6-dev-%s-cross" % (target.triple.replace("_", "-"), target.package)
                     for target in TARGETS.values() if target.package]
        self.run("apt-get update -q; apt-get install -qy --no-install-recommends " +
                 " ".join(PACKAGES.split() + compilers), directory="/")

    def kernel(self, name: str) -> str:
        """Fetch or build a boot's kernel, unless it is there; its path in the root."""
        where = "/build/kernels/" + name
        if not os.path.exists(self.path + where + "/kernel"):
            os.makedirs(self.path + where, exist_ok=True)
            (self._built if BOOTS[name].config else self._packaged)(BOOTS[name], where)
        return where + "/kernel"

    def _packaged(self, boot: Boot, where: str) -> None:
        shown = self.run("apt-cache show %s:%s | grep ^Depends" % (boot.package, boot.arch), output=True)
        names = re.findall(r"linux-image-[^ ,:]+", shown)
        newest = max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
        # From 7.x on the image lies in a package of its own, linux-binary-RELEASE.
        binary = newest.replace("linux-image-", "linux-binary-")
        found = self.run("apt-cache search --names-only '^%s$'" % re.escape(binary), output=True).strip()
        self.run("apt-get download -q %s:%s; dpkg-deb --fsys-tarfile *.deb | tar -x --wildcards '*/vmlinu*'; rm *.deb; "
                 "mv $(find . -name 'vmlinu*' -type f) kernel" % (binary if found else newest, boot.arch),
                 directory=where)
        with open(self.path + where + "/kernel", "rb") as packed:
            head = packed.read(64)
            # linux/drivers/firmware/efi/libstub/zboot-header.S; qemu 10 unpacks only gzip itself.
            if head[4:8] == b"zimg" and head[24:28] == b"zstd":
                offset, size = struct.unpack_from("<II", head, 8)
                packed.seek(offset)
                with open(self.path + where + "/kernel.zst", "wb") as out:
                    out.write(packed.read(size))
                self.run("zstd -qdf --rm kernel.zst -o kernel", directory=where)

    def _built(self, boot: Boot, where: str) -> None:
        with open(self.path + where + "/all.config", "w") as out:
            for part in ("common", boot.config):
                with open(os.path.join(HERE, "kernels", part + ".config")) as text:
                    shutil.copyfileobj(text, out)
        compiler = TARGETS[boot.init].triple + "-"
        make = "make O=%s/out ARCH=%s CROSS_COMPILE=%s " % (where, boot.linux_arch, compiler)
        self.run("mkdir -p src; test -e src/Makefile || tar -C src --strip-components=1 -xf /usr/src/%s.tar.xz; cd src;"
                 " %s KCONFIG_ALLCONFIG=%s/all.config alldefconfig; %s -j2 vmlinux; "
                 "mv %s/out/vmlinux %s/kernel; rm -r %s/out" % (LINUX_SOURCE, make, where, make, where, where, where))
