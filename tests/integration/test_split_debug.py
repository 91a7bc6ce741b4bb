# SPDX-License-Identifier: Apache-2.0
"""Real crashes of programs whose debug information is split off in every way there is: archived, the originals moved
away, opened by gdb, which has to show the frames, lines and arguments that it showed on the crashed host."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any, Dict, NamedTuple

import pytest
from support.crashes import CannotCrash, Crash
from support.crashes.workshop import REPORT_IN_GDB, Workshop, build_id, run, split_debug

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Two objects for the program, two for the library; each part's are called obj/one and obj/two. MARK shows in a type,
# for a .dwo's ID is made of what is in it: another constant alone gives the same.
SOURCES = {
    ("prog", "one"): "int mid(int); int main(void) { int base = 3; return mid(base) + 1; }",
    ("prog", "two"): "int outer(int); int mid(int twice) { int more = twice * 2; return outer(more) + twice; }",
    ("lib", "one"): "int inner(int); char r[MARK]; int outer(int count) { int s = count + sizeof r; return inner(s); }",
    ("lib", "two"): "#include <stdlib.h>\nint inner(int last) { volatile int seen = last; abort(); return seen; }",
}
# Both show up in the arguments of frames, which only the split part of the debug information knows.
ARGUMENTS = ("mid (twice=3)", "outer (count=6)", "inner (last=7)")


class Built(NamedTuple):
    """A program and its library, each in a folder of its own, built in further ones."""

    shop: Workshop
    program: pathlib.Path
    library: pathlib.Path

    @property
    def files(self):
        return (self.program, self.library)

    def crash(self, case, gdb=()) -> Crash:
        made = self.shop.crash(case, [self.program], self.program, gdb=gdb)
        for text in ARGUMENTS:
            assert text in made.report["backtrace"], "gdb on the crashed host does not see it all"
        return made


class Opened(NamedTuple):
    crash: Crash
    status: int
    top: pathlib.Path

    @property
    def manifest(self) -> Dict[str, Any]:
        return json.loads((self.top / "manifest.json").read_text())

    def members(self, role):
        return sorted(one["path"] for one in self.manifest["files"] if one["role"] == role)


def objects(shop, part, options, mark=1, absolute=False, top="build"):
    """Compile a part in its own folder; the object files as the linker is told of them, and that folder."""
    folder = shop.origin / top / part
    (folder / "obj").mkdir(parents=True)
    made = []
    for (whose, name), text in SOURCES.items():
        if whose == part:
            (folder / (name + ".c")).write_text(text + "\n")
            made.append((str(folder / "obj" / name) if absolute else "obj/" + name) + ".o")
            words = ["gcc", "-g", "-O0", "-fPIC", "-DMARK=%d" % mark, *options, "-c", name + ".c", "-o", made[-1]]
            run(words, cwd=str(folder))
    return made, folder


def build(shop, *options, absolute=False, link=()):
    for folder in ("bin", "lib"):
        (shop.origin / folder).mkdir()
    program, library = shop.origin / "bin/prog", shop.origin / "lib/libpart.so"
    made, folder = objects(shop, "lib", options, absolute=absolute)
    run(["gcc", "-shared", "-Wl,--build-id", *link, "-o", library, *made], cwd=str(folder))
    made, folder = objects(shop, "prog", options, absolute=absolute)
    words = ["gcc", "-Wl,--build-id", *link, "-o", program, *made, library, "-Wl,-rpath,%s" % library.parent]
    run(words, cwd=str(folder))
    return Built(shop, program, library)


def savedump(*words):
    return subprocess.run(
        [sys.executable, "-m", "savedump_core", *map(str, words)], env=dict(os.environ, PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", timeout=600,
    )  # fmt: skip


def archived(made, folder):
    """Archive, move the originals away, unpack with tar."""
    output, unpacked = folder / "archives", folder / "unpacked"
    output.mkdir()
    unpacked.mkdir()
    words = [word for path in made.search_paths for word in ("--search-path", path)]
    done = savedump("archive", made.core, "-o", output, "--json", *words)
    assert done.returncode in (0, 3), done.stderr
    made.move_away()
    made.core.rename(made.core.with_name("moved away"))
    run(["tar", "xf", next(output.iterdir()), "-C", unpacked])
    return Opened(made, done.returncode, next(unpacked.iterdir()))


def launch(top, script, *words, **env):
    """Run a launcher where the machine's own debug information is out of sight."""
    command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /usr/lib/debug && exec "$@"', "sh"]
    if not os.path.isdir("/usr/lib/debug"):
        command = []
    return subprocess.run(
        [*command, str(top / script), *map(str, words)], cwd="/", env=dict(os.environ, LC_ALL="C.UTF-8", **env),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", timeout=600,
    )  # fmt: skip


