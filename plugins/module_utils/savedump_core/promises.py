# SPDX-License-Identifier: Apache-2.0
"""Who brings a file that many need: of several that receive archives side by side into one content store, one promises
to bring a file, and the others wait for it. A promise is a lock on a file in the store; it ends with its process."""

import fcntl
import os
from contextlib import ExitStack, contextmanager
from typing import FrozenSet, Iterable, Iterator, Optional

from .store import incoming_folder


@contextmanager
def promised(folder: str, names: Iterable[str]) -> Iterator[FrozenSet[str]]:
    """Those of `names`, SHA-256s in hex, that nobody else has promised to bring; they are promised meanwhile. Nobody
    waits for others while he holds promises: so two never wait for each other."""
    rooms = incoming_folder(folder)
    with ExitStack() as stack:
        yield frozenset(name for name in names if _take(os.path.join(rooms, name), stack))


def _take(path: str, stack: ExitStack) -> bool:
    descriptor = _locked(path)
    if descriptor is None:
        return False
    stack.callback(os.close, descriptor)
    stack.callback(os.unlink, path)  # before the lock goes
    return True


def _locked(path: str) -> Optional[int]:
    """None if another has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # whoever had it has kept his promise between our open and our lock
