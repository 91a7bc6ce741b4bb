# SPDX-License-Identifier: Apache-2.0
"""Files out of other archives: found by build ID in their manifests, taken out whole, proven by their own bytes."""

import os

import pytest

from savedump_core import shelf as shelving
from savedump_core.errors import ToolMissing
from savedump_core.model import (
    DEBUG,
    LOADED,
    SUPPLEMENTARY,
    Attempt,
    Candidate,
    Dump,
    Found,
    Module,
    SearchOptions,
    Want,
)
from savedump_core.search import search
from savedump_core.shelf import Shelf
from savedump_core.sysroot import Held
from support import archives, elfwriter

ID, OTHER = b"\x5a" * 20, b"\xa5" * 20
ELF = elfwriter.elf_file(build_id=ID)
PLAIN_DEBUG = elfwriter.elf_file(build_id=ID, sections=[elfwriter.Section(".debug_info", b"\1" * 64)])


def want(kind=LOADED, build_id=ID):
    return Want(kind=kind, module="/usr/lib/libx.so", build_id=build_id, paths=())


def put(folder, name="one.tar", content=ELF, build_id=ID, path="usr/lib/libx.so", **more):
    """An archive with one file in it."""
    archive = archives.Archive("archive-" + name)
    more = dict({"role": "library", "matched_by": "build-id"}, **more)
    archive.file(path, content, build_id=build_id.hex(), **more)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(archive.to_bytes())
    return folder / name


def looked(shelf, wanted):
    """What the shelf has: the contents, and the attempts' words."""
    found = []
    for one in shelf.look(wanted):
        if isinstance(one, Attempt):
            found.append(one.detail)
            continue
        assert isinstance(one, Candidate)
        with os.fdopen(one.descriptor, "rb") as file:
            file.seek(0)
            found.append(file.read())
    return found


