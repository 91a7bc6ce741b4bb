# SPDX-License-Identifier: Apache-2.0
"""What stands where in a kernel dump's archive, and what no name out of a dump can bring about."""

import pytest

from savedump_core.model import VMLINUX, Cut, Dump, Entry, Findings, Found, Missing, Module, ModuleFiles, Part, Want
from savedump_core.plan import make_plan
from savedump_core.sysroot import Sysroot

RELEASE = "6.12.1+deb-amd64"
KERNEL, MODULE = b"\x11" * 20, b"\x22" * 20


def found(at, inside=None, build_id=KERNEL, **kwargs):
    want = Want(kind="loaded", module="x", build_id=build_id, paths=(), release=RELEASE)
    return Found(
        want=want, at=at, matched_by="build-id", size=100, build_id=build_id, attempts=(), mtime_ns=1,
        inside=inside or at, **kwargs
    )  # fmt: skip


def missing(kind="debug"):
    return Missing(Want(kind=kind, module="x", build_id=MODULE, paths=(), release=RELEASE), "missing", ())


def files(name, file, debug):
    module = Module(
        name=name, path=None, names=(), build_id=None, build_id_why=None, start=0, end=0, executable=name == VMLINUX
    )
    return ModuleFiles(module=module, file=file, debug=debug)


def plan(*modules, name="vmcore", beside=(), **more):
    values = dict(
        path="/var/crash/1/vmcore", size=1000, stored_size=1000, compression=None, kind="kdump-compressed",
        machine="x86_64", bits=64, endian="little", os="linux", complete=True, incomplete_why=None, process=None,
        modules=(), identity="0" * 16, mtime_ns=5, kernel={"release": RELEASE, "nodename": "db-01.example.net"},
    )  # fmt: skip
    dump = Dump(**dict(values, **more))
    return make_plan(dump, name, Findings(files=modules), Sysroot("/"), beside)


def members(the_plan):
    """Path to origin, target or size of text."""
    return {one.path: one.origin or one.target or len(one.data or b"") for one in the_plan.entries}


VMLINUX_FILE = found("/usr/lib/debug/boot/vmlinux-" + RELEASE)


def test_an_archive_is_named_after_its_host():
    assert plan().name == "db-01.example.net.archive-vmcore"
    assert plan(kernel={"release": None, "nodename": None}).name == "archive-vmcore"
    assert plan(kernel={"release": None, "nodename": "../../etc"}).name == "_.._etc.archive-vmcore"


def test_debian_layout():
    """One vmlinux with everything; a stripped module, and the whole one among the debug files."""
    stripped = found("/lib/modules/%s/kernel/fs/xfs/xfs.ko.xz" % RELEASE, build_id=MODULE)
    debug = found("/usr/lib/debug/lib/modules/%s/kernel/fs/xfs/xfs.ko" % RELEASE, build_id=MODULE)
    here = members(plan(files(VMLINUX, VMLINUX_FILE, VMLINUX_FILE), files("xfs", stripped, debug)))
    by_id = "usr/lib/debug/.build-id/"
    assert here["vmlinux-" + RELEASE] == VMLINUX_FILE.at
    assert here[".savedump/vmlinux"] == "../vmlinux-" + RELEASE
    assert here["usr/lib/debug/lib/modules/%s/kernel/fs/xfs/xfs.ko" % RELEASE] == debug.at
    assert here["lib/modules/%s/kernel/fs/xfs/xfs.ko.xz" % RELEASE] == stripped.at
    assert here[".savedump/modules"] == "../usr/lib/debug/lib/modules/" + RELEASE
    assert here[by_id + "11/%s.debug" % ("11" * 19)] == "../../../../../vmlinux-" + RELEASE
    assert here[by_id + "22/%s.debug" % ("22" * 19)] == "../../lib/modules/%s/kernel/fs/xfs/xfs.ko" % RELEASE
    assert here[".savedump/dump"] == "../vmcore" and here["vmcore"] == "/var/crash/1/vmcore"
    assert ".savedump/vmlinux.debug" not in here


def test_suse_layout():
    image, debug = found("/boot/vmlinux-%s.gz" % RELEASE), found("/usr/lib/debug/boot/vmlinux-%s.debug" % RELEASE)
    here = members(plan(files(VMLINUX, image, debug)))
    assert here["vmlinux-%s.gz" % RELEASE] == image.at and here["vmlinux-%s.debug" % RELEASE] == debug.at
    assert here[".savedump/vmlinux"] == "../vmlinux-%s.gz" % RELEASE
    assert here[".savedump/vmlinux.debug"] == "../vmlinux-%s.debug" % RELEASE


