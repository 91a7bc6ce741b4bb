# SPDX-License-Identifier: Apache-2.0
"""kernel/facts.py: everything out of one memory, and a reason for what is not there."""

import os
import random
import sys

import pytest
from savedump_core.errors import BadDump, ToolMissing
from savedump_core.kernel.capture import NotDumped, Utsname
from savedump_core.kernel.facts import Facts, read_facts
from savedump_core.kernel.oops import Task
from support.kernelbtf import ModuleLayout
from support.kernelmemory import BANNER, BUILD_ID, RELEASE, TEXT, VERSION, Record, build_id_note, whole_kernel
from support.pagetables import PAGE


def modules_of(facts):
    return [(one.name, one.build_id, one.taints) for one in facts.modules]


MODULES = [("second", b"\x22" * 20, "OE"), ("first", b"\x11" * 20, "")]


def test_everything():
    facts = read_facts(whole_kernel().capture(crash_time=1700000000, page_size=PAGE))
    assert (facts.release, facts.version, facts.nodename, facts.machine) == (RELEASE, VERSION, "host.example", "x86_64")
    assert (facts.banner, facts.build_id, facts.crash_time) == (BANNER, BUILD_ID, 1700000000)
    assert facts.panic == "BUG: kernel NULL pointer dereference, address: 0"
    assert facts.crashing_task == Task(pid=42, comm="a b", cpu=1)
    assert (facts.kaslr_offset, facts.page_size, facts.taint) == (0, PAGE, "GOE")
    assert facts.modules_linked_in == ("second", "first")
    assert modules_of(facts) == MODULES
    assert facts.dmesg.startswith(b"[    0.000000] [      T1] " + BANNER.encode() + b"\n")
    assert facts.command_line == "root=/dev/sda1 quiet"
    assert facts.config == b"CONFIG_TEST=y\n"
    assert facts.vmcoreinfo["OSRELEASE"] == RELEASE
    assert facts.unknown == {} and facts.warnings == ()


def test_without_symbols_the_image_is_searched():
    kernel = whole_kernel(symbols=False)
    del kernel.info["BUILD-ID"]
    facts = read_facts(kernel.capture())
    assert facts.build_id == BUILD_ID
    assert facts.banner == BANNER
    assert modules_of(facts) == MODULES
    assert facts.command_line == "root=/dev/sda1 quiet panic=0"  # from the log


def test_build_id_from_the_notes_before_5_9():
    kernel = whole_kernel()
    del kernel.info["BUILD-ID"]
    assert read_facts(kernel.capture()).build_id == BUILD_ID


def test_two_build_ids_in_the_image_prove_nothing():
    kernel = whole_kernel(symbols=False)
    del kernel.info["BUILD-ID"]
    at = kernel.symbols["__start_notes"]
    kernel._write_image(at + 512, build_id_note(b"\xaa" * 20))
    facts = read_facts(kernel.capture())
    assert facts.build_id is None and "image has 2" in facts.unknown["build_id"]


def test_the_banner_without_a_build_number_is_not_taken():
    """Newer kernels have it as well, for a build that is not the last one."""
    kernel = whole_kernel(symbols=False)
    kernel.ring([Record(b"nothing of it")])
    at = kernel.symbols["linux_banner"]
    kernel._write_image(at, (BANNER.replace("#1", "#") + "\n").encode() + b"\0" + (BANNER + "\n").encode() + b"\0")
    assert read_facts(kernel.capture()).banner == BANNER


def test_no_note_but_a_page():
    """QEMU without its vmcoreinfo device. A page of an older kernel lies before the right one."""
    kernel = whole_kernel()
    lines = "".join("%s=%s\n" % pair for pair in kernel.info.items())
    stale = lines.replace(kernel.info["SYMBOL(init_uts_ns)"], "%x" % TEXT).replace(RELEASE, "5.0-old")
    kernel.machine.memory.write(0x3000, b"x" * 8 + b"OSRELEASE=not-aligned\nPAGESIZE=4096\n")
    kernel.machine.memory.write(0x8000, stale.encode())
    kernel.machine.memory.write(0x9000, lines.encode())
    facts = read_facts(kernel.capture(vmcoreinfo=None))
    assert facts.vmcoreinfo["OSRELEASE"] == RELEASE
    assert modules_of(facts) == MODULES
    assert "search through memory" in facts.warnings[0]


