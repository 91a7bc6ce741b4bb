# SPDX-License-Identifier: Apache-2.0
"""What the journal tells of crashes: one call of journalctl for all of them, where it is there.

COREDUMP_ENVIRON and the like are not asked for: environments hold passwords (systemd-coredump(8), journal fields). A
journalctl that cannot be asked for some fields only, older than systemd 236, prints them all; they are not kept.
"""

import json
import os
import time
from typing import IO, Any, Dict, Generator, Iterator, List, Optional

from ..sysroot import Sysroot

# SD_MESSAGE_COREDUMP (systemd, sd-messages.h).
_MESSAGE = "fc2e22bc6ee647b6b90729ab34a250b1"
_ONLY = "--output-fields="
_FIELDS = (
    "COREDUMP_FILENAME", "COREDUMP_PID", "COREDUMP_UID", "COREDUMP_GID", "COREDUMP_SIGNAL", "COREDUMP_TIMESTAMP",
    "COREDUMP_COMM", "COREDUMP_EXE", "COREDUMP_CMDLINE", "COREDUMP_HOSTNAME", "COREDUMP_UNIT", "COREDUMP_USER_UNIT",
    "COREDUMP_TRUNCATED",
)  # fmt: skip
# The core itself, if Storage=journal: of a field as large as that journalctl prints that it is there, and no more.
_CORE = "COREDUMP"
INSIDE = "INSIDE"
"""A field of a Crash whose core is in the journal."""
# What two years of a host that crashes every hour leave. A journal on a slow disk may take long to search.
MAX_ENTRIES, TIMEOUT_S = 20000, 20.0
# With all fields: some forty, of which none is printed that has 4096 bytes or more (logs-show.c, JSON_THRESHOLD); one
# that is no UTF-8 takes five letters for each byte.
_MAX_LINE = 1 << 18

Crash = Dict[str, str]
"""The fields of one entry, without COREDUMP_."""


def crashes(sysroot: Sysroot) -> Iterator[Crash]:
    """The newest first. Nothing if there is no journalctl, no journal, or no right to read it; what was read until
    then if it takes too long. Raises OSError if journalctl cannot be started."""
    arguments = _arguments(sysroot)
    if arguments is None:
        return
    deadline = time.monotonic() + TIMEOUT_S
    if not (yield from _run(arguments, deadline)):
        # One that does not know the option says so and prints nothing.
        yield from _run([word for word in arguments if not word.startswith(_ONLY)], deadline)


def _run(arguments: List[str], deadline: float) -> Generator[Crash, None, bool]:
    """Returns False if journalctl failed before it printed anything."""
    import select  # dear, and not needed where no journal is
    import subprocess

    process = subprocess.Popen(  # pylint: disable=consider-using-with  # leaving it would wait for what is no longer wanted
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=dict(os.environ, LC_ALL="C", SYSTEMD_PAGER=""), bufsize=0,
    )  # fmt: skip
    output: Any = process.stdout
    printed = False
    try:
        for line in _lines(output, select.select, deadline):
            printed = True
            crash = _crash(line)
            if crash:
                yield crash
        return printed or process.wait(max(0.0, deadline - time.monotonic())) == 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        process.kill()
        output.close()
        process.wait()


def _arguments(sysroot: Sysroot) -> Optional[List[str]]:
    import shutil

    program = shutil.which("journalctl")
    if program is None:
        return None
    words = [program, "--quiet", "--no-pager", "--output=json", "--reverse", "--lines=%d" % MAX_ENTRIES]
    words.append(_ONLY + ",".join(_FIELDS + (_CORE,)))
    if sysroot.root != "/":
        try:
            where = sysroot.resolve("/var/log/journal").host_path
        except OSError:
            return None
        words.append("--directory=" + where)
    return words + ["MESSAGE_ID=" + _MESSAGE]


def _lines(stream: IO[bytes], select: Any, deadline: float) -> Iterator[bytes]:
    """Lines, but those that are too long."""
    rest, too_long = b"", False
    while time.monotonic() < deadline:
        if not select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return
        data = os.read(stream.fileno(), _MAX_LINE)
        if not data:
            return
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if not too_long:
                yield line
            too_long = False
        if len(rest) > _MAX_LINE:
            rest, too_long = b"", True


def _crash(line: bytes) -> Optional[Crash]:
    try:
        entry = json.loads(line.decode("utf-8", "replace"))
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    found = {}
    for field in _FIELDS:
        value = _text(entry.get(field))
        if value is not None:
            found[field[len("COREDUMP_") :]] = value
    if _CORE in entry:
        found[INSIDE] = "1"
    return found


def _text(value: object) -> Optional[str]:
    """journalctl prints a field that is no UTF-8 as a list of its bytes, one that is there twice as a list of both, and
    a large one as null."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        if all(isinstance(one, int) and 0 <= one < 256 for one in value):
            return os.fsdecode(bytes(value))
        return _text(value[0])
    return None
