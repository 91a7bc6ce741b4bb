# SPDX-License-Identifier: Apache-2.0
"""What lies beside a kernel dump and belongs to it, and the System.map of its very kernel."""

import os

import pytest

from savedump_core import beside
from savedump_core.model import Dump
from savedump_core.sysroot import Sysroot

RELEASE = "6.1.0-test"
KASLR = 0x2CC00000
TEXT, DATA, TABLE = 0xFFFFFFFF81000000, 0xFFFFFFFF82BF9B60, 0xFFFFFFFF82A10000
# What a kernel of 6.1 says, as far as it matters: mem_section is what the pointer holds, swapper_pg_dir another name.
VMCOREINFO = {
    "OSRELEASE": RELEASE, "KERNELOFFSET": "%x" % KASLR, "SIZE(list_head)": "16", "NUMBER(phys_base)": "7",
    "SYMBOL(_stext)": "%x" % (TEXT + KASLR), "SYMBOL(init_uts_ns)": "%x" % (DATA + KASLR),
    "SYMBOL(init_top_pgt)": "%x" % (TABLE + KASLR), "SYMBOL(swapper_pg_dir)": "%x" % (TABLE + KASLR),
    "SYMBOL(mem_section)": "ffff88935b153000",
}  # fmt: skip
PLACES = {"_stext": TEXT, "init_uts_ns": DATA, "init_top_pgt": TABLE, "mem_section": 0xFFFFFFFF833A54D8, "panic": TEXT}


def system_map(**changed):
    places = dict(PLACES, **changed)
    return "".join("%016x T %s\n" % (places[name], name) for name in sorted(places, key=lambda name: places[name]))


class Host:
    """A folder with a dump in it, and a root."""

    def __init__(self, folder):
        self.folder, self.root = folder / "crash", folder / "root"
        for made in (self.folder, self.root):
            made.mkdir()
        self.dump = self.folder / "vmcore"
        self.dump.write_bytes(b"dump")

    def put(self, path, text):
        at = self.root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)

    def entries(self, owner=None, vmcoreinfo=None, release=RELEASE):
        info = VMCOREINFO if vmcoreinfo is None else vmcoreinfo
        dump = Dump(
            path=str(self.dump), size=4, stored_size=4, compression=None, kind="kdump-compressed", machine="x86_64",
            bits=64, endian="little", os="linux", complete=True, incomplete_why=None, process=None, modules=(),
            identity="0" * 16, mtime_ns=0, kernel={"release": release, "vmcoreinfo": info},
        )  # fmt: skip
        return beside.entries(dump, os.getuid() if owner is None else owner, Sysroot(str(self.root)))

    def maps(self, **options):
        return [one for one in self.entries(**options) if one.role == "system-map"]


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["vmcore-dmesg.txt", "vmcore-dmesg-incomplete.txt", "kexec-dmesg.log", "kexec-dmesg-incomplete.log", "README.txt",
     "dmesg", "dmesg.202611230702", "dmesg.txt", "makedumpfile-R.pl"],
)  # fmt: skip
def test_what_a_crash_kernel_writes_beside_its_dump(host, name):
    (host.folder / name).write_text("words")
    (host.folder / ("x" + name)).write_text("no name of theirs")
    (entry,) = host.entries()
    assert (entry.path, entry.role, entry.size, entry.origin) == (name, "beside", 5, str(host.folder / name))


def test_a_dump_that_is_a_link_has_its_neighbours_beside_its_target(host, tmp_path):
    (host.folder / "dmesg.txt").write_text("words")
    (tmp_path / "README.txt").write_text("of something else")
    os.symlink(str(host.dump), str(tmp_path / "vmcore"))
    host.dump = tmp_path / "vmcore"
    assert [entry.origin for entry in host.entries()] == [str(host.folder / "dmesg.txt")]


