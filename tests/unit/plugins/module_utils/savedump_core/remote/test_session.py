# SPDX-License-Identifier: Apache-2.0
"""Sessions with a process on this machine: archives that come over a pipe are those that would be made there, a file
comes once, and what breaks leaves nothing behind."""

import concurrent.futures
import contextlib
import io
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys

import pytest
from savedump_core import api, archive, lock, promises, store
from savedump_core.compression import gzip, zstd
from savedump_core.errors import BadDump, Busy, CannotWrite, SavedumpError
from savedump_core.model import SearchOptions
from savedump_core.remote import boot, session
from savedump_core.remote.session import Broken, Failed
from savedump_core.sysroot import read_elf
from savedump_core.tarstream.writer import TarWriter
from savedump_core.wire import frames, parcel
from support import archives, debuginfod, machine
from support.archives import BUILD_ID, ELF, sha
from support.command import environment
from support.crashes import CannotCrash
from support.crashes.kernel import dump_of

@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """The dump of a shell, which needs a few libraries of this machine."""
    folder = tmp_path_factory.mktemp("crash")
    try:
        return dump_of(["/bin/sh", "-c", "kill -ABRT $$"], str(folder))
    except CannotCrash as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """With no gap, whose trail would tell of this machine's processes and so be another each time: the root of the
    files alone."""
    return SearchOptions(sysroot=str(_root(tmp_path_factory.mktemp("root"))))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The dump of a Python with 24 MiB that do not compress."""
    program = "import os; data = os.urandom(24 << 20); os.abort()"
    try:
        return dump_of([sys.executable, "-c", program], str(tmp_path_factory.mktemp("large")))
    except CannotCrash as reason:
        pytest.skip(str(reason))


def _root(folder):
    """The shell and its libraries at their places."""
    told = subprocess.check_output(["ldd", os.path.realpath("/bin/sh")]).decode().split()
    for path in [os.path.realpath("/bin/sh")] + [word for word in told if word.startswith("/")]:
        real = os.path.realpath(path)
        os.makedirs(str(folder) + os.path.dirname(real), exist_ok=True)
        shutil.copy(real, str(folder) + real)
    return folder


class Opened:
    """A process that plays the other host, and a session with it; `most` bytes come, then the link is cut."""

    def __init__(self, python=sys.executable, most=None):
        self.process = subprocess.Popen(
            [python, "-I", "-c", boot.COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd="/"
        )
        self.left = most
        self.session = session.Session(self._read, self._write)

    def _read(self, size):
        if self.left is None:
            return self.process.stdout.read(size)
        data = self.process.stdout.read(min(size, self.left)) if self.left else b""
        self.left -= len(data)
        return data

    def _write(self, data):
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def __enter__(self):
        self.session.start()
        return self.session

    def __exit__(self, *_error):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("archive_format", ["tar.gz", "tar"])
def test_archive_is_the_one_that_would_be_made_there(core, search, tmp_path, archive_format):
    made = api.archive(core, str(tmp_path), search, archive_format)
    with Opened() as there:
        came = there.stream(core, str(tmp_path / "came"), search, archive_format)
    assert pathlib.Path(came.path).read_bytes() == pathlib.Path(made.path).read_bytes()
    assert (came.sha256, came.size, came.planned_size) == (made.sha256, made.size, made.planned_size)
    assert came.size * 0.7 < came.estimated_size < came.size * 1.3
    assert (came.complete, came.changed, came.missing) == (True, True, made.manifest["missing"])
    assert (came.dump, came.created) == (made.as_json()["dump"], made.manifest["created"])
    assert os.path.basename(came.path) == os.path.basename(made.path)
    assert os.stat(came.path).st_mode & 0o777 == 0o600 and (tmp_path / "came").stat().st_mode & 0o777 == 0o700
    assert everything(tmp_path / "came") == [os.path.basename(came.path)]


@pytest.mark.parametrize("version", ["3.6", "3.13"])
def test_on_other_pythons(core, search, tmp_path, version):
    python = machine.interpreter(version)
    if python is None:
        pytest.skip("no Python %s here" % version)
    here = api.archive(core, str(tmp_path), search, "tar")
    with Opened(python) as there:
        found = there.find([os.path.dirname(core)], filters={"max_size": "1T"})
        assert [dump["path"] for dump in found["dumps"]] == [core]
        assert there.stream(core, str(tmp_path / "came"), search, "tar").sha256 == here.sha256


def test_second_time_the_files_do_not_travel(core, search, tmp_path):
    kept = str(tmp_path / "store")
    with Opened() as there:
        plain = there.stream(core, str(tmp_path / "0"), search)
        first = there.stream(core, str(tmp_path / "1"), search, store_folder=kept)
        second = there.stream(core, str(tmp_path / "2"), search, store_folder=kept)
    assert plain.sha256 == first.sha256 == second.sha256
    files = sum(path.stat().st_size for path in (tmp_path / "store" / "sha256").rglob("*") if path.is_file())
    assert plain.saved_bytes == first.saved_bytes == 0 and second.saved_bytes == files
    assert second.wire_bytes < plain.wire_bytes / 4
    assert first.wire_bytes < plain.wire_bytes * 1.02 + 8192
    assert api.verify(second.path).problems == ()
    assert store.add(kept, [plain.path]).added == ()


def test_here_already(core, search, tmp_path):
    with Opened() as there:
        first = there.stream(core, str(tmp_path / "came"), search)
        again = there.stream(core, str(tmp_path / "came"), search)
        assert again._replace(changed=True, wire_bytes=0) == first._replace(wire_bytes=0)
        assert not again.changed and again.wire_bytes < 20000
        assert there.stream(core, str(tmp_path / "came"), search, force=True).changed


def test_one_that_lacks_less_replaces_one_that_lacks_more(core, search, tmp_path):
    with Opened() as there:
        first = there.stream(core, str(tmp_path), SearchOptions(sysroot="/nowhere"))
        assert not first.complete
        better = there.stream(core, str(tmp_path), search)
        assert better.complete and better.changed and better.path == first.path
        worse = there.stream(core, str(tmp_path), SearchOptions(sysroot="/nowhere"))
        assert worse.complete and not worse.changed and worse.missing == better.missing


def test_dry_run_brings_nothing(core, search, tmp_path):
    with Opened() as there:
        said = there.stream(core, str(tmp_path / "came"), search, dry_run=True, store_folder=str(tmp_path / "store"))
        assert (said.sha256, said.size, said.complete, said.changed) == (None, None, True, True)
        assert list(tmp_path.iterdir()) == []
        assert there.stream(core, str(tmp_path / "came"), search).path == said.path


def test_what_servers_and_packages_have_does_not_touch_the_disk_there(core, tmp_path, monkeypatch):
    """Files of servers lie in memory, and no longer than it takes; packages are taken apart there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "DEBUGINFOD_CACHE_PATH", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    before = set(os.listdir("/dev/shm"))
    path = os.path.realpath("/bin/sh")
    build_id = read_elf(path).elf.build_id
    servers = tmp_path / "served"
    debuginfod.put(servers, build_id, "executable", pathlib.Path(path).read_bytes())
    with debuginfod.static(servers) as server, Opened() as there:
        came = there.stream(core, str(tmp_path), SearchOptions(sysroot="/nowhere"), debuginfod_urls=[server.url])
        assert server.requests
    assert not [gap for gap in came.missing if gap["build_id"] == build_id.hex() and gap["kind"] == "loaded"]
    assert everything(home) == [] and set(os.listdir("/dev/shm")) == before
    script = (
        "import os; from savedump_core import serve; from savedump_core.packages.unpacked import nameless_file\n"
        "serve.main(); os.write(2, os.readlink('/proc/self/fd/%d' % nameless_file()).encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(), check=True
    )
    assert done.stderr.startswith(b"/dev/shm/")


