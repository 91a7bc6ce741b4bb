# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The far end of a fetch: commands that measure, hash and send one file on the target.

With a Python of any kind (2.7 to 3.x, python3-minimal too) or with nothing but POSIX sh and what is usually beside it.
The Python way opens without blocking and refuses what is no regular file. A command that hashes prints a line for each
chunk as it goes: it shows that it goes on, and it ends with the connection instead of reading on for nobody.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from typing import NamedTuple

# csh as a login shell takes no line end in quotes, so a program goes as one word; for Python 2.7, too.
_RUN = "import sys, base64; exec(base64.b64decode(sys.argv.pop(1)))"
# Whole blocks for dd, so that no GNU flag is needed.
BLOCK = 65536
# What dd holds while it hashes; every chunk is a whole number of them.
_HASH_BLOCK = 1 << 20
# How often "hash" shows that it goes on.
HASH_STEP = 4 << 20

_SCRIPT = r"""
import base64, hashlib, os, stat, sys
verb, name, ranges, step = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
out = getattr(sys.stdout, "buffer", sys.stdout)
try:
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
except OSError as error:
    sys.exit("savedump: " + error.strerror)
opened = os.fstat(fd)
if not stat.S_ISREG(opened.st_mode):
    sys.exit("savedump: not a regular file")
digest = hashlib.sha256()
for offset, length in [[int(word) for word in each.split("+")] for each in ranges.split(",") if each]:
    os.lseek(fd, offset, 0)
    while length > 0:
        left = min(length, step)
        length -= left
        while left:
            block = os.read(fd, min(left, 3 << 18))
            if not block:
                length = 0
                break
            left -= len(block)
            if verb in ("send", "send-hashed"):
                out.write(block)
            elif verb == "chunk":
                out.write(base64.b64encode(block) + b"\n")
            if verb not in ("send", "chunk"):
                digest.update(block)
        if verb == "hashes":
            out.write(("savedump-chunk %s\n" % digest.hexdigest()).encode())
            digest = hashlib.sha256()
        elif verb == "hash":
            out.write(b"savedump-going\n")
        out.flush()
st = os.fstat(fd)
# Unlike the time of last change, nobody sets this one back. Deleting sets it, too.
still = st.st_ctime == opened.st_ctime or not st.st_nlink
if verb == "hash" or verb == "send-hashed" and still:
    out.write(("savedump-sha256 %s\n" % digest.hexdigest()).encode())
if verb in ("stat", "send", "send-hashed"):
    when = getattr(st, "st_mtime_ns", int(st.st_mtime))
    out.write(("savedump-stat %d %d %d %d\n" % (st.st_size, when, st.st_ino, st.st_dev)).encode())
out.flush()
"""

_SH_STAT = (
    '[ -e "$f" ] || {{ echo "savedump: No such file or directory" >&2; exit 66; }}; '
    '[ -f "$f" ] || {{ echo "savedump: not a regular file" >&2; exit 65; }}; '
    '[ -r "$f" ] || {{ echo "savedump: Permission denied" >&2; exit 77; }}; '
    "s=$(stat -L -c '%s %Y %i %d' \"$f\" 2>/dev/null) || s=$(stat -L -f '%z %m %i %d' \"$f\" 2>/dev/null) || "
    's="$(wc -c < "$f") $(ls -Ldin "$f" | cut -c1-70)"; echo "savedump-stat" $s'
)
# t: a tool that works here; d: from block $1 on, $2 blocks.
_SH_TOOL = (
    "for t in sha256sum 'shasum -a 256' 'openssl dgst -sha256 -r' ''; do echo | $t >/dev/null 2>&1 && break; done; "
    '[ "$t" ] || {{ echo savedump-none; exit 0; }}; '
    'd() {{ dd bs={block} skip=$1 count=$2 2>/dev/null < "$f"; }}; '
)
# The line for each step goes past the pipe; when nobody reads it any more, it ends the pipe.
_SH_HASH = _SH_TOOL + (
    "exec 3>&1; h=$(i=0; while [ $i -lt {blocks} ]; do d $i {step}; echo savedump-going >&3; i=$((i+{step})); done | "
    "head -c {length} | $t) && echo savedump-sha256 $h"
)
_SH_HASHES = _SH_TOOL + (
    "i={first}; while [ $i -lt {last} ]; do h=$(d $i {step} | $t) || exit 74; echo savedump-chunk $h; "
    "i=$((i+{step})); done; "
    "[ {rest} = 0 ] || {{ h=$(d $i {step} | head -c {rest} | $t) && echo savedump-chunk $h; }}"
)
_SH_SEND = (
    's() {{ dd bs={block} skip=$1 2>/dev/null < "$f" | tail -c +$2 | head -c $3; }}; {ranges}'  # byte $2 of block $1
)
_SH_CHUNK = (
    'd() {{ dd bs={block} skip={skip} count={count} 2>/dev/null < "$f"; }}; '
    "if command -v base64 >/dev/null 2>&1; then d | base64; "
    "elif command -v openssl >/dev/null 2>&1; then d | openssl base64; "
    "else echo savedump-hex; d | od -An -v -tx1; fi"
)

