# SPDX-License-Identifier: Apache-2.0
"""What docs/support.md promises is held by a test, and that test is there."""

import re

from support import checkout

NAMED = re.compile(r"`(?:[\w/]*/)?(test_\w+(?:\.py)?)`")


def unknown(text):
    """The tests and files of tests that this text names and that do not exist."""
    files = list((checkout.CHECKOUT / "tests").rglob("test_*.py"))
    code = "\n".join(path.read_text() for path in files)
    known = set(re.findall(r"^ *def (test_\w+)", code, re.MULTILINE)) | {path.name for path in files}
    return sorted(set(NAMED.findall(text)) - known)


def test_every_test_that_is_named_exists():
    text = (checkout.CHECKOUT / "docs" / "support.md").read_text()
    assert len(NAMED.findall(text)) > 50
    assert unknown(text) == []


def test_can_fail():
    text = "held by `test_nobody_wrote` in `finders/test_nowhere.py`, and by `test_can_fail`"
    assert unknown(text) == ["test_nobody_wrote", "test_nowhere.py"]
