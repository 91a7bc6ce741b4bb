# SPDX-License-Identifier: Apache-2.0
"""What running processes still have mapped, with real ones; beside each a process with a decoy: the right name, the
wrong build ID."""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack

import pytest

from savedump_core import search as searching
from savedump_core.finders import _root_places, processes
from savedump_core.model import (
    ABSENT,
    MATCH,
    MISMATCH,
    REFUSED,
    UNREADABLE,
    Dump,
    Found,
    Missing,
    Module,
    SearchOptions,
)
from savedump_core.sysroot import Held, Owner, rights_of
from support.command import savedump
from support.crashes import kernel
from support.crashes.kernel import CannotCrash
from support.sleepers import in_namespace, mapping, sleeping

# Nobody else's: other processes of this machine are seen, too, those of other tests among them.
RIGHT, WRONG = os.urandom(20), os.urandom(20)
NOBODY = 65534

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc makes the libraries")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may follow /proc/PID/map_files")
pytestmark = [needs_gcc]

LIBRARY = """
#include <stdlib.h>
int enter(void) { abort(); }
"""
# Opens a library, says so, and after a byte on its input calls it, which ends it; at the end of its input it just ends.
WAITS = """
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    char byte;
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : 0;
    puts("ready");
    fflush(stdout);
    if (read(0, &byte, 1) != 1)
        return 0;
    return library ? ((int (*)(void))dlsym(library, "enter"))() : 1;
}
"""


def build(at, source, build_id, *options):
    at.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["gcc", "-x", "c", "-", "-o", str(at), "-Wl,--build-id=0x" + build_id.hex()] + list(options),
        input=source.encode(), check=True,
    )  # fmt: skip
    return at


def library(at, build_id=RIGHT, *options):
    return build(at, LIBRARY, build_id, "-shared", "-fPIC", *options)


def upgrade(at, *options):
    """A package manager's way: the new file takes the old one's name."""
    library(at.with_name(at.name + ".new"), WRONG, *options).rename(at)


def dump(path, build_id=RIGHT, **kwargs):
    values = dict(
        name=str(path), path=str(path), names=(), build_id=build_id, build_id_why=None, start=0x1000, end=0x2000,
        executable=False,
    )  # fmt: skip
    return Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=(Module(**dict(values, **kwargs)),),
        identity="0" * 16, mtime_ns=0,
    )  # fmt: skip


@pytest.fixture
def held():
    with Held() as descriptors:
        yield descriptors


@pytest.fixture
def everyones():
    """A folder that any user may enter. pytest's own are root's, and it sees to that whenever a run starts."""
    with tempfile.TemporaryDirectory(prefix="savedump-test-") as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


def search(held, path, build_id=RIGHT, **kwargs):
    return searching.search(dump(path, build_id, **kwargs), SearchOptions(), held).files[0]


def content(found):
    return os.pread(found.descriptor, found.size + 1, 0)


@needs_root
@pytest.mark.parametrize("fate", ["upgraded", "deleted", "its folder is gone", "renamed"])
def test_library_that_a_process_still_maps(tmp_path, held, fate):
    at = library(tmp_path / "lib/libx.so.1")
    old = at.read_bytes()
    with mapping(at) as pid:
        if fate == "upgraded":
            upgrade(at)
        elif fate == "renamed":
            at.rename(at.with_name("another name"))
            at.with_name("another name").rename(tmp_path / "libx.so.1")
        elif fate == "deleted":
            at.unlink()
        else:
            shutil.rmtree(str(at.parent))
        file = search(held, at).file
    assert isinstance(file, Found) and content(file) == old, "it is kept open, whatever becomes of the process"
    assert (file.matched_by, file.build_id) == ("build-id", RIGHT)
    assert file.attempts[-1].finder == "process" and file.attempts[-1].outcome == MATCH
    assert file.at.startswith("/proc/%d/map_files/" % pid) and "libx.so.1" in file.at


@needs_root
def test_deleted_program(tmp_path, held):
    at = build(tmp_path / "prog", WAITS, RIGHT)
    old = at.read_bytes()
    with sleeping([at]):
        at.unlink()
        file = search(held, at, executable=True, deleted=True).file
    assert isinstance(file, Found) and content(file) == old


@needs_root
def test_process_with_another_file_of_the_name_is_refused(tmp_path, held):
    """And says nothing of the wanted one: any program may be called that."""
    at = library(tmp_path / "lib/libx.so.1")
    elsewhere = library(tmp_path / "other/libx.so.1", WRONG)
    with mapping(elsewhere):
        at.unlink()
        file = search(held, at).file
    assert isinstance(file, Missing) and file.status == "missing"
    refused = [one for one in file.attempts if one.finder == "process" and str(tmp_path) in one.path]
    assert [(one.outcome, one.detail) for one in refused] == [
        (ABSENT, "another file of that name: %s" % WRONG.hex())
    ]


