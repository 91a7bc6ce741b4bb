# SPDX-License-Identifier: Apache-2.0
"""The command `savedump` on a terminal, as a person sees it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import NamedTuple

from support.command import environment

#: What decides about colours and widths is the test's to say.
_SETTINGS = ("COLUMNS", "LINES", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "FORCE_COLOR")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Shown(NamedTuple):
    status: int
    raw: str
    """All that came, control sequences and all."""

    @property
    def text(self):
        """Without colours."""
        return _COLOUR.sub("", self.raw)

    @property
    def screen(self):
        """What is left to be read: a line that was written over (\\r) or wiped (CSI K) is as it was last."""
        return [_last(line) for line in self.text.split("\n")]


def _last(line):
    shown = ""
    for part in line.split("\r"):
        first, *others = part.split("\x1b[K")  # each wipes what stands to the right
        shown = "".join([first] + others) if others else first + shown[len(first) :]
    return shown


def on_terminal(*words, columns=80, keys=None, size=24, program=None, cwd=None, **variables):
    """Run it on a terminal of so many columns. `keys` are typed, as bytes, as soon as `keys[0]`, a text, is on the
    screen. `program` replaces `python -m savedump_core`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size, columns, 0, 0))
    env = {key: value for key, value in environment().items() if key not in _SETTINGS}
    env.update({"TERM": "xterm"}, **variables)
    with subprocess.Popen(
        (program or [sys.executable, "-m", "savedump_core"]) + [str(word) for word in words],
        stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:  # fmt: skip
        os.close(theirs)
        got = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                part = b""
            if not part:
                break
            got += part
            if keys and keys[0].encode() in got:
                os.write(ours, keys[1])
                keys = None
        process.wait()
    os.close(ours)
    return Shown(process.returncode, got.decode().replace("\r\n", "\n"))
