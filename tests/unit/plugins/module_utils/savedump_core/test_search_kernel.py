# SPDX-License-Identifier: Apache-2.0
"""vmlinux and kernel modules in every distribution's place; a kernel of the same release is not the same kernel."""

import gzip
import lzma
import os

import pytest

from savedump_core.model import BY_BANNER, BY_PATH, VMLINUX, Dump, Found, Missing, Module, SearchOptions
from savedump_core.search import search
from savedump_core.sysroot import Held
from support import elfwriter

RELEASE = "6.12.1+deb-amd64"
KERNEL, MODULE, OTHER = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
BANNER = "Linux version %s (builder@host) #1 SMP" % RELEASE
DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)
CODE = elfwriter.Section(".text", b"\xc3" * 64, flags=elfwriter.SHF_EXECINSTR)
STRIPPED_CODE = elfwriter.Section(".text", b"\xc3" * 64, type=elfwriter.SHT_NOBITS, flags=elfwriter.SHF_EXECINSTR)


def plain(build_id):
    return elfwriter.elf_file(build_id=build_id, sections=[CODE])


def full(build_id, extra=b""):
    """With code and debug information."""
    return elfwriter.elf_file(
        build_id=build_id, sections=[CODE, DEBUG_SECTION, elfwriter.Section(".rodata", extra)] if extra else
        [CODE, DEBUG_SECTION],
    )  # fmt: skip


def debug_only(build_id):
    return elfwriter.elf_file(build_id=build_id, sections=[STRIPPED_CODE, DEBUG_SECTION])


def module(name, build_id):
    return Module(
        name=name, path=None, names=(), build_id=build_id, build_id_why=None, start=0, end=0,
        executable=name == VMLINUX,
    )  # fmt: skip


class Root:
    def __init__(self, path):
        self.path = str(path)

    def put(self, where, content):
        at = os.path.join(self.path, where)
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "wb") as file:
            file.write(content)
        return at

    def look_for(self, *modules, **options):
        kernel = {"release": RELEASE, "banner": BANNER}
        dump = Dump(
            path="vmcore", size=1, stored_size=1, compression=None, kind="vmcore-elf", machine="x86_64", bits=64,
            endian="little", os="linux", complete=True, incomplete_why=None, process=None, modules=modules,
            identity="0" * 16, mtime_ns=0, kernel=kernel,
        )  # fmt: skip
        return search(dump, SearchOptions(**dict({"sysroot": self.path}, **options)), Held())


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


@pytest.mark.parametrize(
    "place",
    [
        "usr/lib/debug/boot/vmlinux-%s", "usr/lib/debug/lib/modules/%s/vmlinux", "usr/lib/debug/vmlinux-%s",
        "boot/vmlinux-%s", "lib/modules/%s/build/vmlinux", "usr/lib/modules/%s/vmlinux", "lib/modules/%s/vmlinux",
    ],
)  # fmt: skip
def test_vmlinux_in_the_places_of_distributions(root, place):
    at = root.put(place % RELEASE, full(KERNEL))
    (files,) = root.look_for(module(VMLINUX, KERNEL)).files
    assert files.file == files.debug and files.file.at == at


def test_a_vmlinux_of_the_same_release_and_another_build_id_is_refused(root):
    """It lies first in the chain; the right one is found behind it, and both are told."""
    decoy = root.put("usr/lib/debug/boot/vmlinux-" + RELEASE, full(OTHER))
    right = root.put("lib/modules/%s/build/vmlinux" % RELEASE, full(KERNEL))
    (files,) = root.look_for(module(VMLINUX, KERNEL)).files
    assert files.file.at == right
    assert [(one.outcome, one.detail) for one in files.file.attempts if one.path == decoy] == [
        ("other-build-id", OTHER.hex())
    ]
    os.unlink(right)
    findings = root.look_for(module(VMLINUX, KERNEL))
    assert findings.files[0].file.status == "mismatch" and findings.gaps


@pytest.mark.parametrize("pack, suffix", [(gzip.compress, ".gz"), (lzma.compress, ".xz")])
def test_a_packed_vmlinux_and_its_debug_file(root, pack, suffix):
    """SUSE's way: a compressed image in /boot, debug information beside the modules."""
    image = root.put("boot/vmlinux-%s%s" % (RELEASE, suffix), pack(plain(KERNEL)))
    debug = root.put("usr/lib/debug/boot/vmlinux-%s.debug" % RELEASE, debug_only(KERNEL))
    findings = root.look_for(module(VMLINUX, KERNEL))
    assert (findings.files[0].file.at, findings.files[0].debug.at) == (image, debug)
    assert not findings.gaps


def test_debug_information_alone_is_no_vmlinux(root):
    root.put("usr/lib/debug/boot/vmlinux-" + RELEASE, debug_only(KERNEL))
    findings = root.look_for(module(VMLINUX, KERNEL))
    assert isinstance(findings.files[0].file, Missing) and isinstance(findings.files[0].debug, Found)
    assert [missing.want.kind for missing in findings.gaps] == ["loaded"]


def test_a_vmlinux_without_debug_information_leaves_a_gap(root):
    """Arch ships one with BTF only: crash and drgn need more."""
    root.put("usr/lib/modules/%s/build/vmlinux" % RELEASE, plain(KERNEL))
    root.put("lib/modules/%s/build/vmlinux" % RELEASE, plain(KERNEL))
    findings = root.look_for(module(VMLINUX, KERNEL))
    assert [missing.want.kind for missing in findings.gaps] == ["debug"]


