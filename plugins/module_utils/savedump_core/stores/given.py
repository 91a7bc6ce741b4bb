# SPDX-License-Identifier: Apache-2.0
"""Not a place of the host's, but the paths a user gives: files as they are, folders with all that is below them."""

import os
from functools import partial
from typing import Callable, Iterator, Optional, Tuple, Union

from ..model import Json
from ..sysroot import Sysroot
from . import abrt, apport, core_dump_handler, kdump, systemd_coredump
from .place import MAX_FILES, Looked, Spotted, folder

NAME = "given"


def entries(paths: Tuple[str, ...], sysroot: Sysroot) -> Iterator[Union[Looked, Spotted]]:
    tidied = apport.tidied(sysroot)
    expires = partial(_expires, tidied) if tidied else None
    for path in paths:
        if not os.path.isdir(path):
            yield judged(path)._replace(expires=expires)
            continue
        for item in folder(NAME, path, _any, depth=MAX_FILES, links=True):
            yield item if isinstance(item, Looked) else judged(item)._replace(expires=expires, sure=False)


def _expires(tidied: Callable[[str], Optional[Json]], path: str) -> Optional[Json]:
    return tidied(os.path.abspath(path))


def judged(path: str) -> Spotted:
    """The file, with what its store would say of it: people copy whole stores."""
    name = os.path.basename(path)
    if systemd_coredump.named_so(path):
        return Spotted(path, tell=systemd_coredump.tell_alone)
    if name.endswith(".crash"):
        return Spotted(path, tell=apport.tell_of)
    if name.endswith(".zip"):
        return Spotted(path, tell=core_dump_handler.tell_of)
    if name.startswith("coredump"):
        return Spotted(path, tell=abrt.tell_of)
    return kdump.judged(path)


def _any(path: str) -> bool:
    return True
