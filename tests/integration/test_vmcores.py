# SPDX-License-Identifier: Apache-2.0
"""One machine's memory in every container that makedumpfile, kdump and QEMU have: it reads the same out of each."""

import os
import random

import pytest

from savedump_core.dumps import open_dump, sniff
from savedump_core.dumps.flattened import Flattened
from savedump_core.dumps.kdump import open_kdump
from savedump_core.dumps.vmcore import is_kernel, open_elf
from savedump_core.errors import BadDump
from savedump_core.kernel.capture import NotDumped
from savedump_core.source import may_be_dump, open_source
from savedump_core.source.plain import Source
from savedump_core.sysroot import Sysroot

PAGE = 4096
GUESTS = ("oops61", "sysrq61")
FORMS = {
    "qemu-kdump-zlib": ("kdump-flattened", "zlib", None),
    "elf": ("vmcore-elf", None, None),
    "mdf.zlib.d0": ("kdump-compressed", "zlib", 0),
    "mdf.zlib.d1": ("kdump-compressed", "zlib", 1),
    "mdf.zlib.d31": ("kdump-compressed", "zlib", 31),
    "mdf.lzo.d31": ("kdump-compressed", "lzo", 31),
    "mdf.zstd.d31": ("kdump-compressed", "zstd", 31),
    "mdf.none.d31": ("kdump-compressed", None, 31),
    "mdf.elf.d31": ("vmcore-elf", None, None),
    "mdf.zlib.d31.flat": ("kdump-flattened", "zlib", 31),
    "mdf.lzo.d31.flat": ("kdump-flattened", "lzo", 31),
    "mdf.zstd.d31.flat": ("kdump-flattened", "zstd", 31),
    "mdf.elf.d31.flat": ("elf-flattened", None, None),
    "mdf.split1": ("kdump-compressed", "zlib", 31),
    "mdf.split2": ("kdump-compressed", "zlib", 31),
    "mdf.split3": ("kdump-compressed", "zlib", 31),
}


def container(source):
    """The source opened as a container, without what the kernel's memory says."""
    data = Flattened(source) if source.read_at(0, 12) == b"makedumpfile" else source
    return open_elf(data, source) if is_kernel(data) else open_kdump(data, source)


def inspected(path):
    with open_source(str(path)) as source:
        return open_dump(source, Sysroot("/"))


def frames(capture):
    return {pfn for start, size in capture.stored() for pfn in range(start // PAGE, (start + size) // PAGE)}


@pytest.fixture(scope="module", params=GUESTS)
def reference(request, vmcores):
    """(guest, its memory as QEMU wrote it: whole and uncompressed)."""
    with open_source(str(vmcores.dumps / (request.param + ".qemu-elf"))) as source:
        yield request.param, container(source).capture


@pytest.mark.parametrize("form", sorted(FORMS))
def test_same_memory_in_every_form(reference, vmcores, form):
    guest, truth = reference
    with open_source(str(vmcores.dumps / ("%s.%s" % (guest, form)))) as source:
        found = container(source)
        kind, compression, level = FORMS[form]
        assert sniff(source).__name__.rsplit(".", 1)[1] == {
            "kdump-compressed": "kdump", "vmcore-elf": "vmcore"
        }.get(kind, "flattened")  # fmt: skip
        capture = found.capture
        assert (found.incomplete_why, found.warnings) == (None, ())
        assert (capture.compression, capture.dump_level) == (
            compression,
            level if level is not None else capture.dump_level,
        )
        assert (capture.machine, capture.bits, capture.order) == ("x86_64", 64, "<")
        assert capture.vmcoreinfo == truth.vmcoreinfo
        there, whole = frames(capture), frames(truth)
        assert len(there) > 5000 and there <= whole
        dice = random.Random(form)
        for pfn in dice.sample(sorted(there), 500):
            at = dice.randrange(PAGE)
            assert capture.read(pfn * PAGE + at, PAGE - at) == truth.read(pfn * PAGE + at, PAGE - at), hex(pfn)
        for pfn in dice.sample(sorted(whole - there), min(50, len(whole - there))):
            with pytest.raises(NotDumped):
                capture.read(pfn * PAGE, PAGE)


def test_every_page_of_one_form(vmcores):
    """Ranks, descriptors and runs: not one page is taken for another."""
    with (
        open_source(str(vmcores.dumps / "oops61.qemu-elf")) as truth,
        open_source(str(vmcores.dumps / "oops61.mdf.zlib.d31.flat")) as source,
    ):
        reads = container(truth).capture.read
        capture = container(source).capture
        assert all(capture.read(pfn * PAGE, PAGE) == reads(pfn * PAGE, PAGE) for pfn in sorted(frames(capture)))


@pytest.mark.parametrize("layout", ["debian", "rhel", "suse", "elf"])
def test_what_a_crash_kernel_saved(vmcores, layout):
    folder = vmcores.dumps / "kdump61.kdump"
    path = folder / "dump.elf.d31" if layout == "elf" else vmcores.kdump(layout)
    with open_source(str(folder / "vmcore.raw.elf")) as raw, open_source(str(path)) as source:
        truth, found = container(raw).capture, container(source)
        assert found.incomplete_why is None
        for pfn in random.Random(layout).sample(sorted(frames(found.capture)), 500):
            assert found.capture.read(pfn * PAGE, PAGE) == truth.read(pfn * PAGE, PAGE)


@pytest.mark.parametrize("guest", GUESTS)
def test_set_is_whole_from_each_part(vmcores, guest):
    names = ["%s.mdf.split%d" % (guest, number) for number in (1, 2, 3)]
    whole = inspected(vmcores.dumps / (guest + ".mdf.zlib.d31"))
    for name in names:
        dump = inspected(vmcores.dumps / name)
        assert dump.complete
        assert sorted([name] + [os.path.basename(part.path) for part in dump.parts]) == names
        assert dump.kernel == whole.kernel and dump.modules == whole.modules and dump.dmesg == whole.dmesg


def test_part_that_is_missing_is_said(vmcores, tmp_path):
    for number in (1, 3):
        os.symlink(str(vmcores.dumps / ("oops61.mdf.split%d" % number)), str(tmp_path / ("dump%d" % number)))
        content = (vmcores.dumps / ("oops61.mdf.split%d" % number)).read_bytes()
        (tmp_path / ("part%d" % number)).write_bytes(content)
    dump = inspected(tmp_path / "part1")
    assert not dump.complete and "2 of a set's files are here" in dump.incomplete_why
    assert [os.path.basename(part.path) for part in dump.parts] == ["part3"]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".lz4", ".zst"])
