# SPDX-License-Identifier: Apache-2.0
"""A kernel's dump is hostile until proven otherwise: whatever its headers say, reading it ends soon, in little memory,
with a Dump or BadDump.

SAVEDUMP_FUZZ_ROUNDS sets how many mutations of each kind are tried.
"""

import json
import os
import random
import struct
import subprocess
import sys

import pytest

from savedump_core import errors
from savedump_core.dumps import open_dump
from savedump_core.kernel.capture import NotDumped
from savedump_core.model import Dump
from savedump_core.source import Source
from savedump_core.sysroot import Sysroot
from support import kdumpwriter as w

ROUNDS = int(os.environ.get("SAVEDUMP_FUZZ_ROUNDS", "60"))
CPU_SECONDS, MEMORY, PEAK_KIB = 40, 1 << 30, 100 << 10

NOISE = random.Random(6)
PAGES = {pfn: NOISE.getrandbits(8 * 900).to_bytes(4096, "little") for pfn in range(64)}
INFO = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=0\n"
KDUMP = w.Kdump(memory=PAGES, vmcoreinfo=INFO, notes=w.note("<", b"CORE", 1, bytes(336)))
VMCORE = w.Vmcore(
    loads=[w.Load(pfn << 12, PAGES[pfn], vaddr=0xFFFF888000000000 + (pfn << 12), memsz=8192) for pfn in range(64)],
    notes=w.note("<", b"CORE", 1, bytes(336)) + w.note("<", b"VMCOREINFO", 0, INFO),
)
FORMS = {
    "kdump": w.kdump(KDUMP).to_bytes(),
    "kdump of 32 bits": w.kdump(KDUMP._replace(bits=32, order=">", machine=b"ppc", pack="lzo")).to_bytes(),
    "part": w.split(KDUMP, [30])[1],
    "flattened": w.flat(w.as_makedumpfile(w.kdump(KDUMP._replace(pack="snappy")))),
    "vmcore": w.vmcore(VMCORE),
    "vmcore of 32 bits": w.vmcore(
        w.Vmcore([w.Load(0, PAGES[1])], w.note(">", b"VMCOREINFO", 0, INFO), bits=32, order=">", machine=20)
    ),
    "flattened vmcore": w.flat(w.in_records(w.vmcore(VMCORE), 5000)),
}


class InMemory(Source):
    """A source without a file: thousands of mutations are tried."""

    def __init__(self, data):
        self._data, self._fd = data, -1
        self.path, self.mtime_ns, self.stored_size, self.uid = "vmcore", 0, len(data), 0

    def read_at(self, offset, size):
        return bytes(self._data[offset : offset + size]) if offset < self.stored_size else b""

    def sibling_names(self):
        return []


def read(data):
    """The Dump, or the BadDump."""
    try:
        dump = open_dump(InMemory(data), Sysroot("/"))
    except errors.BadDump as error:
        assert error.message
        return error
    assert isinstance(dump, Dump) and (dump.complete or dump.incomplete_why) and len(dump.warnings) < 100
    return dump


def words_of(form):
    """Where the numbers are that readers follow: the first KiB, the sub-header, some of the descriptors."""
    return [*range(0, 1024, 4), *range(4096, 4096 + 128, 4), *range(8192, 8192 + 4096, 212)]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_whole_is_complete_but_for_a_part(form):
    dump = read(FORMS[form])
    assert dump.complete is (form != "part"), dump.incomplete_why
    assert dump.kernel["release"] == "6.1.0-test"


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_every_word_of_the_headers_at_its_extremes(form, value):
    data = bytearray(FORMS[form])
    for at in words_of(form):
        if at + 4 <= len(data):
            spare = data[at : at + 4]
            data[at : at + 4] = struct.pack("<I", value)
            read(data)
            data[at : at + 4] = spare


@pytest.mark.parametrize("form", sorted(FORMS))
def test_bits_flipped(form):
    for number in range(ROUNDS):
        dice = random.Random("%s %d" % (form, number))
        data = bytearray(FORMS[form])
        for _ in range(dice.choice((1, 3, 30))):
            data[dice.randrange(min(len(data), 1 << 16))] ^= 1 << dice.randrange(8)
        try:
            read(data)
        except BaseException:
            sys.stderr.write("the mutation is random.Random(%r)\n" % ("%s %d" % (form, number)))
            raise


@pytest.mark.parametrize("form", sorted(FORMS))
def test_cut_at_every_page(form):
    whole = FORMS[form]
    for size in [*range(0, len(whole), 4096), *range(0, 1024, 50), len(whole) - 1]:
        outcome = read(whole[:size])
        assert isinstance(outcome, errors.BadDump) or not outcome.complete, size


