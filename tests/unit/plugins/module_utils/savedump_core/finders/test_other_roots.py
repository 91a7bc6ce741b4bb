# SPDX-License-Identifier: Apache-2.0
"""The same path in other roots: real mount namespaces, a real overlay, and the layouts of container stores, snapshots
and ostree. In each a decoy: the right name, the wrong build ID."""

import os
import pathlib
import shutil
import subprocess
import tempfile
from contextlib import ExitStack

import pytest

from savedump_core import search as searching
from savedump_core.finders import other_roots
from savedump_core.model import ABSENT, MATCH, MISMATCH, UNREADABLE, Dump, Found, Missing, Module, Piece, SearchOptions
from savedump_core.sysroot import Held, Owner, rights_of
from support import elfwriter
from support.sleepers import in_namespace

# Nobody else's: roots of other tests are seen, too.
RIGHT, WRONG, ALT = os.urandom(20), os.urandom(20), os.urandom(20)
DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)
NOBODY = 65534
PATH = "/opt/app/libx.so"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def elf(build_id=RIGHT, sections=(), **kwargs):
    return elfwriter.elf_file(build_id=build_id, sections=list(sections), **kwargs)


def debug(build_id=RIGHT, **kwargs):
    return elf(build_id, [DEBUG_SECTION], **kwargs)


def tree(build_id, suffix=".debug"):
    return "/usr/lib/debug/.build-id/%s/%s%s" % (build_id.hex()[:2], build_id.hex()[2:], suffix)


def dump(*modules, **kwargs):
    return Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=modules, identity="0" * 16, mtime_ns=0,
        **kwargs,
    )  # fmt: skip


def module(path=PATH, build_id=RIGHT, **kwargs):
    values = dict(
        name=path, path=path, names=(), build_id=build_id, build_id_why=None, start=0x1000, end=0x2000,
        executable=False,
    )  # fmt: skip
    return Module(**dict(values, **kwargs))


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


@pytest.fixture
def root(everyones, held):
    class Root:
        path = str(everyones / "root")

        def put(self, where, content):
            at = self.path + where
            os.makedirs(os.path.dirname(at), exist_ok=True)
            with open(at, "wb") as file:
                file.write(content)
            return at

        def search(self, *modules, kernel=None, owner=None, read_at=None, **options):
            options = SearchOptions(sysroot=self.path, **options)
            return searching.search(dump(*modules, kernel=kernel), options, held, owner, read_at=read_at)

    os.mkdir(Root.path)
    return Root()


def content(found):
    return os.pread(found.descriptor, found.size + 1, 0)


def outcomes(result):
    return [(one.outcome, one.detail) for one in result.attempts if one.finder == "other-root"]


LAYERS = [
    "/var/lib/docker/overlay2/%s/diff",
    "/var/snap/docker/common/var-lib-docker/overlay2/%s/diff",
    "/var/lib/docker/overlay2/%s/merged",
    "/var/lib/docker/btrfs/subvolumes/%s",
    "/var/lib/docker/vfs/dir/%s",
    "/var/lib/containers/storage/overlay/%s/diff",
    "/home/me/.local/share/containers/storage/overlay/%s/diff",
    "/home/me/.local/share/docker/fuse-overlayfs/%s/diff",
    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%s/fs",
    "/var/lib/containerd/io.containerd.snapshotter.v1.native/snapshots/%s",
    "/var/lib/rancher/k3s/agent/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%s/fs",
    "/var/lib/rancher/rke2/agent/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%s/fs",
    "/var/lib/k0s/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%s/fs",
    "/var/snap/microk8s/common/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%s/fs",
    "/var/lib/lxd/storage-pools/default/containers/%s/rootfs",
    "/var/lib/lxc/%s/rootfs",
    "/var/lib/machines/%s",
]
EARLIER = [
    "/.snapshots/%s/snapshot",
    "/.snapshots/%s",
    "/.zfs/snapshot/%s",
    "/timeshift/snapshots/%s/localhost",
    "/run/timeshift/4711/backup/timeshift/snapshots/%s/localhost",
    "/run/timeshift/backup/timeshift-btrfs/snapshots/%s/@",
    "/ostree/deploy/fedora/deploy/%s",
    "/sysroot/ostree/deploy/fedora/deploy/%s",
]


@pytest.mark.parametrize("pattern", LAYERS + EARLIER)
def test_same_path_in_another_root(root, pattern):
    """The right file in one, a decoy in another, and nothing in a third."""
    root.put("/etc/passwd", b"me:x:1000:1000::/home/me:/bin/sh\n")
    root.put(PATH, elf(WRONG))
    os.makedirs(root.path + pattern % "empty")
    root.put(pattern % "decoy" + PATH, elf(ALT))
    missing = root.search(module()).files[0].file
    assert isinstance(missing, Missing) and missing.status == "mismatch"
    said = outcomes(missing)
    assert said[0] == (MISMATCH, ALT.hex()) and said[1] == (ABSENT, "not in the others")
    at = root.put(pattern % "right" + PATH, elf())
    found = root.search(module()).files[0].file
    assert isinstance(found, Found) and found.at == at and content(found) == elf()
    assert found.matched_by == "build-id" and found.attempts[-1].outcome == MATCH