def test_compressed_stream_says_the_same(vmcores, suffix):
    plain = inspected(vmcores.dumps / "oops61.mdf.zlib.d31.flat")
    path = vmcores.dumps / ("oops61.mdf.zlib.d31.flat" + suffix)
    assert may_be_dump(str(path))
    dump = inspected(path)
    assert dump.kind == "kdump-flattened" and dump.complete and dump.size == plain.size
    assert (dump.kernel, dump.modules, dump.dmesg) == (plain.kernel, plain.modules, plain.dmesg)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zlib.d31.cut", ("it is cut", "pages", "bytes")),
        ("zlib.d31.flat.cut", ("end marker is missing", "the last of which lacks", "pages")),
        ("elf.d31.cut", ("it is cut: 30000000 of", "are missing")),
    ],
)
def test_cut_dump_says_how_much_is_missing(vmcores, name, words):
    dump = inspected(vmcores.dumps / "trunc" / name)
    assert not dump.complete and all(word in dump.incomplete_why for word in words), dump.incomplete_why
    assert "marked" not in dump.incomplete_why
    assert dump.kernel["release"] == vmcores.release


@pytest.mark.parametrize("folder", ["full", "full-elf"])
def test_full_disk_is_told_from_a_cut(vmcores, folder):
    """makedumpfile marks what it could not finish."""
    path = next((vmcores.dumps / "kdump61.kdump" / folder).rglob("vmcore-incomplete"))
    dump = inspected(path)
    assert not dump.complete and "makedumpfile marked it incomplete" in dump.incomplete_why
    assert "are missing" in dump.incomplete_why and "cut" not in dump.incomplete_why
    assert dump.kernel["release"] == vmcores.release


class Changed(Source):
    """A dump of which some bytes are others."""

    changes: dict = {}

    def read_at(self, offset, size):
        data = super().read_at(offset, size)
        hits = [at for at in self.changes if offset <= at < offset + len(data)]
        if hits:
            data = bytearray(data)
            for at in hits:
                data[at - offset] ^= self.changes[at]
        return bytes(data)


@pytest.mark.parametrize("form", ["mdf.zlib.d31", "mdf.zlib.d31.flat", "mdf.elf.d31", "qemu-elf"])
def test_flipped_bits_are_survived(vmcores, form):
    path = str(vmcores.dumps / ("oops61." + form))
    for number in range(int(os.environ.get("SAVEDUMP_FUZZ_ROUNDS", "15"))):
        dice = random.Random("%s %d" % (form, number))
        with Changed(path, os.open(path, os.O_RDONLY)) as source:
            # Half of them in the headers and notes, where the numbers are.
            source.changes = {
                dice.randrange(dice.choice((8192, 1 << 16))): 1 << dice.randrange(8)
                for _ in range(dice.choice((1, 5, 50)))
            }
            try:
                open_dump(source, Sysroot("/"))
            except BadDump as error:
                assert error.message
