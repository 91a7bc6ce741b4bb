# SPDX-License-Identifier: Apache-2.0
import os
import socket

import pytest

from savedump_core.sysroot import MAX_LINKS, Owner, Refused, Roots, Sysroot, open_regular, read_elf, rights_of
from support import elfwriter


@pytest.fixture
def root(tmp_path):
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libx.so").write_text("x")
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "abs").symlink_to("/usr/lib")
    (tmp_path / "up").symlink_to("../../../../../etc")
    return tmp_path


def test_directory_link_is_followed_and_recorded(root):
    resolved = Sysroot(str(root)).resolve("/lib/libx.so")
    assert resolved.path == "/usr/lib/libx.so"
    assert resolved.host_path == str(root / "usr/lib/libx.so")
    assert resolved.links == (("/lib", "/usr/lib"),)


def test_absolute_link_stays_beneath_the_sysroot(root):
    assert Sysroot(str(root)).resolve("/abs/libx.so").host_path == str(root / "usr/lib/libx.so")


@pytest.mark.parametrize(
    "path", ["/../../../etc/passwd", "/up/passwd", "/usr/../../../etc/passwd", "/lib/../../etc/passwd"]
)
def test_nothing_leads_out(root, path):
    with pytest.raises(FileNotFoundError) as error:
        Sysroot(str(root)).resolve(path)
    assert str(error.value.filename).startswith(str(root))


def test_link_loop_ends(root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(OSError) as error:
        Sysroot(str(root)).resolve("/a")
    assert error.value.errno == 40, "ELOOP after %d links" % MAX_LINKS


def test_file_as_folder_is_not_a_directory(root):
    with pytest.raises(NotADirectoryError):
        Sysroot(str(root)).resolve("/usr/lib/libx.so/y")


def test_resolves_the_real_root():
    resolved = Sysroot("/").resolve("/proc/self/../version")
    assert resolved.host_path == resolved.path == "/proc/version" or "/proc/" in resolved.path


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "socket", "link"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = str(tmp_path / "it")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
    else:
        os.symlink("/etc/passwd", path)
    with pytest.raises(Refused) as refused:
        os.close(open_regular(path))
    assert "not a regular file" in str(refused.value)


def test_text_is_no_elf(tmp_path):
    (tmp_path / "shadow").write_text("root:$6$secret:1::::::\n")
    with pytest.raises(Refused, match="not an ELF file"):
        read_elf(str(tmp_path / "shadow"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's rights")
def test_rights_of_the_dumps_owner(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    os.chmod(str(tmp_path), 0o755)
    before = (os.geteuid(), os.getegid(), os.getgroups())
    with rights_of(Owner(65534, 65534)):
        assert os.geteuid() == 65534 and os.getgroups() == []
        with pytest.raises(PermissionError):
            open(str(secret)).close()
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
    with rights_of(Owner(0, 0)):
        open(str(secret)).close()


def test_folder_index_finds_by_build_id_whatever_the_name(tmp_path):
    image = elfwriter.elf_file(build_id=b"\xab" * 20)
    (tmp_path / "odd name").write_bytes(image)
    (tmp_path / "text").write_text("x")
    os.mkfifo(str(tmp_path / "fifo"))
    roots = Roots(Sysroot("/"))
    assert list(roots.in_folder(str(tmp_path), b"\xab" * 20)) == [str(tmp_path / "odd name")]
    assert list(roots.in_folder(str(tmp_path), b"\xcd" * 20)) == []
    assert list(roots.in_folder(str(tmp_path / "none"), b"\xab" * 20)) == []
