# SPDX-License-Identifier: Apache-2.0
"""Kernel dumps archived: on a host with all its files, on one without any, with a wrong vmlinux before the right."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from support import checkout, command, machine
from support.checkout import CHECKOUT
from support.fleet import Fleet, default_hosts


# An archive of some hundred MB, on a slow machine.
savedump = functools.partial(command.savedump, timeout=600)


def manifest(archive):
    return json.loads(savedump("inspect", "--json", archive, status=0 if "whole" in archive.name else 3).out)


def members(archive):
    listing = subprocess.run(["tar", "-tf", archive], stdout=subprocess.PIPE, check=True, universal_newlines=True)
    return {name.split("/", 1)[1] for name in listing.stdout.splitlines()}


@pytest.fixture(scope="module")
def whole(vmcores, tmp_path_factory):
    """The archive that a host with debug packages makes of what kdump-utils left."""
    archive = tmp_path_factory.mktemp("whole") / "whole.tar.zst"
    savedump("archive", vmcores.kdump("rhel"), "--sysroot", vmcores.root(), "--format", "auto", "-o", archive, status=0)
    return archive


def test_everything_a_kernel_dump_needs(vmcores, whole):
    assert savedump("verify", whole, status=0).out.rstrip().endswith("intact, complete")
    here, release, said = members(whole), vmcores.release, vmcores.said("kdump61")
    assert {"vmcore", "dmesg.txt", "vmcore-dmesg.txt", "vmlinux-" + release, "run-crash.sh", "run-drgn.sh"} <= here
    assert "System.map-" + release in here
    document = manifest(whole)
    loaded = {module["name"]: module["build_id"] for module in document["dump"]["modules"]}
    assert loaded.pop("vmlinux") == said.build_id
    assert loaded == {name: module.build_id for name, module in said.modules.items()}
    packed = {file["build_id"] for file in document["files"] if file["role"] == "debug" or file["role"] == "vmlinux"}
    assert packed == set(loaded.values()) | {said.build_id}
    assert {file["matched_by"] for file in document["files"] if file["build_id"]} == {"build-id"}


def test_half_of_vmlinux_is_left_out_and_said(vmcores, whole):
    (vmlinux,) = [file for file in manifest(whole)["files"] if file["role"] == "vmlinux"]
    left_out = sum(section["size"] for section in vmlinux["left_out"])
    assert all(section["section"].startswith(".rela.debug") for section in vmlinux["left_out"])
    assert left_out > vmlinux["size"] * 0.4


def test_the_log_is_what_makedumpfile_says_it_is(vmcores, whole):
    """Each line's text: how makedumpfile prefixes and indents it depends on its version."""
    top = subprocess.run(["tar", "-xOf", whole, "--wildcards", "*/dmesg.txt"], stdout=subprocess.PIPE, check=True)
    theirs = (vmcores.kdump("rhel").parent / "vmcore-dmesg.txt").read_bytes()

    def texts(log):
        return [re.sub(rb"^\[[^]]*\]( *\[ *[TC]\d+\])? ", b"", line).strip() for line in log.splitlines()]

    ours, theirs = texts(top.stdout), texts(theirs)
    assert len(ours) > 200 and [line for line in theirs if line.isascii() and line not in ours] == []


