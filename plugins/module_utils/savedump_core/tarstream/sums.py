# SPDX-License-Identifier: Apache-2.0
"""SHA256SUMS as sha256sum(1) of GNU coreutils writes and checks it. A digest that sha256sum knows nothing of stands in
a comment, which it passes over."""

import os
import re
from typing import Dict

from ..errors import BadDump
from .sparse import SHA256, SHA256_STORED, Digest

_LINE = re.compile(rb"(# sha256-stored )?(\\?)([0-9a-f]{64})  (.+)", re.DOTALL)
_UNESCAPED = {b"\\n": b"\n", b"\\r": b"\r", b"\\\\": b"\\"}


def sums_line(name: str, digest: Digest) -> bytes:
    """One line, newline included. A name with a backslash or newline is escaped, which a backslash before the hash
    tells (coreutils manual, "cksum output modes")."""
    raw = os.fsencode(name)
    escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    mark = b"\\" if escaped != raw else b""
    prefix = b"# sha256-stored " if digest.algorithm == SHA256_STORED else b""
    return b"%s%s%s  %s\n" % (prefix, mark, digest.hex.encode("ascii"), escaped)


def parse_sums(content: bytes) -> Dict[str, Digest]:
    """Digests by name. Raises BadDump for a line that is none, and for a name with two digests."""
    sums: Dict[str, Digest] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            if line and not line.startswith(b"#"):
                raise BadDump("SHA256SUMS: line %d is no digest and name" % number)
            continue
        stored, mark, digest, name = match.groups()
        if mark:
            name = re.sub(rb"\\.", lambda escape: _UNESCAPED.get(escape.group(), escape.group()), name)
        key = os.fsdecode(name)
        if key in sums:
            raise BadDump("SHA256SUMS: line %d names a file a second time" % number)
        sums[key] = Digest(SHA256_STORED if stored else SHA256, digest.decode("ascii"))
    return sums