CHILD = """
import json, resource, sys
cpu, memory = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
from savedump_core import errors
from savedump_core.dumps import open_dump
from savedump_core.source import open_source
from savedump_core.sysroot import Sysroot
try:
    with open_source(sys.argv[1]) as source:
        said = {"why": open_dump(source, Sysroot("/")).incomplete_why}
except errors.BadDump as error:
    said = {"bad": str(error)}
# Not ru_maxrss: that remembers the size of the parent that was forked.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
sys.stdout.write(json.dumps(dict(said, peak=peak)))
"""

TIB = 1 << 40


def much_memory_without_a_page():
    """A bitmap of 128 MiB, of holes."""
    return _with_bitmap(1 << 30), 4 * TIB


def pages_without_end():
    """The same, but the first MiB of the bitmap of those dumped is of ones; no descriptor but holes."""
    return _with_bitmap(1 << 30), 4 * TIB, (3 + (1 << 15)) * 4096, b"\xff" * (1 << 20)


def _with_bitmap(pages):
    front = bytearray(w.kdump(KDUMP._replace(memory={1: PAGES[1]}, notes=b"")).front)
    struct.pack_into("<I", front, 436, 2 * pages // 8 // 4096)
    struct.pack_into("<Q", front, 4096 + 96, pages)
    return bytes(front[: 3 * 4096])


def _with_segments(rows):
    """A vmcore with these program headers, and a note that it is a kernel's."""
    header = bytearray(w.vmcore(VMCORE._replace(loads=[], xnum=True))[:128])
    count = len(rows) // 56 + 1
    struct.pack_into("<I", header, 64 + 44, count)
    notes = w.note("<", b"VMCOREINFO", 0, INFO)
    return bytes(header) + w._segment(VMCORE, w.PT_NOTE, 128 + 56 * count, 0, 0, len(notes), len(notes)) + rows + notes


def a_million_program_headers():
    return _with_segments(w._segment(VMCORE, w.PT_LOAD, 0, 0, 4096, 1 << 40, 1 << 41) * ((1 << 20) - 2)), 4 * TIB


def many_pieces_of_memory():
    rows = [w._segment(VMCORE, w.PT_LOAD, 4096, 1 << 63, number << 13, 4096, 4096) for number in range(1 << 17)]
    return _with_segments(b"".join(rows)), None


def program_headers_in_no_order():
    rows = [w._segment(VMCORE, w.PT_LOAD, 0, 0, (1 << 45) - number * 8192, 4096, 4096) for number in range(1 << 17)]
    return _with_segments(b"".join(rows)), None


def records_over_each_other():
    return w.flat([(number % 7, b"KDUMP   ") for number in range(100000)]), None


def records_backwards():
    return w.flat([(10**7 - 3 * number, b"x") for number in range(100000)]), None


def one_endless_record():
    return w.FLAT_HEADER + struct.pack(">qq", 0, 1 << 61) + FORMS["kdump"], 4 * TIB


def tiny_records():
    return w.flat([(number, b"K") for number in range(500000)]), None


COSTLY = [
    much_memory_without_a_page, pages_without_end, a_million_program_headers, many_pieces_of_memory,
    program_headers_in_no_order, records_over_each_other, records_backwards, one_endless_record, tiny_records,
]  # fmt: skip


@pytest.mark.parametrize("case", COSTLY, ids=lambda case: case.__name__)
def test_cost_is_bounded(case, tmp_path):
    content, size, *more = case()
    path = str(tmp_path / "vmcore")
    with open(path, "wb") as out:
        out.write(content)
        if more:
            out.seek(more[0])
            out.write(more[1])
        if size:
            out.truncate(size)
    top = os.path.dirname(os.path.dirname(os.path.abspath(errors.__file__)))
    environment = dict(os.environ, PYTHONPATH=top, PYTHONDONTWRITEBYTECODE="1")
    command = [sys.executable, "-c", CHILD, path, str(CPU_SECONDS), str(MEMORY)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert done.returncode == 0, "exit %d: %s" % (done.returncode, done.stderr.decode()[-2000:])
    said = json.loads(done.stdout.decode())
    assert said["peak"] < PEAK_KIB, "%d KiB" % said["peak"]


def test_a_page_that_cannot_be_read_raises_nothing_else():
    from savedump_core.dumps import kdump

    for number in range(ROUNDS):
        dice = random.Random(number)
        data = bytearray(FORMS["kdump of 32 bits"])
        for _ in range(40):
            data[dice.randrange(12288, len(data))] ^= 1 << dice.randrange(8)
        source = InMemory(data)
        capture = kdump.open_kdump(source, source).capture
        for pfn in range(64):
            try:
                assert len(capture.read(pfn << 12, 4096)) == 4096
            except NotDumped:
                pass
