# SPDX-License-Identifier: Apache-2.0
"""Files out of the packages that package managers have kept: real packages, each with a decoy of the right name."""

import json
import os
import shutil
import subprocess
import tarfile
import zlib

import pytest

from savedump_core import search as searching
from savedump_core.finders import package_cache as finder
from savedump_core.model import (
    ABSENT,
    BY_CRC,
    DEBUG,
    LOADED,
    MATCH,
    MISMATCH,
    SUPPLEMENTARY,
    UNREADABLE,
    Candidate,
    Dump,
    Found,
    Missing,
    Module,
    SearchOptions,
    Want,
)  # fmt: skip
from savedump_core.packages import contents, stream
from savedump_core.sysroot import Held, Roots, Sysroot
from support import command, elfwriter, packages
from support.crashes import CannotCrash
from support.crashes.kernel import dump_of
from support.crashes.workshop import Workshop, build_id

RIGHT, WRONG, ALT = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)
PATH = "/usr/lib/x86_64-linux-gnu/libx.so.1.2"
LINK = "/usr/lib/x86_64-linux-gnu/libx.so.1"
PLUG = "/usr/lib/libplug.so.1"


def elf(build_id=RIGHT, **kwargs):
    return elfwriter.elf_file(build_id=build_id, **kwargs)


def debug(build_id=RIGHT, **kwargs):
    return elf(build_id, sections=[DEBUG_SECTION], **kwargs)


def tree(build_id):
    return "/usr/lib/debug/.build-id/%s/%s.debug" % (build_id.hex()[:2], build_id.hex()[2:])


def aged(path, seconds):
    os.utime(str(path), (seconds, seconds))
    return path


@pytest.fixture
def root(tmp_path):
    return packages.Root(tmp_path / "root")


@pytest.fixture
def held():
    with Held() as held:
        yield held


def search(root, held, build_id=RIGHT, path=PATH, names=(), **options):
    module = Module(
        name=path, path=path, names=names, build_id=build_id, build_id_why=None, start=0x1000, end=0x2000,
        executable=False,
    )  # fmt: skip
    dump = Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=(module,), identity="0" * 16, mtime_ns=0,
    )  # fmt: skip
    return searching.search(dump, SearchOptions(sysroot=str(root), **options), held).files[0]


def content(found):
    return os.pread(found.descriptor, 1 << 20, 0)


def from_cache(result):
    return [one for one in result.attempts if one.finder == finder.NAME]


def test_upgraded_library(root, held):
    """Version 2 is installed; version 1, which the dump is of, is still in apt's cache, and so is 3."""
    for version, identity in (("1", RIGHT), ("2", WRONG), ("3", ALT)):
        package = packages.deb(root.cache, "libx1", version, {PATH: elf(identity), LINK: "libx.so.1.2"})
        aged(package, int(version))
        if version == "2":
            root.install(package)
    found = search(root.path, held).file
    assert isinstance(found, Found) and content(found) == elf()
    assert (found.at, found.inside, found.matched_by) == (
        "/var/cache/apt/archives/libx1_1_amd64.deb: " + PATH, PATH, "build-id"
    )  # fmt: skip
    assert [(one.path.split("_")[1], one.outcome, one.detail) for one in from_cache(found)] == [
        ("3", MISMATCH, ALT.hex()), ("2", MISMATCH, WRONG.hex()), ("1", MATCH, ""),
    ], "the newest first, and each refusal is told"  # fmt: skip


def test_decoys_only(root, held):
    root.install(packages.deb(root.cache, "libx1", "2", {PATH: elf(WRONG)}))
    missing = search(root.path, held).file
    assert isinstance(missing, Missing) and missing.status == "mismatch"
    assert [(one.outcome, one.detail) for one in from_cache(missing)] == [(MISMATCH, WRONG.hex())]


def test_path_that_the_upgrade_took_away(root, held, tmp_path):
    """libx.so.1.2 became libx.so.1.3: nothing owns the path any more."""
    packages.deb(root.cache, "libodd5", "1", {PATH: elf()})
    root.install(packages.deb(tmp_path, "libodd5", "2", {PATH[:-1] + "3": elf(WRONG)}))
    assert content(search(root.path, held).file) == elf()


def test_package_that_is_not_installed_any_more(root, held):
    packages.deb(root.cache, "libx1", "1", {PATH: elf()})
    packages.deb(root.cache, "other", "1", {PATH: elf()})
    found = search(root.path, held).file
    assert content(found) == elf() and "libx1_1" in found.at


