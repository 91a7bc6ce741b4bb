# SPDX-License-Identifier: Apache-2.0
"""The checkout as a clone of it would be, and commands run on it."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def files():
    """Paths, relative to the checkout, of all files that are committed or would be: nothing that git ignores."""
    # safe.directory: CI often runs as another user than the one who cloned.
    listing = subprocess.check_output(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=str(CHECKOUT),
    )
    names = sorted(os.fsdecode(name) for name in set(listing.split(b"\0")) if name)
    return [name for name in names if os.path.lexists(str(CHECKOUT / name))]


def copy(to, only=()):
    """Copy the checkout, or `only` what these prefixes name, to the folder `to`: a git repository with one commit."""
    for name in files():
        if only and not name.startswith(tuple(only)):
            continue
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(str(CHECKOUT / name), str(target), follow_symlinks=False)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--no-gpg-sign", "-m", "a copy for the tests"]):
        subprocess.check_call(git + words, cwd=str(to))
    return to


def run(*argv, **options):
    """Run a command in the checkout; its output (both streams, text) and status are in the result."""
    options.setdefault("cwd", str(CHECKOUT))
    return subprocess.run(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        check=False,
        **options
    )


def succeed(*argv, **options):
    """As run(), but returns the output, and a failure fails the test with all that the command said."""
    __tracebackhide__ = True
    result = run(*argv, **options)
    if result.returncode != 0:
        words = " ".join(str(word) for word in argv)
        pytest.fail("exit status %d of: %s\n%s" % (result.returncode, words, result.stdout), pytrace=False)
    return result.stdout


def tool(name):
    """A tool beside this very interpreter: the one that requirements-test.txt pins, not one that PATH has."""
    return os.path.join(os.path.dirname(sys.executable), name)
