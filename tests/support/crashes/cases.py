# SPDX-License-Identifier: Apache-2.0
"""One function per way in which a crash can be hard to take along."""

import os
import pathlib
import shutil

from .kernel import CannotCrash
from .workshop import Workshop, build_id, replace, report_of, run, split_debug

# What a shell, gdb, lldb, tar, JSON or a terminal could stumble over; the command would leave a file behind.
ODD = "sp ace 'q' \"d\" $(touch pwned)`touch pwned`;&|*?[x]\\n\n\t"
NOT_UTF_8 = os.fsdecode(b"caf\xe9 \xff\xfe")


def plugin(shop):
    """A library opened by a relative name: the link map has ./plug.so, NT_FILE the full path."""
    shop.library("plug.so")
    program = shop.build("bin/prog", "opens.c")
    return shop.crash("plugin", [program, "./plug.so"], program)


def threads(shop):
    """Four threads, each with its own value of a thread-local."""
    program = shop.build("prog", "threads.c")
    return shop.crash("threads", [program], program)


def script(shop):
    """A "#!" script: AT_EXECFN is the script, the executable is its interpreter."""
    program = shop.build("bin/interpreter", "threads.c", "-DNO_THREADS")
    text = shop.origin / "script"
    text.write_text("#!%s\n" % program)
    text.chmod(0o755)
    return shop.crash("script", ["./script"], program)


def relative(shop):
    """Started as ./prog: AT_EXECFN says no more than that."""
    program = shop.build("prog", "threads.c", "-DNO_THREADS")
    return shop.crash("relative", ["./prog"], program)


def symlinked(shop):
    """Started through two links."""
    program = shop.build("prog-1.2/bin/prog", "threads.c", "-DNO_THREADS")
    (shop.origin / "current").symlink_to("prog-1.2")
    (shop.origin / "prog").symlink_to("current/bin/prog")
    return shop.crash("symlinked", [shop.origin / "prog"], program)


def odd_names(shop):
    """Folder, program, library and dump have names that no script may ever hold."""
    shop.library("pl ug%s.so" % ODD)
    program = shop.build(ODD + "/" + ODD, "opens.c")
    return shop.crash("odd_names", [program, "./pl ug%s.so" % ODD], program, core_name="core." + ODD)


def names_not_utf_8(shop):
    """Names that are no text."""
    shop.library(NOT_UTF_8 + ".so")
    program = shop.build(NOT_UTF_8 + "/" + NOT_UTF_8, "opens.c")
    return shop.crash(
        "names_not_utf_8", [program, shop.origin / (NOT_UTF_8 + ".so")], program, core_name="core." + NOT_UTF_8
    )


def static(shop):
    program = shop.build("prog", "threads.c", "-static")
    return shop.crash("static", [program], program)


def static_pie(shop):
    program = shop.build("prog", "threads.c", "-static-pie", "-DNO_THREADS")
    return shop.crash("static_pie", [program], program)


def search_paths(shop):
    """RPATH $ORIGIN, a relative LD_LIBRARY_PATH and a relative LD_PRELOAD, one library by each."""
    preload = shop.library("pre/libby_preload.so", "by_preload.c")
    by_path = shop.library("path/libby_path.so", "by_path.c", "-Wl,-soname,libby_path.so")
    by_origin = shop.library("lib/libby_origin.so", "by_origin.c", "-Wl,-soname,libby_origin.so", by_path)
    rpath = ["-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib", "-Wl,-rpath-link,%s" % by_path.parent]
    program = shop.build("bin/prog", "linked.c", by_origin, *rpath)
    env = {"LD_LIBRARY_PATH": "path", "LD_PRELOAD": "./pre/" + preload.name}
    return shop.crash("search_paths", ["bin/prog"], program, env=env)


def dlmopen(shop):
    """A library in a link-map namespace of its own, with a second libc."""
    shop.library("plug.so")
    program = shop.build("prog", "opens.c")
    return shop.crash("dlmopen", [program, "-n", shop.origin / "plug.so"], program)


def same_names(shop):
    """Three libraries called p.so, by full names."""
    names = [shop.library("%s/p.so" % name, "plug.c", "-DPLUG=" + name) for name in ("one", "two", "three")]
    program = shop.build("prog", "opens.c")
    return shop.crash("same_names", [program] + names, program)