def test_nothing_at_all():
    def read(address, size):
        raise NotDumped("the file ends before it")

    facts = read_facts(whole_kernel().capture(read=read, vmcoreinfo=None))
    assert facts.modules is None and facts.dmesg is None and facts.release is None
    for name in ("build_id", "modules", "dmesg", "panic", "banner", "release", "version"):
        assert "VMCOREINFO" in facts.unknown[name], name


def test_headers_alone():
    """What VMCOREINFO and the container say is there although no page is."""

    def read(address, size):
        raise NotDumped("page 0x%x was excluded" % (address // PAGE))

    uts = Utsname("Linux", "node", "5.5", "#2", "x86_64", "")
    facts = read_facts(whole_kernel().capture(read=read, utsname=uts))
    assert (facts.release, facts.nodename, facts.build_id) == ("5.5", "node", BUILD_ID)
    assert "was excluded" in facts.unknown["modules"] and "was excluded" in facts.unknown["dmesg"]
    assert "was excluded" in facts.unknown["panic"]


@pytest.mark.parametrize("error", [BadDump("page 3: damaged"), ToolMissing("no zstd here")])
def test_a_page_that_does_not_unpack_is_a_reason(error):
    def read(address, size):
        raise error

    facts = read_facts(whole_kernel().capture(read=read))
    assert facts.unknown["dmesg"] == str(error)


def test_an_unknown_machine_gives_what_the_headers_have():
    facts = read_facts(whole_kernel().capture(machine="sparc64"))
    assert facts.build_id == BUILD_ID and facts.release == RELEASE
    assert "sparc64" in facts.unknown["modules"]


def test_the_machine_is_guessed_for_qemu():
    facts = read_facts(whole_kernel().capture(machine=""))
    assert modules_of(facts) == MODULES


def test_a_lost_module_page_leaves_the_others():
    kernel = whole_kernel()
    kernel.machine.lose(0xFFFFFFFFC0000000 + 0x3080)
    facts = read_facts(kernel.capture())
    assert modules_of(facts) == MODULES[1:]
    assert "not in the dump" in facts.unknown["modules"]


def test_unknown_names_are_facts():
    facts = read_facts(whole_kernel(symbols=False).capture(machine="sparc64"))
    assert set(facts.unknown) <= set(Facts._fields)
    for name in Facts._fields[:-2]:
        assert getattr(facts, name) is not None or name in facts.unknown, name


def test_flipped_bytes_raise_nothing():
    """Bytes of the tables, the rings, the symbols and BTF at random; VMCOREINFO's numbers as well."""
    seed = int(os.environ.get("SAVEDUMP_SEED", "7"))
    chance = random.Random(seed)
    kernel = whole_kernel(ModuleLayout(kind="mem", pointers=True))
    pages = sorted(kernel.machine.memory.pages)
    clean = {number: bytes(kernel.machine.memory.pages[number]) for number in pages}
    lines = dict(kernel.info)
    for _ in range(60):
        for number in chance.sample(pages, max(1, len(pages) // 8)):
            page = kernel.machine.memory.pages[number] = bytearray(clean[number])
            for _flip in range(chance.choice((1, 8, 64))):
                page[chance.randrange(PAGE)] = chance.choice((0, 255, 0x7F, chance.randrange(256)))
        kernel.info = dict(lines)
        for name in chance.sample(sorted(lines), 3):
            kernel.info[name] = chance.choice(
                ("", "-1", "0", "ffffffffffffffff", "9" * 40, "x", str(1 << 62), lines[name])
            )
        facts = read_facts(kernel.capture())
        assert isinstance(facts, Facts), seed


def test_each_line_of_vmcoreinfo_at_its_extremes():
    kernel = whole_kernel()
    lines = dict(kernel.info)
    for name in lines:
        for value in ("", "-1", "0", "1", "ffffffffffffffff", str((1 << 63) - 1), "0x" + "f" * 16, "é\udcff"):
            kernel.info = dict(lines, **{name: value})
            assert isinstance(read_facts(kernel.capture()), Facts), (name, value)


def test_no_library_is_needed(monkeypatch):
    for library in ("drgn", "kdumpfile", "elftools"):
        monkeypatch.setitem(sys.modules, library, None)
    facts = read_facts(whole_kernel().capture(crash_time=1700000000, page_size=PAGE))
    assert facts.unknown == {} and modules_of(facts) == MODULES
