# SPDX-License-Identifier: Apache-2.0
"""kernel/memory.py and kernel/paging.py: reads at the kernel's addresses, on each machine."""

import pytest
from savedump_core.kernel import memory as memory_module
from savedump_core.kernel import paging
from savedump_core.kernel.capture import LoadedRange, NotDumped
from savedump_core.kernel.memory import Memory, Run, open_memory
from savedump_core.kernel.vmcoreinfo import Unreadable, Vmcoreinfo, parse
from support.kernelmemory import TEXT, X86Kernel, utsname
from support.pagetables import PAGE, X86, X86_5, Machine, arm, riscv

VOFFSET = 0xFFFF7FFFF0000000


def opened(capture):
    return open_memory(capture, parse(capture.vmcoreinfo))


@pytest.mark.parametrize("tables", [X86, X86_5], ids=["four levels", "five levels"])
def test_x86_64(tables):
    kernel = X86Kernel(tables=tables)
    data = bytes(range(256)) * 40
    kernel.machine.put(0xFFFF888000123F00, data)  # over page borders, to pages that lie apart
    memory = opened(kernel.capture())
    assert memory.read(0xFFFF888000123F00, len(data)) == data
    assert memory.read(kernel.symbols["init_uts_ns"], 5) == b"Linux"
    assert memory.word(0xFFFF888000123F00) == 0x0706050403020100
    with pytest.raises(NotDumped, match="0xffff888000200000 is not mapped"):
        memory.read(0xFFFF888000200000, 1)


def test_x86_64_large_pages_and_encryption():
    secret = 1 << 47
    kernel = X86Kernel(tables=X86._replace(extra=secret))
    kernel.info["NUMBER(sme_mask)"] = secret
    kernel.machine.map(0xFFFF888000000000, 0x40000000, large=30)
    kernel.machine.map(0xFFFF888040000000, 0x200000, large=21)
    kernel.machine.memory.write(0x40000000 + 0x1234567, b"gigabyte")
    kernel.machine.memory.write(0x200000 + 0x12345, b"megabytes")
    memory = opened(kernel.capture())
    assert memory.read(0xFFFF888001234567, 8) == b"gigabyte"
    assert memory.read(0xFFFF888040012345, 9) == b"megabytes"
    del kernel.info["NUMBER(sme_mask)"]
    with pytest.raises(NotDumped):
        opened(kernel.capture()).read(0xFFFF888040012345, 9)


@pytest.mark.parametrize("where", ["container", "mapped", "nowhere"])
def test_phys_base_from_elsewhere(where):
    """Before 4.10 VMCOREINFO does not have it."""
    kernel = X86Kernel(phys_base=0 if where == "nowhere" else 0x7000000)
    del kernel.info["NUMBER(phys_base)"]
    more = {"container": {"phys_base": 0x7000000}, "nowhere": {}}.get(where)
    if more is None:
        physical = TEXT - 0xFFFFFFFF80000000 + 0x7000000
        more = {"mapped": (LoadedRange(0xFFFF888000000000, 0, 1 << 30), LoadedRange(TEXT, physical, 1 << 24))}
    assert opened(kernel.capture(**more)).read(kernel.symbols["init_uts_ns"], 5) == b"Linux"


def test_phys_base_may_be_negative():
    kernel = X86Kernel(phys_base=-0x800000)
    assert opened(kernel.capture()).read(kernel.symbols["init_uts_ns"], 5) == b"Linux"


def arm_machine(page, width, built_for=None, t1sz=True, order="<"):
    """A kernel whose image is mapped below its top, and its lines."""
    machine = Machine(arm(page, width if built_for is None else built_for), order, root=0x40000000)
    base = -(1 << (built_for or width)) % (1 << 64)
    image = 0xFFFF800010000000 if width >= 48 else base + (1 << 35)
    lines = {
        "PAGESIZE": page, "NUMBER(VA_BITS)": built_for or width, "NUMBER(kimage_voffset)": "0x%x" % VOFFSET,
        "SYMBOL(swapper_pg_dir)": "%x" % (VOFFSET + 0x40000000), "SYMBOL(init_uts_ns)": "%x" % (image + 0x100),
        "OFFSET(uts_namespace.name)": 0,
    }  # fmt: skip
    if t1sz:
        lines["NUMBER(TCR_EL1_T1SZ)"] = "0x%x" % (64 - width)
    machine.put(image + 0x100, utsname())
    return machine, lines, image


