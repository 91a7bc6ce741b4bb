# SPDX-License-Identifier: Apache-2.0
"""What is taken out of a package: by name, through links, by build ID; once read, twice served."""

import errno
import os

import pytest

from savedump_core.packages import unpacked
from savedump_core.packages.unpacked import Unpacked, plain
from support import elfwriter, packages

ONE, TWO = b"\x11" * 20, b"\x22" * 20


def elf(build_id, padding=0):
    return elfwriter.elf_file(build_id=build_id, padding=padding)


@pytest.fixture
def opened():
    return lambda path: Unpacked(os.open(str(path), os.O_RDONLY))


def take(package, *names, build_id=None):
    """Path and content of what was taken."""
    found = []
    for one in package.take(names, build_id):
        with os.fdopen(one.descriptor, "rb") as file:
            file.seek(0)
            found.append((one.path, file.read()))
    return found


def test_plain_paths():
    for one, other in (("/usr/lib/x", "/lib/x"), ("/usr/lib64/a/b", "/lib64/a/b"), ("/usr/share/x", "/usr/share/x"),
                       ("/usr/lib", "/usr/lib"), ("/x", "/x"), ("/usr/local/lib/x", "/usr/local/lib/x")):  # fmt: skip
        assert plain(one) == other


def test_by_name_link_and_other_spelling(tmp_path, opened):
    files = {
        "/lib/liba.so.1.2": elf(ONE), "/usr/lib/liba.so.1": "../../lib/liba.so.1.2", "/usr/lib/b": elf(TWO),
        "/usr/lib/absolute": "/lib/liba.so.1.2", "/usr/share/text": b"no ELF file",
    }  # fmt: skip
    package = opened(packages.deb(tmp_path, "liba1", "1", files))
    for name in ("/lib/liba.so.1.2", "/usr/lib/liba.so.1.2", "/usr/lib/liba.so.1", "/lib/absolute", "liba.so.1.2"):
        assert take(package, name) == [("/lib/liba.so.1.2", elf(ONE))], name
    assert take(package, "/usr/lib/b", build_id=ONE) == [("/lib/liba.so.1.2", elf(ONE)), ("/usr/lib/b", elf(TWO))]
    assert take(package, build_id=b"\x33" * 20) == take(package, "/usr/share/text") == take(package, "/usr/lib/c") == []
    assert package._passes == 1, "the package was read once"


def test_links_that_lead_nowhere(tmp_path, opened):
    files = {
        "/usr/lib/a": "b", "/usr/lib/b": "a", "/usr/lib/self": "self", "/usr/lib/out": "../../../../etc/passwd",
        "/usr/lib/gone": "/nowhere", "/usr/lib/x": elf(ONE),
    }  # fmt: skip
    package = opened(packages.apk(tmp_path, "a", "1-r0", files))
    assert take(package, *["/usr/lib/" + name for name in ("a", "self", "out", "gone")]) == []


def test_what_did_not_fit_costs_another_pass(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(unpacked, "MAX_KEPT", 1000)
    files = {"/usr/lib/%d" % number: elf(bytes([number]) * 20, 4000) for number in range(4)}
    package = opened(packages.deb(tmp_path, "a", "1", files))
    assert take(package, "/usr/lib/2") == [("/usr/lib/2", files["/usr/lib/2"])]
    assert package._passes == 1
    for name in ("/usr/lib/3", "/usr/lib/1"):
        assert take(package, name) == [(name, files[name])]
    assert package._passes == 3
    assert [path for path, _content in take(package, "/usr/lib/3")] == ["/usr/lib/3"], "what was asked for is kept"


def test_no_room(tmp_path, opened, monkeypatch):
    package = opened(packages.deb(tmp_path, "a", "1", {"/usr/lib/a": elf(ONE)}))
    real = os.fstatvfs

    def full(descriptor):
        values = list(real(descriptor))
        values[4] = 0  # f_bavail
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "fstatvfs", full)
    assert take(package, "/usr/lib/a") == []
    assert package.why == os.strerror(errno.ENOSPC)


def test_no_place_for_a_temporary_file(tmp_path, opened, monkeypatch):
    package = opened(packages.deb(tmp_path, "a", "1", {"/usr/lib/a": elf(ONE)}))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert take(package, "/usr/lib/a") == []
    assert package.why == os.strerror(errno.ENOENT)


def test_cut_package_gives_what_is_whole(tmp_path, opened):
    path = packages.deb(tmp_path, "a", "1", {"/usr/lib/a": elf(ONE), "/usr/lib/b": elf(TWO, 200000)}, "none")
    path.write_bytes(path.read_bytes()[:-100000])
    package = opened(path)
    assert take(package, "/usr/lib/a", "/usr/lib/b") == [("/usr/lib/a", elf(ONE))]
    assert "ends early" in package.why


def test_member_that_claims_too_much(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(unpacked, "MAX_MEMBER", 1000)
    package = opened(packages.deb(tmp_path, "a", "1", {"/usr/lib/a": elf(ONE, 4000)}))
    assert take(package, "/usr/lib/a") == []
    assert "claims" in package.why


def test_too_many_members(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(unpacked, "MAX_MEMBERS", 4)
    files = {"/usr/lib/%d" % number: elf(ONE) for number in range(9)}
    package = opened(packages.apk(tmp_path, "a", "1-r0", files))
    assert 0 < len(take(package, *files)) < 4
    assert package.why == "it has more than 4 files"


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = set(os.listdir("/proc/self/fd"))
    package = Unpacked(os.open(str(packages.deb(tmp_path, "a", "1", {"/usr/lib/a": elf(ONE)})), os.O_RDONLY))
    assert take(package, "/usr/lib/a")
    assert os.listdir(str(tmp_path / "scratch")) == []
    del package
    assert set(os.listdir("/proc/self/fd")) == before
