# SPDX-License-Identifier: Apache-2.0
"""The words of `savedump inspect` on an archive."""

import pytest
from support import elfwriter
from support.archives import usual
from support.command import savedump


def test_of_an_archive_the_manifest_alone_was_read(tmp_path):
    elfwriter.process_core(pid=77).write(str(tmp_path / "core.77"))
    savedump("core.77", cwd=str(tmp_path))
    note = "note       only its manifest was read; python3 -m savedump_core verify checks the rest"
    assert note in savedump("inspect", "archive-core.77.tar.gz", cwd=str(tmp_path)).out.splitlines()
    assert "manifest" not in savedump("inspect", "core.77", cwd=str(tmp_path)).out


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