def test_a_host_without_debug_information_leaves_gaps_that_a_search_path_fills(vmcores, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(vmcores.root() / "lib", bare / "lib", symlinks=True)
    dump = vmcores.kdump("rhel")
    gaps = tmp_path / "gaps.tar.zst"
    done = savedump("archive", dump, "--sysroot", bare, "--format", "auto", "-o", gaps, status=3)
    said = vmcores.said("kdump61")
    assert "vmlinux (loaded, build ID %s): missing" % said.build_id in done.error
    assert "/usr/lib/debug/boot/vmlinux-%s" % vmcores.release in done.error
    document = manifest(gaps)
    needed = {(gap["module"], gap["build_id"]) for gap in document["missing"] if gap["needed"]}
    assert needed == {(name, module.build_id) for name, module in said.modules.items()} | {("vmlinux", said.build_id)}
    assert all(gap["attempts"] for gap in document["missing"])
    filled = tmp_path / "whole.tar.zst"
    savedump(
        "archive", dump, "--sysroot", bare, "--search-path", vmcores.root(), "--format", "auto", "-o", filled, status=0
    )


def test_a_vmlinux_of_the_same_release_and_another_build_id_is_refused(vmcores, tmp_path):
    """It lies in the first place that is looked at."""
    root, release = tmp_path / "root", vmcores.release
    decoy = root / "usr/lib/debug/boot" / ("vmlinux-" + release)
    decoy.parent.mkdir(parents=True)
    original = vmcores.root() / "usr/lib/debug/boot" / ("vmlinux-" + release)
    build_id = vmcores.said("kdump61").build_id
    other = "ff" * 20
    content = original.read_bytes()
    assert content.count(bytes.fromhex(build_id)) >= 1
    decoy.write_bytes(content.replace(bytes.fromhex(build_id), bytes.fromhex(other)))
    done = savedump(
        "inspect", "-v", vmcores.kdump("rhel"), "--sysroot", root, "--search-path", vmcores.root(), status=0
    )
    words = done.out
    assert "%s: other-build-id (%s)" % (decoy, other) in words and "%s: match" % original in words
    done = savedump("archive", vmcores.kdump("rhel"), "--sysroot", root, "--dry-run", status=3)
    assert "build ID %s" % build_id in done.error and other in done.error


def test_a_split_set_is_archived_as_one(vmcores, tmp_path):
    archive = tmp_path / "whole.tar.zst"
    savedump(
        "archive", vmcores.dumps / "oops61.mdf.split2", "--sysroot", vmcores.root(), "--format", "auto", "-o", archive,
        status=0,
    )  # fmt: skip
    assert {"oops61.mdf.split%d" % part for part in (1, 2, 3)} <= members(archive)
    assert {".savedump/parts/%d" % part for part in (1, 2, 3)} <= members(archive)
    lonely = tmp_path / "alone"
    lonely.mkdir()
    shutil.copy(vmcores.dumps / "oops61.mdf.split2", lonely)
    done = savedump("inspect", lonely / "oops61.mdf.split2", "--sysroot", vmcores.root(), status=3)
    assert "whole      NO" in done.out


def test_streamed_and_written_archives_are_the_same(vmcores, whole, tmp_path):
    program = [sys.executable, "-m", "savedump_core", "archive", str(vmcores.kdump("rhel")), "-q"]
    with (tmp_path / "streamed").open("wb") as streamed:
        subprocess.run(
            [*program, "--sysroot", str(vmcores.root()), "--format", "auto", "-o", "-"],
            stdout=streamed, check=True, env=dict(os.environ, PYTHONPATH=str(CHECKOUT)),
        )  # fmt: skip
    assert (tmp_path / "streamed").read_bytes() == whole.read_bytes()


def test_the_module_of_another_release_of_a_root_is_not_taken(vmcores, tmp_path):
    """An upgrade in place: the tree of the release is there, and its modules are others."""
    root = tmp_path / "root"
    tree = root / "lib/modules" / vmcores.release / "kernel"
    tree.mkdir(parents=True)
    xfs = next((vmcores.root() / "lib/modules").rglob("xfs.ko"))
    build_id = vmcores.said("kdump61").modules["xfs"].build_id
    (tree / "xfs.ko").write_bytes(xfs.read_bytes().replace(bytes.fromhex(build_id), b"\xee" * 20))
    document = json.loads(savedump("inspect", "--json", vmcores.kdump("rhel"), "--sysroot", root, status=3).out)
    (module,) = [module for module in document["modules"] if module["name"] == "xfs"]
    assert module["file"]["status"] == "mismatch"
    assert ["ee" * 20] == [one["detail"] for one in module["file"]["attempts"] if one["outcome"] == "other-build-id"]


@pytest.mark.parametrize("version", ["3.6", "3.13"])
def test_any_python_says_the_same_in_little_memory(vmcores, version):
    """Nothing but the interpreter: no drgn, no libkdumpfile, no debug package."""
    python = machine.interpreter(version)
    if python is None:
        pytest.skip("no Python %s here" % version)
    # A small process between: a child's peak is never less than what its parent had when it forked.
    measure = (
        "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); "
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure, python, "-s", "-m", "savedump_core", "inspect", "--json",
         str(vmcores.kdump("rhel")), "--sysroot", "/nonexistent"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=str(CHECKOUT)),
    )  # fmt: skip
    document = json.loads(done.stdout.decode())
    said = vmcores.said("kdump61")
    assert done.returncode == 3
    assert document["kernel"]["stack"] is None and "drgn" in document["kernel"]["unknown"]["stack"]
    assert {one["name"]: one["build_id"] for one in document["modules"]} == dict(
        {name: module.build_id for name, module in said.modules.items()}, vmlinux=said.build_id
    )
    assert int(done.stderr) < 150 << 10, "KiB"


@pytest.mark.slow
def test_modules_that_are_compressed(vmcores_612, tmp_path):
    """Debian 13's: .ko.xz is proven by what is inside, and packed as it is."""
    archive = tmp_path / "whole.tar.zst"
    savedump(
        "archive", next(vmcores_612.dumps.glob("sysrq612*zlib.d31")), "--sysroot", vmcores_612.root(), "--format",
        "auto", "-o", archive, status=0,
    )  # fmt: skip
    document = manifest(archive)
    modules = [file for file in document["files"] if file["role"] == "kernel-module"]
    assert len(modules) > 10 and all(file["path"].endswith(".ko.xz") for file in modules)


@pytest.mark.slow
def test_a_fleet_of_one_host_that_panicked(ansible, fleet_folder, vmcores, tmp_path):
    """The play finds what kdump-utils left, and the core of a process, and brings both home whole."""
    dump = vmcores.kdump("rhel")
    with Fleet(fleet_folder / "panicked", default_hosts(1)) as fleet:
        host = fleet.hosts["host1"]
        for part in ("lib/modules", "usr/lib/debug"):
            shutil.copytree(vmcores.root() / part, host.path("/" + part), symlinks=True, dirs_exist_ok=True)
        host.crash()
        shutil.copytree(dump.parent, host.path("/var/crash") / dump.parent.name)
        clone = checkout.copy(tmp_path / "clone")
        run = ansible.play(
            fleet.inventory, "collect-dumps.yml", "-e",
            json.dumps({"collect_dest": str(tmp_path / "collected"), "collect_format": "auto"}), cwd=clone,
            config=clone / "ansible.cfg",
        )  # fmt: skip
    assert not run.status, str(run)
    (outcome,) = next(result.values["outcomes"] for result in run.results if "outcomes" in result.values).values()
    assert (outcome["status"], outcome["errors"]) == ("complete", []), outcome
    of_kernel, of_process = sorted((tmp_path / "collected").rglob("*.tar.*"), key=lambda path: -path.stat().st_size)
    assert of_kernel.name.startswith("kdump-host.example.org.archive-vmcore")
    assert of_process.name.startswith("archive-core")
    for archive in (of_kernel, of_process):
        assert archive.stat().st_mode & 0o777 == 0o600
        assert savedump("verify", archive, status=0).out.rstrip().endswith("intact, complete")
