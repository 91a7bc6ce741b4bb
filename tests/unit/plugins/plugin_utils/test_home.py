# SPDX-License-Identifier: Apache-2.0
"""The archives of a host on the control host: which is the best, what is to be asked for, and how a gap is filled."""

import hashlib
import os

import pytest
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import api, errors, model
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _home, _store
from support import elfwriter

PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20)
#: Larger than what the dump holds of it, so that it cannot be rebuilt from there.
LIBRARY = elfwriter.elf_file(build_id=b"\x22" * 20, padding=0x3000)
DECOY = elfwriter.elf_file(build_id=b"\x33" * 20)
PLACE = "buildid/%s/executable" % ("22" * 20)


class Play:
    """What a run of the play has brought: an archive made on web1 where the library was lost, and its copy here."""

    def __init__(self, folder):
        self.root, self.target = folder / "root", folder / "target"
        self.dest, self.store = folder / "collected", folder / "store"
        (self.root / "usr/bin").mkdir(parents=True)
        (self.root / "opt").mkdir()
        (self.root / "usr/bin/prog").write_bytes(PROGRAM)
        (self.root / "opt/libx.so").write_bytes(DECOY)
        modules = [
            elfwriter.Mapped(b"/usr/bin/prog", 0x400000, PROGRAM),
            elfwriter.Mapped(b"/opt/libx.so", 0x500000, LIBRARY[:0x1000]),
        ]
        elfwriter.process_core(modules=modules, pid=77).write(str(folder / "core.77"))
        self.dump = str(folder / "core.77")
        self.target.mkdir()
        (self.dest / "web1").mkdir(parents=True)
        self.made = self.archive()
        self.fetch()

    def archive(self):
        options = model.SearchOptions(sysroot=str(self.root))
        return api.archive(self.dump, output=str(self.target), search=options, force=True).as_json()

    def fetch(self, name=None):
        here = self.dest / "web1" / (name or os.path.basename(self.made["path"]))
        with open(self.made["path"], "rb") as there:
            here.write_bytes(there.read())
        return str(here)

    def home(self):
        (home,) = _home.homes([self.made], str(self.dest), "web1")
        return home

    def send(self, content=LIBRARY, build_id="22" * 20, kind="loaded"):
        sent = self.dest / ".incoming/web2/executable"
        sent.parent.mkdir(parents=True, exist_ok=True)
        sent.write_bytes(content)
        return {"path": str(sent), "build_id": build_id, "kind": kind}


@pytest.fixture
def play(tmp_path):
    return Play(tmp_path)


def test_what_an_archive_lacks_is_asked_for(play):
    home = play.home()
    assert (os.path.basename(home.path), home.better) == (os.path.basename(play.made["path"]), False)
    asked = _home.wants(home, str(play.store))
    assert [(each["kind"], each["module"]) for each in asked if each["build_id"] == "22" * 20] == [
        ("loaded", "/opt/libx.so"), ("debug", "/opt/libx.so")
    ]  # fmt: skip
    assert all(set(each) <= {"build_id", "kind", "module", "paths", "release"} for each in asked)


def test_nothing_is_asked_for_debug_information_alone(play):
    (play.root / "opt/libx.so").write_bytes(LIBRARY)
    play.made = play.archive()
    play.fetch()
    home = play.home()
    assert home.missing and not home.needed
    assert _home.wants(home, str(play.store)) == []


def test_what_the_store_has_is_not_asked_for(play):
    assert _store.keep_file(str(play.store), play.send()).added == [PLACE]
    home = play.home()
    assert _home.can_be_filled(home, str(play.store))
    assert _home.wants(home, str(play.store)) == []
    assert _home.wants(home, "") != []


def test_a_gap_is_filled_and_the_completed_archive_takes_the_old_ones_place(play):
    _store.keep_file(str(play.store), play.send())
    before = play.home()
    assert not before.manifest["complete"]
    home, sha256, filled = _home.complete(before, str(play.store))
    assert [(gap["module"], gap["kind"]) for gap in filled] == [("/opt/libx.so", "loaded")]
    assert home.path == before.path
    assert os.listdir(os.path.dirname(home.path)) == [os.path.basename(home.path)]
    with open(home.path, "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == sha256
    proof = api.verify(home.path)
    assert proof.intact and proof.manifest["complete"]
    (library,) = [each for each in proof.manifest["files"] if each["path"] == "opt/libx.so"]
    assert library["sha256"] == hashlib.sha256(LIBRARY).hexdigest()

    # The host still has the one with the gap; the next run knows which is better, and asks for nothing.
    again = play.home()
    assert (again.path, again.better, again.needed) == (home.path, True, [])
    assert not _home.can_be_filled(again, str(play.store))


def test_a_store_without_the_file_changes_nothing(play):
    _store.keep_file(str(play.store), play.send(DECOY, "33" * 20))
    home = play.home()
    assert not _home.can_be_filled(home, str(play.store))
    before = os.stat(home.path)
    assert _home.complete(home, str(play.store))[1:] == (None, [])
    assert os.stat(home.path).st_mtime_ns == before.st_mtime_ns
    assert os.listdir(os.path.dirname(home.path)) == [os.path.basename(home.path)]


def test_a_completed_archive_that_would_be_damaged_replaces_nothing(play, monkeypatch):
    _store.keep_file(str(play.store), play.send())
    home = play.home()
    before = os.stat(home.path)
    real = api.verify
    monkeypatch.setattr(_home.api, "verify", lambda path: real(path)._replace(intact=False, problems=("planted",)))
    with pytest.raises(errors.BadDump, match="planted"):
        _home.complete(home, str(play.store))
    assert os.stat(home.path).st_ino == before.st_ino
    assert os.listdir(os.path.dirname(home.path)) == [os.path.basename(home.path)]


def test_the_hosts_own_better_archive_is_fetched_again(play):
    """The package is back on the host: what is here lacks more, and is no longer what counts."""
    (play.root / "opt/libx.so").write_bytes(LIBRARY)
    play.made = play.archive()
    home = play.home()
    assert (home.path, home.better) == (None, False)
    assert home.missing == play.made["missing"]


def test_an_archive_of_another_dump_is_none_of_this(play):
    _store.keep_file(str(play.store), play.send())
    _home.complete(play.home(), str(play.store))
    play.made["dump"]["identity"] = "0" * 16
    assert play.home().path is None


@pytest.mark.parametrize("name", ["notes.tar.gz", "archive-core.1.tar.zst", ".hidden.tar"])
def test_what_is_no_archive_is_passed_over(play, name):
    (play.dest / "web1" / name).write_bytes(b"\x1f\x8b nothing of ours")
    assert play.home().path is not None


@pytest.mark.parametrize("build_id", [None, "", "xyz", "../../../../etc/passwd", 7, "1" * 1000])
def test_a_build_id_that_is_none_leads_nowhere(play, build_id):
    """A manifest comes from a host, and says what it likes."""
    gap = {"module": "/opt/libx.so", "kind": "loaded", "build_id": build_id, "needed": True, "attempts": []}
    home = play.home()._replace(manifest={"dump": {}, "missing": [gap], "complete": False})
    assert _home.place_of(gap) is None
    assert not _home.can_be_filled(home, "/")
    assert _home.wants(home, "/") == []


def test_a_host_named_like_a_path_stays_below_the_folder(play):
    assert [home.path for home in _home.homes([play.made], str(play.dest), "../collected/web1")] == [None]