@pytest.mark.parametrize(
    "page, width, built_for, t1sz",
    [
        (4096, 48, None, True),
        (4096, 48, None, False),
        (4096, 39, None, True),
        (4096, 52, None, True),
        (16384, 47, None, True),
        (16384, 48, None, True),
        (16384, 52, None, True),
        (65536, 48, None, True),
        (65536, 42, None, True),
        (65536, 52, None, True),
        (65536, 48, 52, True),
    ],
)
def test_aarch64(page, width, built_for, t1sz):
    machine, lines, image = arm_machine(page, width, built_for, t1sz)
    data = bytes(range(250)) * 700
    machine.put(image + 0x40000 - 8, data)
    memory = opened(machine.capture("aarch64", lines))
    assert memory.read(image + 0x100, 5) == b"Linux"
    assert memory.read(image + 0x40000 - 8, len(data)) == data


@pytest.mark.parametrize("page, width", [(65536, 52), (4096, 52), (16384, 52)])
def test_aarch64_memory_above_48_bits(page, width):
    machine, lines, image = arm_machine(page, width)
    high = 0x000D000000000000 if page == 65536 else 0x000C400000000000
    machine.map(image + (1 << 30), high, writable=False)
    machine.memory.write(high, b"far away")
    assert opened(machine.capture("aarch64", lines)).read(image + (1 << 30), 8) == b"far away"


def test_aarch64_blocks():
    machine, lines, image = arm_machine(4096, 48)
    machine.map(image + (1 << 30), 0x80000000, large=21)
    machine.memory.write(0x80000000 + 0x54321, b"block")
    assert opened(machine.capture("aarch64", lines)).read(image + (1 << 30) + 0x54321, 5) == b"block"


def test_the_name_stood_behind_a_count_before_5_11():
    kernel = X86Kernel()
    kernel.info["SYMBOL(init_uts_ns)"] = "%x" % kernel.image("older", bytes(4) + utsname("5.10.0"))
    del kernel.info["OFFSET(uts_namespace.name)"]
    capture = kernel.capture()
    info = parse(capture.vmcoreinfo)
    memory = open_memory(capture, info)
    assert memory_module.proven(memory, info)
    assert memory.read(memory_module.utsname_at(info) + 2 * 65, 6) == b"5.10.0"


def test_phys_base_of_a_container_is_unsigned():
    kernel = X86Kernel(phys_base=-0x800000)
    del kernel.info["NUMBER(phys_base)"]
    capture = kernel.capture(phys_base=(1 << 64) - 0x800000)
    assert opened(capture).read(kernel.symbols["init_uts_ns"], 5) == b"Linux"