def test_a_kernel_without_build_id_is_matched_by_its_banner(root):
    root.put("usr/lib/debug/boot/vmlinux-" + RELEASE, full(OTHER, b"\0" + BANNER.encode() + b"\n\0"))
    (files,) = root.look_for(module(VMLINUX, None)).files
    assert files.file.matched_by == BY_BANNER


def test_the_release_alone_is_not_enough(root):
    decoy = root.put("usr/lib/debug/boot/vmlinux-" + RELEASE, full(OTHER, BANNER[:-1].encode()))
    (files,) = root.look_for(module(VMLINUX, None)).files
    assert files.file.status == "mismatch"
    assert [one.outcome for one in files.file.attempts if one.path == decoy] == ["other-build-id"]


@pytest.mark.parametrize(
    "place",
    [
        "lib/modules/%s/kernel/drivers/crypto/crc32c-intel.ko", "usr/lib/modules/%s/extra/crc32c_intel.ko",
        "lib/modules/%s/updates/dkms/crc32c-intel.ko", "lib/modules/%s/weak-updates/crc32c-intel.ko",
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix, pack", [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)])
def test_modules_in_the_places_of_distributions(root, place, suffix, pack):
    """Their debug information is what Debian ships: the whole module again."""
    loaded = root.put(place % RELEASE + suffix, pack(plain(MODULE)))
    debug = root.put("usr/lib/debug/lib/modules/%s/kernel/crc32c-intel.ko" % RELEASE, full(MODULE))
    findings = root.look_for(module("crc32c_intel", MODULE))
    (files,) = findings.files
    assert (files.file.at, files.debug.at) == (loaded, debug) and not findings.missing


def test_a_module_of_the_same_name_and_another_build_id_is_refused(root):
    """Upgraded in place, while the old kernel ran."""
    root.put("lib/modules/%s/kernel/xfs.ko" % RELEASE, plain(OTHER))
    right = root.put("lib/modules/%s/updates/xfs.ko" % RELEASE, plain(MODULE))
    findings = root.look_for(module("xfs", MODULE))
    assert findings.files[0].file.at == right
    assert [missing.want.kind for missing in findings.gaps] == ["debug"]


def test_a_module_needs_no_loaded_file_beside_its_debug_file(root):
    root.put("usr/lib/debug/lib/modules/%s/kernel/xfs.ko.debug" % RELEASE, debug_only(MODULE))
    findings = root.look_for(module("xfs", MODULE))
    assert isinstance(findings.files[0].file, Missing) and not findings.gaps


def test_search_paths_hold_a_tree_or_just_files(root, tmp_path):
    tree, flat = Root(tmp_path / "tree"), Root(tmp_path / "flat")
    vmlinux = tree.put("usr/lib/debug/lib/modules/%s/vmlinux" % RELEASE, full(KERNEL))
    xfs = flat.put("any name at all", full(MODULE))
    files = root.look_for(module(VMLINUX, KERNEL), module("xfs", MODULE), search_paths=(tree.path, flat.path)).files
    assert [one.debug.at for one in files] == [vmlinux, xfs]


def test_a_module_without_build_id_is_taken_only_on_demand_and_marked(root):
    root.put("lib/modules/%s/kernel/xfs.ko" % RELEASE, full(OTHER))
    assert root.look_for(module("xfs", None)).files[0].file.status == "unverified"
    assert root.look_for(module("xfs", None), allow_unverified=True).files[0].file.matched_by == BY_PATH


@pytest.mark.parametrize("release", ["../../../etc", "..", ".", "", "a/b", "a\0b"])
def test_a_release_from_a_dump_leads_nowhere_else(root, release):
    from savedump_core.finders import kernel_layout
    from savedump_core.model import LOADED, Want
    from savedump_core.sysroot import Roots, Sysroot

    want = Want(kind=LOADED, module=VMLINUX, build_id=KERNEL, paths=(), release=release)
    assert list(kernel_layout.candidates(want, Roots(Sysroot(root.path)))) == []


def relocatable(e_type, build_id=KERNEL):
    content = bytearray(elfwriter.elf_file(
        build_id=build_id,
        base=0x400000,
        sections=[CODE, DEBUG_SECTION, elfwriter.Section(".rela.debug_info", b"\2" * 4096, type=4, align=8),
                  elfwriter.Section(".rela.text", b"\3" * 4096, type=4, align=8)],
    ))  # fmt: skip
    content[16] = e_type
    return bytes(content)


def test_relocations_of_debug_information_are_spare_in_a_linked_file_only(root):
    root.put("boot/vmlinux-" + RELEASE, relocatable(2))
    (cut,) = root.look_for(module(VMLINUX, KERNEL)).files[0].file.spare
    assert (cut.name, cut.size) == (".rela.debug_info", 4096)
    assert root.look_for(module(VMLINUX, KERNEL), whole_vmlinux=True).files[0].file.spare == ()
    root.put("boot/vmlinux-" + RELEASE, relocatable(1))
    assert root.look_for(module(VMLINUX, KERNEL)).files[0].file.spare == ()
