# SPDX-License-Identifier: Apache-2.0
"""The package of every file, and the command that would fill a gap: over dpkg databases that dpkg wrote."""

import os
import shutil
import subprocess
import zlib

import pytest

from savedump_core import gaps
from savedump_core import search as searching
from savedump_core.model import (
    DEBUG,
    LOADED,
    VMLINUX,
    Dump,
    Findings,
    Found,
    Missing,
    Module,
    ModuleFiles,
    Package,
    SearchOptions,
    Want,
)  # fmt: skip
from savedump_core.sysroot import Held, Sysroot
from support import elfwriter, packages

RIGHT, WRONG = b"\x11" * 20, b"\x22" * 20
PATH = "/usr/lib/x86_64-linux-gnu/libx.so.1.2"
DEBIAN, UBUNTU = "https://debuginfod.debian.net", "https://debuginfod.ubuntu.com"
FEDORA = "https://debuginfod.fedoraproject.org/"


def elf(build_id=RIGHT, **kwargs):
    return elfwriter.elf_file(build_id=build_id, **kwargs)


@pytest.fixture
def root(tmp_path):
    return packages.Root(tmp_path / "root")


def report(root, *paths, build_id=RIGHT, **options):
    """What a search below the root comes to, with packages: one row for each path."""
    modules = tuple(
        Module(name=path, path=path, names=(), build_id=build_id, build_id_why=None, start=0x1000, end=0x2000,
               executable=False)
        for path in paths
    )  # fmt: skip
    dump = Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=modules, identity="0" * 16, mtime_ns=0,
    )  # fmt: skip
    with Held() as held:
        findings = searching.search(dump, SearchOptions(sysroot=str(root), **options), held)
        return gaps.with_packages(findings, Sysroot(str(root))).files


def kernel_gap(root, release, kind=LOADED, module=VMLINUX):
    want = Want(kind=kind, module=module, build_id=RIGHT, paths=("vmlinux",), release=release)
    module_of_it = Module(name=module, path=None, names=(), build_id=RIGHT, build_id_why=None, start=0, end=1,
                          executable=True)  # fmt: skip
    files = ModuleFiles(module=module_of_it, file=Missing(want=want, status="missing", attempts=()))
    return gaps.with_packages(Findings(files=(files,)), Sysroot(str(root.path))).files[0].file


def test_package_of_a_file_that_is_there(root, tmp_path):
    root.install(packages.deb(tmp_path, "libx1", "1:1.0-1", {PATH: elf()}))
    (root.path / "opt").mkdir()
    (root.path / "opt/own.so").write_bytes(elf())
    installed, own = report(root.path, PATH, "/opt/own.so")
    assert installed.file.package == Package("libx1", "1:1.0-1", "deb")
    assert own.file.package is None
    assert installed.debug.package == Package("libx1-dbgsym", "1:1.0-1", "deb")
    assert installed.debug.command == "savedump complete ARCHIVE --debuginfod " + DEBIAN
    assert own.debug.package is None
    assert own.debug.command == "savedump complete ARCHIVE --search-path DIR", "no distribution has it"


def test_upgraded_library(root, tmp_path):
    """Its package is the one before the upgrade; Debian's server has no libraries, the package has."""
    for version in ("1.0-1", "1.0-2"):
        package = packages.deb(tmp_path, "libx1", version, {PATH: elf(WRONG)})
        root.install(package)
    missing = report(root.path, PATH)[0]
    assert missing.file.package == Package("libx1", "1.0-1", "deb")
    assert missing.file.command == (
        "apt-get download libx1:amd64=1.0-1 && savedump complete ARCHIVE --search-path ."
    )  # fmt: skip
    assert missing.debug.package == Package("libx1-dbgsym", "1.0-1", "deb")
    assert missing.debug.command.endswith("--debuginfod " + DEBIAN)


def test_what_the_command_fetches_fills_the_gap(root, tmp_path):
    """The folder that `apt-get download` writes into is a --search-path, with the package in it."""
    for version, build_id in (("1.0-1", RIGHT), ("1.0-2", WRONG)):
        root.install(packages.deb(tmp_path / version, "libx1", version, {PATH: elf(build_id)}))
    assert isinstance(report(root.path, PATH)[0].file, Missing)
    found = report(root.path, PATH, search_paths=(str(tmp_path / "1.0-1"),))[0]
    assert isinstance(found.file, Found) and found.file.package == Package("libx1", "1.0-1", "deb")
    assert found.debug.package == Package("libx1-dbgsym", "1.0-1", "deb"), "of the file that was found"


def test_library_that_changed_its_name(root, tmp_path):
    for version, path in (("1", PATH), ("2", PATH[:-1] + "3")):
        root.install(packages.deb(tmp_path, "libx1", version, {path: elf(WRONG)}))
    assert report(root.path, PATH)[0].file.package == Package("libx1", "1", "deb")


