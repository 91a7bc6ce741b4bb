# SPDX-License-Identifier: Apache-2.0
"""What savedump reads of real kernels' memory, against what the guests said of themselves before they died, and against
makedumpfile's own text of the log. No library and no debug information is used."""

import re

import pytest
from savedump_core import dumps, source
from savedump_core.kernel import modules, vmcoreinfo
from savedump_core.kernel.facts import read_facts
from savedump_core.kernel.memory import open_memory
from savedump_core.sysroot import Sysroot

FORMATS = [
    *(f"mdf.{name}.d31" for name in ("zlib", "lzo", "zstd", "none", "elf")),
    *(f"mdf.{name}.d31.flat" for name in ("zlib", "lzo", "zstd", "elf")),
    "mdf.zlib.d0", "mdf.zlib.d1", "mdf.split1", "mdf.split3", "elf", "qemu-elf", "qemu-kdump-zlib",
]  # fmt: skip
CALLER = re.compile(rb"^(\[ *\d+\.\d{6}\] )(\[ *[TC]\d+\] )")
PREFIX = re.compile(rb"\[ *\d+\.\d{6}\] ")


def opened(path):
    return dumps.open_dump(source.open_source(str(path)), Sysroot("/"))


def without_callers(text):
    """The log without the column for who printed a line, which Debian 12's makedumpfile does not write; the further
    lines of a record stand that much less to the right."""
    lines, width = [], 0
    for line in text.split(b"\n"):
        caller = CALLER.match(line)
        if caller:
            width = len(caller.group(2))
            line = caller.group(1) + line[caller.end() :]
        elif PREFIX.match(line):
            width = 0
        else:
            line = line[width:]
        lines.append(line)
    return b"\n".join(lines)


def found_modules(dump):
    return {one.name: one.build_id.hex() if one.build_id else None for one in dump.modules[1:]}


def check(dump, vmcores, guest):
    said = vmcores.said(guest)
    assert dump.kernel["release"] == said.release
    assert dump.kernel["build_id"] == said.build_id
    assert dump.kernel["banner"] in said.text
    assert found_modules(dump) == {name: one.build_id for name, one in said.modules.items()}
    assert list(found_modules(dump)) == list(said.modules)  # lsmod's order, too
    assert dump.modules_why is None
    texts = list(vmcores.dumps.glob(f"{guest}.mdf.dmesg")) + list(
        vmcores.dumps.glob(f"{guest}.kdump/rhel/**/*dmesg.txt")
    )
    for text in texts:
        assert without_callers(dump.dmesg) == without_callers(text.read_bytes())
    assert texts or guest == "novmci61"
    assert (dump.kernel["crash_time"] is not None) == (guest == "kdump61")
    assert set(dump.kernel["unknown"]) <= {"crash_time", "config", "modules_linked_in"}
    return said


def check_cause(dump, guest):
    task = dump.kernel["crashing_task"]
    assert (task["pid"], task["comm"]) == (1, "init") and task["cpu"] in (0, 1)
    if "sysrq" in guest or guest == "novmci61":
        assert dump.kernel["panic"] == "Kernel panic - not syncing: sysrq triggered crash"
        assert dump.kernel["modules_linked_in"] is None  # a plain panic does not print it
    else:
        assert dump.kernel["panic"] == "BUG: kernel NULL pointer dereference, address: 0000000000000000"
        assert dump.kernel["modules_linked_in"] == list(found_modules(dump))


