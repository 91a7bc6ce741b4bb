# SPDX-License-Identifier: Apache-2.0
"""debuginfod in the search: last in turn, by build ID alone, and proven like every other file."""

import os

import pytest

from savedump_core import search as searching
from savedump_core.model import (
    ABSENT,
    DEBUG,
    LOADED,
    MATCH,
    MISMATCH,
    SUPPLEMENTARY,
    Dump,
    Found,
    Missing,
    Module,
    SearchOptions,
    Want,
)  # fmt: skip
from savedump_core.finders import debuginfod as finder
from savedump_core.sysroot import Held, Roots, Sysroot
from savedump_core.web.debuginfod import Client
from support import debuginfod, elfwriter

RIGHT, WRONG, ALT = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)
PATH = "/opt/app/libx.so"


def elf(build_id=RIGHT, **kwargs):
    return elfwriter.elf_file(build_id=build_id, **kwargs)


def debug(build_id=RIGHT, **kwargs):
    return elf(build_id, sections=[DEBUG_SECTION], **kwargs)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty sysroot, a folder that is served, and a cache of its own."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "DEBUGINFOD_URLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(tmp_path / "cache"))
    for name in ("root", "served"):
        (tmp_path / name).mkdir()
    return tmp_path


def search(place, *urls, build_id=RIGHT, **options):
    module = Module(
        name=PATH, path=PATH, names=(), build_id=build_id, build_id_why=None, start=0x1000, end=0x2000,
        executable=False,
    )  # fmt: skip
    dump = Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=(module,), identity="0" * 16, mtime_ns=0,
    )  # fmt: skip
    options = SearchOptions(sysroot=str(place / "root"), **options)
    client = Client(urls) if urls else None
    return searching.search(dump, options, Held(), debuginfod=client).files[0]


def test_all_three_files(place):
    served = str(place / "served")
    debuginfod.put(served, RIGHT, "executable", elf())
    debuginfod.put(served, RIGHT, "debuginfo", debug(altlink=("/usr/lib/debug/.dwz/x", ALT)))
    debuginfod.put(served, ALT, "debuginfo", debug(ALT))
    with debuginfod.static(served) as server:
        files = search(place, server.url)
    assert [(one.at, one.matched_by, one.build_id) for one in files.results] == [
        (str(place / "cache" / build_id.hex() / kind), "build-id", build_id)
        for build_id, kind in ((RIGHT, "executable"), (RIGHT, "debuginfo"), (ALT, "debuginfo"))
    ]
    last = files.file.attempts[-1]
    assert (last.finder, last.outcome) == ("debuginfod", MATCH)
    assert last.path == "%s/buildid/%s/executable" % (server.url, RIGHT.hex()), "where it came from is said"


def test_without_urls_nobody_is_asked(place):
    os.environ["DEBUGINFOD_URLS"] = "http://127.0.0.1:9"  # place's monkeypatch takes it away again
    files = search(place)
    assert isinstance(files.file, Missing)
    assert all(attempt.finder != "debuginfod" for attempt in files.file.attempts)
    assert not (place / "cache").exists()


def test_what_is_here_is_not_asked_for(place):
    os.makedirs(str(place / "root/opt/app"))
    (place / "root/opt/app/libx.so").write_bytes(debug())
    with debuginfod.static(str(place / "served")) as server:
        files = search(place, server.url)
        assert server.requests == []
    assert files.file.at == str(place / "root/opt/app/libx.so")


def test_decoy_is_refused_with_both_ids(place):
    debuginfod.put(str(place / "served"), RIGHT, "executable", elf(WRONG))
    with debuginfod.static(str(place / "served")) as server:
        file = search(place, server.url).file
    assert isinstance(file, Missing) and file.status == "mismatch"
    assert (file.attempts[-1].outcome, file.attempts[-1].detail) == (MISMATCH, WRONG.hex())


def test_decoy_in_the_cache_is_refused_and_replaced(place):
    at = place / "cache" / RIGHT.hex() / "executable"
    at.parent.mkdir(parents=True)
    at.write_bytes(elf(WRONG))
    debuginfod.put(str(place / "served"), RIGHT, "executable", elf())
    with debuginfod.static(str(place / "served")) as server:
        file = search(place, server.url).file
    assert isinstance(file, Found)
    assert [one.outcome for one in file.attempts if one.finder == "debuginfod"] == [MISMATCH, MATCH]
    assert at.read_bytes() == elf()


def test_debug_file_without_debug_information(place):
    debuginfod.put(str(place / "served"), RIGHT, "executable", elf())
    debuginfod.put(str(place / "served"), RIGHT, "debuginfo", elf())
    with debuginfod.static(str(place / "served")) as first, debuginfod.static(str(place / "served")) as second:
        files = search(place, first.url, second.url)
    assert isinstance(files.debug, Missing)
    refused = [one for one in files.debug.attempts if one.finder == "debuginfod"]
    assert [one.path.split("/buildid")[0] for one in refused] == [first.url, second.url]


def test_gap_says_what_each_server_said(place):
    with debuginfod.static(str(place / "served")) as server, debuginfod.closed_port() as nobody:
        file = search(place, nobody, server.url).file
    told = [(one.path, one.outcome, one.detail) for one in file.attempts if one.finder == "debuginfod"]
    where = "/buildid/%s/executable" % RIGHT.hex()
    assert told == [
        (nobody + where, "unreadable", "127.0.0.1: Connection refused"),
        (server.url + where, ABSENT, ""),
    ]


def test_module_without_a_build_id(place):
    with debuginfod.static(str(place / "served")) as server:
        assert isinstance(search(place, server.url, build_id=None).file, Missing)
        assert server.requests == []


@pytest.mark.parametrize(
    "kind, release, asked",
    [
        (LOADED, None, ("executable", False)),
        (DEBUG, None, ("debuginfo", False)),
        (SUPPLEMENTARY, None, ("debuginfo", False)),
        (LOADED, "6.1.0", ("executable", True)),
    ],
)
def test_what_is_asked_for(kind, release, asked):
    """Kernels are waited for longer."""

    class Client:
        folder = "/cache"

        def look(self, build_id, what, patient=False):
            self.asked = (what, patient)
            return iter(())

    roots = Roots(Sysroot("/"), debuginfod=Client())
    want = Want(kind=kind, module="m", build_id=RIGHT, paths=(), release=release)
    assert list(finder.candidates(want, roots)) == []
    assert roots.debuginfod.asked == asked