def gdb_report(it, report, gdb="gdb"):
    done = launch(
        it.top, "run-gdb.sh", "-batch", "-x", REPORT_IN_GDB, CRASH_REPORT=str(report), SAVEDUMP_GDB=shutil.which(gdb)
    )
    assert report.exists(), done.stderr
    return dict(json.loads(report.read_text()), stderr=done.stderr)


def backtrace(report):
    """The text of "thread apply all bt" without the folders of libraries."""
    return re.sub(r" from .*/([^/\n]+)$", r" from \1", report["backtrace"], flags=re.M)


def assert_shows_the_same(it, folder, gdb="gdb"):
    seen = gdb_report(it, folder / ("report-" + gdb), gdb)
    assert seen["threads"] == it.crash.report["threads"]
    assert backtrace(seen) == backtrace(it.crash.report)
    assert "savedump: WARNING" not in seen["stderr"]
    return seen


def into_tree(path, tree):
    """Strip a file, and put what was stripped into a .build-id tree."""
    text = build_id(path)
    debug = tree / ".build-id" / text[:2] / (text[2:] + ".debug")
    split_debug(path, debug)
    return debug


def split(version):
    def make(shop):
        """Split DWARF, by names relative to where it was compiled; two modules use the same."""
        return build(shop, "-gdwarf-%d" % version, "-gsplit-dwarf").crash("dwo%d" % version)

    return make


def split_stripped(shop):
    """Stripped, too: the skeletons lie in a debug file, and name files that lie elsewhere again."""
    built = build(shop, "-gdwarf-5", "-gsplit-dwarf")
    for path in built.files:
        split_debug(path, path.with_name(path.name + ".debug"), link=True)
    return built.crash("dwo_stripped")


def split_compressed(shop):
    """The skeletons and what they stand for are compressed."""
    built = build(shop, "-gdwarf-5", "-gsplit-dwarf", link=["-Wl,--compress-debug-sections=zlib"])
    for path in built.shop.origin.glob("build/*/obj/*.dwo"):
        run(["objcopy", "--compress-debug-sections=zlib", path])
    return built.crash("dwo_compressed")


def _join(built, tool, into):
    """A .dwp for each of the two, its .dwo files gone."""
    for path, part in zip(built.files, ("prog", "lib")):
        folder = built.shop.origin / "build" / part
        run([tool, "obj/one.dwo", "obj/two.dwo", "-o", into(path)], cwd=str(folder))
        shutil.rmtree(str(folder / "obj"))


def package(shop):
    """All units of a file in one .dwp beside it."""
    built = build(shop, "-gdwarf-4", "-gsplit-dwarf")
    _join(built, "dwp", lambda path: path.with_name(path.name + ".dwp"))
    return built.crash("dwp4")


def package_stripped(shop):
    """The .dwp of a stripped program, where gdb looks for it: beside the debug file, by the program's name."""
    built = build(shop, "-gdwarf-4", "-gsplit-dwarf")
    for path in built.files:
        split_debug(path, path.parent / ".debug" / (path.name + ".debug"), link=True)
    _join(built, "dwp", lambda path: path.parent / ".debug" / (path.name + ".dwp"))
    return built.crash("dwp_stripped")


def package_5(shop):
    """A .dwp of DWARF 5, which gdb 13.1 crashes on (and binutils' dwp 2.40 cannot make): lldb has to do. Its .dwo files
    are there while gdb looks."""
    built = build(shop, "-gdwarf-5", "-gsplit-dwarf")
    made = built.crash("dwp5")
    _join(built, "llvm-dwp", lambda path: path.with_name(path.name + ".dwp"))
    return made


def _dwz(built, *options):
    shared = built.shop.origin / "shared/.dwz/both.debug"
    shared.parent.mkdir(parents=True)
    run(["dwz", *options, "-m", shared, *built.files])
    if not shared.exists():
        raise CannotCrash("dwz found nothing to share")
    return shared


COMMON = ("-D_GNU_SOURCE", "-include", "stdio.h", "-include", "pthread.h", "-fno-eliminate-unused-debug-types")


def dwz(shop):
    """A supplementary file by a name relative to the debug file, as Fedora writes it."""
    built = build(shop, *COMMON)
    _dwz(built, "-M", "../../shared/.dwz/both.debug")
    for path in built.files:
        split_debug(path, path.parent / ".debug" / (path.name + ".debug"), link=True)
    return built.crash("dwz")


