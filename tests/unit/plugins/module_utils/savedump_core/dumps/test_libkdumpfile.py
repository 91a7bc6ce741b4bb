# SPDX-License-Identifier: Apache-2.0
"""libkdumpfile is used where it is there, by either of its two Python bindings, and never missed.

The bindings are stand-ins with the faces of the real ones: libkdumpfile 0.5.1's own (python/kdumpfile.c), pykdumpfile
0.5.5 (kdumpfile/objects.py). What they give was compared with the real older one on Debian 12.
"""

import os
import struct
import sys
import types

import pytest

from savedump_core.dumps import _libkdumpfile, opaque, open_dump
from savedump_core.kernel.capture import NotDumped
from savedump_core.source import open_source
from savedump_core.sysroot import Sysroot

PAGE = 4096
MEMORY = {pfn: bytes([pfn]) * PAGE for pfn in (1, 2, 3, 10, 11)}
INFO = b"OSRELEASE=4.4.0-test\nPAGESIZE=4096\n"
LKCD = struct.pack("<QIII", 0xA8190173618F23ED, 8, 4096, 1) + struct.pack("<I", PAGE)
ATTRIBUTES = {
    "arch.name": "ia32", "arch.byte_order": 1, "arch.ptr_size": 4, "arch.page_size": PAGE, "max_pfn": 12,
    "linux.uts.release": "4.4.0-test", "linux.uts.nodename": "old", "linux.uts.machine": "i686",
    "linux.phys_base": (1 << 64) - 4096,
}  # fmt: skip


class Frames:
    """A bitmap of either binding."""

    def __init__(self, error):
        self.error = error

    def find_set(self, frame):
        for pfn in sorted(MEMORY):
            if pfn >= frame:
                return pfn
        raise self.error("no more")

    def find_clear(self, frame):
        while frame in MEMORY:
            frame += 1
        return frame


class Fake:
    """A context of either binding. Those that it was opened with are kept."""

    opened = []
    error = None
    blob = None

    @property
    def attr(self):
        more = {"linux.vmcoreinfo.raw": self.blob(INFO), "file.pagemap": Frames(self.error)}
        return dict(ATTRIBUTES, **more)

    def read(self, space, address, size):
        assert space == "machine addresses" and size <= 1 << 16
        data = b"".join(MEMORY.get(pfn, b"") for pfn in range(address // PAGE, (address + size - 1) // PAGE + 1))
        data = data[address % PAGE : address % PAGE + size]
        if len(data) < size:
            raise self.error("Out-of-bounds PFN")
        return bytearray(data)


def older(refuse):
    class KDumpBaseException(Exception):
        pass

    class kdumpfile(Fake):
        error, blob = KDumpBaseException, bytes

        def __init__(self, path):
            if refuse:
                raise KDumpBaseException("Unknown file format")
            with open(path, "rb") as file:
                self.opened.append(file.read())

    module = types.ModuleType("kdumpfile")
    module.exceptions = types.SimpleNamespace(KDumpBaseException=KDumpBaseException)
    module.kdumpfile, module.KDUMP_MACHPHYSADDR = kdumpfile, "machine addresses"
    return module


def newer(refuse):
    class KdumpfileError(Exception):
        pass

    class Blob:
        def __init__(self, data):
            self.get = lambda: data

    class Context(Fake):
        error, blob = KdumpfileError, Blob

        def open_fd(self, descriptor):
            if refuse:
                raise KdumpfileError("Unknown file format")
            self.opened.append(os.pread(descriptor, 1000, 0))

    module = types.ModuleType("kdumpfile")
    module.Context, module.KdumpfileError, module.MACHPHYSADDR = Context, KdumpfileError, "machine addresses"
    return module


@pytest.fixture
def source(tmp_path):
    (tmp_path / "lkcd").write_bytes(LKCD)
    with open_source(str(tmp_path / "lkcd")) as opened:
        yield opened


@pytest.fixture(params=[older, newer])
def binding(request, monkeypatch):
    monkeypatch.setattr(Fake, "opened", [])

    def use(refuse=False):
        monkeypatch.setitem(sys.modules, "kdumpfile", request.param(refuse))

    return use


def test_its_pages_and_facts(binding, source):
    binding()
    capture = _libkdumpfile.open_container(source).capture
    assert Fake.opened == [LKCD], "the file that was opened"
    assert (capture.machine, capture.bits, capture.order, capture.page_size) == ("i386", 32, "<", PAGE)
    assert (capture.vmcoreinfo, capture.phys_base, capture.utsname.release) == (INFO, -4096, "4.4.0-test")
    assert capture.read(PAGE + 5, 2 * PAGE) == (MEMORY[1] + MEMORY[2] + MEMORY[3])[5 : 5 + 2 * PAGE]
    assert list(capture.stored()) == [(PAGE, 3 * PAGE), (10 * PAGE, 2 * PAGE)]
    for address, size in ((0, 1), (3 * PAGE, PAGE + 1), (1 << 64, 1), ((1 << 64) - 1, 2)):
        with pytest.raises(NotDumped):
            capture.read(address, size)


def test_dump_of_it(binding, source):
    binding()
    dump = open_dump(source, Sysroot("/"))
    assert (dump.kind, dump.kernel["release"], dump.modules[0].names) == ("lkcd", "4.4.0-test", ("vmlinux-4.4.0-test",))
    assert not dump.complete and "libkdumpfile" in dump.incomplete_why


def test_file_that_it_does_not_read(binding, source):
    binding(refuse=True)
    dump = open_dump(source, Sysroot("/"))
    assert dump.kind == "lkcd" and "is not read" in dump.incomplete_why


def test_never_missed(monkeypatch, source):
    monkeypatch.setitem(sys.modules, "kdumpfile", None)
    assert _libkdumpfile.open_container(source) is None
    assert "is not read" in opaque.open_dump(source, Sysroot("/")).incomplete_why


def test_not_for_what_is_read_here(binding, tmp_path):
    binding()
    (tmp_path / "lime").write_bytes(b"EMiL" + bytes(500))
    with open_source(str(tmp_path / "lime")) as source:
        open_dump(source, Sysroot("/"))
    assert Fake.opened == []
