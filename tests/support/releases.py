# SPDX-License-Identifier: Apache-2.0
"""The release command, run in copies of the checkout."""

import os
import pathlib
import sys
from typing import NamedTuple

from . import checkout

#: Newer than any release.
VERSION = "99.0.0"
#: Who releases: somebody with no settings of git, and so without a key.
NAME, EMAIL = "Some Body", "some@body.example"
_GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": NAME,
    "GIT_AUTHOR_EMAIL": EMAIL,
    "GIT_COMMITTER_NAME": NAME,
    "GIT_COMMITTER_EMAIL": EMAIL,
}


class Released(NamedTuple):
    """A copy of the checkout after its release."""

    tree: pathlib.Path
    said: str
    """All that the command said."""


def release(tree, *arguments):
    """`tools/release.py ARGUMENTS` of this copy; its output and status are in the result."""
    return checkout.run(sys.executable, "tools/release.py", *arguments, cwd=str(tree), env=dict(os.environ, **_GIT))


def git(tree, *words):
    """What git prints."""
    return checkout.succeed("git", *words, cwd=str(tree), env=dict(os.environ, **_GIT)).strip()


def clone(tree, to):
    git(tree, "clone", "--quiet", str(tree), str(to))
    return to


def commit(tree):
    """Commit what is changed, and a changelog fragment, so that there is something to release."""
    fragments = tree / "changelogs" / "fragments"
    fragments.mkdir(exist_ok=True)
    (fragments / "1-test.yml").write_text("---\nminor_changes:\n  - A change for the test.\n")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "-m", "A change")