def debug_link(shop):
    """.gnu_debuglink beside the file and in .debug, compressed as binutils did it before there was a standard."""
    built = build(shop)
    for path, folder in zip(built.files, (".", ".debug")):
        debug = path.parent / folder / (path.name + ".debug")
        split_debug(path, debug, link=True)
        # The link has the CRC of the whole file; the build ID proves it nevertheless.
        run(["objcopy", "--compress-debug-sections=zlib-gnu", debug])
        run(["objcopy", "--remove-section=.gnu_debuglink", path])
        run(["objcopy", "--add-gnu-debuglink=%s" % debug, path])
    return built.crash("debug_link")


def zstd(shop):
    """Compressed with zstd."""
    built = build(shop)
    for path in built.files:
        run(["objcopy", "--compress-debug-sections=zstd", path])
    return built.crash("zstd")


CASES = {
    "dwo4": split(4), "dwo5": split(5), "dwo_stripped": split_stripped, "dwo_compressed": split_compressed,
    "dwp4": package, "dwp_stripped": package_stripped, "dwp5": package_5, "dwz": dwz, "debug_link": debug_link,
    "zstd": zstd,
}  # fmt: skip
ROLES = {
    "dwo4": ("dwo", 4), "dwo5": ("dwo", 4), "dwo_stripped": ("dwo", 4), "dwo_compressed": ("dwo", 4),
    "dwp4": ("dwp", 2), "dwp5": ("dwp", 2), "dwp_stripped": ("dwp", 2), "dwz": ("supplementary", 1),
}  # fmt: skip


def make(function, folder):
    try:
        return archived(function(Workshop(folder)), folder)
    except CannotCrash as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """opened(case): each case is made once."""
    made = {}

    def get(case):
        if case not in made:
            made[case] = make(CASES[case], tmp_path_factory.mktemp(case))
        return made[case]

    return get


@pytest.mark.parametrize("gdb", ["gdb", "gdb-multiarch"])
@pytest.mark.parametrize("case", [case for case in CASES if case != "dwp5"])
def test_gdb_shows_what_it_showed_on_the_crashed_host(opened, case, gdb, tmp_path):
    if not shutil.which(gdb):
        pytest.skip(f"no {gdb} here")
    assert_shows_the_same(opened(case), tmp_path, gdb)


@pytest.mark.parametrize("case", CASES)
def test_the_archive_is_complete_and_its_hashes_hold(opened, case):
    it = opened(case)
    ours = [one for one in it.manifest["missing"] if "/origin/" in one["module"]]
    assert ours == [] and it.status == 0
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=str(it.top), check=True)


@pytest.mark.parametrize("case", ROLES)
def test_what_was_packed(opened, case):
    role, count = ROLES[case]
    assert len(opened(case).members(role)) == count


@pytest.mark.parametrize("case, feature", [("dwo_compressed", "zlib"), ("debug_link", "zlib-gnu"), ("zstd", "zstd")])
def test_how_debug_information_is_compressed_is_said(opened, case, feature):
    modules = [one for one in opened(case).manifest["dump"]["modules"] if "/origin/" in (one["path"] or "")]
    assert len(modules) == 2
    assert all(feature in one["debug"]["features"] for one in modules)


@pytest.mark.parametrize("case", ["dwp4", "dwp5", "dwp_stripped"])
def test_lldb_shows_variables(opened, case):
    """lldb 14 looks for no .dwo but where it was compiled; a .dwp it finds."""
    if shutil.which("lldb") is None:
        pytest.skip("lldb is not installed")
    done = launch(opened(case).top, "run-lldb.sh", "-b", "-o", "thread backtrace", "-o", "frame select --relative 3",
                  "-o", "up", "-o", "frame variable")  # fmt: skip
    for name, argument in (("inner", "last=7"), ("outer", "count=6"), ("mid", "twice=3")):
        assert re.search(r"`%s\(%s\)" % (name, argument), done.stdout), done.stdout


def test_lldb_says_what_it_does_not_find(opened):
    if shutil.which("lldb") is None:
        pytest.skip("lldb is not installed")
    version = re.search(r"lldb version (\d+)", run(["lldb", "--version"]).stdout)
    done = launch(opened("dwo5").top, "run-lldb.sh", "-b", "-o", "bt")
    assert ("does not find the .dwo files" in done.stderr) == (int(version.group(1)) < 17)


@pytest.mark.parametrize("case", ["dwo4", "dwo5"])
def test_files_of_one_name_are_told_apart(opened, case):
    it = opened(case)
    assert len({hashlib.sha256((it.top / path).read_bytes()).digest() for path in it.members("dwo")}) == 4
    folder = str(it.crash.origin).lstrip("/")
    assert [path for path in it.members("dwo")] == sorted(
        "%s/%s/obj/%s.dwo" % (folder, part, name) for part in ("bin", "lib") for name in ("one", "two")
    )
    # For gdb before 12, which does not look beside the file.
    assert {os.path.realpath(str(path)) for path in (it.top / ".savedump/dwo").iterdir()} == {
        str(it.top.resolve() / folder / part) for part in ("bin", "lib")
    }


