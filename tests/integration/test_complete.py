# SPDX-License-Identifier: Apache-2.0
"""Archives with gaps, filled on another machine than the one that crashed: from folders, servers, other archives and
the content store; and those sources with the wrong files in them."""

import functools
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from typing import NamedTuple

import pytest
from support import command, debuginfod
from support.crashes import CannotCrash, Crash, crash
from support.crashes.workshop import REPORT_IN_GDB, build_id, run

savedump = command.savedump


class Target(NamedTuple):
    """A crash, what the host that crashed archived of it, and what had been taken off that host before."""

    made: Crash
    gaps: pathlib.Path
    """The archive that lacks a library and all debug information of the program's own."""
    whole: pathlib.Path
    """One made while everything was there."""
    away: pathlib.Path
    """Has the library."""
    debug: pathlib.Path
    """Has the .build-id tree, whose files need a supplementary one."""
    dwz: pathlib.Path
    """Has that."""

    @property
    def sources(self):
        return ["--search-path", self.away, "--search-path", self.debug, "--search-path", self.dwz]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("target")
    try:
        made = crash("dwz", folder / "made")
    except CannotCrash as reason:
        pytest.skip(str(reason))
    for name in ("whole", "gaps", "away"):
        (folder / name).mkdir()
    whole = folder / "whole/archive-core.4711.tar.gz"
    dwz = made.origin / "debug/.dwz"
    words = ["--search-path", made.origin / "debug", "--search-path", dwz]
    savedump("archive", made.core, *words, "-o", whole, status=0)
    away, debug = folder / "away", folder / "away/debug"
    os.rename(str(made.origin / "plug.so"), str(away / "plug.so"))
    os.rename(str(made.origin / "debug"), str(debug))
    gaps = folder / "gaps/archive-core.4711.tar.gz"
    savedump("archive", made.core, "-o", gaps, status=3)
    made.move_away()
    return Target(made, gaps, whole, away, debug, debug / ".dwz")


def manifest(archive):
    with tarfile.open(str(archive)) as tar:
        return json.loads(tar.extractfile(tar.next()).read().decode())


def digests(archive):
    """SHA-256 of every file in an archive, by path."""
    found = {}
    with tarfile.open(str(archive)) as tar:
        for member in tar:
            if member.isreg():
                name = member.name.split("/", 1)[1]
                found[name] = hashlib.sha256(tar.extractfile(member).read()).hexdigest()
    return found


def opened(archive, folder):
    """What gdb shows of an archive that plain tar unpacked, where nothing else is."""
    folder.mkdir()
    run(["tar", "xf", archive, "-C", folder])
    (top,) = folder.iterdir()
    report = folder / "report.json"
    words = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /usr/lib/debug && exec "$@"', "sh"]
    if os.geteuid() or not os.path.isdir("/usr/lib/debug"):
        words = []
    done = subprocess.run(
        [*words, str(top / "run-gdb.sh"), "-batch", "-x", str(REPORT_IN_GDB)], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600,
        env=dict(os.environ, LC_ALL="C.UTF-8", CRASH_REPORT=str(report)),
    )  # fmt: skip
    assert report.exists(), done.stderr
    return json.loads(report.read_text(encoding="utf-8", errors="surrogateescape"))


def assert_whole(target, completed, folder):
    """The completed archive shows what gdb showed on the spot, and has all that the old one had, as it had it."""
    assert "intact, complete" in savedump("verify", completed, status=0).out
    seen = opened(completed, folder / "opened")
    assert seen["threads"] == target.made.report["threads"]
    assert seen["libraries"] == target.made.report["libraries"]
    before, after = manifest(target.gaps), manifest(completed)
    for key in ("created", "tool", "host", "schema"):
        assert after[key] == before[key]
    for key in ("identity", "path", "size", "stored_size", "process", "complete"):
        assert after["dump"][key] == before["dump"][key]
    now = {entry["path"]: entry for entry in after["files"]}
    for entry in before["files"]:
        if entry["role"] not in ("launcher", "link"):
            assert now[entry["path"]] == entry
    was, contents = digests(target.gaps), digests(completed)
    changed = {name for name in was if contents.get(name) != was[name]}
    assert changed == {"manifest.json", "SHA256SUMS"}
    assert after["complete"] and [gap for gap in after["missing"] if gap["needed"]] == []
    (added,) = after["completed"]
    assert set(added["added"]) == set(now) - {entry["path"] for entry in before["files"]} - {
        entry["path"] for entry in after["files"] if entry["role"] == "link"
    }
    assert {now[path]["matched_by"] for path in added["added"]} == {"build-id"}


