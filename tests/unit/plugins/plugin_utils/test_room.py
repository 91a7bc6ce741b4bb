# SPDX-License-Identifier: Apache-2.0
"""Whether all archives of all hosts fit together, before one is fetched."""

import os

import pytest
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import space
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _room

MIB = 1 << 20


def archive(name, size, sha256="ab" * 32, **more):
    return dict({"path": "/var/tmp/savedump/" + name, "size": size, "sha256": sha256}, **more)


@pytest.fixture
def disk(monkeypatch):
    """disk(FREE): every folder lies on a disk with so many bytes free."""

    def make(free):
        monkeypatch.setattr(space, "room_of", lambda folder: space.Room("/dev/sdz1", "/srv", free))

    return make


def needed(dest, *hosts):
    return [each for host, archives in hosts for each in _room.coming(archives, str(dest), host)]


def test_all_hosts_together(tmp_path, disk):
    wanted = needed(tmp_path, ("web1", [archive("a.tar", 4 * MIB)]), ("web2", [archive("a.tar", 4 * MIB)]))
    disk(9 * MIB)
    assert _room.shortages(wanted) == {}
    disk(8 * MIB)
    refused = _room.shortages(wanted)
    assert sorted(refused) == ["web1", "web2"]
    words = "2 archives of 2 hosts need 9.0 MiB, and /srv (/dev/sdz1) on this machine has 8.0 MiB free: 1.0 MiB too few"
    assert words in refused["web1"]
    assert _room.shortages(wanted[:1]) == {}
    disk(None)  # a file system that does not say
    assert _room.shortages(wanted) == {}


def test_what_is_here_needs_no_room(tmp_path, disk):
    disk(MIB)
    (tmp_path / "web1").mkdir()
    (tmp_path / "web1/a.tar").write_bytes(bytes(4 * MIB))
    assert needed(tmp_path, ("web1", [archive("a.tar", 4 * MIB)])) == []
    # Other bytes under the name: it goes beside it.
    assert len(needed(tmp_path, ("web1", [archive("a.tar", 5 * MIB)]))) == 1
    os.rename(str(tmp_path / "web1/a.tar"), str(tmp_path / "web1/a-abababab.tar"))
    assert needed(tmp_path, ("web1", [archive("a.tar", 4 * MIB)])) == []


def test_what_has_come_of_it_needs_no_more_room(tmp_path, disk):
    (tmp_path / "web1").mkdir()
    (tmp_path / "web1/a.tar.part").write_bytes(bytes(3 * MIB))
    wanted = needed(tmp_path, ("web1", [archive("a.tar", 4 * MIB)]))
    disk(2 * MIB)
    assert _room.shortages(wanted) == {}
    disk(2 * MIB - 1)
    assert "1 archive of 1 host needs 2.0 MiB" in _room.shortages(wanted)["web1"]


def test_check_mode_goes_by_the_estimate(tmp_path, disk):
    wanted = needed(tmp_path / "none", ("web1", [archive("a.tar", None, None, estimated_size=4 * MIB)]))
    disk(4 * MIB)
    assert list(_room.shortages(wanted)) == ["web1"]
