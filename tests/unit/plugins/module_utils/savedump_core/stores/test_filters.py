# SPDX-License-Identifier: Apache-2.0
"""The words that say which dumps are wanted."""

import os
import time

import pytest

from savedump_core import api
from savedump_core.errors import UsageError
from savedump_core.stores import filters
from support import elfwriter, kdumpwriter, stores

NOW = 1700000000.0
PROCESS = {
    "kind": "core", "kernel": None, "mtime_ns": 2000 * 10**9, "crashed_ns": 1000 * 10**9, "size": 100,
    "claimed_size": 100, "stored_size": 100,
    "process": {"executable": "/usr/sbin/nginx", "comm": "nginx", "signal": {"number": 11, "name": "SIGSEGV"}},
}  # fmt: skip
PACKED = dict(PROCESS, size=None, claimed_size=5000, stored_size=10, crashed_ns=None)
UNKNOWN = dict(PROCESS, size=None, claimed_size=None, process=dict(PROCESS["process"], executable=None, signal=None))
KERNEL = dict(PROCESS, kind="kdump-compressed", kernel={"release": "6.1"}, process=None)


@pytest.mark.parametrize(
    "words, kept",
    [
        ({}, "PROCESS PACKED UNKNOWN KERNEL"),
        ({"kinds": ["core"]}, "PROCESS PACKED UNKNOWN"),
        ({"kinds": ["kernel"]}, "KERNEL"),
        ({"kinds": ["userland", "kdump-compressed"]}, "PROCESS PACKED UNKNOWN KERNEL"),
        ({"kinds": ["vmcore-elf"]}, ""),
        ({"executable": ["nginx"]}, "PROCESS PACKED UNKNOWN"),
        ({"executable": ["/usr/sbin/*"]}, "PROCESS PACKED UNKNOWN"),
        ({"executable": ["/usr/sbin/n*x"]}, "PROCESS PACKED UNKNOWN"),
        ({"executable": ["/opt/nginx"]}, "UNKNOWN"),
        ({"executable": ["/bin/*", "ng*"]}, "PROCESS PACKED UNKNOWN"),
        ({"executable": ["ginx"]}, ""),
        ({"signal": ["segv"]}, "PROCESS PACKED"),
        ({"signal": ["11", "ABRT"]}, "PROCESS PACKED"),
        ({"signal": ["SIGABRT"]}, ""),
        ({"min_size": "101"}, "PACKED"),
        ({"max_size": "4.9K"}, "PROCESS PACKED UNKNOWN KERNEL"),
        ({"min_size": "100", "max_size": "100"}, "PROCESS UNKNOWN KERNEL"),
        ({"newer_than": "1970-01-01T00:20:00Z"}, "PACKED"),
        ({"older_than": "1970-01-01T00:20:00Z"}, "PROCESS UNKNOWN KERNEL"),
        ({"kinds": ["core"], "signal": ["11"], "min_size": "1K"}, "PACKED"),
    ],
)
def test_what_is_kept(words, kept):
    wanted = filters.make(**words)
    every = (("PROCESS", PROCESS), ("PACKED", PACKED), ("UNKNOWN", UNKNOWN), ("KERNEL", KERNEL))
    assert [name for name, entry in every if filters.keeps(wanted, entry)] == kept.split()


def test_name_of_a_process_is_cut_by_the_kernel():
    entry = dict(UNKNOWN, process={"executable": None, "comm": "a-very-long-nam", "signal": None})
    assert filters.keeps(filters.make(executable=["a-very-long-name-indeed"]), entry)
    assert not filters.keeps(filters.make(executable=["a-very-long-cat"]), entry)


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("2h", NOW - 7200), ("3d", NOW - 259200), ("90 min", NOW - 5400), ("1.5h", NOW - 5400), ("1w", NOW - 604800),
        ("0s", NOW), ("2023-11-14T22:13:20Z", NOW), ("2023-11-14 23:13:20+01:00", NOW),
        ("2023-11-14t17:13:20-0500", NOW),
        ("2023-11-14T22:13Z", NOW - 20), ("2023-11-14", time.mktime((2023, 11, 14, 0, 0, 0, 0, 0, -1))),
    ],
)  # fmt: skip
def test_ages_and_dates(text, seconds):
    assert filters.moment(text, NOW) == int(seconds) * 10**9


