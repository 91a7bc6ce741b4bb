# SPDX-License-Identifier: Apache-2.0
"""Kernel dumps where real crash kernels left them: found, once each, and what is not whole is said."""

import os
import shutil

import pytest

from savedump_core import api


def found(vmcores, layout):
    """What `find` lists beneath one of the roots that the crash kernel wrote to."""
    report = api.find(sysroot=str(vmcores.dumps / "kdump61.kdump" / layout))
    return [entry for entry in report.entries if entry["store"] == "kdump"], report


@pytest.mark.parametrize(
    "layout, kind, pages",
    [
        ("debian", "kdump-flattened", "zlib"),
        ("rhel", "kdump-compressed", "lzo"),
        ("suse", "kdump-flattened", "zstd"),
    ],
)
def test_dump_of_a_crash_kernel_is_found(vmcores, layout, kind, pages):
    entries, _ = found(vmcores, layout)
    assert [entry["path"] for entry in entries] == [str(vmcores.kdump(layout))]
    entry = entries[0]
    assert (entry["kind"], entry["complete"], entry["in_progress"]) == (kind, True, False)
    assert entry["kernel"]["compression"] == pages
    assert entry["kernel"]["nodename"] == "kdump-host.example.org"
    assert entry["kernel"]["build_id"] == vmcores.said("kdump61").build_id


def test_dump_that_a_full_disk_cut_off_is_found_and_not_whole(vmcores):
    entries, _ = found(vmcores, "full")
    assert [os.path.basename(entry["path"]) for entry in entries] == ["vmcore-incomplete"]
    assert entries[0]["complete"] is False
    # What its name says, and what makedumpfile said in its header.
    assert "vmcore-incomplete until it is whole" in entries[0]["incomplete_why"]
    assert "marked it incomplete" in entries[0]["incomplete_why"]


def test_split_set_is_listed_once_with_all_its_parts(vmcores, tmp_path):
    folder = tmp_path / "var/crash/2026-11-23-07-02"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        shutil.copy(vmcores.dumps / f"oops61.mdf.split{number}", folder / f"vmcore{number}")
    entries = api.find(sysroot=str(tmp_path)).entries
    assert [entry["path"] for entry in entries] == [str(folder / "vmcore1")]
    assert entries[0]["parts"] == [str(folder / "vmcore2"), str(folder / "vmcore3")]
    assert entries[0]["complete"] is True

    (folder / "vmcore2").unlink()
    entries = api.find(sysroot=str(tmp_path)).entries
    assert [(len(entry["parts"]), entry["complete"]) for entry in entries] == [(1, False)]


def test_crash_of_which_only_the_log_is_left_is_said(vmcores, tmp_path):
    shutil.copytree(vmcores.dumps / "kdump61.kdump/rhel", tmp_path / "host")
    (dump,) = (tmp_path / "host/var/crash").glob("*/vmcore")
    dump.unlink()
    report = api.find(sysroot=str(tmp_path / "host"))
    assert report.entries == ()
    assert [log.path for log in report.logs] == [str(dump.with_name("vmcore-dmesg.txt"))]
