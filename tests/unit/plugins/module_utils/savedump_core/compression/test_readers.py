# SPDX-License-Identifier: Apache-2.0
"""What all codecs promise of reading, held against streams that the codecs' own programs and modules made."""

import bz2
import gzip as python_gzip
import io
import lzma
import random
import re
import resource
import shutil
import subprocess
import sys
import threading

import pytest

from savedump_core import compression
from savedump_core.compression import _libzstd, _native, _program, bzip2, gzip, lz4, xz, zstd
from savedump_core.errors import BadDump, ToolMissing

SKIPPABLE = b"\x5a\x2a\x4d\x18\x05\x00\x00\x00hello"


def program(*arguments):
    if shutil.which(arguments[0]) is None:
        pytest.skip("no %s here to make the sample with" % arguments[0])
    return lambda data: subprocess.run(arguments, input=data, stdout=subprocess.PIPE, check=True).stdout


ENCODERS = {
    "gzip": lambda: python_gzip.compress,
    "bzip2": lambda: lambda data: bz2.compress(data, 1),
    "xz": lambda: lambda data: lzma.compress(data, preset=1),
    "zstd": lambda: program("zstd", "-q", "-c"),
    "lz4": lambda: program("lz4", "-q", "-c", "-B4"),
}
SKIPS_FRAMES = ("zstd", "lz4")
codecs = pytest.mark.parametrize("codec", compression.CODECS, ids=lambda codec: codec.NAME)


def encode(codec, data):
    return ENCODERS[codec.NAME]()(data)


def sample(size, seed=1):
    """Some of it compresses, some does not."""
    noise = random.Random(seed)
    pieces = []
    while sum(map(len, pieces)) < size:
        pieces.append(b"frame %d " % noise.randrange(100) * noise.randrange(1, 200))
        pieces.append(bytes(noise.randrange(256) for _ in range(noise.randrange(1, 2000))))
        pieces.append(bytes(noise.randrange(4000)))
    return b"".join(pieces)[:size]


DATA = sample(400000)


def drain(reader, size=50000):
    """(all that comes, the message of the BadDump at its end or None)"""
    pieces = []
    while True:
        try:
            piece = reader.read(size)
        except BadDump as error:
            return b"".join(pieces), error.message
        if not piece:
            return b"".join(pieces), None
        assert len(piece) <= size
        pieces.append(piece)


def decode(codec, stream, size=50000):
    reader = codec.reader(io.BytesIO(stream))
    try:
        return drain(reader, size)
    finally:
        reader.close()


@codecs
def test_names(codec):
    assert codec.available() is True
    assert codec.SUFFIX.startswith(".")
    assert codec.NAME in ENCODERS


def test_each_codec_knows_its_own_streams_only():
    for codec in compression.CODECS:
        head = encode(codec, DATA)[: compression.HEAD]
        assert [other.NAME for other in compression.CODECS if other.sniff(head)] == [codec.NAME]
        assert compression.sniff(head) is codec
        assert compression.sniff(encode(codec, b"")[: compression.HEAD]) is codec
    for head in (b"", b"\x7fELF\2\1\1", b"BZh", b"BZhello wo", bytes(64), SKIPPABLE):
        assert compression.sniff(head) is None


@codecs
@pytest.mark.parametrize("size", [1, 511, 50000, 1 << 20])
def test_whole_streams(codec, size):
    assert decode(codec, encode(codec, DATA), size if size > 1 else 1000) == (DATA, None)
    assert decode(codec, encode(codec, b""), size) == (b"", None)
    assert decode(codec, encode(codec, DATA[:300]), size) == (DATA[:300], None)


@codecs
def test_members_one_after_the_other(codec):
    pieces = [DATA[:1000], b"", DATA[1000:200000], DATA[200000:]]
    stream = b"".join(encode(codec, piece) for piece in pieces)
    assert decode(codec, stream) == (DATA, None)
    many = encode(codec, b"x") * 3000
    assert decode(codec, many) == (b"x" * 3000, None)


@pytest.mark.parametrize("codec", [zstd, lz4], ids=lambda codec: codec.NAME)
def test_skippable_frames(codec):
    """pzstd and the seekable format begin with one; the lz4 frame format has them too."""
    frame = encode(codec, DATA)
    stream = SKIPPABLE + frame + SKIPPABLE + SKIPPABLE + frame + SKIPPABLE
    assert compression.sniff(stream[: compression.HEAD]) is codec
    assert decode(codec, stream) == (DATA * 2, None)