def test_other_architecture_is_not_read(root, held):
    root.install(packages.deb(root.cache, "libx1", "2", {PATH: elf(WRONG)}))
    packages.deb(root.cache, "libx1", "1", {PATH: elf()}, arch="i386")
    assert isinstance(search(root.path, held).file, Missing)


def test_names_through_links(root, held):
    """The dump says /lib/…/libx.so.1, the package has /usr/lib/…/libx.so.1.2 and a link."""
    root.install(packages.deb(root.cache, "libx1", "2", {PATH: elf(WRONG), LINK: "libx.so.1.2"}))
    packages.deb(root.cache, "libx1", "1", {PATH: elf(), LINK: "libx.so.1.2"})
    found = search(root.path, held, path=LINK[len("/usr") :]).file
    assert content(found) == elf() and found.inside == PATH


def test_debug_package_by_its_build_ids(root, held):
    """Of an own file and of one with a supplementary half: neither without the other."""
    root.install(packages.deb(root.cache, "libx1", "1", {PATH: elf()}))
    dwz = "/usr/lib/debug/.dwz/x86_64-linux-gnu/x.debug"
    files = {tree(RIGHT): debug(altlink=(dwz, ALT)), dwz: debug(ALT)}
    packages.deb(root.cache, "some-name-dbgsym", "1", files, Build_Ids="%s %s" % (WRONG.hex(), RIGHT.hex()))
    packages.deb(root.cache, "decoy-dbgsym", "1", {tree(RIGHT): debug()}, Build_Ids=WRONG.hex())
    files = search(root.path, held)
    assert files.file.at == str(root.path) + PATH
    assert content(files.debug) == debug(altlink=(dwz, ALT)) and "some-name-dbgsym" in files.debug.at
    assert content(files.supplementary) == debug(ALT)


def test_debug_package_that_lies(root, held):
    root.install(packages.deb(root.cache, "libx1", "1", {PATH: elf()}))
    packages.deb(root.cache, "libx1-dbgsym", "1", {tree(RIGHT): debug(WRONG)}, Build_Ids=RIGHT.hex())
    missing = search(root.path, held).debug
    assert isinstance(missing, Missing)
    assert [(one.outcome, one.detail) for one in from_cache(missing)] == [(MISMATCH, WRONG.hex())]


def test_debug_file_by_crc(root, held):
    """Files without build IDs: an old -dbg package, proven by the link's checksum."""
    right, wrong = debug(None), debug(None, padding=8)
    loaded = elf(None, debuglink=("libx.debug", zlib.crc32(right)))
    root.install(packages.deb(root.cache, "libx1", "1", {PATH: loaded}))
    at = "/usr/lib/debug%s/libx.debug" % os.path.dirname(PATH)
    aged(packages.deb(root.cache, "libx1-dbg", "2", {at: wrong}), 2)
    aged(packages.deb(root.cache, "libx1-dbg", "1", {at: right}), 1)
    files = search(root.path, held, build_id=None, allow_unverified=True)
    assert files.debug.matched_by == BY_CRC and content(files.debug) == right
    assert [one.outcome for one in from_cache(files.debug)] == [MISMATCH, MATCH]


@pytest.mark.parametrize("cache", ["dnf/updates-0/packages", "libdnf5/updates-0/packages", "zypp/packages/repo/x86_64"])
def test_rpm(root, held, cache):
    """Which package has the file is in its header; nothing but that package is unpacked."""
    folder = root.path / "var/cache" / cache
    packages.rpm(folder, "x-libs", "1", {PATH: elf(), "/usr/lib/.build-id/x": PATH})
    packages.rpm(folder, "x-libs", "2", {PATH: elf(WRONG)})
    packages.rpm(folder, "other", "1", {PATH + ".0": elf()})
    packages.rpm(folder, "x-libs-debuginfo", "1", {tree(RIGHT): debug()})
    files = search(root.path, held)
    assert content(files.file) == elf() and "x-libs-1-1" in files.file.at
    assert content(files.debug) == debug() and "x-libs-debuginfo" in files.debug.at
    assert not any("other" in one.path for one in from_cache(files.file) + from_cache(files.debug))