@pytest.mark.parametrize("top", ["/home", "/opt/app", "/usr"])
@pytest.mark.parametrize("where", [".snapshots/7/snapshot", ".zfs/snapshot/autosnap_2026-11-23"])
def test_snapshots_of_a_file_system_that_is_mounted_further_down(root, top, where):
    path = top + "/lib/app/libx.so"
    root.put(path, elf(WRONG))
    root.put("%s/%s%s" % (top, where.replace("7", "8").replace("23", "22"), "/lib/app/libx.so"), elf(ALT))
    root.put("/%s/lib/app/libx.so" % where, elf(ALT))
    at = root.put("%s/%s/lib/app/libx.so" % (top, where), elf())
    found = root.search(module(path)).files[0].file
    assert isinstance(found, Found) and found.at == at


def test_newest_layer_first(root):
    pattern = "/var/lib/docker/overlay2/%s/diff"
    for age, name in enumerate(["b", "c", "a"]):
        root.put(pattern % name + PATH, elf(WRONG + bytes([age])))
        os.utime(root.path + "/var/lib/docker/overlay2/" + name, (10**9 - age, 10**9 - age))
    tried = [one.path for one in root.search(module()).files[0].file.attempts if one.outcome == MISMATCH]
    assert [path.split("/overlay2/")[1][0] for path in tried] == ["b", "c", "a"]


def test_copies_of_the_file_that_is_there_are_not_looked_into(root):
    """A snapshot by hard links, as Timeshift makes them: the file that was refused already."""
    at = root.put(PATH, elf(WRONG))
    for number in range(5):
        copy = "%s/timeshift/snapshots/%d/localhost%s" % (root.path, number, PATH)
        os.makedirs(os.path.dirname(copy))
        os.link(at, copy)
    file = root.search(module()).files[0].file
    assert [one.outcome for one in file.attempts].count(MISMATCH) == 1


def test_build_id_tree_and_debug_files_of_a_layer(root):
    layer = "/var/lib/containers/storage/overlay/abc/diff"
    root.put(layer + "/usr/lib/.build-id/" + tree(RIGHT, "").split(".build-id/")[1], elf())
    at = root.put(layer + tree(RIGHT), debug(altlink=("../../../.dwz/x", ALT)))
    alternate = root.put(layer + tree(ALT), debug(ALT))
    files = root.search(module("/no/longer/there")).files[0]
    assert files.file.at.startswith(root.path + layer)
    assert (files.debug.at, files.supplementary.at) == (at, alternate)
    assert content(files.debug) == debug(altlink=("../../../.dwz/x", ALT))


def test_debug_file_beside_a_file_of_another_root(root):
    """That root has no tree of debug files, and is asked all the same: the file came from it."""
    layer = "/var/lib/containers/storage/overlay/abc/diff"
    stripped = elf(debuglink=("libx.debug", 1))
    root.put(layer + PATH, stripped)
    at = root.put(layer + "/opt/app/.debug/libx.debug", debug())
    files = root.search(module()).files[0]
    assert isinstance(files.file, Found) and files.debug.at == at


def test_debug_files_are_not_looked_for_where_there_are_none(root):
    root.put(PATH, elf())
    for name in ("a", "b"):
        root.put("/var/lib/docker/overlay2/%s/diff/etc/x" % name, b"")
    assert outcomes(root.search(module()).files[0].debug) == []
    root.put("/var/lib/docker/overlay2/a/diff/usr/lib/debug/x", b"")
    assert outcomes(root.search(module()).files[0].debug) == [(ABSENT, "in none of them")]


def test_absolute_links_stay_inside(root, tmp_path):
    layer = "/var/lib/docker/overlay2/abc/diff"
    at = root.put(layer + "/usr/lib/app/libx.so", elf())
    os.symlink("/usr/lib", root.path + layer + "/lib")
    os.symlink("/usr/lib/app/libx.so", root.path + layer + "/x.so")
    for path in ("/lib/app/libx.so", "/x.so"):
        found = root.search(module(path)).files[0].file
        assert isinstance(found, Found) and os.path.samestat(os.fstat(found.descriptor), os.stat(at))