@pytest.mark.parametrize("codec", [gzip, xz], ids=lambda codec: codec.NAME)
def test_zeros_behind_the_last_member_are_padding(codec):
    assert decode(codec, encode(codec, DATA) + bytes(200000)) == (DATA, None)


@codecs
def test_garbage_behind_the_last_member_is_damage(codec):
    stream = encode(codec, DATA)
    data, message = decode(codec, stream + b"garbage" * 9)
    assert data == DATA
    # bz2 and lzma do not tell how far they came in what they were given last.
    at = int(re.search(r"corrupt at byte (\d+)", message).group(1))
    assert at - len(stream) in range(0, 100)


def offsets(stream):
    return sorted(set(list(range(0, min(40, len(stream)), 3)) + list(range(40, len(stream), len(stream) // 40))
                      + [len(stream) - n for n in (1, 4, 8, 9)]))  # fmt: skip


@codecs
def test_truncated_at_many_offsets_gives_all_that_can_be_decoded(codec):
    stream = encode(codec, DATA)
    before = 0
    for offset in offsets(stream):
        data, message = decode(codec, stream[:offset])
        assert message == "the %s stream ends early at byte %d" % (codec.NAME, offset)
        assert data == DATA[: len(data)] and len(data) >= before
        before = len(data)
    assert before == len(DATA)


def test_truncated_gzip_gives_what_zlib_gives():
    import zlib

    stream = encode(gzip, DATA)
    for offset in offsets(stream):
        expected = zlib.decompressobj(31).decompress(stream[:offset])
        assert decode(gzip, stream[:offset])[0] == expected


@pytest.mark.parametrize("codec", [zstd, lz4, xz, bzip2], ids=lambda codec: codec.NAME)
def test_truncated_gives_no_less_than_the_program(codec):
    if shutil.which(codec.NAME) is None:
        pytest.skip("no %s here to compare with" % codec.NAME)
    stream = encode(codec, DATA)
    for offset in offsets(stream)[::6]:
        done = subprocess.run(
            [codec.NAME, "-dc"], input=stream[:offset], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert len(decode(codec, stream[:offset])[0]) >= len(done.stdout)


@codecs
def test_a_flipped_bit_never_goes_unseen(codec):
    stream = encode(codec, DATA)
    # Nothing guards gzip's time and OS, nor a magic number: with a bit flipped it may be that of a skippable frame.
    first = 10 if codec is gzip else 4
    seen = 0
    for offset in [at for at in offsets(stream) if at >= first]:
        broken = bytearray(stream)
        broken[offset] ^= 0x10
        data, message = decode(codec, bytes(broken))
        assert message is not None or data == DATA
        seen += message is not None
    assert seen > 30


@pytest.mark.parametrize("codec", [gzip, zstd, lz4], ids=lambda codec: codec.NAME)
def test_every_byte_before_damage_is_delivered(codec):
    stream = encode(codec, DATA)
    for offset in offsets(stream)[20:50:5]:
        whole = decode(codec, stream[:offset])[0]
        data, message = decode(codec, stream[:offset] + b"\xff" * 4000)
        assert data[: len(whole)] == whole
        assert "corrupt at byte" in message or "ends early" in message


@pytest.mark.parametrize("codec", [bzip2, xz], ids=lambda codec: codec.NAME)
def test_hardly_a_byte_before_damage_is_lost(codec):
    stream = encode(codec, DATA)
    for offset in offsets(stream)[20:50:5]:
        whole = decode(codec, stream[:offset])[0]
        data, _ = decode(codec, stream[:offset] + b"\xff" * 4000, 1 << 20)
        assert len(data) >= len(whole) - (128 << 10) and data[: len(whole)] == whole[: len(data)]


@codecs
def test_damage_is_told_again_and_again(codec):
    reader = codec.reader(io.BytesIO(encode(codec, DATA)[:-3]))
    assert reader.read(len(DATA)) == DATA
    for _ in range(3):
        with pytest.raises(BadDump):
            reader.read(1)
    reader.close()
    reader.close()


@codecs
def test_an_error_of_the_file_passes(codec):
    class Failing:
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError) as caught:
        codec.reader(Failing()).read(10)
    assert caught.value.errno == 5


@codecs
def test_a_bomb_costs_no_memory(codec, tmp_path):
    bomb = tmp_path / "bomb"
    bomb.write_bytes(encode(codec, bytes(64 << 20)) * 3)
    script = (
        "import sys\n"
        "from savedump_core import compression\n"
        "codec = [codec for codec in compression.CODECS if codec.NAME == sys.argv[1]][0]\n"
        "reader, size = codec.reader(open(sys.argv[2], 'rb')), 0\n"
        "while True:\n"
        "    piece = reader.read(1 << 20)\n"
        "    size += len(piece)\n"
        "    if not piece: break\n"
        "print(size, open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
    )
    arguments = [sys.executable, "-c", script, codec.NAME, str(bomb)]
    package = sys.modules["savedump_core"].__path__[0].rpartition("/")[0]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, env={"PYTHONPATH": package})
    size, peak = map(int, done.stdout.split())
    assert size == 3 * (64 << 20)
    assert peak < 64 << 10


def without_libraries(monkeypatch):
    monkeypatch.setattr(_libzstd, "library", lambda: None)
    monkeypatch.setattr(lz4, "_library", lambda: None)
    for codec in (zstd, xz, bzip2):
        monkeypatch.setattr(codec, "_module", lambda: None)


@pytest.mark.parametrize("codec", [zstd, lz4, xz, bzip2], ids=lambda codec: codec.NAME)
class TestProgram:
    """The same through the codec's program."""

    @pytest.fixture(autouse=True)
    def only_the_program(self, codec, monkeypatch):
        if shutil.which(codec.NAME) is None:
            pytest.skip("no %s here" % codec.NAME)
        without_libraries(monkeypatch)
        before = set(threading.enumerate())  # another file's may end meanwhile
        yield
        assert set(threading.enumerate()) - before == set()

    def test_reads(self, codec):
        assert codec.available()
        assert isinstance(codec.reader(io.BytesIO(b"")), _program.ProgramReader)
        assert decode(codec, encode(codec, DATA) + encode(codec, DATA)) == (DATA * 2, None)

    def test_truncated(self, codec):
        stream = encode(codec, DATA)
        data, message = decode(codec, stream[:-9])
        assert data == DATA[: len(data)]
        assert "%s stream ends early at byte %d" % (codec.NAME, len(stream) - 9) in message

    def test_damaged(self, codec):
        stream = bytearray(encode(codec, DATA))
        stream[len(stream) // 2] ^= 0x10
        data, message = decode(codec, bytes(stream))
        assert message is not None

    def test_closed_early(self, codec):
        reader = codec.reader(io.BytesIO(encode(codec, DATA * 9)))
        assert reader.read(100) == DATA[:100]
        reader.close()
        assert reader.read(100) == b""

    def test_neither_program_nor_library(self, codec, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert codec.available() is False
        with pytest.raises(ToolMissing) as caught:
            codec.reader(io.BytesIO(b""))
        assert codec.NAME in caught.value.message and "install" in caught.value.hint


def test_a_python_without_ctypes(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert _native.load("libc.so.6") is None


def test_a_library_that_is_not_there():
    assert _native.load("libnothing-of-the-kind.so.1") is None


def test_zstd_of_python_itself(monkeypatch):
    """Python 3.14 brings its own."""
    module = pytest.importorskip("compression.zstd", reason="Python before 3.14, or built without zstd")
    without_libraries(monkeypatch)
    monkeypatch.setattr(zstd, "_module", lambda: module)
    stream = encode(zstd, DATA)
    assert decode(zstd, stream + SKIPPABLE + stream) == (DATA * 2, None)
    assert decode(zstd, stream[:-2]) == (DATA, "the zstd stream ends early at byte %d" % (len(stream) - 2))
    assert "corrupt" in decode(zstd, stream + b"garbage")[1]


def test_a_window_too_large_is_refused():
    """zstd --long=31 would take 2 GiB of memory to read."""
    stream = program("zstd", "-q", "-c", "--long=31", "--ultra")(DATA)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data, message = decode(zstd, stream)
    if data != DATA:
        assert "memory" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
