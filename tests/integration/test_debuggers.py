# SPDX-License-Identifier: Apache-2.0
"""Real crashes, archived, their originals moved away, unpacked by plain tar and opened by real debuggers: what these
show has to be what gdb showed on the crashed host."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple

import pytest
from support.crashes import CASES, CannotCrash, Crash, crash, kernel
from support.crashes.workshop import REPORT_IN_GDB, build_id, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORES = ROOT / "tests/data/cores"
ODD_FOLDER = "a b'c\"d$(touch pwned)`touch pwned`:e\\f*[x]\n"

# The cases that leave nothing to be desired: all that gdb saw on the spot has to be seen again.
WHOLE = [name for name in CASES if name not in ("deleted", "removed", "upgraded_executable", "upgraded_library")]
GAPS = [name for name in CASES if name not in WHOLE]


class Opened(NamedTuple):
    """An archive, and the folder that tar made of it."""

    crash: Crash
    status: int
    answer: Dict[str, Any]
    """The document of `archive --json`."""
    top: pathlib.Path

    @property
    def manifest(self) -> Dict[str, Any]:
        return json.loads((self.top / "manifest.json").read_text())

    def files(self) -> List[pathlib.Path]:
        """Every regular file of the archive, links not followed."""
        return [path for path in self.top.rglob("*") if path.is_file() and not path.is_symlink()]


def savedump(*words, **how):
    return subprocess.run(
        [sys.executable, "-m", "savedump_core", *map(str, words)], env=dict(os.environ, PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        errors="surrogateescape", timeout=600, **how,
    )  # fmt: skip


def archive_words(made):
    words = ["archive", made.core]
    for path in made.search_paths:
        words += ["--search-path", path]
    return words + (["--allow-unverified"] if made.unverified else [])


def crash_or_skip(case, folder):
    try:
        return crash(case, folder)
    except CannotCrash as reason:
        pytest.skip(str(reason))


def make(case, folder):
    """Crash, archive, move the originals away, unpack."""
    made = crash_or_skip(case, folder)
    output = folder / "archives"
    output.mkdir()
    done = savedump(*archive_words(made), "-o", output, "--json", cwd=folder)
    assert done.returncode in (0, 3), done.stderr
    made.move_away()
    made.core.rename(made.core.with_name("moved away"))
    return Opened(made, done.returncode, json.loads(done.stdout), unpack(output, folder / "unpacked"))


def unpack(output, into):
    into.mkdir()
    (archive,) = output.iterdir()
    run(["tar", "xf", archive, "-C", into])
    (top,) = into.iterdir()
    return top


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """opened(case): each case is made once."""
    made = {}

    def get(case):
        if case not in made:
            made[case] = make(case, tmp_path_factory.mktemp(case))
        return made[case]

    return get


@pytest.mark.parametrize("pattern", ["|/usr/lib/systemd/systemd-coredump %P", "/var/cores/core.%p", "@/run/socket", ""])
def test_no_crash_is_made_where_its_dump_would_land_elsewhere(pattern, tmp_path, monkeypatch):
    (tmp_path / "core_pattern").write_text(pattern + "\n")
    monkeypatch.setattr(kernel, "PATTERN", str(tmp_path / "core_pattern"))
    with pytest.raises(CannotCrash, match="core_pattern"):
        kernel.check_pattern()


def launch(top, script, *words, cwd=None, hide=True, **env):
    """Run a launcher of an archive where the machine's own debug information is out of sight."""
    command = [os.path.join(str(top), script), *map(str, words)]
    if hide and os.path.isdir("/usr/lib/debug"):
        command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /usr/lib/debug && exec "$@"', "sh"] + command
    return subprocess.run(
        command, cwd=str(cwd or "/"), env=dict(os.environ, LC_ALL="C.UTF-8", **env), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="surrogateescape", timeout=600,
    )  # fmt: skip


def gdb_report(top, report, cwd=None, **env):
    """What the archive's gdb shows, as report_in_gdb.py writes it down, with what it said on stderr."""
    done = launch(top, "run-gdb.sh", "-batch", "-x", REPORT_IN_GDB, cwd=cwd, CRASH_REPORT=str(report), **env)
    assert report.exists(), done.stderr
    return dict(json.loads(report.read_text()), stderr=done.stderr)


