# SPDX-License-Identifier: Apache-2.0
"""Files out of real packages; damaged and hostile ones cost little and end in words."""

import io
import os
import struct

import pytest

from savedump_core.errors import BadDump, SavedumpError
from savedump_core.packages import contents, rpm, stream
from support import packages

NOISE = os.urandom(300000)
FILES = {"/usr/lib/a.so.1.2": NOISE, "/usr/lib/a.so.1": "a.so.1.2", "/usr/bin/prog": b"x" * 70000, "/etc/empty": b""}
LONG = "/opt/" + "/".join(["folder of a long name"] * 8) + "/file"


def read(path):
    """Path to content, or to the target of a link."""
    with open(str(path), "rb") as file:
        return {one.path: one.target or b"".join(one.chunks()) for one in contents.members(file)}


def some_of(path, stop):
    with open(str(path), "rb") as file:
        for member in contents.members(file):
            if member.path == stop:
                return b"".join(member.chunks())
    return None


@pytest.mark.parametrize("codec", ["xz", "gzip", "zstd", "none"])
def test_deb(tmp_path, codec):
    path = packages.deb(tmp_path, "liba1", "1:1.2-3", dict(FILES, **{LONG: b"y" * 1000}), codec)
    assert path.name == "liba1_1%3a1.2-3_amd64.deb"
    assert read(path) == dict(FILES, **{LONG: b"y" * 1000})


def test_control_of_a_deb(tmp_path):
    path = packages.deb(tmp_path, "liba1-dbgsym", "1.2-3", {"/x": b""}, Build_Ids="aa11 bb22")
    with open(str(path), "rb") as file:
        control = contents.control(file)
    assert (control["Package"], control["Version"], control["Build-Ids"]) == ("liba1-dbgsym", "1.2-3", "aa11 bb22")


@pytest.mark.parametrize("payload", ["w3.gzdio", "w3.xzdio", "w3.zstdio", "w3.bzdio", "w.ufdio"])
def test_rpm(tmp_path, payload):
    path = packages.rpm(tmp_path, "a-libs", "1.2", FILES, payload)
    # An rpm's empty files have no bytes that could be asked for.
    assert read(path) == {name: content for name, content in FILES.items() if content}


def test_header_of_an_rpm(tmp_path):
    path = packages.rpm(tmp_path, "a-libs", "1.2", FILES, epoch=2)
    with open(str(path), "rb") as file:
        header = rpm.read_header(file)
    assert (header.text(rpm.NAME), header.version, header.text(rpm.ARCH)) == ("a-libs", "2:1.2-1", "x86_64")
    for one in (header, rpm.file_list(header)):
        assert rpm.has_path(one, "/usr/lib/a.so.1.2") and rpm.has_path(one, "/usr/bin/prog")
        assert not rpm.has_path(one, "/usr/bin/a.so.1.2") and not rpm.has_path(one, "/usr/lib/a.so")
    assert len(rpm.file_list(header).store) < 200


def stripped(path, target):
    """The package with the cpio headers that rpm writes where a file is larger than 4 GiB: it has none such, but its
    payload is laid out the same way (compared once with rpm 4.18's own of a file of 4.1 GiB)."""
    with open(str(path), "rb") as file:
        header = rpm.read_header(file)
        start = file.tell()
        file.seek(0)
        front = file.read(start)
    items = read(path)
    out = io.BytesIO()
    names = [folder.decode() for folder in header.strings(rpm.DIR_NAMES)]
    bases = [base.decode() for base in header.strings(rpm.BASE_NAMES)]
    for number, (base, at) in enumerate(zip(bases, header.numbers(rpm.DIR_INDEXES))):
        content = items.get(names[at] + base, b"")
        out.write(b"07070X%08x\0\0" % number + (content.encode() if isinstance(content, str) else content))
        out.write(bytes(-out.tell() % 4))
    name = b"TRAILER!!!\0"
    out.write(b"070701" + b"%08x" * 13 % (0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, len(name), 0) + name)
    out.write(bytes(-out.tell() % 4))
    target.write_bytes(front + out.getvalue())


def test_rpm_of_large_files(tmp_path):
    path = packages.rpm(tmp_path, "a-libs", "1.2", FILES, "w.ufdio")
    stripped(path, tmp_path / "large.rpm")
    assert read(tmp_path / "large.rpm") == {name: content for name, content in FILES.items() if content}


