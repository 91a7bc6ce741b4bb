# SPDX-License-Identifier: Apache-2.0
"""A dump is hostile until proven otherwise: whatever the bytes, reading ends soon, in little memory, with a value or
BadDump.

The costly cases run in a child with a limit of CPU seconds and address space, so that a regression fails and does not
take the machine with it. SAVEDUMP_FUZZ_ROUNDS sets how many mutations of each real core are tried.
"""
import bz2
import gzip
import json
import lzma
import os
import random
import subprocess
import sys

import pytest

from savedump_core import api, errors
from savedump_core.dumps import open_dump
from savedump_core.model import SearchOptions
from savedump_core.source import Source
from savedump_core.sysroot import Sysroot
from support import elfwriter as w
from support.elfwriter import PT_LOAD, PT_NOTE, FileRow, Mapped, Note, Segment, Sparse

CORES = os.path.join(os.path.dirname(__file__), *[os.pardir] * 5, "data", "cores")
ROUNDS = int(os.environ.get("SAVEDUMP_FUZZ_ROUNDS", "150"))
CPU_SECONDS, MEMORY = 40, 1 << 30
PEAK_KIB = 200 << 10

A = w.X86_64
BASE, LIB, R_DEBUG = 0x400000, 0x10000000, 0x7FFE00000000
PROGRAM = w.elf_file(A, b"\x11" * 20, base=BASE)
LIBRARY = w.elf_file(A, b"\x22" * 20, soname="libx.so.1")
FAR = 8 << 20

CHILD = """
import json, resource, sys
cpu, memory = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
from savedump_core import api, errors
from savedump_core.model import SearchOptions
try:
    said = {"report": api.inspect(sys.argv[1], SearchOptions(sysroot=sys.argv[4]))}
except errors.BadDump as error:
    said = {"bad": str(error)}
# Not ru_maxrss: that remembers the size of the parent that was forked.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
sys.stdout.write(json.dumps(dict(said, peak=peak)))
"""


