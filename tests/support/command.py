# SPDX-License-Identifier: Apache-2.0
"""The command `savedump` as a user runs it."""

import os
import subprocess
import sys
from typing import NamedTuple

from support import checkout


class Done(NamedTuple):
    status: int
    out: str
    error: str

    @property
    def last(self):
        """The last line on stderr."""
        return self.error.splitlines()[-1]


def environment():
    """This one, in which the package is found from any folder."""
    paths = [str(checkout.CHECKOUT)] + os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)))


def savedump(*arguments, status=None, timeout=60, **options):
    """Run it; a traceback fails the test, and so does another exit status than `status`, if that is given. `timeout` is
    in seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "savedump_core"] + [str(argument) for argument in arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        **options,
    )
    result = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in result.error, result.error
    assert status is None or result.status == status, result.error
    return result
