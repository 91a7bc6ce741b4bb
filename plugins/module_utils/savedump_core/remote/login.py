# SPDX-License-Identifier: Apache-2.0
"""A Python on the other host, as another user if asked for: one command line for any login shell."""

import base64
import os
import re
import shlex
from typing import List, NamedTuple, Optional

from ..errors import SavedumpError, ToolMissing
from .failures import Refused
from .ssh import Connection, Process

# Oldest last; platform-python is RHEL 8's, where nothing is called python3 by default.
_PYTHONS = ("python3", "/usr/bin/python3", "/usr/libexec/platform-python") + tuple(
    "python3.%d" % minor for minor in range(14, 5, -1)
)
# Debian's python3-minimal has no json, shutil or zipfile; all come with libpython3-stdlib. -I: neither the folder that
# the login is in nor $PYTHONPATH has a say in what runs as root.
_ASK = "import sys, json, shutil, zipfile, zlib, hashlib; sys.exit(sys.version_info[:2] < (3, 6))"
NO_PYTHON = "savedump: no Python"
_EX_UNAVAILABLE = 69

# One line without a quote of the kind that is put around it, and no "!": csh as a login shell stumbles over both.
_SCRIPT = (
    "for p in {pythons}; do "
    'if "$p" -I -c "{ask}" </dev/null >/dev/null 2>&1; then exec "$p" -I -c "{run}" {program}; fi; done; '
    "echo {none} >&2; exit {status}"
)
_RUN = "import sys, base64; exec(base64.b64decode(sys.argv[1]))"
# sudo says on the same line what it thinks of the answer.
_PROMPT = re.compile(r"\[savedump [0-9a-f]+\] ?")


class Become(NamedTuple):
    """Whose rights the code shall have there."""

    user: str = "root"
    password: Optional[str] = None
    """Of the login user, for a sudo that asks."""


def start_python(connection: Connection, program: str, become: Optional[Become] = None) -> Process:
    """Start a Python there with a program's text, in which there may be anything. Raises Unreachable, Refused."""
    if become is None or become.user == connection.where.user:
        return connection.start(command(program))
    # Not to be guessed by who made the files that sudo's modules may show.
    prompt = "[savedump %s] " % base64.b16encode(os.urandom(8)).decode("ascii").lower()
    if become.password is None:
        return connection.start(command(program, become.user))
    secret = become.password
    answered: List[bool] = []

    def heard(process: Process, tail: bytes) -> None:
        asked = tail.count(prompt.encode("ascii"))
        if asked and not answered:
            answered.append(True)
            process.stdin.write(secret.encode("utf-8", "surrogateescape") + b"\n")
        elif asked > 1:
            process.stdin.close()  # it was wrong; sudo asks three times, and hears the end

    return connection.start(command(program, become.user, prompt), heard)


def command(program: str, user: Optional[str] = None, prompt: Optional[str] = None) -> str:
    """The command line that runs a program's text with the first Python there that has a whole standard library; by
    sudo for another user, which must not ask, or asks with this prompt for what it reads from stdin."""
    packed = base64.b64encode(program.encode("utf-8")).decode("ascii")
    script = _SCRIPT.format(
        pythons=" ".join(_PYTHONS),
        ask=_ASK,
        run=_RUN,
        program=packed,
        none=NO_PYTHON,
        status=_EX_UNAVAILABLE,
    )
    words = ["/bin/sh", "-c", script]
    if user is not None:
        way = ["-n"] if prompt is None else ["-S", "-p", prompt]
        words = ["sudo"] + way + ["-H", "-u", user, "--"] + words
    return " ".join(shlex.quote(word) for word in words)


def why_not(
    connection: Connection, process: Process, become: Optional[Become], heard: str = ""
) -> Optional[SavedumpError]:
    """Why no Python came up, by the end that the process took, and what was `heard` on stdout; None if that says
    nothing."""
    status, said = process.wait(5.0), process.stderr()
    where = connection.where.words
    words = " ".join(_PROMPT.sub("", said).split())[-400:]
    if NO_PYTHON in said:
        return ToolMissing(
            "%s has no Python 3.6 or newer with its whole standard library" % where,
            "install python3 there (on Debian also libpython3-stdlib)",
        )
    if become is not None and become.user != connection.where.user and status > 0:
        if "password is required" in said:
            return Refused("sudo asks for a password on %s" % where, "give it with -K")
        if said.count("[savedump ") > 1 or "incorrect password" in said:
            return Refused("sudo on %s does not take the password" % where)
        if status == 127:
            return Refused("there is no sudo on %s" % where, "log in as %s, or go without --become" % become.user)
        if words or not heard:
            return Refused("sudo on %s says no: %s" % (where, words or "no reason given"))
        # What speaks on stdout is not sudo, but a login shell that lets nobody in (nologin(8)).
    if status > 0 or words:
        words = words or heard or "no words"
        return SavedumpError("no Python started on %s (exit status %d): %s" % (where, status, words))
    return None
