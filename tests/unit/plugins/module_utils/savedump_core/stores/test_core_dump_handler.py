# SPDX-License-Identifier: Apache-2.0
"""Zip files of IBM's core-dump-handler, as its composer names and fills them."""

import os
import zipfile

import pytest

from savedump_core import api
from support import elfwriter, stores

CORE = elfwriter.process_core(pid=77).to_bytes()
BARE = elfwriter.process_core(without=(1, 3, 6, 0x53494749, 0x46494C45)).to_bytes()


def find(root):
    report = api.find(sysroot=str(root))
    return [entry for entry in report.entries if entry["store"] == "core-dump-handler"], report


def test_core_in_a_zip_is_found(tmp_path):
    at = stores.composed(tmp_path, CORE)
    (entry,), _report = find(tmp_path)
    assert entry["path"] == at and entry["compression"] == "zip" and entry["process"]["pid"] == 77
    assert entry["host"] == "pod-7" and entry["crashed_ns"] == stores.SECONDS * 10**9


def test_info_tells_what_the_core_does_not(tmp_path):
    stores.composed(tmp_path, BARE, comm="a-b", pid=12, signal=6)
    process = find(tmp_path)[0][0]["process"]
    assert (process["comm"], process["pid"], process["signal"]["number"], process["executable"]) == (
        "a-b", 12, 6, "/usr/bin/prog",
    )  # fmt: skip


def test_info_that_is_nested_too_deep_tells_nothing(tmp_path):
    at = stores.composed(tmp_path, CORE)
    template = os.path.basename(at)[: -len(".zip")]
    with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(template + "-dump-info.json", "[" * 60000)
        out.writestr(template + ".core", CORE)
    (entry,), _report = find(tmp_path)
    # The file's name has the time, too.
    assert entry["crashed_ns"] == stores.SECONDS * 10**9 and entry["host"] is None


def test_folder_by_core_pattern(tmp_path):
    stores.put(
        tmp_path, "/proc/sys/kernel/core_pattern", "|/opt/cdc -c=%c -e=%e -p=%p -s=%s -t=%t -d=/opt/kept -h=%h\n"
    )
    at = stores.composed(tmp_path, CORE, place="/opt/kept")
    entries, report = find(tmp_path)
    assert [entry["path"] for entry in entries] == [at]
    assert any("core-dump-handler" in one.outcome for one in report.looked if one.store == "core_pattern")


@pytest.mark.parametrize("size", [20, 60, 300, 700])
def test_cut_zip_is_not_whole_or_said(tmp_path, size):
    at = stores.composed(tmp_path, os.urandom(64) + CORE if size > 600 else CORE)
    with open(at, "rb+") as file:
        file.truncate(size)
    entries, report = find(tmp_path)
    said = [entry["incomplete_why"] for entry in entries] + [one.outcome for one in report.looked if one.where == at]
    assert len(said) == 1
    assert "is cut at byte" in said[0] or "no core in it" in said[0] or "is not a dump" in said[0]


def test_other_zip_is_said_here_and_no_word_lost_on_it_elsewhere(tmp_path):
    at = stores.put(tmp_path, "/var/mnt/core-dump-handler/cores/x.zip", b"PK\x03\x04" + bytes(40))
    assert any(one.where == at for one in find(tmp_path)[1].looked)
    report = api.find([os.path.dirname(at)])
    assert report.entries == () and [one.where for one in report.looked] == [os.path.dirname(at)]


def test_its_agent_deletes_what_it_uploaded(tmp_path):
    stores.composed(tmp_path, CORE)
    (entry,) = api.find(sysroot=str(tmp_path)).entries
    assert entry["expires"]["at"] is None and "uploaded" in entry["expires"]["why"]
