# SPDX-License-Identifier: Apache-2.0
"""A session over Ansible's connection: every way in which the link breaks is one that the action tries again after."""

import pytest
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.remote.session import Broken
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _session, _talk


class Talk:
    """A Python is ready there, and takes nothing."""

    closed = False

    def __init__(self, take):
        self._take = take

    def listen(self):
        self._take(b"savedump-ready 3.11.2\n")
        return True

    def write(self, data):
        raise _talk.Broken("no byte taken for 5 seconds")

    def close(self):
        Talk.closed = True


@pytest.fixture
def ways(monkeypatch):
    """ways(talk) sets what begins a talk."""
    monkeypatch.setattr(_session._ways, "ways_for", lambda action: ("ssh-own", "ssh-shared", "chunks"))
    return lambda talk: monkeypatch.setattr(_session._ways, "talk", talk)


def test_a_host_that_takes_nothing(ways):
    ways(lambda action, way, command, take, *more, **options: Talk(take))
    with pytest.raises(Broken, match="no byte taken for 5 seconds"), _session.opened(None, "python3", 5, 0):
        raise AssertionError("it is not open")
    assert Talk.closed


def test_a_link_that_breaks_before_a_word_is_said(ways):
    def talk(*words, **options):
        raise _talk.Broken("no session: timed out")

    ways(talk)
    with pytest.raises(Broken, match="no session: timed out"), _session.opened(None, "python3", 5, 0):
        raise AssertionError("it is not open")


def test_each_way_is_tried_until_all_refuse(ways):
    tried = []

    def talk(action, way, *words, **options):
        tried.append(way)
        raise _talk.Refused("no " + way)

    ways(talk)
    with pytest.raises(_talk.Refused, match="no ssh-shared"), _session.opened(None, "python3", 5, 0):
        raise AssertionError("it is not open")
    assert tried == ["ssh-own", "ssh-shared"]