def same_relative_names(shop):
    """Three libraries called p.so, by relative names: a debugger that goes by the last part alone is wrong twice."""
    for name in ("one", "two", "three"):
        shop.library("plugins/%s/p.so" % name, "plug.c", "-DPLUG=" + name, "-DPAD=%d" % (1000 * len(name)))
    program = shop.build("prog", "opens.c")
    names = ["plugins/one/p.so", "./plugins/two/p.so", "plugins/three/p.so"]
    return shop.crash("same_relative_names", [program] + names, program)


def relative_upwards(shop):
    """Opened by a relative name that begins with ".."."""
    shop.library("lib/plug.so")
    program = shop.build("bin/prog", "opens.c")
    return shop.crash("relative_upwards", [program, "../lib/plug.so"], program, cwd=program.parent)


def deleted(shop):
    """The program was unlinked while it ran: the kernel's own list of files says "(deleted)"."""
    program = shop.build("prog", "threads.c", "-DNO_THREADS", "-DWAIT")
    kept = shop.folder / "kept"
    os.link(str(program), str(kept))
    made = shop.crash("deleted", [program], program, shown=kept, while_waiting=program.unlink)
    kept.unlink()
    return made._replace(gaps=("prog",))


def removed(shop):
    """The program was there at the crash, and is not any more."""
    made = relative(shop)
    pathlib.Path(made.executable).unlink()
    return made._replace(case="removed", gaps=("prog",))


def upgraded_executable(shop):
    """Another build took the program's place after the crash."""
    program = shop.build("prog", "threads.c")
    made = shop.crash("upgraded_executable", [program], program)
    row = replace(program, shop.build("prog.new", "threads.c", "-DNO_THREADS"))
    return made._replace(gaps=("prog",), wrong=(row,))


def upgraded_library(shop):
    """Another build took a library's place after the crash."""
    library = shop.library("plug.so")
    program = shop.build("prog", "opens.c")
    made = shop.crash("upgraded_library", [program, library], program)
    row = replace(library, shop.library("plug.so.new", "plug.c", "-DPAD=64"))
    return made._replace(gaps=("plug.so",), wrong=(row,))


def no_headers(shop):
    """coredump_filter without bit 4, "ELF headers in file-backed private mappings" (core(5)): no build IDs."""
    program = shop.build("prog", "threads.c", '-DFILTER="0x23"')
    return shop.crash("no_headers", [program], program)._replace(unverified=True)


def limited(shop):
    """RLIMIT_CORE cut the dump short; it counts what is written, not the holes."""
    program = shop.build("prog", "threads.c")
    return shop.crash("limited", [program], program, limit=64 << 10)._replace(truncated=True, unverified=True)