@pytest.fixture
def work(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_in_and_below_the_folder(tmp_path, work):
    put(tmp_path / "shelf/deep/er")
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        assert looked(shelf, want()) == [ELF]
        (candidate,) = shelf.look(want())
        os.close(candidate.descriptor)
        assert candidate.origin == "one.tar: usr/lib/libx.so" and candidate.finder == "archives"
        assert looked(shelf, want(build_id=OTHER)) == []
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("role, kind", [("library", DEBUG), ("executable", DEBUG), ("debug", DEBUG), ("vmlinux", DEBUG),
                                        ("vmlinux", LOADED), ("kernel-module", LOADED),
                                        ("supplementary", SUPPLEMENTARY)])  # fmt: skip
def test_roles_that_can_be_what_is_wanted(tmp_path, work, role, kind):
    put(tmp_path / "shelf", role=role)
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        assert looked(shelf, want(kind)) == [ELF]


@pytest.mark.parametrize("more", [{"role": "debug"}, {"role": "dump"}, {"role": "thread-db"}, {"matched_by": "path"},
                                  {"matched_by": None}])  # fmt: skip
def test_what_is_not_proposed(tmp_path, work, more):
    put(tmp_path / "shelf", **more)
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        assert looked(shelf, want(LOADED)) == []


def test_the_archive_itself_and_hidden_ones_are_left_out(tmp_path, work):
    own = put(tmp_path / "shelf")
    put(tmp_path / "shelf", name=".part.tar")
    put(tmp_path / "shelf/.hidden")
    with Shelf([str(tmp_path / "shelf")], str(work), but=str(own)) as shelf:
        assert looked(shelf, want()) == []


def test_what_is_no_archive_stops_nothing(tmp_path, work):
    put(tmp_path / "shelf", name="z.tar")
    (tmp_path / "shelf/a.tar").write_bytes(b"no archive")
    (tmp_path / "shelf/b.tar.gz").write_bytes(b"\x1f\x8b")
    os.mkfifo(str(tmp_path / "shelf/c.tar"))
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        assert looked(shelf, want()) == [ELF]


def unread(shelf):
    """What is said of a file that no archive has."""
    return [(one.path, one.outcome, one.detail) for one in shelf.look(want(build_id=OTHER))]


def test_an_archive_that_cannot_be_looked_into_is_said(tmp_path, work, monkeypatch):
    """Its name says that it is one, or nobody can know whether it is one."""
    folder = tmp_path / "shelf"
    put(folder, name="archive-cut.tar").write_bytes(put(folder).read_bytes()[:700])
    newer = archives.Archive("archive-newer")
    newer.manifest["schema"] = "savedump.manifest/9"
    (folder / "archive-newer.tar").write_bytes(newer.to_bytes())
    (folder / "d.tar").symlink_to("nowhere")
    (folder / "e.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    monkeypatch.setattr(shelving.check.compression.zstd, "reader", no_zstd)
    with Shelf([str(folder), str(tmp_path / "none")], str(work)) as shelf:
        said = unread(shelf)
        assert said == unread(shelf), "for every file"
    assert [(os.path.basename(path), outcome) for path, outcome, _detail in said] == [
        ("none", "unreadable"), ("archive-cut.tar", "unreadable"), ("archive-newer.tar", "unreadable"),
        ("d.tar", "unreadable"), ("e.tar.zst", "unreadable"),
    ]  # fmt: skip
    details = [detail for _path, _outcome, detail in said]
    assert details[1].startswith("is no archive of savedump: ") and "is of schema" in details[2]
    assert details[0] == details[3] == "No such file or directory" and details[4] == "zstd is not here"


def no_zstd(_file):
    raise ToolMissing("zstd is not here")


def test_many_that_cannot_be_looked_into(tmp_path, work):
    (tmp_path / "shelf").mkdir()
    for number in range(shelving.MAX_UNREAD + 3):
        (tmp_path / "shelf" / ("%d.tar" % number)).symlink_to("nowhere")
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        said = unread(shelf)
    assert len(said) == shelving.MAX_UNREAD + 1
    assert said[-1] == (str(tmp_path / "shelf"), "unreadable", "3 more of its archives and folders")


def test_content_that_the_manifest_does_not_say(tmp_path, work):
    """Not handed on, and the next copy is taken."""
    put(tmp_path / "shelf", name="a.tar", sha256="0" * 64)
    put(tmp_path / "shelf", name="b.tar")
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        words, content = looked(shelf, want())
        assert "sha256 is %s" % archives.sha(ELF) in words and content == ELF


def test_a_member_that_is_not_there(tmp_path, work):
    archive = archives.Archive("archive-x")
    archive.list("usr/lib/libx.so", len(ELF), sha256=archives.sha(ELF), build_id=ID.hex(), matched_by="build-id")
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf/x.tar").write_bytes(archive.to_bytes())
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        (words,) = looked(shelf, want())
        assert "not in the archive" in words


def test_the_same_content_is_tried_once_and_forgeries_few_times(tmp_path, work):
    for number in range(3):
        put(tmp_path / "shelf", name="same-%d.tar" % number)
    for number in range(2 * shelving.MAX_TRIED):
        put(tmp_path / "shelf", name="z-%d.tar" % number, content=ELF + b"%d" % number)
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        contents = looked(shelf, want())
    assert len(contents) == shelving.MAX_TRIED == len(set(contents))


def test_what_will_be_wanted_is_taken_out_in_one_pass(tmp_path, work, monkeypatch):
    archive = archives.Archive("archive-x")
    ids = [bytes([number]) * 20 for number in range(5)]
    for number, build_id in enumerate(ids):
        content = elfwriter.elf_file(build_id=build_id)
        archive.file("lib%d.so" % number, content, build_id=build_id.hex(), matched_by="build-id")
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf/x.tar").write_bytes(archive.to_bytes())
    opened = []
    real = shelving.check.opened
    monkeypatch.setattr(shelving.check, "opened", lambda path: opened.append(path) or real(path))
    with Shelf([str(tmp_path / "shelf")], str(work), ahead={one.hex() for one in ids}) as shelf:
        assert [len(looked(shelf, want(build_id=one))) for one in ids] == [1] * 5
    assert len(opened) == 2, "one for the manifest, one for the files"


def test_a_cap_that_is_reached_is_said(tmp_path, work, monkeypatch):
    monkeypatch.setattr(shelving, "MAX_ARCHIVES", 1)
    put(tmp_path / "shelf", name="a.tar")
    put(tmp_path / "shelf", name="b.tar")
    with Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        assert looked(shelf, want())[1:] == ["there are too many archives: not all were looked into"]


def test_search_takes_it_and_refuses_a_forgery(tmp_path, work):
    """The manifest says the right build ID, the file has another."""
    put(tmp_path / "shelf", name="a.tar", content=elfwriter.elf_file(build_id=OTHER))
    wanted = Module(name="/lib/x", path="/lib/x", names=(), build_id=ID, build_id_why=None, start=0, end=1,
                    executable=True)  # fmt: skip
    dump = Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=(wanted,), identity="0" * 16, mtime_ns=0,
    )  # fmt: skip
    options = SearchOptions(sysroot=str(tmp_path / "nothing"))
    with Held() as held, Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        missing = search(dump, options, held, archives=shelf.look).files[0].file
        assert missing.status == "mismatch"
        assert (missing.attempts[-1].path, missing.attempts[-1].detail) == ("a.tar: usr/lib/libx.so", OTHER.hex())
    put(tmp_path / "shelf", name="b.tar", content=PLAIN_DEBUG)
    with Held() as held, Shelf([str(tmp_path / "shelf")], str(work)) as shelf:
        files = search(dump, options, held, archives=shelf.look).files[0]
        assert isinstance(files.file, Found) and files.debug is files.file
        assert files.file.at == "b.tar: usr/lib/libx.so" and files.file.descriptor is not None