# No file system knows a longer size, and int() of thousands of digits raises.
_STAT = re.compile(r"^savedump-stat\s+(\d{1,20})\s+(.+?)\s*$", re.MULTILINE)
_HASH = re.compile(r"^savedump-sha256\s+([0-9a-f]{64})\b", re.MULTILINE)
# With a pty, ssh says no more than this on stderr.
_SSH_ENDED = re.compile(r"(?:Shared c|C)onnection to \S+ closed\.?$")
_LISTED = re.compile(rb"savedump-chunk\s+([0-9a-f]{64})\b")


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
        return self._command("stat", (), 1, _SH_STAT.format())

    def hash(self, length):
        """Command for ``read_hash``: SHA-256 of the first ``length`` bytes."""
        script = _SH_HASH.format(
            block=_HASH_BLOCK, blocks=-(-length // _HASH_BLOCK), step=HASH_STEP // _HASH_BLOCK, length=length
        )
        return self._command("hash", ((0, length),), HASH_STEP, script)

    def hashes(self, offset, length, chunk):
        """Command that prints a line for ``listed`` for each ``chunk`` of ``length`` bytes from ``offset``.

        Offsets and chunks are whole multiples of 1 MiB; the last chunk may be shorter.
        """
        step = chunk // _HASH_BLOCK
        first = offset // _HASH_BLOCK
        last = first + length // chunk * step
        script = _SH_HASHES.format(block=_HASH_BLOCK, first=first, last=last, step=step, rest=length % chunk)
        return self._command("hashes", ((offset, length),), chunk, script)

    def send(self, ranges, hashed=False):
        """Command that prints the bytes of ``ranges``, (offset, length) each, and then what ``stat`` does. If they are
        to be ``hashed`` on the way, and a Python is there, a line for ``read_hash`` of them all comes before that,
        unless the file was written to meanwhile: what was read of two states proves itself, and no state."""
        script = _SH_SEND.format(
            block=BLOCK,
            ranges="".join("s %d %d %d; " % (at // BLOCK, at % BLOCK + 1, length) for at, length in ranges),
        )
        return self._command("send-hashed" if hashed else "send", ranges, 1 << 30, script + _SH_STAT.format())

    def chunk(self, offset, length):
        """Command for ``read_chunk``: ``length`` bytes from ``offset``, which is a multiple of BLOCK."""
        count = -(-length // BLOCK)
        script = _SH_CHUNK.format(block=BLOCK, skip=offset // BLOCK, count=count)
        return self._command("chunk", ((offset, length),), 1 << 30, script)

    def _command(self, verb, ranges, step, script):
        if self._python:
            spans = ",".join("%d+%d" % each for each in ranges)
            return python_command([self._python], _SCRIPT, verb, self._path, spans, str(step))
        return "/bin/sh -c %s" % shlex.quote("f=%s; %s" % (shlex.quote(self._path), script))


def python_command(python, program, *words):
    """The command line by which ``python``, a list of words, runs a program's text with ``words`` as its arguments."""
    packed = base64.b64encode(program.encode("ascii")).decode("ascii")
    return " ".join(shlex.quote(word) for word in [*python, "-c", _RUN, packed, *words])


def read_stat(text):
    """Stat, or None if the command did not print one."""
    found = _STAT.search(text)
    return Stat(size=int(found[1]), rest=found[2]) if found else None


def read_failure(reply):
    """Why a command failed, in one line, from what _low_level_execute_command returned (a pty joins both streams)."""
    lines = (reply["stdout"] + "\n" + reply["stderr"]).splitlines()
    ours = [line.strip()[len("savedump: ") :] for line in lines if line.startswith("savedump: ")]
    words = ours[-1:] or _spoken(reply["stderr"])[-3:]
    if not words and reply["rc"]:
        words = _spoken(reply["stdout"])[-1:]
    return "; ".join(words) or "exit status %d" % reply["rc"]


def _spoken(text):
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not _SSH_ENDED.match(line)]


def read_hash(text):
    """Hex, or None if the target has nothing that computes SHA-256, or did not say it."""
    found = _HASH.search(text)
    return found[1] if found else None


def listed(line):
    """The SHA-256 in a line (bytes) of ``hashes``, in hex; None if it is another line. What cannot compute one says so
    in the line b"savedump-none"."""
    found = _LISTED.match(line)
    return found[1].decode() if found else None


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