def test_failure_there_is_told_and_the_session_goes_on(core, search, tmp_path):
    with Opened() as there:
        with pytest.raises(Failed) as caught:
            there.stream("/nowhere/core", str(tmp_path))
        assert caught.value.exit_status == 66 and "/nowhere/core" in str(caught.value)
        with pytest.raises(Failed) as caught:
            there.find(filters={"newer_than": "the day before"})
        assert caught.value.exit_status == 64
        os.mkfifo(str(tmp_path / "fifo"))
        for path, status in ((str(tmp_path / "fifo"), 65), ("/dev/null", 65), (str(tmp_path), 65)):
            with pytest.raises(Failed) as caught:
                there.stream(path, str(tmp_path))
            assert (caught.value.exit_status, path in str(caught.value)) == (status, True)
        assert there.stream(core, str(tmp_path), search).complete
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OSError):
            there.stream(core, str(tmp_path / "file"), search)
        assert there.find([core])["dumps"]


def test_dump_that_another_run_is_at_work_on(core, search, tmp_path):
    with Opened() as there, lock.claimed(core):
        with pytest.raises(Failed) as caught:
            there.stream(core, str(tmp_path), search)
        assert caught.value.exit_status == 75 and "another run" in str(caught.value)
    with Opened() as there, concurrent.futures.ThreadPoolExecutor(1) as pool:
        with lock.claimed(core):
            heard = []
            waiting = pool.submit(there.stream, core, str(tmp_path), search, wait=60, waiting=heard.append)
            with pytest.raises(concurrent.futures.TimeoutError):
                waiting.result(1)
            assert len(heard) == 1 and heard[0].startswith("another run is at work on %s" % core)
        assert waiting.result(60).complete


