# SPDX-License-Identifier: Apache-2.0
"""The commands of the far end, each run by a real sh: with a Python, and with nothing but what is beside sh."""

import hashlib
import os
import shlex
import shutil
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


def sent(far, *ranges):
    """The bytes that `send` prints; after them, the same line as `stat`'s."""
    done = subprocess.run(
        ["/bin/sh", "-c", far.send(ranges)], stdin=subprocess.DEVNULL, capture_output=True, check=True
    ).stdout
    data, mark, rest = done.rpartition(b"savedump-stat ")
    assert _far_end.read_stat((mark + rest).decode()) == _far_end.read_stat(reply(far.stat())["stdout"])
    return data


def tools(folder, *names):
    """An environment in which there are these programs only."""
    folder.mkdir()
    for name in names:
        found = subprocess.check_output(["/bin/sh", "-c", "command -v " + name], text=True).strip()
        (folder / name).symlink_to(found)
    return {"PATH": str(folder)}


@pytest.mark.parametrize("name", NAMES)
def test_any_name(tmp_path, python, name):
    path = os.path.join(os.fsencode(str(tmp_path)), name)
    with open(path, "wb") as stream:
        stream.write(CONTENT)
    far = _far_end.FarEnd(os.fsdecode(path), python)
    assert _far_end.read_stat(reply(far.stat())["stdout"]).size == len(CONTENT)
    assert sent(far, (0, len(CONTENT))) == CONTENT
    assert os.listdir(str(tmp_path)) == [os.fsdecode(name)]


def test_a_login_shell_that_takes_no_line_end_in_quotes(path, python):
    commands = [far.send([(3, 10)], hashed=True) for far in [_far_end.FarEnd(path, python)]]
    commands += [_far_end.FarEnd(path, python).hashes(0, len(CONTENT), 4 << 20)]
    for command in commands:
        assert "\n" not in command and "!" not in command


