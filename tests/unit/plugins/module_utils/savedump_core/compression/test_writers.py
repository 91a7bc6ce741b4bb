# SPDX-License-Identifier: Apache-2.0
"""gzip and zstd as written: any program reads it, the bytes are always the same, and no failure leaves anything."""

import errno
import gc
import gzip as python_gzip
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import zlib

import pytest

from savedump_core import compression
from savedump_core.compression import _libzstd, gzip, zstd
from savedump_core.errors import BadDump, ToolMissing, UsageError

BOTH = [gzip, zstd]
both = pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.NAME)


def make_data(size):
    noise = random.Random(7)
    unit = b"".join(
        bytes(noise.randrange(256) for _ in range(500)) + b"0123456789" * noise.randrange(90) for _ in range(300)
    )
    return (unit * (size // len(unit) + 1))[:size]


DATA = make_data(7000001)


@pytest.fixture(params=["library", "program"])
def way(request, monkeypatch):
    """zstd by libzstd and by its program. gzip has one way only."""
    if request.param == "program":
        if shutil.which("zstd") is None:
            pytest.skip("no zstd here")
        monkeypatch.setattr(_libzstd, "library", lambda: None)
    elif not _libzstd.can_compress():
        pytest.skip("no libzstd here")
    return request.param


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())  # another file's may end meanwhile
    yield
    gc.collect()
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()


def encode(codec, data=DATA, step=1 << 20, **options):
    sink = io.BytesIO()
    writer = codec.writer(sink, **options)
    for at in range(0, len(data), step):
        writer.write(data[at : at + step])
    writer.close()
    writer.close()
    return sink.getvalue()


def read_back(codec, stream):
    reader = codec.reader(io.BytesIO(stream))
    return b"".join(iter(lambda: reader.read(1 << 20), b""))


@both
def test_reads_back(codec, way):
    assert codec.can_write()
    for size in (0, 1, 300, 1 << 18, (1 << 18) + 1, 1 << 20, len(DATA)):
        stream = encode(codec, DATA[:size])
        assert compression.sniff(stream[:64]) is codec
        assert read_back(codec, stream) == DATA[:size]


@pytest.mark.parametrize("arguments", [["gzip", "-dc"], ["pigz", "-dc"], ["zstd", "-q", "-dc"]], ids=lambda a: a[0])
def test_the_programs_read_it(arguments, way):
    if shutil.which(arguments[0]) is None:
        pytest.skip("no %s here" % arguments[0])
    codec = zstd if arguments[0] == "zstd" else gzip
    for data in (DATA, b""):
        done = subprocess.run(arguments, input=encode(codec, data), stdout=subprocess.PIPE, check=True)
        assert done.stdout == data


def test_gzip_stores_what_is_packed_already_and_deflates_the_rest():
    """The pages of a kernel dump are compressed; its bitmap and the kernel beside it are not."""
    noise = os.urandom(1 << 20)
    stream = encode(gzip, noise + DATA + noise)
    assert noise[600000:600500] in stream and DATA[600000:600500] not in stream
    assert len(stream) < 2 * len(noise) + len(encode(gzip, DATA)) + 20000
    assert subprocess.run(["gzip", "-dc"], input=stream, stdout=subprocess.PIPE, check=True).stdout == (
        noise + DATA + noise
    )


def test_gzip_is_one_member_without_name_and_time():
    stream = encode(gzip)
    assert stream[:10] == bytes.fromhex("1f8b0800000000000003")
    inflate = zlib.decompressobj(31)
    assert inflate.decompress(stream) == DATA
    assert inflate.eof and inflate.unused_data == b""
    assert python_gzip.decompress(stream) == DATA


def test_zstd_has_a_checksum(way):
    stream = encode(zstd)
    # Frame_Header_Descriptor, Content_Checksum_flag (RFC 8878, section 3.1.1.1.1)
    assert stream[4] & 4
    broken = bytearray(stream)
    broken[-1] ^= 1
    with pytest.raises(BadDump, match="corrupt"):
        read_back(zstd, bytes(broken))


@both
@pytest.mark.parametrize("level", [None, 1, 9])
def test_same_bytes_for_any_number_of_threads_and_any_cut(codec, way, level):
    streams = {
        hashlib.sha256(encode(codec, step=step, level=level, threads=threads)).hexdigest()
        for threads in (1, 2, 5)
        for step in (99999, 1 << 20, len(DATA))
    }
    assert len(streams) == 1


def test_library_and_program_of_one_version_write_the_same(monkeypatch):
    if shutil.which("zstd") is None or not _libzstd.can_compress():
        pytest.skip("needs both, libzstd and zstd")
    number = _libzstd.library().ZSTD_versionNumber()
    version = "v%d.%d.%d" % (number // 10000, number // 100 % 100, number % 100)
    done = subprocess.run(["zstd", "--version"], stdout=subprocess.PIPE, check=True)
    if version not in done.stdout.decode():
        pytest.skip("the zstd program is not of libzstd's version, %s" % version)
    by_library = encode(zstd)
    monkeypatch.setattr(_libzstd, "library", lambda: None)
    assert encode(zstd) == by_library


@both
def test_takes_any_buffer(codec, way):
    sink = io.BytesIO()
    writer = codec.writer(sink)
    for piece in (DATA[:1000], bytearray(DATA[1000:2000]), memoryview(DATA)[2000:3000], b"", bytearray()):
        writer.write(piece)
    writer.write(memoryview(bytearray(DATA[3000:4000])))
    writer.close()
    assert read_back(codec, sink.getvalue()) == DATA[:4000]


@both
def test_level(codec, way):
    assert len(encode(codec, level=9)) < len(encode(codec, level=1))
    for level in (0, 10 if codec is gzip else 20, -1):
        with pytest.raises(UsageError, match="level"):
            codec.writer(io.BytesIO(), level=level)


def test_isal_is_used_where_it_is_there_and_no_level_was_asked_for(monkeypatch):
    monkeypatch.setattr(gzip, "_isal", lambda: None)
    plain = {level: encode(gzip, level=level) for level in (None, 2, 5)}
    assert plain[None] == plain[5]
    # zlib stands in for isal, which has the same functions.
    monkeypatch.setattr(gzip, "_isal", lambda: zlib)
    assert encode(gzip) == plain[2]
    assert encode(gzip, level=5) == plain[5]


@both
def test_a_full_disk_is_the_os_error(codec, way):
    with open("/dev/full", "wb", buffering=0) as full:
        writer = codec.writer(full)
        with pytest.raises(OSError) as caught:
            for _ in range(20):
                writer.write(os.urandom(1 << 20))
            writer.close()
        assert caught.value.errno == errno.ENOSPC
        writer.close()
        writer.abort()
        with pytest.raises(ValueError):
            writer.write(b"more")


class Full:
    """A sink with room for so many bytes."""

    def __init__(self, room):
        self.room = room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@both
@pytest.mark.parametrize("room", [0, 5, 300000, 2000000])
def test_a_disk_that_becomes_full(codec, way, room):
    writer = codec.writer(Full(room))
    with pytest.raises(OSError) as caught:
        for _ in range(4):
            writer.write(os.urandom(1 << 20))
        writer.close()
    assert caught.value.errno == errno.ENOSPC
    writer.close()


@both
def test_given_up(codec, way):
    sink = io.BytesIO()
    writer = codec.writer(sink)
    writer.write(DATA)
    writer.abort()
    size = len(sink.getvalue())
    writer.close()
    assert len(sink.getvalue()) == size
    with pytest.raises(ValueError):
        writer.write(b"more")


@both
def test_abandoned(codec, way):
    """The fixture sees to it that no thread is left."""
    writer = codec.writer(io.BytesIO(), threads=3)
    writer.write(DATA)
    del writer


@both
def test_a_raw_sink_that_takes_only_a_part(codec, way):
    class Slow(io.RawIOBase):
        taken = b""

        def writable(self):
            return True

        def write(self, data):
            part = bytes(data[:1000])
            self.taken += part
            return len(part)

    sink = Slow()
    writer = codec.writer(sink)
    writer.write(DATA[:100000])
    writer.close()
    assert read_back(codec, sink.taken) == DATA[:100000]


def test_zstd_can_be_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(_libzstd, "library", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert zstd.can_write() is False
    with pytest.raises(ToolMissing, match="tar.gz"):
        zstd.writer(io.BytesIO())


def test_memory_stays_small():
    """Whatever the size, and with as many threads as a large host has."""
    script = (
        "import os, sys\n"
        "from savedump_core.compression import gzip, zstd\n"
        "codec = gzip if sys.argv[1] == 'gzip' else zstd\n"
        "writer = codec.writer(open(os.devnull, 'wb'), threads=128)\n"
        "data = os.urandom(1 << 20)\n"
        "for _ in range(100): writer.write(data)\n"
        "writer.close()\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
    )
    package = sys.modules["savedump_core"].__path__[0].rpartition("/")[0]
    for codec in BOTH:
        arguments = [sys.executable, "-c", script, codec.NAME]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, env={"PYTHONPATH": package})
        assert int(done.stdout) < 100 << 10
