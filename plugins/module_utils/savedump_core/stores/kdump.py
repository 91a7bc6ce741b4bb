# SPDX-License-Identifier: Apache-2.0
"""Where crash kernels leave what they save of the kernel that crashed:

Debian, Ubuntu (kdump-tools)    DIR/[HOST-]STAMP/dump.STAMP[.gz|.bz2|.lz4|.xz|.zst], else vmcore.STAMP; dmesg.STAMP
RHEL, Fedora (kdump-utils)      DIR/IP-YYYY-mm-dd-HH:MM:SS/vmcore, over ssh vmcore.flat; vmcore-dmesg.txt
SUSE (kdump)                    DIR/YYYY-mm-dd-HH-MM/vmcore; dmesg.txt, README.txt
SONiC, kdumpst                  DIR/STAMP/kdump.STAMP, DIR/kdumpst/crash/[STAMP/]vmcore[.STAMP|.compressed]

The names of files decide, not those of folders: administrators move dumps, and servers hold those of many hosts. What
is not whole yet is called dump-incomplete or vmcore-incomplete, and is renamed at the end; SUSE says it in README.txt.
"""

import os
import re
from typing import Iterator, List, Optional, Tuple, Union

from ..sysroot import Refused, Sysroot, regular_file
from ._kdump_limits import Expires, Expiry
from ._kdump_settings import targets
from .place import Log, Looked, Spotted, changed_just_now

NAME = "kdump"

# A number behind it is a STAMP, or a part of a split set. ".tmp" is what dinit's and runit's scripts rename.
_DUMP = re.compile(
    r"(?:vmcore|k?dump)(?:[-.]?\d+)?(?:\.flat|\.compressed)?(?P<unfinished>-incomplete|\.tmp)?"
    r"(?:\.(?:gz|bz2|lz4|xz|zst|zstd|lzo))?\Z"
)
LOG = re.compile(r"(?:vmcore-dmesg(?:-incomplete)?\.txt|dmesg(?:\.txt|\.\d{8,14})?)\Z")
"""The names of the log that a crash kernel wrote."""
_STATUS = re.compile(rb"^vmcore status: (.*)$", re.MULTILINE)
# dracut/kdump-save, before the dump.
_NOT_YET = b"This file will be overwritten when the dump is finished"

# DIR/kdumpst/crash/STAMP is the deepest that is known.
_DEPTH = 3
# Folders of one place; a dump server has one for each crash of each host.
MAX_FOLDERS = 20000


def entries(sysroot: Sysroot) -> Iterator[Union[Looked, Spotted, Log]]:
    expiry = Expiry(sysroot)
    seen = set()
    for target in targets(sysroot):
        if target.folder is None:
            yield Looked(NAME, target.where, target.why)
            continue
        try:
            where = sysroot.resolve(target.folder).host_path
        except OSError as error:
            where = sysroot.host_path(target.folder)
            if where not in seen:
                yield Looked(NAME, where, error.strerror or str(error))
            seen.add(where)
            continue
        if where not in seen:
            seen.add(where)
            yield from _below(where, expiry)


def _below(top: str, expiry: Expiry) -> Iterator[Union[Looked, Spotted, Log]]:
    todo: List[Tuple[str, int]] = [(top, 0)]
    looked_at = 0
    expires: Optional[Expires] = None
    while todo:
        where, depth = todo.pop()
        try:
            names, folders = _listing(where)
        except OSError as error:
            yield Looked(NAME, where, error.strerror or str(error))
            if where == top:
                return
            continue
        if where == top:
            expires = expiry.below(top, folders)
        yield from _dumps(where, names, depth, expires)
        looked_at += 1
        if looked_at + len(todo) + len(folders) > MAX_FOLDERS:
            yield Looked(NAME, where, "too many folders: those below were not looked into")
        elif depth < _DEPTH:
            todo.extend((os.path.join(where, name), depth + 1) for name in reversed(folders))
    yield Looked(NAME, top, "")


def _listing(where: str) -> Tuple[List[str], List[str]]:
    """The names of a folder's files and of its folders; links are neither."""
    names, folders = [], []
    with os.scandir(where) as listed:
        for entry in listed:
            if entry.is_file(follow_symlinks=False):
                names.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
    return sorted(names), sorted(folders)


def _dumps(where: str, names: List[str], depth: int, expires: Optional[Expires]) -> Iterator[Union[Spotted, Log]]:
    dumps = [name for name in names if _DUMP.match(name)]
    for name in dumps:
        yield judged(os.path.join(where, name))._replace(expires=expires)
    logs = [name for name in names if LOG.match(name)]
    if logs and depth and not dumps:
        yield Log(NAME, os.path.join(where, logs[0]), "the kernel's log of a crash that no dump was saved of")


def judged(path: str) -> Spotted:
    """The file, and why it is not whole if its name or the README.txt beside it says so."""
    folder, name = os.path.split(path)
    match = _DUMP.match(name)
    if match is None:
        return Spotted(path)
    if not match.group("unfinished"):
        return Spotted(path, *_by_readme(path))
    writing = changed_just_now(path)
    words = "it is being written" if writing else "whoever wrote it did not finish"
    return Spotted(path, "%s: a crash kernel calls it %s until it is whole" % (words, name), writing)


def _by_readme(path: str) -> Tuple[Optional[str], bool]:
    """What SUSE's README.txt has against the dump beside it, and whether that may become better: it is written before
    the dump, and once more when that is whole."""
    try:
        with regular_file(os.path.join(os.path.dirname(path), "README.txt")) as file:
            text = file.read(1 << 16)
    except (OSError, Refused):
        return None, False
    if _NOT_YET in text:
        writing = changed_just_now(path)
        words = "it is being written" if writing else "kdump did not finish it"
        return "%s: README.txt beside it was not overwritten yet" % words, writing
    match = _STATUS.search(text)
    if match is None or match.group(1).strip() == b"saved successfully":
        return None, False
    said = match.group(1).decode("utf-8", "replace").strip()
    return "README.txt beside it says: vmcore status: %s" % said, False
