# SPDX-License-Identifier: Apache-2.0
"""Old archives go in their order; the newest of a host, and what is still on a host, never."""

import os

import pytest

from savedump_core.retention import HostArchive, Policy, collected, doomed, is_ours

DAY = 86400 * 10**9
NOW = 1000 * DAY


def archives(*rows):
    """(host, name, age in days, size) each."""
    made = [HostArchive("/dest/%s/%s" % row[:2], row[0], row[3], NOW - row[2] * DAY) for row in rows]
    return sorted(made, key=lambda one: one.mtime_ns)


FOUND = archives(("web1", "a", 40, 5), ("web1", "b", 20, 5), ("web1", "c", 3, 5), ("web2", "d", 50, 7))


@pytest.mark.parametrize(
    "policy, gone",
    [
        (Policy(), ""),
        (Policy(days=30), "a"),
        (Policy(days=1), "ab"),
        (Policy(archives=2), "a"),
        (Policy(archives=1), "ab"),
        (Policy(archives=0), "ab"),
        (Policy(size=22), ""),
        (Policy(size=21), "a"),
        (Policy(size=1), "ab"),
        (Policy(days=30, size=12), "ab"),
    ],
)
def test_the_oldest_first_and_never_the_newest(policy, gone):
    assert "".join(each.archive.path[-1] for each in doomed(FOUND, policy, set(), NOW)) == gone


def test_what_is_still_on_its_host_stays():
    """Or the next run would fetch it, and the one after that remove it again."""
    stay = {"/dest/web1/a"}
    assert [each.archive.path for each in doomed(FOUND, Policy(days=1), stay, NOW)] == ["/dest/web1/b"]


def test_only_what_bears_an_archives_name_in_a_hosts_folder(tmp_path):
    for folder in ("web1", ".incoming", "store/buildid"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("web1/x.tar.gz", "web1/y.tar", "web1/z.tar.zst", "web1/x.tar.gz.part", "web1/.hidden.tar", "top.tar",
                 "web1/notes.txt", ".incoming/w.tar", "store/buildid/v.tar"):  # fmt: skip
        (tmp_path / name).write_bytes(b"12345")
    os.symlink("x.tar.gz", str(tmp_path / "web1/link.tar.gz"))
    found = collected(str(tmp_path))
    assert sorted((one.host, os.path.basename(one.path)) for one in found) == [
        ("web1", "x.tar.gz"), ("web1", "y.tar"), ("web1", "z.tar.zst")
    ]  # fmt: skip
    assert {one.size for one in found} == {5}
    assert not any(is_ours(one.path) for one in found)
    assert collected(str(tmp_path / "none")) == []
