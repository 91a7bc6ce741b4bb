# SPDX-License-Identifier: Apache-2.0
"""A glance says the same as reading all of a dump does, or it says that it does not know."""

import struct

import pytest

from savedump_core import api, dumps
from savedump_core.dumps import _glance_kernel
from savedump_core.dumps.glance import glance
from savedump_core.errors import BadDump
from savedump_core.source import open_source
from savedump_core.source.head import open_head
from savedump_core.sysroot import Sysroot
from support import elfwriter, kdumpwriter, stores

MAIN = elfwriter.elf_file(build_id=b"1" * 20, interpreter="/lib64/ld-linux-x86-64.so.2")
LIBRARY = elfwriter.elf_file(build_id=b"2" * 20, soname="libx.so.1")
MODULES = [
    elfwriter.Mapped(b"/usr/bin/prog", 0x400000, MAIN),
    elfwriter.Mapped(b"/usr/lib/libx.so.1", 0x7F0000000, LIBRARY),
]
SEEN = ("pid", "comm", "args", "uid", "gid", "signal")
MEMORY = {number << 12: bytes((number,)) * 4096 for number in range(64)}


def both(path):
    with open_head(str(path)) as head:
        seen = glance(head)
    with open_source(str(path)) as source:
        return seen, dumps.open_dump(source, Sysroot("/"))


@pytest.mark.parametrize("abi", sorted(elfwriter.ABIS))
def test_core_of_any_machine(tmp_path, abi):
    core = elfwriter.process_core(elfwriter.ABIS[abi], pid=77, threads=3, signal=6, comm=b"a b", args=b"a b -c", uid=33)
    seen, whole = both(core.write(str(tmp_path / "core")))
    for field in ("kind", "machine", "bits", "endian", "stored_size"):
        assert getattr(seen.dump, field) == getattr(whole, field)
    for field in SEEN:
        assert getattr(seen.dump.process, field) == getattr(whole.process, field), field
    assert (seen.complete, seen.size, seen.threads) == (True, whole.size, 3)


def test_program_by_the_mapping_that_its_headers_lie_in(tmp_path):
    seen, whole = both(elfwriter.process_core(modules=MODULES, pid=1).write(str(tmp_path / "core")))
    assert whole.process.executable == "/usr/bin/prog"
    # No AT_BASE in these: the name decides whether the dynamic linker was called by hand.
    assert seen.dump.process.executable == "/usr/bin/prog"


def test_dynamic_linker_that_was_called_by_hand_is_not_the_program(tmp_path):
    modules = [elfwriter.Mapped(b"/lib64/ld-linux-x86-64.so.2", 0x400000, MAIN)]
    seen, _whole = both(elfwriter.process_core(modules=modules).write(str(tmp_path / "core")))
    assert seen.dump.process.executable is None


def test_program_that_was_deleted(tmp_path):
    modules = [elfwriter.Mapped(b"/tmp/prog (deleted)", 0x400000, MAIN)]
    seen, _whole = both(elfwriter.process_core(modules=modules).write(str(tmp_path / "core")))
    assert seen.dump.process.executable == "/tmp/prog"


def test_cut_core_is_not_whole(tmp_path):
    core = elfwriter.process_core(pid=77)
    seen, whole = both(elfwriter.truncated(core, core.size - 1).write(str(tmp_path / "core")))
    assert (
        seen.complete is False and seen.dump.incomplete_why == whole.incomplete_why and seen.claimed_size == core.size
    )


@pytest.mark.parametrize("suffix", [".zst", ".lz4", ".xz"])
def test_packed_core_is_known_by_its_front(tmp_path, suffix):
    path = tmp_path / ("core" + suffix)
    path.write_bytes(stores.PACK[suffix](elfwriter.process_core(pid=77).to_bytes()))
    seen, whole = both(path)
    assert seen.dump.process.pid == 77 and seen.dump.compression == whole.compression
    assert (seen.complete, seen.size, seen.claimed_size) == (None, None, whole.size)


def test_notes_and_mappings_beyond_the_first_pages(tmp_path):
    core = elfwriter.process_core(
        pid=77, threads=200, modules=MODULES, extra=[elfwriter.Segment(elfwriter.PT_LOAD, 0)] * 3000
    )
    seen, whole = both(core.write(str(tmp_path / "core")))
    assert seen.threads == whole.process.threads == 200 and seen.dump.process.executable == "/usr/bin/prog"


