# SPDX-License-Identifier: Apache-2.0
"""What stores share: what they yield, and the walk over a folder."""

import os
from typing import Callable, Iterator, NamedTuple, Optional, Union


class Looked(NamedTuple):
    """One place where dumps may live."""

    store: str
    where: str
    """The folder, or the file that was passed over."""
    outcome: str
    """Why nothing could be found here; "" if it could: then the dumps are those that came just before."""


class Spotted(NamedTuple):
    """A file whose place and name say that it is a dump: one that cannot be opened is worth a word."""

    path: str
    unfinished: Optional[str] = None
    """Why it is not whole, by its name or by what its writer says of it; None if nothing speaks against it."""
    in_progress: bool = False
    """True if it is not whole yet, but may become so."""


class Log(NamedTuple):
    """What is left of a crash where there is no dump: text that a person can read."""

    store: str
    path: str
    what: str


def folder(
    store: str, where: str, wanted: Callable[[str], bool], recursive: bool = False
) -> Iterator[Union[Looked, str]]:
    """The files in a folder whose path is wanted, then a Looked; links are not followed."""
    try:
        os.listdir(where)
    except OSError as error:
        yield Looked(store, where, error.strerror or str(error))
        return
    for top, folders, files in os.walk(where):
        if not recursive:
            del folders[:]
        folders.sort()
        for name in sorted(files):
            path = os.path.join(top, name)
            if wanted(path):
                yield path
    yield Looked(store, where, "")