def test_no_link_no_fifo_nothing_empty_nothing_huge_and_nothing_of_another_owner(host, tmp_path):
    (tmp_path / "secret").write_text("words")
    os.symlink(str(tmp_path / "secret"), str(host.folder / "dmesg.txt"))
    os.mkfifo(str(host.folder / "dmesg"))
    (host.folder / "README.txt").write_text("")
    with open(str(host.folder / "kexec-dmesg.log"), "wb") as huge:
        huge.truncate(beside.MAX_TEXT + 1)
    (host.folder / "vmcore-dmesg.txt").write_text("words")
    assert [entry.path for entry in host.entries()] == ["vmcore-dmesg.txt"]
    assert host.entries(owner=os.getuid() + 1) == []


@pytest.mark.parametrize("path", [pattern % RELEASE for pattern in beside._SYSTEM_MAPS])
def test_the_system_map_of_this_kernel(host, path):
    host.put(path[1:], system_map())
    (entry,) = host.maps()
    assert (entry.path, entry.origin) == ("System.map-" + RELEASE, str(host.root) + path)
    assert entry.matched_by == "symbols"


def test_a_stub_and_a_rebuilt_kernel_are_passed_over(host):
    """The rebuilt one has the same _stext, as on x86 every kernel has."""
    host.put("boot/System.map-" + RELEASE, "ffffffffffffffff B The real System.map is in the linux-image-dbg package\n")
    host.put("usr/lib/debug/boot/System.map-" + RELEASE, system_map(init_uts_ns=DATA + 64))
    assert host.maps() == []
    host.put("lib/modules/%s/System.map" % RELEASE, system_map())
    (entry,) = host.maps()
    assert entry.origin == "%s/lib/modules/%s/System.map" % (host.root, RELEASE)


def test_a_map_with_another_text_or_without_any_is_none(host):
    host.put("boot/System.map-" + RELEASE, system_map(_stext=TEXT + 4096))
    assert host.maps() == []
    host.put("boot/System.map-" + RELEASE, system_map().replace(" _stext", " other"))
    assert host.maps() == []


def test_a_static_symbol_of_the_same_name_does_no_harm(host):
    host.put("boot/System.map-" + RELEASE, "%016x d init_uts_ns\n" % (DATA - 64) + system_map())
    assert len(host.maps()) == 1


def test_without_kaslr(host):
    host.put("boot/System.map-" + RELEASE, system_map())
    plain = {"SYMBOL(%s)" % name: "%x" % PLACES[name] for name in ("_stext", "init_uts_ns")}
    assert len(host.maps(vmcoreinfo=plain)) == 1
    assert host.maps(vmcoreinfo=dict(plain, KERNELOFFSET="100000")) == []


@pytest.mark.parametrize(
    "vmcoreinfo",
    [{}, {"SYMBOL(_stext)": "no number"}, {"SYMBOL(_stext": "1", "SYMBOL()": "1"}, dict(VMCOREINFO, KERNELOFFSET="-")],
)
def test_a_dump_that_says_nothing_sound_of_its_symbols_gets_no_map(host, vmcoreinfo):
    host.put("boot/System.map-" + RELEASE, system_map())
    assert host.maps(vmcoreinfo=vmcoreinfo) == []


@pytest.mark.parametrize("release", [None, "", "../../etc", "x\0y"])
def test_a_release_that_is_no_name_leads_nowhere(host, release):
    host.put("etc", system_map())
    assert host.maps(release=release) == []


@pytest.mark.parametrize("line", ["no-number T _stext", "ffffffff81000000 T", "\0", "ffffffff81000000 T _stext [mod]"])
def test_a_damaged_map_is_passed_over(host, line):
    host.put("boot/System.map-" + RELEASE, line + "\n" + system_map())
    host.put("usr/lib/debug/boot/System.map-" + RELEASE, system_map())
    assert len(host.maps()) == 1


def test_a_fifo_is_not_waited_for(host):
    (host.root / "boot").mkdir()
    os.mkfifo(str(host.root / "boot" / ("System.map-" + RELEASE)))
    assert host.maps() == []