def test_from_folders(target, tmp_path):
    before = target.gaps.read_bytes()
    done = savedump("complete", target.gaps, *target.sources, "-o", tmp_path, status=0)
    completed = tmp_path / "archive-core.4711.completed.tar.gz"
    assert str(completed) in done.out and "added: " in done.error
    assert [path.name for path in tmp_path.iterdir()] == [completed.name]
    assert target.gaps.read_bytes() == before
    assert completed.stat().st_mode & 0o777 == 0o600
    assert_whole(target, completed, tmp_path)


def test_the_same_inputs_give_the_same_bytes(target, tmp_path):
    one, two = tmp_path / "one.tar.gz", tmp_path / "elsewhere" / "two.tar.gz"
    two.parent.mkdir()
    savedump("complete", target.gaps, *target.sources, "-o", one, status=0)
    savedump("complete", target.gaps, *target.sources, "-o", two, status=0)
    assert one.read_bytes() == two.read_bytes()


def test_by_and_by(target, tmp_path):
    """First the library, then the debug information, each beside the one before; what is there already stays."""
    archive = tmp_path / target.gaps.name
    shutil.copy(str(target.gaps), str(archive))
    words = ("complete", archive, "--search-path", target.away)
    first = tmp_path / "archive-core.4711.completed.tar.gz"
    assert str(first) in savedump(*words).out
    again = savedump(*words)
    assert "there already" in again.out
    savedump("complete", first, *target.sources[2:], status=0)
    second = tmp_path / "archive-core.4711.completed-2.tar.gz"
    assert len(manifest(second)["completed"]) == 2
    seen = opened(second, tmp_path / "opened")
    assert seen["threads"] == target.made.report["threads"]
    done = savedump("complete", second, "--search-path", target.away)
    assert "nothing was written" in done.error and len(list(tmp_path.glob("*.tar.gz"))) == 3