def test_former_version_is_not_known(root, tmp_path):
    """What is installed now is not it: no version is better than a wrong one."""
    root.install(packages.deb(tmp_path, "libx1", "2", {PATH: elf(WRONG)}))
    missing = report(root.path, PATH)[0].file
    assert missing.package == Package("libx1", "", "deb")
    assert missing.command == "savedump complete ARCHIVE --search-path DIR"


def test_hand_made_debug_packages(root, tmp_path):
    root.install(packages.deb(tmp_path, "libc6", "2.36-9", {"/usr/lib/libc.so.6": elf()}))
    root.install(packages.deb(tmp_path, "libx1", "1", {PATH: elf()}))
    root.install(packages.deb(tmp_path, "libx1-dbg", "1", {"/usr/share/doc/libx1-dbg/x": b""}))
    libc, other = report(root.path, "/usr/lib/libc.so.6", PATH)
    assert (libc.debug.package.name, other.debug.package.name) == ("libc6-dbg", "libx1-dbg")


def test_debug_file_without_a_build_id(root, tmp_path):
    """No server can be asked for it: install the package."""
    loaded = elf(None, debuglink=("x.debug", zlib.crc32(b"")))
    root.install(packages.deb(tmp_path, "libx1", "1", {PATH: loaded}))
    files = report(root.path, PATH, build_id=None, allow_unverified=True)[0]
    assert files.debug.command == "apt-get install libx1-dbgsym:amd64=1"


def test_file_that_nothing_proves(root, tmp_path):
    root.install(packages.deb(tmp_path, "libx1", "1", {PATH: elf(None)}))
    missing = report(root.path, PATH, build_id=None)[0].file
    assert missing.status == "unverified"
    assert missing.command == "savedump archive DUMP --allow-unverified"


@pytest.mark.parametrize(
    "name, version, like, server",
    [
        ("debian", "12", "", DEBIAN), ("ubuntu", "22.04", "debian", UBUNTU),
        ("linuxmint", "21", "ubuntu debian", UBUNTU),
        ("endeavouros", "", "arch", "https://debuginfod.archlinux.org"), ("fedora", "39", "", FEDORA),
        ("centos", "9", "rhel fedora", "https://debuginfod.centos.org/"),
        ("rocky", "9.2", "rhel centos fedora", "https://debuginfod.rockylinux.org/"),
        ("opensuse-leap", "15.5", "suse opensuse", "https://debuginfod.opensuse.org/"),
    ],
)  # fmt: skip
def test_servers(root, tmp_path, name, version, like, server):
    root.install(packages.deb(tmp_path, "libx1", "1", {PATH: elf()}))
    root.distribution(name, version, like)
    assert report(root.path, PATH)[0].debug.command == "savedump complete ARCHIVE --debuginfod " + server


@pytest.mark.parametrize(
    "name, like", [("rhel", "fedora"), ("almalinux", "rhel centos fedora"), ("alpine", ""), ("", "")]
)
def test_no_server(root, tmp_path, name, like):
    """Clones of RHEL build their own packages: Fedora's server has none of theirs."""
    root.install(packages.deb(tmp_path, "libx1", "1", {PATH: elf()}))
    root.distribution(name, "9", like)
    assert report(root.path, PATH)[0].debug.command == "apt-get install libx1-dbgsym:amd64=1"


def test_library_from_a_server_that_has_them(root, tmp_path):
    root.install(packages.deb(tmp_path, "libx1", "1", {PATH: elf(WRONG)}))
    root.distribution("fedora", "39")
    assert report(root.path, PATH)[0].file.command == "savedump complete ARCHIVE --debuginfod " + FEDORA


@pytest.mark.parametrize(
    "name, like, kind, command",
    [
        ("rhel", "fedora", "rpm", "dnf debuginfo-install x-libs-1:1-2.x86_64"),
        ("sles", "suse", "rpm", "zypper --plus-content debug install x-libs-debuginfo=1:1-2"),
        ("alpine", "", "apk", "apk add x-libs-dbg=1:1-2"), ("manjaro-like", "", "alpm", None),
    ],
)  # fmt: skip
def test_install_commands(name, like, kind, command):
    distribution = gaps._Distribution(id=name, version="9.1", like=tuple(like.split()))
    holder = gaps.Installed("x-libs", "1:1-2", "x86_64", kind)
    assert gaps._install(distribution, holder, "x-libs" + gaps._DEBUG_SUFFIX[kind]) == command


