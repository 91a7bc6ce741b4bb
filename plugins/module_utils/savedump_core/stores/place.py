# SPDX-License-Identifier: Apache-2.0
"""What stores share: a record of where was looked, and the walk over a folder."""

import os
from typing import Callable, Iterator, NamedTuple, Union


class Looked(NamedTuple):
    """One place where dumps may live."""

    store: str
    where: str
    """The folder, or the file that was passed over."""
    outcome: str
    """Why nothing could be found here; "" if it could: then the dumps are those that came just before."""


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