@pytest.mark.parametrize("text", ["", "h", "2", "2 fortnights", "-2h", "2023-11", "yesterday", "1e9s", "2023-11-14T22"])
def test_what_is_no_age(text):
    with pytest.raises(UsageError, match="neither an age nor a date"):
        filters.moment(text, NOW)


@pytest.mark.parametrize(
    "text", ["2026-02-31", "2026-13-01", "2026-00-10", "2026-02-10T24:00Z", "2026-02-31T10:00Z", "2026-02-10T10:61"]
)
def test_date_that_no_calendar_has(text):
    with pytest.raises(UsageError, match="there is no " + text):
        filters.moment(text, NOW)


def test_signals_of_several_names():
    assert filters.signal_of("iot") == filters.signal_of("SIGABRT") == "SIGABRT"
    assert filters.signal_of("emt") == "SIGEMT"


@pytest.mark.parametrize(
    "text, size",
    [("0", 0), ("10M", 10 << 20), ("1.5 GiB", 3 << 29), ("2kb", 2048), ("7T", 7 << 40), ("512 bytes", 512)],
)
def test_sizes(text, size):
    assert filters.size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "10 M B", "1e3"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError, match="is no size"):
        filters.size(text)


@pytest.mark.parametrize("word", ["", "SIG SEGV", "1a", "*", "\xb2", "SEVG", "SIGBLOCK"])
def test_what_is_no_signal(word):
    with pytest.raises(UsageError, match="is no signal"):
        filters.signal_of(word)


def test_filters_on_real_stores(tmp_path):
    stores.put(tmp_path, "/proc/sys/kernel/core_pattern", "/cores/core.%p.%t")
    stores.put(tmp_path, "/cores/core.1.1700000000", elfwriter.process_core(signal=6).to_bytes())
    stores.put(tmp_path, "/cores/core.2.1700009000", elfwriter.process_core(signal=11).to_bytes())
    dump = kdumpwriter.kdump(kdumpwriter.Kdump(memory={0: bytes(4096)})).to_bytes()
    stores.put(tmp_path, "/var/crash/x/vmcore", dump)

    def found(**words):
        report = api.find(sysroot=str(tmp_path), filters=filters.make(**words))
        return sorted(os.path.basename(entry["path"]) for entry in report.entries), report.left_out

    assert found(kinds=["kernel"]) == (["vmcore"], 2)
    assert found(signal=["ABRT"]) == (["core.1.1700000000"], 2)
    assert found(newer_than="2023-11-15T00:00Z") == (["core.2.1700009000", "vmcore"], 1)
    assert found(older_than="2023-11-15T00:00Z") == (["core.1.1700000000"], 2)
    # A crash kernel's clock may be wrong by hours, or by decades: the time of the crash counts where it is known.
    os.utime(str(tmp_path / "cores/core.2.1700009000"), (1, 1))
    assert found(newer_than="2023-11-15T00:00Z") == (["core.2.1700009000", "vmcore"], 1)


def test_what_is_no_dump_is_never_one_that_was_left_out(tmp_path):
    stores.put(tmp_path, "core", elfwriter.process_core(signal=6).to_bytes())
    stores.put(tmp_path, "notes.txt", "of yesterday")
    for name in os.listdir(str(tmp_path)):
        os.utime(str(tmp_path / name), (1, 1))
    report = api.find([str(tmp_path)], filters=filters.make(newer_than="2h"))
    assert (report.entries, report.left_out) == ((), 1)
