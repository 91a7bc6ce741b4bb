# SPDX-License-Identifier: Apache-2.0
"""A dump is taken away only if it is the very one that was archived; nothing else ever is."""

import os
import subprocess

import pytest

from savedump_core import api, errors, remove
from savedump_core.model import SearchOptions
from support import elfwriter

PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20, padding=0x2000)


@pytest.fixture
def dump(tmp_path):
    """A dump, and dump.known: what its archive says of it."""

    class Dump:
        path = str(tmp_path / "core.77")

        def write(self, pid=77):
            modules = [elfwriter.Mapped(b"/usr/bin/prog", 0x400000, PROGRAM, header_only=True)]
            elfwriter.process_core(modules=modules, pid=pid).write(self.path)
            os.utime(self.path, (2000, 2000))

        def archive(self):
            options = {"search": SearchOptions(sysroot=str(tmp_path)), "force": True}
            made = api.archive(self.path, output=str(tmp_path / "out"), **options)
            self.known = self.of(made)
            return made

        @staticmethod
        def of(made):
            document = made.as_json()
            stored = document["dump"]["stored_size"]
            return document["dump"]["identity"], stored, document["created"]

        def remove(self, **options):
            return remove.remove(self.path, *self.known, **options)

    the_dump = Dump()
    (tmp_path / "out").mkdir()
    the_dump.write()
    the_dump.archive()
    return the_dump


def test_the_very_dump_goes_and_nothing_else(dump, tmp_path):
    before = set(os.listdir(str(tmp_path)))
    assert dump.remove(dry_run=True) > 0 and os.path.exists(dump.path)
    assert dump.remove() > 0
    assert before - set(os.listdir(str(tmp_path))) == {"core.77"}
    with pytest.raises(FileNotFoundError):
        dump.remove()


@pytest.mark.parametrize("change", ["content", "time", "size"])
def test_another_one_of_the_name_stays(dump, change):
    if change == "content":
        dump.write(pid=78)
    elif change == "time":
        os.utime(dump.path, (2001, 2001))
    else:
        with open(dump.path, "ab") as file:
            file.write(b"x")
        os.utime(dump.path, (2000, 2000))
    with pytest.raises(errors.Busy) as busy:
        dump.remove()
    assert "no longer the dump that was archived" in str(busy.value) and os.path.exists(dump.path)


def test_what_somebody_writes_to_stays(dump):
    with open(dump.path, "r+b"), pytest.raises(errors.Busy):
        dump.remove()
    assert os.path.exists(dump.path)


def test_what_somebody_archives_stays(dump):
    from savedump_core.lock import claimed

    with claimed(dump.path), pytest.raises(errors.Busy):
        dump.remove()
    assert os.path.exists(dump.path)


def test_a_link_and_what_it_leads_to_stay(dump):
    os.rename(dump.path, dump.path + ".real")
    os.symlink(dump.path + ".real", dump.path)
    with pytest.raises(errors.UsageError):
        dump.remove()
    assert os.path.exists(dump.path)


def test_a_compressed_dump(dump):
    subprocess.check_call(["gzip", dump.path])
    dump.path += ".gz"
    dump.archive()
    assert dump.remove() > 0 and not os.path.exists(dump.path)


def test_a_report_that_holds_more_than_the_dump_stays(dump, monkeypatch):
    monkeypatch.setattr(remove, "_CONTAINERS", ("gzip",))
    subprocess.check_call(["gzip", dump.path])
    dump.path += ".gz"
    dump.archive()
    with pytest.raises(errors.UsageError) as refused:
        dump.remove()
    assert "holds more than the dump" in str(refused.value) and os.path.exists(dump.path)


def test_without_the_time_it_is_a_dry_run_or_nothing(dump):
    identity, size, _created = dump.known
    dump.known = (identity, size, None)
    assert dump.remove(dry_run=True) > 0
    with pytest.raises(errors.Busy):
        dump.remove()
