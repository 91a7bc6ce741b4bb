# SPDX-License-Identifier: Apache-2.0
"""One dump, one archive: whole or not there, no wider than its dump, the same bytes every time."""

import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time

import pytest

from savedump_core import api, archive, errors
from savedump_core.archive import atomic_file
from savedump_core.manifest import Host
from savedump_core.model import Cut, Dump, Entry, Findings, Plan, SearchOptions
from savedump_core.source import open_source
from support import elfwriter
from support.archives import Archive

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 5))
# Larger than what Linux dumps of a file by default, so that none is rebuilt from the dump.
PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20, padding=0x2000)
LIBRARY = elfwriter.elf_file(build_id=b"\x22" * 20, soname="libx.so", padding=0x2000)


@pytest.fixture
def host(tmp_path):
    """A root with a program and a library, and a core of a process that ran them."""

    class Host:
        root = str(tmp_path / "root")
        core = str(tmp_path / "core.77")
        out = str(tmp_path / "out")
        search = SearchOptions(sysroot=root)

        def put(self, path, content):
            at = self.root + path
            os.makedirs(os.path.dirname(at), exist_ok=True)
            with open(at, "wb") as file:
                file.write(content)
            os.utime(at, (1000, 1000))
            return at

        def crash(self, pid=77, **kwargs):
            modules = [
                elfwriter.Mapped(b"/usr/bin/prog", 0x400000, PROGRAM, header_only=True),
                elfwriter.Mapped(
                    b"/usr/lib/libx.so", 0x7F0000000000, LIBRARY, link_name=b"/lib/libx.so", header_only=True
                ),
            ]
            elfwriter.process_core(modules=modules, pid=pid, **kwargs).write(self.core)
            os.utime(self.core, (2000, 2000))

        def archive(self, **kwargs):
            return api.archive(self.core, **dict(dict(output=self.out, search=self.search), **kwargs))

    the_host = Host()
    os.mkdir(the_host.out)
    the_host.put("/usr/bin/prog", PROGRAM)
    the_host.put("/usr/lib/libx.so", LIBRARY)
    os.symlink("usr/lib", the_host.root + "/lib")
    the_host.crash()
    return the_host


def members(path):
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


def test_archive_holds_everything_and_says_so(host):
    archived = host.archive()
    assert archived.complete and archived.changed
    assert archived.path == host.out + "/archive-core.77.tar.gz"
    assert archived.sha256 == hashlib.sha256(open(archived.path, "rb").read()).hexdigest()
    assert archived.size == os.path.getsize(archived.path)
    names = list(members(archived.path))
    top = "archive-core.77/"
    assert names[0] == top + "manifest.json" and names[-2:] == [top + "core.77", top + "SHA256SUMS"]
    for name in ("usr/bin/prog", "usr/lib/libx.so", "lib", "run-gdb.sh", ".savedump/dump", ".savedump/executable"):
        assert top + name in names


def test_manifest_in_the_archive_is_the_one_returned(host):
    archived = host.archive()
    with tarfile.open(archived.path) as tar:
        manifest = json.loads(tar.extractfile("archive-core.77/manifest.json").read().decode("ascii"))
        sums = tar.extractfile("archive-core.77/SHA256SUMS").read().decode()
    assert manifest == json.loads(json.dumps(archived.manifest))
    assert manifest["schema"] == "savedump.manifest/1" and manifest["complete"] is True
    by_path = {entry["path"]: entry for entry in manifest["files"]}
    assert by_path["usr/bin/prog"]["sha256"] == hashlib.sha256(PROGRAM).hexdigest()
    assert by_path["usr/bin/prog"]["matched_by"] == "build-id" and by_path["usr/bin/prog"]["build_id"] == "11" * 20
    assert by_path["core.77"]["sha256"] is None
    assert hashlib.sha256(open(host.core, "rb").read()).hexdigest() + "  core.77\n" in sums