@pytest.mark.parametrize("shell", ["csh", "tcsh", "fish"])
def test_through_the_login_shell(path, python, shell):
    if not shutil.which(shell):
        pytest.skip("no %s here" % shell)
    ranges = [(at, 10) for at in range(0, 10000, 20)]
    command = "/bin/sh -c " + shlex.quote(_far_end.FarEnd(path, python).send(ranges))
    done = subprocess.run([shell, "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.stdout.startswith(b"".join(CONTENT[at : at + 10] for at, _ in ranges)), done.stderr
    assert _far_end.read_stat(done.stdout[5000:].decode("latin-1")).size == len(CONTENT)


@pytest.mark.parametrize("offset", [0, 1, 65535, 65536, len(CONTENT) - 1])
def test_send_from_an_offset(path, python, offset):
    far = _far_end.FarEnd(path, python)
    assert sent(far, (offset, len(CONTENT) - offset)) == CONTENT[offset:]


def written_to(path):
    """In its place, and with its old times again."""
    times = os.stat(path)
    with open(path, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("happens, said", [(written_to, False), (os.unlink, True)], ids=["written to", "deleted"])
def test_the_hash_is_said_of_what_stood_still(big, happens, said):
    """What a file held at two times was never there; one that is deleted while it is read, as by a quota, is whole."""
    command = ["/bin/sh", "-c", _far_end.FarEnd(big, sys.executable).send([(0, len(BIG))], hashed=True)]
    before = _far_end.read_stat(reply(_far_end.FarEnd(big, sys.executable).stat())["stdout"])
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as run:
        first = run.stdout.read(1)
        happens(big)
        printed = first + run.stdout.read()
    rest = printed[len(BIG) :].decode()
    assert _far_end.read_stat(rest) == before
    assert (_far_end.read_hash(rest) is not None) == said


@pytest.mark.parametrize("ranges", [[(0, len(CONTENT))], [(3, 10), (65536, 65537)]])
def test_send_and_hash_in_one(path, python, ranges):
    far = _far_end.FarEnd(path, python)
    printed = subprocess.check_output(["/bin/sh", "-c", far.send(ranges, hashed=True)], stdin=subprocess.DEVNULL)
    data = b"".join(CONTENT[start : start + length] for start, length in ranges)
    assert printed.startswith(data)
    rest = printed[len(data) :].decode()
    assert _far_end.read_stat(rest) == _far_end.read_stat(reply(far.stat())["stdout"])
    assert _far_end.read_hash(rest) == (hashlib.sha256(data).hexdigest() if python else None)


def test_send_several_ranges(path, python):
    far = _far_end.FarEnd(path, python)
    expected = CONTENT[3:13] + CONTENT[65536:131073] + CONTENT[140000:140001]
    assert sent(far, (3, 10), (65536, 65537), (140000, 1)) == expected


def test_a_file_that_grew_sends_no_more_than_was_asked_for(path, python):
    with open(path, "ab") as stream:
        stream.write(b"more")
    assert sent(_far_end.FarEnd(path, python), (100, len(CONTENT) - 100)) == CONTENT[100:]


@pytest.mark.parametrize("length", [0, 1, 100000, len(CONTENT)])
def test_hash_of_a_prefix(path, python, length):
    found = _far_end.read_hash(reply(_far_end.FarEnd(path, python).hash(length))["stdout"])
    assert found == hashlib.sha256(CONTENT[:length]).hexdigest()


#: Some chunks and a bit, at 4 MiB each.
BIG = os.urandom(1 << 20) * 9 + b"end"


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(BIG)
    return str(path)


def expected(offset, length, chunk):
    ends = [min(at + chunk, offset + length) for at in range(offset, offset + length, chunk)]
    starts = [offset, *ends[:-1]]
    return [hashlib.sha256(BIG[start:end]).hexdigest() for start, end in zip(starts, ends)]


@pytest.mark.parametrize("chunk", [4 << 20, 8 << 20])
@pytest.mark.parametrize(
    "offset, length", [(0, len(BIG)), (0, 1), (0, 8 << 20), (0, (8 << 20) + 1), (8 << 20, len(BIG) - (8 << 20))]
)
def test_hashes_of_chunks(big, python, offset, length, chunk):
    said = reply(_far_end.FarEnd(big, python).hashes(offset, length, chunk))
    found = [_far_end.listed(line) for line in said["stdout"].encode().splitlines()]
    assert (found, said["rc"]) == (expected(offset, length, chunk), 0)


@pytest.mark.parametrize("tool", ["sha256sum", "shasum", "openssl"])
def test_hashes_with_what_there_is(big, tmp_path, tool):
    more = ("perl",) if tool == "shasum" else ()
    environ = tools(tmp_path / "bin", "dd", "head", "sh", tool, *more)
    far = _far_end.FarEnd(big, None)
    said = reply(far.hashes(0, len(BIG), 4 << 20), environ=environ)["stdout"]
    assert [_far_end.listed(line) for line in said.encode().splitlines()] == expected(0, len(BIG), 4 << 20)
    assert _far_end.read_hash(reply(far.hash(len(BIG)), environ=environ)["stdout"]) == hashlib.sha256(BIG).hexdigest()


def test_what_cannot_hash_says_so(path, tmp_path):
    environ = tools(tmp_path / "bin", "dd", "head", "sh")
    for command in (_far_end.FarEnd(path, None).hash(10), _far_end.FarEnd(path, None).hashes(0, 10, 4 << 20)):
        said = reply(command, environ=environ)
        assert (said["stdout"], said["rc"], _far_end.read_hash(said["stdout"])) == ("savedump-none\n", 0, None)


def test_hashing_shows_that_it_goes_on(big, python):
    """A line for each 4 MiB, the first long before the end; and nobody who reads any more is its end."""
    with open(big, "r+b") as stream:
        stream.truncate(1 << 40)  # would take an hour
    command = ["/bin/sh", "-c", _far_end.FarEnd(big, python).hash(1 << 40)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout.readline() == b"savedump-going\n"
        run.stdout.close()
        run.wait(60)


@pytest.mark.parametrize(
    "offset, length", [(0, 10), (0, len(CONTENT)), (65536, 65536), (131072, len(CONTENT) - 131072)]
)
def test_chunk(path, python, offset, length):
    text = reply(_far_end.FarEnd(path, python).chunk(offset, length))["stdout"]
    assert _far_end.read_chunk(text, length) == CONTENT[offset : offset + length]
    # A pty turns every line end into two characters.
    assert _far_end.read_chunk(text.replace("\n", "\r\n"), length) == CONTENT[offset : offset + length]


def test_a_chunk_needs_nothing_but_posix_tools(path, tmp_path):
    environ = tools(tmp_path / "bin", "dd", "od", "sh")
    text = reply(_far_end.FarEnd(path, None).chunk(65536, 1000), environ=environ)["stdout"]
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


def test_a_size_that_no_file_has_is_none():
    assert _far_end.read_stat("savedump-stat %s 1 2 3\n" % ("9" * 5000)) is None


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


@pytest.mark.parametrize("stdout, stderr, expected", [
    ("Welcome\r\nsh: stat: not found\r\n", "Shared connection to web1 closed.\r\n", "sh: stat: not found"),
    ("Welcome\nsavedump: Permission denied\n", "Shared connection to web1 closed.\n", "Permission denied"),
    ("", "Shared connection to web1 closed.\n", "exit status 1"),
    ("Welcome\n", "first\nsecond\n", "first; second"),
])  # fmt: skip
def test_why_it_failed_behind_a_pty(stdout, stderr, expected):
    assert _far_end.read_failure({"rc": 1, "stdout": stdout, "stderr": stderr}) == expected


def test_half_a_chunk_is_no_reason():
    assert _far_end.read_failure({"rc": 0, "stdout": "YWJj\n", "stderr": ""}) == "exit status 0"
