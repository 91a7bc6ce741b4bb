# SPDX-License-Identifier: Apache-2.0
"""The files in a package, front to back, whatever the package is.

A .deb is ar(5) with control.tar and data.tar in it (deb(5)); an .apk is up to three tars, each compressed with gzip, of
which all but the last lack their end, so that together they are one (apk-tools 2); pacman has one compressed tar. For
.rpm see `rpm`.
"""

import os
import posixpath
from typing import Any, Callable, Dict, Iterator, NamedTuple

from ..errors import BadDump
from ..tarstream import reader as tar
from . import rpm
from .owners import fields
from .stream import Part, decompressed

_AR = b"!<arch>\n"
_AR_HEADER = 60
# ar members before data.tar: debian-binary, control.tar and perhaps a signature.
_MAX_PARTS = 16
# debian/control is a few KiB; Build-Ids of a large debug package some hundred.
_MAX_CONTROL = 4 << 20


class Member(NamedTuple):
    """A regular file or a symbolic link."""

    path: str
    """Where it is to be installed: absolute, without "." or ".."."""
    size: int
    target: str
    """Of a symbolic link, else ""."""
    chunks: Callable[[], Iterator[bytes]]
    """Its content, once, before the next member is asked for."""


def members(file: Any) -> Iterator[Member]:
    """What the package that is open here installs. Raises BadDump for what is no package or is damaged, from where on
    nothing can be read; ToolMissing for a codec that is not at hand; OSError."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(8)
    if head == _AR:
        yield from _of_tar(decompressed(_ar_part(file, "data.tar"), size))
    elif head[:4] == rpm.LEAD:
        yield from _of_rpm(file, size)
    else:
        file.seek(0)
        yield from _of_tar(decompressed(file, size))


def control(file: Any) -> Dict[str, str]:
    """The fields of a .deb's control file. Raises BadDump, ToolMissing, OSError."""
    file.seek(0)
    if file.read(8) != _AR:
        raise BadDump("it is no .deb")
    part = _ar_part(file, "control.tar")
    for member in tar.members(decompressed(part, part.left)):
        if member.kind == tar.FILE and posixpath.normpath(member.name) == "control":
            if member.size > _MAX_CONTROL:
                raise BadDump("its control file is %d bytes" % member.size)
            return fields(b"".join(member.chunks()))
    raise BadDump("it has no control file")


def _ar_part(file: Any, name: str) -> Part:
    """The member of this name, with any suffix."""
    for _count in range(_MAX_PARTS):
        header = file.read(_AR_HEADER)
        digits = header[48:58].strip()
        if len(header) < _AR_HEADER or header[58:] != b"`\n" or not digits.isdigit():
            break
        if header[:16].decode("ascii", "replace").rstrip(" /").startswith(name):
            return Part(file, int(digits))
        file.seek(int(digits) + int(digits) % 2, os.SEEK_CUR)
    raise BadDump("it has no %s" % name)


def _of_tar(stream: Any) -> Iterator[Member]:
    for member in tar.members(stream):
        path = installed(member.name)
        if path and member.kind == tar.SYMLINK:
            yield Member(path, 0, member.target, lambda: iter(()))
        elif path and member.kind == tar.FILE and member.extents is None:
            yield Member(path, member.size, "", member.chunks)


def _of_rpm(file: Any, size: int) -> Iterator[Member]:
    header = rpm.read_header(file)
    for item in rpm.payload(decompressed(file, size), header):
        path = installed(item.path)
        if path:
            yield Member(path, item.size, item.target, item.chunks)


def installed(name: str) -> str:
    """The absolute path of a member's name ("./usr/bin/x"); "" for one that climbs."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "" if ".." in parts else "/" + "/".join(parts)
