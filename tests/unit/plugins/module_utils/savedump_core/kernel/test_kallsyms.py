# SPDX-License-Identifier: Apache-2.0
"""kernel/kallsyms.py: names unpacked, and each way in which addresses are kept."""

import pytest
from savedump_core.kernel import kallsyms
from savedump_core.kernel.capture import NotDumped
from savedump_core.kernel.memory import open_memory
from savedump_core.kernel.vmcoreinfo import Unreadable, parse
from support.kernelmemory import TEXT, X86Kernel


def find(kernel, *names, also=()):
    capture = kernel.capture()
    info = parse(capture.vmcoreinfo)
    return kallsyms.find(open_memory(capture, info), info, names, also)


@pytest.mark.parametrize("mode", ["absolute-percpu", "base", "place", "absolute"])
def test_each_way(mode):
    kernel = X86Kernel()
    modules = kernel.image("modules", bytes(16))
    kernel.image("__start_BTF", bytes(16))
    kernel.kallsyms(mode)
    found = find(kernel, "modules", "filler_7_function", "absent")
    assert found == {"modules": (modules,), "filler_7_function": (TEXT + 16 * 7,), "_stext": (TEXT,)}


def test_per_cpu_symbols_are_offsets():
    """On x86_64 before 6.15 they begin at 0, and are kept as they are."""
    kernel = X86Kernel()
    kernel.symbols["current_task"] = 0x1FA40
    kernel.kallsyms("absolute-percpu")
    assert find(kernel, "current_task")["current_task"] == (0x1FA40,)


def test_names_that_are_longer_than_127_bytes():
    """Since 6.1, for Rust: the lengths of those take two bytes, and what comes behind them is read right."""
    kernel = X86Kernel()
    last = kernel.image("modules", bytes(16))
    kernel.kallsyms(long_name=True)
    assert find(kernel, "modules")["modules"] == (last,)


def test_a_static_name_may_be_there_twice():
    kernel = X86Kernel()
    kernel.symbols["filler_3_function"] = TEXT + 0x500
    kernel.kallsyms()
    assert find(kernel, "filler_3_function", "absent")["filler_3_function"] == (TEXT + 48, TEXT + 0x500)


def test_the_anchor_must_hold():
    kernel = X86Kernel()
    kernel.kallsyms()
    kernel.info["SYMBOL(_stext)"] = "%x" % (TEXT + 64)
    with pytest.raises(Unreadable, match="_stext"):
        find(kernel, "modules")


def test_before_6_0():
    with pytest.raises(Unreadable, match="since 6.0"):
        find(X86Kernel(), "modules")


@pytest.mark.parametrize("name", ["kallsyms_num_syms", "kallsyms_names", "kallsyms_token_index"])
def test_lost_pages(name):
    kernel = X86Kernel()
    kernel._at = (kernel._at + 4095) // 4096 * 4096  # the tables in pages of their own
    kernel.kallsyms(filler=3000)
    kernel.lose(int(kernel.info["SYMBOL(%s)" % name], 16))
    with pytest.raises(NotDumped):
        find(kernel, "modules")


@pytest.mark.parametrize("count", [0, 1 << 22, 0xFFFFFFFF, 5000])
def test_a_wrong_count(count):
    kernel = X86Kernel()
    kernel.kallsyms()
    kernel._write_image(int(kernel.info["SYMBOL(kallsyms_num_syms)"], 16), count.to_bytes(4, "little"))
    with pytest.raises(Unreadable, match="symbol table"):
        find(kernel, "modules")


def test_names_that_overrun():
    kernel = X86Kernel()
    kernel.kallsyms(filler=100)
    start = int(kernel.info["SYMBOL(kallsyms_names)"], 16)
    kernel._write_image(start, b"\x7f" * 400)
    with pytest.raises(Unreadable, match="overrun"):
        find(kernel, "modules")


def test_the_search_ends_when_all_is_found(monkeypatch):
    """And reads no more; names that lie across the pieces that are read are read whole."""
    monkeypatch.setattr(kallsyms, "_STEP", 100)
    monkeypatch.setattr(kallsyms, "_LONGEST", 40)
    kernel = X86Kernel()
    kernel.kallsyms(filler=3000)
    for number in range(0, 3000, 7):
        name = "filler_%d_function" % number
        assert find(kernel, name)[name] == (TEXT + 16 * number,)
    found = find(kernel, "filler_500_function", also=("filler_3_function", "filler_2999_function"))
    assert sorted(found) == ["_stext", "filler_3_function", "filler_500_function"]
    kernel.lose(int(kernel.info["SYMBOL(kallsyms_token_table)"], 16) - 4096)
    assert find(kernel, "filler_3_function")
    with pytest.raises(NotDumped):
        find(kernel, "absent")


def test_a_name_that_is_there_without_end(monkeypatch):
    monkeypatch.setattr(kallsyms, "_MAX_HITS", 1)
    kernel = X86Kernel()
    kernel.symbols["filler_3_function"] = TEXT + 0x500
    kernel.kallsyms()
    assert find(kernel, "filler_3_function", "absent")["filler_3_function"] == (TEXT + 48,)
