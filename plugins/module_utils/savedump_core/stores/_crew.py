# SPDX-License-Identifier: Apache-2.0
"""Thousands of dumps on all processors: processes of our own look at them and hand over what they saw. Threads would
wait for each other, since most of it is Python."""

import json
import os
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import IO, Any, Callable, Iterator, List, Optional, Tuple, TypeVar

from ..model import Json

_Item = TypeVar("_Item")
Work = Callable[[], Optional[Json]]

# Below that, starting them takes longer than they save.
MIN_ITEMS = 2000
# A host in trouble has other work to do.
_MOST = 4
_BATCH = 32
# What a process could not say in JSON, an exception above all: whoever asks sees for himself.
_AGAIN = False


def spread(items: List[_Item], work: Callable[[_Item], Optional[Json]]) -> Iterator[Tuple[_Item, Work]]:
    """Each of `items`, from the last to the first, and a function that gives what `work` makes of it, or raises what it
    raises. The list is emptied. Memory does not grow with it: who is ahead waits."""
    count = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, _MOST)
    # To fork beside threads is to inherit what they hold.
    alone = count < 2 or len(items) < MIN_ITEMS or threading.active_count() > 1
    crew: List[Tuple[int, IO[bytes]]] = []
    try:
        # A host in trouble may have no process to spare.
        with suppress(OSError):
            while not alone and len(crew) < count:
                crew.append(_started(items, work, len(crew), count))
        while items and len(crew) < count:
            item = items.pop()
            yield item, partial(work, item)
        turn = 0
        while items:
            pipe = crew[turn % count][1]
            seen = _batch(pipe.readline())
            for number in range(min(_BATCH, len(items))):
                item = items.pop()
                facts: Any = seen[number] if number < len(seen) else _AGAIN
                yield item, partial(work, item) if facts is _AGAIN else partial(_same, facts)
            turn += 1
    finally:
        for process, pipe in crew:
            pipe.close()
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _same(facts: Optional[Json]) -> Optional[Json]:
    return facts


def _batch(line: bytes) -> List[Any]:
    """Nothing of a process that died."""
    return list(json.loads(line.decode("ascii"))) if line.endswith(b"\n") else []


def _started(
    items: List[_Item], work: Callable[[_Item], Optional[Json]], number: int, count: int
) -> Tuple[int, IO[bytes]]:
    """A process that takes every `count`-th batch, and the pipe on which it says what it saw, a line for each."""
    reading, writing = os.pipe()
    try:
        process = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if process:
        os.close(writing)
        return process, os.fdopen(reading, "rb")
    try:
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            for start in range(number * _BATCH, len(items), count * _BATCH):
                batch = items[max(0, len(items) - start - _BATCH) : len(items) - start]
                pipe.write(json.dumps([_seen(item, work) for item in reversed(batch)]).encode("ascii") + b"\n")
                pipe.flush()
    finally:
        os._exit(0)  # nothing of the parent's is to be ended twice


def _seen(item: _Item, work: Callable[[_Item], Optional[Json]]) -> Any:
    try:
        return work(item)
    except Exception:  # told by who asks for it, with the words that belong to it
        return _AGAIN
