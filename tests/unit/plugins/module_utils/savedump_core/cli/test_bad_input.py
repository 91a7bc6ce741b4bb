# SPDX-License-Identifier: Apache-2.0
"""Whatever it is given, the command says one clear line, leaves with the right status and leaves nothing behind."""

import lzma
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(__file__)
ROOT = os.path.abspath(os.path.join(HERE, *[os.pardir] * 6))
ENVIRONMENT = dict(os.environ, PYTHONPATH=os.pathsep.join([ROOT] + os.environ.get("PYTHONPATH", "").split(os.pathsep)))
CORE = lzma.open(os.path.join(ROOT, "tests/data/cores/x86_64-crash.core.xz")).read()


def savedump(*arguments, **kwargs):
    """(status, stdout, stderr) of the command as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "savedump_core"] + [str(argument) for argument in arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60,
        **kwargs,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def refused(folder, *arguments, **kwargs):
    """The error line of an archive that was refused; nothing may be left in the folder."""
    before = sorted(os.listdir(str(folder)))
    status, out, error = savedump("archive", *arguments, cwd=str(folder), **kwargs)
    assert "Traceback" not in error and "archive created" not in out
    assert sorted(os.listdir(str(folder))) == before
    lines = error.splitlines()
    assert len(lines) == 1 and lines[0].startswith("savedump: "), error
    return status, lines[0]


def test_empty_file(tmp_path):
    (tmp_path / "core").write_bytes(b"")
    status, line = refused(tmp_path, "core")
    assert status == 65 and "core is not a dump: it is an empty file" in line


def test_text_file(tmp_path):
    (tmp_path / "core").write_text("hello\n")
    status, line = refused(tmp_path, "core")
    assert status == 65 and "a text file" in line


def test_directory(tmp_path):
    (tmp_path / "core").mkdir()
    status, line = refused(tmp_path, "core")
    assert status == 65 and "a directory" in line


def test_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(str(tmp_path / "core"))
    status, line = refused(tmp_path, "core")
    assert status == 65 and "a FIFO" in line


def test_device(tmp_path):
    status, line = refused(tmp_path, "/dev/zero")
    assert status == 65 and "a character device" in line


def test_missing_file(tmp_path):
    status, line = refused(tmp_path, "core")
    assert status == 66 and "No such file or directory" in line and "/core; to see which dumps are here: " in line


@pytest.mark.parametrize("verb", ["archive", "inspect", "find", "verify", "open"])
def test_disk_that_fails(tmp_path, verb):
    """It is the dump's, not that of the folder the archive was for."""
    status, _out, error = savedump(verb, "/proc/self/mem", cwd=str(tmp_path))
    assert (status, error.splitlines()[-1]) == (
        74, "savedump: Input/output error: /proc/self/mem; the disk or the way to it fails: see dmesg"
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user to be refused")
def test_unreadable_file(tmp_path):
    (tmp_path / "core").write_bytes(CORE)
    (tmp_path / "core").chmod(0o600)
    for folder in [tmp_path] + list(tmp_path.parents)[:-2]:
        folder.chmod(0o755)
    # The interpreter itself may lie in root's home: what it needs is imported before the rights are dropped.
    script = (
        "import gettext, locale, os, sys; from savedump_core import archive, plan, unpack; "
        "from savedump_core.cli import archive; from savedump_core.dumps import flattened, kdump, opaque; "
        "from savedump_core.__main__ import main; os.setgid(65534); os.setuid(65534); "
    )
    done = subprocess.run(
        [sys.executable, "-c", script + "sys.exit(main(sys.argv[1:]))", str(tmp_path / "core")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    assert done.returncode == 77, done.stderr
    assert b"Permission denied" in done.stderr and b"Traceback" not in done.stderr


def test_executable_is_no_core(tmp_path):
    status, line = refused(tmp_path, os.path.realpath(sys.executable))
    assert status == 65 and "not a core" in line


@pytest.mark.parametrize("what", ["no arguments", "unknown option", "bad format"])
def test_usage(tmp_path, what):
    arguments = {
        "no arguments": [],
        "unknown option": ["archive", "--frob"],
        "bad format": ["archive", "x", "--format", "zip"],
    }
    status, out, error = savedump(*arguments[what], cwd=str(tmp_path))
    assert status == 64 and "Traceback" not in error and "--help" in error


@pytest.mark.parametrize("size", list(range(0, len(CORE), 65536)) + [1, 51, 63, 64, 100, 4000, len(CORE) - 1])
def test_core_cut_anywhere(tmp_path, size):
    (tmp_path / "core").write_bytes(CORE[:size])
    status, out, error = savedump("archive", "core", "-o", str(tmp_path), cwd=str(tmp_path))
    assert "Traceback" not in error
    if size <= 100:
        assert status == 65 and sorted(os.listdir(str(tmp_path))) == ["core"]
    else:
        assert status == 3 and "the dump is not whole: it is cut: %d of %d bytes" % (size, len(CORE)) in error
        assert error.index("not whole") >= 0 and "archive created" in out


def test_one_byte_flipped_in_the_headers(tmp_path):
    """Each byte of the ELF header and of the first program headers, to each of three values."""
    from savedump_core import api, errors
    from savedump_core.model import SearchOptions

    path = tmp_path / "core"
    (tmp_path / "root").mkdir()
    nowhere = SearchOptions(sysroot=str(tmp_path / "root"))
    outcomes = set()
    for offset in range(64 + 3 * 56):
        for flip in (0x01, 0x80, 0xFF):
            data = bytearray(CORE)
            data[offset] ^= flip
            path.write_bytes(bytes(data))
            try:
                document = api.inspect(str(path), nowhere)
                outcomes.add("read" if document["complete"] else "incomplete")
            except errors.BadDump as error:
                assert str(path) in str(error)
                outcomes.add("refused")
    assert outcomes == {"read", "incomplete", "refused"}


def test_truncated_compressed_core(tmp_path):
    packed = lzma.compress(CORE)
    (tmp_path / "core.xz").write_bytes(packed[: len(packed) // 2])
    status, out, error = savedump("archive", "core.xz", cwd=str(tmp_path))
    assert status in (3, 65) and "Traceback" not in error and "stream" in error


def test_output_folder_that_is_not_there(tmp_path):
    (tmp_path / "core").write_bytes(CORE)
    status, line = refused_with_gaps(tmp_path, "core", "-o", "none/")
    assert status == 73 and "there is no folder none" in line


def test_output_that_is_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "core").write_bytes(CORE)
    (tmp_path / "precious").write_text("x")
    status, line = refused_with_gaps(tmp_path, "core", "-o", "precious")
    assert status == 73 and "precious is there" in line
    assert (tmp_path / "precious").read_text() == "x"


def refused_with_gaps(folder, *arguments):
    """As refused(), for a core whose own files are not on this host: gap lines come before the error."""
    status, out, error = savedump("archive", "-q", *arguments, cwd=str(folder))
    assert "Traceback" not in error and "archive created" not in out
    return status, error.splitlines()[-1]


def test_full_disk(tmp_path):
    """/dev/full stands in for one: no archive, a clear line, nothing left."""
    (tmp_path / "core").write_bytes(CORE)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "savedump_core", "archive", "-q", "core", "-o", "-"],
            cwd=str(tmp_path),
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 73 and b"No space left on device" in done.stderr and b"Traceback" not in done.stderr
    assert os.listdir(str(tmp_path)) == ["core"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_full_disk_of_ones_own(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "core").write_bytes(CORE + os.urandom(1 << 20))
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)])
    try:
        status, line = refused_with_gaps(tmp_path, "core", "-o", str(disk), "--format", "tar", "--ignore-space")
        assert status == 73 and "No space left on device: %s; make room there" % disk in line
        assert os.listdir(str(disk)) == []
    finally:
        subprocess.check_call(["umount", str(disk)])
