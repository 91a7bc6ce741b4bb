# SPDX-License-Identifier: Apache-2.0
"""kernel/image.py: what a search through the kernel's image finds, and what it must not take for it."""

import pytest
from savedump_core.kernel.image import search
from savedump_core.kernel.memory import open_memory
from savedump_core.kernel.vmcoreinfo import Unreadable, parse
from support.kernelbtf import ModuleLayout, module_btf
from support.kernelmemory import BANNER, BUILD_ID, X86Kernel, build_id_note
from support.pagetables import PAGE

ALL = ("btf", "build_ids", "banners", "config")
OTHER = b"\xaa" * 20


def kernel_of(constant, writable=b""):
    """A kernel with these constants in its image."""
    kernel = X86Kernel()
    start = kernel.image("constant", bytes(PAGE - 100) + constant, writable=False)
    kernel.image("data", bytes(100) + writable)
    kernel.info["SYMBOL(init_mm)"] = "%x" % kernel.image("end", bytes(8))  # VMCOREINFO knows something behind it all
    return kernel, start + PAGE - 100


def find(kernel, wanted=ALL):
    capture = kernel.capture()
    info = parse(capture.vmcoreinfo)
    return search(open_memory(capture, info), info, wanted)


def test_all_of_it():
    btf = module_btf(ModuleLayout())
    data = BANNER.encode() + b"\n\0" + build_id_note(BUILD_ID) + b"IKCFG_ST\x1f\x8b....."
    data += bytes(-len(data) % 8)
    kernel, start = kernel_of(data + btf)
    found = find(kernel)
    assert found.btf == (start + len(data), start + len(data) + len(btf))
    assert (found.build_ids, found.banners) == ((BUILD_ID,), (BANNER.encode(),))
    assert found.config == start + data.index(b"\x1f\x8b")


def test_nothing():
    kernel, _start = kernel_of(b"nothing " * 100)
    assert find(kernel) == find(kernel, ())._replace() and find(kernel).build_ids == ()


def test_across_the_steps_of_the_search():
    for shift in range(0, 40, 4):
        fill = bytes((1 << 20) - PAGE - shift)
        kernel, _start = kernel_of(bytes(100) + fill + build_id_note(BUILD_ID))
        assert find(kernel).build_ids == (BUILD_ID,), shift


def test_a_vdso_s_is_not_the_kernel_s():
    vdso = (b"\x7fELF" + bytes(0x800) + build_id_note(OTHER)).ljust(2 * PAGE, b"\0")
    kernel, _start = kernel_of(bytes(100) + vdso + bytes(4 * PAGE) + build_id_note(BUILD_ID))
    assert find(kernel).build_ids == (BUILD_ID,)


def test_what_was_freed_and_used_again_is_not_looked_at():
    """Memory between and behind the image's parts may hold a module, mapped as constant as well."""
    kernel, start = kernel_of(bytes(20 * PAGE) + build_id_note(BUILD_ID))
    kernel.image("freed", build_id_note(OTHER), writable=False)
    kernel.info["SYMBOL(init_mm)"] = "%x" % kernel.image("end", bytes(8))
    assert find(kernel).build_ids == (BUILD_ID,)


def test_two_are_both_said():
    kernel, _start = kernel_of(build_id_note(OTHER) + build_id_note(BUILD_ID))
    assert find(kernel).build_ids == (BUILD_ID, OTHER)


def test_the_format_of_the_banner_is_no_banner():
    kernel, _start = kernel_of(b"%s version %s Linux version %s (a)\n\0Linux version is not one")
    assert find(kernel).banners == ()


def test_data_is_searched_if_the_constants_have_nothing():
    kernel, _start = kernel_of(b"nothing", build_id_note(BUILD_ID) + bytes(3 * PAGE))
    assert find(kernel).build_ids == (BUILD_ID,)


def test_short_btf_is_none():
    kernel, _start = kernel_of(module_btf(ModuleLayout())[:100] + bytes(1000))
    assert find(kernel).btf is None


def test_memory_full_of_marks_ends():
    kernel, _start = kernel_of((build_id_note(OTHER) + b"Linux version \x9f\xeb\x01\x00") * 20000)
    assert find(kernel).build_ids == (OTHER,)


def test_other_machines():
    kernel = X86Kernel()
    capture = kernel.capture(machine="ppc64le")
    info = parse(capture.vmcoreinfo)
    with pytest.raises(Unreadable, match="ppc64le"):
        search(open_memory(capture, info), info, ALL)
