# SPDX-License-Identifier: Apache-2.0
"""Whether all archives of all hosts fit together, before one is fetched."""

import os

import pytest
from ansible_collections.savedump.toolkit.plugins.action import savedump_room
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


@pytest.mark.parametrize("size", [20 * MIB, 10**18])
def test_a_giant_stops_no_other_host(tmp_path, disk, size):
    small = [archive("a.tar", 2 * MIB), archive("b.tar", 2 * MIB)]
    hosts = (("giant", [archive("a.tar", size)]), ("web1", [archive("a.tar", 5 * MIB)]), ("web2", small))
    wanted = needed(tmp_path, *hosts)
    disk(10 * MIB)
    refused = _room.shortages(wanted)
    assert list(refused) == ["giant"]
    assert refused["giant"].startswith("1 archive of 1 host needs ")
    disk(9 * MIB)
    refused = _room.shortages(wanted)
    assert list(refused) == ["giant", "web1", "web2"]
    # Not what the giant would need on top of it.
    assert refused["web1"].startswith("3 archives of 2 hosts need 10.0 MiB, and /srv (/dev/sdz1) on this machine has")


def test_each_disk_on_its_own(tmp_path, monkeypatch):
    (tmp_path / "web1").mkdir()
    on_other = str(tmp_path / "web1")
    real = os.stat

    def stat(path, **options):
        known = real(path, **options)
        return os.stat_result([*known[:2], -1, *known[3:10]]) if path == on_other else known

    monkeypatch.setattr(os, "stat", stat)
    free = {on_other: 2 * MIB}
    monkeypatch.setattr(space, "room_of", lambda folder: space.Room("", folder, free.get(folder, 8 * MIB)))
    wanted = needed(tmp_path, ("web1", [archive("a.tar", 4 * MIB)]), ("web2", [archive("a.tar", 6 * MIB)]))
    refused = _room.shortages(wanted)
    assert list(refused) == ["web1"] and "1 archive of 1 host needs 5.0 MiB" in refused["web1"]


@pytest.mark.parametrize("lie", ["text", "", -1, 1.5, [], {"a": 1}, 1 << 63, 10**400], ids=lambda lie: repr(lie)[:9])
@pytest.mark.parametrize("key", ["size", "estimated_size"])
def test_a_size_that_is_none_refuses_its_own_host_only(tmp_path, disk, key, lie):
    disk(9 * MIB)
    archives = dict.fromkeys(("size", "sha256", "estimated_size"), None)
    answers = {
        "web1": [archive("a.tar", 8 * MIB)],
        "liar": [archive("a.tar", MIB), dict(archive("b.tar", MIB), **dict(archives, **{key: lie}))],
        "web2": [archive("a.tar", 3 * MIB)],
    }
    result = room_of_all(tmp_path, answers)
    assert list(result["refused"]) == ["liar", "web1", "web2"]
    assert "makes no sense: the size of /var/tmp/savedump/b.tar is " in result["refused"]["liar"]
    assert "2 archives of 2 hosts need" in result["refused"]["web1"]
    assert result["needed"] == 11 * MIB and "web1, web2: 2 archives of 2 hosts need" in result["msg"]


@pytest.mark.parametrize("lie", [[3], [{}], 5, {"a": 1}, [{"path": [], "size": 1, "sha256": None}]], ids=repr)
def test_an_answer_without_sense_refuses_its_own_host_only(tmp_path, disk, lie):
    disk(9 * MIB)
    result = room_of_all(tmp_path, {"liar": lie, "web1": [archive("a.tar", MIB)]})
    assert list(result["refused"]) == ["liar"] and "makes no sense" in result["msg"]


def test_that_all_fits_is_said(tmp_path, disk):
    disk(9 * MIB)
    result = room_of_all(tmp_path, {"web1": [archive("a.tar", MIB)], "web2": []})
    assert (result["refused"], result["msg"]) == ({}, "1 archives to be fetched fit")


def room_of_all(dest, answers):
    action = savedump_room.ActionModule.__new__(savedump_room.ActionModule)
    action._vars = {"hostvars": {host: {"__collect_archived": {"archives": each}} for host, each in answers.items()}}
    return action.work({"dest": str(dest), "hosts": list(answers)}, "web1")