def test_files_of_a_search_path_get_the_names_that_debuggers_expect():
    anywhere = found("/srv/symbols/0815", inside="0815", build_id=MODULE)
    here = members(plan(files("nf_conntrack", anywhere, anywhere)))
    assert here["usr/lib/debug/lib/modules/%s/nf_conntrack.ko" % RELEASE] == anywhere.at


def test_modules_without_debug_information_are_packed_all_the_same():
    stripped = found("/lib/modules/%s/kernel/xfs.ko" % RELEASE, build_id=MODULE)
    the_plan = plan(files(VMLINUX, VMLINUX_FILE, VMLINUX_FILE), files("xfs", stripped, missing()))
    assert members(the_plan)[".savedump/modules"] == "../lib/modules/" + RELEASE
    assert not the_plan.complete


def test_log_configuration_and_what_lies_beside():
    beside = [Entry(path="kexec-dmesg.log", role="beside", size=3, origin="/var/crash/1/kexec-dmesg.log", mtime_ns=1)]
    here = members(plan(beside=beside, dmesg=b"[0.0] Linux", config=b"CONFIG_X=y\n", vmcoreinfo=b"A=1\n"))
    assert here[".savedump/vmcoreinfo"] == 4
    assert (here["dmesg.txt"], here["config-" + RELEASE]) == (11, 11)
    assert here["kexec-dmesg.log"] == "/var/crash/1/kexec-dmesg.log"


def test_all_parts_of_a_split_set():
    parts = tuple(Part(path="/var/crash/1/vmcore.%d" % n, size=10 * n, mtime_ns=n) for n in (2, 3))
    the_plan = plan(parts=parts, name="vmcore.1")
    here = members(the_plan)
    assert [here[".savedump/parts/%d" % n] for n in (1, 2, 3)] == ["../../vmcore.%d" % n for n in (1, 2, 3)]
    assert [one.path for one in the_plan.entries[-3:]] == ["vmcore.1", "vmcore.2", "vmcore.3"]
    assert the_plan.size >= 1000 + 20 + 30


@pytest.mark.parametrize(
    "name", ["usr", "lib", ".savedump", "manifest.json", "SHA256SUMS", "run-drgn.sh", "dmesg.txt", "vmlinux-" + RELEASE]
)
def test_a_dump_of_a_taken_name_takes_another(name):
    stripped = found("/lib/modules/%s/kernel/xfs.ko" % RELEASE, build_id=MODULE)
    debug = found("/usr/lib/debug/lib/modules/%s/kernel/xfs.ko" % RELEASE, build_id=MODULE)
    the_plan = plan(
        files(VMLINUX, VMLINUX_FILE, VMLINUX_FILE), files("xfs", stripped, debug), name=name, dmesg=b"x"
    )
    paths = [one.path for one in the_plan.entries]
    assert len(paths) == len(set(paths))
    last = the_plan.entries[-1]
    assert last.role == "dump" and not any(path.startswith(last.path + "/") for path in paths)
    assert last.path not in ("manifest.json", "SHA256SUMS")


@pytest.mark.parametrize("word", ["../../../../tmp/x", "/etc/passwd", "a\nb", "$(id)", "..", "x" * 5000])
def test_no_word_of_a_dump_leads_out_or_into_a_script(word):
    hostile = found("/srv/x", inside="x", build_id=MODULE)
    the_plan = plan(
        files(VMLINUX, VMLINUX_FILE, VMLINUX_FILE), files(word, hostile, hostile), name=word, dmesg=b"x",
        kernel={"release": word, "nodename": word},
    )  # fmt: skip
    for entry in the_plan.entries:
        parts = entry.path.split("/")
        assert ".." not in parts and "" not in parts and all(len(part) < 256 for part in parts), entry.path
        assert "\n" not in entry.path and "$" not in entry.path
        if entry.role == "launcher":
            assert word not in entry.data.decode() or word == ".."
    assert "/" not in the_plan.name and len(the_plan.name) < 200


def test_what_is_spare_is_cut():
    cut = Cut(name=".rela.debug_info", offset=10, size=20, type_at=90)
    vmlinux = VMLINUX_FILE._replace(spare=(cut,))
    (entry,) = [one for one in plan(files(VMLINUX, vmlinux, vmlinux)).entries if one.role == "vmlinux"]
    assert entry.cuts == (cut,)


def test_the_log_out_of_memory_and_the_one_that_suse_writes_beside_the_dump():
    theirs = Entry(path="dmesg.txt", role="beside", origin="/crash/dmesg.txt")
    here = members(plan(dmesg=b"out of memory", beside=[theirs]))
    assert here["dmesg.txt"] == len(b"out of memory") and here["2-dmesg.txt"] == "/crash/dmesg.txt"
