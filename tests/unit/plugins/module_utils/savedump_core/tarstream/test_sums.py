# SPDX-License-Identifier: Apache-2.0
"""SHA256SUMS against sha256sum itself."""

import hashlib
import os
import subprocess

import pytest

from savedump_core.errors import BadDump
from savedump_core.tarstream import sums
from savedump_core.tarstream.sparse import Digest

NAMES = [
    b"plain",
    b"a b",
    b"back\\slash",
    b"new\nline",
    b"both\\n\n\\",
    b"caf\xe9 \xff",
    b"-n",
    b" lead",
    "\u00e9".encode(),
]


def digest(content=b"x", algorithm="sha256"):
    return Digest(algorithm, hashlib.sha256(content).hexdigest())


def test_as_sha256sum_writes_it_and_checks_it(tmp_path):
    folder = os.fsencode(str(tmp_path))
    for name in NAMES:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name)
    made = subprocess.run([b"sha256sum", b"--"] + NAMES, cwd=str(tmp_path), stdout=subprocess.PIPE, check=True).stdout
    ours = b"".join(sums.sums_line(os.fsdecode(name), digest(name)) for name in NAMES)
    assert ours == made
    ours += sums.sums_line("not there", digest(algorithm="sha256-stored"))
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet"], input=ours, cwd=str(tmp_path), stdout=subprocess.PIPE
    )
    assert (checked.returncode, checked.stdout) == (0, b"")


def test_read_back():
    content = b"".join(sums.sums_line(os.fsdecode(name), digest(name)) for name in NAMES)
    assert sums.parse_sums(content) == {os.fsdecode(name): digest(name) for name in NAMES}
    assert list(sums.parse_sums(content)) == [os.fsdecode(name) for name in NAMES]
    assert sums.parse_sums(b"") == {}


@pytest.mark.parametrize("name", ["core", "co\nre\\"])
def test_stored_digests_stand_in_a_comment(name):
    line = sums.sums_line(name, digest(algorithm="sha256-stored"))
    assert line.startswith(b"# sha256-stored ") and line.count(b"\n") == 1
    assert sums.parse_sums(b"# something else\n" + line) == {name: digest(algorithm="sha256-stored")}


@pytest.mark.parametrize(
    "content",
    [b"hello\n", b"0" * 63 + b"  x\n", b"0" * 64 + b" x\n", b"G" * 64 + b"  x\n", b"0" * 64 + b"  \n", b"\0\0\0"],
)
def test_a_line_that_is_none(content):
    with pytest.raises(BadDump, match="line 2"):
        sums.parse_sums(sums.sums_line("a", digest()) + content)


def test_a_name_twice():
    with pytest.raises(BadDump, match="line 2"):
        sums.parse_sums(sums.sums_line("a", digest()) + sums.sums_line("a", digest(b"y")))