@pytest.mark.parametrize("machine", ["aarch64", "riscv64"])
def test_runs_elsewhere(machine):
    if machine == "aarch64":
        made, lines, image = arm_machine(4096, 48)
    else:
        made, image = Machine(riscv(48), root=0x80200000), 0xFFFFFFFF80000000
        lines = {
            "NUMBER(VA_BITS)": 48, "NUMBER(va_kernel_pa_offset)": "0x%x" % (image - 0x80200000),
            "SYMBOL(swapper_pg_dir)": "%x" % image, "SYMBOL(init_uts_ns)": "%x" % image,
        }  # fmt: skip
    start = image + (1 << 24)
    kinds = [(False, True), (False, False), (True, False)]
    for number, (writable, executable) in enumerate(kinds):
        made.map(start + number * PAGE, 0x9000000, writable, executable)
    memory = opened(made.capture(machine, lines))
    assert memory.runs(start, start + (1 << 20)) == [
        Run(start + number * PAGE, start + (number + 1) * PAGE, *kind) for number, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize("width", [39, 48, 57])
def test_riscv64(width):
    machine = Machine(riscv(width), root=0x80200000)
    image = 0xFFFFFFFF80000000
    lines = {
        "NUMBER(VA_BITS)": width, "NUMBER(va_kernel_pa_offset)": "0x%x" % (image - 0x80200000),
        "SYMBOL(swapper_pg_dir)": "%x" % image, "SYMBOL(init_uts_ns)": "%x" % (image + 0x200000),
        "OFFSET(uts_namespace.name)": 0,
    }  # fmt: skip
    machine.put(image + 0x200000, utsname())
    machine.map(image + 0x400000, 0x90000000, large=21)
    machine.memory.write(0x90000000 + 0x777, b"huge")
    memory = opened(machine.capture("riscv64", lines))
    assert memory.read(image + 0x200000, 5) == b"Linux"
    assert memory.read(image + 0x400777, 4) == b"huge"


@pytest.mark.parametrize(
    "machine, virtual, physical, more",
    [
        ("ppc64le", 0xC000000001234560, 0x1234560, {}),
        ("loongarch64", 0x9000000001234560, 0x1234560, {}),
        ("s390x", 0x1234560, 0x1234560, {}),
        ("s390x", 0x3FFE01234560, 0x81234560, {"KERNELOFFSET": "3ffe00000000", "KERNELOFFPHYS": "80000000"}),
        ("s390x", 0x2001234560, 0x1234560,
         {"KERNELOFFSET": "3ffe00000000", "KERNELOFFPHYS": "80000000", "IDENTITYBASE": "2000000000"}),
        ("i386", 0xC1234560, 0x1234560, {}),
    ],
)  # fmt: skip
def test_machines_without_tables(machine, virtual, physical, more):
    made = Machine()
    made.memory.write(physical, utsname())
    lines = dict(more, **{"SYMBOL(init_uts_ns)": "%x" % virtual, "OFFSET(uts_namespace.name)": 0})
    memory = opened(made.capture(machine, lines))
    assert memory.read(virtual, 5) == b"Linux"
    with pytest.raises(NotDumped, match="understood for " + machine):
        memory.read(0xFFFF000000000000, 1)
    with pytest.raises(Unreadable, match=machine):
        memory.runs(0, 4096)


def test_what_proc_vmcore_maps():
    made = Machine()
    made.memory.write(0x5000, utsname())
    lines = {"SYMBOL(init_uts_ns)": "80401000", "OFFSET(uts_namespace.name)": 0}
    capture = made.capture("mips64", lines, mapped=(LoadedRange(0x80400000, 0x4000, 0x2000),))
    assert opened(capture).read(0x80401000, 5) == b"Linux"


def test_no_way_is_said():
    with pytest.raises(Unreadable, match="sparc64 are not understood"):
        opened(Machine().capture("sparc64", {"OSRELEASE": "1"}))


def test_runs_have_no_gap_and_one_kind():
    kernel = X86Kernel()
    area = 0xFFFFFFFFC0000000
    for number, (writable, executable) in enumerate([(False, True)] * 2 + [(True, False)]):
        kernel.machine.map(area + number * PAGE, 0x9000000, writable, executable)
    kernel.machine.map(area + 5 * PAGE, 0x9000000)
    kernel.machine.map(area + (1 << 21), 0x200000, large=21)
    memory = opened(kernel.capture())
    assert memory.runs(area, area + (4 << 20)) == [
        Run(area, area + 2 * PAGE, False, True),
        Run(area + 2 * PAGE, area + 3 * PAGE, True, False),
        Run(area + 5 * PAGE, area + 6 * PAGE, True, False),
        Run(area + (1 << 21), area + (1 << 22), True, False),
    ]
    # Cut to what was asked for.
    assert memory.runs(area + PAGE, area + 2 * PAGE) == [Run(area + PAGE, area + 2 * PAGE, False, True)]


def test_tables_that_point_to_themselves_end():
    kernel = X86Kernel()
    root = kernel.machine.root
    for number in range(512):
        kernel.machine.memory.write(root + 8 * number, (root | 0x63).to_bytes(8, "little"))
    memory = Memory(kernel.capture(), (), paging.x86_64(parse(kernel.capture().vmcoreinfo), kernel.phys_base))
    with pytest.raises(Unreadable):
        memory.runs(0, 1 << 47)
    assert memory.runs(0xFFFFFFFFC0000000, 0xFFFFFFFFC0000000 + (16 << 20))


def test_pieces_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(memory_module, "MAX_RUNS", 4)
    kernel = X86Kernel()
    for number in range(5):
        kernel.machine.map(0xFFFFFFFFC0000000 + number * 2 * PAGE, 0x9000000)
    with pytest.raises(Unreadable, match="more than 4 pieces"):
        opened(kernel.capture()).runs(0xFFFFFFFFC0000000, 0xFFFFFFFFC0000000 + (1 << 21))


def test_a_hole_reads_as_zeros_only_where_asked():
    kernel = X86Kernel()
    kernel.machine.put(0xFFFF888000000000, b"a" * PAGE * 3)
    kernel.machine.lose(0xFFFF888000001000)
    memory = opened(kernel.capture())
    assert memory.read_holey(0xFFFF888000000800, 2 * PAGE) == b"a" * 2048 + bytes(PAGE) + b"a" * 2048
    with pytest.raises(NotDumped):
        memory.read(0xFFFF888000000800, PAGE)


def test_strings_end_at_nul_or_at_the_limit():
    kernel = X86Kernel()
    at = kernel.machine.put(0xFFFF888000000FF0, b"over a page's end\0more") and 0xFFFF888000000FF0
    memory = opened(kernel.capture())
    assert memory.string(at, 100) == b"over a page's end"
    assert memory.string(at, 4) == b"over"


def test_a_read_is_bounded():
    memory = opened(X86Kernel().capture())
    for size in (-1, memory_module.MAX_READ + 1, 1 << 70):
        with pytest.raises(Unreadable):
            memory.read(TEXT, size)


def test_caches_are_bounded(monkeypatch):
    monkeypatch.setattr(memory_module, "_CACHED_BYTES", 4 * PAGE)
    monkeypatch.setattr(memory_module, "_CACHED_PLACES", 4)
    kernel = X86Kernel()
    for number in range(16):
        kernel.machine.put(0xFFFF888000000000 + number * PAGE, bytes([number]) * PAGE)
    memory = opened(kernel.capture())
    for number in list(range(16)) * 2:
        assert memory.read(0xFFFF888000000000 + number * PAGE + 5, 1) == bytes([number])
        assert len(memory._pages) <= 4 and len(memory._places) <= 4


def test_a_range_that_ends_within_a_page():
    """An ELF file's last range need not be whole pages."""
    kernel = X86Kernel()
    at = kernel.symbols["init_uts_ns"]
    end = at - 0xFFFFFFFF80000000 + kernel.phys_base + 400

    def read(address, size):
        if address + size > end:
            raise NotDumped("beyond the range")
        return kernel.machine.memory.read(address, size)

    assert opened(kernel.capture(read=read)).read(at, 5) == b"Linux"


@pytest.mark.parametrize(
    "line, value", [("PAGESIZE", "8192"), ("NUMBER(TCR_EL1_T1SZ)", "0x3"), ("NUMBER(VA_BITS)", "x")]
)
def test_odd_lines_of_aarch64(line, value):
    _machine, lines, _image = arm_machine(65536, 48)
    lines[line] = value
    with pytest.raises(Unreadable):
        paging.aarch64(Vmcoreinfo({key: str(one) for key, one in lines.items()}), int(lines["PAGESIZE"]))


def test_the_writer_places_pages_apart():
    """Or reads over a page's border would prove nothing."""
    machine = Machine()
    machine.put(0x10000, bytes(2 * PAGE))
    assert machine._entries[0x11000] != machine._entries[0x10000] + PAGE
