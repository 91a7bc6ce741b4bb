# SPDX-License-Identifier: Apache-2.0
"""Not a place of the host's, but the paths a user gives: files as they are, folders with all that is below them."""

import os
from functools import partial
from typing import Iterator, Tuple, Union

from . import abrt, apport, core_dump_handler, kdump, systemd_coredump
from .place import Looked, Spotted, folder

NAME = "given"


def entries(paths: Tuple[str, ...]) -> Iterator[Union[Looked, Spotted]]:
    for path in paths:
        if not os.path.isdir(path):
            yield judged(path)
            continue
        for item in folder(NAME, path, _any, recursive=True, links=True):
            yield item if isinstance(item, Looked) else judged(item)._replace(sure=False)


def judged(path: str) -> Spotted:
    """The file, with what its store would say of it: people copy whole stores."""
    name = os.path.basename(path)
    if systemd_coredump.named_so(path):
        return Spotted(path, tell=partial(systemd_coredump.tell_of, path, None))
    if name.endswith(".crash"):
        return Spotted(path, tell=partial(apport.tell_of, path))
    if name.endswith(".zip"):
        return Spotted(path, tell=partial(core_dump_handler.tell_of, path))
    if name.startswith("coredump"):
        return Spotted(path, tell=partial(abrt.tell_of, os.path.dirname(path)))
    return kdump.judged(path)


def _any(path: str) -> bool:
    return True
