# SPDX-License-Identifier: Apache-2.0
"""The core inside a zip file, read from the front, for a node that was short of disk has no end to offer."""

import io
import json
import os
import struct
import zipfile
import zlib

import pytest

from savedump_core import compression
from savedump_core.compression import zipped
from savedump_core.errors import BadDump
from support import stores

CONTENT = os.urandom(1 << 18) + bytes(1 << 18) + b"the end"


class Pipe(io.RawIOBase):
    """Where a zip is written that cannot be gone back in: the sizes come behind each member."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def packed(method=zipfile.ZIP_DEFLATED, out=None, names=("u-dump-info.json", "u.core", "u-pod-info.json")):
    out = io.BytesIO() if out is None else out
    with zipfile.ZipFile(out, "w", method) as file:
        for name in names:
            file.writestr(name, CONTENT if name.endswith(".core") else json.dumps({"name": name}))
    return out.data if isinstance(out, Pipe) else out.getvalue()


def whole(data, size=1 << 15):
    reader, parts = zipped.reader(io.BytesIO(data)), []
    while True:
        part = reader.read(size)
        if not part:
            return b"".join(parts)
        parts.append(part)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_core_comes_out(method):
    data = packed(method)
    assert compression.sniff(data[: compression.HEAD]) is zipped
    assert whole(data) == CONTENT


def test_core_of_a_zip_that_was_written_to_a_pipe_comes_out():
    assert whole(packed(out=Pipe())) == CONTENT


def test_zip_that_lost_its_directory_has_the_core_nevertheless():
    data = packed()
    assert whole(data[: data.index(b"PK\x01\x02")]) == CONTENT


@pytest.mark.parametrize("cut", [25, 33, 200, 100000])
def test_cut_zip_gives_what_it_has_and_says_so(cut):
    data = packed()[:cut]
    reader, got = zipped.reader(io.BytesIO(data)), b""
    with pytest.raises(BadDump, match="is cut at byte %d: it has no end|no core in it" % cut):
        while True:
            part = reader.read(1000)
            assert part, "it ended without a word"
            got += part
    assert CONTENT.startswith(got) and (cut < 1000 or len(got) > cut // 2)


def test_core_whose_writer_died_has_no_sizes_in_its_header():
    """The composer writes the header with zeros, and goes back when the member is whole."""
    data = bytearray(packed())
    at = data.index(b"u.core") - 30
    data[at + 14 : at + 26] = bytes(12)
    assert whole(bytes(data)) == CONTENT
    with pytest.raises(BadDump, match="is cut"):
        whole(bytes(data[:100000]))


def test_corrupt_core_is_said():
    data = bytearray(packed(zipfile.ZIP_STORED))
    data[1000] ^= 1
    with pytest.raises(BadDump, match="CRC"):
        whole(bytes(data))


@pytest.mark.parametrize(
    "data", [packed(names=("a.txt", "b.core.txt")), b"PK\x03\x04", b"PK\x03\x04" + bytes(26)],
    ids=("others", "cut", "zeros"),
)
def test_zip_without_a_core_is_said(data):
    with pytest.raises(BadDump, match="no core in it|is cut"):
        whole(data)


def test_encrypted_core_is_said():
    data = bytearray(packed())
    at = data.index(b"u.core") - 30
    data[at + 6] |= 1
    with pytest.raises(BadDump, match="encrypted"):
        whole(bytes(data))


def test_sizes_of_64_bits_are_understood():
    """As a member of more than 4 GiB has them (APPNOTE.TXT 4.5.3)."""
    extra = struct.pack("<HHQQ", 1, 16, len(CONTENT), len(CONTENT))
    crc = zlib.crc32(CONTENT)
    head = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 45, 0, 0, 0, 0, crc, 0xFFFFFFFF, 0xFFFFFFFF, 6, len(extra))
    assert whole(head + b"u.core" + extra + CONTENT + b"PK\x01\x02") == CONTENT


def test_composed_zip(tmp_path):
    with open(stores.composed(tmp_path, CONTENT), "rb") as file:
        assert whole(file.read()) == CONTENT
