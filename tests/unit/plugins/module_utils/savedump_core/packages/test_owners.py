# SPDX-License-Identifier: Apache-2.0
"""Which package a path belongs to: databases that dpkg and rpm wrote, those of apk and pacman as they lay them out."""

import gzip
import os
import subprocess

import pytest

from savedump_core.model import Package
from savedump_core.packages import history
from savedump_core.packages.owners import Databases, Installed, spellings
from savedump_core.sysroot import Sysroot
from support import packages


@pytest.fixture
def root(tmp_path):
    return packages.Root(tmp_path / "root")


def ask(root, *paths):
    databases = Databases(Sysroot(str(root)))
    found = databases.owners_of(paths)
    # Few are looked for another way than many.
    single = {}
    for path in paths:
        single.update(databases.owners_of((path,)))
    assert single == found
    return {path: "%s=%s:%s" % (one.name, one.version, one.arch) for path, one in found.items()}


def test_spellings():
    assert spellings("/usr/lib/x") == ("/usr/lib/x", "/lib/x")
    assert spellings("/lib/x") == ("/lib/x", "/usr/lib/x")
    assert spellings("/opt/x") == ("/opt/x",)
    assert spellings("/usr/share/x") == ("/usr/share/x",)


def test_dpkg(root, tmp_path):
    root.install(packages.deb(tmp_path, "liba1", "2:1.0-1", {"/lib/liba.so.1.0": b"a"}, Multi_Arch="same"))
    root.install(packages.deb(tmp_path, "b", "3~rc1", {"/usr/bin/b": b"b", "/opt/b/lib.so": b"b"}))
    paths = ("/usr/lib/liba.so.1.0", "/lib/liba.so.1.0", "/bin/b", "/opt/b/lib.so", "/lib/liba.so.1",
             "/usr/opt/b/lib.so", "relative", "/bad\nname", "/\udcff", "")  # fmt: skip
    assert ask(root.path, *paths) == {
        "/usr/lib/liba.so.1.0": "liba1=2:1.0-1:amd64", "/lib/liba.so.1.0": "liba1=2:1.0-1:amd64",
        "/bin/b": "b=3~rc1:amd64", "/opt/b/lib.so": "b=3~rc1:amd64",
    }  # fmt: skip
    databases = Databases(Sysroot(str(root.path)))
    assert databases.installed("b") == Installed("b", "3~rc1", "amd64", "deb")
    assert databases.installed("b").package == Package("b", "3~rc1", "deb")
    assert databases.installed("liba") is None
    assert databases.with_prefix("/usr/lib/liba.so.1").name == "liba1"
    assert databases.with_prefix("/usr/lib/libb.so.1") is None


def test_two_architectures(root, tmp_path):
    for arch, folder in (("amd64", "x86_64-linux-gnu"), ("i386", "i386-linux-gnu")):
        files = {"/usr/lib/%s/liba.so.1" % folder: b"a"}
        root.install(packages.deb(tmp_path, "liba1", "1", files, arch=arch, Multi_Arch="same"))
    assert ask(root.path, "/usr/lib/x86_64-linux-gnu/liba.so.1", "/usr/lib/i386-linux-gnu/liba.so.1") == {
        "/usr/lib/x86_64-linux-gnu/liba.so.1": "liba1=1:amd64", "/usr/lib/i386-linux-gnu/liba.so.1": "liba1=1:i386",
    }  # fmt: skip


def test_diversion(root, tmp_path):
    """The file that another package put aside is still its first owner's."""
    divert = ["dpkg-divert", "--admindir", root.admin, "--instdir", root.path, "--package", "b", "--no-rename"]
    packages.run(*divert, "--divert", "/usr/lib/liba.so.1.moved", "--add", "/usr/lib/liba.so.1")
    for name in ("a", "b"):
        root.install(packages.deb(tmp_path, name, "1", {"/usr/lib/liba.so.1": name.encode()}))
    assert (root.path / "usr/lib/liba.so.1.moved").read_bytes() == b"a"
    paths = ("/usr/lib/liba.so.1", "/usr/lib/liba.so.1.moved", "/lib/liba.so.1.moved")
    assert ask(root.path, *paths) == dict(zip(paths, ("b=1:amd64", "a=1:amd64", "a=1:amd64")))