def backtrace(report):
    """The text of "thread apply all bt" without the folders of libraries."""
    return re.sub(r" from .*/([^/\n]+)$", r" from \1", report["backtrace"], flags=re.M)


def assert_same(seen, origin):
    assert seen["threads"] == origin["threads"]
    assert seen["libraries"] == origin["libraries"]
    assert backtrace(seen) == backtrace(origin)


def outside(report, top):
    """Files that gdb took from elsewhere. The report has every byte of a name as one character."""
    folder = os.fsencode(str(top)).decode("iso-8859-1") + "/"
    return [name for name in report["opened"] if not name.startswith(folder)]


@pytest.mark.parametrize("case", WHOLE)
def test_gdb_shows_what_it_showed_on_the_crashed_host(opened, case, tmp_path):
    it = opened(case)
    seen = gdb_report(it.top, tmp_path / "report")
    assert_same(seen, it.crash.report)
    assert outside(seen, it.top) == []
    assert "savedump: WARNING" not in seen["stderr"]


@pytest.mark.parametrize("case", list(CASES))
def test_exit_status_and_gaps(opened, case):
    it = opened(case)
    missing = [one["module"] for one in it.answer["missing"] if one["kind"] == "loaded"]
    assert sorted(map(os.path.basename, missing)) == sorted(it.crash.gaps)
    assert it.status == (3 if it.crash.gaps or it.crash.truncated else 0)
    assert it.answer["complete"] is (it.status == 0)
    assert it.manifest["dump"]["complete"] is not it.crash.truncated


@pytest.mark.parametrize("case", ["no_headers"])
def test_a_file_that_nothing_proves_is_not_packed_unasked(tmp_path, case):
    made = crash_or_skip(case, tmp_path / "made")
    done = savedump("archive", made.core, "-o", tmp_path, "--json")
    assert done.returncode == 3
    unverified = [one for one in json.loads(done.stdout)["missing"] if one["status"] == "unverified"]
    assert made.executable in [one["module"] for one in unverified]