@pytest.mark.parametrize("guest", ["sysrq61", "oops61"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_same_facts(vmcores, guest, name):
    dump = opened(vmcores.dumps / f"{guest}.{name}")
    said = check(dump, vmcores, guest)
    check_cause(dump, guest)
    assert dump.kernel["nodename"] == "prod-db-01.example.net"
    assert dump.kernel["taint"] == "GOE"
    assert re.search(r"Command line: (.*)", said.text).group(1).strip() == dump.kernel["command_line"]


@pytest.mark.parametrize("layout", ["debian", "rhel", "suse"])
def test_true_kdumps(vmcores, layout):
    dump = opened(vmcores.kdump(layout))
    check(dump, vmcores, "kdump61")
    check_cause(dump, "kdump61")


@pytest.mark.parametrize("name", ["vmcore.raw.elf", "dump.elf.d31"])
def test_proc_vmcore(vmcores, name):
    check(opened(vmcores.dumps / "kdump61.kdump" / name), vmcores, "kdump61")


def test_without_the_vmcoreinfo_note(vmcores):
    dump = opened(vmcores.dumps / "novmci61.qemu-elf")
    check(dump, vmcores, "novmci61")
    check_cause(dump, "novmci61")
    assert any("search through memory" in warning for warning in dump.warnings)


def test_versions_and_taints_of_modules(vmcores):
    capture = capture_of(vmcores.dumps / "oops61.elf")
    found = {one.name: one for one in read_facts(capture).modules}
    for name, one in vmcores.said("oops61").modules.items():
        assert (found[name].srcversion or "", found[name].taints) == (one.srcversion, one.taint)
        assert found[name].start and found[name].size


def capture_of(path):
    data = source.open_source(str(path))
    return dumps.vmcore.open_elf(data, data).capture


def without(capture, *patterns):
    """As a kernel has it whose VMCOREINFO does not have these lines."""
    lines = [line for line in capture.vmcoreinfo.split(b"\n") if not any(word in line for word in patterns)]
    return capture._replace(vmcoreinfo=b"\n".join(lines))


@pytest.mark.parametrize("name", ["sysrq61.mdf.elf.d31", "oops61.elf", "kdump61.kdump/dump.elf.d31"])
@pytest.mark.parametrize("lines", [(b"kallsyms",), (b"BUILD-ID",), (b"kallsyms", b"BUILD-ID")])
def test_older_kernels_say_less_and_are_searched(vmcores, name, lines):
    """Before 6.0 there is no symbol table in VMCOREINFO, before 5.9 no build ID."""
    capture = capture_of(vmcores.dumps / name)
    whole, searched = read_facts(capture), read_facts(without(capture, *lines))
    assert searched.build_id == whole.build_id
    assert searched.modules == whole.modules
    assert searched.banner == whole.banner


def test_without_btf(vmcores):
    """Names and build IDs by what every kernel's struct module begins with, and the notes beside it."""
    capture = without(capture_of(vmcores.dumps / "oops61.elf"), b"kallsyms")
    info = vmcoreinfo.parse(capture.vmcoreinfo)
    found = modules.read_modules(open_memory(capture, info), info, (), None)
    assert found.why is None
    assert {one.name: one.build_id.hex() for one in found.modules} == {
        name: one.build_id for name, one in vmcores.said("oops61").modules.items()
    }


@pytest.mark.parametrize("name", ["zlib.d31.cut", "zlib.d31.flat.cut", "elf.d31.cut"])
def test_cut_dumps_say_what_they_lack(vmcores, name):
    path = vmcores.dumps / "trunc" / name
    dump = opened(path)
    assert not dump.complete
    assert dump.kernel["build_id"] in (vmcores.said("oops61").build_id, None)
    for fact in ("panic", "banner"):
        assert dump.kernel[fact] is not None or dump.kernel["unknown"][fact]
    assert dump.modules_why or found_modules(dump) == {
        key: one.build_id for key, one in vmcores.said("oops61").modules.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_kernel_6_12(vmcores_612, name):
    """Its modules' memory is in several pieces (since 6.4)."""
    dump = opened(vmcores_612.dumps / f"sysrq612.{name}")
    check(dump, vmcores_612, "sysrq612")
    check_cause(dump, "sysrq612")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_arm64(vmcores_arm64, name):
    """Its symbol table has no data: BTF and modules are found by a search."""
    dump = opened(vmcores_arm64.dumps / f"sysrq61arm64.{name}")
    check(dump, vmcores_arm64, "sysrq61arm64")
    check_cause(dump, "sysrq61arm64")
    assert dump.machine == "aarch64"