@pytest.mark.parametrize("hostile", ["/etc", "../../../../../../../../../../etc", "outside"])
def test_links_out_of_a_root_lead_nowhere(root, tmp_path, hostile):
    """The right file lies outside, in the sysroot's /etc and in the host's: it is reached by no link of a layer."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "libx.so").write_bytes(elf())
    root.put("/etc/libx.so", elf())
    layer = root.path + "/var/lib/docker/overlay2/abc/diff"
    os.makedirs(layer + "/opt")
    target = str(outside) if hostile == "outside" else hostile
    os.symlink(target, layer + "/opt/app")
    os.symlink(target + "/libx.so", layer + "/file.so")
    for path in (PATH, "/file.so", "/opt/app/../app/libx.so"):
        assert isinstance(root.search(module(path)).files[0].file, Missing)
    # Nor is a store that is a link, or a layer.
    for folder in ("/var/lib/machines", "/var/lib/containers/storage/overlay/x"):
        os.makedirs(os.path.dirname(root.path + folder), exist_ok=True)
        os.symlink(str(tmp_path), root.path + folder)
    assert isinstance(root.search(module("/outside/libx.so")).files[0].file, Missing)


def test_devices_and_whiteouts_of_a_layer(root):
    layer = "/var/lib/docker/overlay2/%s/diff"
    os.makedirs(root.path + layer % "fifo" + "/opt/app")
    os.mkfifo(root.path + layer % "fifo" + PATH)
    file = root.search(module()).files[0].file
    assert outcomes(file) == [("refused", "a FIFO, not a regular file")]


@pytest.mark.parametrize(
    "path", ["/nul\0byte", "relative/x", "/" + "x/" * 2000 + "y", "/" + "x" * 5000, "/", "//", "/.."]
)
def test_hostile_paths_get_nothing(root, path):
    os.makedirs(root.path + "/var/lib/docker/overlay2/abc/diff/x/x/x")
    assert isinstance(root.search(module(path)).files[0].file, Missing)


@needs_root
def test_file_without_id_is_read_with_the_rights_of_the_dumps_owner(root, monkeypatch):
    """Its pages prove it; whether root may read it is not the question."""
    at = root.put("/var/lib/machines/one" + PATH, elf(None))
    pieces = (Piece(offset=0, at=0, size=64, writable=False),)
    wanted = module(build_id=None, build_id_why="none", pieces=pieces)
    proposed = []
    monkeypatch.setattr(
        other_roots, "Candidate", lambda **values: proposed.append(values) or searching.Candidate(**values)
    )
    found = root.search(wanted, read_at=lambda at, size: elf(None)[at : at + size]).files[0].file
    assert isinstance(found, Found) and found.at == at and [one["named_by_dump"] for one in proposed] == [True]
    del proposed[:]
    root.put("/var/lib/machines/one" + PATH, elf())
    assert isinstance(root.search(module()).files[0].file, Found)
    assert [one["named_by_dump"] for one in proposed] == [False]


def test_file_that_nothing_can_prove_is_not_taken_from_another_root(root):
    root.put("/var/lib/machines/one" + PATH, elf(None))
    file = root.search(module(build_id=None), allow_unverified=True).files[0].file
    assert isinstance(file, Missing) and outcomes(file) == []


RELEASE = "6.1.0-1-amd64"


@pytest.mark.parametrize("pattern", EARLIER)
def test_kernel_of_an_earlier_state(root, pattern):
    """vmlinux and a module from the last but one snapshot; a container's layer is not asked."""
    modules = (module(None, name="vmlinux"), module(None, ALT, name="xfs"))
    kernel = {"release": RELEASE}
    for where, ids in (("decoy", (WRONG, WRONG)), ("right", (RIGHT, ALT))):
        root.put(pattern % where + "/usr/lib/debug/boot/vmlinux-" + RELEASE, debug(ids[0]))
        root.put(pattern % where + "/usr/lib/modules/%s/kernel/fs/xfs/xfs.ko" % RELEASE, elf(ids[1]))
    root.put("/var/lib/machines/one/usr/lib/debug/boot/vmlinux-" + RELEASE, debug())
    vmlinux, xfs = root.search(*modules, kernel=kernel).files
    top = root.path + pattern % "right"
    assert vmlinux.file.at == top + "/usr/lib/debug/boot/vmlinux-" + RELEASE
    assert xfs.file.at == top + "/usr/lib/modules/%s/kernel/fs/xfs/xfs.ko" % RELEASE
    shutil.rmtree(top)
    vmlinux, xfs = root.search(*modules, kernel=kernel).files
    assert isinstance(vmlinux.file, Missing) and isinstance(xfs.file, Missing)


