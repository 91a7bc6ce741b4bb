# SPDX-License-Identifier: Apache-2.0
"""The Debian root in which everything is compiled and run, and the kernels in it."""
import os
import re
import shutil
import subprocess

from targets import BOOTS, SUITE, TARGETS, Boot

HERE = os.path.dirname(os.path.abspath(__file__))
MIRROR = "http://deb.debian.org/debian"
PACKAGES = """ca-certificates cpio xz-utils gcc libc6-dev elfutils
    qemu-system-arm qemu-system-mips qemu-system-misc qemu-system-ppc qemu-system-riscv qemu-system-s390x
    qemu-system-sparc qemu-system-x86 ipxe-qemu opensbi seabios"""


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


class Root:
    """The Debian root in which everything is compiled and run."""

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self, command: str, output: bool = False, directory: str = "/build") -> str:
        """Run a shell command in the root; raises CalledProcessError."""
        done = subprocess.run(["chroot", self.path, "nice", "-n", "15", "sh", "-ec", "cd %s; %s" % (directory, command)],
                              check=True, stdout=subprocess.PIPE if output else None)
        return done.stdout.decode() if output else ""

    def host(self, path: str) -> str:
        """The path on this host of an absolute path in the root, links resolved within the root."""
        return self.path + self.run("readlink -f %s" % path, output=True).strip()

    def make(self) -> None:
        """Debootstrap and install; what is there already is kept."""
        if not os.path.exists(self.path + "/etc/debian_version"):
            subprocess.run(["nice", "-n", "15", "debootstrap", "--variant=minbase", SUITE, self.path, MIRROR], check=True)
        os.makedirs(self.path + "/build", exist_ok=True)
        compilers = " ".join("gcc-%s libc6-dev-%s-cross" % (target.triple.replace("_", "-"), target.package)
                             for target in TARGETS.values() if target.package)
        options = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no"
        with open(self.path + "/etc/apt/sources.list", "w") as sources:
            for suite in sorted({boot.suite for boot in BOOTS.values()}):
                arches = ",".join(sorted({boot.arch for boot in BOOTS.values() if boot.suite == suite}))
                sources.write("deb [arch=%s %s] %s %s main\n" % (arches, options, MIRROR, suite))
        for boot in BOOTS.values():
            self.run("dpkg --add-architecture %s" % boot.arch, directory="/")
        self.run("apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends %s %s" % (
            " ".join(PACKAGES.split()), compilers), directory="/")

    def kernel(self, boot: Boot) -> str:
        """Fetch and unpack a kernel; its path in the root."""
        meta = "%s:%s" % (boot.meta, boot.arch)
        shown = self.run("apt-cache show %s | grep ^Depends" % meta, output=True)
        package = max(re.findall(r"linux-image-[^ ,:]+", shown), key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
        where = "/build/kernels/%s" % boot.arch
        if not os.path.isdir(self.path + where):
            self.run("mkdir -p {0}; cd {0}; apt-get download -q {1}:{2}; dpkg-deb --fsys-tarfile *.deb | "
                     "tar -x --wildcards './boot/vmlinu*'; rm *.deb".format(where, package, boot.arch))
        return where + "/boot/" + os.listdir(self.path + where + "/boot")[0]
