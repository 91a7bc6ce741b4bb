# SPDX-License-Identifier: Apache-2.0
"""What elfwriter writes is what other people's readers read: binutils, elfutils and gdb."""
import os
import shutil
import struct
import subprocess

import pytest

from support import elfwriter as w

ID = bytes(range(1, 21))
# elfutils 0.188 knows no core notes of these; for riscv32 it takes uid_t for 16 bits.
ELFUTILS_CANNOT = {"mips", "mipsel", "mips64", "mips64el", "mipsn32", "loongarch64", "riscv32"}
READABLE = sorted(set(w.ABIS) - ELFUTILS_CANNOT)


def run(*command):
    """The words a reader prints; a warning or an error fails the test."""
    if shutil.which(command[0]) is None:
        pytest.skip("%s is not installed" % command[0])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          env=dict(os.environ, LC_ALL="C"))
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout.decode()


def small(abi, **kwargs):
    program, library = w.elf_file(abi, ID, base=0x400000), w.elf_file(abi, ID[::-1], soname="libx.so.1")
    modules = [w.Mapped(b"/usr/bin/prog", 0x400000, program), w.Mapped(b"/usr/lib/libx.so.1", 0x10000000, library)]
    return w.process_core(abi, modules, **kwargs)


@pytest.mark.parametrize("name", READABLE)
def test_notes_as_elfutils_reads_them(name, tmp_path):
    core = small(w.ABIS[name], pid=77777, threads=2, uid=1000, gid=1001, comm=b"kommand", args=b"one two",
                 address=0x1234)
    said = run("eu-readelf", "-n", core.write(str(tmp_path / "core")))
    assert said.count("PRSTATUS") == 2
    assert said.count("pid: 77777,") == 2, "of the first thread and of the process"
    assert "pid: 77778," in said
    assert "uid: 1000, gid: 1001" in said
    assert "fname: kommand, psargs: one two" in said
    assert "si_signo: 11, si_errno: 0, si_code: 1" in said and "fault address: 0x1234" in said
    assert "PHDR: 0x4000%x" % w.ABIS[name].header_size in said
    assert "00400000-00401000 00000000 4096" in said and "/usr/lib/libx.so.1" in said


@pytest.mark.parametrize("name", READABLE)
def test_modules_as_elfutils_finds_them(name, tmp_path):
    said = run("eu-unstrip", "-n", "--core", small(w.ABIS[name]).write(str(tmp_path / "core")))
    assert "%s@" % ID.hex() in said and "%s@" % ID[::-1].hex() in said
    assert "/usr/bin/prog" in said and "libx.so.1" in said


@pytest.mark.parametrize("name", sorted(w.ABIS))
def test_file_as_binutils_reads_it(name, tmp_path):
    path = str(tmp_path / "libx.so")
    with open(path, "wb") as out:
        out.write(w.elf_file(w.ABIS[name], ID, soname="libx.so.1", debuglink=("x.debug", 0x1234), interpreter="/ld.so",
                             altlink=("/a/dwz", b"\xab\xcd"), padding=100))
    said = run("readelf", "-Wa", path)
    assert "Build ID: " + ID.hex() in said
    assert "Library soname: [libx.so.1]" in said
    assert "[Requesting program interpreter: /ld.so]" in said
    links = run("readelf", "-x", ".gnu_debuglink", "-x", ".gnu_debugaltlink", path)
    assert "782e6465 62756700" in links, "x.debug"
    assert ("34120000" if w.ABIS[name].order == "<" else "00001234") in links
    assert "2f612f64 777a00ab cd" in links, "/a/dwz, then the build ID"


@pytest.mark.parametrize("name", sorted(w.ABIS))
def test_core_headers_as_binutils_reads_them(name, tmp_path):
    said = run("readelf", "-Wh", "-l", small(w.ABIS[name]).write(str(tmp_path / "core")))
    assert "CORE (Core file)" in said
    assert said.count("\n  LOAD ") == 3 and said.count("\n  NOTE ") == 1


def test_more_segments_than_e_phnum_holds(tmp_path):
    load = w.Segment(w.PT_LOAD, 0x10000, filesz=0, memsz=4096)
    core = w.assemble(w.X86_64, w.ET_CORE, [load] * 131070).write(str(tmp_path / "core"))
    assert "65535 (131070)" in run("readelf", "-h", core)
    assert run("eu-readelf", "-l", core).count("\n  LOAD ") == 131070


def test_link_maps_as_gdb_follows_them(tmp_path):
    program = w.elf_file(w.X86_64, ID, base=0x400000, interpreter="/ld.so")
    (tmp_path / "prog").write_bytes(program)
    library = w.elf_file(w.X86_64, ID, soname="libx.so.1")
    core = w.process_core(w.X86_64, [w.Mapped(b"/nowhere/prog", 0x400000, program),
                                     w.Mapped(b"/nowhere/libx.so.1", 0x10000000, library, link_name=b"./libx.so.1"),
                                     w.Mapped(b"/nowhere/liby.so.1", 0x20000000, library)])
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    done = subprocess.run(["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set sysroot /nowhere",
                           "-ex", "info sharedlibrary", str(tmp_path / "prog"), core.write(str(tmp_path / "core"))],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    listed = [line.split()[-1] for line in done.stdout.decode().splitlines() if ".so." in line]
    assert listed == ["./libx.so.1", "/nowhere/liby.so.1"]


def test_namespaces_and_cycles():
    """The bytes themselves, by glibc's layout: gdb 13 follows only the first namespace."""
    maps = [[w.LinkMap(1, b"a"), w.LinkMap(2, b"b")], [w.LinkMap(3, b"c")]]
    for cyclic in (False, True):
        data = w.link_maps(w.X86_64, 0x1000, maps, version=2, cyclic=cyclic)
        first = struct.unpack_from("<iiQQQQQ", data)
        second = struct.unpack_from("<iiQQQQQ", data, 48)
        assert (first[0], first[2], first[6]) == (2, 0x1060, 0x1030)
        assert (second[2], second[6]) == (0x1060 + 80, 0x1000 if cyclic else 0)
        last = struct.unpack_from("<QQQQQ", data, 0x60 + 40)
        assert (last[0], last[3], last[4]) == (2, 0x1060 if cyclic else 0, 0x1060)


def test_holes_cost_nothing(tmp_path):
    core = w.Sparse(3 << 30, ((0, b"head"), ((3 << 30) - 4, b"tail")))
    path = core.write(str(tmp_path / "core"))
    assert os.path.getsize(path) == 3 << 30
    assert w.disk_usage(path) < 1 << 20


def test_truncated_keeps_what_comes_before():
    whole = small(w.X86_64)
    assert w.truncated(whole, 5000).to_bytes() == whole.to_bytes()[:5000]
