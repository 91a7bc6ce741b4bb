# SPDX-License-Identifier: Apache-2.0
"""The function behind the module savedump_files: wants in, what Ansible returns out. What is looked for and how is
tested with savedump_core's setout."""

import json
import os
import stat

import pytest
from ansible_collections.savedump.toolkit.plugins.module_utils import _files

elfwriter = pytest.importorskip("support.elfwriter", reason="needs this checkout's tests/support on the path")

OLD = elfwriter.elf_file(build_id=b"\x11" * 20)
WANT = {"build_id": "11" * 20, "kind": "loaded", "module": "/opt/libx.so", "paths": [], "release": None}


class Host:
    def __init__(self, folder):
        self.root, self.dest = folder / "root", folder / "out"
        (self.root / "opt").mkdir(parents=True)

    def ask(self, *wants, **changed):
        check_mode = changed.pop("check_mode", False)
        params = {"wants": list(wants), "dest": str(self.dest), "search_paths": [], "sysroot": str(self.root)}
        outcome = _files.perform("savedump_files", dict(params, **changed), check_mode)
        json.dumps(outcome)  # it has to travel
        return outcome


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(_files.tempfile, "tempdir", str(tmp_path))
    return Host(tmp_path)


def test_what_is_here_is_set_out(host):
    (host.root / "opt/libx.so").write_bytes(OLD)
    outcome = host.ask(WANT, dict(WANT, build_id="22" * 20))
    (file,) = outcome["files"]
    assert outcome["changed"] is True and "failed" not in outcome
    assert file["path"] == str(host.dest / "buildid" / ("11" * 20) / "executable")
    assert file["want"] == dict(WANT, paths=["/opt/libx.so"])  # to be given back as it is
    assert host.ask(file["want"])["files"] == outcome["files"]
    assert [gap["build_id"] for gap in outcome["missing"]] == ["22" * 20]
    assert outcome["folder"] == str(host.dest)
    assert stat.S_IMODE(os.stat(str(host.dest)).st_mode) == 0o700
    assert outcome["msg"].startswith("1 of 2 files are here: ")
    assert host.ask(WANT)["changed"] is False


def test_check_mode_makes_nothing(host):
    (host.root / "opt/libx.so").write_bytes(OLD)
    outcome = host.ask(WANT, check_mode=True)
    assert outcome["changed"] is True and outcome["folder"] is None
    assert [file["path"] for file in outcome["files"]] == [None]
    assert not host.dest.exists()


def test_without_a_folder_named_it_is_a_new_one(host):
    (host.root / "opt/libx.so").write_bytes(OLD)
    outcome = host.ask(WANT, dest=None)
    try:
        assert stat.S_IMODE(os.stat(outcome["folder"]).st_mode) == 0o700
        assert outcome["files"][0]["path"].startswith(outcome["folder"] + "/buildid/")
    finally:
        _files._remove(outcome["folder"])
    assert not os.path.exists(outcome["folder"])


@pytest.mark.parametrize("wants", [[], [WANT], [dict(WANT, kind="split")]])
def test_where_nothing_is_found_or_asked_no_folder_stays(host, monkeypatch, wants):
    made = []
    monkeypatch.setattr(_files, "_private_folder", lambda: made.append(host.root.parent / "own") or _new(made[-1]))
    outcome = host.ask(*wants, dest=None)
    assert outcome["folder"] is None and outcome["files"] == []
    assert [folder.exists() for folder in made] == [False]
    assert bool(outcome.get("failed")) is (wants != [] and wants[0]["kind"] == "split")


def _new(folder):
    folder.mkdir()
    return str(folder)


def test_a_name_that_is_not_utf8_comes_back_and_is_understood(host):
    name = os.fsdecode(b"/opt/lib\xff.so")
    with open(os.fsencode(str(host.root) + name), "wb") as file:
        file.write(OLD)
    outcome = host.ask(dict(WANT, module=name), check_mode=True)
    assert outcome["files"][0]["module"] == "/opt/lib\\xff.so"