def test_from_a_server(target, tmp_path):
    """Debian's debuginfod; what it sends begets further wants."""
    served = tmp_path / "served"
    shutil.copytree(str(target.away), str(served))
    work = tmp_path / "work"
    work.mkdir()
    cache = str(tmp_path / "cache")
    wanted = bytes.fromhex(build_id(target.away / "plug.so"))
    with debuginfod.real(served, wanted, work) as server:
        env = dict(command.environment(), DEBUGINFOD_CACHE_PATH=cache)
        done = subprocess.run(
            [sys.executable, "-m", "savedump_core", "complete", str(target.gaps), "--debuginfod", server.url, "-o",
             str(tmp_path / "whole.tar.gz")], env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_whole(target, tmp_path / "whole.tar.gz", tmp_path)


def test_from_another_archive(target, tmp_path):
    shelf = tmp_path / "shelf/2026"
    shelf.mkdir(parents=True)
    shutil.copy(str(target.whole), str(shelf / "other.tar.gz"))
    (shelf / "archive-damaged.tar.gz").write_bytes(target.whole.read_bytes()[:1000])
    completed = tmp_path / "whole.tar.zst"
    savedump("complete", target.gaps, "--archives", tmp_path / "shelf", "-o", completed)
    plain = tmp_path / "whole.tar.gz"
    savedump("complete", target.gaps, "--archives", tmp_path / "shelf", "-o", plain, status=0)
    assert_whole(target, plain, tmp_path)
    (library,) = [entry for entry in manifest(plain)["files"] if entry["path"].endswith("plug.so")]
    assert library["origin"] == "other.tar.gz: " + library["path"]


def test_from_the_store(target, tmp_path):
    store = tmp_path / "store"
    savedump("store", store, target.whole, status=0)
    completed = tmp_path / "whole.tar.gz"
    savedump("complete", target.gaps, "--search-path", store, "-o", completed, status=0)
    assert_whole(target, completed, tmp_path)


def _decoy(target, path):
    """Of the right name, and built anew: another build ID."""
    path.parent.mkdir(parents=True, exist_ok=True)
    run(["gcc", "-shared", "-Wl,--build-id", "-o", path, "-x", "c", "/dev/null"])
    assert build_id(path) != build_id(target.away / "plug.so")
    return build_id(path)


def test_a_decoy_is_refused_wherever_it_lies(target, tmp_path):
    """Under the right name in a folder, under the right build ID in a store and in an archive's manifest."""
    wanted = build_id(target.away / "plug.so")
    folder, store, shelf = tmp_path / "folder", tmp_path / "store", tmp_path / "shelf"
    other = _decoy(target, folder / "plug.so")
    place = store / "buildid" / wanted / "executable"
    _decoy(target, place)
    shelf.mkdir()
    _forge(target, shelf / "forged.tar.gz", wanted, (folder / "plug.so").read_bytes())
    done = savedump(
        "complete", target.gaps, "--search-path", folder, "--search-path", store, "--archives", shelf, "-o", tmp_path,
        status=3,
    )  # fmt: skip
    for shown in (str(folder / "plug.so"), str(place), "forged.tar.gz: plug.so"):
        assert "%s: other-build-id (build ID %s)" % (shown, other) in done.error
    assert wanted in done.error and "nothing was written" in done.error
    assert list(tmp_path.glob("*.tar*")) == []


def _forge(target, path, wanted, content):
    """An archive whose manifest lies about a file's build ID."""
    from support import archives

    archive = archives.Archive("archive-forged")
    archive.file("plug.so", content, build_id=wanted, matched_by="build-id")
    shutil.move(archive.write(path.parent), str(path))


def test_an_archive_on_the_shelf_whose_file_was_changed(target, tmp_path):
    from support import archives

    wanted = build_id(target.away / "plug.so")
    archive = archives.Archive("archive-x")
    archive.list("plug.so", 5, sha256="0" * 64, build_id=wanted, matched_by="build-id")
    archive.members.append(lambda tar: tar.add_bytes("archive-x/plug.so", b"other", 0o600))
    archive.write(tmp_path)
    done = savedump("complete", target.gaps, "--archives", tmp_path, "-o", tmp_path, status=3)
    assert "archive.tar: plug.so: unreadable (its sha256 is" in done.error


def test_nothing_of_this_machine_is_taken_unasked(target, tmp_path):
    """The right file lies where the dump says, on a machine that nobody named."""
    place = target.made.origin / "plug.so"
    target.made.origin.mkdir()
    try:
        shutil.copy(str(target.away / "plug.so"), str(place))
        empty = tmp_path / "empty"
        empty.mkdir()
        savedump("complete", target.gaps, "--search-path", empty, "-o", tmp_path, status=3)
        assert list(tmp_path.glob("*.tar*")) == []
        savedump("complete", target.gaps, "--search-path", "/", "-o", tmp_path)
        names = {entry["path"]: entry["origin"] for entry in manifest(next(tmp_path.glob("*.tar.gz")))["files"]}
        assert names[str(place)[1:]] == str(place)
    finally:
        shutil.rmtree(str(target.made.origin))


def test_a_whole_archive_is_left_alone(target, tmp_path):
    done = savedump("complete", target.whole, "--search-path", target.away, "-o", tmp_path, status=0)
    assert "nothing was written" in done.error and list(tmp_path.iterdir()) == []


def test_a_dry_run_says_and_writes_nothing(target, tmp_path):
    done = savedump("complete", target.gaps, *target.sources, "-o", tmp_path, "--dry-run", "--json", status=0)
    answer = json.loads(done.out)
    assert answer["changed"] and answer["complete"] and answer["sha256"] is None
    assert "would be added: " in done.error and list(tmp_path.iterdir()) == []


def test_json(target, tmp_path):
    done = savedump("complete", target.gaps, *target.sources, "-o", tmp_path, "--json", status=0)
    answer = json.loads(done.out)
    written = pathlib.Path(answer["path"])
    assert answer["sha256"] == hashlib.sha256(written.read_bytes()).hexdigest()
    assert answer["changed"] is True and answer["dump"]["identity"] == manifest(target.gaps)["dump"]["identity"]


@pytest.mark.parametrize("where", ["dump", "library", "end"])
def test_a_damaged_archive_is_refused_before_anything_is_written(target, tmp_path, where):
    plain = tmp_path / "archive.tar"
    savedump("complete", target.gaps, "--search-path", target.away, "-o", plain)
    content = bytearray(plain.read_bytes())
    with tarfile.open(str(plain)) as tar:
        at = {name.rpartition("/")[2]: tar.getmember(name).offset_data for name in tar.getnames()}
    place = {"dump": at["core.4711"] + 100000, "library": at["libc.so.6"] + 1000, "end": None}[where]
    if place is None:
        del content[-20000:]
    else:
        content[place] ^= 1
    plain.write_bytes(bytes(content))
    done = savedump("complete", plain, *target.sources[2:], status=65)
    assert "was not unpacked" in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["archive.tar"]


def test_killed_on_the_way(target, tmp_path):
    """While a server keeps it waiting. Nothing bears a final name, and the next run throws the rest away."""
    asked = threading.Event()

    def keep_waiting(connection, method, path):
        asked.set()
        server.over.wait(60)

    output = tmp_path / "out"
    output.mkdir()
    env = dict(command.environment(), DEBUGINFOD_CACHE_PATH=str(tmp_path / "cache"))
    with debuginfod.misbehaving(keep_waiting) as server:
        words = ["complete", str(target.gaps), "--debuginfod", server.url, "-o", str(output)]
        process = subprocess.Popen(
            [sys.executable, "-m", "savedump_core", *words], env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert asked.wait(60)
            busy = savedump("complete", target.gaps, *target.sources, "-o", output, status=75)
            assert "another savedump" in busy.error
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    (left,) = output.iterdir()
    assert left.name.startswith(".") and left.stat().st_mode & 0o777 == 0o700
    savedump("complete", target.gaps, *target.sources, "-o", output, status=0)
    assert [path.name for path in output.iterdir()] == ["archive-core.4711.completed.tar.gz"]


def test_files_that_no_build_id_proves_stay_what_they_were(tmp_path):
    """A program without build IDs, and debug information by CRC: what was taken on the host's word stays marked so, and
    the CRC still finds its file."""
    try:
        made = crash("debug_link_no_build_id", tmp_path / "made")
    except CannotCrash as reason:
        pytest.skip(str(reason))
    debug = tmp_path / "debug"
    debug.mkdir()
    os.rename(str(made.origin / "lib/plug.debug"), str(debug / "plug.debug"))
    archive = tmp_path / "archive.tar.gz"
    savedump("archive", made.core, "--allow-unverified", "-o", archive, status=0)
    made.move_away()
    completed = tmp_path / "whole.tar.gz"
    (tmp_path / "decoy").mkdir()
    shutil.copy(sys.executable, str(tmp_path / "decoy/plug.debug"))
    done = savedump("complete", archive, "--search-path", tmp_path / "decoy", "-o", completed, status=0)
    assert "nothing was written" in done.error
    savedump("complete", archive, "--search-path", debug, "-o", completed, status=0)
    before, after = [{one["path"]: one for one in manifest(path)["files"]} for path in (archive, completed)]
    assert [one for path, one in before.items() if one["role"] != "launcher" and after[path] != one] == []
    (added,) = manifest(completed)["completed"][0]["added"]
    assert added.endswith("lib/.debug/plug.debug") and after[added]["matched_by"] == "crc"
    assert opened(completed, tmp_path / "opened")["threads"] == made.report["threads"]


# --- the content store


def test_the_second_archive_of_the_same_files_costs_links(target, tmp_path):
    store = tmp_path / "store"
    first = json.loads(savedump("store", store, target.gaps, "--json", status=0).out)
    second = json.loads(savedump("store", store, target.whole, "--json", status=0).out)
    names = {one["name"] for one in first["added"]}
    assert names == {one["name"] for one in second["known"]}
    assert second["saved"] == sum(one["size"] for one in first["added"]) > 0 == first["saved"]
    wanted = build_id(target.away / "plug.so")
    assert "buildid/%s/executable" % wanted in {one["name"] for one in second["added"]}
    assert store.stat().st_mode & 0o777 == 0o700
    contents = {path.name: path for path in (store / "sha256").rglob("*") if path.is_file()}
    for one in second["added"] + second["known"]:
        path = store / one["name"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == one["sha256"]
        assert path.samefile(contents[one["sha256"]]) and path.stat().st_mode & 0o777 == 0o644
        assert path.parent.stat().st_mode & 0o777 == 0o755
    assert list((store / ".incoming").iterdir()) == []
    kept = {path.name for path in store.rglob("*")}
    assert "core.4711" not in kept and len(contents) == len({one["sha256"] for one in second["added"] + first["added"]})


def test_gdb_takes_its_files_from_the_store_by_a_web_server(target, tmp_path):
    """A static one is enough."""
    store = tmp_path / "store"
    savedump("store", store, target.whole, status=0)
    with debuginfod.static(store) as server:
        seen = _gdb_with(server.url, target, store, tmp_path)
    assert [path for path in server.paths() if path.endswith("/debuginfo")] != []
    _assert_frames_with_lines(target, seen)


def test_debuginfod_serves_the_store(target, tmp_path):
    store, work = tmp_path / "store", tmp_path / "work"
    work.mkdir()
    savedump("store", store, target.whole, status=0)
    wanted = bytes.fromhex(build_id(target.away / "plug.so"))
    with debuginfod.real(store, wanted, work) as server:
        seen = _gdb_with(server.url, target, store, tmp_path)
    _assert_frames_with_lines(target, seen)


def _gdb_with(url, target, store, folder):
    """gdb 13 fetches the libraries that a core names and then does not attach them: they lie in a sysroot, stripped as
    they are in the store, and all that gives lines comes from the server."""
    root = folder / "root"
    for module in manifest(target.whole)["dump"]["modules"]:
        for name in [module["path"], *module["names"]]:
            if name and name.startswith("/"):
                place = root / name[1:]
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(store / "buildid" / module["build_id"] / "executable"), str(place))
    env = dict(os.environ, DEBUGINFOD_URLS=url, DEBUGINFOD_CACHE_PATH=str(folder / "cache"), HOME=str(folder))
    program = store / "buildid" / _program_id(target) / "executable"
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled on", "-iex", "set sysroot %s" % root, "-iex",
         "set debug-file-directory /nonexistent", "-iex", "set auto-load no", str(program), str(target.made.core),
         "-ex", "bt"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
        universal_newlines=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def _program_id(target):
    modules = manifest(target.whole)["dump"]["modules"]
    return next(module["build_id"] for module in modules if module["executable"])


def _assert_frames_with_lines(target, seen):
    for frame in ("inside_only", "plug_enter", "main"):
        (line,) = [line for line in seen.splitlines() if line.startswith("#") and " %s (" % frame in line]
        assert ".c:" in line, seen


# --- kernel dumps

kernel_savedump = functools.partial(command.savedump, timeout=600)


@pytest.fixture(scope="module")
def kernel_whole(vmcores, tmp_path_factory):
    """The archive that a host with debug packages makes."""
    archive = tmp_path_factory.mktemp("whole") / "whole.tar.zst"
    words = ["--sysroot", vmcores.root(), "--format", "auto", "-o", archive]
    kernel_savedump("archive", vmcores.kdump("rhel"), *words, status=0)
    return archive


def _linked(source, folder):
    """A copy of a tree that takes no room."""
    shutil.copytree(str(source), str(folder), symlinks=True, copy_function=_link_or_copy)
    return folder


def _link_or_copy(source, target, **_how):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def test_a_kernel_dump_gets_its_vmlinux_and_modules(vmcores, kernel_whole, tmp_path):
    bare = _linked(vmcores.root() / "lib", tmp_path / "root/lib").parent
    gaps, completed = tmp_path / "gaps.tar.zst", tmp_path / "completed.tar.zst"
    kernel_savedump("archive", vmcores.kdump("rhel"), "--sysroot", bare, "-o", gaps, status=3)
    kernel_savedump("complete", gaps, "--search-path", vmcores.root(), "-o", completed, status=0)
    assert "intact, complete" in kernel_savedump("verify", completed, status=0).out
    ours, theirs = manifest_in_zstd(completed), manifest_in_zstd(kernel_whole)
    lacking = {one["path"] for one in theirs["files"]} - {one["path"] for one in ours["files"]}
    # The one file that has no build ID, and that nobody asks for.
    assert lacking == {"System.map-" + vmcores.release}
    (vmlinux,) = [one for one in ours["files"] if one["role"] == "vmlinux"]
    (there,) = [one for one in theirs["files"] if one["role"] == "vmlinux"]
    assert vmlinux["left_out"] == there["left_out"] and vmlinux["sha256"] == there["sha256"]
    assert ours["missing"] == [] and vmlinux["path"] == "vmlinux-" + vmcores.release


@pytest.mark.slow
def test_what_a_kernel_archive_left_out_of_vmlinux_stays_left_out(vmcores, kernel_whole, tmp_path):
    """The last module comes from an archive of the same kernel."""
    root = _linked(vmcores.root(), tmp_path / "root")
    for path in list(root.rglob("xfs.ko*")):
        path.unlink()
    gaps, completed = tmp_path / "gaps.tar.zst", tmp_path / "completed.tar.zst"
    kernel_savedump("archive", vmcores.kdump("rhel"), "--sysroot", root, "-o", gaps, status=3)
    kernel_savedump("complete", gaps, "--archives", kernel_whole.parent, "-o", completed, status=0)
    assert "intact, complete" in kernel_savedump("verify", completed, status=0).out
    before, after = manifest_in_zstd(gaps), manifest_in_zstd(completed)
    now = {one["path"]: one for one in after["files"]}
    assert [one for one in before["files"] if one["role"] not in ("launcher", "link") and one != now[one["path"]]] == []
    (vmlinux,) = [one for one in after["files"] if one["role"] == "vmlinux"]
    assert vmlinux["left_out"]
    # Holes are stored as such: of a plain member tar would show the whole size.
    listing = subprocess.run(
        ["tar", "-xOf", str(completed), "--wildcards", "*/vmlinux-*"], stdout=subprocess.PIPE, check=True
    )
    assert hashlib.sha256(listing.stdout).hexdigest() == vmlinux["sha256"]
    assert completed.stat().st_size < kernel_whole.stat().st_size * 1.01


@pytest.mark.slow
def test_what_the_store_has_of_a_kernel_completes_the_next_archive(vmcores, kernel_whole, tmp_path):
    """Its vmlinux has holes there, too, and the archive that it goes into says so."""
    store = tmp_path / "store"
    said = json.loads(kernel_savedump("store", store, kernel_whole, "--json", status=0).out)
    build = vmcores.said("kdump61").build_id
    kinds = {one["name"].rpartition("/")[2] for one in said["added"] if build in one["name"]}
    assert kinds == {"executable", "debuginfo"}
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    gaps, completed = tmp_path / "gaps.tar.zst", tmp_path / "completed.tar.zst"
    kernel_savedump("archive", vmcores.kdump("rhel"), "--sysroot", nothing, "-o", gaps, status=3)
    kernel_savedump("complete", gaps, "--search-path", store, "-o", completed, status=0)
    ours, theirs = manifest_in_zstd(completed), manifest_in_zstd(kernel_whole)
    cut = [[one for one in each["files"] if one["role"] == "vmlinux"][0] for each in (ours, theirs)]
    assert cut[0]["left_out"] == cut[1]["left_out"] and cut[0]["sha256"] == cut[1]["sha256"]


def manifest_in_zstd(archive):
    """tarfile of this Python cannot."""
    return json.loads(savedump("inspect", "--json", archive).out)
