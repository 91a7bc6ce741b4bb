# SPDX-License-Identifier: Apache-2.0
"""Where the kernel itself writes cores: kernel.core_pattern (core(5); fs/coredump.c, format_corename).

A relative pattern means the dead process's own working directory, which nothing records. So the working directories of
the processes that run now are looked at, for a service that died and was started again has the same one, and the
folders that administrators customarily point it to.
"""

import os
import re
from typing import Callable, Iterator, List, Pattern, Tuple, Union

from ..sysroot import Sysroot
from .place import Looked, folder

NAME = "core_pattern"

_NUMBERS = "pPiIugstdcCF"
_CUSTOMARY = ("/", "/root", "/tmp", "/var/tmp", "/var/crash", "/var/core", "/var/cores", "/cores")
_COMPRESSED = r"(\.zst|\.lz4|\.xz|\.gz|\.bz2)?"


def entries(sysroot: Sysroot) -> Iterator[Union[Looked, str]]:
    pattern = _read(sysroot)
    if pattern[:1] in ("|", "@"):
        yield Looked(NAME, pattern, "cores are handed to a program; look in its own store and give the path")
        return
    if pattern.startswith("/"):
        where, recursive = _fixed_folder(pattern)
        regex = _regex(pattern)
        yield from folder(NAME, sysroot.host_path(where), _matcher(regex, sysroot), recursive)
        return
    regex = re.compile(r"(?:^|.*/)" + _body(pattern) + r"(\.\d+)?" + _COMPRESSED + r"\Z", re.DOTALL)
    yield Looked(NAME, pattern, "relative: each core lies in its process's working directory")
    for where in _working_folders(sysroot):
        yield from folder(NAME, where, lambda path: regex.match(path) is not None)


def _read(sysroot: Sysroot) -> str:
    try:
        with open(sysroot.host_path("/proc/sys/kernel/core_pattern"), "rb") as file:
            return os.fsdecode(file.read(4096)).rstrip("\n") or "core"
    except OSError:
        return "core"


def _matcher(regex: Pattern, sysroot: Sysroot) -> Callable[[str], bool]:
    cut = 0 if sysroot.root == "/" else len(sysroot.root)
    return lambda path: regex.match(path[cut:]) is not None


def _regex(pattern: str) -> Pattern:
    # core_uses_pid appends ".PID" to a pattern without %p.
    return re.compile(_body(pattern) + r"(\.\d+)?" + _COMPRESSED + r"\Z", re.DOTALL)


def _body(pattern: str) -> str:
    parts: List[str] = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        index += 1
        if char != "%":
            parts.append(re.escape(char))
            continue
        letter = pattern[index : index + 1]
        index += 1
        if letter == "%":
            parts.append("%")
        elif letter in _NUMBERS and letter:
            parts.append(r"\d+")
        elif letter:
            # The kernel turns "/" within a name into "!".
            parts.append("[^/]*")
    return "".join(parts)


def _fixed_folder(pattern: str) -> Tuple[str, bool]:
    """The deepest folder that does not depend on the process, and whether cores lie below it rather than in it."""
    directory = os.path.dirname(pattern)
    if "%" not in directory:
        return directory, False
    return os.path.dirname(directory[: directory.index("%")]) or "/", True


def _working_folders(sysroot: Sysroot) -> List[str]:
    folders = set(_CUSTOMARY)
    if sysroot.root == "/":
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    folders.add(os.readlink("/proc/%s/cwd" % name))
                except OSError:
                    # The process ended, or is another user's.
                    continue
    hosts = (sysroot.host_path(path) for path in sorted(folders) if path.startswith("/"))
    return [path for path in hosts if os.path.isdir(path)]