@needs_root
def test_right_one_among_several_processes(tmp_path, held):
    """The path was upgraded twice; each process has another of the three, one has one from elsewhere."""
    at = library(tmp_path / "lib/libx.so", WRONG, "-DFIRST")
    elsewhere = library(tmp_path / "other/libx.so", b"\x33" * 20)
    with ExitStack() as stack:
        stack.enter_context(mapping(at))
        library(at.with_name("new")).rename(at)
        old = at.read_bytes()
        stack.enter_context(mapping(at))
        upgrade(at)
        stack.enter_context(mapping(at))
        stack.enter_context(mapping(elsewhere))
        file = search(held, at).file
    assert isinstance(file, Found) and content(file) == old


@needs_root
def test_many_processes_cost_one_look(tmp_path, held):
    at = library(tmp_path / "libx.so", WRONG)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(mapping(at))
        at.unlink()
        file = search(held, at).file
    looks = [one for one in file.attempts if one.finder == "process" and str(tmp_path) in one.path]
    assert [one.outcome for one in looks] == [MISMATCH] and file.status == "mismatch"


@needs_root
def test_odd_names(tmp_path, held):
    """A line feed is written as four characters in maps, and a name may end like a deleted one's."""
    at = library(tmp_path / "li b\n (deleted)" / os.fsdecode(b"x\xff.so (deleted)"))
    old = at.read_bytes()
    with mapping(at):
        at.unlink()
        # What dumps.core makes of the kernel's "x.so (deleted) (deleted)".
        file = search(held, at, deleted=True).file
    assert isinstance(file, Found) and content(file) == old


@needs_root
def test_process_in_another_mount_namespace_and_what_was_stripped_there(tmp_path, held):
    """The library was deleted there, too; its debug file lies beside where it was, in that root only."""
    path = tmp_path / "app/libx.so"
    library(path, RIGHT, "-g")
    debug = tmp_path / "libx.debug"
    subprocess.run(["objcopy", "--only-keep-debug", str(path), str(debug)], check=True)
    subprocess.run(["objcopy", "--strip-debug", "--add-gnu-debuglink=%s" % debug, str(path)], check=True)
    stripped = tmp_path / "stripped"
    path.rename(stripped)
    program = build(tmp_path / "prog", WAITS, WRONG)
    script = 'mount -t tmpfs none "$1"; cp "$2" "$1/libx.so"; mkdir "$1/.debug"; cp "$3" "$1/.debug"'
    then = '(while [ ! -e "$1/go" ]; do sleep 0.01; done; rm "$1/libx.so") & exec "$4" "$1/libx.so"'
    with in_namespace(script, str(path.parent), str(stripped), str(debug), str(program), then=then) as pid:
        root = "/proc/%d/root" % pid
        open(root + str(path.parent / "go"), "w").close()
        while os.path.exists(root + str(path)):
            pass
        files = search(held, path)
    assert isinstance(files.file, Found) and content(files.file) == stripped.read_bytes()
    assert isinstance(files.debug, Found) and content(files.debug) == debug.read_bytes()
    assert files.debug.at == "%s%s/.debug/libx.debug" % (root, path.parent)


def test_nothing_is_asked_of_processes_if_nothing_is_missing(tmp_path, held, monkeypatch):
    at = library(tmp_path / "libx.so", RIGHT, "-g")

    def fail():
        raise AssertionError("/proc was opened")

    for module in (processes, _root_places):
        monkeypatch.setattr(module, "process_ids", fail)
    assert isinstance(search(held, at).file, Found)
    at.unlink()
    with pytest.raises(AssertionError):
        search(held, at)


def test_processes_of_this_host_say_nothing_about_a_mounted_image(tmp_path, held):
    at = library(tmp_path / "libx.so")
    (tmp_path / "image").mkdir()
    with mapping(at):
        at.unlink()
        found = searching.search(dump(at), SearchOptions(sysroot=str(tmp_path / "image")), held).files[0].file
    assert isinstance(found, Missing) and not [one for one in found.attempts if one.finder == "process"]


@needs_root
def test_file_without_id_is_not_taken_from_a_process(tmp_path, held):
    """Nothing would prove it, and it would be read with root's rights."""
    at = library(tmp_path / "libx.so")
    with mapping(at):
        at.unlink()
        options = SearchOptions(allow_unverified=True)
        file = searching.search(dump(at, None), options, held).files[0].file
    assert isinstance(file, Missing)


@needs_root
def test_file_at_its_path_is_not_read_again_with_more_rights(everyones, held):
    """What the dump's owner may not read at its path, root does not read for him by another way."""
    at = library(everyones / "libx.so")
    at.chmod(0o600)
    with mapping(at):
        findings = searching.search(dump(at), SearchOptions(), held, Owner(NOBODY, NOBODY))
    file = findings.files[0].file
    assert isinstance(file, Missing) and file.attempts[0].outcome == UNREADABLE


