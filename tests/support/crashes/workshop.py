# SPDX-License-Identifier: Apache-2.0
"""Build programs, let them crash, and write down what gdb says of it on the spot."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
from typing import Any, Dict, NamedTuple, Optional, Tuple

from . import kernel
from .kernel import CannotCrash

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE / "src"
REPORT_IN_GDB = HERE / "report_in_gdb.py"


class Crash(NamedTuple):
    """A dump, and what an archive of it has to show."""

    case: str
    core: pathlib.Path
    origin: pathlib.Path
    """The folder with every file of the program that is not the machine's; to be moved away before a debugger runs."""
    executable: str
    """The real path of the program that died."""
    report: Dict[str, Any]
    """What gdb saw on the spot: see report_in_gdb.py."""
    search_paths: Tuple[str, ...] = ()
    """What `archive` has to be told with --search-path."""
    gaps: Tuple[str, ...] = ()
    """Base names of modules whose right file is nowhere any more."""
    wrong: Tuple[Tuple[str, str, str], ...] = ()
    """Per file that took a right one's place: SHA-256, its build ID, the build ID that the dump asks for."""
    unverified: bool = False
    """True if nothing in the dump can prove its files, so that they are packed on request only."""
    truncated: bool = False

    def move_away(self) -> None:
        """What was the crashed host's is no longer to be found."""
        self.origin.rename(self.origin.with_name("moved away"))


class Workshop:
    """A folder to build and crash in: `origin` is the crashed host's share of it, `cores` takes the dumps."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        self.origin = self.folder / "origin"
        self.cores = self.folder / "cores"
        for path in (self.origin, self.cores):
            path.mkdir(parents=True)

    def build(self, name, source, *options):
        """Compile src/`source` to origin/`name`; its path."""
        output = self.origin / name
        output.parent.mkdir(parents=True, exist_ok=True)
        run(["gcc", "-g", "-O0", "-Wl,--build-id", "-o", output, SOURCES / source, "-pthread", *options])
        return output

    def library(self, name, source="plug.c", *options):
        return self.build(name, source, "-shared", "-fPIC", *options)

    def crash(self, case, argv, executable, cwd=None, core_name="core.4711", gdb=(), shown=None, **how) -> Crash:
        """Run until it dies, ask gdb, and put the dump aside. `shown` is the executable that gdb is given, if
        `executable` is not there any more; `gdb` are settings for the gdb on the spot."""
        cwd = cwd or self.origin
        core = self.cores / core_name
        os.rename(kernel.dump_of([os.fspath(word) for word in argv], os.fspath(cwd), **how), str(core))
        report = report_of(core, shown or executable, cwd, gdb)
        return Crash(case=case, core=core, origin=self.origin, executable=os.fspath(executable), report=report)


def report_of(core, executable, cwd, settings=()):
    """What gdb says of this dump, with the files where they are."""
    report = core.parent / "report.json"
    words = ["gdb", "-nx", "-batch", "-iex", "set auto-load python-scripts off"]
    for setting in settings:
        words += ["-iex", setting]
    if executable is not None:
        words += ["-se", os.fspath(executable)]
    words += ["-core", str(core), "-x", str(REPORT_IN_GDB)]
    env = dict(os.environ, CRASH_REPORT=str(report), LC_ALL="C.UTF-8")
    env.pop("DEBUGINFOD_URLS", None)
    done = run(words, cwd=str(cwd), env=env)
    if not report.exists():
        raise CannotCrash("gdb here gives no report: %s" % done.stderr)
    document = json.loads(report.read_text(encoding="utf-8", errors="surrogateescape"))
    report.unlink()
    return document


def run(words, **how):
    """The finished process, or CannotCrash if the tool is not here or fails."""
    words = [os.fspath(word) for word in words]
    if shutil.which(words[0]) is None:
        raise CannotCrash("%s is not installed" % words[0])
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600,
        encoding="utf-8", errors="surrogateescape", **how,
    )  # fmt: skip
    if done.returncode != 0:
        raise CannotCrash("%s: exit %d: %s" % (" ".join(words[:3]), done.returncode, done.stderr))
    return done


def build_id(path) -> Optional[str]:
    """The build ID of an ELF file in hex, or None."""
    found = re.search(r"Build ID: ([0-9a-f]+)", run(["readelf", "-n", path]).stdout)
    return found.group(1) if found else None


def sha256(path) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def replace(path, built) -> Tuple[str, str, str]:
    """Upgrade: `built` takes the place of `path` by rename, as a package manager does it. A row of Crash.wrong."""
    old = build_id(path)
    os.rename(str(built), str(path))
    return sha256(path), build_id(path) or "", old or ""


def split_debug(path, debug, *, link=False):
    """Move the debug information of `path` to the file `debug`, with or without .gnu_debuglink."""
    debug.parent.mkdir(parents=True, exist_ok=True)
    run(["objcopy", "--only-keep-debug", path, debug])
    run(["objcopy", "--strip-debug", path])
    if link:
        # objcopy takes the link's CRC from the file and its name from the path's last part.
        run(["objcopy", "--add-gnu-debuglink=%s" % debug, path])
