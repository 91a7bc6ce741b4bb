# SPDX-License-Identifier: Apache-2.0
"""Dumps of real kernels, archived, their originals out of sight, opened by real debuggers."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from savedump_core.launchers import LAUNCHERS

ROOT = pathlib.Path(__file__).resolve().parents[2]
ODD_FOLDER = "a b'c\"d$(touch pwned)`touch pwned`:e\\f*[x]@1000\n"
# The frames of the oops, from the inside out.
FRAMES = ("oopsmod_inner", "oopsmod_outer", "oopsmod_write", "proc_reg_write", "vfs_write", "ksys_write")


def program(name):
    """From PATH, or beside this Python; skips the test if there is none that runs."""
    for path in (shutil.which(name), os.path.join(os.path.dirname(sys.executable), name)):
        if path and os.access(path, os.X_OK):
            done = subprocess.run([path, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if done.returncode == 0:
                return path
    pytest.skip("%s is not installed" % name)


@pytest.fixture(scope="module")
def crash():
    return program("crash")


@pytest.fixture(scope="module")
def drgn():
    return program("drgn")


class Archives:
    """Unpacked archives. The kernel's files are packed once, and linked into the others."""

    def __init__(self, vmcores, folder):
        self.vmcores = vmcores
        self.folder = folder
        self.first = self._make()

    def _make(self):
        """What savedump makes of the oops, unpacked by tar in a folder of an odd name."""
        made = self.folder / "made"
        made.mkdir()
        root = self.vmcores.root()
        done = subprocess.run(
            [sys.executable, "-m", "savedump_core", "archive", str(self.vmcores.dumps / "oops61.mdf.lzo.d31"),
             "--search-path", str(root / "usr/lib/debug"), "--search-path", str(root / "lib"),
             "--format", "tar", "-o", str(made), "--json"],
            env=dict(os.environ, PYTHONPATH=str(ROOT)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8", timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (archive,) = made.iterdir()
        into = self.folder / ODD_FOLDER
        into.mkdir()
        subprocess.run(["tar", "xf", str(archive)], cwd=str(into), check=True)
        shutil.rmtree(str(made))
        (top,) = into.iterdir()
        return top

    def of(self, *dumps, **facts):
        """An archive of the same kernel with another dump: files, of which a split set is several."""
        top = self.folder / ("of-" + dumps[0].name)
        if top.exists():
            return top
        first_dump = os.path.basename(os.readlink(str(self.first / ".savedump/dump")))
        shutil.copytree(
            str(self.first), str(top), symlinks=True, copy_function=os.link,
            ignore=shutil.ignore_patterns(first_dump, "dump", "run-*.sh"),
        )  # fmt: skip
        for path in dumps:
            shutil.copy(str(path), str(top / path.name))
        (top / ".savedump/dump").symlink_to("../" + dumps[0].name)
        if len(dumps) > 1:
            (top / ".savedump/parts").mkdir()
            for number, path in enumerate(dumps, 1):
                (top / ".savedump/parts" / str(number)).symlink_to("../../" + path.name)
        self.write_launchers(top, parts=len(dumps), **facts)
        return top

    def write_launchers(self, top, **facts):
        dump = {"kind": "kdump-compressed", "machine": "x86_64", "kernel_version": [6, 1], "parts": 1}
        dump.update(facts)
        for launcher in LAUNCHERS:
            if launcher.applies_to({"dump": dump}):
                path = top / launcher.NAME
                if path.exists():
                    path.unlink()
                path.write_text(launcher.script({"dump": dump}))
                path.chmod(0o700)


@pytest.fixture(scope="module")
def archives(vmcores, tmp_path_factory):
    if os.geteuid():
        pytest.skip("needs root, to hide the kernel's own files in a mount namespace")
    folder = tmp_path_factory.mktemp("kernels")
    yield Archives(vmcores, folder)
    shutil.rmtree(str(folder), ignore_errors=True)


@pytest.fixture(scope="module")
def launch(vmcores):
    """Run a launcher where neither the originals nor the machine's own debug information are to be seen."""

    def run(script, *words, stdin="", cwd="/", **env):
        hidden = [str(vmcores.folder)] + [path for path in ("/usr/lib/debug",) if os.path.isdir(path)]
        hide = 'for path in $HIDDEN; do mount -t tmpfs none "$path" || exit 99; done; exec "$@"'
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", hide, "sh", str(script), *map(str, words)], input=stdin, cwd=str(cwd),
            env=dict(os.environ, LC_ALL="C.UTF-8", HIDDEN=" ".join(hidden), **env), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8", errors="surrogateescape", timeout=600,
        )  # fmt: skip

    return run


def in_order(names, text):
    return re.search(".*".join(map(re.escape, names)), text, re.DOTALL) is not None


def test_crash_shows_the_stack_into_the_module(archives, launch, crash, vmcores, tmp_path):
    """From a folder of an odd name, by commands of a file and of standard input."""
    (tmp_path / "my commands").write_text("bt\nbt -l")
    done = launch(
        archives.first / "run-crash.sh", "-s", "-i", "my commands", stdin="mod\n", cwd=tmp_path, SAVEDUMP_CRASH=crash
    )
    assert done.returncode == 0, done.stderr
    assert in_order(FRAMES, done.stdout)
    assert re.search(r"oopsmod\.c: \d+", done.stdout)
    assert "[oopsmod]" in done.stdout and re.search(r"/fs/read_write\.c: \d+", done.stdout)
    files = dict(re.findall(r"^[0-9a-f]{16} +(\S+) .* (/proc/self/fd/9/\S+\.ko) ?$", done.stdout, re.M))
    assert sorted(files) == sorted(vmcores.said("oops61").modules)
    assert not list(archives.folder.rglob("pwned"))
    assert done.stderr == ""


DRGN_REPORT = """
print(prog.crashed_thread().stack_trace())
print("WANTED", [module.name for module in prog.modules() if module.wants_debug_file()])
print("FILES", sorted(module.debug_file_path for module in prog.modules() if module.debug_file_path))
"""


def check_drgn(done, vmcores, guest="oops61"):
    assert done.returncode == 0, done.stderr
    assert in_order(FRAMES, done.stdout)
    assert re.search(r"oopsmod_inner \(\S*oopsmod\.c:\d+:\d+\)", done.stdout)
    assert "WANTED []" in done.stdout
    (files,) = re.findall(r"^FILES (\[.*\])$", done.stdout, re.M)
    assert files.count(".ko'") == len(vmcores.said(guest).modules)


def test_drgn_shows_the_stack_into_the_module(archives, launch, drgn, vmcores):
    done = launch(archives.first / "run-drgn.sh", "-e", DRGN_REPORT, SAVEDUMP_DRGN=drgn)
    check_drgn(done, vmcores)
    assert done.stderr == ""


def test_drgn_runs_a_script(archives, launch, drgn, tmp_path):
    (tmp_path / "my script.py").write_text("import sys\nprint(sys.argv[1:], prog['UTS_RELEASE'].string_().decode())")
    done = launch(archives.first / "run-drgn.sh", "my script.py", "-x", "a b", cwd=tmp_path, SAVEDUMP_DRGN=drgn)
    assert done.stdout == "['-x', 'a b'] %s\n" % archives.vmcores.release, done.stderr


def test_inspect_shows_the_stack_that_drgn_unwinds(vmcores, drgn):
    """drgn lies beside this Python, or in its packages."""
    pytest.importorskip("drgn")
    done = subprocess.run(
        [sys.executable, "-m", "savedump_core", "inspect", str(vmcores.dumps / "oops61.mdf.lzo.d31"),
         "--sysroot", str(vmcores.root())],
        env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and in_order(FRAMES, done.stdout)
    assert re.search(r"oopsmod_inner \(\S*oopsmod\.c:\d+:\d+\)", done.stdout)


@pytest.mark.parametrize("words, stdin", [(["bt", "-l"], ""), ([], "bt -l\n")])
def test_pycrash_shows_the_stack_into_the_module(archives, launch, drgn, words, stdin):
    done = launch(archives.first / "run-pycrash.sh", *words, stdin=stdin, SAVEDUMP_DRGN=drgn)
    if "has no crash mode" in done.stderr:
        pytest.skip("drgn is older than 0.1.0")
    assert done.returncode == 0, done.stderr
    assert in_order(FRAMES, done.stdout) and re.search(r"oopsmod\.c: \d+", done.stdout), done.stdout


def test_pycrash_passes_a_failure_on(archives, launch, drgn):
    done = launch(archives.first / "run-pycrash.sh", "no-such-command", SAVEDUMP_DRGN=drgn)
    assert done.returncode in (1, 69) and "run-pycrash.sh: " in done.stderr
    assert "Traceback" not in done.stderr


def test_sdb_call_is_enough_for_drgn(archives, launch, drgn, tmp_path):
    """sdb is installed from its repository alone. Here its place takes what it does with its arguments: load vmlinux,
    then all modules of the folder, and nothing by itself (sdb/internal/cli.py)."""
    python = os.path.join(os.path.dirname(drgn), "python3")
    if subprocess.run([python, "-c", "import drgn"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("the Python of drgn is not beside it")
    stub = tmp_path / "sdb"
    stub.write_text("#!%s\n%s" % (python, SDB))
    stub.chmod(0o755)
    check_drgn(launch(archives.first / "run-sdb.sh", "-e", DRGN_REPORT, SAVEDUMP_SDB=str(stub)), archives.vmcores)


SDB = """
import argparse, os, drgn
parser = argparse.ArgumentParser()
parser.add_argument("object")
parser.add_argument("core")
parser.add_argument("-s", action="append")
parser.add_argument("-A", "--no-default-symbols", action="store_true", required=True)
parser.add_argument("-e")
args = parser.parse_args()
prog = drgn.Program()
prog.set_core_dump(args.core)
prog.load_debug_info([args.object])
for top in args.s:
    names = [os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names]
    prog.load_debug_info([name for name in names if name.endswith((".ko", ".debug"))])
exec(args.e)
"""


def test_a_kdump_file_of_qemu(archives, launch, drgn, vmcores):
    """Its header names no machine."""
    top = archives.of(vmcores.dumps / "oops61.qemu-kdump-zlib", kind="kdump-flattened")
    check_drgn(launch(top / "run-drgn.sh", "-e", DRGN_REPORT, SAVEDUMP_DRGN=drgn), vmcores)


@pytest.mark.parametrize("name", ["oops61.mdf.zlib.d31.flat", "oops61.qemu-kdump-zlib"])
def test_flattened_dumps_in_crash(archives, launch, crash, vmcores, name):
    path = vmcores.dumps / name
    if not path.exists():
        pytest.skip("there is no %s" % name)
    done = launch(archives.of(path, kind="kdump-flattened") / "run-crash.sh", "-s", stdin="bt\n", SAVEDUMP_CRASH=crash)
    assert done.returncode == 0 and in_order(FRAMES, done.stdout), done.stderr


def split_set(archives):
    dumps = archives.vmcores.dumps
    return archives.of(*(dumps / ("oops61.mdf.split%d" % part) for part in (1, 2, 3)))


def test_a_split_set_in_crash(archives, launch, crash):
    done = launch(split_set(archives) / "run-crash.sh", "-s", stdin="sys\nbt\n", SAVEDUMP_CRASH=crash)
    assert done.returncode == 0 and in_order(FRAMES, done.stdout), done.stderr
    assert in_order(["/parts/1", "/parts/2", "/parts/3"], done.stdout)


def test_a_split_set_in_drgn(archives, launch, drgn):
    done = launch(split_set(archives) / "run-drgn.sh", "-e", "1", SAVEDUMP_DRGN=drgn)
    assert done.returncode == 69 and "makedumpfile --reassemble" in done.stderr


def test_a_dump_cut_short_is_a_sentence(archives, launch, crash, vmcores, tmp_path):
    """crash ends with status 1 and says nothing."""
    cut = tmp_path / "cut"
    cut.write_bytes((vmcores.dumps / "oops61.mdf.zlib.d31").read_bytes()[:9_000_000])
    done = launch(archives.of(cut) / "run-crash.sh", "-s", stdin="bt\n", SAVEDUMP_CRASH=crash)
    assert done.returncode == 69 and done.stdout.strip() == ""
    assert "does not open this dump" in done.stderr and "dmesg.txt" in done.stderr


def test_what_is_no_vmlinux_is_a_sentence(archives, launch, crash, vmcores, tmp_path):
    other = tmp_path / "vmlinux"
    other.write_bytes((ROOT / "tests/integration/test_kernel_debuggers.py").read_bytes())
    done = launch(archives.first / "run-crash.sh", "-s", SAVEDUMP_CRASH=crash, SAVEDUMP_VMLINUX=str(other))
    assert done.returncode == 69 and "does not open this dump" in done.stderr


def test_without_vmlinux(archives, launch, crash, vmcores, tmp_path):
    top = archives.of(vmcores.dumps / "oops61.mdf.lzo.d31")
    os.unlink(str(top / ".savedump/vmlinux"))
    done = launch(top / "run-crash.sh", SAVEDUMP_CRASH=crash)
    assert done.returncode == 66 and "savedump complete ARCHIVE" in done.stderr
    done = launch(top / "run-crash.sh", "--osrelease", SAVEDUMP_CRASH=crash)
    assert (done.returncode, done.stdout) == (0, vmcores.release + "\n")


def test_a_dump_of_another_machine_in_crash(archives, launch, crash, vmcores):
    top = archives.of(vmcores.dumps / "oops61.mdf.none.d31", machine="aarch64")
    done = launch(top / "run-crash.sh", SAVEDUMP_CRASH=crash)
    assert done.returncode == 69 and "make target=ARM64" in done.stderr


def test_the_launchers_are_those_of_the_manifest(archives):
    manifest = json.loads((archives.first / "manifest.json").read_text())
    named = [entry["path"] for entry in manifest["files"] if entry["role"] == "launcher"]
    assert named == ["run-crash.sh", "run-drgn.sh", "run-sdb.sh", "run-pycrash.sh"]
