# SPDX-License-Identifier: Apache-2.0
"""kernel/modules.py, modulelayout.py and modulescan.py: the list by symbols and BTF, and without either."""

import struct

import pytest
from savedump_core.kernel import modules as modules_module
from savedump_core.kernel import modulescan
from savedump_core.kernel.btf import Btf
from savedump_core.kernel.memory import open_memory
from savedump_core.kernel.modulelayout import layout as layout_of
from savedump_core.kernel.modules import KernelModule, read_modules, taint_letters
from savedump_core.kernel.vmcoreinfo import Unreadable, parse
from support import kernelbtf
from support.kernelbtf import ModuleLayout, module_btf
from support.kernelmemory import DIRECT, MODULES, Loaded, X86Kernel
from support.pagetables import Machine, arm

KINDS = [ModuleLayout(), ModuleLayout(kind="mem"), ModuleLayout(kind="mem", pointers=True),
         ModuleLayout(kind="mem", srcversion=400, taints=96, size=640)]  # fmt: skip
LOADED = [
    Loaded("newest", b"\x33" * 20, taints=1 << 12 | 1 << 13 | 1),
    Loaded("with_version", b"\x22" * 20, srcversion="533BB7E5866E52F63B9ACCB"),
    Loaded("oldest", b"\x11" * 20),
]


def kernel_with(loaded=LOADED, layout=KINDS[0]):
    kernel = X86Kernel()
    kernel.modules(loaded, layout)
    return kernel


def layout_in(data):
    return layout_of(Btf(lambda at, size: data[at : at + size], len(data), "<"))


def read(kernel, layout=KINDS[0], heads=None, btf=True):
    capture = kernel.capture()
    info = parse(capture.vmcoreinfo)
    known = layout_in(module_btf(layout)) if btf else None
    return read_modules(
        open_memory(capture, info), info, [kernel.symbols["modules"]] if heads is None else heads, known
    )


def ids(listing):
    return [(one.name, one.build_id) for one in listing.modules]


EXPECTED = [(one.name, one.build_id) for one in LOADED]


@pytest.mark.parametrize("layout", KINDS)
def test_by_symbol_and_btf(layout):
    size = 0x4000 if layout.kind == "core_layout" else 0x1000
    assert read(kernel_with(layout=layout), layout).modules == (
        KernelModule("newest", b"\x33" * 20, None, MODULES, size, None, "POE"),
        KernelModule("with_version", b"\x22" * 20, None, MODULES + 0x20000, size, "533BB7E5866E52F63B9ACCB", ""),
        KernelModule("oldest", b"\x11" * 20, None, MODULES + 0x40000, size, None, ""),
    )


@pytest.mark.parametrize("layout", KINDS)
def test_by_btf_without_a_symbol(layout):
    kernel = kernel_with(layout=layout)
    assert read(kernel, layout, heads=()) == read(kernel, layout)


@pytest.mark.parametrize("heads", [None, ()], ids=["symbol", "neither"])
def test_without_btf(heads):
    found = read(kernel_with(), heads=heads, btf=False)
    assert ids(found) == EXPECTED and found.why is None
    # What only BTF tells is not known.
    assert [(one.start, one.size, one.taints) for one in found.modules][0] == (MODULES, None, None)


def test_what_only_looks_like_a_module():
    """A name behind two pointers of which one leads nowhere; the search goes on past it."""
    kernel = kernel_with()
    fake = MODULES - 0x10000
    other = kernel.machine.put(fake + 0x800, struct.pack("<QQ", fake + 8, 0))
    for following, previous in ((other, other), (kernel.symbols["modules"], other)):
        kernel.machine.put(fake, struct.pack("<IIQQ", 0, 0, following, previous) + b"fake\0")
        kernel.info["NUMBER(KERNEL_IMAGE_SIZE)"] = (1 << 30) - 0x10000
        assert ids(read(kernel, heads=())) == EXPECTED