@needs_root
def test_mount_namespaces(tmp_path, held):
    """Two processes, each with a file system of its own at the path; the host has nothing there."""
    (tmp_path / "app").mkdir()
    for name, build_id in (("right", RIGHT), ("decoy", WRONG)):
        (tmp_path / name).write_bytes(elf(build_id))
    path = str(tmp_path / "app/libx.so")
    script = 'mount -t tmpfs none "$1"; cp "$2" "$1/libx.so"'
    with ExitStack() as stack:
        decoy = stack.enter_context(in_namespace(script, str(tmp_path / "app"), str(tmp_path / "decoy")))
        file = searching.search(dump(module(path)), SearchOptions(), held).files[0].file
        assert isinstance(file, Missing)
        assert (MISMATCH, WRONG.hex()) in outcomes(file)
        pid = stack.enter_context(in_namespace(script, str(tmp_path / "app"), str(tmp_path / "right")))
        file = searching.search(dump(module(path)), SearchOptions(), held).files[0].file
    assert isinstance(file, Found) and content(file) == elf()
    assert file.at == "/proc/%d/root%s" % (pid, path) and decoy != pid
    assert not os.path.exists(path), "the namespace is gone, the file is still open"


STATIC = '#include <stdio.h>\nint main(void) { puts("ready"); fflush(stdout); return getchar() == 1; }'


@needs_root
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc makes the program")
def test_container_on_an_overlay(tmp_path, held):
    """A process whose root is a real overlay: what the container deleted is not seen, what it wrote is."""
    for name in ("image/opt/app", "image/bin", "upper/opt/app", "work", "merged", "mnt"):
        (tmp_path / "disk" / name).mkdir(parents=True)
    program = tmp_path / "disk/image/bin/waits"
    subprocess.run(["gcc", "-static", "-x", "c", "-", "-o", str(program)], input=STATIC.encode(), check=True)
    (tmp_path / "disk/image/opt/app/libx.so").write_bytes(elf(WRONG))
    (tmp_path / "right").write_bytes(elf())
    # The upper layer lies in memory: an overlay upon an overlay is refused by the kernel.
    script = """
        cp -a "$1/." "$1/../copy"; mount -t tmpfs none "$1"; cp -a "$1/../copy/." "$1"
        mount -t overlay overlay -o "lowerdir=$1/image,upperdir=$1/upper,workdir=$1/work" "$1/merged"
        rm "$1/merged/opt/app/libx.so"; cp "$2" "$1/merged/opt/app/liby.so"
    """
    disk = str(tmp_path / "disk")
    with in_namespace(script, disk, str(tmp_path / "right"), then='exec chroot "$1/merged" /bin/waits') as pid:
        lib_x = searching.search(dump(module("/opt/app/libx.so")), SearchOptions(), held).files[0].file
        lib_y = searching.search(dump(module("/opt/app/liby.so")), SearchOptions(), held).files[0].file
    assert isinstance(lib_x, Missing) and MISMATCH not in [outcome for outcome, _ in outcomes(lib_x)]
    assert isinstance(lib_y, Found) and lib_y.at == "/proc/%d/root/opt/app/liby.so" % pid
    assert content(lib_y) == elf()


@needs_root
def test_layer_of_a_container_that_is_gone_with_its_whiteout(root):
    """The upper layer of a real overlay says that the file is deleted, the lower one still has it."""
    store = root.path + "/var/lib/docker/overlay2/"
    at = root.put("/var/lib/docker/overlay2/lower/diff" + PATH, elf())
    script = """
        mount -t tmpfs none /mnt; cp -a "$1/lower/diff" /mnt
        mkdir /mnt/upper /mnt/work /mnt/merged
        mount -t overlay overlay -o lowerdir=/mnt/diff,upperdir=/mnt/upper,workdir=/mnt/work /mnt/merged
        rm /mnt/merged/opt/app/libx.so; mkdir "$1/top"; cp -a /mnt/upper "$1/top/diff"
    """
    with in_namespace(script, store[:-1]):
        pass
    assert os.lstat(store + "top/diff" + PATH).st_rdev == 0
    file = root.search(module()).files[0].file
    assert isinstance(file, Found) and file.at == at
    assert not [outcome for outcome, _ in outcomes(file) if outcome not in (MATCH, ABSENT)]


@needs_root
def test_user_is_told_what_only_root_may_do(held, root):
    root.put("/var/lib/docker/overlay2/a/diff" + PATH, elf())
    os.chmod(root.path + "/var/lib/docker", 0o710)
    with rights_of(Owner(NOBODY, NOBODY)):
        in_image = root.search(module()).files[0].file
        on_host = searching.search(dump(module("/no/such/file")), SearchOptions(), held).files[0].file
    assert isinstance(in_image, Missing) and isinstance(on_host, Missing)
    said = [(one.path, one.detail) for one in in_image.attempts if one.outcome == UNREADABLE]
    assert ("/var/lib/docker/overlay2/*/diff", "Permission denied") in said
    said = dict((one.path, one.detail) for one in on_host.attempts if one.outcome == UNREADABLE)
    assert said["/proc/*/root"].endswith("of other users: only root may look into them")