def test_this_machines_dpkg_agrees():
    packages.need("dpkg-query")
    folder = "/usr/bin"
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))[:300]]
    done = subprocess.run(
        ["dpkg-query", "-S"] + [path for one in paths for path in spellings(one)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True, check=False,
    )  # fmt: skip
    told = {}
    for line in done.stdout.splitlines():
        names, _colon, path = line.rpartition(": ")
        if not line.startswith("diversion ") and "," not in names:
            told[path] = names.partition(":")[0]
    if not told:
        pytest.skip("dpkg-query knows no file of /usr/bin")
    found = {path: one.name for path, one in Databases(Sysroot("/")).owners_of(paths).items()}
    diverted = subprocess.check_output(["dpkg-divert", "--list"], universal_newlines=True)
    for path in paths:
        if " %s " % path not in diverted:
            assert found.get(path) == next((told[one] for one in spellings(path) if one in told), found.get(path)), path
    assert len(found) > len(paths) // 2


def test_apk(tmp_path):
    (tmp_path / "lib/apk/db").mkdir(parents=True)
    (tmp_path / "lib/apk/db/installed").write_text(
        "C:Q1=\nP:musl\nV:1.2.4-r2\nA:x86_64\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nR:libc.musl.so.1\n\n"
        "P:zlib\nV:1.3-r0\nA:x86_64\nF:usr\nF:usr/lib\nR:libz.so.1.3\n\n"
    )
    paths = ("/lib/ld-musl-x86_64.so.1", "/usr/lib/libz.so.1.3", "/lib/libz.so.1.3", "/usr/lib/libz.so")
    assert ask(tmp_path, *paths) == {
        "/lib/ld-musl-x86_64.so.1": "musl=1.2.4-r2:x86_64", "/usr/lib/libz.so.1.3": "zlib=1.3-r0:x86_64",
        "/lib/libz.so.1.3": "zlib=1.3-r0:x86_64",
    }  # fmt: skip


def test_pacman(tmp_path):
    at = tmp_path / "var/lib/pacman/local/glibc-2.38-7"
    at.mkdir(parents=True)
    (at / "desc").write_text("%NAME%\nglibc\n\n%VERSION%\n2.38-7\n\n%ARCH%\nx86_64\n")
    (at / "files").write_text("%FILES%\nusr/\nusr/lib/\nusr/lib/libc.so.6\n\n%BACKUP%\netc/x\tabc\n")
    (tmp_path / "var/lib/pacman/local/ALPM_DB_VERSION").write_text("9\n")
    assert ask(tmp_path, "/usr/lib/libc.so.6", "/lib/libc.so.6", "/usr/lib/libm.so.6") == {
        "/usr/lib/libc.so.6": "glibc=2.38-7:x86_64", "/lib/libc.so.6": "glibc=2.38-7:x86_64",
    }  # fmt: skip


def test_rpm(tmp_path):
    packages.need("rpm")
    if os.geteuid():
        pytest.skip("rpm --root needs root")
    root = tmp_path / "root"
    first = packages.rpm(tmp_path, "a-libs", "1.0", {"/usr/lib/liba.so.1": b"a", "/usr/lib/both": b"x"}, epoch=1)
    second = packages.rpm(tmp_path, "b", "2", {"/usr/bin/b": b"b", "/usr/lib/both": b"x"})
    database = ["--root", root, "--dbpath", "/var/lib/rpm"]
    packages.run("rpm", *database, "--nodeps", "--ignorearch", "-i", first, second)
    paths = ["/usr/lib/liba.so.1", "/usr/bin/b", "/usr/lib/gone.so"]
    expected = {"/usr/lib/liba.so.1": "a-libs=1:1.0-1:x86_64", "/usr/bin/b": "b=2-1:x86_64"}
    assert ask(root, *paths) == expected
    # Nobody's, and everybody's, between the others: each answer stays with its own question.
    (root / "usr/lib/nobodys").write_bytes(b"")
    (root / "usr/lib/liba.so.1").unlink()
    found = ask(root, "/usr/lib/nobodys", "/usr/lib/both", *paths)
    assert found.pop("/usr/lib/both") in expected.values()
    assert found == expected


def test_no_database(tmp_path):
    assert ask(tmp_path, "/usr/lib/x") == {}
    assert ask(tmp_path) == {}
    (tmp_path / "var/lib/dpkg/info").mkdir(parents=True)
    os.mkfifo(str(tmp_path / "var/lib/dpkg/info/x.list"))
    os.mkfifo(str(tmp_path / "var/lib/dpkg/status"))
    (tmp_path / "var/lib/dpkg/info/y.list").symlink_to("/etc/passwd")
    assert ask(tmp_path, "/usr/lib/x", "/root:x:0:0") == {}


def test_former_versions(root, tmp_path):
    for version in ("1.0-1", "1.0-2", "1:0.9-1"):
        root.install(packages.deb(tmp_path, "liba1", version, {"/usr/lib/liba.so.1": version.encode()}))
    root.install(packages.deb(tmp_path, "b", "1", {"/usr/lib/b": b""}))
    assert history.former_versions(Sysroot(str(root.path))) == {"liba1": "1.0-2", "liba1:amd64": "1.0-2"}


def test_former_versions_of_other_logs(tmp_path):
    log = tmp_path / "var/log"
    (log / "apt").mkdir(parents=True)
    (log / "dpkg.log.2.gz").write_bytes(
        gzip.compress(b"2026-01-01 10:00:00 upgrade old:amd64 1 2\n2026-01-01 10:00:00 upgrade both:amd64 1 2\n")
    )
    (log / "dpkg.log.1").write_text(
        "2026-02-01 10:00:00 upgrade both:amd64 2 3\n2026-02-01 10:00:00 install x <none> 1\n"
    )
    (log / "apt/history.log").write_text(
        "Start-Date: 2026-01-01\nInstall: new:amd64 (1, automatic)\n"
        "Upgrade: inapt:amd64 (1:2-3, 1:2-4), both:amd64 (0, 1), third:i386 (5, 6)\nEnd-Date: x\n"
    )
    (log / "dnf.rpm.log").write_text(
        "2026-01-01T00:00:00+0000 SUBDEBUG Upgrade: libcurl-7.76.1-3.fc34.x86_64\n"
        "2026-01-01T00:00:00+0000 SUBDEBUG Upgraded: openssl-libs-1:1.1-2.fc34.x86_64\n"
    )
    (log / "pacman.log").write_text("[2026-01-01T10:00:00+0000] [ALPM] upgraded glibc (2.37-1 -> 2.38-1)\n")
    former = history.former_versions(Sysroot(str(tmp_path)))
    assert {name: version for name, version in former.items() if ":" not in name} == {
        "old": "1", "both": "2", "inapt": "1:2-3", "third": "5", "openssl-libs": "1:1.1-2.fc34", "glibc": "2.37-1",
    }  # fmt: skip


def test_log_that_is_a_bomb(tmp_path):
    (tmp_path / "var/log").mkdir(parents=True)
    (tmp_path / "var/log/dpkg.log.1.gz").write_bytes(gzip.compress(bytes(64 << 20)))
    assert history.former_versions(Sysroot(str(tmp_path))) == {}