@pytest.mark.parametrize(
    "name, version, like, release, package, command",
    [
        ("debian", "12", "", "6.1.0-13-amd64", "linux-image-6.1.0-13-amd64-dbg",
         "apt-get install linux-image-6.1.0-13-amd64-dbg"),
        ("ubuntu", "22.04", "debian", "5.15.0-91-generic", "linux-image-5.15.0-91-generic-dbgsym",
         "apt-get install linux-image-5.15.0-91-generic-dbgsym"),
        ("fedora", "39", "", "6.5.6-300.fc39.x86_64", "kernel-debuginfo-6.5.6-300.fc39.x86_64",
         "dnf debuginfo-install kernel-6.5.6-300.fc39.x86_64"),
        ("centos", "7", "rhel fedora", "3.10.0-1160.el7.x86_64", "kernel-debuginfo-3.10.0-1160.el7.x86_64",
         "debuginfo-install kernel-3.10.0-1160.el7.x86_64"),
        ("sles", "15.5", "suse", "5.14.21-150500.55.7-default", "kernel-default-debuginfo",
         "zypper --plus-content debug install kernel-default-debuginfo"),
    ],
)  # fmt: skip
def test_kernels(root, name, version, like, release, package, command):
    root.distribution(name, version, like)
    gap = kernel_gap(root, release)
    assert (gap.package.name, gap.command) == (package, command)


@pytest.mark.parametrize("release", ["6.1;reboot", "$(reboot)", "-oAPT::x", "6.1 x", "6.1\nx", "x" * 200])
def test_no_word_of_a_dump_gets_into_a_command(root, release):
    gap = kernel_gap(root, release)
    assert gap.package is None and gap.command == "savedump complete ARCHIVE --search-path DIR"


@pytest.mark.parametrize("word", ["a;reboot", "a b", "$(x)", "-o", "a\u00e9", "a'b"])
def test_no_word_of_a_database_gets_into_a_command(root, word):
    (root.admin / "info").joinpath("libx1.list").write_text("/.\n%s\n" % PATH)
    (root.path / PATH[1:]).parent.mkdir(parents=True)
    (root.path / PATH[1:]).write_bytes(elf())
    root.distribution("other", "1")
    for name, version in (("libx1", word), (word, "1")):
        (root.admin / "info").joinpath("%s.list" % name).write_text("/.\n%s\n" % PATH)
        (root.admin / "status").write_text("Package: %s\nVersion: %s\nArchitecture: amd64\n\n" % (name, version))
        debug = report(root.path, PATH)[0].debug
        assert debug.package is not None
        assert debug.command == "savedump complete ARCHIVE --search-path DIR"
        (root.admin / "info").joinpath("%s.list" % name).unlink()


def test_note_of_the_file_itself():
    note = b'{"type":"rpm","name":"systemd","version":"254.7-1.fc39","architecture":"x86_64"}\0'
    assert gaps._note(note) == Package("systemd", "254.7-1.fc39", "rpm")
    for other in (
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 4000, b'"' + b"x" * 5000 + b'"', b'{"type":"rpm"}',
        b'{"type":"rpm","name":"a;b","version":"1"}', b'{"type":"rpm","name":["a"],"version":"1"}',
        b'{"type":"rpm","name":"a","version":"1 2"}',
    ):  # fmt: skip
        assert gaps._note(other) is None, other


def test_file_of_a_folder_has_no_package_of_this_host(root, tmp_path):
    """The same path below --search-path is another file."""
    root.install(packages.deb(tmp_path, "libx1", "2", {PATH: elf(WRONG)}))
    given = tmp_path / "given"
    (given / PATH[1:]).parent.mkdir(parents=True)
    (given / PATH[1:]).write_bytes(elf())
    found = report(root.path, PATH, search_paths=(str(given),))[0].file
    assert isinstance(found, Found) and found.package is None


def test_file_with_its_own_debug_information_stays_one(root, tmp_path):
    whole = elf(sections=[elfwriter.Section(".debug_info", b"\1" * 64)])
    root.install(packages.deb(tmp_path, "libx1", "2", {PATH: whole}))
    files = report(root.path, PATH)[0]
    assert files.file is files.debug and files.file.package.name == "libx1"


def test_this_machine():
    """Its own /bin/sh, by dpkg-query's word."""
    if shutil.which("dpkg-query") is None:
        pytest.skip("dpkg-query is not installed")
    path = os.path.realpath("/bin/sh")
    want = Want(kind=LOADED, module=path, build_id=RIGHT, paths=(path,))
    found = Found(want=want, at=path, matched_by="build-id", size=1, build_id=RIGHT, attempts=(), inside=path)
    module = Module(name=path, path=path, names=(), build_id=RIGHT, build_id_why=None, start=0, end=1, executable=True)
    debug = Missing(want=want._replace(kind=DEBUG), status="missing", attempts=())
    files = ModuleFiles(module=module, file=found, debug=debug)
    said = gaps.with_packages(Findings(files=(files,)), Sysroot("/")).files[0]
    words = subprocess.check_output(
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", said.file.package.name], universal_newlines=True
    )
    assert "%s %s" % (said.file.package.name, said.file.package.version) in words.splitlines()
    assert said.debug.package.name.startswith(said.file.package.name + "-dbg")
