# SPDX-License-Identifier: Apache-2.0
"""The words of `savedump find`, and its exit status."""

import json

import pytest

from support import elfwriter
from support.command import savedump


@pytest.fixture
def here(tmp_path):
    elfwriter.process_core(pid=77).write(str(tmp_path / "core.77"))
    (tmp_path / "empty").mkdir()
    return str(tmp_path)


def test_path_that_is_not_there_does_not_hide_the_others(here):
    done = savedump("find", "none", "core.77", cwd=here)
    assert done.status == 66 and "core.77" in done.out
    assert done.error == "savedump: No such file or directory: %s/none\n" % here


def test_path_that_is_not_there_in_json(here):
    done = savedump("find", "core.77", "none", "--json", cwd=here)
    assert done.status == 66 and len(json.loads(done.out)["dumps"]) == 1 and "none" in done.error


def test_no_dump_says_where_it_looked_and_what_next(here):
    done = savedump("find", "empty", cwd=here)
    assert done.status == 0 and done.out == ""
    assert done.error.splitlines() == [
        "no dump found; looked in:",
        "  empty (given): no dump",
        "to look where this host puts its dumps: python3 -m savedump_core find",
    ]
