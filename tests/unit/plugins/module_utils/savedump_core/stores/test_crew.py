# SPDX-License-Identifier: Apache-2.0
"""Thousands of dumps on all processors give what one after the other gives."""

import errno
import os
import signal
import threading

import pytest
from savedump_core.stores import _crew

COUNT = _crew.MIN_ITEMS + 77
ITEMS = list(range(COUNT))



def work(number):
    if number % 10 == 3:
        raise OSError(5, "no %d" % number)
    return None if number % 10 == 4 else {"number": number, "path": "/\udcff%d" % number, "by": os.getpid()}


def said(spread):
    for number, facts in spread:
        try:
            yield number, facts()
        except OSError as error:
            yield number, error.strerror


@pytest.fixture
def processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # the test runner may have some


def test_same_as_one_after_the_other(processors):
    given = ITEMS[:]
    found = list(said(_crew.spread(given, work)))
    assert [number for number, _facts in found] == ITEMS[::-1] and given == []
    for number, facts in found:
        if number % 10 == 3:
            assert facts == "no %d" % number
        elif number % 10 == 4:
            assert facts is None
        else:
            assert (facts["number"], facts["path"]) == (number, "/\udcff%d" % number)
    workers = {facts["by"] for _number, facts in found if isinstance(facts, dict)}
    assert len(workers) == 3 and os.getpid() not in workers
    assert not any(os.path.exists("/proc/%d" % process) for process in workers)


@pytest.mark.parametrize("count, threads, cores", [(10, 1, 3), (COUNT, 2, 3), (COUNT, 1, 1)])
def test_alone_where_it_is_no_use(monkeypatch, count, threads, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    found = [facts for _number, facts in said(_crew.spread(ITEMS[:count], work)) if isinstance(facts, dict)]
    assert {facts["by"] for facts in found} == {os.getpid()} and len(found) > count // 2


@pytest.mark.parametrize("spare", [0, 1])
def test_host_that_starts_no_more_processes(processors, monkeypatch, spare):
    started = []
    fork = os.fork

    def limited():
        if len(started) == spare:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(fork())
        return started[-1]

    monkeypatch.setattr(os, "fork", limited)
    found = list(said(_crew.spread(ITEMS[:], work)))
    assert [number for number, _facts in found] == ITEMS[::-1]
    assert {facts["by"] for _number, facts in found if isinstance(facts, dict)} == {os.getpid()}
    assert not any(os.path.exists("/proc/%d" % process) for process in started)


def test_process_that_is_killed_is_stood_in_for(processors):
    parent = os.getpid()

    def deadly(number):
        if number == COUNT - 500 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"number": number, "by": os.getpid()}

    found = list(said(_crew.spread(ITEMS[:], deadly)))
    assert [facts["number"] for _number, facts in found] == ITEMS[::-1]
    assert parent in {facts["by"] for _number, facts in found}


def test_who_is_ahead_waits_and_who_is_not_asked_any_more_ends(processors, tmp_path):
    def counted(number):
        with open(str(tmp_path / str(os.getpid())), "a") as file:
            file.write("x")
        return {"text": "x" * 1000}

    spread = _crew.spread(ITEMS[:], counted)
    next(spread)
    before = sum(path.stat().st_size for path in tmp_path.iterdir())
    spread.close()
    assert before < COUNT // 2
    names = [int(path.name) for path in tmp_path.iterdir()]
    assert len(names) >= 1 and not any(os.path.exists("/proc/%d" % process) for process in names)