def test_more_threads_than_are_counted_are_not_counted(tmp_path):
    core = elfwriter.process_core(threads=5000)
    seen, _whole = both(core.write(str(tmp_path / "core")))
    assert seen.threads is None and seen.dump.process.pid == 4242


@pytest.mark.parametrize(
    "core, words",
    [
        (lambda: elfwriter.truncated(elfwriter.process_core(), 100), "cut within its program headers"),
        (
            lambda: elfwriter.process_core(more_notes=[elfwriter.Note(b"FreeBSD", 1, b"x" * 8)], without=(1, 3, 6)),
            "FreeBSD",
        ),
        (lambda: elfwriter.assemble(elfwriter.X86_64, elfwriter.ET_CORE, [], osabi=9, claimed_phnum=1), "FreeBSD"),
        (lambda: elfwriter.Sparse(9, ((0, b"some text"),)), "text file"),
        (lambda: elfwriter.Sparse(0, ()), "empty file"),
    ],
)
def test_what_is_no_core(tmp_path, core, words):
    path = core().write(str(tmp_path / "core"))
    with open_head(path) as head, pytest.raises(BadDump, match=words):
        glance(head)


def test_notes_that_never_end(tmp_path):
    core = elfwriter.process_core(more_notes=[elfwriter.Note(b"CORE", 99, b"")] * 100000)
    seen, _whole = both(core.write(str(tmp_path / "core")))
    assert seen.dump.process.pid == 4242


@pytest.mark.parametrize("note", [elfwriter.Note(b"CORE", 1, b"", descsz=1 << 31), elfwriter.Note(b"x" * 999, 1, b"")])
def test_damaged_notes(tmp_path, note):
    seen, _whole = both(elfwriter.process_core(more_notes=[note]).write(str(tmp_path / "core")))
    assert seen.dump.process.pid == 4242 and seen.threads is None


KDUMP = kdumpwriter.Kdump(
    memory=MEMORY, timestamp=1700000000, vmcoreinfo=b"OSRELEASE=6.1.0-test\nBUILD-ID=abcd\nPAGESIZE=4096\n"
)


def kernels():
    plain = kdumpwriter.kdump(KDUMP)
    yield "kdump", plain.to_bytes()
    yield "flattened", kdumpwriter.flat(kdumpwriter.as_makedumpfile(plain))
    yield "incomplete", kdumpwriter.kdump(KDUMP._replace(status=8)).to_bytes()
    yield "cut", plain.to_bytes()[:-5000]
    yield "cut flattened", kdumpwriter.flat(kdumpwriter.as_makedumpfile(plain), end=False)


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("name, data", list(kernels()), ids=[name for name, _data in kernels()])
def test_kernels_dump(tmp_path, monkeypatch, name, data, proven):
    if not proven:
        # As one that is too large to be looked through.
        monkeypatch.setattr(_glance_kernel, "MAX_PROVEN", 0)
        monkeypatch.setattr(_glance_kernel, "MAX_RECORDS_PROVEN", 0)
    path = tmp_path / "vmcore"
    path.write_bytes(data)
    seen, whole = both(path)
    assert seen.dump.kind == whole.kind and seen.dump.machine == whole.machine
    for fact in ("nodename", "release", "dump_level", "compression", "crash_time", "page_size"):
        assert seen.dump.kernel[fact] == whole.kernel[fact], fact
    assert seen.dump.kernel["build_id"] == "abcd"
    assert sorted(seen.dump.kernel) == sorted(whole.kernel)
    if proven:
        assert (seen.complete, seen.dump.incomplete_why) == (whole.complete, whole.incomplete_why)
    else:
        assert seen.complete in (None, whole.complete) and seen.complete is not True


def test_packed_kernels_dump(tmp_path):
    path = tmp_path / "vmcore.zst"
    path.write_bytes(stores.zstd(kdumpwriter.kdump(KDUMP).to_bytes()))
    seen, whole = both(path)
    assert seen.dump.kind == whole.kind and seen.dump.kernel["nodename"] == whole.kernel["nodename"]
    assert (seen.complete, seen.size) == (None, None)


def test_format_that_is_not_read(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(struct.pack("<I", 0xBED2BED2) + bytes(5000))
    seen, whole = both(path)
    assert seen.dump.kind == whole.kind == "vmware-vmss" and seen.complete is None
    assert "not read" in api.find([str(path)]).entries[0]["incomplete_why"]
