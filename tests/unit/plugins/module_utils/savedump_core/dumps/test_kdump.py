# SPDX-License-Identifier: Apache-2.0
"""kdump-compressed files of every kind give back the memory that went in, and say what they lack."""

import os
import random
import struct

import pytest

from savedump_core.dumps import kdump
from savedump_core.errors import BadDump
from savedump_core.kernel.capture import NotDumped
from savedump_core.source import open_source
from support import kdumpwriter as w

BLOCK = 4096
PAGES = random.Random(3)


def page(seed, size=BLOCK):
    """Some content, and zeros behind it; every fifth page is all zeros, every seventh cannot be compressed."""
    if seed % 5 == 0:
        return bytes(size)
    return PAGES.getrandbits(8 * size if seed % 7 == 0 else 800).to_bytes(size, "little")


# Runs, holes, a hole as large as a byte of the bitmap, and a page beyond what is counted at a time (32768).
FRAMES = [1, 2, 3, 7, 8, 9, 30, 31, *range(64, 160), *range(200, 296), 1000, 32767, 32768, 40001]
MEMORY = {pfn: page(pfn) for pfn in FRAMES}
VMCOREINFO = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\nNUMBER(KERNEL_IMAGE_SIZE)=1073741824\n"
WHOLE = w.Kdump(memory=MEMORY, vmcoreinfo=VMCOREINFO, excluded=[4, 5, 6])


@pytest.fixture
def opened(tmp_path):
    """opened(bytes, ...) opens the first of these as a dump, with the others beside it."""
    sources = []

    def run(*contents):
        for number, content in enumerate(contents):
            (tmp_path / ("vmcore%d" % number)).write_bytes(content)
        source = open_source(str(tmp_path / "vmcore0"))
        sources.append(source)
        assert kdump.sniff(source)
        return kdump.open_kdump(source, source)

    yield run
    for source in sources:
        source.close()


