# SPDX-License-Identifier: Apache-2.0
"""What firmware or reserved memory kept of a kernel that died: its last words, part of the log. There is nothing in it
that a debugger could open, so these are listed as logs and never as dumps.

/sys/fs/pstore has them as files, each a part of some KiB (kernel, Documentation/ABI/testing/pstore); systemd-pstore(8)
moves them below /var/lib/systemd/pstore when a system starts, and puts their parts together into dmesg.txt there.
"""

import os
import re
from typing import Iterator, List, Union

from ..sysroot import Refused, Sysroot, regular_file
from .place import Log, Looked

NAME = "pstore"

_PLACES = ("/sys/fs/pstore", "/var/lib/systemd/pstore")
# dmesg-efi-170000000001001, dmesg-ramoops-0, dmesg-erst-1; ".enc.z" if the kernel could not unpack it.
_RECORD = re.compile(r"dmesg-[\w-]+(\.enc\.z)?\Z")
# The first line of a record (fs/pstore/platform.c, pstore_dump): why it was written, the count, the part.
_REASON = re.compile(rb"([A-Z][A-Za-z ]*)#(\d+) Part(\d+)\n")
# What two years of a machine that crashes daily leave.
MAX_LOGS = 1000


def entries(sysroot: Sysroot) -> Iterator[Union[Looked, Log]]:
    for place in _PLACES:
        try:
            where = sysroot.resolve(place).host_path
            os.listdir(where)
        except OSError as error:
            yield Looked(NAME, sysroot.host_path(place), error.strerror or str(error))
            continue
        count = 0
        shut: List[OSError] = []
        for path in _logs(where, shut):
            count += 1
            yield Log(NAME, path, _what(path))
            if count >= MAX_LOGS:
                break
        for one in shut:
            yield Looked(NAME, one.filename, one.strerror or str(one))
        more = " or more" if count >= MAX_LOGS else ""
        found = "%d%s logs of crashes, no dump" % (count, more) if count > 1 else "1 log of a crash, no dump"
        yield Looked(NAME, where, found if count else "no log of a crash")


def _logs(where: str, shut: List[OSError]) -> Iterator[str]:
    """Their paths; `shut` gets why folders could not be read."""
    for top, folders, names in os.walk(where, onerror=shut.append):
        folders.sort()
        # dmesg.txt has in one what the records beside it, or in the folders below it, have in parts.
        if "dmesg.txt" in names:
            yield os.path.join(top, "dmesg.txt")
            del folders[:]
            continue
        records: List[str] = sorted(name for name in names if _RECORD.match(name))
        for name in records:
            yield os.path.join(top, name)


def _what(path: str) -> str:
    if path.endswith(".enc.z"):
        return "the kernel's last words, compressed in a way that the kernel could not undo"
    try:
        with regular_file(path) as file:
            match = _REASON.match(file.read(64))
    except (OSError, Refused) as error:
        return "the kernel's last words, not readable: %s" % error
    if match is None:
        return "the kernel's last words"
    reason, count, part = (word.decode("ascii") for word in match.groups())
    return "the kernel's last words: %s %s, part %s" % (reason, count, part)
