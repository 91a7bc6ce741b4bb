# SPDX-License-Identifier: Apache-2.0
"""What a hostile archive may try: nothing of it is written, neither inside nor beside the folder."""

import os
import stat

import pytest

from savedump_core import check, unpack
from savedump_core.errors import BadDump
from savedump_core.tarstream import header
from support.archives import TOP, usual


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def tree(folder):
    """Every name below a folder."""
    return sorted(os.path.relpath(os.path.join(top, name), str(folder)) for top, dirs, files in os.walk(str(folder))
                  for name in dirs + files)  # fmt: skip


def hostile(tmp_path, into, archive, message):
    """Refused by both verbs, and nothing written, neither inside nor beside the folder."""
    (tmp_path / "outside").mkdir(exist_ok=True)
    path = archive.write(tmp_path)
    before = tree(tmp_path)
    assert message in "; ".join(unpack.verify(path).problems)
    with pytest.raises(BadDump):
        unpack.unpack(path, str(into))
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [
        "../x", TOP + "/../x", TOP + "/a/../../x", "/etc/x", TOP + "//x", TOP + "/./x", "other/x", "x", TOP + "/..",
        TOP + "x/y", TOP + "/" + "y/" * 2100 + "z",
    ],
)  # fmt: skip
def test_names_that_lie_elsewhere(name, tmp_path, into):
    archive = usual()
    archive.file("x", member=name)
    hostile(tmp_path, into, archive, "does not lie in")


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../..", "../outside", "lib/../../../outside", "../archive-core.1/core.1", "..", "a/../../x"],
)
def test_links_that_lead_out(target, tmp_path, into):
    archive = usual()
    archive.link("l", target)
    hostile(tmp_path, into, archive, "leads out")


def test_links_that_lead_out_together(tmp_path, into):
    """Looked at alone, each stays inside: "up" leads to the top folder, and "x" seems to lead to deep/."""
    archive = usual()
    archive.file("deep/a/b/file")
    archive.link("deep/a/b/up", "../../..")
    archive.link("x", "deep/a/b/up/../outside")
    hostile(tmp_path, into, archive, "x is a link that leads out")


def test_links_that_go_round(tmp_path, into):
    archive = usual()
    archive.link("a", "b")
    archive.link("b", "a")
    hostile(tmp_path, into, archive, "leads out")


def test_links_that_double(tmp_path, into):
    archive = usual()
    archive.link("l0", "core.1")
    for number in range(1, 60):
        archive.link("l%d" % number, "l%d/../l%d" % (number - 1, number - 1))
    hostile(tmp_path, into, archive, "leads out")


def test_a_file_through_a_link(tmp_path, into):
    archive = usual()
    archive.link("d", "usr")
    archive.file("d/x")
    hostile(tmp_path, into, archive, "d/x lies below a file or link")


def test_a_file_through_a_link_that_comes_later(tmp_path, into):
    archive = usual()
    archive.file("d/x")
    archive.link("d", "usr")
    hostile(tmp_path, into, archive, "d/x lies below a file or link")


def test_a_file_below_a_file(tmp_path, into):
    archive = usual()
    archive.file("d/x/y")
    archive.file("d/x")
    hostile(tmp_path, into, archive, "d/x/y lies below a file or link")
    archive = usual()
    archive.file("d/x")
    archive.file("d/x/y")
    hostile(tmp_path, into, archive, "d/x/y lies below a file or link")


def test_a_file_where_a_link_is(tmp_path, into):
    archive = usual()
    archive.link("d", "../outside/x")
    archive.file("d")
    hostile(tmp_path, into, archive, "manifest.json lists d twice")
    archive.manifest["files"].pop()
    hostile(tmp_path, into, archive, "d is there twice")


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "core.1"])
def test_our_own_names_twice(name, tmp_path, into):
    archive = usual()
    archive.file(name, b"another one")
    hostile(tmp_path, into, archive, "twice")


@pytest.mark.parametrize("kind", [b"1", b"3", b"4", b"6", b"V", b"M"], ids=repr)
def test_devices_fifos_and_hard_links(kind, tmp_path, into):
    archive = usual()
    archive.list("dev")
    archive.members.append(
        lambda tar: tar._write(header.headers((TOP + "/dev").encode(), 0, 0o600, 0, kind, b"/etc/passwd"))
    )
    hostile(tmp_path, into, archive, "dev is neither file, folder nor symbolic link")


def test_a_folder_elsewhere(tmp_path, into):
    archive = usual()
    archive.members.append(lambda tar: tar._write(header.headers(b"outside/d", 0, 0o777, 0, b"5")))
    hostile(tmp_path, into, archive, "does not lie in")


def test_modes_are_not_the_archives(tmp_path, into):
    archive = usual()
    archive.file("setuid", b"x", 0o6777)
    archive.file("sub/run-gdb.sh", b"x", 0o777)
    unpack.unpack(archive.write(tmp_path), str(into))
    for name in ("setuid", "sub/run-gdb.sh"):
        assert stat.S_IMODE(os.stat(str(into / TOP / name)).st_mode) == 0o600


def test_a_link_to_what_is_not_there_stays_inside(tmp_path, into):
    archive = usual()
    archive.link("lib64", "usr/lib64")
    archive.link("inside", "lib/../../none")
    assert list(unpack.verify(archive.write(tmp_path)).problems) == []


def test_names_for_a_terminal(tmp_path):
    archive = usual()
    archive.file("\x1b]0;evil\x07", sum_of=b"other")
    archive.list("\x1b[2J\n" + "long" * 5000)
    found = list(unpack.verify(archive.write(tmp_path)).problems)
    assert len(found) == 2
    assert all(text.isprintable() and len(text) < 9000 for text in found)


def test_very_many_problems(tmp_path):
    archive = usual()
    for number in range(unpack.MAX_PROBLEMS * 2):
        archive.list("gone%d" % number)
    assert len(unpack.verify(archive.write(tmp_path)).problems) == unpack.MAX_PROBLEMS


def test_very_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "MAX_MEMBERS", 4)
    assert "more than 4 members" in unpack.verify(usual().write(tmp_path)).problems[0]


def test_a_manifest_of_absurd_size(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "MAX_MANIFEST", 100)
    with pytest.raises(BadDump, match="more than are taken"):
        unpack.verify(usual().write(tmp_path))
