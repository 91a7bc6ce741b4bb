# SPDX-License-Identifier: Apache-2.0
"""Formats that are not read are named exactly, and nothing is claimed of them."""

import gzip
import struct

import pytest

from savedump_core.dumps import opaque, open_dump, sniff
from savedump_core.errors import BadDump
from savedump_core.source import may_be_dump, open_source
from savedump_core.sysroot import Sysroot
from support import kdumpwriter as w


def s390():
    """zgetdump's struct df_s390_hdr, of a dump taken at 2023-11-14 22:13:20 UTC."""
    clock = (1700000000 + 2208988800) * 1000000 << 12
    head = struct.pack(">QIIII", 0xA8190173618F23FD, 5, 4096, 4, 4096).ljust(64, b"\0")
    return (head + struct.pack(">QQI", clock, 0, 2)).ljust(8192, b"\0")


def xen_elf():
    """An ELF core with sections and no segments: the null one, .shstrtab, .xen_pages."""
    names = b"\0.shstrtab\0.note.Xen\0.xen_pages\0"
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 4, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 3, 1
    )
    sections = bytes(64) + struct.pack("<IIQQQQ", 1, 3, 0, 0, 256, len(names)).ljust(64, b"\0") + bytes(64)
    return (header + sections).ljust(256, b"\0") + names


FILES = {
    "lkcd": ("lkcd", struct.pack("<QIII", 0xA8190173618F23ED, 8, 4096, 1) + struct.pack("<I", 4096)),
    "lkcd, big endian": ("lkcd", struct.pack(">Q", 0xA8190173618F23ED) + bytes(500)),
    "s390": ("s390-dump", s390()),
    "sadump": ("sadump", b"sadump\0\0" + bytes(5000)),
    "sadump, media backup": ("sadump", bytes(4096) + b"sadump\0\0" + bytes(500)),
    "vmss": ("vmware-vmss", struct.pack("<I", 0xBED2BED2) + bytes(500)),
    "vmss, old": ("vmware-vmss", struct.pack("<I", 0xBED0BED0) + bytes(500)),
    "vmss, partial": ("vmware-vmss", struct.pack("<I", 0xBED3BED3) + bytes(500)),
    "xc_core": ("xen-core", struct.pack("<I", 0xF00FEBED) + bytes(500)),
    "xl dump-core": ("xen-core", xen_elf()),
    "xc_save": ("xen-save", b"LinuxGuestRecord" + bytes(500)),
    "xl save": ("xen-save", b"Xen saved domain, xl format\n \0 \r" + bytes(500)),
    "LiME": ("lime", b"EMiL" + bytes(500)),
    "libvirt": ("libvirt-save", b"LibvirtQemudSave" + bytes(500)),
    "QEMU": ("qemu-savevm", b"QEVM" + bytes(500)),
}


@pytest.fixture(params=sorted(FILES))
def file(request, tmp_path):
    kind, content = FILES[request.param]
    path = tmp_path / "memory.vmss"
    path.write_bytes(content)
    return kind, str(path)


def test_named_and_nothing_claimed(file):
    kind, path = file
    with open_source(path) as source:
        assert sniff(source) is opaque
        dump = open_dump(source, Sysroot("/"))
    assert dump.kind == kind and dump.complete is False and "is not read" in dump.incomplete_why
    assert dump.modules == () and "is not read" in dump.modules_why
    assert dump.process is None and dump.kernel["release"] is None and dump.kernel["build_id"] is None
    assert may_be_dump(path)


def test_inside_compression(file, tmp_path):
    kind, path = file
    packed = tmp_path / "memory.gz"
    packed.write_bytes(gzip.compress(open(path, "rb").read()))
    assert may_be_dump(str(packed))
    with open_source(str(packed)) as source:
        dump = open_dump(source, Sysroot("/"))
    assert (dump.kind, dump.compression) == (kind, "gzip")


def test_what_their_headers_say(tmp_path):
    said = {}
    for name in ("s390", "lkcd", "xl dump-core"):
        (tmp_path / "x").write_bytes(FILES[name][1])
        with open_source(str(tmp_path / "x")) as source:
            dump = open_dump(source, Sysroot("/"))
        said[name] = (dump.machine, dump.endian, dump.kernel["page_size"], dump.kernel["crash_time"])
    assert said == {
        "s390": ("s390x", "big", 4096, 1700000000),
        "lkcd": ("unknown", "little", 4096, None),
        "xl dump-core": ("x86_64", "little", None, None),
    }


@pytest.mark.parametrize("suffix", [".vmss", ".vmsn"])
def test_vmware_memory_beside_its_state(tmp_path, suffix):
    (tmp_path / ("guest" + suffix)).write_bytes(FILES["vmss"][1])
    path = str(tmp_path / ("guest" + suffix))
    with open_source(path) as source:
        alone = open_dump(source, Sysroot("/"))
        (tmp_path / "guest.vmem").write_bytes(bytes(9000))
        together = open_dump(source, Sysroot("/"))
    assert alone.kind == together.kind == "vmware" + suffix.replace(".", "-")
    assert alone.parts == () and "guest.vmem" in alone.warnings[0]
    assert [(part.path, part.size) for part in together.parts] == [(str(tmp_path / "guest.vmem"), 9000)]


def test_memory_that_is_a_link_is_not_taken(tmp_path):
    (tmp_path / "guest.vmss").write_bytes(FILES["vmss"][1])
    (tmp_path / "guest.vmem").symlink_to("/etc/passwd")
    with open_source(str(tmp_path / "guest.vmss")) as source:
        assert open_dump(source, Sysroot("/")).parts == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PAGEDU64" + bytes(500), "Windows crash dump"),
        (b"MDMP" + bytes(500), "Windows minidump"),
        (bytes(8192), "nothing but zeros"),
        (b"hello", "a text file"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_dump_of_linux(tmp_path, content, words):
    path = tmp_path / "x"
    path.write_bytes(content)
    with open_source(str(path)) as source, pytest.raises(BadDump, match=words):
        open_dump(source, Sysroot("/"))
    assert not may_be_dump(str(path))
    packed = tmp_path / "x.gz"
    packed.write_bytes(gzip.compress(content))
    assert not may_be_dump(str(packed)), "a log that was rotated"


def test_what_may_be_a_dump(tmp_path):
    memory = {pfn: bytes([pfn]) * 4096 for pfn in range(1, 9)}
    pieces = w.kdump(w.Kdump(memory=memory))
    vmcore = w.vmcore(
        w.Vmcore(loads=[w.Load(0x1000, memory[1])], notes=w.note("<", b"VMCOREINFO", 0, b"OSRELEASE=1\n"))
    )
    for content in (pieces.to_bytes(), vmcore, w.flat(w.as_makedumpfile(pieces)), w.flat(w.in_records(vmcore))):
        for packed in (content, gzip.compress(content)):
            (tmp_path / "x").write_bytes(packed)
            assert may_be_dump(str(tmp_path / "x"))