def arm_ranges(*lines):
    """Modules at two places near an arm64 kernel's image, and the image itself."""
    made = Machine(arm(4096, 48), root=0x40000000)
    image = 0xFFFF800010000000
    info = {
        "PAGESIZE": 4096, "NUMBER(VA_BITS)": 48, "NUMBER(kimage_voffset)": "0x%x" % 0xFFFF7FFFD0000000,
        "SYMBOL(swapper_pg_dir)": "%x" % (0xFFFF7FFFD0000000 + 0x40000000),
        "SYMBOL(init_uts_ns)": "%x" % (image + 4096), "SYMBOL(_stext)": "%x" % image, "OFFSET(uts_namespace.name)": 0,
    }  # fmt: skip
    for number in range(4):
        made.put(image + number * 4096, bytes(4096))
    for start in (image - (1 << 27), image + (1 << 27)):
        made.put(start, bytes(8192))
    made.put(image - (5 << 30), bytes(4096))
    info.update(lines)
    capture = made.capture("aarch64", info)
    info = parse(capture.vmcoreinfo)
    return image, [(one.start, one.end) for one in modulescan.ranges(open_memory(capture, info), info)]


def test_where_arm64_has_modules():
    image, found = arm_ranges()
    near = [(image - (1 << 27), image - (1 << 27) + 8192), (image + (1 << 27), image + (1 << 27) + 8192)]
    assert found == near  # the kernel's own image is none
    image, found = arm_ranges(
        ("NUMBER(MODULES_VADDR)", "0x%x" % (image - (1 << 28))), ("NUMBER(MODULES_END)", "0x%x" % image)
    )
    assert found == near[:1]
    # Not where VMCOREINFO says: the kernel was moved (KASLR), and they with it.
    image, found = arm_ranges(
        ("NUMBER(MODULES_VADDR)", "0xffff700000000000"), ("NUMBER(MODULES_END)", "0xffff700008000000")
    )
    assert found == near


def test_a_wrong_symbol_of_the_same_name_is_passed_over():
    kernel = kernel_with()
    other = kernel.image("other", struct.pack("<QQ", kernel.symbols["init_uts_ns"], 0))
    assert ids(read(kernel, heads=[other, kernel.symbols["modules"]])) == EXPECTED


def test_no_module_is_an_empty_list():
    kernel = X86Kernel()
    kernel.modules([], KINDS[0])
    assert read(kernel) == modules_module.Listing(modules=())


def test_no_module_and_no_symbol_is_not_known():
    kernel = X86Kernel()
    kernel.machine.put(MODULES, bytes(4096))
    with pytest.raises(Unreadable, match="none is found"):
        read(kernel, heads=())


@pytest.mark.parametrize("layout", KINDS)
def test_build_ids_without_the_attributes(layout):
    """Newer kernels' slab pages are left out by older makedumpfiles: then the note in the module's memory counts."""
    kernel = kernel_with(layout=layout)
    for page in [page for page in kernel.machine._entries if DIRECT <= page < DIRECT + (1 << 40) and page % 4096 == 0]:
        kernel.machine.lose(page)
    assert ids(read(kernel, layout)) == EXPECTED


def test_why_there_is_no_build_id():
    kernel = kernel_with([Loaded("without")])
    (found,) = read(kernel).modules
    assert (found.build_id, found.build_id_why) == (None, "no build ID note is in its memory")
    kernel = kernel_with([Loaded("lost", b"\x11" * 20)])
    kernel.machine.lose(kernel.attributes_at)
    kernel.machine.lose(MODULES + 0x1000)
    kernel.machine.lose(MODULES + 0x2000)
    (found,) = read(kernel).modules
    assert found.build_id is None and "not in the dump" in found.build_id_why


def test_a_module_that_is_being_set_up_is_none():
    assert [name for name, _id in ids(read(kernel_with([Loaded("a"), Loaded("unformed", state=3), Loaded("b")])))] == [
        "a",
        "b",
    ]


