# SPDX-License-Identifier: Apache-2.0
"""A transfer that is cut off again and again, each time at a random moment, until it has borne so many cuts."""

import concurrent.futures
import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import NamedTuple

KINDS = ("link", "sshd", "control")


class Cut(NamedTuple):
    """One cut, and what it cost."""

    kind: str
    at: int
    """Bytes that were on the control host then."""
    sent_again: int
    """Bytes that left the host's network card since the cut before, all protocols and Ansible's own words included,
    beyond those by which the file grew."""


def survive(run, whole, host, part, final, size, count, seed):
    """Begin ``run`` whenever it is not running, and cut it off ``count`` times; a Cut for each.

    ``run`` returns when the transfer's process has ended, however it did, and bears ``part`` in its arguments. When the
    file is there under its ``final`` name, ``whole`` is called, which takes it away: the next one begins.
    """
    chance = random.Random(seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    chance.shuffle(kinds)
    cuts = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running, last = None, (host.bytes_sent(), 0)
        try:
            while len(cuts) < count:
                if running is None or running.done():
                    if running:
                        running.result()
                    if final.exists():
                        whole()
                        last = (host.bytes_sent(), 0)
                    running = pool.submit(run)
                if not _moment(chance, running, part, last[1]):
                    continue
                kind = kinds[len(cuts)]
                _cut(kind, host, final.parent.parent, chance)
                now = (host.bytes_sent(), size if final.exists() else _size(part))
                cuts.append(Cut(kind, now[1], now[0] - last[0] - (now[1] - last[1])))
                last = now
                if kind == "link":
                    time.sleep(chance.choice((0, 0, 1, 4)))  # less and more than the stall timer waits
                    host.restore_link()
        finally:
            host.restore_link()
            concurrent.futures.wait([running] if running else [])
        deadline = time.monotonic() + 300
        while not final.exists():
            if time.monotonic() > deadline:
                raise AssertionError("left alone, it does not end")
            pool.submit(run).result()
        whole()
    return cuts


def _moment(chance, running, part, since):
    """Wait for a random moment, either of the file's growth or of time; False if the run ended before."""
    grown, seconds = since + chance.randrange(12 << 20), chance.uniform(0.5, 4)
    by_time = chance.random() < 0.3
    begun = time.monotonic()
    while not running.done():
        if time.monotonic() - begun > seconds if by_time else _size(part) > grown:
            return True
        time.sleep(0.002)
    return False


def _cut(kind, host, dest, chance):
    if kind == "link":
        host.cut_link()
        time.sleep(0.5 + chance.random())  # what was under way has come
    elif kind == "sshd":
        host.run("pkill -KILL -f '^sshd: admin'", check=False)
        time.sleep(0.3)
    else:
        for pid in _ours(dest):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(1.5)  # its workers notice it within a second


def _ours(dest):
    """Children of this process that bear ``dest`` in their arguments: ansible itself, not its workers."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and os.fsencode(str(dest)) in (entry / "cmdline").read_bytes():
                yield int(entry.name)


def _size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