def test_absolute_names_are_packed_and_no_debugger_is_promised(tmp_path):
    """gdb has no way to be told of them: so it says, and what it says helps."""

    def absolute(shop):
        return build(shop, "-gdwarf-4", "-gsplit-dwarf", absolute=True).crash("absolute")

    it = make(absolute, tmp_path)
    packed = it.members("dwo")
    assert len(packed) == 4 and it.status == 0
    assert all(path.startswith(".savedump/dwo-elsewhere/") for path in packed)
    stderr = launch(it.top, "run-gdb.sh", "-batch").stderr
    assert "llvm-dwp FILE.dwo ... -o PROGRAM.dwp" in stderr and str(it.top / ".savedump/dwo-elsewhere") in stderr
    if shutil.which("llvm-dwp") is None:
        pytest.skip("llvm-dwp is not installed")
    for path, part in ((it.members("executable")[0], "prog"), (_own_library(it), "lib")):
        ours = [it.top / one for one in packed if "/build/%s/" % part in one]
        run(["llvm-dwp", *ours, "-o", it.top / (path + ".dwp")])
    assert_shows_the_same(it, tmp_path)


def _own_library(it):
    return next(path for path in it.members("library") if path.endswith("libpart.so"))


def test_a_unit_of_another_build_is_refused_and_the_right_one_further_down_is_taken(tmp_path):
    """The .dwo where it was compiled is of another -D; the right one was kept in a folder that the user names."""

    def rebuilt(shop):
        built = build(shop, "-gdwarf-5", "-gsplit-dwarf")
        made = built.crash("rebuilt")
        kept = shop.folder / "kept"
        shutil.copytree(str(shop.origin / "build/lib"), str(kept))
        shutil.rmtree(str(shop.origin / "build/lib"))
        objects(shop, "lib", ["-gdwarf-5", "-gsplit-dwarf"], mark=1000)
        shutil.copytree(str(kept / "obj"), str(shop.origin / "lib/obj"))
        return made

    it = make(rebuilt, tmp_path)
    assert it.status == 0
    (module,) = [one for one in it.manifest["dump"]["modules"] if (one["path"] or "").endswith("libpart.so")]
    attempts = [attempt for one in module["split"] for attempt in one["attempts"]]
    assert "other-build-id" in [one["outcome"] for one in attempts if one["path"].endswith("obj/one.dwo")]
    assert_shows_the_same(it, tmp_path)


def test_half_of_it_is_not_packed_and_what_lacks_is_said(tmp_path):
    """One .dwo of a stripped program is lost: gdb would refuse a backtrace with the rest."""

    def lost(shop):
        built = build(shop, "-gdwarf-5", "-gsplit-dwarf")
        tree = shop.origin / "debug"
        for path in built.files:
            into_tree(path, tree)
        made = built.crash("lost", gdb=["set debug-file-directory %s:/usr/lib/debug" % tree])
        (shop.origin / "build/prog/obj/two.dwo").unlink()
        return made._replace(search_paths=(str(tree),))

    it = make(lost, tmp_path)
    assert it.status == 0, "as without any debug information"
    (missing,) = [one for one in it.manifest["missing"] if one["kind"] == "debug" and one["module"].endswith("/prog")]
    refused = [one for one in missing["attempts"] if one["outcome"] == "refused"]
    assert refused and "two.dwo" in refused[0]["detail"]
    assert [one for one in it.members("debug") if build_id(it.top / it.members("executable")[0])[2:] in one] == []
    text = launch(it.top, "run-gdb.sh", "-batch", "-ex", "bt").stdout
    assert "inner (last=7)" in text and re.search(r" in main \(\)$", text, re.M)


def test_the_small_symbol_table_of_a_stripped_program(tmp_path):
    """MiniDebugInfo, made as Fedora's find-debuginfo makes it: gdb names the functions from it, and so it is noted."""

    def small(shop):
        built = build(shop)
        text = str(shop.folder / "mini")
        run(["objcopy", "--only-keep-debug", built.program, text])
        run(["objcopy", "--strip-debug", "--remove-section=.comment", text])
        run(["xz", "-z", text])
        run(["strip", built.program])
        run(["objcopy", "--add-section", ".gnu_debugdata=%s.xz" % text, built.program])
        return shop.crash("small", [built.program], built.program)

    it = make(small, tmp_path)
    seen = assert_shows_the_same(it, tmp_path)
    assert "mid ()" in seen["backtrace"] and "main ()" in seen["backtrace"]
    (module,) = [one for one in it.manifest["dump"]["modules"] if one["executable"]]
    assert "mini-debug-info" in module["file"]["features"]
