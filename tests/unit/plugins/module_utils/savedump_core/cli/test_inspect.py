# SPDX-License-Identifier: Apache-2.0
"""The words of `savedump inspect` on an archive."""

from support import elfwriter
from support.command import savedump


def test_of_an_archive_the_manifest_alone_was_read(tmp_path):
    elfwriter.process_core(pid=77).write(str(tmp_path / "core.77"))
    savedump("core.77", cwd=str(tmp_path))
    note = "note       only its manifest was read; python3 -m savedump_core verify checks the rest"
    assert note in savedump("inspect", "archive-core.77.tar.gz", cwd=str(tmp_path)).out.splitlines()
    assert "manifest" not in savedump("inspect", "core.77", cwd=str(tmp_path)).out