def test_hard_links_of_an_rpm(tmp_path):
    """The bytes come with the last of them."""
    top = tmp_path / "rpmbuild"
    packages.need("rpmbuild")
    top.mkdir()
    (top / "x.spec").write_text(
        "%global debug_package %{nil}\n%global __os_install_post %{nil}\nName: x\nVersion: 1\nRelease: 1\n"
        "Summary: t\nLicense: t\nAutoReqProv: no\n%description\n%install\nmkdir -p %{buildroot}/usr/bin\n"
        "echo same > %{buildroot}/usr/bin/one\nln %{buildroot}/usr/bin/one %{buildroot}/usr/bin/two\n"
        "%files\n/usr/bin/*\n"
    )
    packages.rpmbuild(top, top / "x.spec")
    path = next((top / "RPMS").rglob("*.rpm"))
    assert read(path) == {"/usr/bin/two": b"same\n"}


def test_pacman_and_apk(tmp_path):
    files = {"/usr/lib/a.so.1": NOISE, "/usr/lib/a.so": "a.so.1"}
    for path in (packages.alpm(tmp_path, "a", "1-1", files), packages.apk(tmp_path, "a", "1-r0", files)):
        assert {name: content for name, content in read(path).items() if not name.startswith("/.")} == files


def test_names_that_climb_are_left_out(tmp_path):
    path = packages.apk(tmp_path, "a", "1-r0", {"/../../etc/passwd": b"x", "/usr/../../b": b"x", "/usr//./c": b"x"})
    assert [name for name in read(path) if not name.startswith("/.")] == ["/usr/c"]


@pytest.mark.parametrize("kind", ["deb", "rpm", "alpm", "apk"])
def test_cut_anywhere(tmp_path, kind):
    make = {"deb": packages.deb, "rpm": packages.rpm, "alpm": packages.alpm, "apk": packages.apk}[kind]
    path = make(tmp_path, "a", "1", {"/usr/lib/a.so.1": NOISE[:5000], "/usr/lib/b.so.1": b"b" * 5000})
    whole = path.read_bytes()
    for size in [0, 1, 7, 8, 60, 95, 96, 100, 120] + list(range(128, len(whole) - 1, 997)):
        path.write_bytes(whole[:size])
        with pytest.raises(SavedumpError):
            read(path)


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_flipped_bits_end_in_words(tmp_path, kind):
    make = {"deb": packages.deb, "rpm": packages.rpm}[kind]
    options = {"deb": "none", "rpm": "w.ufdio"}[kind]
    path = make(tmp_path, "a", "1", {"/usr/lib/a.so.1": b"a" * 500, "/usr/lib/b": "a.so.1"}, options)
    whole = path.read_bytes()
    for at in range(0, len(whole), 13):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read(path)
        except SavedumpError:
            pass


def test_bomb(tmp_path, monkeypatch):
    """xz packs zeros 7,000 times; no package does."""
    path = packages.deb(tmp_path, "bomb", "1", {"/usr/lib/a": bytes(40 << 20), "/usr/lib/b": b"b"})
    assert path.stat().st_size < 1 << 16
    assert some_of(path, "/usr/lib/b") == b"b", "what is as small as this may unpack to anything"
    monkeypatch.setattr(stream, "MIN_ROOM", 1 << 20)
    with pytest.raises(BadDump, match="more than 100 times its size"):
        read(path)


def test_absurd_header(tmp_path):
    lead = rpm.LEAD + bytes(92)
    for tags, size in ((0xFFFFFFFF, 16), (1, 0xFFFFFFFF)):
        (tmp_path / "x.rpm").write_bytes(lead + b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">II", tags, size))
        with pytest.raises(BadDump, match="claims"):
            read(tmp_path / "x.rpm")
    (tmp_path / "x.deb").write_bytes(b"!<arch>\n" + b"data.tar        0           0     0     100644  -5        `\n")
    with pytest.raises(BadDump, match="no data.tar"):
        read(tmp_path / "x.deb")


def test_cpio_numbers_are_digits(tmp_path):
    """int() would take a sign, and a size below zero has no end."""
    path = packages.rpm(tmp_path, "a", "1", {"/usr/lib/a": b"a" * 100}, "w.ufdio")
    whole = path.read_bytes()
    at = whole.index(b"070701") + 6 + 48
    path.write_bytes(whole[:at] + b"-0000001" + whole[at + 8 :])
    with pytest.raises(BadDump, match="no number"):
        read(path)