def cut(shop):
    """The dump lost its end on the way."""
    made = threads(shop)
    os.truncate(str(made.core), made.core.stat().st_size * 2 // 3)
    report = report_of(made.core, made.executable, made.origin)
    return made._replace(case="cut", truncated=True, unverified=True, report=report)


def sparse(shop):
    """4 GiB of address space, less than 1 MiB of data."""
    program = shop.build("prog", "threads.c", "-DSPARSE", "-DNO_THREADS")
    made = shop.crash("sparse", [program], program)
    stat = made.core.stat()
    if stat.st_size < 4 << 30 or stat.st_blocks * 512 > 1 << 20:
        raise CannotCrash("no sparse dump here: %d bytes, %d on disk" % (stat.st_size, stat.st_blocks * 512))
    return made


def build_id_tree(shop):
    """Debug information in a .build-id tree of its own."""
    library = shop.library("plug.so")
    program = shop.build("prog", "opens.c")
    tree = shop.origin / "debug"
    for path in (library, program):
        text = build_id(path)
        split_debug(path, tree / ".build-id" / text[:2] / (text[2:] + ".debug"))
    settings = ["set debug-file-directory %s:/usr/lib/debug" % tree]
    made = shop.crash("build_id_tree", [program, library], program, gdb=settings)
    return made._replace(search_paths=(str(tree),))


def debug_link(shop):
    """Debug information by .gnu_debuglink, beside the file and in .debug/."""
    library = shop.library("lib/plug.so")
    program = shop.build("bin/prog", "opens.c")
    split_debug(library, shop.origin / "lib/.debug/plug.so.debug", link=True)
    split_debug(program, shop.origin / "bin/prog.debug", link=True)
    return shop.crash("debug_link", [program, library], program)


def debug_link_no_build_id(shop):
    """The same, in files without build ID: a CRC is all there is."""
    program = shop.build("bin/prog", "opens.c", "-Wl,--build-id=none")
    library = shop.library("lib/plug.so", "plug.c", "-Wl,--build-id=none")
    split_debug(program, shop.origin / "bin/.debug/prog.debug", link=True)
    split_debug(library, shop.origin / "lib/plug.debug", link=True)
    return shop.crash("debug_link_no_build_id", [program, library], program)._replace(unverified=True)


def dwz(shop):
    """Debug information that shares a supplementary file (.gnu_debugaltlink): one half without the other is worse
    than none."""
    # dwz shares only what several files hold, so both get a good deal of the same.
    common = ["-D_GNU_SOURCE", "-include", "stdio.h", "-include", "pthread.h", "-fno-eliminate-unused-debug-types"]
    library = shop.library("plug.so", "plug.c", *common)
    program = shop.build("prog", "opens.c", *common)
    shared = shop.origin / "debug/.dwz/shared.debug"
    shared.parent.mkdir(parents=True)
    run(["dwz", "-m", shared, "-M", shared, program, library])
    if not shared.exists():
        raise CannotCrash("dwz found nothing to share")
    tree = shop.origin / "debug"
    for path in (library, program):
        text = build_id(path)
        split_debug(path, tree / ".build-id" / text[:2] / (text[2:] + ".debug"))
    settings = ["set debug-file-directory %s:/usr/lib/debug" % tree]
    made = shop.crash("dwz", [program, library], program, gdb=settings)
    return made._replace(search_paths=(str(tree),))


def no_build_id(shop):
    """A program that nothing but its path speaks for."""
    program = shop.build("prog", "threads.c", "-Wl,--build-id=none")
    return shop.crash("no_build_id", [program], program)._replace(unverified=True)


def m32(shop):
    """A 32-bit program on a 64-bit host."""
    shop.library("plug.so", "plug.c", "-m32")
    program = shop.build("prog", "opens.c", "-m32")
    return shop.crash("m32", [program, "./plug.so"], program)


def own_libc(shop):
    """A C library that is not this machine's: what a debugger takes from here instead is seen at once."""
    origin = shop.origin / "lib"
    origin.mkdir()
    loader = pathlib.Path(run(["gcc", "-print-file-name=ld-linux-x86-64.so.2"]).stdout.strip())
    if not loader.is_absolute():
        raise CannotCrash("this machine is not x86-64")
    for path in (loader, loader.parent / "libc.so.6", loader.parent / "libthread_db.so.1"):
        copy = origin / path.name
        shutil.copy(str(path.resolve()), str(copy))
        _change_build_id(copy)
    program = shop.build(
        "bin/prog", "threads.c", "-Wl,--dynamic-linker=%s" % (origin / loader.name), "-Wl,-rpath,%s" % origin
    )
    settings = ["set auto-load safe-path %s" % origin, "set libthread-db-search-path %s" % origin]
    return shop.crash("own_libc", [program], program, gdb=settings)


def _change_build_id(path):
    text = build_id(path)
    data = path.read_bytes()
    old = bytes.fromhex(text)
    path.write_bytes(data.replace(old, bytes(255 - byte for byte in old)))


CASES = {
    function.__name__: function
    for function in (
        plugin, threads, script, relative, symlinked, odd_names, names_not_utf_8, static, static_pie, search_paths,
        dlmopen, same_names, same_relative_names, relative_upwards, deleted, removed, upgraded_executable,
        upgraded_library, no_headers, limited, cut, sparse, build_id_tree, debug_link, debug_link_no_build_id, dwz,
        no_build_id, m32, own_libc,
    )
}  # fmt: skip


def crash(case, folder):
    """Make the case of this name below `folder`; a Crash. Raises CannotCrash."""
    return CASES[case](Workshop(folder))
