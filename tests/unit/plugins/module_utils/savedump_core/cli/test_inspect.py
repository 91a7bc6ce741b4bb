# SPDX-License-Identifier: Apache-2.0
"""The words of `savedump inspect` on an archive."""

import pytest

from savedump_core.cli import inspect
from support import elfwriter
from support.archives import usual
from support.command import savedump


def test_of_an_archive_the_manifest_alone_was_read(tmp_path):
    elfwriter.process_core(pid=77).write(str(tmp_path / "core.77"))
    savedump("core.77", cwd=str(tmp_path))
    note = "note       only its manifest was read; python3 -m savedump_core verify checks the rest"
    assert note in savedump("inspect", "archive-core.77.tar.gz", cwd=str(tmp_path)).out.splitlines()
    assert "manifest" not in savedump("inspect", "core.77", cwd=str(tmp_path)).out


def test_search_path_that_is_not_there_is_said(tmp_path):
    elfwriter.process_core(pid=77).write(str(tmp_path / "core.77"))
    done = savedump("inspect", "core.77", "--search-path", ".", "--search-path", "./gone", cwd=str(tmp_path))
    assert done.error == "savedump: --search-path ./gone: no such folder here; going on without it\n"


@pytest.mark.parametrize("hostile", [{}, {"modules": 1}, {"modules": [1]}, {"modules": [{}], "kernel": 7}])
def test_a_hostile_manifest_is_damaged_and_no_traceback(hostile, tmp_path):
    archive = usual()
    archive.manifest["dump"] = dict(archive.manifest["dump"], **hostile)
    done = savedump("inspect", archive.write(tmp_path))
    assert done.status == 65 and "manifest.json is damaged" in done.last


def test_a_hostile_list_of_what_is_missing_is_damaged(tmp_path):
    archive = usual()
    archive.manifest["missing"] = [1, {}, {"module": 2, "kind": []}]
    done = savedump("verify", archive.write(tmp_path))
    assert done.status == 65 and "missing[0] is damaged" in done.error


def test_split_debug_information_that_is_missing_is_listed(capsys):
    """With every place tried, and not only on demand."""
    attempt = {"finder": "debug-link", "path": "/src/x.dwo", "outcome": "absent", "detail": ""}
    lacks = {"status": "missing", "at": None, "matched_by": None, "attempts": [attempt]}
    found = {"status": "found", "at": "/bin/x", "matched_by": "build-id", "attempts": []}
    module = {"path": "/bin/x", "build_id": "11", "file": found, "debug": lacks, "supplementary": None}
    inspect._modules([dict(module, split=[lacks])], False)
    assert capsys.readouterr().out.splitlines()[2:] == ["    split: /src/x.dwo: absent"]
    # The first archives have no such key.
    inspect._modules([module], False)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_an_archive_is_as_complete_as_its_manifest_says(tmp_path):
    """Whatever this host has."""
    program = elfwriter.elf_file(build_id=b"\x11" * 20, padding=4096)
    modules = [elfwriter.Mapped(b"/no/such/prog", 0x400000, program[:4096])]
    elfwriter.process_core(modules=modules, pid=77).write(str(tmp_path / "core.77"))
    (tmp_path / "builds").mkdir()
    (tmp_path / "builds/prog").write_bytes(program)
    for options, status in (([], 3), (["--search-path", "builds"], 0)):
        assert savedump("inspect", "core.77", *options, cwd=str(tmp_path)).status == status
        assert savedump("archive", "core.77", *options, cwd=str(tmp_path)).status == status
        assert savedump("inspect", "archive-core.77.tar.gz", cwd=str(tmp_path)).status == status
