# SPDX-License-Identifier: Apache-2.0
"""Which packages lie where package managers keep them."""

import os

import pytest

from savedump_core.packages.stored import in_caches, in_folder, named
from savedump_core.sysroot import Sysroot


@pytest.mark.parametrize(
    "name, words",
    [
        ("libssl3_3.0.11-1~deb12u2_amd64.deb", ("deb", "libssl3", "3.0.11-1~deb12u2", "amd64")),
        ("vim_2%3a9.0.1378-2_arm64.deb", ("deb", "vim", "2:9.0.1378-2", "arm64")),
        ("linux-image-6.5.0-14-generic-dbgsym_6.5.0-14.14_amd64.ddeb",
         ("deb", "linux-image-6.5.0-14-generic-dbgsym", "6.5.0-14.14", "amd64")),
        ("openssl-libs-3.0.7-6.el9_2.x86_64.rpm", ("rpm", "openssl-libs", "3.0.7-6.el9_2", "x86_64")),
        ("gtk3-3.24.38-1-x86_64.pkg.tar.zst", ("alpm", "gtk3", "3.24.38-1", "x86_64")),
        ("glibc-2:2.38-7-x86_64.pkg.tar.xz", ("alpm", "glibc", "2:2.38-7", "x86_64")),
        ("musl-1.2.4-r2.b45ea5b6.apk", ("apk", "musl", "1.2.4-r2", "")),
        ("libgcc-12.2.1_git20220924-r10.f2e4a5b6.apk", ("apk", "libgcc", "12.2.1_git20220924-r10", "")),
        ("gtk3-3.24.38-1-x86_64.pkg.tar.zst.sig", None), ("lock", None), ("APKINDEX.b89edf6e.tar.gz", None),
        ("x.deb", None), ("x.rpm", None), ("../x_1_amd64.deb", None), ("", None),
    ],
)  # fmt: skip
def test_named(name, words):
    assert named(name) == words


def test_caches(tmp_path):
    places = {
        "var/cache/apt/archives/a_1_amd64.deb": 10, "var/cache/dnf/fedora-123/packages/a-1-1.x86_64.rpm": 40,
        "var/cache/libdnf5/updates-1/packages/b-1-1.x86_64.rpm": 30,
        "var/cache/pacman/pkg/a-1-1-x86_64.pkg.tar.zst": 20,
        "var/cache/yum/x86_64/7/base/packages/c-1-1.x86_64.rpm": 50, "var/cache/apk/a-1-r0.01234567.apk": 5,
        "var/cache/zypp/packages/repo/x86_64/d-1-1.x86_64.rpm": 60,
        "var/cache/PackageKit/39/metadata/updates/packages/e-1-1.x86_64.rpm": 70,
    }  # fmt: skip
    for path, age in places.items():
        at = tmp_path / path
        at.parent.mkdir(parents=True)
        at.write_bytes(b"")
        os.utime(str(at), (age, age))
    for other in ("var/cache/apt/archives/partial/b_1_amd64.deb.x", "var/cache/apt/pkgcache.bin", "srv/c_1_amd64.deb"):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_bytes(b"")
    # What lies out there is not the sysroot's.
    (tmp_path / "var/cache/apt/archives/out_1_amd64.deb").symlink_to("/etc/passwd")
    (tmp_path / "var/cache/dnf/out").symlink_to(str(tmp_path / "srv"))
    found = in_caches(Sysroot(str(tmp_path)))
    assert [one.shown for one in found] == ["/" + path for path in sorted(places, key=places.get, reverse=True)]
    assert found[0].host_path == str(tmp_path) + found[0].shown
    assert in_caches(Sysroot(str(tmp_path / "srv"))) == []


def test_cache_that_is_a_link_stays_inside(tmp_path):
    """/var/cache/apk is a link to /etc/apk/cache on some hosts, or the other way round."""
    (tmp_path / "etc/apk/cache").mkdir(parents=True)
    (tmp_path / "etc/apk/cache/a-1-r0.01234567.apk").write_bytes(b"")
    (tmp_path / "var/cache").mkdir(parents=True)
    (tmp_path / "var/cache/apk").symlink_to("/etc/apk/cache")
    assert [one.shown for one in in_caches(Sysroot(str(tmp_path)))] == ["/etc/apk/cache/a-1-r0.01234567.apk"]


def test_folder_of_the_users(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("a_1_amd64.deb", "below/b_1_amd64.deb", "text"):
        (tmp_path / name).write_bytes(b"")
    assert [one.name for one in in_folder(str(tmp_path))] == ["a"]
    assert in_folder(str(tmp_path / "nowhere")) == []