@pytest.fixture
def inspect(tmp_path):
    """inspect(Sparse or bytes) in a bounded child: {"report": ...} or {"bad": message}."""
    sysroot = tmp_path / "sysroot"
    sysroot.mkdir()

    def run(dump):
        path = str(tmp_path / "core")
        if isinstance(dump, Sparse):
            dump.write(path)
        else:
            with open(path, "wb") as out:
                out.write(dump)
        top = os.path.dirname(os.path.dirname(os.path.abspath(api.__file__)))
        environment = dict(os.environ, PYTHONPATH=top, PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run([sys.executable, "-c", CHILD, path, str(CPU_SECONDS), str(MEMORY), str(sysroot)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        assert done.returncode == 0, "exit %d: %s" % (done.returncode, done.stderr.decode()[-2000:])
        assert len(done.stdout) < 16 << 20, "a report of %d bytes" % len(done.stdout)
        said = json.loads(done.stdout.decode())
        assert said["peak"] < PEAK_KIB, "%d KiB" % said["peak"]
        return said

    run.sysroot = sysroot
    return run


class InMemory(Source):
    """A source without a file: thousands of mutations are tried."""

    def __init__(self, data):
        self._data, self._fd = data, -1
        self.path, self.mtime_ns, self.stored_size = "core", 0, len(data)

    def read_at(self, offset, size):
        return bytes(self._data[offset:offset + size]) if offset < self.stored_size else b""


def read(dump, sysroot):
    """The Dump, or the BadDump, in this process."""
    data = dump.to_bytes() if isinstance(dump, Sparse) else dump
    try:
        return open_dump(InMemory(data), Sysroot(str(sysroot)))
    except errors.BadDump as error:
        assert error.message
        return error


def only_notes(*notes, **kwargs):
    return w.assemble(A, w.ET_CORE, [Segment(PT_NOTE, 0, w.note_bytes(A, notes), align=4, **kwargs)])


def far_away(segments, offset, data):
    """A core whose segments lie over the same bytes, stored once at `offset`."""
    core = w.assemble(A, w.ET_CORE, segments)
    return Sparse(offset + len(data), core.pieces + ((offset, data),))


def linked(memory):
    """A core whose dynamic linker's lists are these bytes, at R_DEBUG."""
    notes = [w.prstatus(A, 1, 11), w.prpsinfo(A, 1),
             w.auxv(A, [(w.AT_PHDR, BASE + 64), (w.AT_PHENT, 56), (w.AT_PHNUM, 3)]),
             w.nt_file(A, [FileRow(BASE, BASE + 4096, 0, b"/usr/bin/prog")])]
    image = w.with_dt_debug(A, PROGRAM, R_DEBUG).ljust(4096, b"\0")
    return w.assemble(A, w.ET_CORE, [Segment(PT_NOTE, 0, w.note_bytes(A, notes), align=4),
                                     Segment(PT_LOAD, BASE, image, flags=w.R | w.X, align=4096),
                                     Segment(PT_LOAD, R_DEBUG, memory, flags=w.R | w.W, align=4096)])


def chain(count, name_at, strings):
    """r_debug and `count` link maps of the main program, the i-th one's name at offset name_at(i) of `strings`."""
    l_ld = BASE + w.dynamic_of(A, PROGRAM)[0]
    names = R_DEBUG + 48 + 40 * count
    maps = [A.pack("iiQQQQQ", 1, 0, R_DEBUG + 48, 0, 0, 0, 0)]
    for index in range(count):
        following = R_DEBUG + 48 + 40 * (index + 1) if index + 1 < count else 0
        maps.append(A.pack("QQQQQ", 0, names + name_at(index), l_ld, following, 0))
    return b"".join(maps) + strings


# --- what costs time or memory ------------------------------------------------------------------------------------


def three_gib_of_zero_notes():
    core = w.assemble(A, w.ET_CORE, [Segment(PT_NOTE, filesz=3 << 30, offset=4096, align=4)])
    return Sparse(4096 + (3 << 30), core.pieces)


def a_million_empty_notes():
    return w.assemble(A, w.ET_CORE, [Segment(PT_NOTE, 0, A.pack("III", 0, 0, 1) * (1 << 20), align=4)])


def a_million_threads():
    notes = w.note_bytes(A, [Note(b"CORE", 1, b"")]) * (1 << 20)
    return w.assemble(A, w.ET_CORE, [Segment(PT_NOTE, 0, notes, align=4)])


def many_note_segments_over_the_same_notes():
    notes = w.note_bytes(A, [Note(b"CORE", 1, b"")]) * 50000
    return far_away([Segment(PT_NOTE, filesz=len(notes), offset=FAR, align=4)] * 60000, FAR, notes)


def a_warning_per_segment():
    return w.assemble(A, w.ET_CORE, [Segment(PT_NOTE, filesz=64, offset=1 << 50, align=4)] * 131070)


def a_large_nt_file_again_and_again():
    size = 60 << 20
    note = A.pack("III", 5, size, w.NT_FILE) + b"CORE\0\0\0\0"
    segments = [Segment(PT_NOTE, filesz=len(note) + size, offset=FAR, align=4)] * 20000
    return Sparse(FAR + len(note) + size, far_away(segments, FAR, note).pieces)


def as_many_rows_as_a_note_holds():
    count = (16 << 20) // 25 - 1
    rows = b"".join(A.pack("QQQ", LIB + i * 4096, LIB + 4096 + i * 4096, 0) for i in range(count))
    return only_notes(Note(b"CORE", w.NT_FILE, A.pack("QQ", count, 4096) + rows + bytes(count)))


def a_million_segments():
    count = (1 << 20) - 1
    loads = (Segment(PT_LOAD, 0x7F0000000000 + i * 4096, filesz=4096, align=4096) for i in range(count))
    table = b"".join(w.segment_header(A, load, 1 << 40) for load in loads)
    header = w.file_header(A, w.ET_CORE, w.PN_XNUM, 64, 64 + len(table), 1)
    return header + table + bytes(44) + A.pack("I", count) + bytes(16)


def an_image_per_segment():
    loads = [Segment(PT_LOAD, 0x7F0000000000 + i * 0x10000, filesz=len(LIBRARY), memsz=4096, offset=FAR)
             for i in range(131070)]
    return far_away(loads, FAR, LIBRARY)


def images_with_many_notes():
    """Each image has as many program headers, notes and dynamic entries as it may, all over the same bytes."""
    notes, dynamic = A.pack("III", 0, 0, 1) * 5000, A.pack("QQ", 1, 1) * 4096
    load = Segment(PT_LOAD, filesz=4096, memsz=4096)
    headers = [load, Segment(w.PT_DYNAMIC, 0x90000, filesz=len(dynamic), offset=0x90000)]
    headers += [Segment(PT_NOTE, 0x80000, filesz=len(notes), offset=0x80000)] * 200
    headers += [load] * (4096 - len(headers))
    image = w.file_header(A, w.ET_DYN, len(headers), 64)
    image += b"".join(w.segment_header(A, one, one.offset or 0) for one in headers)
    image = (image.ljust(0x80000, b"\0") + notes).ljust(0x90000, b"\0") + dynamic
    loads = [Segment(PT_LOAD, 0x7F0000000000 + i * 0x1000000, filesz=len(image), memsz=0x1000000, offset=FAR)
             for i in range(8192)]
    return far_away(loads, FAR, image)


def memory_in_segments_of_one_byte():
    image = LIBRARY.ljust(131000, b"A")
    loads = [Segment(PT_LOAD, LIB + i, filesz=1, memsz=1, offset=FAR + i) for i in range(131000)]
    return far_away(loads, FAR, image)


def many_names_of_one_module():
    count = 65000
    return linked(chain(count, lambda i: 16 * i, b"".join(b"/lib/%010d\0" % i for i in range(count))))


def long_names_that_overlap():
    return linked(chain(65000, lambda i: i, (b"x" * 8000 + b"\0") * 20))


COSTLY = [
    three_gib_of_zero_notes, a_million_empty_notes, a_million_threads, many_note_segments_over_the_same_notes,
    a_warning_per_segment, a_large_nt_file_again_and_again, as_many_rows_as_a_note_holds, a_million_segments,
    an_image_per_segment, images_with_many_notes, memory_in_segments_of_one_byte, many_names_of_one_module,
    long_names_that_overlap,
]  # fmt: skip


@pytest.mark.parametrize("case", COSTLY, ids=lambda case: case.__name__)
def test_cost_is_bounded(case, inspect):
    said = inspect(case())
    if "report" in said:
        report = said["report"]
        assert report["warnings"], "what was left out is said"
        assert len(report["warnings"]) < 100 and len(report["modules"]) < 10000


def test_as_many_segments_as_a_process_may_have(inspect):
    """Twice vm.max_map_count and beyond what e_phnum holds: unusual, but a whole and honest core."""
    loads = [Segment(PT_LOAD, 0x7F0000000000 + i * 8192, filesz=0, memsz=4096, align=4096) for i in range(131066)]
    modules = [Mapped(b"/usr/bin/prog", BASE, PROGRAM), Mapped(b"/lib/libx.so.1", LIB, LIBRARY)]
    report = inspect(w.process_core(A, modules, extra=loads))["report"]
    assert [one["build_id"] for one in report["modules"]] == ["11" * 20, "22" * 20]
    assert report["complete"] is True and report["warnings"] == []


# --- on-disk files that a dump names ------------------------------------------------------------------------------


def _section(name, kind, offset, size):
    return A.pack("IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, 0, 1, 0)


def file_with_endless_section_names():
    """65,535 sections, each named by another suffix of one name of 4 MiB."""
    names, count = b"\0" + b"a" * ((4 << 20) - 2) + b"\0", 65535
    table = b"".join(_section(i + 1, 1, 0, 0) for i in range(count - 1)) + _section(0, 3, 64, len(names))
    return w.file_header(A, w.ET_DYN, 0, 64, 64 + len(names), count, count - 1) + names + table


def file_with_many_note_sections():
    notes, count = A.pack("III", 0, 0, 1) * 87381, 65000
    names = b"\0" + b"".join(b"%05d\0" % i for i in range(count))
    table = b"".join(_section(1 + i * 6, 7, 64, len(notes)) for i in range(count - 1))
    table += _section(0, 3, 64 + len(notes), len(names))
    header = w.file_header(A, w.ET_DYN, 0, 64, 64 + len(notes) + len(names), count, count - 1)
    return header + notes + names + table


def file_with_many_note_segments():
    notes, count = A.pack("III", 0, 0, 1) * 87381, 65534
    one = w.segment_header(A, Segment(PT_NOTE, filesz=len(notes), align=4), 64 + 56 * count)
    return w.file_header(A, w.ET_DYN, count, 64) + one * count + notes


@pytest.mark.parametrize("case", [file_with_endless_section_names, file_with_many_note_sections,
                                  file_with_many_note_segments], ids=lambda case: case.__name__)
def test_file_on_disk_costs_no_more_than_a_dump(case, inspect):
    (inspect.sysroot / "evil").write_bytes(case())
    report = inspect(w.process_core(A, [Mapped(b"/evil", BASE, PROGRAM)]))["report"]
    outcomes = {one["path"]: one["outcome"] for one in report["modules"][0]["file"]["attempts"]}
    # What the dump holds is rebuilt, and has nothing of the file.
    assert outcomes[str(inspect.sysroot / "evil")] != "match"


def test_special_files_are_not_opened(inspect):
    os.mkfifo(str(inspect.sysroot / "fifo"))
    (inspect.sysroot / "folder").mkdir()
    os.symlink("loop", str(inspect.sysroot / "loop"))
    os.symlink("/dev/zero", str(inspect.sysroot / "zero"))
    paths = [b"/fifo", b"/folder", b"/loop", b"/zero", b"/dev/zero", b"/../../../../etc/passwd", b"",
             b"/" + b"x" * 60000, b"/a\nb", b"/\xff\xfe", b"relative", b"/proc/self/mem"]
    modules = [Mapped(path, LIB + i * 0x10000, LIBRARY) for i, path in enumerate(paths)]
    report = inspect(w.process_core(A, [Mapped(b"/usr/bin/prog", BASE, PROGRAM)] + modules))["report"]
    tried = [attempt for one in report["modules"] for attempt in one["file"]["attempts"]]
    assert len(tried) > len(paths)
    assert {one["outcome"] for one in tried if one["finder"] != "from-dump"} <= {"absent", "refused"}


# --- what is merely wrong -----------------------------------------------------------------------------------------


def patched(offset, letters, *values):
    data = bytearray(w.process_core(A, [Mapped(b"/usr/bin/prog", BASE, PROGRAM)]).to_bytes())
    field = A.pack(letters, *values)
    data[offset:offset + len(field)] = field
    return bytes(data)


BAD_HEADERS = {
    "e_phoff beyond the end": patched(32, "Q", 1 << 40),
    "e_phoff at the end of all": patched(32, "Q", (1 << 64) - 1),
    "e_phentsize 0": patched(54, "H", 0),
    "e_phentsize of the other class": patched(54, "H", 32),
    "e_phnum 0": patched(56, "H", 0),
    "e_phnum too large": patched(56, "H", 60000),
    "PN_XNUM, section header beyond the end": patched(40, "QIHHHHHH", 1 << 60, 0, 64, 56, 0xFFFF, 64, 1, 0),
    "PN_XNUM, no section header": patched(56, "H", 0xFFFF),
    "cut in the ELF header": patched(0, "")[:60],
    "cut in the program headers": patched(0, "")[:100],
}


@pytest.mark.parametrize("name", sorted(BAD_HEADERS))
def test_bad_headers_are_refused(name, tmp_path):
    assert isinstance(read(BAD_HEADERS[name], tmp_path), errors.BadDump)


def test_four_billion_segments_are_refused(tmp_path):
    data = patched(40, "QIHHHHHH", 0x200, 0, 64, 56, 0xFFFF, 64, 1, 0)
    assert isinstance(read(data[:0x200 + 44] + b"\xff\xff\xff\xff" + data[0x200 + 48:], tmp_path), errors.BadDump)


@pytest.mark.parametrize("namesz, descsz", [
    (0xFFFFFFFF, 0), (5, 0xFFFFFFFF), (0xFFFFFFFD, 0xFFFFFFFD), (257, 4), (5, 337),
])  # fmt: skip
def test_notes_that_overrun_end_the_notes_with_a_word(namesz, descsz, tmp_path):
    liar = Note(b"CORE", w.NT_PRSTATUS, bytes(336), namesz=namesz, descsz=descsz)
    dump = read(only_notes(w.prpsinfo(A, 7, b"before"), liar), tmp_path)
    assert dump.process.comm == "before", "what came before counts"
    assert dump.warnings


@pytest.mark.parametrize("count", [1 << 63, (1 << 64) - 1, (1 << 64) // 24 + 1, 3, 1 << 32])
def test_nt_file_that_claims_too_many_rows(count, tmp_path):
    note = w.nt_file(A, [FileRow(BASE, BASE + 4096, 0, b"/usr/bin/prog")], claimed=count)
    dump = read(only_notes(w.prpsinfo(A, 7), note), tmp_path)
    assert dump.process.pid == 7 and dump.warnings


@pytest.mark.parametrize("page", [0, 1, (1 << 64) - 1])
def test_nt_file_with_absurd_page_size(page, tmp_path):
    rows = [FileRow((1 << 64) - 1, 0, (1 << 64) - 1, b"/a"), FileRow(0, (1 << 64) - 1, 0, b"")]
    assert read(only_notes(w.nt_file(A, rows, page_size=page)), tmp_path).kind == "core"


@pytest.mark.parametrize("abi", ["x86_64", "i386", "s390x", "mips"])
def test_notes_of_every_size(abi, tmp_path):
    """A descriptor cut anywhere, of each kind of note that is read."""
    abi = w.ABIS[abi]
    whole = [w.prstatus(abi, 7, 11), w.prpsinfo(abi, 7), w.siginfo(abi), w.auxv(abi, [(3, 0), (9, 1)]),
             w.nt_file(abi, [FileRow(1, 2, 3, b"/x"), FileRow(4, 5, 6, b"/y")])]
    for note in whole:
        for size in range(len(note.desc) + 1):
            body = w.note_bytes(abi, [note._replace(desc=note.desc[:size])])
            assert read(w.assemble(abi, w.ET_CORE, [Segment(PT_NOTE, 0, body, align=4)]), tmp_path).kind == "core"


@pytest.mark.parametrize("auxv", [
    [(w.AT_PHDR, BASE + 64), (w.AT_PHENT, 56), (w.AT_PHNUM, (1 << 64) - 1)],
    [(w.AT_PHDR, (1 << 64) - 8), (w.AT_PHENT, 56), (w.AT_PHNUM, 9)],
    [(w.AT_PHDR, 1), (w.AT_PHENT, 0), (w.AT_PHNUM, 1 << 40)],
    [(w.AT_PHDR, LIB), (w.AT_EXECFN, (1 << 64) - 1), (w.AT_SYSINFO_EHDR, BASE), (w.AT_ENTRY, LIB)],
])  # fmt: skip
def test_auxv_that_points_anywhere(auxv, tmp_path):
    core = w.process_core(A, [Mapped(b"/usr/bin/prog", BASE, PROGRAM), Mapped(b"/lib/libx.so.1", LIB, LIBRARY)],
                          without=[w.NT_AUXV], more_notes=[w.auxv(A, auxv)])
    dump = read(core, tmp_path)
    assert {one.build_id for one in dump.modules} == {b"\x11" * 20, b"\x22" * 20}


@pytest.mark.parametrize("extra", [
    [Segment(PT_LOAD, (1 << 64) - 4096, LIBRARY.ljust(8192, b"\0"))],
    [Segment(PT_LOAD, BASE, b"\x7fELF", filesz=4, memsz=1 << 63)] * 3,
    [Segment(PT_LOAD, LIB + 1, filesz=(1 << 64) - 1, offset=0), Segment(PT_LOAD, LIB, filesz=1 << 63, offset=1)],
    [Segment(PT_LOAD, BASE - 1, filesz=1 << 40, offset=(1 << 64) - 1)],
    [Segment(PT_NOTE, filesz=(1 << 64) - 1, offset=(1 << 64) - 1), Segment(PT_NOTE, filesz=11, offset=0)],
])  # fmt: skip
def test_segments_that_overlap_and_wrap(extra, tmp_path):
    dump = read(w.process_core(A, [Mapped(b"/usr/bin/prog", BASE, PROGRAM)], extra=extra), tmp_path)
    assert dump.process.pid == 4242


@pytest.mark.parametrize("memory, warned", [
    (A.pack("iiQQQQQ", 2, 0, R_DEBUG + 48, 0, 0, 0, R_DEBUG) + A.pack("QQQQQ", 0, 0, 0, R_DEBUG + 48, 0), True),
    (A.pack("iiQQQQQ", 2, 0, R_DEBUG, 0, 0, 0, R_DEBUG), False),
    (A.pack("iiQQQQQ", 1, 0, 1 << 60, 0, 0, 0, 0), True),
    (A.pack("iiQQQQQ", 1, 0, R_DEBUG + 48, 0, 0, 0, 0) + A.pack("QQQQQ", 0, R_DEBUG + 80, 0, (1 << 64) - 8, 0), True),
    (A.pack("iiQ", -1, 0, 0), False),
    (b"\2", True),
], ids=["cyclic", "itself", "not dumped", "breaks off", "negative version", "cut"])  # fmt: skip
def test_link_maps_that_lead_astray(memory, warned, tmp_path):
    dump = read(linked(memory), tmp_path)
    assert [one.build_id for one in dump.modules] == [b"\x11" * 20]
    assert bool(dump.warnings) == warned


def test_cyclic_lists_still_give_their_names(tmp_path):
    modules = [Mapped(b"/usr/bin/prog", BASE, PROGRAM)]
    modules += [Mapped(b"/lib/%d.so" % i, LIB + i * 0x10000, LIBRARY, b"./%d.so" % i) for i in range(4)]
    dump = read(w.process_core(A, modules, namespaces=2, cyclic=True), tmp_path)
    assert [one.name for one in dump.modules[1:]] == ["./0.so", "./1.so", "./2.so", "./3.so"]


# --- mutations of real cores --------------------------------------------------------------------------------------


def real(name):
    with lzma.open(os.path.join(CORES, name)) as packed:
        return packed.read()


ODD = (0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1)
TINY = sorted(name for name in os.listdir(CORES) if name.endswith("-tiny.core.xz"))
FULL = sorted(name for name in os.listdir(CORES) if name.endswith("-crash.core.xz"))


def hot_spots(data):
    """(offset, size) of what steers the reader: headers, notes, and the memory in which lists and headers lie."""
    order, wide = "<" if data[5] == 1 else ">", data[4] == 2
    unsigned = {"<": "little", ">": "big"}[order]

    def number(at, size):
        return int.from_bytes(data[at:at + size], unsigned)

    table = number(32, 8) if wide else number(28, 4)
    count, size = (number(56, 2), 56) if wide else (number(44, 2), 32)
    spots = [(0, 64), (table, count * size)]
    for at in range(table, table + count * size, size):
        offset, filesz = (number(at + 8, 8), number(at + 32, 8)) if wide else (number(at + 4, 4), number(at + 16, 4))
        if filesz:
            spots.append((offset, min(filesz, 8192)))
    return spots


def mutate(data, spots, rng):
    """A copy with one to eight fields overwritten, now and then cut."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        offset, size = rng.choice(spots)
        at = offset + rng.randrange(size)
        kind = rng.random()
        if kind < 0.3:
            new = bytes((rng.randrange(256),))
        elif kind < 0.7:
            at &= ~3
            value = rng.choice(ODD + (len(data), rng.getrandbits(64)))
            new = value.to_bytes(8, rng.choice(("little", "big")))[:rng.choice((2, 4, 8))]
        elif kind < 0.85:
            new = rng.choice((b"\0", b"\xff")) * rng.randrange(1, 64)
        else:
            source = rng.randrange(len(data))
            new = data[source:source + rng.randrange(1, 256)]
        changed[at:at + len(new)] = new
    return bytes(changed[:rng.randrange(len(data))] if rng.random() < 0.1 else changed)


@pytest.mark.parametrize("name", TINY + FULL)
def test_mutations_of_real_cores(name, tmp_path):
    data = real(name)
    spots = hot_spots(data)
    outcomes = set()
    for number in range(ROUNDS):
        seed = "%s %d" % (name, number)
        try:
            outcomes.add(type(read(mutate(data, spots, random.Random(seed)), tmp_path)).__name__)
        except BaseException:
            sys.stderr.write("the mutation is random.Random(%r)\n" % seed)
            raise
    assert "Dump" in outcomes


@pytest.mark.parametrize("name", TINY)
def test_cut_at_every_64_bytes(name, tmp_path):
    data = real(name)
    whole = read(data, tmp_path)
    assert whole.complete
    for size in range(0, len(data), 64):
        cut = read(data[:size], tmp_path)
        assert isinstance(cut, errors.BadDump) or (not cut.complete and cut.incomplete_why), size


@pytest.mark.parametrize("name", ["x86_64-tiny.core.xz", "arm-tiny.core.xz"])
def test_each_byte_of_the_headers_flipped(name, tmp_path):
    data = bytearray(real(name))
    for at in range(min(4096, len(data))):
        data[at] ^= 0xFF
        read(bytes(data), tmp_path)
        data[at] ^= 0xFF


def test_mutated_core_through_the_front_door(tmp_path):
    """A few of the same with search and JSON on top."""
    data = real("x86_64-crash.core.xz")
    spots = hot_spots(data)
    path = tmp_path / "core"
    for number in range(40):
        path.write_bytes(mutate(data, spots, random.Random(number)))
        try:
            assert json.dumps(api.inspect(str(path), SearchOptions(sysroot=str(tmp_path / "none"))))
        except errors.BadDump:
            pass


# --- compressed -------------------------------------------------------------------------------------------------


def test_stream_that_goes_on_behind_the_dump(inspect):
    """A TiB of zeros in 800 KB, behind an honest core."""
    zeros = bz2.compress(bytes(64 << 20))
    core = w.process_core(A, [Mapped(b"/usr/bin/prog", BASE, PROGRAM)])
    report = inspect(bz2.compress(core.to_bytes()) + zeros * (1 << 14))["report"]
    assert report["complete"] is False
    assert "goes on" in report["incomplete_why"]
    assert report["process"]["pid"] == 4242


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress, bz2.compress],
                         ids=lambda pack: pack.__module__.strip("_"))  # fmt: skip
def test_compressed_cores_cut_and_changed(pack, tmp_path):
    data = pack(real("arm-tiny.core.xz"))
    path, options = tmp_path / "core", SearchOptions(sysroot=str(tmp_path / "none"))
    rng = random.Random(pack.__module__)
    changed = [data[:size] for size in range(1, len(data), 97)]
    changed += [mutate(data, [(0, len(data))], rng) for _ in range(100)]
    for one in changed:
        path.write_bytes(one)
        try:
            report = api.inspect(str(path), options)
        except errors.BadDump:
            continue
        assert json.dumps(report)
        assert len(one) == len(data) or report["complete"] is False


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress, bz2.compress],
                         ids=lambda pack: pack.__module__.strip("_"))  # fmt: skip
def test_wrong_checksum_at_the_end_is_damage(pack, tmp_path):
    """All bytes are there, and the stream says that they are not what was compressed. The end is in a segment that
    nothing else has to read."""
    last = Segment(PT_LOAD, 0x7FFF80000000, random.Random(1).getrandbits(32 << 20).to_bytes(4 << 20, "little"))
    core = w.process_core(A, [Mapped(b"/usr/bin/prog", BASE, PROGRAM)], extra=[last])
    data = bytearray(pack(core.to_bytes()))
    data[-5] ^= 0xFF
    (tmp_path / "core").write_bytes(bytes(data))
    report = api.inspect(str(tmp_path / "core"), SearchOptions(sysroot=str(tmp_path / "none")))
    assert report["complete"] is False
    assert "stream" in report["incomplete_why"], "not a core size limit's fault"
