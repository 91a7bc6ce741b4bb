# SPDX-License-Identifier: Apache-2.0
import errno
import os

import pytest

from savedump_core import stores
from savedump_core.stores import pstore
from savedump_core.stores.place import Log, Looked
from savedump_core.sysroot import Sysroot


@pytest.fixture
def put(tmp_path):
    def write(path, content=b""):
        at = str(tmp_path) + path
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "wb") as file:
            file.write(content)
        return at

    return write


def items(tmp_path, kind):
    return [item for item in pstore.entries(Sysroot(str(tmp_path))) if isinstance(item, kind)]


def test_records_are_logs_with_their_reason(put, tmp_path):
    first = put("/sys/fs/pstore/dmesg-efi-170000000001001", b"Panic#2 Part1\n<6>[    1.0] words\n")
    second = put("/sys/fs/pstore/dmesg-ramoops-0.enc.z", b"\x78\x9c")
    put("/sys/fs/pstore/console-ramoops-0", b"[    0.0] Linux version\n")
    assert items(tmp_path, Log) == [
        Log("pstore", first, "the kernel's last words: Panic 2, part 1"),
        Log("pstore", second, "the kernel's last words, compressed in a way that the kernel could not undo"),
    ]
    assert items(tmp_path, Looked)[0] == Looked(
        "pstore", str(tmp_path) + "/sys/fs/pstore", "2 logs of crashes, no dump"
    )


def test_what_systemd_put_together_is_one_log(put, tmp_path):
    log = put("/var/lib/systemd/pstore/1700000000/002/dmesg.txt", b"Oops#1 Part2\nwords\n")
    put("/var/lib/systemd/pstore/1700000000/002/dmesg-efi-170000000002002", b"Oops#1 Part2\nwords\n")
    other = put("/var/lib/systemd/pstore/1700000001/dmesg-erst-1", b"words without a head\n")
    assert items(tmp_path, Log) == [
        Log("pstore", log, "the kernel's last words: Oops 1, part 2"), Log("pstore", other, "the kernel's last words"),
    ]  # fmt: skip


def test_nothing_there_is_said(put, tmp_path):
    put("/sys/fs/pstore/console-ramoops-0")
    assert [one.outcome for one in items(tmp_path, Looked)] == ["no log of a crash", "No such file or directory"]


def test_logs_are_bounded(put, tmp_path, monkeypatch):
    monkeypatch.setattr(pstore, "MAX_LOGS", 3)
    for number in range(9):
        put("/sys/fs/pstore/dmesg-ramoops-%d" % number)
    assert len(items(tmp_path, Log)) == 3 and "3 or more logs" in items(tmp_path, Looked)[0].outcome


def test_folder_that_may_not_be_read_is_said(put, tmp_path, monkeypatch):
    put("/var/lib/systemd/pstore/1700000000/dmesg.txt")
    scandir = os.scandir

    def refused(path):
        if path.endswith("1700000000"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    shut = str(tmp_path / "var/lib/systemd/pstore/1700000000")
    assert Looked("pstore", shut, "Permission denied") in items(tmp_path, Looked)


def test_link_is_not_followed(put, tmp_path):
    put("/elsewhere", b"Panic#1 Part1\n")
    put("/sys/fs/pstore/dmesg-efi-1")
    os.symlink(str(tmp_path / "elsewhere"), str(tmp_path / "sys/fs/pstore/dmesg-efi-2"))
    assert "symbolic link" in items(tmp_path, Log)[1].what


def test_find_lists_them_apart_from_dumps(put, tmp_path):
    put("/sys/fs/pstore/dmesg-efi-170000000001001", b"Panic#2 Part1\n")
    report = stores.find((), Sysroot(str(tmp_path)), lambda path: True, lambda path: {})
    assert report.entries == () and [log.store for log in report.logs] == ["pstore"]
