# SPDX-License-Identifier: Apache-2.0
"""kernel/vmcoreinfo.py: the lines, and the search for them."""

import pytest
from savedump_core.kernel import vmcoreinfo
from savedump_core.kernel.capture import Capture, NotDumped
from savedump_core.kernel.vmcoreinfo import Unreadable, parse, scan
from support.pagetables import Physical

LINES = (
    b"OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(prb)=ffffffff82a1b2c0\nOFFSET(a.b)=24\nSIZE(a)=96\n"
    b"NUMBER(phys_base)=-16777216\nNUMBER(kimage_voffset)=0xffff7ffff0000000\nKERNELOFFSET=1a000000\nnonsense\n\0junk=1"
)


def capture(memory):
    return Capture(machine="x86_64", bits=64, order="<", read=memory.read, stored=memory.stored)


def test_numbers_have_the_base_the_kernel_prints_them_in():
    info = parse(LINES)
    assert info.values["OSRELEASE"] == "6.1.0" and "junk" not in info.values
    assert info.symbol("prb") == 0xFFFFFFFF82A1B2C0
    assert (info.offset("a.b"), info.size("a")) == (24, 96)
    assert info.number("phys_base") == -16777216
    assert info.number("kimage_voffset") == 0xFFFF7FFFF0000000
    assert (info.hexadecimal("KERNELOFFSET"), info.decimal("PAGESIZE")) == (0x1A000000, 4096)
    assert info.hexadecimal("CRASHTIME") is None


@pytest.mark.parametrize("line", [b"OFFSET(x)=-1", b"OFFSET(x)=99999999", b"OFFSET(x)=", b"OFFSET(x)=1f", b"x=1"])
def test_a_wrong_offset_is_named(line):
    with pytest.raises(Unreadable, match="VMCOREINFO"):
        parse(line).offset("x")


def test_a_size_is_not_zero():
    with pytest.raises(Unreadable, match=r"SIZE\(x\)=0"):
        parse(b"SIZE(x)=0").size("x")


def test_a_long_number_is_cut():
    assert parse(b"SYMBOL(x)=" + b"f" * 60000).symbol("x") == (1 << 64) - 1


def test_found_across_a_page_that_cannot_be_read():
    memory = Physical()
    memory.write(0x5000, LINES)

    def read(address, size):
        if address <= 0x3000 < address + size:
            raise NotDumped("damaged")
        return memory.read(address, size)

    one_run = capture(memory)._replace(read=read, stored=lambda: iter([(0x2000, 0x4000)]))
    memory.write(0x2000, bytes(0x3000))
    assert scan(one_run, lambda info: True).values["OSRELEASE"] == "6.1.0"


def test_only_at_the_start_of_a_page():
    memory = Physical()
    memory.write(0x5010, LINES)
    with pytest.raises(Unreadable, match="no VMCOREINFO note"):
        scan(capture(memory), lambda info: True)


def test_the_first_if_none_holds():
    memory = Physical()
    memory.write(0x5000, LINES.replace(b"6.1.0", b"first"))
    memory.write(0x7000, LINES)
    assert scan(capture(memory), lambda info: False).values["OSRELEASE"] == "first"
    assert scan(capture(memory), lambda info: info.values["OSRELEASE"] == "6.1.0").values["OSRELEASE"] == "6.1.0"


def test_the_search_ends(monkeypatch):
    memory = Physical()
    memory.write(0x5000, LINES)
    monkeypatch.setattr(vmcoreinfo, "SCAN_SECONDS", -1.0)
    with pytest.raises(Unreadable, match="ended after"):
        scan(capture(memory), lambda info: True)