def test_a_break_is_read_from_both_sides():
    kernel = kernel_with([Loaded("m%d" % number) for number in range(7)])
    kernel.machine.lose(MODULES + 3 * 0x20000 + 0x3080)
    found = read(kernel)
    assert [one.name for one in found.modules] == ["m0", "m1", "m2", "m4", "m5", "m6"]
    assert "breaks after 3" in found.why


def test_a_ring_that_does_not_close(monkeypatch):
    kernel = kernel_with()
    node = MODULES + 2 * 0x20000 + 0x3088
    kernel.machine.change(node, struct.pack("<Q", MODULES + 0x20000 + 0x3088))
    found = read(kernel)
    assert "does not end" in found.why
    assert sorted(one.name for one in found.modules) == sorted(one.name for one in LOADED)
    monkeypatch.setattr(modules_module, "MAX_MODULES", 2)
    found = read(kernel_with())
    assert len(found.modules) <= 4 and "does not end" in found.why


@pytest.mark.parametrize("name", ["../../etc/passwd", ".hidden", "", "a b", "a\nb", "x" * 56, "\udcff"])
def test_a_name_that_could_leave_its_folder(name):
    kernel = kernel_with([Loaded("good"), Loaded(name), Loaded("too")])
    found = read(kernel)
    allowed = ["good", "too"] if name != "x" * 56 else ["good", name, "too"]
    assert [one.name for one in found.modules] == allowed
    assert (found.why is None) == (len(allowed) == 3)


def test_areas_that_no_module_has_end():
    layout = KINDS[1]
    kernel = kernel_with([Loaded("big", taints=1)], layout)
    at = MODULES + 0x3080 + layout.areas
    for number in range(3):
        kernel.machine.change(at + 24 * number, struct.pack("<QI", MODULES, 0xFFFFFFFF))
    (found,) = read(kernel, layout).modules
    assert found.build_id is None and found.name == "big"


def test_memory_full_of_marks_ends():
    kernel = kernel_with([Loaded("one")])
    kernel.machine.change(MODULES, struct.pack("<I4s", 3, b"GNU\0") * 500)
    kernel.machine.change(MODULES + 0x1000, struct.pack("<I4s", 3, b"GNU\0") * 512)
    (found,) = read(kernel).modules
    assert found.build_id is None


def test_all_modules_share_one_allowance_for_searches(monkeypatch):
    """4096 modules that each have 64 MiB would take hours."""
    layout = KINDS[0]
    kernel = kernel_with([Loaded("m%d" % number, bytes([number + 1]) * 20) for number in range(4)], layout)
    for page in [page for page in kernel.machine._entries if DIRECT <= page < DIRECT + (1 << 40) and page % 4096 == 0]:
        kernel.machine.lose(page)
    monkeypatch.setattr(modules_module, "_MAX_SEARCHED", 2 * 0x4000 + 3 * 4096)
    found = read(kernel, layout).modules
    assert [one.build_id is not None for one in found] == [True, True, False, False]


def test_the_member_that_has_the_build_id():
    """CONFIG_STACKTRACE_BUILD_ID, since 5.14."""
    types = kernelbtf.Btf()
    number = types.integer("int", 4)
    types.struct(
        "module", 512, [("state", 0, number), ("list", 64, number), ("name", 192, number), ("build_id", 2400, number)]
    )
    kernel = kernel_with([Loaded("one")])
    kernel.machine.change(MODULES + 0x3080 + 300, b"\x77" * 20)
    capture = kernel.capture()
    info = parse(capture.vmcoreinfo)
    known = layout_in(types.bytes())
    found = read_modules(open_memory(capture, info), info, [kernel.symbols["modules"]], known)
    assert ids(found) == [("one", b"\x77" * 20)]


def test_btf_of_no_kernel():
    types = kernelbtf.Btf()
    types.struct("module", 8, [("state", 0, types.integer("int", 4))])
    with pytest.raises(Unreadable, match="like no kernel's"):
        layout_in(types.bytes())


def test_letters():
    assert [taint_letters(bits) for bits in (0, 1, 1 << 12 | 1 << 13, 1 << 63)] == ["", "P", "OE", ""]
