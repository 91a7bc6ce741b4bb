# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The far end of a fetch: commands that measure, hash and send one file on the target.

With a Python of any kind (2.7 to 3.x, python3-minimal too) or with nothing but POSIX sh and what is usually beside it.
The Python way opens without blocking and refuses what is no regular file.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from typing import NamedTuple

# Whole blocks for dd, so that no GNU flag is needed.
BLOCK = 65536

_SCRIPT = r"""
import base64, hashlib, os, stat, sys
verb, name, offset, length = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
out = getattr(sys.stdout, "buffer", sys.stdout)
try:
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
except OSError as error:
    sys.exit("savedump: " + error.strerror)
st = os.fstat(fd)
if not stat.S_ISREG(st.st_mode):
    sys.exit("savedump: not a regular file")
if verb == "stat":
    when = getattr(st, "st_mtime_ns", int(st.st_mtime))
    out.write(("savedump-stat %d %d %d %d\n" % (st.st_size, when, st.st_ino, st.st_dev)).encode())
    sys.exit(0)
digest = hashlib.sha256()
os.lseek(fd, offset, 0)
while length:
    block = os.read(fd, min(length, 3 << 18))
    if not block:
        break
    length -= len(block)
    if verb == "hash":
        digest.update(block)
    elif verb == "chunk":
        out.write(base64.b64encode(block) + b"\n")
    else:
        out.write(block)
if verb == "hash":
    out.write(("savedump-sha256 %s\n" % digest.hexdigest()).encode())
out.flush()
"""

_SH_STAT = (
    '[ -e "$f" ] || {{ echo "savedump: No such file or directory" >&2; exit 66; }}; '
    '[ -f "$f" ] || {{ echo "savedump: not a regular file" >&2; exit 65; }}; '
    '[ -r "$f" ] || {{ echo "savedump: Permission denied" >&2; exit 77; }}; '
    "s=$(stat -L -c '%s %Y %i %d' \"$f\" 2>/dev/null) || s=$(stat -L -f '%z %m %i %d' \"$f\" 2>/dev/null) || "
    's="$(wc -c < "$f") $(ls -Ldin "$f" | cut -c1-70)"; echo "savedump-stat" $s'
)
_SH_HASH = (
    "for t in sha256sum 'shasum -a 256' 'openssl dgst -sha256 -r'; do "
    "command -v ${{t%% *}} >/dev/null 2>&1 || continue; "
    'h=$(head -c {length} < "$f" | $t) && {{ echo savedump-sha256 $h; exit 0; }}; done; exit 69'
)
_SH_SEND = 'exec tail -c +{start} < "$f"'
_SH_CHUNK = (
    'd() {{ dd bs={block} skip={skip} count={count} 2>/dev/null < "$f"; }}; '
    "if command -v base64 >/dev/null 2>&1; then d | base64; "
    "elif command -v openssl >/dev/null 2>&1; then d | openssl base64; "
    "else echo savedump-hex; d | od -An -v -tx1; fi"
)

_STAT = re.compile(r"^savedump-stat\s+(\d+)\s+(.+?)\s*$", re.MULTILINE)
_HASH = re.compile(r"^savedump-sha256\s+([0-9a-f]{64})\b", re.MULTILINE)


class Stat(NamedTuple):
    """What a file is known by before and after it was read."""

    size: int
    rest: str
    """Time of last change, inode, device: compared as text, since each tool prints them its own way."""


class FarEnd:
    """Commands for /bin/sh about one file. ``python`` is an interpreter on the target, or None."""

    def __init__(self, path, python):
        self._path = "./" + path if path.startswith("-") else path
        self._python = python

    def stat(self):
        """Command for ``read_stat``."""
        return self._command("stat", 0, 0, _SH_STAT.format())

    def hash(self, length):
        """Command for ``read_hash``: SHA-256 of the first ``length`` bytes."""
        return self._command("hash", 0, length, _SH_HASH.format(length=length))

    def send(self, offset, length):
        """Command that prints the bytes themselves; with sh it may print more than ``length`` if the file grew."""
        return self._command("send", offset, length, _SH_SEND.format(start=offset + 1))

    def chunk(self, offset, length):
        """Command for ``read_chunk``: ``length`` bytes from ``offset``, which is a multiple of BLOCK."""
        count = -(-length // BLOCK)
        script = _SH_CHUNK.format(block=BLOCK, skip=offset // BLOCK, count=count)
        return self._command("chunk", offset, length, script)

    def _command(self, verb, offset, length, script):
        if self._python:
            words = [self._python, "-c", _SCRIPT, verb, self._path, str(offset), str(length)]
            return " ".join(shlex.quote(word) for word in words)
        return "/bin/sh -c %s" % shlex.quote("f=%s; %s" % (shlex.quote(self._path), script))


def read_stat(text):
    """Stat, or None if the command did not print one."""
    found = _STAT.search(text)
    return Stat(size=int(found[1]), rest=found[2]) if found else None


def read_failure(reply):
    """Why a command failed, in one line, from what _low_level_execute_command returned (a pty joins both streams)."""
    lines = (reply["stdout"] + "\n" + reply["stderr"]).splitlines()
    ours = [line.strip()[len("savedump: ") :] for line in lines if line.startswith("savedump: ")]
    words = ours[-1:] or [line.strip() for line in reply["stderr"].splitlines() if line.strip()][-3:]
    return "; ".join(words) or "exit status %d" % reply["rc"]


def read_hash(text):
    """Hex, or None if the target has nothing that computes SHA-256."""
    found = _HASH.search(text)
    return found[1] if found else None


def read_chunk(text, length):
    """The bytes of a chunk, or None if the text is not what the command prints (each base64 line stands alone)."""
    lines = text.split()
    try:
        if lines[:1] == ["savedump-hex"]:
            data = binascii.unhexlify("".join(lines[1:]))
        else:
            data = b"".join(base64.b64decode(line, validate=True) for line in lines)
    except (binascii.Error, ValueError):
        return None
    return data[:length] if len(data) >= length else None
