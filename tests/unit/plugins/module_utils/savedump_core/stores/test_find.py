# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from savedump_core import api
from support import elfwriter


@pytest.fixture
def cores(tmp_path):
    for index, name in enumerate(("a/core.1", "a/b/core.2")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        elfwriter.process_core(pid=100 + index).write(str(path))
        os.utime(str(path), (1000 + index, 1000 + index))
    (tmp_path / "a/core.text").write_text("no core")
    os.mkfifo(str(tmp_path / "a/core.fifo"))
    (tmp_path / "a/core.link").symlink_to(tmp_path / "a/core.1")
    return str(tmp_path)


def test_folder_is_searched_to_the_bottom_newest_first(cores):
    report = api.find([cores])
    assert [entry["path"] for entry in report.entries] == [cores + "/a/b/core.2", cores + "/a/core.1"]
    assert [entry["process"]["pid"] for entry in report.entries] == [101, 100]
    assert report.entries[0]["store"] == "given" and report.entries[0]["complete"] is True
    assert [(looked.where, looked.outcome) for looked in report.looked] == [(cores, "2 found")]


def test_file_that_is_no_dump_is_said_when_it_was_named(cores):
    report = api.find([cores + "/a/core.text", cores + "/none", cores + "/a/core.fifo"])
    assert report.entries == ()
    outcomes = [looked.outcome for looked in report.looked]
    assert "it is a text file" in outcomes[0] and outcomes[1] == "No such file or directory" and "FIFO" in outcomes[2]


def test_same_file_is_listed_once(cores):
    assert len(api.find([cores + "/a/core.1", cores + "/a/core.link", cores + "/a"]).entries) == 2


def test_report_is_json(cores):
    document = api.find([cores]).as_json()
    assert sorted(document) == ["dumps", "logs", "looked"] and document["logs"] == []
    assert document["looked"] == [{"store": "given", "where": cores, "outcome": "2 found"}]