def check(capture, memory, block=BLOCK):
    for pfn in memory:
        assert capture.read(pfn * block, block) == memory[pfn], pfn
    order = random.Random(4)
    for pfn in order.choices([pfn for pfn in memory if pfn + 1 in memory], k=50):
        at, size = order.randrange(block), order.randrange(block)
        assert capture.read(pfn * block + at, size) == (memory[pfn] + memory[pfn + 1])[at : at + size]
    runs = list(capture.stored())
    assert runs == sorted(runs)
    assert [pfn for first, size in runs for pfn in range(first // block, (first + size) // block)] == sorted(memory)


def absent(capture, pfn):
    with pytest.raises(NotDumped) as caught:
        capture.read(pfn * BLOCK, 1)
    return str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_versions_word_sizes_and_byte_orders(opened, version, bits, order):
    machine = {(64, "<"): b"x86_64", (64, ">"): b"s390x", (32, "<"): b"i686", (32, ">"): b"ppc"}[bits, order]
    notes = w.note(order, b"CORE", 1, bytes(336)) + w.note(order, b"VMCOREINFO", 0, VMCOREINFO)
    what = WHOLE._replace(version=version, bits=bits, order=order, machine=machine, notes=notes, timestamp=1700000000)
    found = opened(w.kdump(what).to_bytes())
    capture = found.capture
    assert (found.incomplete_why, found.warnings, found.parts) == (None, (), ())
    assert (capture.bits, capture.order, capture.machine) == (bits, order, machine.decode().replace("i686", "i386"))
    assert (capture.page_size, capture.dump_level, capture.phys_base) == (BLOCK, 31, 0x2C00000)
    assert (capture.compression, capture.crash_time) == ("zlib", 1700000000)
    assert (capture.utsname.release, capture.utsname.nodename) == ("6.1.0-test", "host.example.org")
    assert capture.vmcoreinfo == (VMCOREINFO if version >= 3 else None)
    check(capture, MEMORY)


@pytest.mark.parametrize("pack", sorted(w.FLAGS))
@pytest.mark.parametrize("block", [4096, 16384, 65536])
def test_compressions_and_page_sizes(opened, pack, block):
    memory = {pfn: page(pfn, block) for pfn in FRAMES[:40]}
    found = opened(w.kdump(WHOLE._replace(memory=memory, pack=pack, block=block)).to_bytes())
    assert found.incomplete_why is None
    assert found.capture.compression == (None if pack == "none" else pack)
    check(found.capture, memory, block)


@pytest.mark.parametrize(("machine", "aligned"), [(b"armv7l", True), (b"armv7l", False), (b"", False), (b"ppc", True)])
def test_32_bit_machines_that_align_offsets(opened, machine, aligned):
    """QEMU packs the sub-header on every machine; makedumpfile on ARM does as the ABI says."""
    what = WHOLE._replace(bits=32, machine=machine, aligned=aligned)
    assert opened(w.kdump(what).to_bytes()).capture.vmcoreinfo == VMCOREINFO


def test_machine_where_utsname_is_empty(opened):
    """QEMU leaves it so: VMCOREINFO tells, else the size of the registers."""
    assert opened(w.kdump(WHOLE._replace(machine=b"")).to_bytes()).capture.machine == "x86_64"
    for size, machine in ((392, "aarch64"), (336, "x86_64"), (17, "unknown")):
        what = WHOLE._replace(machine=b"Unknown", vmcoreinfo=b"", notes=w.note("<", b"CORE", 1, bytes(size)))
        assert opened(w.kdump(what).to_bytes()).capture.machine == machine


def test_why_a_page_is_not_there(opened):
    capture = opened(w.kdump(WHOLE).to_bytes()).capture
    assert absent(capture, 4) == absent(capture, 5).replace("5000", "4000")
    assert "left out by the dump level" in absent(capture, 4)
    assert "no memory" in absent(capture, 40002) and "no memory" in absent(capture, 1 << 50)
    with pytest.raises(NotDumped):
        capture.read(3 * BLOCK, BLOCK + 1)


def test_incomplete_by_its_flag(opened):
    found = opened(w.kdump(WHOLE._replace(status=w.INCOMPLETE, bare=20)).to_bytes())
    assert "cut" not in found.incomplete_why, "a full disk is another matter"
    assert "marked it incomplete" in found.incomplete_why and "20 of %d pages" % len(MEMORY) in found.incomplete_why
    assert "never written" in absent(found.capture, 40001)
    check_some = {pfn: MEMORY[pfn] for pfn in FRAMES[:-20]}
    assert all(found.capture.read(pfn * BLOCK, BLOCK) == check_some[pfn] for pfn in check_some)


def test_writer_that_was_killed_leaves_empty_descriptors(opened):
    found = opened(w.kdump(WHOLE._replace(bare=50)).to_bytes())
    assert "it is cut: 50 of %d pages" % len(MEMORY) in found.incomplete_why
    assert "marked" not in found.incomplete_why


def test_cut_file_says_how_much_is_missing(opened):
    pieces = w.kdump(WHOLE)
    whole = pieces.to_bytes()
    for lost, words in (
        (1, "1 of %d pages" % len(MEMORY)),
        (len(pieces.data), "%d of %d pages" % (len(MEMORY), len(MEMORY))),
        (len(pieces.data) + 24, "%d of %d pages" % (len(MEMORY), len(MEMORY))),
    ):
        found = opened(whole[:-lost])
        assert words in found.incomplete_why, lost
        assert ("%d bytes" % lost in found.incomplete_why) == (lost <= len(pieces.data))
        assert "cut off" in absent(found.capture, 40001)
    assert "within its bitmap" in opened(whole[: len(pieces.front) - 8000]).incomplete_why


@pytest.mark.parametrize("pack", sorted(w.FLAGS))
def test_an_end_that_never_reached_the_disk(opened, pack):
    """The size is right, and where the last pages belong there are zeros: the host went down too soon. Pages that are
    stored as they are may be zeros."""
    pieces = w.kdump(WHOLE._replace(pack=pack))
    whole = pieces.to_bytes()
    assert opened(whole).incomplete_why is None
    lost = len(pieces.data) // 2
    why = opened(whole[:-lost] + bytes(lost)).incomplete_why
    if pack == "none":
        assert why is None
        return
    offsets = [struct.unpack_from("<QII", pieces.descriptors, at) for at in range(0, len(pieces.descriptors), 24)]
    zeroed = [at for at, _size, flags in offsets if flags and at >= len(whole) - lost]
    assert why == "the last %d of %d pages are zeros in the file: they never reached the disk" % (
        len(zeroed), len(MEMORY))  # fmt: skip


def test_a_file_that_is_all_zero_pages(opened):
    memory = {pfn: bytes(BLOCK) for pfn in range(10000)}
    found = opened(w.kdump(WHOLE._replace(memory=memory)).to_bytes())
    assert found.incomplete_why is None and found.capture.read(9999 * BLOCK, BLOCK) == bytes(BLOCK)


def test_set_is_found_from_each_part(opened, tmp_path):
    files = w.split(WHOLE, [100, 250])
    for turn in range(3):
        found = opened(*(files[turn:] + files[:turn]), b"KDUMP   " + bytes(500), b"a log")
        assert found.incomplete_why is None
        assert sorted(os.path.basename(part.path) for part in found.parts) == ["vmcore1", "vmcore2"]
        assert all(part.size == os.path.getsize(part.path) for part in found.parts)
        check(found.capture, MEMORY)


def test_parts_of_another_crash_are_no_parts(opened):
    """A second crash of the same host, kernel and size: its registers differ."""
    mine = w.split(WHOLE._replace(notes=w.note("<", b"CORE", 1, b"a" * 336)), [100, 250])
    other = w.split(WHOLE._replace(notes=w.note("<", b"CORE", 1, b"b" * 336)), [100, 250])
    found = opened(mine[0], other[1], mine[2], other[0], other[2])
    assert [os.path.basename(part.path) for part in found.parts] == ["vmcore2"]
    assert "0x64000 to 0xfa000" in found.incomplete_why and "2 of" in found.incomplete_why
    assert "in a file of the set that is missing" in absent(found.capture, 120)
    assert found.capture.read(1000 * BLOCK, BLOCK) == MEMORY[1000]


def test_part_that_is_there_twice_counts_once(opened):
    files = w.split(WHOLE, [100])
    found = opened(files[1], files[0], files[1], files[0])
    assert [os.path.basename(part.path) for part in found.parts] == ["vmcore1"]
    assert found.incomplete_why is None
    check(found.capture, MEMORY)


def test_last_part_that_is_missing_is_said(opened):
    assert "0xfa000 to 0x9c42000" in opened(*w.split(WHOLE, [100, 250])[:2]).incomplete_why


def test_diskdump(opened):
    """Its sub-header is another one, and one bitmap is enough for it."""
    what = WHOLE._replace(signature=b"DISKDUMP", version=1, machine=b"i686", bits=32)
    found = opened(w.kdump(what).to_bytes())
    assert found.capture.phys_base is None
    check(found.capture, MEMORY)


def test_damaged_page_is_no_page(opened):
    pieces = w.kdump(WHOLE)
    content = bytearray(pieces.to_bytes())
    for at in range(pieces.data_at, len(content), 3):
        content[at] ^= 0x55
    capture = opened(bytes(content)).capture
    outcomes = [absent(capture, pfn) for pfn in (1, 2, 3)]
    assert all("corrupt" in outcome or "instead of" in outcome for outcome in outcomes)


@pytest.mark.parametrize("cut", [8, 400, 463])
def test_header_that_is_cut(opened, cut):
    with pytest.raises(BadDump, match="cut within its header"):
        opened(w.kdump(WHOLE).to_bytes()[:cut])


def test_header_that_makes_no_sense(opened):
    with pytest.raises(BadDump, match="damaged kdump header"):
        opened(b"KDUMP   " + bytes(8192))
    with pytest.raises(BadDump, match="damaged kdump header"):
        opened(w.kdump(WHOLE._replace(part=(40, 20))).to_bytes())
