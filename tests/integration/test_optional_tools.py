# SPDX-License-Identifier: Apache-2.0
"""With and without what a host may lack: the same archive, the same exit status, and words where something is missing.

A tool is taken away by an empty file over it, in a mount namespace of the command's own.
"""

import glob
import gzip
import hashlib
import importlib.util
import json
import lzma
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile

import pytest
from support import checkout, debs
from support.fleet import Fleet, default_hosts

#: Where each tool lies on Debian, as patterns; what is a link is followed.
PLACES = {
    "zstd": ("/usr/bin/zstd",),
    "libzstd": ("/lib/*-linux-gnu/libzstd.so.1", "/usr/lib/*-linux-gnu/libzstd.so.1"),
    "ctypes": ("/usr/lib/python3*/lib-dynload/_ctypes.*.so",),
    "gdb": ("/usr/bin/gdb",),
}
WITHOUT = {
    "all here": (),
    "no zstd program": ("zstd",),
    "no libzstd": ("libzstd",),
    "a Python without ctypes": ("ctypes",),
    "no zstd at all": ("zstd", "libzstd"),
    "no gdb": ("gdb",),
    "nothing": tuple(PLACES),
}
PYTHON = "/usr/bin/python3"


def places(tools):
    return sorted({os.path.realpath(path) for tool in tools for pattern in PLACES[tool] for path in glob.glob(pattern)})


def without(tools, *command):
    """The command with these tools taken away; it does not even start if one of them is still there."""
    hide = "".join("mount --bind /dev/null {0}; [ ! -s {0} ]; ".format(shlex.quote(path)) for path in places(tools))
    programs = [tool for tool in tools if tool in ("zstd", "gdb")]
    gone = "".join("if command -v %s; then exit 99; fi; " % tool for tool in programs)
    words = " ".join(shlex.quote(str(word)) for word in command)
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "%s%sexec %s" % (hide, gone, words)]


class Target:
    """A host with a crash, and the command on it."""

    def __init__(self, host, crash):
        self.host, self.crash = host, crash

    def savedump(self, *words, hidden=(), status=0):
        command = without(hidden, "env", "PYTHONPATH=/opt/savedump", PYTHON, "-m", "savedump_core", *words)
        done = self.host.run(*command, check=False)
        assert done.returncode == status and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done

    def archive(self, folder, dump, *words, hidden=(), status=0):
        """(the archive, what was said): made in a new folder."""
        self.host.run("mkdir", "-p", folder)
        done = self.savedump("archive", dump, "-o", folder + "/", *words, hidden=hidden, status=status)
        (path,) = self.host.path(folder).glob("*.tar.*")
        return path, done.stderr


@pytest.fixture(scope="module")
def target(fleet_folder):
    for tool in PLACES:
        if not places([tool]):
            pytest.skip("%s is not here, so it cannot be taken away" % tool)
    with Fleet(fleet_folder / "t", default_hosts(1)) as fleet:
        (host,) = fleet.hosts.values()
        package = "plugins/module_utils/savedump_core/"
        for name in checkout.files():
            if name.startswith(package):
                place = host.path("/opt/savedump/savedump_core/" + name[len(package) :])
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(checkout.CHECKOUT / name), str(place))
        yield Target(host, host.crash(data_mib=5))  # more than two of zstd's jobs


@pytest.fixture(scope="module")
def with_all(target):
    """The archives that a host makes that has everything, by format."""
    return {
        form: target.archive("/var/tmp/all." + form, target.crash.core, "--format", form)
        for form in ("tar.gz", "tar.zst")
    }


