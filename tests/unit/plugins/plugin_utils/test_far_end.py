# SPDX-License-Identifier: Apache-2.0
"""The commands of the far end, each run by a real sh: with a Python, and with nothing but what is beside sh."""

import hashlib
import os
import subprocess
import sys

import pytest
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _far_end

# More than two blocks, and no whole number of them.
CONTENT = bytes(bytearray(range(256))) * 600 + b"end"
NAMES = [b"plain", b"a b", b"it's", b'"quoted"', b"$(touch pwned)", b"line\nbreak", b"\xff\xfe", b"-n", b"`x`;y"]


@pytest.fixture(params=[sys.executable, None], ids=["python", "sh"])
def python(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return str(path)


def reply(command, environ=None):
    done = subprocess.run(
        ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environ
    )
    return {"rc": done.returncode, "stdout": os.fsdecode(done.stdout), "stderr": os.fsdecode(done.stderr)}


def stdout(command):
    return subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", NAMES)
def test_any_name(tmp_path, python, name):
    path = os.path.join(os.fsencode(str(tmp_path)), name)
    with open(path, "wb") as stream:
        stream.write(CONTENT)
    far = _far_end.FarEnd(os.fsdecode(path), python)
    assert _far_end.read_stat(reply(far.stat())["stdout"]).size == len(CONTENT)
    assert stdout(far.send(0, len(CONTENT))) == CONTENT
    assert os.listdir(str(tmp_path)) == [os.fsdecode(name)]


@pytest.mark.parametrize("offset", [0, 1, 65536, len(CONTENT) - 1])
def test_send_from_an_offset(path, python, offset):
    assert stdout(_far_end.FarEnd(path, python).send(offset, len(CONTENT) - offset)) == CONTENT[offset:]


@pytest.mark.parametrize("length", [0, 1, 100000, len(CONTENT)])
def test_hash_of_a_prefix(path, python, length):
    found = _far_end.read_hash(reply(_far_end.FarEnd(path, python).hash(length))["stdout"])
    assert found == hashlib.sha256(CONTENT[:length]).hexdigest()


@pytest.mark.parametrize(
    "offset, length", [(0, 10), (0, len(CONTENT)), (65536, 65536), (131072, len(CONTENT) - 131072)]
)
def test_chunk(path, python, offset, length):
    text = reply(_far_end.FarEnd(path, python).chunk(offset, length))["stdout"]
    assert _far_end.read_chunk(text, length) == CONTENT[offset : offset + length]
    # A pty turns every line end into two characters.
    assert _far_end.read_chunk(text.replace("\n", "\r\n"), length) == CONTENT[offset : offset + length]


def test_a_chunk_needs_nothing_but_posix_tools(path, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("dd", "od", "sh"):
        (tools / name).symlink_to(subprocess.check_output(["/bin/sh", "-c", "command -v " + name], text=True).strip())
    text = reply(_far_end.FarEnd(path, None).chunk(65536, 1000), environ={"PATH": str(tools)})["stdout"]
    assert text.startswith("savedump-hex")
    assert _far_end.read_chunk(text, 1000) == CONTENT[65536:66536]


@pytest.mark.parametrize("text", ["", "not base64 at all!", "YWJj", "savedump-hex 6"])
def test_a_chunk_that_is_short_or_garbled_is_none(text):
    assert _far_end.read_chunk(text, 10) is None


def test_stat_tells_a_changed_file(path, python):
    far = _far_end.FarEnd(path, python)
    before = _far_end.read_stat(reply(far.stat())["stdout"])
    assert _far_end.read_stat(reply(far.stat())["stdout"]) == before
    os.utime(path, (1, 1))
    changed = _far_end.read_stat(reply(far.stat())["stdout"])
    assert changed != before
    os.replace(path, path + ".old")
    with open(path, "wb") as stream:
        stream.write(CONTENT)
    os.utime(path, (1, 1))
    assert _far_end.read_stat(reply(far.stat())["stdout"]) != changed  # another inode


def test_no_such_file(tmp_path, python):
    answer = reply(_far_end.FarEnd(str(tmp_path / "none"), python).stat())
    assert _far_end.read_stat(answer["stdout"]) is None
    assert _far_end.read_failure(answer) == "No such file or directory"


def test_what_is_no_file_is_refused_at_once(tmp_path, python):
    os.mkfifo(str(tmp_path / "fifo"))
    for path in (str(tmp_path), str(tmp_path / "fifo"), "/dev/zero"):
        answer = reply(_far_end.FarEnd(path, python).stat())
        assert _far_end.read_stat(answer["stdout"]) is None
        assert _far_end.read_failure(answer) == "not a regular file"
