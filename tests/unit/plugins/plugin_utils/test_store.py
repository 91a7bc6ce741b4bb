# SPDX-License-Identifier: Apache-2.0
"""What hosts send comes into the store only if the control host finds it to be what was asked for."""

import stat

import pytest
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import api, errors, model
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _store
from support import elfwriter

DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)
LIBRARY = elfwriter.elf_file(build_id=b"\x22" * 20)
DEBUG = elfwriter.elf_file(build_id=b"\x22" * 20, sections=[DEBUG_SECTION])


@pytest.fixture
def keep(tmp_path):
    sent, store = tmp_path / "incoming/web2/executable", tmp_path / "store"

    def run(content, build_id="22" * 20, kind="loaded", **options):
        sent.parent.mkdir(parents=True, exist_ok=True)
        sent.write_bytes(content)
        sent.chmod(0o644)
        return _store.keep_file(str(store), {"path": str(sent), "build_id": build_id, "kind": kind}, **options)

    run.sent, run.store = sent, store
    return run


@pytest.mark.parametrize(
    "content, kind, name",
    [(LIBRARY, "loaded", "executable"), (DEBUG, "debug", "debuginfo"), (DEBUG, "supplementary", "debuginfo")],
)
def test_a_proven_file_is_kept_for_its_owner_only(keep, content, kind, name):
    place = "buildid/%s/%s" % ("22" * 20, name)
    assert keep(content, kind=kind).added == [place]
    assert (keep.store / place).read_bytes() == content
    assert stat.S_IMODE(keep.store.stat().st_mode) == 0o700
    assert not keep.sent.parent.parent.exists()  # nothing is left of the way it came
    assert keep(content, kind=kind).added == []  # it is there already


def test_a_file_that_was_never_stripped_is_its_own_debug_information(keep):
    places = ["buildid/%s/%s" % ("22" * 20, name) for name in ("executable", "debuginfo")]
    assert keep(DEBUG).added == places
    assert len({(keep.store / place).stat().st_ino for place in places}) == 1
    assert keep(DEBUG, kind="debug").added == []


@pytest.mark.parametrize(
    "content, build_id, kind",
    [
        (elfwriter.elf_file(build_id=b"\x33" * 20), "22" * 20, "loaded"),
        (elfwriter.elf_file(build_id=None), "22" * 20, "loaded"),
        (LIBRARY, "22" * 20, "debug"),
        (b"no ELF file", "22" * 20, "loaded"),
        (LIBRARY, "../../../up", "loaded"),
        (LIBRARY, "22" * 20, "split"),
    ],
)
def test_what_lies_is_refused_and_taken_away(keep, content, build_id, kind):
    with pytest.raises(errors.SavedumpError):
        keep(content, build_id=build_id, kind=kind)
    assert not keep.store.exists() or not [path for path in keep.store.rglob("*") if path.is_file()]
    assert not keep.sent.exists()


def test_a_link_is_not_followed(keep, tmp_path):
    (tmp_path / "elsewhere").write_bytes(LIBRARY)
    keep.sent.parent.mkdir(parents=True)
    keep.sent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.BadDump, match="symbolic link"):
        _store.keep_file(str(keep.store), {"path": str(keep.sent), "build_id": "22" * 20, "kind": "loaded"})
    assert (tmp_path / "elsewhere").exists()


def test_check_mode_takes_nothing(keep):
    assert keep(LIBRARY, dry_run=True).added != []
    assert keep.sent.exists() and not keep.store.exists()


def test_the_files_of_an_archive_are_kept_and_it_is_not_read_twice(tmp_path, monkeypatch):
    program = elfwriter.elf_file(build_id=b"\x11" * 20)
    (tmp_path / "root/opt").mkdir(parents=True)
    (tmp_path / "root/opt/prog").write_bytes(program)
    modules = [elfwriter.Mapped(b"/opt/prog", 0x400000, program)]
    elfwriter.process_core(modules=modules, pid=77).write(str(tmp_path / "core.77"))
    search = model.SearchOptions(sysroot=str(tmp_path / "root"))
    archive = api.archive(str(tmp_path / "core.77"), output=str(tmp_path), search=search).path
    folder = str(tmp_path / "not/there/yet")

    place = "buildid/%s/executable" % ("11" * 20)
    assert _store.keep_archive(folder, archive, dry_run=True) == ([place], [])
    assert not (tmp_path / "not").exists()
    assert _store.keep_archive(folder, archive) == ([place], [])
    assert (tmp_path / "not/there/yet" / place).read_bytes() == program

    read = []
    real = api.store
    monkeypatch.setattr(_store.api, "store", lambda *args, **options: read.append(options) or real(*args, **options))
    assert _store.keep_archive(folder, archive) == ([], [])
    assert read == [{"dry_run": True}]


def test_a_damaged_archive_gives_nothing(tmp_path):
    (tmp_path / "archive.tar.gz").write_bytes(b"nothing of ours")
    with pytest.raises(errors.SavedumpError):
        _store.keep_archive(str(tmp_path / "store"), str(tmp_path / "archive.tar.gz"))