def in_host(made):
    """The path of an archive as its host sees it."""
    return "/var/tmp/%s/%s" % (made[0].parent.name, made[0].name)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_one_version():
    """Whether the program is of the library's version: only then do they promise the same bytes."""
    library = os.path.basename(places(["libzstd"])[0])
    version = library.rpartition(".so.")[2]
    return "v%s," % version in subprocess.run(["zstd", "--version"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("lacks", WITHOUT)
def test_core_of_a_process(target, with_all, lacks):
    """Complete, exit status 0, the same words; byte by byte the same in the same format."""
    hidden = WITHOUT[lacks]
    folder = "/var/tmp/" + lacks.replace(" ", "-")
    archive, words = target.archive(folder, target.crash.core, "--format", "auto", hidden=hidden)
    compressor = {"zstd", "libzstd"} <= set(hidden)
    form = "tar.gz" if compressor else "tar.zst"
    assert archive.name.endswith("." + form)
    same, said = with_all[form]
    assert words == said.replace("/var/tmp/all." + form, folder)
    if form == "tar.gz" or of_one_version():
        assert sha256(archive) == sha256(same)
    unpack = ["zstd", "-qdc"] if form == "tar.zst" else ["gzip", "-dc"]
    tars = [subprocess.run([*unpack, str(path)], stdout=subprocess.PIPE, check=True).stdout for path in (archive, same)]
    assert tars[0] == tars[1]
    if not compressor and hidden:
        chosen, _ = target.archive(folder + ".gz", target.crash.core, "--format", "tar.gz", hidden=hidden)
        assert sha256(chosen) == sha256(with_all["tar.gz"][0])


@pytest.mark.parametrize("hidden", [("zstd",), ("libzstd",), ("ctypes",)], ids=" ".join)
def test_one_way_to_zstd_is_enough(target, with_all, hidden):
    core = "/var/tmp/zst-%s/core.zst" % hidden[0]
    target.host.run("mkdir -p %s && zstd -q %s -o %s" % (os.path.dirname(core), target.crash.core, core))
    target.archive(os.path.dirname(core) + "/made", core, hidden=hidden)
    archive = in_host(with_all["tar.zst"])
    assert "intact, complete" in target.savedump("verify", archive, hidden=hidden).stdout


def test_what_needs_zstd_says_so(target, with_all):
    """Exit status 69 (EX_UNAVAILABLE), what to install, and no half of an archive."""
    core = "/var/tmp/none/core.zst"
    target.host.run("mkdir -p /var/tmp/none && zstd -q %s -o %s" % (target.crash.core, core))
    hidden = WITHOUT["no zstd at all"]

    def refused(*words):
        return target.savedump(*words, hidden=hidden, status=69).stderr

    said = refused("archive", target.crash.core, "--format", "tar.zst", "-o", "/var/tmp/none/made/")
    assert "cannot write zstd; install libzstd or zstd, or use --format tar.gz" in said
    for words in (("archive", core, "-o", "/var/tmp/none/made/"), ("inspect", core)):
        said = refused(*words)
        assert core in said and "compressed with zstd, which this host cannot read; install libzstd" in said
    assert "cannot read zstd; install" in refused("verify", in_host(with_all["tar.zst"]))
    done = target.savedump("find", "/var/tmp/none", hidden=hidden)
    assert "core.zst is compressed with zstd, which this host cannot read" in done.stdout + done.stderr
    assert list(target.host.path("/var/tmp/none").rglob("*.tar*")) == []


def s390_dump(pages):
    """A stand-alone dump as zipl's dumper writes it (libkdumpfile src/kdumpfile/s390dump.c); the end is marked."""
    clock = (1700000000 + 2208988800) * 1000000 << 12
    size = 4096 * pages
    numbers = (0xA8190173618F23FD, 5, 4096, 4, 4096, size, 0, size, pages, clock, 0, 2, 0, 2, size)
    head = struct.pack(">QIIIIQQQI4xQQIIIQ", *numbers).ljust(4096, b"\0")
    return head + bytes(size) + b"DUMP_END" + struct.pack(">Q", clock)


@pytest.fixture(scope="module")
def libkdumpfile(tmp_path_factory):
    """The environment in which Debian's Python finds the real binding; nothing is installed."""
    folder = tmp_path_factory.mktemp("kdumpfile")
    try:
        debs.unpacked("python3-libkdumpfile", folder)
        (module,) = folder.glob("usr/lib/python3/dist-packages/_kdumpfile.*.so")
        (number,) = set(re.findall(rb"\0libkdumpfile\.so\.(\d+)\0", module.read_bytes()))
        debs.unpacked("libkdumpfile" + number.decode(), folder)
    except debs.DebsError as error:
        pytest.skip("no python3-libkdumpfile: %s" % error)
    (library,) = {os.path.dirname(path) for path in glob.glob(str(folder / "usr/lib/*/libkdumpfile.so.*"))}
    found = {"PYTHONPATH": str(folder / "usr/lib/python3/dist-packages"), "LD_LIBRARY_PATH": library}
    subprocess.run([PYTHON, "-c", "import kdumpfile"], env=dict(os.environ, **found), check=True)
    return found


def here(python, *words, environ=None, status=3):
    """The command on this machine, by another Python."""
    path = [str(checkout.CHECKOUT), (environ or {}).get("PYTHONPATH", "")]
    done = subprocess.run(
        [*python, "-m", "savedump_core", *map(str, words)],
        env={**os.environ, **(environ or {}), "PYTHONPATH": os.pathsep.join(filter(None, path))},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("tool", ["drgn", "libkdumpfile"])
def test_dump_of_a_kernel(request, tool, tmp_path):
    """What is read here is read without them, so the archive is the same."""
    dump, root = tmp_path / "vmcore", tmp_path / "root"
    root.mkdir()
    dump.write_bytes(lzma.decompress((checkout.CHECKOUT / "tests/data/vmcores/oops61.vmcore.xz").read_bytes()))
    if tool == "drgn" and importlib.util.find_spec("drgn") is None:
        pytest.skip("drgn is not in this environment")
    if tool == "drgn":
        ways = (([sys.executable], None), ([sys.executable, "-S"], None))
    else:
        ways = (([PYTHON], request.getfixturevalue("libkdumpfile")), ([PYTHON], None))
    made, words = [], []
    for number, (python, environ) in enumerate(ways):
        archive = tmp_path / ("%d.tar.gz" % number)
        done = here(python, "archive", dump, "--sysroot", root, "-o", archive, environ=environ)
        made.append(gzip.decompress(archive.read_bytes()))
        words.append(done.stderr.replace(str(archive), "ARCHIVE"))
    assert made[0] == made[1] and words[0] == words[1]
    stacks = [
        json.loads(here(python, "inspect", "--json", dump, "--sysroot", root, environ=environ).stdout)["kernel"]
        for python, environ in ways
    ]
    # Without its vmlinux even drgn shows no stack, but it was asked.
    why = [kernel["unknown"]["stack"] for kernel in stacks]
    assert ("is not installed" in why[0], "is not installed" in why[1]) == (tool != "drgn", True), why


def test_stack_of_a_kernel(vmcores):
    """What drgn adds, where the files are there; without it all the rest is said, and why this is not."""
    if importlib.util.find_spec("drgn") is None:
        pytest.skip("drgn is not in this environment")
    words = ("inspect", "--json", vmcores.kdump("rhel"), "--sysroot", vmcores.root())
    kernels = [json.loads(here(python, *words, status=0).stdout)["kernel"]
               for python in ([sys.executable], [sys.executable, "-S"])]  # fmt: skip
    stacks = [kernel.pop("stack") for kernel in kernels]
    assert "oopsmod_inner" in stacks[0][0] and len(stacks[0]) > 5 and stacks[1] is None
    assert kernels[1]["unknown"].pop("stack") == "drgn, which unwinds it, is not installed for this Python"
    assert kernels[0] == kernels[1]


def test_format_that_only_libkdumpfile_reads(libkdumpfile, tmp_path):
    """Both ways it is archived, with exit status 3; only the words about it differ."""
    dump = tmp_path / "dump.s390"
    dump.write_bytes(s390_dump(3))
    said = {}
    for name, environ in (("with", libkdumpfile), ("without", None)):
        done = here([PYTHON], "archive", dump, "-o", tmp_path / (name + ".tar.gz"), environ=environ)
        said[name] = done.stderr
        with tarfile.open(str(tmp_path / (name + ".tar.gz"))) as tar:
            (packed,) = (member for member in tar if member.name.endswith("/dump.s390"))
            assert tar.extractfile(packed).read() == dump.read_bytes()
    assert "it is read by libkdumpfile, which does not say whether it is whole" in said["with"]
    assert "this format is not read" in said["without"]


def test_taking_a_tool_away_can_fail(target):
    """A command that would start with the tool still there does not start at all."""
    command = without(("gdb",), "true")
    command[-1] = command[-1].replace("mount --bind /dev/null", ": ")
    assert target.host.run(*command, check=False).returncode
    assert os.path.getsize(places(["gdb"])[0])
