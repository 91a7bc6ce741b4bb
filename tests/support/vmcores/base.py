# SPDX-License-Identifier: Apache-2.0
"""What all of this folder stands on: its one error, and the machine's programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class VmcoresError(Exception):
    """The dumps cannot be made; the message holds the failing program's own words."""


def find(name: str) -> str | None:
    """The path of a program; also in the sbin folders, which a user's PATH may lack."""
    return shutil.which(name) or shutil.which(name, path=_SBIN)


def call(*argv: str, cwd: Path | None = None, output: Path | None = None) -> str:
    """Run a program to its end; returns its standard output, which goes to the file `output` if that is given.
    Raises VmcoresError unless it exits 0."""
    program = find(argv[0])
    if program is None:
        raise VmcoresError(f"{argv[0]} is missing")
    with open(output or os.devnull, "wb") as file:
        done = subprocess.run(
            [program, *argv[1:]],
            cwd=cwd,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=file if output else subprocess.PIPE,
            stderr=subprocess.PIPE,
            # The words of programs are read: they have to be the untranslated ones.
            env=dict(os.environ, LC_ALL="C.UTF-8"),
        )
    said, words = (os.fsdecode(text or b"") for text in (done.stdout, done.stderr))
    if done.returncode:
        raise VmcoresError(f"{' '.join(argv)}: exit {done.returncode}: {(words.strip() or said.strip())[-2000:]}")
    return said
