# SPDX-License-Identifier: Apache-2.0
"""A real crash inside of a host: a program, a plug-in that it opens by dlopen, and the kernel's own dump."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .base import FleetError, call

if TYPE_CHECKING:
    from .host import Host

#: main → run_job → (plug-in) render → libc's qsort → compare_rows, which writes to address 0. libc's frames in the
#: middle can only be unwound with the very libc that the host has; `job_number` is a thread-local; `fill` makes the
#: dump as big as asked, with data that no compressor makes smaller (xorshift64).
SOURCES = {
    "program.c": """\
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
__thread int job_number = 41;
static unsigned long *data;
static void fill(size_t mebibytes)
{
    size_t count = mebibytes * (1 << 20) / sizeof *data;
    unsigned long word = 88172645463325252UL;
    data = malloc(count * sizeof *data);
    for (size_t i = 0; i < count; i++) {
        word ^= word << 13; word ^= word >> 7; word ^= word << 17;
        data[i] = word;
    }
}
int run_job(const char *plugin)
{
    void *handle = dlopen(plugin, RTLD_NOW);
    if (!handle) { fprintf(stderr, "%s\\n", dlerror()); return 2; }
    int (*render)(int) = (int (*)(int))dlsym(handle, "render");
    job_number++;
    return render(job_number) + 1;
}
int main(int argc, char **argv)
{
    (void)argc;
    fill(strtoul(argv[2], NULL, 10));
    return run_job(argv[1]);
}
""",
    "plugin.c": """\
#include <stdlib.h>
static int compare_rows(const void *left, const void *right)
{
    (void)left; (void)right;
    *(volatile int *)0 = 1;
    return 0;
}
int render(int job)
{
    int rows[2] = { job, 1 };
    qsort(rows, 2, sizeof rows[0], compare_rows);
    return rows[0];
}
""",
}


class Crash(NamedTuple):
    """A dump in a host, all paths as the host sees them."""

    core: str
    executable: str
    plugin: str
    #: Our own functions on the stack, innermost first; libc's qsort stands between the first two.
    functions: tuple[str, ...] = ("compare_rows", "render", "run_job", "main")


def build(lower: str, into: Path) -> tuple[Path, Path]:
    """Compile the program and the plug-in for the root `lower`, with the machine's compiler; returns their paths."""
    mark = hashlib.sha256("".join(SOURCES.values()).encode() + os.fsencode(lower)).hexdigest()[:12]
    folder = into / mark
    program, plugin = folder / "program", folder / "plugin.so"
    if not plugin.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in SOURCES.items():
            (folder / name).write_text(text)
        # The compiler's own prefix map keeps the fleet's folder out of the debug info, so equal hosts get equal files.
        common = ["gcc", "-g", "-O0", f"-ffile-prefix-map={folder}=.", "-Wl,--build-id", *_toolchain_of(lower)]
        # gdb reads thread-locals through libthread_db, which up to glibc 2.33 needs libpthread in the process.
        libraries = ["-Wl,--no-as-needed", *(["-lpthread", "-ldl"] if lower == "/" else _libraries_of(lower))]
        call(*common, "-o", str(program), str(folder / "program.c"), *libraries)
        call(*common, "-shared", "-fPIC", "-o", str(plugin), str(folder / "plugin.c"), *libraries)
    return program, plugin


def _changes(folder: Path) -> set[tuple[str, int]]:
    """The files of a folder, each with its last change in ns: a second crash may overwrite the first one's core."""
    return {(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(folder) if entry.is_file()}


def _toolchain_of(lower: str) -> list[str]:
    if lower == "/":
        return []
    # gcc looks beside itself for crt1.o before it looks in the sysroot; -B comes before both.
    return [f"--sysroot={lower}", f"-B{lower}/usr/lib/{_multiarch()}/", "-nodefaultlibs"]


def _libraries_of(lower: str) -> list[str]:
    """The root's C library, file by file: its linker script names ld.so by an absolute link, which leads out of it."""
    shared, static = (f"{lower}/{folder}/{_multiarch()}" for folder in ("lib", "usr/lib"))
    names = (f"{shared}/libc.so.6", f"{static}/libc_nonshared.a", f"{shared}/libpthread.so.0", f"{shared}/libdl.so.2")
    return [*names, "-lgcc", "-Wl,--allow-shlib-undefined"]


def _multiarch() -> str:
    return call("gcc", "-print-multiarch").strip()


def crash_in(host: Host, directory: str, program: str, data_mib: int) -> Crash:
    """Install the program as /opt/PROGRAM/…, run it as root in `directory` until it dies, and say what it left.

    The kernel's core_pattern is one for all namespaces and is not touched: it must name a relative file (the kernel's
    own default, "core"), else FleetError.
    """
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith(("|", "@")) or "/" in pattern:
        raise FleetError(
            f"kernel.core_pattern is {pattern!r}: a dump of a host would land outside of it; "
            "set it to the kernel's default, sysctl kernel.core_pattern=core"
        )
    if not re.fullmatch(r"[\w.-]+", program):
        raise FleetError(f"{program!r} is no plain file name")
    executable, plugin = f"/opt/{program}/bin/{program}", f"/opt/{program}/lib/render.so"
    for built, name in zip(build(host.lower, host.directory / "built"), (executable, plugin), strict=True):
        place = host.path(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(built.read_bytes())
        place.chmod(0o755)
    host.run("mkdir", "-p", directory)
    before = _changes(host.path(directory))
    script = 'ulimit -c unlimited && cd "$1" && { "$2" "$3" "$4"; echo $?; }'
    ended = host.run("sh", "-c", script, "sh", directory, executable, plugin, str(data_mib))
    new = [name for name, _ in sorted(_changes(host.path(directory)) - before)]
    if ended.stdout.split()[-1:] != ["139"] or len(new) != 1:  # 128 + SIGSEGV
        words = f"exit {ended.stdout!r}, new files {new}, {ended.stderr!r}"
        raise FleetError(f"{host.name}: no crash in {directory}: {words}")
    return Crash(f"{directory}/{new[0]}", executable, plugin)


def gdb(host: Host, crash: Crash, *commands: str) -> str:
    """What the machine's gdb says of a crash from the host's own files: the truth that an archive has to live up to."""
    root = f"/proc/{host.init}/root"
    argv = ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", f"set sysroot {root}"]
    argv += [f"--core={root}{crash.core}", f"{root}{crash.executable}"]
    return call(*argv, *(word for command in commands for word in ("-ex", command)))


def frames(gdb_said: str) -> list[str]:
    """The functions of the last backtrace in gdb's words, innermost first; "??" where gdb has no name."""
    numbered = re.findall(r"^#(\d+) +(?:0x[0-9a-f]+ in )?(\S+) \(", gdb_said, re.MULTILINE)
    starts = [index for index, (number, _) in enumerate(numbered) if number == "0"]
    return [function for _, function in numbered[starts[-1] :]] if starts else []
