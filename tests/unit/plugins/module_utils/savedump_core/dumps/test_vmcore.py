# SPDX-License-Identifier: Apache-2.0
"""ELF vmcores of the kernel, QEMU and makedumpfile -E: told from a process's core, and read by physical address."""

import os

import pytest

from savedump_core.dumps import core, sniff, vmcore
from savedump_core.errors import BadDump
from savedump_core.kernel.capture import LoadedRange, NotDumped
from savedump_core.source import open_source
from support import elfwriter
from support import kdumpwriter as w

MIB = 1 << 20
LOW, MIDDLE = os.urandom(4 * 4096), os.urandom(3 * 4096)
TEXT = 0xFFFFFFFF81000000
DIRECT = 0xFFFF888000000000
VMCOREINFO = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\n"


def notes(order="<"):
    return w.note(order, b"CORE", 1, bytes(336)) * 2 + w.note(order, b"VMCOREINFO", 0, VMCOREINFO)


PROC = w.Vmcore(
    notes=notes(),
    loads=[
        # The kernel's text has a segment of its own, and lies in that of all memory, too.
        w.Load(0x1000000, MIDDLE, vaddr=TEXT),
        w.Load(0x1000, LOW, vaddr=DIRECT + 0x1000),
        w.Load(0x1000000, MIDDLE + b"\x07" * 4096, vaddr=DIRECT + 0x1000000),
    ],
)
FILTERED = w.Vmcore(
    notes=notes(),
    loads=[
        w.Load(0, LOW, vaddr=DIRECT, memsz=4 * MIB),
        w.Load(4 * MIB, b"", vaddr=DIRECT + 4 * MIB, memsz=MIB),
        w.Load(5 * MIB, MIDDLE, vaddr=DIRECT + 5 * MIB),
    ],
)


@pytest.fixture
def opened(tmp_path):
    """opened(bytes) is the container."""
    sources = []

    def run(content):
        (tmp_path / "vmcore").write_bytes(content)
        sources.append(open_source(str(tmp_path / "vmcore")))
        assert sniff(sources[-1]) is vmcore
        return vmcore.open_elf(sources[-1], sources[-1])

    yield run
    for source in sources:
        source.close()


def format_of(content, tmp_path):
    (tmp_path / "core").write_bytes(content)
    with open_source(str(tmp_path / "core")) as source:
        return sniff(source)


def absent(capture, address):
    with pytest.raises(NotDumped) as caught:
        capture.read(address, 1)
    return str(caught.value)


@pytest.mark.parametrize(
    ("bits", "order", "machine", "name"),
    [
        (64, "<", 62, "x86_64"),
        (64, ">", 21, "ppc64"),
        (32, "<", 3, "i386"),
        (32, ">", 20, "ppc"),
        (64, "<", 183, "aarch64"),
    ],
)
@pytest.mark.parametrize("phoff", [None, 192])
@pytest.mark.parametrize("xnum", [False, True])
def test_memory_by_physical_address(opened, bits, order, machine, name, phoff, xnum):
    mask = (1 << bits) - 1
    loads = [load._replace(vaddr=load.vaddr & mask) for load in PROC.loads]
    what = PROC._replace(
        bits=bits, order=order, machine=machine, loads=loads, notes=notes(order), phoff=phoff, xnum=xnum
    )
    found = opened(w.vmcore(what))
    capture = found.capture
    assert (found.incomplete_why, found.warnings) == (None, ())
    assert (capture.machine, capture.bits, capture.order, capture.vmcoreinfo) == (name, bits, order, VMCOREINFO)
    assert capture.read(0x1000, len(LOW)) == LOW
    assert capture.read(0x1000000 + 4000, 200) == MIDDLE[4000:4200]
    assert capture.read(0x1000000, len(MIDDLE) + 4096) == MIDDLE + b"\x07" * 4096
    assert list(capture.stored()) == [
        (0x1000, len(LOW)),
        (0x1000000, len(MIDDLE)),
        (0x1000000 + len(MIDDLE), 4096),
    ] or (list(capture.stored()) == [(0x1000, len(LOW)), (0x1000000, len(MIDDLE) + 4096)])
    assert "no memory" in absent(capture, 0) and "no memory" in absent(capture, 0x1000 + len(LOW))
    assert LoadedRange(vaddr=TEXT & mask, paddr=0x1000000, size=len(MIDDLE)) in capture.mapped


def test_left_out_is_not_zero(opened):
    capture = opened(w.vmcore(FILTERED)).capture
    assert capture.read(0, len(LOW)) == LOW
    assert "left out by the dump level" in absent(capture, len(LOW))
    assert "left out by the dump level" in absent(capture, 5 * MIB - 1)
    assert "no memory" in absent(capture, 6 * MIB)
    with pytest.raises(NotDumped):
        capture.read(len(LOW) - 1, 2)
    assert capture.mapped == (LoadedRange(vaddr=DIRECT, paddr=0, size=5 * MIB + len(MIDDLE)),), "joined again"


def test_incomplete_and_cut(opened):
    found = opened(w.vmcore(PROC._replace(flags=1)))
    assert "marked it incomplete" in found.incomplete_why
    whole = w.vmcore(PROC)
    found = opened(whole[:-5000])
    assert "5000 (" in found.incomplete_why and "are missing" in found.incomplete_why
    assert "cut off" in absent(found.capture, 0x1000000 + len(MIDDLE) + 4095)
    assert found.capture.read(0x1000, len(LOW)) == LOW
    headers = opened(whole[:200])
    assert "of 4 program headers were written" in headers.incomplete_why


def test_program_headers_that_were_never_written(opened):
    """makedumpfile -E writes each when its segment is done."""
    whole = bytearray(w.vmcore(PROC))
    whole[64 + 2 * 56 : 64 + 4 * 56] = bytes(2 * 56)
    assert "2 of 4 program headers" in opened(bytes(whole)).incomplete_why


def test_kernel_without_notes_is_told_by_its_addresses(opened):
    assert opened(w.vmcore(PROC._replace(notes=b""))).capture.vmcoreinfo is None


def test_s390_kernel_has_a_note_like_a_process(tmp_path):
    """arch/s390/kernel/crash_dump.c gives the kernel an NT_PRPSINFO by the name vmlinux."""
    kernel = bytearray(136)
    kernel[-96:-89] = b"vmlinux"
    for name, format in ((bytes(kernel), vmcore), (bytes(136), core)):
        what = w.Vmcore(notes=w.note(">", b"CORE", 3, name), loads=[w.Load(0, LOW)], order=">", machine=22)
        assert format_of(w.vmcore(what), tmp_path) is format


def test_process_is_no_kernel(tmp_path):
    for abi in elfwriter.ABIS.values():
        program = elfwriter.elf_file(abi, b"\x11" * 20, base=0x400000)
        one = elfwriter.process_core(abi, [elfwriter.Mapped(b"/bin/x", 0x400000, program)])
        assert format_of(one.to_bytes(), tmp_path) is core, abi.name


@pytest.mark.parametrize("count", [0, 1 << 20])
def test_count_of_program_headers_that_cannot_be(opened, tmp_path, count):
    content = bytearray(w.vmcore(PROC._replace(xnum=True)))
    content[64 + 44 : 64 + 48] = (count + 1 if count else 0).to_bytes(4, "little")
    with pytest.raises(BadDump, match="damaged ELF header"):
        (tmp_path / "vmcore").write_bytes(content)
        with open_source(str(tmp_path / "vmcore")) as source:
            vmcore.open_elf(source, source)