def test_pacman(root, held):
    local = root.path / "var/lib/pacman/local/x-2-1"
    local.mkdir(parents=True)
    (local / "desc").write_text("%NAME%\nx\n\n%VERSION%\n2-1\n\n%ARCH%\nx86_64\n")
    (local / "files").write_text("%%FILES%%\n%s\n" % PATH[1:])
    folder = root.path / "var/cache/pacman/pkg"
    packages.alpm(folder, "x", "2-1", {PATH: elf(WRONG)})
    packages.alpm(folder, "x", "1-1", {PATH: elf()})
    packages.alpm(folder, "x-debug", "1-1", {tree(RIGHT): debug()})
    files = search(root.path, held)
    assert content(files.file) == elf() and content(files.debug) == debug()


def test_apk(root, held):
    (root.path / "lib/apk/db").mkdir(parents=True)
    (root.path / "lib/apk/db/installed").write_text(
        "P:x\nV:2-r0\nA:x86_64\nF:%s\nR:%s\n\n" % (os.path.dirname(PATH)[1:], os.path.basename(PATH))
    )
    folder = root.path / "var/cache/apk"
    packages.apk(folder, "x", "2-r0", {PATH: elf(WRONG)})
    packages.apk(folder, "x", "1-r0", {PATH: elf()})
    packages.apk(folder, "x-dbg", "1-r0", {tree(RIGHT): debug()})
    files = search(root.path, held)
    assert content(files.file) == elf() and content(files.debug) == debug()


def test_packages_in_a_folder_of_the_users(root, held, tmp_path):
    """What `apt-get download` has fetched: read whatever it is called, as long as there are few."""
    packages.deb(tmp_path / "given", "some-name", "1", {PATH: elf()})
    found = search(root.path, held, search_paths=(str(tmp_path / "given"),)).file
    assert content(found) == elf() and found.at.startswith(str(tmp_path / "given/some-name_1_amd64.deb: "))


def test_nothing_without_an_id(root, held):
    packages.deb(root.cache, "libx1", "1", {PATH: elf(None)})
    assert from_cache(search(root.path, held, build_id=None).file) == []
    roots = Roots(Sysroot(str(root.path)))
    want = Want(kind=LOADED, module="ext4", build_id=RIGHT, paths=("ext4.ko",), release="6.1.0-1-amd64")
    assert list(finder.candidates(want, roots)) == [], "kernels are left out"


def test_package_is_read_once_for_several_files(root, monkeypatch):
    names = ["/usr/lib/%s.so.1" % name for name in ("liba", "libb", "libc")]
    for version, first in (("2", 0x40), ("1", 0x50)):
        files = {name: elf(bytes([first + at]) * 20) for at, name in enumerate(names)}
        package = packages.deb(root.cache, "libs", version, files)
        if version == "2":
            root.install(package)
    passes = []
    real = contents.members
    monkeypatch.setattr(contents, "members", lambda file: passes.append(1) or real(file))
    roots = Roots(Sysroot(str(root.path)))
    for at, name in enumerate(names):
        want = Want(kind=LOADED, module=name, build_id=bytes([0x50 + at]) * 20, paths=(name,))
        taken = [one for one in finder.candidates(want, roots) if isinstance(one, Candidate)]
        assert {os.pread(one.descriptor, 1 << 20, 0) for one in taken} >= {elf(want.build_id)}
        for one in taken:
            os.close(one.descriptor)
    assert len(passes) == 2, "one for each package"


def test_hostile_packages_cost_words_only(root, held, monkeypatch):
    """Cut, no package at all, a bomb, a FIFO, a link out: the right one behind them is found all the same."""
    root.install(packages.deb(root.cache, "libx1", "9", {PATH: elf(WRONG)}))
    cut = packages.deb(root.cache, "libx1", "8", {PATH: elf(WRONG, padding=200000)}, "none")
    cut.write_bytes(cut.read_bytes()[:-100000])
    (root.cache / "libx1_7_amd64.deb").write_bytes(b"no package")
    monkeypatch.setattr(stream, "MIN_ROOM", 1 << 20)
    packages.deb(root.cache, "libx1", "6", {"/a": bytes(30 << 20), PATH: elf()})
    os.mkfifo(str(root.cache / "libx1_5_amd64.deb"))
    (root.cache / "libx1_4_amd64.deb").symlink_to("/dev/zero")
    packages.deb(root.cache, "libx1", "1", {PATH: elf()})
    for age, version in enumerate("1456789"):
        os.utime(str(root.cache / ("libx1_%s_amd64.deb" % version)), (age, age), follow_symlinks=False)
    found = search(root.path, held).file
    assert content(found) == elf() and "libx1_1_" in found.at
    told = {one.path.split("_")[1]: one.detail for one in from_cache(found) if one.outcome == UNREADABLE}
    assert sorted(told) == ["6", "7", "8"]
    assert "times its size" in told["6"] and "ends early" in told["8"]


