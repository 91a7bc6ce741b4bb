# SPDX-License-Identifier: Apache-2.0
"""Real programs without build IDs, proven by what the kernel dumped of them, and lost ones rebuilt from that: the right
file beside a decoy that differs in one constant, under each coredump_filter that matters (core(5))."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest
from support.command import savedump
from support.crashes.kernel import CannotCrash, dump_of
from support.crashes.workshop import SOURCES, build_id, run

from savedump_core import api
from savedump_core.model import SearchOptions

# What core(5) gives by default, what makes the kernel dump all that is mapped, and what leaves out even ELF headers.
DEFAULT, ALL, NOTHING = "0x33", "0x7f", "0x00"
NAMELESS = "-Wl,--build-id=none"

PROGRAM = r"""
#include <stdlib.h>
__attribute__((noinline)) int deeper(int n) { if (n == CONSTANT) return n; abort(); }
__attribute__((noinline)) int deep(int n) { return deeper(n * 3) + CONSTANT; }
int main(int argc, char **argv) { return deep(argc) + 1; }
"""

PATCHED = r"""
#include <stdlib.h>
#include <sys/mman.h>
__attribute__((noinline)) int deep(int n) { return n * CONSTANT; }
int main(int argc, char **argv)
{
    unsigned char *code = (unsigned char *)deep;
    mprotect((void *)((unsigned long)code & -4096UL), 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    *code = 0xcc;
    abort();
}
"""

GO_PROGRAM = """package main

//go:noinline
func read(where *int) int { return *where + CONSTANT }

func main() { println(read(nil)) }
"""

PRINTED = r"""
#include <cstdlib>
#include <vector>
__attribute__((noinline)) void die(std::vector<int> &numbers) { if (numbers.size() == 3) abort(); }
int main() { std::vector<int> numbers = {11, 22, 33}; die(numbers); return 0; }
"""


def build(path, *options, source=PROGRAM, constant=1000, compiler="gcc", suffix=".c"):
    """Nothing but `constant` tells two builds apart: all sizes and places are the same."""
    text = path.with_suffix(suffix)
    text.write_text(source)
    # Without a part of a function in a place of its own, which has no name in a table of dynamic symbols.
    words = ["-O2", "-fomit-frame-pointer", "-fno-reorder-blocks-and-partition", "-DCONSTANT=%d" % constant]
    run([compiler, *words, "-o", path, text, *options])
    return path


def filtered(filter, *words):
    """The words of a command that dumps what `filter` says: it is inherited, and each process has its own."""
    return ["sh", "-c", 'echo %s > /proc/self/coredump_filter; exec "$@"' % filter, "sh", *map(str, words)]


def crash(folder, filter, *words, **how):
    cores = folder / "cores"
    cores.mkdir(exist_ok=True)
    try:
        return pathlib.Path(dump_of(filtered(filter, *words), str(cores), **how))
    except CannotCrash as reason:
        pytest.skip(str(reason))


def modules_of(core, *words):
    done = savedump("inspect", "--json", *words, core)
    return {os.path.basename(one["path"] or one["name"]): one for one in json.loads(done.out)["modules"]}


def verdict(core, name="prog", *words):
    """What came of the file of this name: how it was matched, and the outcome and detail of each place tried."""
    file = modules_of(core, *words)[name]["file"]
    return file["matched_by"], {(one["finder"], one["outcome"]): one["detail"] for one in file["attempts"]}


@pytest.mark.parametrize("options", [(), ("-static", "-s"), ("-no-pie",), ("-static-pie",)], ids=" ".join)
@pytest.mark.parametrize("filter, way", [(DEFAULT, "header"), (ALL, "pages"), (NOTHING, None)])
def test_right_file_is_proven_by_what_was_dumped_of_it(options, filter, way, tmp_path):
    program = build(tmp_path / "prog", NAMELESS, *options)
    matched_by, attempts = verdict(crash(tmp_path, filter, program))
    assert matched_by == way
    if way is None:
        assert ("as-mapped", "no-build-id") in attempts
    else:
        assert "bytes of it are in the dump, and the same" in attempts["as-mapped", "match"]


def test_decoy_that_differs_in_one_constant_is_refused_by_its_pages(tmp_path):
    program = build(tmp_path / "prog", NAMELESS)
    core = crash(tmp_path, ALL, program)
    right = program.read_bytes()
    wrong = build(program, NAMELESS, constant=1001).read_bytes()
    differs = next(at for at, pair in enumerate(zip(right, wrong)) if pair[0] != pair[1])
    matched_by, attempts = verdict(core)
    assert attempts["as-mapped", "other-build-id"] == "it differs from the dump at offset 0x%x" % differs
    assert matched_by == "dump"
    folder = tmp_path / "right"
    folder.mkdir()
    (folder / "prog").write_bytes(right)
    assert verdict(core, "prog", "--search-path", folder)[0] == "pages"


def test_header_alone_is_said_to_be_all_that_was_compared(tmp_path):
    """By default that is all: the decoy of the same sizes passes, marked; another program does not."""
    program = build(tmp_path / "prog", NAMELESS)
    core = crash(tmp_path, DEFAULT, program)
    build(program, NAMELESS, constant=1001)
    assert verdict(core)[0] == "header"
    build(program, NAMELESS, source=PROGRAM.replace("abort()", "exit(3)"))
    matched_by, attempts = verdict(core)
    assert matched_by is None and attempts["as-mapped", "other-build-id"].startswith("it differs from the dump")
    shutil.copy(shutil.which("true"), str(program))
    assert verdict(core)[0] is None


def test_file_that_was_cut_is_refused(tmp_path):
    program = build(tmp_path / "prog", NAMELESS, "-static")
    core = crash(tmp_path, ALL, program)
    os.truncate(str(program), program.stat().st_size // 2)
    attempts = verdict(core)[1]
    assert "the process had more of it mapped" in attempts["as-mapped", "other-build-id"]


def test_breakpoint_of_a_debugger_is_named(tmp_path):
    """INT3 in the code, as a debugger writes it there: such a page is no longer the file's, and is refused."""
    if os.uname().machine != "x86_64":
        pytest.skip("INT3 is of x86")
    program = build(tmp_path / "prog", NAMELESS, "-no-pie", "-static", source=PATCHED)
    code = int(re.search(r"([0-9a-f]+) T deep$", run(["nm", program]).stdout, re.M).group(1), 16)
    (row,) = re.findall(r"LOAD +(0x\w+) (0x\w+) 0x\w+ 0x\w+ 0x\w+ R E", run(["readelf", "-lW", program]).stdout)
    offset = code - int(row[1], 16) + int(row[0], 16)
    attempts = verdict(crash(tmp_path, ALL, program))[1]
    expected = "it differs from the dump at offset 0x%x (a debugger's breakpoint is there)" % offset
    assert attempts["as-mapped", "other-build-id"] == expected


@pytest.mark.parametrize("codec", ["gzip", "xz"])
def test_pages_of_a_compressed_dump_are_compared(codec, tmp_path):
    program = build(tmp_path / "prog", NAMELESS)
    library = build(tmp_path / "libc.so", NAMELESS, "-shared", "-fPIC")
    core = crash(tmp_path, ALL, program, env={"LD_PRELOAD": str(library)})
    run([codec, core])
    (packed,) = core.parent.iterdir()
    build(library, NAMELESS, "-shared", "-fPIC", constant=1001)
    assert verdict(packed)[0] == "pages"
    matched_by, attempts = verdict(packed, "libc.so")
    assert attempts["as-mapped", "other-build-id"].startswith("it differs from the dump") and matched_by == "dump"


def test_go_program_by_its_own_build_id(tmp_path):
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    core, wrong = None, None
    for constant in (1, 2):
        source = tmp_path / "main.go"
        source.write_text(GO_PROGRAM.replace("CONSTANT", str(constant)))
        env = dict(os.environ, GOCACHE=str(tmp_path / "cache"), GOPATH=str(tmp_path / "go"), GO111MODULE="off",
                   CGO_ENABLED="0")  # fmt: skip
        run(["go", "build", "-o", tmp_path / "prog", source], env=env, cwd=str(tmp_path))
        if core is None:
            core = crash(tmp_path, DEFAULT, tmp_path / "prog", env={"GOTRACEBACK": "crash"})
            assert verdict(core)[0] == "go-build-id"
        else:
            wrong = re.search(r"go\.buildid|GO BUILDID", run(["readelf", "-n", tmp_path / "prog"]).stdout)
    matched_by, attempts = verdict(core)
    assert wrong and matched_by is None and "/" in attempts["as-mapped", "other-build-id"]


def archived(core, into, *words):
    """The archive of a dump, unpacked by tar, with its manifest."""
    output = into / "archives"
    output.mkdir()
    done = savedump("archive", "-o", output, *words, core)
    assert done.status in (0, 3), done.error
    return unpacked(output, into)


def unpacked(output, into):
    (into / "unpacked").mkdir()
    (archive,) = output.iterdir()
    run(["tar", "xf", archive, "-C", into / "unpacked"])
    (top,) = (into / "unpacked").iterdir()
    return top, json.loads((top / "manifest.json").read_text())


def gdb(top, *words, **env):
    """What the archive's launcher prints, where the machine's own debug information is out of sight."""
    command = [str(top / "run-gdb.sh"), "-batch", *words]
    if os.path.isdir("/usr/lib/debug"):
        command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /usr/lib/debug && exec "$@"', "sh", *command]
    done = subprocess.run(
        command, cwd="/", env=dict(os.environ, LC_ALL="C.UTF-8", **env), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", timeout=600,
    )  # fmt: skip
    return done.stdout + done.stderr


def frames(output):
    """The functions of a backtrace, innermost first."""
    return re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?([^ (]+)", output, re.M)


def rebuilt(manifest):
    return {os.path.basename(one["path"]): one for one in manifest["files"] if one["matched_by"] == "dump"}


def loaded_bytes(path):
    """The read-only segments of an ELF file."""
    rows = re.findall(r"LOAD +(0x\w+) 0x\w+ 0x\w+ (0x\w+) 0x\w+ ([RWE ]{3})", run(["readelf", "-lW", path]).stdout)
    content = pathlib.Path(path).read_bytes()
    parts = [content[int(at, 16) : int(at, 16) + int(size, 16)] for at, size, flags in rows if "W" not in flags]
    # The ELF header tells where the table of sections is, which is a new one.
    return [parts[0][64:]] + parts[1:]


def test_deleted_program_and_library_are_rebuilt_and_gdb_unwinds_through_them(tmp_path):
    program = build(tmp_path / "prog", "-rdynamic", NAMELESS, source=(SOURCES / "opens.c").read_text())
    text = (SOURCES / "plug.c").read_text()
    library = build(tmp_path / "plug.so", "-shared", "-fPIC", "-Wl,--build-id", source=text)
    copies = [shutil.copy(str(path), str(path) + ".kept") for path in (program, library)]
    core = crash(tmp_path, ALL, program, library)
    program.unlink()
    library.unlink()
    top, manifest = archived(core, tmp_path)
    assert sorted(rebuilt(manifest)) == ["plug.so", "prog"]
    assert rebuilt(manifest)["plug.so"]["build_id"] == build_id(copies[1])
    assert rebuilt(manifest)["plug.so"]["origin"] == "rebuilt from the dump: %s" % library
    for copy, name in zip(copies, ("prog", "plug.so")):
        assert loaded_bytes(copy) == loaded_bytes(top / rebuilt(manifest)[name]["path"])
    output = gdb(top, "-ex", "bt")
    assert [name for name in frames(output) if name in ("plug_enter", "main")] == ["plug_enter", "main"], output
    # Without a symbol of its own: inside_only, between abort and plug_enter.
    assert frames(output)[frames(output).index("plug_enter") - 1] == "??", output


def test_program_that_never_had_a_path_is_rebuilt(tmp_path):
    """memfd_create(2), as used by programs that run from memory alone."""
    program = build(tmp_path / "prog", "-rdynamic", "-Wl,--build-id")
    run_it = (
        "import os, sys; fd = os.memfd_create('ghost'); os.write(fd, open(sys.argv[1], 'rb').read()); "
        "os.execv('/proc/self/fd/%d' % fd, ['ghost'])"
    )
    core = crash(tmp_path, ALL, sys.executable, "-c", run_it, program)
    top, manifest = archived(core, tmp_path)
    assert rebuilt(manifest)["memfd:ghost"]["build_id"] == build_id(program)
    assert manifest["complete"] is True
    output = gdb(top, "-ex", "bt")
    assert [name for name in frames(output) if name in ("deeper", "deep", "main")] == ["deeper", "deep", "main"], output


def test_what_was_not_dumped_whole_is_not_rebuilt(tmp_path):
    program = build(tmp_path / "prog", "-Wl,--build-id")
    core = crash(tmp_path, DEFAULT, program)
    program.unlink()
    matched_by, attempts = verdict(core)
    assert matched_by is None and attempts["from-dump", "absent"] == "not all of it was dumped (coredump_filter)"


def test_cut_dump_rebuilds_nothing_that_it_lacks(tmp_path):
    program = build(tmp_path / "prog", "-Wl,--build-id")
    core = crash(tmp_path, ALL, program)
    program.unlink()
    assert verdict(core)[0] == "dump"
    first = next(
        int(row.split()[1], 16) for row in run(["readelf", "-lW", core]).stdout.splitlines() if " LOAD " in row
    )
    os.truncate(str(core), first + 4096)
    matched_by, attempts = verdict(core)
    assert matched_by is None and "the dump cannot be read at byte" in attempts["from-dump", "absent"]


def test_printers_of_libstdcpp_run_when_asked_for_and_only_then(tmp_path):
    """From the archive, with the machine's own out of sight."""
    program = build(tmp_path / "prog", "-g", "-O0", source=PRINTED, compiler="g++", suffix=".cc")
    core = crash(tmp_path, DEFAULT, program)
    output = tmp_path / "archives"
    output.mkdir()
    api.archive(str(core), str(output), SearchOptions(gdb_scripts=True))
    top, manifest = unpacked(output, tmp_path)
    scripts = {one["path"] for one in manifest["files"] if one["role"] == "gdb-script"}
    (library,) = [one["path"] for one in manifest["files"] if one["role"] == "library" and "libstdc++" in one["path"]]
    if not os.path.exists("/usr/share/gdb/auto-load/%s-gdb.py" % library):
        pytest.skip("this machine's libstdc++ has no pretty printers")
    assert library + "-gdb.py" in scripts
    assert "usr/share/gcc/python/libstdcxx/v6/printers.py" in scripts
    assert all(one["matched_by"] == "path" for one in manifest["files"] if one["role"] == "gdb-script")
    words = ["-ex", "up-silently", "-ex", "frame function main", "-ex", "print numbers"]
    pretty = "std::vector of length 3, capacity 3 = {11, 22, 33}"
    assert pretty not in gdb(top, *words)
    seen = gdb(top, *words, SAVEDUMP_AUTO_LOAD="1")
    assert pretty in seen, seen
    assert signal.SIGABRT.name in seen
