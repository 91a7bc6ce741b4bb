# SPDX-License-Identifier: Apache-2.0
"""Cores written byte by byte: every ABI's layout of the notes, and what real crashes here do not provoke."""

import os

import pytest

from savedump_core import api
from savedump_core.model import SearchOptions
from support import elfwriter
from support.elfwriter import ABIS, X86_64, Mapped, Segment

IDS = [bytes([number]) * 20 for number in range(1, 5)]


@pytest.fixture
def inspect(tmp_path):
    """inspect() of a core, on a host that has nothing of it."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(core):
        return api.inspect(core.write(str(tmp_path / "core")), SearchOptions(sysroot=str(empty)))

    return run


def modules_of(abi, names=(b"/usr/lib/liba.so", b"./b.so")):
    low = 0x10000000 if abi.bits == 32 else 0x7F0000000000
    mapped = [Mapped(b"/opt/prog", 0x400000, elfwriter.elf_file(abi, build_id=IDS[0]))]
    for index, name in enumerate(names):
        path = b"/usr/lib/" + os.path.basename(name)
        image = elfwriter.elf_file(abi, build_id=IDS[index + 1])
        mapped.append(Mapped(path, low + index * 0x100000, image, link_name=name))
    return mapped


@pytest.mark.parametrize("name", sorted(ABIS))
def test_every_abi(name, inspect):
    abi = ABIS[name]
    core = elfwriter.process_core(
        abi, modules_of(abi), pid=31337, threads=3, address=0x1234, comm=b"prog name", args=b"prog -x", uid=1001,
        gid=1002,
    )  # fmt: skip
    report = inspect(core)
    assert (report["bits"], report["endian"]) == (abi.bits, "little" if abi.order == "<" else "big")
    process = report["process"]
    assert (process["pid"], process["comm"], process["args"], process["threads"]) == (31337, "prog name", "prog -x", 3)
    assert (process["uid"], process["gid"]) == (1001, 1002)
    assert process["signal"] == {"number": 11, "name": "SIGSEGV", "code": 1, "address": "0x1234"}
    assert process["executable"] == "/opt/prog" and process["execfn"] == "./prog"
    found = [(one["path"], one["names"], one["build_id"], one["executable"]) for one in report["modules"]]
    assert found == [
        ("/opt/prog", [], IDS[0].hex(), True),
        ("/usr/lib/liba.so", [], IDS[1].hex(), False),
        ("/usr/lib/b.so", ["./b.so"], IDS[2].hex(), False),
    ]


def test_namespaces_of_dlmopen(inspect):
    modules = modules_of(X86_64, (b"/lib/first.so", b"/lib/second.so", b"/lib/third.so"))
    report = inspect(elfwriter.process_core(X86_64, modules, namespaces=3))
    assert [one["names"] for one in report["modules"][1:]] == [["/lib/first.so"], ["/lib/second.so"], ["/lib/third.so"]]


@pytest.mark.parametrize("abi", ["x86_64", "i386", "s390x"])
def test_more_segments_than_e_phnum_holds(abi, inspect):
    extra = [Segment(elfwriter.PT_LOAD, 0x20000000 + index * 0x2000, memsz=4096, filesz=0) for index in range(70000)]
    report = inspect(elfwriter.process_core(ABIS[abi], modules_of(ABIS[abi]), extra=extra))
    assert len(report["modules"]) == 3 and report["complete"] is True


def test_names_of_any_bytes(inspect):
    name = b"/opt/a b'\"$(touch pwned)\n\xff/lib.so"
    module = Mapped(name, 0x400000, elfwriter.elf_file(build_id=IDS[0]))
    assert os.fsencode(inspect(elfwriter.process_core(modules=[module]))["process"]["executable"]) == name


def test_deleted_is_told_apart_from_the_name(inspect):
    module = Mapped(b"/opt/prog (deleted)", 0x400000, elfwriter.elf_file(build_id=IDS[0]))
    report = inspect(elfwriter.process_core(modules=[module]))
    assert report["modules"][0]["path"] == "/opt/prog" and report["modules"][0]["deleted"] is True


def test_headers_that_were_not_dumped_leave_the_build_id_unknown(inspect):
    module = modules_of(X86_64)[0]._replace(dumped=False)
    report = inspect(elfwriter.process_core(modules=[module]))
    assert report["modules"] == [] or report["modules"][0]["build_id"] is None


def test_without_nt_file_the_link_map_still_tells(inspect):
    report = inspect(elfwriter.process_core(X86_64, modules_of(X86_64), without=[elfwriter.NT_FILE]))
    assert [one["names"] for one in report["modules"][1:]] == [["/usr/lib/liba.so"], ["./b.so"]]
    assert [one["build_id"] for one in report["modules"]] == [one.hex() for one in IDS[:3]]
    assert "no NT_FILE note" in report["warnings"][0]


def test_one_image_that_is_mapped_twice_is_one_module(inspect):
    """A small program maps its first page for text and again for data."""
    program = elfwriter.elf_file(build_id=IDS[0], padding=0x3000)
    modules = [Mapped(b"/opt/prog", 0x400000, program), Mapped(b"/opt/prog", 0x402000, program)]
    assert len(inspect(elfwriter.process_core(modules=modules))["modules"]) == 1