def test_link_that_is_cut_leaves_nothing_under_a_name(core, search, tmp_path):
    with Opened() as there:
        whole = there.stream(core, str(tmp_path / "whole"), search)
    cuts = random.Random(3)
    for number in range(8):
        folder, kept = tmp_path / ("cut%d" % number), tmp_path / ("store%d" % number)
        opened = Opened(most=40 + cuts.randrange(whole.wire_bytes))
        with pytest.raises(Broken), opened as there:
            there.stream(core, str(folder), search, store_folder=str(kept))
        assert (everything(folder) if folder.exists() else []) == []
        assert [name for name in everything(kept) if name.startswith(".incoming")] == []
        with Opened() as there:
            again = there.stream(core, str(folder), search, store_folder=str(kept))
        assert again.sha256 == whole.sha256


@pytest.mark.parametrize("stored", [False, True])
def test_link_that_is_cut_again_and_again_brings_each_byte_once(large, search, tmp_path, stored):
    more = {"store_folder": str(tmp_path / "store")} if stored else {}
    with Opened() as there:
        if stored:
            there.stream(large, str(tmp_path / "before"), search, **more)
        whole = there.stream(large, str(tmp_path / "whole"), search, **more)
    cuts, came = random.Random(4), []
    links = [Opened(most=whole.wire_bytes // 5)]

    def again(error, at):
        """The plan travels on every link; some are cut while the code for it does, or it is asked for."""
        assert str(error).startswith("the connection ended")
        came.append(at)
        while True:
            links[-1].__exit__()
            links.append(Opened(most=cuts.randrange(whole.wire_bytes // 4) if len(links) < 16 else None))
            try:
                return links[-1].__enter__()
            except Broken:
                pass

    try:
        done = links[0].__enter__().stream(large, str(tmp_path / "cut"), search, again=again, **more)
    finally:
        links[-1].__exit__()
    assert len(came) > 3 and came == sorted(came) and came[0] > 0, came
    assert (done.sha256, done.size, done.missing) == (whole.sha256, whole.size, whole.missing)
    assert done.saved_bytes == whole.saved_bytes and (done.saved_bytes > 0) == stored
    assert everything(tmp_path / "cut") == [os.path.basename(done.path)]
    assert api.verify(done.path).problems == ()
    # What was under way at each cut, and a plan for each link.
    assert done.wire_bytes < whole.wire_bytes + len(links) * (2 << 20), (done.wire_bytes - whole.wire_bytes, came)


def test_a_cut_among_the_files_for_the_store_goes_on_in_the_archive(large, search, tmp_path):
    kept = tmp_path / "store"
    with Opened() as there:
        whole = there.stream(large, str(tmp_path / "whole"), search, store_folder=str(tmp_path / "other"))
    links = [Opened(most=200000), Opened()]
    assert whole.saved_bytes == 0 and whole.wire_bytes > 10 * links[0].left
    asked = []

    def again(error, at):
        asked.append(at)
        links[0].__exit__()  # it holds the dump
        return links[1].__enter__()

    try:
        done = links[0].__enter__().stream(
            large, str(tmp_path / "cut"), search, store_folder=str(kept), again=again
        )  # fmt: skip
    finally:
        links[1].__exit__()
    assert asked == [0] and done.sha256 == whole.sha256
    assert done.saved_bytes == 0 and api.verify(done.path).problems == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="other mount namespaces are root's to make")
def test_it_goes_on_though_others_run_by_then(core, tmp_path):
    """What was searched for a gap is in the archive: where, and not in how many of what just runs."""
    sleep, sleepers, links = ["unshare", "--mount", "sleep", "300"], [], []
    search = SearchOptions()

    def again(_error, at):
        assert at
        sleepers.append(subprocess.Popen(sleep))
        links[-1].__exit__()
        links.append(Opened())
        return links[-1].__enter__()

    try:
        sleepers.append(subprocess.Popen(sleep))
        with Opened() as there:
            whole = there.stream(core, str(tmp_path / "whole"), search)
        links.append(Opened(most=whole.wire_bytes // 2))
        done = links[0].__enter__().stream(core, str(tmp_path / "cut"), search, again=again)
        assert whole.missing and done.sha256 == whole.sha256
    finally:
        for each in sleepers:
            each.kill()
            each.wait()
        links[-1].__exit__()


def test_dump_that_is_another_one_after_the_cut_is_not_glued_to_the_first(large, search, tmp_path):
    mine = tmp_path / "core"
    shutil.copy(large, str(mine))
    links = [Opened(most=8 << 20)]

    def again(_error, at):
        assert at
        status = mine.stat()
        with mine.open("r+b") as file:
            file.seek(status.st_size // 8)
            file.write(b"other bytes at the same time")
        os.utime(str(mine), ns=(status.st_atime_ns, status.st_mtime_ns))
        links[-1].__exit__()
        links.append(Opened())
        return links[-1].__enter__()

    try:
        with pytest.raises(parcel.Changed):
            links[0].__enter__().stream(str(mine), str(tmp_path / "came"), search, again=again)
    finally:
        links[-1].__exit__()
    assert everything(tmp_path / "came") == []


def test_side_by_side_each_file_is_sent_once(core, search, tmp_path):
    """Whoever comes first brings what the others wait for."""

    def one(number):
        folder = tmp_path / ("host%d" % number)
        folder.mkdir()
        shutil.copy(core, str(folder / "core"))
        with Opened() as there:
            return there.stream(str(folder / "core"), str(folder), search, store_folder=str(tmp_path / "store"))

    with Opened() as there:
        without = there.stream(core, str(tmp_path / "with"), search, store_folder=str(tmp_path / "warm"))
        only_dump = there.stream(core, str(tmp_path / "again"), search, store_folder=str(tmp_path / "warm")).wire_bytes
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        came = list(pool.map(one, range(6)))
    assert [api.verify(each.path).problems for each in came] == [()] * 6 and all(each.complete for each in came)
    files = without.wire_bytes - only_dump
    # The headers of the tar with the files come once for each share of them.
    assert sum(each.wire_bytes for each in came) < 6 * only_dump + files + 6 * 4096


def test_promise_that_is_not_kept_is_taken_over(core, search, tmp_path):
    kept = str(tmp_path / "store")
    script = (
        "import os, sys; from savedump_core import promises, store\n"
        "names = sys.argv[2:]\n"
        "with promises.promised(sys.argv[1], names) as mine:\n"
        "    assert mine == set(names); sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read(1); os._exit(9)\n"
    )
    with Opened() as there:
        there.stream(core, str(tmp_path / "0"), search, store_folder=str(tmp_path / "other"))
    names = [path.name for path in (tmp_path / "other" / "sha256").rglob("*") if path.is_file()]
    other = subprocess.Popen(
        [sys.executable, "-c", script, kept, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    assert other.stdout.read(1) == b"x"
    with promises.promised(kept, names) as mine:
        assert mine == frozenset()
    with concurrent.futures.ThreadPoolExecutor(1) as pool, Opened() as there:
        waiting = pool.submit(there.stream, core, str(tmp_path / "1"), search, store_folder=kept)
        with pytest.raises(concurrent.futures.TimeoutError):
            waiting.result(1.5)
        other.communicate(b"x")
        assert other.returncode == 9
        assert waiting.result(60).complete
    assert {path.name for path in (tmp_path / "store" / "sha256").rglob("*") if path.is_file()} == set(names)


def test_promises_that_nobody_keeps_cost_a_session_its_patience_once(core, search, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_PATIENCE_S", 2 * session._LOOK_EVERY_S)
    kept = str(tmp_path / "store")
    with Opened() as there:
        first = there.stream(core, str(tmp_path / "0"), search, store_folder=str(tmp_path / "other"))
    names = [path.name for path in (tmp_path / "other" / "sha256").rglob("*") if path.is_file()]
    slept = []
    monkeypatch.setattr(session.time, "sleep", slept.append)
    with promises.promised(kept, names[1:]), Opened() as there:
        came = [there.stream(core, str(tmp_path / folder), search, store_folder=kept) for folder in ("1", "2", "3")]
    assert len(slept) == 2 and {each.sha256 for each in came} == {first.sha256}
    assert {path.name for path in (tmp_path / "store" / "sha256").rglob("*") if path.is_file()} == {names[0]}


def flipped(path):
    data = bytearray(path.read_bytes())
    data[30000] ^= 1
    path.write_bytes(bytes(data))


def cut(path):
    os.truncate(str(path), 30000)


def linked(path):
    path.rename(str(path) + ".away")
    path.symlink_to(str(path) + ".away")


@pytest.mark.parametrize("harm", [flipped, cut, linked])
def test_damaged_file_of_the_store_is_noticed_and_comes_anew(core, search, tmp_path, harm):
    kept = tmp_path / "store"
    with Opened() as there:
        first = there.stream(core, str(tmp_path / "0"), search, store_folder=str(kept))
    names = set(everything(kept))
    damaged = max((path for path in (kept / "sha256").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    harm(damaged)
    if harm is flipped:
        with Opened() as there, pytest.raises(Broken, match="was damaged in the store"):
            there.stream(core, str(tmp_path / "1"), search, store_folder=str(kept))
        assert everything(tmp_path / "1") == []
        left = set(everything(kept))
        assert str(damaged.relative_to(kept)) in names - left and any(n.startswith("buildid/") for n in names - left)
    with Opened() as there:
        for folder in ("2", "3"):
            came = there.stream(core, str(tmp_path / folder), search, store_folder=str(kept))
            assert came.sha256 == first.sha256
    assert came.saved_bytes > damaged.stat().st_size and names <= set(everything(kept))
    assert sha(damaged.read_bytes()) == damaged.name and not damaged.is_symlink()


def test_damaged_files_of_the_store_cost_one_try_together(core, search, tmp_path):
    kept = tmp_path / "store"
    with Opened() as there:
        first = there.stream(core, str(tmp_path / "0"), search, store_folder=str(kept))
    damaged = [path for path in (kept / "sha256").rglob("*") if path.is_file() and path.stat().st_size > 30000]
    assert len(damaged) > 1
    for path in damaged:
        flipped(path)
    with Opened() as there, pytest.raises(Broken, match="was damaged in the store"):
        there.stream(core, str(tmp_path / "1"), search, store_folder=str(kept))
    with Opened() as there:
        assert there.stream(core, str(tmp_path / "1"), search, store_folder=str(kept)).sha256 == first.sha256
    assert [sha(path.read_bytes()) for path in damaged] == [path.name for path in damaged]


def test_only_what_is_read_without_a_program_is_asked_for(tmp_path, monkeypatch):
    """A program that unpacks would keep to itself that the link was cut."""
    monkeypatch.setattr(zstd._libzstd, "library", lambda: None)
    monkeypatch.setattr(zstd, "_module", lambda: None)
    asked = []
    there = Hostile(PLAN)
    there.session = session.Session(there.pipe.read, asked.append)
    with pytest.raises(SavedumpError):
        there.stream(tmp_path)
    assert b'"codecs": ["gzip"]' in b"".join(asked)


class Hostile:
    """Frames of somebody who is not serve.py."""

    def __init__(self, *documents):
        pipe = io.BytesIO()
        self.sender = frames.Sender(pipe.write)
        for document in documents:
            self.sender.document(document)
        self.pipe = pipe
        self.session = session.Session(pipe.read, lambda data: None)

    @contextlib.contextmanager
    def data(self):
        """What is written goes out as one stream."""
        with archive.coded(gzip, self.sender) as writer:
            yield writer
        self.sender.end()

    def stream(self, folder, **more):
        self.pipe.seek(0)
        return self.session.stream("/core", str(folder), format="tar", **more)


PLAN = {
    "name": "archive-core", "created": "2020-01-01T00:00:00Z", "size": 1, "tar_size": 1,
    "estimated_size": 1, "complete": True, "missing": [],
    "dump": {"identity": "ab"}, "codec": "gzip", "files": [],
}  # fmt: skip


_LIBRARY = {"role": "library", "build_id": BUILD_ID.hex(), "matched_by": "build-id"}


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5}, {"size": "1"}, {"estimated_size": None}, {"complete": None}, {"missing": {}},
        {"missing": [{"kind": "x"}]}, {"files": {}}, {"files": [1]}, {"dump": None}, {"dump": {}},
        {"dump": {"identity": "../x"}}, {"codec": "xz"}, {"dump": {"identity": "ab", "process": 7}},
        {"missing": [{"module": "m", "kind": "debug", "attempts": 7}]},
    ],
)  # fmt: skip
def test_plan_that_is_none(tmp_path, change):
    with pytest.raises(Broken):
        Hostile(dict(PLAN, **change)).stream(tmp_path)
    assert everything(tmp_path) == []


def test_disk_that_is_too_small_here_is_said_before_anything_comes(tmp_path):
    there = Hostile(dict(PLAN, estimated_size=1 << 60))
    with pytest.raises(CannotWrite, match="too few"):
        there.stream(tmp_path / "here")
    assert list(tmp_path.iterdir()) == []
    assert there.stream(tmp_path / "here", ignore_space=True, dry_run=True).estimated_size == 1 << 60


def test_a_store_without_room_takes_nothing_and_the_archive_comes(core, search, tmp_path, monkeypatch):
    """Nor does it take the last of the disk: who announces much sends nothing of it."""
    monkeypatch.setattr(session, "_SPARED", 1 << 60)
    with Opened() as there:
        plain = there.stream(core, str(tmp_path / "0"), search)
        came = there.stream(core, str(tmp_path / "1"), search, store_folder=str(tmp_path / "store"))
    assert (came.sha256, came.saved_bytes) == (plain.sha256, 0) and everything(tmp_path / "store") == []
    sizes = [{"sha256": "%064d" % at, "size": size} for at, size in enumerate((1 << 61, -(1 << 61)))]
    asked = []
    there = Hostile(dict(PLAN, files=[dict(_LIBRARY, **each) for each in sizes]))
    there.session = session.Session(there.pipe.read, asked.append)
    with pytest.raises(SavedumpError):
        there.stream(tmp_path / "here", store_folder=str(tmp_path / "store"))
    assert b'"files":' not in b"".join(asked) and b'{"archive": [], "after": 0}' in b"".join(asked)


def test_more_than_was_announced_is_not_written(tmp_path):
    """Of a few bytes on the wire a codec makes as many as it likes."""
    there = Hostile(dict(PLAN, tar_size=10240))
    with there.data() as sink:
        for _piece in range(64):
            sink.write(struct.pack(">cI", b"L", 1 << 20) + bytes(1 << 20))
    with pytest.raises(Broken, match="more came than the 10240 bytes"):
        there.stream(tmp_path / "here")
    assert everything(tmp_path) == []


def test_what_grows_beyond_its_estimate_does_not_take_the_last_of_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_SPARED", 1 << 60)
    there = Hostile(dict(PLAN, tar_size=1 << 30, estimated_size=-(1 << 60)))
    with there.data() as sink:
        sink.write(struct.pack(">cI", b"L", 1 << 20) + bytes(1 << 20))
    with pytest.raises(CannotWrite, match="too few"):
        there.stream(tmp_path / "here")
    assert everything(tmp_path) == []


def test_archive_that_another_run_made_meanwhile_is_kept(core, search, tmp_path, monkeypatch):
    """Of another dump of the same name: it came while the files were brought."""
    there_already = tmp_path / "came" / (os.path.basename(api.archive(core, str(tmp_path), search).path))
    fill = session.Session._fill

    def meanwhile(self, *arguments):
        there_already.write_bytes(b"of another dump")
        return fill(self, *arguments)

    monkeypatch.setattr(session.Session, "_fill", meanwhile)
    with Opened() as there, pytest.raises(Busy, match="meanwhile"):
        there.stream(core, str(tmp_path / "came"), search, store_folder=str(tmp_path / "store"))
    assert there_already.read_bytes() == b"of another dump"


def sent(archive, folder, **plan):
    """What is made of an archive whose host announces PLAN with these changes."""
    there = Hostile({**PLAN, "tar_size": 1 << 20, "dump": {"identity": "0" * 16}, **plan})
    with there.data() as sink:
        writer = parcel.Writer(sink)
        writer.write(archive)
        writer.close()
    there.sender.document({})
    return there.stream(folder)


def test_what_is_no_sound_archive_gets_no_name(tmp_path):
    """Whoever sends it has told its right hash on the way: what it is is seen before it has its name."""
    sound = archives.usual().to_bytes()
    other = archives.usual()
    other.manifest["files"][3]["sha256"] = "0" * 64
    endless = archives.usual().to_bytes(end=False)
    for content in (endless, sound[:-10240], sound[:5000], b"", other.to_bytes(), bytes(10240)):
        with pytest.raises(SavedumpError):
            sent(content, tmp_path / "here")
        assert everything(tmp_path / "here") == []
    assert sent(sound, tmp_path / "here").sha256 == sha(sound)


@pytest.mark.parametrize("plan", [
    {"complete": False}, {"missing": [{"module": "/lib/x", "kind": "loaded"}]}, {"dump": {"identity": "1" * 16}},
])  # fmt: skip
def test_what_is_told_of_an_archive_is_what_is_in_it(tmp_path, plan):
    with pytest.raises(BadDump, match="announced"):
        sent(archives.usual().to_bytes(), tmp_path / "here", **plan)
    assert everything(tmp_path / "here") == []


def test_reference_to_a_part_of_a_file_does_not_cost_the_store_that_file(tmp_path):
    store.add_file(str(tmp_path / "store"), _file(tmp_path, ELF), BUILD_ID.hex(), store.EXECUTABLE)
    there = Hostile(dict(PLAN, tar_size=1 << 20))
    with there.data() as sink:
        parcel.Writer(sink).reference(sha(ELF), len(ELF), [(0, len(ELF) // 2)])
    with pytest.raises(Broken, match="has other bytes here"):
        there.stream(tmp_path / "here", store_folder=str(tmp_path / "store"))
    assert everything(tmp_path / "here") == [] and len(everything(tmp_path / "store")) == 2


def _file(folder, content):
    (folder / "file").write_bytes(content)
    return str(folder / "file")


def test_name_leads_nowhere_else(tmp_path):
    there = Hostile(dict(PLAN, name="../../etc/cron.d/x"))
    said = there.stream(tmp_path / "here", dry_run=True)
    assert os.path.dirname(said.path) == str(tmp_path / "here") and "/" not in os.path.basename(said.path)


def test_files_that_were_not_asked_for_are_not_taken(tmp_path):
    """Of another SHA-256 than announced, or with another build ID."""
    right = dict(_LIBRARY, sha256=sha(ELF), size=len(ELF))
    for announced, name in (
        (dict(right, sha256="0" * 64), "0" * 64),
        (dict(right, build_id="00" * 20), sha(ELF)),
        (dict(right, role="dump"), sha(ELF)),
        (right, "0" * 64),
    ):
        there = Hostile(dict(PLAN, files=[announced]))
        with there.data() as sink:
            tar = TarWriter(sink, mtime=0)
            tar.add_bytes(name, ELF, 0o600)
            tar.close()
        with pytest.raises(SavedumpError):
            there.stream(tmp_path / "here", store_folder=str(tmp_path / "store"))
        assert everything(tmp_path) == []


@pytest.mark.parametrize("report", [
    {"dumps": [{}], "looked": []},
    {"dumps": [5], "looked": []},
    {"dumps": [], "looked": [], "unread": [{"path": "/x"}]},
    {"dumps": [], "looked": ["x"]},
])  # fmt: skip
def test_a_report_of_another_shape_is_refused(report):
    told = io.BytesIO()
    frames.Sender(told.write).document(report)
    told.seek(0)
    there = session.Session(told.read, len)
    with pytest.raises(Broken):
        there.find()