def test_unpacked_by_tar_every_sum_holds(host, tmp_path):
    archived = host.archive()
    subprocess.check_call(["tar", "-xf", archived.path, "-C", str(tmp_path)])
    subprocess.check_call(
        ["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=str(tmp_path / "archive-core.77")
    )


def test_archive_and_its_members_are_private(host):
    os.umask(0)
    try:
        archived = host.archive()
    finally:
        os.umask(0o022)
    assert stat.S_IMODE(os.stat(archived.path).st_mode) == 0o600
    modes = {member.name.rsplit("/", 1)[1]: member.mode for member in members(archived.path).values() if member.isreg()}
    assert modes.pop("run-gdb.sh") == modes.pop("run-lldb.sh") == modes.pop("run-drgn.sh") == 0o700
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("archive_format", ["tar.gz", "tar.zst", "tar"])
def test_same_inputs_give_the_same_bytes(host, archive_format):
    first = host.archive(format=archive_format)
    assert first.path.endswith("." + archive_format)
    time.sleep(1.1)
    second = host.archive(format=archive_format, force=True)
    assert second.changed and first.sha256 == second.sha256


def test_second_run_changes_nothing(host):
    first = host.archive()
    before = os.stat(first.path)
    second = host.archive()
    assert not second.changed
    assert (second.path, second.sha256, second.size, second.complete) == (first.path, first.sha256, first.size, True)
    assert os.stat(first.path).st_mtime_ns == before.st_mtime_ns


def test_another_dump_of_the_same_name_is_kept_beside_it(host):
    first = host.archive()
    host.crash(pid=78)
    second = host.archive()
    assert second.changed and second.path != first.path
    assert second.path == "%s/archive-core.77-%s.tar.gz" % (host.out, second.manifest["dump"]["identity"])
    assert not host.archive().changed
    assert sorted(os.listdir(host.out)) == sorted([os.path.basename(first.path), os.path.basename(second.path)])


def test_one_with_gaps_is_made_again_once_more_is_found(host):
    os.rename(host.root + "/usr/lib/libx.so", host.root + "/elsewhere")
    first = host.archive()
    assert not first.complete
    assert not host.archive().changed
    os.rename(host.root + "/elsewhere", host.root + "/usr/lib/libx.so")
    planned = host.archive(dry_run=True)
    assert planned.changed and planned.complete and planned.path == first.path
    assert not api.verify(first.path).complete
    second = host.archive()
    assert second.changed and second.complete and second.path == first.path
    assert api.verify(first.path).complete and os.listdir(host.out) == [os.path.basename(first.path)]
    assert not host.archive().changed


def test_a_dump_of_a_year_that_no_calendar_has(host):
    """tmpfs lets anybody give his file any time of 64 bits."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as there:
        host.core = shutil.move(host.core, there)
        os.utime(host.core, ns=(0, 2**60 * 10**9))
        assert os.stat(host.core).st_mtime_ns == 2**60 * 10**9
        os.rename(host.root + "/usr/lib/libx.so", host.root + "/elsewhere")
        first = host.archive()
        assert not first.complete and not host.archive().changed
        second = api.complete(first.path, search=SearchOptions(search_paths=(host.root,)))
        assert second.complete and api.verify(second.path).complete


def test_one_with_gaps_is_made_again_with_a_search_path(host, tmp_path):
    os.unlink(host.root + "/usr/lib/libx.so")
    host.archive()
    (tmp_path / "builds").mkdir()
    (tmp_path / "builds/x.so.old").write_bytes(LIBRARY)
    again = host.archive(search=host.search._replace(search_paths=(str(tmp_path / "builds"),)))
    assert again.changed and again.complete
    # Without the folder there would be less: what is there stays.
    assert not host.archive().changed and host.archive().complete


def test_one_that_would_lack_something_else_is_left_alone(host):
    os.rename(host.root + "/usr/lib/libx.so", host.root + "/elsewhere")
    first = host.archive()
    os.rename(host.root + "/elsewhere", host.root + "/usr/lib/libx.so")
    os.unlink(host.root + "/usr/bin/prog")
    plans = []
    second = host.archive(on_plan=plans.append)
    assert not second.changed and second.sha256 == first.sha256 and plans == []


def test_manifest_that_does_not_say_what_is_missing_is_no_archive_of_ours(host):
    broken = Archive("archive-core.77")
    broken.manifest["missing"] = [{"module": ["x"]}]
    with open(host.out + "/archive-core.77.tar.gz", "wb") as file:
        file.write(gzip.compress(broken.to_bytes()))
    archived = host.archive()
    assert archived.changed and archived.path.endswith("-%s.tar.gz" % archived.manifest["dump"]["identity"])


@pytest.mark.parametrize("archive_format, level", [("tar.gz", 0), ("tar.gz", 10), ("tar.zst", 20)])
def test_level_that_is_none_is_refused_before_the_dump_is_read(host, archive_format, level):
    with pytest.raises(errors.UsageError, match="no level %d; choose 1 to" % level):
        api.archive(host.core + ".none", output=host.out, format=archive_format, level=level)


def test_dry_run_writes_nothing_and_says_what_would_be(host):
    archived = host.archive(dry_run=True)
    assert os.listdir(host.out) == []
    assert archived.changed and archived.sha256 is None and archived.path.endswith("archive-core.77.tar.gz")
    assert archived.planned_size > os.path.getsize(host.core) + len(PROGRAM) + len(LIBRARY)
    host.archive()
    assert not host.archive(dry_run=True).changed


def test_gap_is_in_the_manifest_with_both_build_ids(host):
    host.put("/usr/lib/libx.so", elfwriter.elf_file(build_id=b"\x33" * 20))
    archived = host.archive()
    assert not archived.complete
    gap = next(missing for missing in archived.manifest["missing"] if missing["kind"] == "loaded")
    assert (gap["module"], gap["build_id"], gap["status"]) == ("/usr/lib/libx.so", "22" * 20, "mismatch")
    assert gap["attempts"][0]["outcome"] == "other-build-id" and gap["attempts"][0]["detail"] == "33" * 20
    assert "archive-core.77/usr/lib/libx.so" not in members(archived.path)


def test_library_that_changes_after_it_was_proven_is_noticed(host):
    def swap(plan):
        host.put("/usr/lib/libx.so", LIBRARY + b"x")

    with pytest.raises(errors.Busy, match="libx.so changed"):
        host.archive(on_plan=swap)
    assert os.listdir(host.out) == []


def test_library_that_becomes_a_fifo_is_not_waited_for(host):
    def swap(plan):
        os.unlink(host.root + "/usr/lib/libx.so")
        os.mkfifo(host.root + "/usr/lib/libx.so")

    with pytest.raises(errors.Busy):
        host.archive(on_plan=swap)


@pytest.mark.parametrize("content", [
    elfwriter.elf_file(build_id=b"\x33" * 20, soname="libx.so", padding=0x2000), b"root:$6$secret".ljust(len(LIBRARY)),
])  # fmt: skip
def test_another_file_of_the_same_size_and_time_is_noticed(host, content):
    """As reproducible images and package managers make them; or a link that leads elsewhere by then."""
    assert len(content) == len(LIBRARY)
    with pytest.raises(errors.Busy, match="libx.so was replaced"):
        host.archive(on_plan=lambda plan: host.put("/usr/lib/libx.so", content))
    assert os.listdir(host.out) == []


@pytest.mark.parametrize("proof", [{}, {"matched_by": "build-id", "build_id": b"\x11" * 20}])
def test_file_that_the_disk_does_not_give_is_named(proof):
    mem = "/proc/self/mem"  # its first page cannot be read
    dump = Dump(
        path="core", size=4, stored_size=4, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=(), identity="0" * 16, mtime_ns=0,
    )  # fmt: skip
    entry = Entry(path="lib", role="library", size=0, origin=mem, mtime_ns=os.stat(mem).st_mtime_ns, **proof)
    plan = Plan(name="archive-core", dump=dump, findings=Findings(files=()), entries=(entry,))
    with pytest.raises(OSError, match="Input/output error: '%s'" % mem):
        archive.digests_of(plan)


def test_dump_that_is_still_written_is_noticed(host):
    def grow(plan):
        with open(host.core, "ab") as file:
            file.write(b"more")

    with pytest.raises(errors.Busy, match="core.77 changed while it was read"):
        host.archive(on_plan=grow)
    assert os.listdir(host.out) == []


def test_dump_itself_is_not_touched(host):
    before = os.stat(host.core)
    content = open(host.core, "rb").read()
    host.archive()
    after = os.stat(host.core)
    assert (before.st_mtime_ns, before.st_ctime_ns, before.st_mode) == (
        after.st_mtime_ns,
        after.st_ctime_ns,
        after.st_mode,
    )
    assert open(host.core, "rb").read() == content


def test_progress_reaches_the_planned_size(host):
    seen = []
    archived = host.archive(progress=seen.append)
    assert seen == sorted(seen)
    launchers = sum(e["size"] for e in archived.manifest["files"] if e["role"] == "launcher")
    assert seen[-1] <= archived.planned_size and seen[-1] >= archived.planned_size - launchers - (1 << 20)


def test_stream_is_the_same_archive(host):
    written = host.archive()
    command = [sys.executable, "-m", "savedump_core", "archive", host.core, "-o", "-", "--sysroot", host.root]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=ROOT)
    )
    assert done.returncode == 0
    assert done.stdout == open(written.path, "rb").read()
    assert done.stderr.decode().splitlines()[:2] == [
        "dump type: userland dump",
        "binary found: %s/usr/bin/prog" % host.root,
    ]


def test_stream_to_a_closed_pipe_ends_quietly(host):
    command = "%s -m savedump_core archive %s -o - --format tar | head -c 10 > /dev/null; exit ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", command % (sys.executable, host.core)],
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=ROOT),
    )
    assert b"Traceback" not in done.stderr and done.returncode in (74, 3)


def test_atomic_file_leaves_nothing_of_a_failure(tmp_path):
    with pytest.raises(RuntimeError):
        with atomic_file(str(tmp_path / "a")) as file:
            file.write(b"half")
            assert not os.path.exists(str(tmp_path / "a"))
            raise RuntimeError
    assert os.listdir(str(tmp_path)) == []


def test_what_a_killed_run_left_is_taken_over(tmp_path):
    part = tmp_path / ".a.part"
    part.write_bytes(b"left by a killed run, longer than what comes")
    part.chmod(0o644)
    with atomic_file(str(tmp_path / "a")) as file:
        file.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole" and os.listdir(str(tmp_path)) == ["a"]
    assert stat.S_IMODE(os.stat(str(tmp_path / "a")).st_mode) == 0o600


def test_archive_of_another_dump_that_came_meanwhile_is_kept(host):
    """Both looked, and the name was free."""
    at = os.path.join(host.out, "archive-core.77.tar.gz")

    def meanwhile(_plan):
        with open(at, "wb") as file:
            file.write(b"of another dump")

    with pytest.raises(errors.Busy, match="meanwhile"):
        api.archive(host.core, host.out, on_plan=meanwhile)
    with open(at, "rb") as file:
        assert file.read() == b"of another dump"


def test_two_runs_do_not_write_the_same_archive(tmp_path):
    with open(str(tmp_path / ".a.part"), "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(errors.Busy):
            with atomic_file(str(tmp_path / "a")):
                pass
    assert os.listdir(str(tmp_path)) == [".a.part"]


def test_what_another_run_has_made_meanwhile_stays(tmp_path):
    (tmp_path / "a").write_bytes(b"theirs")
    with pytest.raises(errors.Busy, match="meanwhile"):
        with atomic_file(str(tmp_path / "a"), replace=False) as file:
            file.write(b"ours")
    assert (tmp_path / "a").read_bytes() == b"theirs" and os.listdir(str(tmp_path)) == ["a"]


def test_link_in_the_place_of_the_part_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".a.part").symlink_to(tmp_path / "victim")
    with pytest.raises(errors.CannotWrite, match="/.a.part is in the way"):
        with atomic_file(str(tmp_path / "a")):
            pass
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize(
    "number, status", [(errno.EACCES, 77), (errno.EROFS, 73), (errno.ENOENT, 73), (errno.ENAMETOOLONG, 73)]
)
def test_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, number, status):
    def refuse(path, *arguments, **more):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(errors.CannotWrite) as caught:
        with atomic_file(str(tmp_path / "a")):
            pass
    monkeypatch.undo()
    assert caught.value.exit_status == status
    words = "no file can be made there" if number in (errno.ENOENT, errno.ENAMETOOLONG) else os.strerror(number)
    assert str(caught.value) == "cannot write into %s: %s; choose another folder (-o; in Ansible dest)" % (
        tmp_path, words)  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed_at_any_time_the_name_is_not_there(host, number):
    with open(host.core, "ab") as file:
        file.truncate(64 << 20)
        file.write(os.urandom(32 << 20))
    command = [sys.executable, "-m", "savedump_core", "archive", host.core, "-o", host.out, "--sysroot", host.root]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=ROOT), stdout=subprocess.PIPE
    )
    part = host.out + "/.archive-core.77.tar.gz.part"
    deadline = time.monotonic() + 30
    while not (os.path.exists(part) and os.path.getsize(part)) and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(number)
    _, error = running.communicate()
    assert running.returncode != 0 and b"Traceback" not in error
    left = [os.path.basename(part)] if number == signal.SIGKILL else []
    assert os.listdir(host.out) == left
    assert api.archive(host.core, output=host.out, search=host.search).changed
    assert os.listdir(host.out) == ["archive-core.77.tar.gz"]


def test_sink_that_takes_less_than_it_is_given_gets_all():
    class Sink:
        def __init__(self):
            self.taken = b""

        def write(self, data):
            self.taken += bytes(data[:3])
            return len(data[:3])

    sink = Sink()
    counted = archive.Counted(sink)
    counted.write(b"0123456789")
    assert sink.taken == b"0123456789" and counted.size == 10


def test_compressed_dump_is_archived_decompressed_and_sparse(host):
    import lzma

    with open(host.core, "ab") as file:
        file.truncate(32 << 20)
    os.utime(host.core, (2000, 2000))
    plain = host.archive(output=host.out)
    packed = host.core + ".xz"
    with open(packed, "wb") as file:
        file.write(lzma.compress(open(host.core, "rb").read(), preset=0))
    os.utime(packed, (2000, 2000))
    archived = api.archive(packed, output=host.out, search=host.search, force=True)
    assert os.path.basename(archived.path) == "archive-core.77.tar.gz"
    assert archived.manifest["dump"]["compression"] == "xz" and archived.manifest["dump"]["size"] == 32 << 20
    assert archived.size < 200000 and plain.manifest["dump"]["identity"] == archived.manifest["dump"]["identity"]
    with tarfile.open(archived.path) as tar:
        unpacked = tar.extractfile("archive-core.77/core.77").read()
    assert unpacked == open(host.core, "rb").read()


def test_hole_map_survives(host, tmp_path):
    with open(host.core, "ab") as file:
        file.truncate(640 << 20)
        file.write(b"end")
    archived = host.archive()
    assert archived.size < 200000
    subprocess.check_call(["tar", "-xf", archived.path, "-C", str(tmp_path)])
    unpacked = str(tmp_path / "archive-core.77/core.77")
    assert os.path.getsize(unpacked) == (640 << 20) + 3
    assert os.stat(unpacked).st_blocks * 512 < 1 << 20
    with open(unpacked, "rb") as file:
        file.seek(640 << 20)
        assert file.read() == b"end"
    with tarfile.open(archived.path) as tar:
        sums = io.TextIOWrapper(tar.extractfile("archive-core.77/SHA256SUMS")).read()
    assert "# sha256-stored " in sums and "  core.77\n" in sums.splitlines(True)[-1]
    subprocess.check_call(
        ["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=str(tmp_path / "archive-core.77")
    )


def test_what_is_cut_out_of_vmlinux_is_a_hole_and_the_rest_is_its_bytes(tmp_path):
    """The section's bytes are gone, its type is SHT_NULL, all else is where it was; hashes are of what was written."""
    original = bytearray(os.urandom(3 << 20))
    cut = Cut(name=".rela.debug_info", offset=1000, size=2 << 20, type_at=(3 << 20) - 5)
    vmlinux = tmp_path / "vmlinux"
    vmlinux.write_bytes(bytes(original))
    core = tmp_path / "vmcore"
    core.write_bytes(b"dump")
    with open_source(str(core)) as source:
        dump = Dump(
            path=source.path, size=4, stored_size=4, compression=None, kind="vmcore-elf", machine="x86_64", bits=64,
            endian="little", os="linux", complete=True, incomplete_why=None, process=None, modules=(),
            identity="0" * 16, mtime_ns=source.mtime_ns, kernel={},
        )  # fmt: skip
        entries = (
            Entry(path="vmlinux-1", role="vmlinux", size=3 << 20, origin=str(vmlinux),
                  mtime_ns=vmlinux.stat().st_mtime_ns, cuts=(cut,)),
            Entry(path="vmcore", role="dump", size=4, origin=source.path, mtime_ns=source.mtime_ns),
        )  # fmt: skip
        plan = Plan(name="archive-vmcore", dump=dump, findings=Findings(files=()), entries=entries)
        sink = io.BytesIO()
        written = archive.write(plan, [source], sink, "tar", None, Host("h", "m", "r", {}))
    (tmp_path / "a.tar").write_bytes(sink.getvalue())
    subprocess.check_call(["tar", "-xf", "a.tar"], cwd=str(tmp_path))
    subprocess.check_call(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=str(tmp_path / "archive-vmcore"))
    copy = (tmp_path / "archive-vmcore/vmlinux-1").read_bytes()
    assert os.stat(str(tmp_path / "archive-vmcore/vmlinux-1")).st_blocks * 512 < 1100000
    expected = bytearray(original)
    expected[1024 : 1000 + (2 << 20) - 1000 % 512] = bytes((2 << 20) + 1000 - 1000 % 512 - 1024)
    expected[-5:-1] = bytes(4)
    assert copy == bytes(expected)
    (listed,) = [one for one in written.manifest["files"] if one["path"] == "vmlinux-1"]
    assert listed["sha256"] == hashlib.sha256(copy).hexdigest()
    assert listed["left_out"] == [{"section": ".rela.debug_info", "size": 2 << 20}]