def test_links_in_a_package_lead_nowhere_else(root, held):
    secret = root.path / "etc/secret"
    secret.write_bytes(elf())
    root.install(packages.deb(root.cache, "libx1", "2", {PATH: elf(WRONG)}))
    files = {PATH: "../../../../../../etc/secret", LINK: PATH, "/usr/lib/loop": "loop"}
    packages.deb(root.cache, "libx1", "1", files)
    missing = search(root.path, held).file
    assert isinstance(missing, Missing)
    assert ABSENT in {one.outcome for one in from_cache(missing)}


def test_no_room_is_said(root, held, monkeypatch):
    root.install(packages.deb(root.cache, "libx1", "2", {PATH: elf()}))
    (root.path / PATH[1:]).unlink()
    real = os.fstatvfs
    monkeypatch.setattr(os, "fstatvfs", lambda one: os.statvfs_result(real(one)[:4] + (0,) + real(one)[5:]))
    missing = search(root.path, held).file
    assert [(one.outcome, one.detail) for one in from_cache(missing)] == [(UNREADABLE, "No space left on device")]


def test_descriptors_are_closed(root):
    packages.deb(root.cache, "libx1", "1", {PATH: elf()})
    before = len(os.listdir("/proc/self/fd"))
    with Held() as held:
        assert isinstance(search(root.path, held).file, Found)
    assert len(os.listdir("/proc/self/fd")) == before


def test_wants_of_every_kind_have_names():
    want = Want(kind=DEBUG, module="x", build_id=RIGHT, paths=("../x.debug",))
    assert finder._names(want) == {tree(RIGHT), "x.debug"}
    want = Want(kind=SUPPLEMENTARY, module="x", build_id=ALT, paths=("/usr/lib/debug/.dwz/x.debug",))
    assert finder._names(want) == {tree(ALT), "x.debug"}
    want = Want(kind=LOADED, module="x", build_id=ALT, paths=(PATH, PATH + " (deleted)", "./plug.so"))
    assert finder._names(want) == {PATH}


def test_crash_whose_library_was_upgraded_by_dpkg(root, tmp_path):
    """A real program dies in a root of its own; then dpkg installs version 2 of its library there. The archive has
    version 1, byte by byte."""
    if os.geteuid():
        pytest.skip("chroot needs root")
    try:
        shop = Workshop(tmp_path / "shop")
        first = shop.library("1/libplug.so.1").read_bytes()
        second = shop.library("2/libplug.so.1", "plug.c", "-DPAD=64").read_bytes()
        program = shop.build("prog", "opens.c")
        bring(root.path, program)
        root.install(packages.deb(root.cache, "libplug1", "1.0-1", {PLUG: first}))
        core = dump_of(["chroot", str(root.path), "/prog", PLUG], str(root.path))
        assert build_id(shop.origin / "1/libplug.so.1") != build_id(shop.origin / "2/libplug.so.1")
    except CannotCrash as why:
        pytest.skip(str(why))
    root.install(packages.deb(tmp_path / "repository", "libplug1", "1.0-2", {PLUG: second}))
    assert (root.path / PLUG[1:]).read_bytes() == second
    done = command.savedump("archive", core, "-o", tmp_path, "--sysroot", root.path, "--format", "tar")
    assert done.status == 0, done.error
    with tarfile.open(str(next(tmp_path.glob("archive-*.tar")))) as tar:
        top = tar.getnames()[0].split("/")[0]
        assert tar.extractfile(top + PLUG).read() == first
        manifest = json.load(tar.extractfile(top + "/manifest.json"))
    row = next(one for one in manifest["files"] if one["path"] == PLUG[1:])
    assert row["origin"] == "/var/cache/apt/archives/libplug1_1.0-1_amd64.deb: " + PLUG
    assert row["matched_by"] == "build-id"


def bring(root, program):
    """The program with what it needs, so that it runs in that root."""
    shutil.copy2(str(program), str(root / "prog"))
    words = subprocess.check_output(["ldd", str(program)], universal_newlines=True).split()
    for path in (word for word in words if word.startswith("/")):
        (root / os.path.dirname(path)[1:]).mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(path), str(root / path[1:]))
