# SPDX-License-Identifier: Apache-2.0
"""No dump is archived twice at once: the second run uses what the first has made. No lock holds anybody for ever."""

import errno
import fcntl
import os
import subprocess
import sys
import threading

import pytest

from savedump_core import api, errors, lock
from savedump_core.model import SearchOptions
from support import elfwriter

PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20, padding=0x2000)

_HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
sys.stdout.write("held\\n"); sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def core(tmp_path):
    path = str(tmp_path / "core.77")
    modules = [elfwriter.Mapped(b"/usr/bin/prog", 0x400000, PROGRAM, header_only=True)]
    elfwriter.process_core(modules=modules, pid=77).write(path)
    (tmp_path / "out").mkdir()
    return path


@pytest.fixture
def held():
    """held(PATH): a process that holds its lock, until its stdin is closed."""
    running = []

    def hold(path):
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
        )
        running.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield hold
    for process in running:
        process.kill()
        process.communicate()


def archive(core, **options):
    folder = os.path.dirname(core)
    return api.archive(core, output=folder + "/out", search=SearchOptions(sysroot=folder), **options)


@pytest.mark.parametrize("kind", ["file", "folder", "descriptor"])
def test_one_at_a_time(tmp_path, held, kind):
    path = tmp_path / "it"
    path.mkdir() if kind == "folder" else path.write_bytes(b"")
    before = os.stat(str(path))
    descriptor = os.open(str(path), os.O_RDONLY)
    what = descriptor if kind == "descriptor" else str(path)
    try:
        with lock.claimed(what) as held_here:
            assert held_here
            with pytest.raises(errors.Busy):
                with lock.claimed(str(path)):
                    pass
        with lock.claimed(str(path)):
            pass
        other = held(str(path))
        with pytest.raises(errors.Busy) as busy:
            with lock.claimed(what):
                pass
        assert "another run is at work on %s (pid %d, " % (path, other.pid) in str(busy.value)
        other.kill()  # as the kernel's out-of-memory killer would
        with lock.claimed(what, wait=20):
            pass
    finally:
        os.close(descriptor)
    after = os.stat(str(path))
    assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)


def test_the_second_run_uses_what_the_first_has_made(core):
    """Begun while the first holds the dump, it waits, and then finds the archive there."""
    made, reasons = [], []
    first_reads, second_waits = threading.Event(), threading.Event()

    def first():
        def progress(_done):
            first_reads.set()
            second_waits.wait(20)

        made.append(archive(core, progress=progress))

    thread = threading.Thread(target=first)
    thread.start()
    assert first_reads.wait(20)
    second = archive(core, wait=60, on_wait=lambda why: (reasons.append(why), second_waits.set()))
    thread.join()
    assert (made[0].changed, second.changed) == (True, False)
    assert second.sha256 == made[0].sha256
    assert len(reasons) == 1 and "another run is at work on %s" % core in reasons[0]
    assert os.listdir(os.path.dirname(core) + "/out") == [os.path.basename(second.path)]


def test_who_holds_the_lock_for_ever_is_waited_for_so_long_only(core, held):
    held(core)
    with pytest.raises(errors.Busy) as busy:
        archive(core, wait=1)
    assert "after 1 seconds" in str(busy.value) and busy.value.exit_status == 75
    assert os.listdir(os.path.dirname(core) + "/out") == []


def test_check_mode_needs_no_lock(core, held):
    held(core)
    assert archive(core, wait=0, dry_run=True).changed


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_lock_is_no_obstacle(core, monkeypatch, number):
    """NFS answers EBADF for what is open for reading only; none is to be had in a test."""

    real = fcntl.flock

    def flock(descriptor, how):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(number, os.strerror(number))
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.claimed(core) as held_here:
        assert held_here is False
    assert archive(core).changed


def test_what_is_not_there_is_said_by_whoever_reads_it(core):
    with pytest.raises(FileNotFoundError):
        archive(core + "0")


def test_a_file_that_somebody_writes(core):
    assert not lock.being_written(core)
    with open(core, "r+b"):
        assert lock.being_written(core)
    with open(core, "rb"):
        assert not lock.being_written(core)
    assert not lock.being_written(core + "0")
