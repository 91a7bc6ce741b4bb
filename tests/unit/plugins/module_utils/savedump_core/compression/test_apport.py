# SPDX-License-Identifier: Apache-2.0
"""The core inside a crash report, by every way in which apport ever wrote one. Written here by the format
(problem_report.py): apport itself is in no archive that the tests may install from."""

import bz2
import io
import os
import zlib

import pytest

from savedump_core import compression
from savedump_core.compression import apport
from savedump_core.errors import BadDump
from savedump_core.source import open_source
from support import elfwriter, stores

CONTENT = os.urandom(1 << 18) + bytes(1 << 18) + b"the end"


def whole(reader, size=1 << 15):
    parts = []
    while True:
        part = reader.read(size)
        if not part:
            return b"".join(parts)
        parts.append(part)


def report(chunks, before=b"", after=b""):
    return b"ProblemType: Crash\nDate: today\n" + before + stores.field("CoreDump", chunks) + after


def in_pieces(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


GZIP = b"".join(stores.gzip_chunks("CoreDump", CONTENT))

WRITTEN = {
    "since 2008": lambda: stores.gzip_chunks("CoreDump", CONTENT, 1 << 16),
    "one line": lambda: [GZIP],
    "short lines": lambda: in_pieces(GZIP, 7),
    "zlib": lambda: in_pieces(zlib.compress(CONTENT), 1000),
    "bzip2": lambda: in_pieces(bz2.compress(CONTENT), 1000),
    "zstd": lambda: [stores.zstd(CONTENT)],
    "lz4": lambda: in_pieces(stores.lz4(CONTENT), 50000),
}


@pytest.mark.parametrize("way", sorted(WRITTEN))
def test_core_comes_out(way):
    # A value may have a line that looks like the field, but for the space before it.
    text = report(WRITTEN[way](), b"Notes:\n CoreDump: base64\n AAAA\n", b"Later: yes\n aGVsbG8=\n")
    assert compression.sniff(text[: compression.HEAD]) is apport
    assert whole(apport.reader(io.BytesIO(text))) == CONTENT


def test_core_of_a_kernel_comes_out():
    text = b"ProblemType: KernelCrash\n" + stores.field("VmCore", stores.gzip_chunks("VmCore", CONTENT))
    assert whole(apport.reader(io.BytesIO(text))) == CONTENT


@pytest.mark.parametrize(
    "text", [b"ProblemType: Package\nTitle: x\n", b"ProblemType: Crash\nCoreDump: text\n more\n", b""]
)
def test_report_without_a_core_is_said(text):
    with pytest.raises(BadDump, match="no core in it"):
        apport.reader(io.BytesIO(text)).read(10)


def test_cut_report_gives_what_it_has_and_says_so():
    text = report(stores.gzip_chunks("CoreDump", CONTENT, 1 << 14))
    reader = apport.reader(io.BytesIO(text[: len(text) // 2]))
    got = b""
    with pytest.raises(BadDump, match="ends early"):
        while True:
            got += reader.read(1000)
    assert len(got) > 1 << 16 and CONTENT.startswith(got)


def test_what_is_no_base64_is_damage():
    text = report([GZIP[:3000]])[:-1] + b"A\n"
    with pytest.raises(BadDump, match="damaged"):
        whole(apport.reader(io.BytesIO(text)))


@pytest.mark.parametrize("head", [b"ProblemType: Crash\nCoreDump: base64\n ", b"ProblemType: Crash\nTitle: "])
def test_line_without_an_end_is_never_in_memory(head):
    """Of the core, and of what comes before it."""

    class Endless:
        left = 1 << 27

        def read(self, size):
            assert len(field._text) < 1 << 18
            data = start.read(size) or b"/" * min(size, self.left)
            self.left -= len(data)
            return data

    start, field = io.BytesIO(head), None
    field = apport._Field(Endless())
    size = 0
    if field.find():
        while True:
            part = field.read(1 << 20)
            if not part:
                break
            size += len(part)
    assert field._file.left == 0 and size == (((1 << 27) - len(head)) // 4 * 3 if b"CoreDump" in head else 0)


def test_report_is_a_dump_like_any_other(tmp_path):
    core = elfwriter.process_core(pid=77).to_bytes()
    path = tmp_path / "_usr_bin_prog.1000.crash"
    path.write_bytes(stores.report(core))
    with open_source(str(path)) as source:
        assert source.compression == "apport" and source.size == len(core) and source.read_at(0, 4) == b"\x7fELF"
        assert source.name == "_usr_bin_prog.1000" and source.damage is None
        assert b"".join(source.chunks([(0, len(core))])) == core