@pytest.mark.parametrize("case", ["no_build_id", "debug_link_no_build_id"])
def test_a_file_that_its_header_alone_proves_is_marked(tmp_path, case):
    made = crash_or_skip(case, tmp_path / "made")
    (tmp_path / "out").mkdir()
    done = savedump("archive", made.core, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    top = unpack(tmp_path / "out", tmp_path / "unpacked")
    files = json.loads((top / "manifest.json").read_text())["files"]
    (program,) = [one for one in files if one["role"] == "executable"]
    assert (program["origin"], program["matched_by"]) == (made.executable, "header")


@pytest.mark.parametrize("case", GAPS)
def test_around_a_gap_gdb_shows_the_same(opened, case, tmp_path):
    """Frames above the first one in the missing file, and all libraries but it."""
    it = opened(case)
    seen = gdb_report(it.top, tmp_path / "report")
    (gap,) = it.crash.gaps
    for mine, theirs in zip(seen["libraries"], it.crash.report["libraries"]):
        if theirs[1] == gap:
            assert mine[0] == [] and mine[2] is None
        else:
            assert mine == theirs
    for mine, theirs in zip(seen["threads"], it.crash.report["threads"]):
        assert mine["lwp"] == theirs["lwp"]
        ours = ("fall", "main", "work") if gap == "prog" else ("inside_only",)
        known = next(count for count, frame in enumerate(theirs["frames"]) if frame[0] in ours)
        assert known >= 1
        assert mine["frames"][:known] == theirs["frames"][:known]
    assert outside(seen, it.top) == []
    assert "savedump: WARNING" not in seen["stderr"]
    if gap == "prog":
        assert "the executable is not in this archive" in seen["stderr"]
        assert not os.path.lexists(str(it.top / ".savedump/executable"))


@pytest.mark.parametrize("case", [name for name in GAPS if name.startswith("upgraded")])
def test_the_wrong_file_is_never_packed_and_both_build_ids_are_said(opened, case):
    it = opened(case)
    ((digest, other, wanted),) = it.crash.wrong
    assert digest not in [hashlib.sha256(path.read_bytes()).hexdigest() for path in it.files()]
    (gap,) = [one for one in it.answer["missing"] if one["kind"] == "loaded"]
    assert gap["status"] == "mismatch" and gap["build_id"] == wanted
    assert other in [attempt["detail"] for attempt in gap["attempts"]]


def test_both_build_ids_are_said_to_a_person(tmp_path):
    made = crash_or_skip("upgraded_executable", tmp_path / "made")
    ((_, other, wanted),) = made.wrong
    done = savedump("archive", made.core, "-o", tmp_path)
    assert done.returncode == 3
    assert other in done.stderr and wanted in done.stderr


@pytest.mark.parametrize("case", ["odd_names", "names_not_utf_8"])
def test_no_name_is_run(opened, case):
    it = opened(case)
    for script in ("run-gdb.sh", "run-lldb.sh", "run-drgn.sh"):
        text = (it.top / script).read_bytes()
        assert b"pwned" not in text and text.decode("ascii")
    work = it.top.parent
    launch(it.top, "run-gdb.sh", "-batch", "-ex", "bt", cwd=work)
    launch(it.top, "run-lldb.sh", "-b", "-o", "bt", cwd=work)
    assert [path for path in work.parent.rglob("pwned")] == []


ANYWHERE = ["plugin", "debug_link", "build_id_tree", "same_relative_names", "own_libc", "odd_names"]


@pytest.mark.parametrize("case", ANYWHERE)
def test_in_a_folder_of_any_name(opened, case, tmp_path):
    it = opened(case)
    folder = tmp_path / ODD_FOLDER
    folder.mkdir()
    shutil.copytree(str(it.top), str(folder / it.top.name), symlinks=True)
    seen = gdb_report(folder / it.top.name, tmp_path / "report", cwd=folder)
    assert_same(seen, it.crash.report)
    assert outside(seen, folder / it.top.name) == []
    assert "savedump: WARNING" not in seen["stderr"]
    assert [path for path in tmp_path.rglob("pwned")] == []


@pytest.mark.parametrize("case, name", [("plugin", "plug.so"), ("same_relative_names", "plugins/one/p.so"),
                                        ("relative_upwards", "../lib/plug.so")])  # fmt: skip
def test_a_decoy_in_the_callers_directory_is_not_taken(opened, case, name, tmp_path):
    it = opened(case)
    here = tmp_path / "here"
    here.mkdir()
    decoy = pathlib.Path(os.path.normpath(str(here / name)))
    decoy.parent.mkdir(parents=True, exist_ok=True)
    run(["gcc", "-shared", "-o", decoy, "-x", "c", "/dev/null"])
    seen = gdb_report(it.top, tmp_path / "report", cwd=here)
    assert_same(seen, it.crash.report)
    assert outside(seen, it.top) == []


def _library(it, base):
    return next(path for path in it.files() if path.name == base)


def test_a_file_that_was_changed_after_unpacking_is_named(opened, tmp_path):
    it = opened("plugin")
    top = tmp_path / "archive"
    shutil.copytree(str(it.top), str(top), symlinks=True)
    library = _library(it._replace(top=top), "plug.so")
    right = build_id(library)
    library.unlink()
    run(["gcc", "-shared", "-Wl,--build-id", "-o", library, "-x", "c", "/dev/null"])
    stderr = gdb_report(top, tmp_path / "report")["stderr"]
    (line,) = [line for line in stderr.splitlines() if "savedump: WARNING" in line]
    assert right in line and build_id(library) in line and "plug.so" in line


def test_a_library_from_outside_of_the_archive_is_named(opened, tmp_path):
    it = opened("plugin")
    top = tmp_path / "archive"
    shutil.copytree(str(it.top), str(top), symlinks=True)
    library = _library(it._replace(top=top), "plug.so")
    library.rename(tmp_path / "plug.so")
    library.symlink_to(tmp_path / "plug.so")
    stderr = gdb_report(top, tmp_path / "report")["stderr"]
    assert "savedump: WARNING: gdb took %r, which is not in this archive" % str(tmp_path / "plug.so") in stderr


def test_code_of_the_archive_runs_on_request_only(opened, tmp_path):
    it = opened("plugin")
    top = tmp_path / "archive"
    shutil.copytree(str(it.top), str(top), symlinks=True)
    library = _library(it._replace(top=top), "plug.so")
    library.with_name("plug.so-gdb.py").write_text("print('code of the archive')\n")
    assert "code of the archive" not in launch(top, "run-gdb.sh", "-batch").stdout
    assert "code of the archive" in launch(top, "run-gdb.sh", "-batch", SAVEDUMP_AUTO_LOAD="1").stdout


def test_no_configuration_is_read(opened, tmp_path):
    it = opened("plugin")
    for name in (".gdbinit", ".lldbinit", ".gdbearlyinit"):
        (tmp_path / name).write_text("shell touch pwned\nplatform shell touch pwned\n")
    launch(it.top, "run-gdb.sh", "-batch", cwd=tmp_path, HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    launch(it.top, "run-lldb.sh", "-b", cwd=tmp_path, HOME=str(tmp_path))
    assert not (tmp_path / "pwned").exists()


def test_arguments_are_relative_to_the_caller(opened, tmp_path):
    it = opened("plugin")
    (tmp_path / "my script.gdb").write_text('printf "value %d\\n", global_value\ndump value out.bin global_value\n')
    done = launch(it.top, "run-gdb.sh", "-batch", "-x", "my script.gdb", cwd=tmp_path)
    assert "value 4711" in done.stdout
    assert (tmp_path / "out.bin").exists()


ELF_OPENED = re.compile(r'open(?:at)?\((?:AT_FDCWD, )?"((?:[^"\\]|\\.)*)".*\) = \d+')


def opened_files(trace):
    """Every file that strace saw opened, by its real path."""
    names = set()
    for line in trace.read_text(errors="replace").splitlines():
        found = ELF_OPENED.search(line)
        if found and found.group(1).startswith("/"):
            names.add(os.path.realpath(found.group(1)))
    return names


def is_elf(name):
    try:
        with open(name, "rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False


@pytest.mark.parametrize("case", ["plugin", "threads", "same_names"])
@pytest.mark.parametrize("debugger", ["gdb", "lldb", "drgn"])
def test_opens_no_file_outside_of_the_archive(opened, debugger, case, tmp_path, drgn):
    """Beyond what the debugger itself consists of: seen by strace, against a run without a dump."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if shutil.which(debugger) is None and not (debugger == "drgn" and drgn):
        pytest.skip("%s is not installed" % debugger)
    it = opened(case)
    strace = ["strace", "-f", "-s", "4096", "-e", "trace=open,openat", "-o"]
    words, alone = {
        "gdb": (["-batch", "-ex", "thread apply all bt"], ["gdb", "-nx", "-batch", "-ex", "python import json"]),
        "lldb": (["-b", "-o", "bt all"], ["lldb", "--no-lldbinit", "-b", "-o", "target create /bin/true"]),
        "drgn": (["-e", "print(prog.crashed_thread().stack_trace())"], [drgn, "-c", str(it.crash.core), "-e", "1"]),
    }[debugger]
    env = dict(os.environ, SAVEDUMP_DRGN=drgn or "")
    how = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600, env=env)
    subprocess.run([*strace, str(tmp_path / "alone"), *alone], **how)
    subprocess.run([*strace, str(tmp_path / "trace"), str(it.top / ("run-%s.sh" % debugger)), *words], **how)
    seen = opened_files(tmp_path / "trace")
    assert str(_library(it, "libc.so.6")) in seen
    own = opened_files(tmp_path / "alone")
    foreign = [name for name in seen - own if not (name + "/").startswith(str(it.top) + "/")]
    # Converters of character sets and modules of Python are loaded when they are first needed.
    assert [name for name in foreign if is_elf(name) and not re.search("/gconv/|/lib-dynload/", name)] == []
    assert [name for name in foreign if name.startswith(str(it.crash.origin.parent))] == []


def functions(report):
    """Names of the crashed thread's functions, from the innermost out, as far as they are known."""
    return [frame[0] for frame in report["threads"][0]["frames"] if frame[0] is not None]


def in_order(names, text):
    """True if all the names stand in the text in this order."""
    at = 0
    for name in names:
        at = text.find(name, at)
        if at < 0:
            return False
        at += len(name)
    return True


# gdb-multiarch 13 of Debian 12 does not know LoongArch; run-gdb.sh says so and leaves with 69 (launchers' own tests).
FOREIGN = sorted({path.name[: -len("-crash.core.xz")] for path in CORES.glob("*-crash.core.xz")} - {"loongarch64"})


@pytest.fixture
def sysroot():
    """A folder that every user may read: files are opened with the rights of the user that the dump is of."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sysroot-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(str(folder), ignore_errors=True)


@pytest.mark.parametrize("abi", FOREIGN)
def test_a_dump_of_another_machine(abi, tmp_path, sysroot):
    """The right gdb is chosen, and names the function that died, from the file that it lies in."""
    if shutil.which("gdb-multiarch") is None:
        pytest.skip("gdb-multiarch is not installed")
    (tmp_path / "archives").mkdir()
    run(["tar", "xf", CORES / (abi + "-programs.tar.xz"), "-C", sysroot])
    core = CORES / (abi + "-crash.core.xz")
    done = savedump("archive", core, "--sysroot", sysroot, "-o", tmp_path / "archives")
    assert done.returncode == 3, done.stderr  # these come without their C library
    shutil.rmtree(str(sysroot))
    top = unpack(tmp_path / "archives", tmp_path / "unpacked")
    seen = gdb_report(top, tmp_path / "report")
    truth = json.loads((CORES / (abi + "-crash.json")).read_text())
    (died,) = [one for one in seen["threads"] if one["lwp"] == truth["crashing_tid"]]
    assert died["frames"][0][0] == "crash_here"
    assert "plug.so" in [library[1] for library in seen["libraries"] if library[3] == "Yes"]
    assert outside(seen, top) == []
    assert "savedump: WARNING" not in seen["stderr"]


# lldb and drgn name some of libc's functions by other aliases than gdb does; our own have one name each.
OURS = ("fall", "main", "inside_one", "inside_two", "inside_three", "inside_only", "plug_enter", "by_preload",
        "by_path", "by_origin")  # fmt: skip
OTHERS = ["plugin", "threads", "script", "odd_names", "search_paths", "same_names", "build_id_tree", "dwz", "own_libc",
          "static", "relative_upwards"]  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_lldb(opened, case):
    if shutil.which("lldb") is None:
        pytest.skip("lldb is not installed")
    it = opened(case)
    done = launch(it.top, "run-lldb.sh", "-b", "-o", "bt", "-o", "image list")
    _check_other(it, done.stdout)
    images = re.findall(r"^\[ *\d+\] \S+ 0x\S+ (/.*) $", done.stdout, re.M)
    assert images and all(image.startswith(str(it.top) + "/") for image in images)


@pytest.mark.parametrize("case", OTHERS)
def test_drgn(opened, case, drgn):
    if drgn is None:
        pytest.skip("drgn is not installed")
    it = opened(case)
    code = "for frame in prog.crashed_thread().stack_trace(): print(frame.name)"
    done = launch(it.top, "run-drgn.sh", "-e", code, SAVEDUMP_DRGN=drgn)
    _check_other(it, done.stdout)


def _check_other(it, text):
    expected = [name for name in functions(it.crash.report) if name in OURS]
    assert expected and in_order(expected, text), text


@pytest.fixture(scope="session")
def drgn():
    """A drgn that runs, from PATH or beside this Python; None."""
    beside = os.path.join(os.path.dirname(sys.executable), "drgn")
    for name in (shutil.which("drgn"), beside):
        if name and os.access(name, os.X_OK):
            done = subprocess.run([name, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if done.returncode == 0:
                return name
    return None