@needs_root
def test_device_that_is_mapped_is_not_opened(tmp_path, held):
    """A node of /dev/zero under the library's name: opening a device may be an act."""
    at = tmp_path / "libx.so"
    os.mknod(str(at), 0o600 | stat.S_IFCHR, os.stat("/dev/zero").st_rdev)
    code = "import mmap, os, sys; f = os.open(sys.argv[1], 0); m = mmap.mmap(f, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)"
    try:
        with sleeping([sys.executable, "-uc", code + "; print('ready'); sys.stdin.read()", at]):
            at.unlink()
            file = search(held, at).file
    except AssertionError:
        pytest.skip("no device can be opened in %s" % tmp_path)
    assert isinstance(file, Missing)
    assert [one.outcome for one in file.attempts if one.finder == "process" and str(at) in one.path] == [REFUSED]


@needs_root
def test_process_that_ends_while_one_looks(tmp_path):
    at = library(tmp_path / "libx.so")
    with mapping(at):
        at.unlink()
        mapped, = processes._look().by_path[os.fsencode(str(at))]
    assert list(processes._opened(mapped, by_name=False)) == []


@needs_root
@pytest.mark.parametrize("cap, value", [("MAX_PROCESSES", 1), ("MAX_MAPS", 100), ("MAX_FILES", 1)])
def test_caps_are_said(tmp_path, held, monkeypatch, cap, value):
    monkeypatch.setattr(processes, cap, value)
    file = search(held, tmp_path / "none").file
    assert "more is mapped than is looked into" in [one.detail for one in file.attempts]


def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@needs_root
def test_user_is_told_what_only_root_may_do(everyones, held):
    program, at = build(everyones / "prog", WAITS, WRONG), library(everyones / "libx.so")
    with sleeping([program, at], cwd="/", preexec_fn=as_nobody) as pid:
        at.unlink()
        with rights_of(Owner(NOBODY, NOBODY)):
            file = search(held, at).file
    assert isinstance(file, Missing)
    said = {one.path.split("-")[0]: one.detail for one in file.attempts if one.finder == "process"}
    refused = [detail for path, detail in said.items() if path.startswith("/proc/%d/map_files/" % pid)]
    assert refused == ["Operation not permitted: only root may open what a process has mapped"]
    # Not how many: an archive that is made a moment later is to be the same.
    assert said["/proc/*/maps"] == "processes of other users: only root may look into them"


@needs_root
def test_user_gets_his_own_deleted_program(everyones, held):
    at = build(everyones / "prog", WAITS, RIGHT)
    old = at.read_bytes()
    with sleeping([at], cwd="/", preexec_fn=as_nobody) as pid:
        at.unlink()
        with rights_of(Owner(NOBODY, NOBODY)):
            file = search(held, at).file
    assert isinstance(file, Found) and content(file) == old
    assert file.at == "/proc/%d/exe (%s (deleted))" % (pid, at)


@needs_root
@pytest.mark.parametrize("fate", ["upgraded", "deleted"])
def test_archive_of_a_crash_holds_the_old_library(tmp_path, fate):
    """Both processes had it open when it was upgraded; one died, the other sleeps."""
    program = build(tmp_path / "prog", WAITS, b"\x44" * 20)
    at = library(tmp_path / "lib/libx.so")
    old = at.read_bytes()
    (tmp_path / "cwd").mkdir()
    with sleeping([program, at]):
        try:
            core = kernel.dump_of(
                [str(program), str(at)], str(tmp_path / "cwd"),
                while_waiting=lambda: upgrade(at) if fate == "upgraded" else at.unlink(),
            )  # fmt: skip
        except CannotCrash as error:
            pytest.skip(str(error))
        done = savedump("archive", core, "-o", str(tmp_path), "--format", "tar")
    assert done.status == 0, done.error
    archive, = tmp_path.glob("archive-*.tar")
    with tarfile.open(str(archive)) as tar:
        top = tar.getnames()[0].split("/")[0]
        assert tar.extractfile("%s%s" % (top, at)).read() == old
        manifest = json.loads(tar.extractfile(top + "/manifest.json").read().decode())
    assert manifest["complete"] is True
    entry, = [one for one in manifest["files"] if one["path"] == str(at)[1:]]
    assert entry["build_id"] == RIGHT.hex() and "/map_files/" in entry["origin"]
    assert savedump("verify", str(archive)).status == 0
    if fate == "upgraded":
        assert old != at.read_bytes()


@needs_root
def test_archive_of_a_crash_without_a_sibling_has_a_gap(tmp_path):
    """The counterpart: with the decoy in its place and nobody who maps the old one."""
    program = build(tmp_path / "prog", WAITS, b"\x44" * 20)
    at = library(tmp_path / "lib/libx.so")
    (tmp_path / "cwd").mkdir()
    try:
        core = kernel.dump_of([str(program), str(at)], str(tmp_path / "cwd"), while_waiting=lambda: upgrade(at))
    except CannotCrash as error:
        pytest.skip(str(error))
    with mapping(at):
        done = savedump("archive", core, "-o", str(tmp_path), "--format", "tar")
    assert done.status == 3
