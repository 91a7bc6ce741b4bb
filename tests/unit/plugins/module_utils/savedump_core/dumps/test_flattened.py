# SPDX-License-Identifier: Apache-2.0
"""Flattened dumps: the file within is the one that was flattened, whatever the order of its records."""

import random
import struct

import pytest

from savedump_core.dumps import flattened, kdump, sniff, vmcore
from savedump_core.errors import BadDump
from savedump_core.source import open_source
from support import kdumpwriter as w

RANDOM = random.Random(5)
MEMORY = {pfn: RANDOM.getrandbits(8 * 3000).to_bytes(4096, "little") for pfn in range(10, 400)}
PIECES = w.kdump(w.Kdump(memory=MEMORY, vmcoreinfo=b"OSRELEASE=6.1.0-test\n"))
WHOLE = PIECES.to_bytes()


@pytest.fixture
def source_of(tmp_path):
    """source_of(bytes) is an opened source."""
    sources = []

    def run(content):
        (tmp_path / "dump").write_bytes(content)
        sources.append(open_source(str(tmp_path / "dump")))
        return sources[-1]

    yield run
    for source in sources:
        source.close()


@pytest.fixture
def view_of(source_of):
    return lambda records, **end: flattened.Flattened(source_of(w.flat(records, **end)))


def overlay(records):
    """What a file is after all these writes."""
    content = bytearray(max(offset + len(data) for offset, data in records))
    for offset, data in records:
        content[offset : offset + len(data)] = data
    return bytes(content)


def same(view, content):
    assert view.size == len(content)
    assert view.read_at(0, view.size + 1) == content
    for _ in range(200):
        offset = RANDOM.randrange(len(content) + 10)
        size = RANDOM.randrange(1, 9000)
        assert view.read_at(offset, size) == content[offset : offset + size]


def varied(count):
    at, records = 0, []
    for _ in range(count):
        records.append((at, RANDOM.getrandbits(8 * 200).to_bytes(200, "little")[: RANDOM.randrange(1, 200)]))
        at += len(records[-1][1])
    return records


SHAPES = {
    "in one row": w.in_records(WHOLE, 1000),
    "in one record": [(0, WHOLE)],
    "as makedumpfile writes": w.as_makedumpfile(PIECES),
    "records of all sizes": varied(500),
    "empty ones between": [one for record in varied(100) for one in (record, (7, b""))],
    "backwards": list(reversed(w.in_records(WHOLE[:50000], 1000))),
    "a hole": [(0, b"a" * 100), (100000, b"b" * 100)],
    "the same over and over": [(number % 3 * 50, bytes([number]) * 100) for number in range(60)],
    "a later one over many": varied(300) + [(1000, b"x" * 5000)],
    "a later one over one's end": [(0, b"a" * 100), (100, b"b" * 100), (50, b"c" * 100), (200, b"d" * 9)],
    "long uniform, then a short one": w.in_records(b"q" * 10000, 100) + [(10000, b"r" * 7), (10007, b"s" * 100)],
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_file_within(view_of, shape):
    same(view_of(SHAPES[shape]), overlay(SHAPES[shape]))


def test_any_order(view_of):
    """Whatever was written over whatever, the last write counts."""
    for _ in range(20):
        records = varied(40)
        for _ in range(10):
            spot = RANDOM.randrange(len(records))
            records.insert(RANDOM.randrange(len(records)), (records[spot][0] + RANDOM.randrange(20), b"!" * 30))
        same(view_of(records), overlay(records))


def test_index_is_small(view_of):
    """Of 64 records one is kept, though pages and descriptors take turns."""
    turns = [one for number in range(3200) for one in ((10**6 + number * 9, b"p" * 9), (number * 2, b"d" * 2))]
    view = view_of(turns)
    assert view.records == 6400 and [len(lane.starts) for lane in view._lanes] == [100, 100]
    same(view, overlay(turns))


def test_kdump_within(source_of):
    source = source_of(w.flat(w.as_makedumpfile(PIECES)))
    assert sniff(source) is flattened
    found = kdump.open_kdump(flattened.Flattened(source), source)
    assert found.incomplete_why is None and found.capture.vmcoreinfo == b"OSRELEASE=6.1.0-test\n"
    assert all(found.capture.read(pfn * 4096, 4096) == MEMORY[pfn] for pfn in MEMORY)


def test_elf_within(source_of):
    memory = bytes(MEMORY[10]) + MEMORY[11]
    what = w.Vmcore(notes=w.note("<", b"VMCOREINFO", 0, b"OSRELEASE=1\n"), loads=[w.Load(0x8000, memory)])
    source = source_of(w.flat(w.in_records(w.vmcore(what))))
    view = flattened.Flattened(source)
    assert vmcore.is_kernel(view)
    found = vmcore.open_elf(view, source)
    assert found.incomplete_why is None and found.capture.read(0x8000, 8192) == memory


def test_cut_stream_says_how_much(source_of):
    records = w.as_makedumpfile(PIECES)
    assert flattened.Flattened(source_of(w.flat(records))).why_cut is None
    no_end = flattened.Flattened(source_of(w.flat(records, end=False)))
    assert no_end.why_cut == "its end marker is missing: the stream ends after %d records" % len(records)
    stream = w.flat(records[:60], end=False)
    cut = flattened.Flattened(source_of(stream[:-100]))
    assert "after 60 records, the last of which lacks 100 bytes" in cut.why_cut
    content = bytearray(overlay(records[:59]))
    offset, data = records[59]
    content[offset : offset + len(data) - 100] = data[:-100]
    same(cut, bytes(content[: cut.size]))
    found = kdump.open_kdump(cut, cut._source)
    assert "pages" in (found.incomplete_why or "")


@pytest.mark.parametrize("record", [(-2, 5), (5, -2), (1 << 62, 1), (0, 1 << 62), (-1, 0), (0, -1)])
def test_damaged_record_ends_it(source_of, record):
    stream = w.flat([(0, WHOLE)], end=False) + struct.pack(">qq", *record) + b"abc"
    view = flattened.Flattened(source_of(stream))
    assert view.size == len(WHOLE) and ("damaged" in view.why_cut or "lacks" in view.why_cut or "ends" in view.why_cut)


def test_order_that_nobody_writes_is_refused(view_of):
    with pytest.raises(BadDump, match="no order that makedumpfile writes"):
        view_of([(1000 - number, b"ab") for number in range(0, 300, 3)])


def test_neither_kind_within(source_of):
    for content, words in ((b"hello", "no kernel's dump"), (b"", "within its first record")):
        with pytest.raises(BadDump, match=words):
            flattened.open_dump(source_of(w.flat([(0, content)])), None)
    with pytest.raises(BadDump, match="unknown flattened header"):
        flattened.open_dump(source_of(w.FLAT_HEADER[:16] + bytes(5000)), None)
