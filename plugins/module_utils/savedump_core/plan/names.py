# SPDX-License-Identifier: Apache-2.0
"""The names that stand in every archive, and names from a dump made fit to stand there."""

import os
import re
from typing import List, Optional

OWN = ".savedump"
DUMP_LINK = OWN + "/dump"
BUILD_ID_TREE = "usr/lib/debug/.build-id"
FIRST, LAST = "manifest.json", "SHA256SUMS"

_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@%:,~-]")
# NAME_MAX of Linux's file systems is 255 bytes; room for "archive-", an identity and a suffix.
MAX_NAME = 180


def safe_name(name: str) -> str:
    """A dump's base name (core_pattern puts the program's own name into it) as a name that no shell, terminal or tar
    can be tricked by: what is not plain becomes "_"."""
    return _UNSAFE.sub("_", name)[:MAX_NAME].lstrip("-.") or "dump"


def member_path(path: str) -> Optional[str]:
    """A path of the process as a member's: relative, without "." and "..". None if it has ".." or nothing left."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in path:
        return None
    return "/".join(parts)


def parents(path: str) -> List[str]:
    """The folders that a member's path implies."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def relative_link(link: str, target: str) -> str:
    """The target as seen from the link's own folder."""
    return os.path.relpath("/" + target, os.path.dirname("/" + link))
