# SPDX-License-Identifier: Apache-2.0
"""Real packages of given files: .deb by dpkg-deb, .rpm by rpmbuild; pacman's and Alpine's as their makers lay them out.

Files are given as {"/usr/lib/x": bytes}, symbolic links as {"/usr/lib/y": "x"}.
"""

import gzip
import io
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

ARCH = "amd64"


def run(*words, **how):
    """The finished process; what it printed if it fails."""
    done = subprocess.run(
        [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True, timeout=120, check=False, **how,
    )  # fmt: skip
    assert done.returncode == 0, "%s: %s" % (" ".join(map(str, words)), done.stdout)
    return done


def need(program):
    if shutil.which(program) is None:
        pytest.skip("%s is not installed" % program)


def lay_out(top, files):
    """Write the files below a folder."""
    for path, content in files.items():
        at = pathlib.Path(str(top) + path)
        at.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            at.symlink_to(content)
        else:
            at.write_bytes(content)
            at.chmod(0o755)


def deb(folder, name, version, files, codec="xz", arch=ARCH, **fields):
    """folder/NAME_VERSION_ARCH.deb, as apt names it; `fields` are more of its control file's, with "_" for "-"."""
    need("dpkg-deb")
    folder = pathlib.Path(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    tree = folder / ("tree of %s %s" % (name, version.replace(":", "")))
    lay_out(tree, files)
    (tree / "DEBIAN").mkdir(parents=True)
    control = {"Package": name, "Version": version, "Architecture": arch, "Maintainer": "T <t@example.org>",
               "Description": "test"}  # fmt: skip
    control.update({key.replace("_", "-"): value for key, value in fields.items()})
    lines = "".join("%s: %s\n" % item for item in control.items())
    (tree / "DEBIAN/control").write_text(lines)
    path = folder / ("%s_%s_%s.deb" % (name, version.replace(":", "%3a"), arch))
    run("dpkg-deb", "-Z" + codec, "--root-owner-group", "-b", tree, path)
    shutil.rmtree(str(tree))
    return path


def rpm(folder, name, version, files, payload="w3.gzdio", epoch=None):
    """folder/NAME-VERSION-1.x86_64.rpm."""
    need("rpmbuild")
    folder = pathlib.Path(str(folder))
    top = folder / "rpmbuild"
    lay_out(top / "tree", files)
    spec = top / "x.spec"
    spec.write_text(
        "\n".join(
            ["%global debug_package %{nil}", "%global __os_install_post %{nil}", "%global _build_id_links none"]
            + ["%%global _binary_payload %s" % payload]
            + ["Name: " + name, "Version: " + version, "Release: 1", "Summary: test", "License: test"]
            + ([] if epoch is None else ["Epoch: %d" % epoch])
            + ["AutoReqProv: no", "%description", "%install", "cp -a '%s'/. %%{buildroot}/" % (top / "tree")]
            + ["%files"] + ['"%s"' % path for path in files]
        )
        + "\n"
    )  # fmt: skip
    rpmbuild(top, spec)
    made = next((top / "RPMS").rglob("*.rpm"))
    path = folder / made.name
    shutil.move(str(made), str(path))
    shutil.rmtree(str(top))
    return path


def rpmbuild(top, spec):
    """Build below `top`; Debian's rpm would make a database in the home folder otherwise."""
    defines = ["--define", "_topdir %s" % top, "--define", "_dbpath %s" % (top / "db")]
    run("rpmbuild", "-bb", "--target", "x86_64", *defines, spec, env=dict(os.environ, HOME=str(top)))


def tar_of(files, meta=None, end=True):
    """A tar as bytes; without its end, as abuild cuts it, if `end` is False."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in {**(meta or {}), **files}.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        length = tar.offset
    return buffer.getvalue() if end else buffer.getvalue()[:length]


def alpm(folder, name, version, files):
    """folder/NAME-VERSION-x86_64.pkg.tar.zst, with what makepkg puts in front."""
    need("zstd")
    folder = pathlib.Path(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("%s-%s-x86_64.pkg.tar.zst" % (name, version))
    data = tar_of(files, {".PKGINFO": b"pkgname = %s\n" % name.encode(), ".MTREE": gzip.compress(b"#mtree\n")})
    path.write_bytes(subprocess.run(["zstd", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout)
    return path


def apk(folder, name, version, files):
    """folder/NAME-VERSION.HASH.apk of apk-tools 2: signature, control and data, each a gzip member."""
    folder = pathlib.Path(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("%s-%s.0123abcd.apk" % (name, version))
    parts = (
        tar_of({".SIGN.RSA.alpine@example.org.rsa.pub": b"signature"}, end=False),
        tar_of({".PKGINFO": b"pkgname = %s\n" % name.encode()}, end=False),
        tar_of(files),
    )
    path.write_bytes(b"".join(map(gzip.compress, parts)))
    return path


class Root:
    """A root with a dpkg database of its own, into which packages are installed by dpkg itself."""

    def __init__(self, path):
        self.path = pathlib.Path(str(path))
        self.cache = self.path / "var/cache/apt/archives"
        self.admin = self.path / "var/lib/dpkg"
        for folder in (self.cache, self.admin / "info", self.admin / "updates", self.path / "var/log"):
            folder.mkdir(parents=True)
        for name in ("status", "available"):
            (self.admin / name).write_text("")
        (self.path / "etc").mkdir()
        self.distribution("debian", "12")

    def distribution(self, name, version, like=""):
        lines = 'ID=%s\nVERSION_ID="%s"\n' % (name, version)
        (self.path / "etc/os-release").write_text(lines + ("ID_LIKE=%s\n" % like if like else ""))

    def install(self, package):
        """dpkg writes its database, its log and the files, all below this root."""
        need("dpkg")
        run(
            "dpkg", "--admindir=%s" % self.admin, "--instdir=%s" % self.path,
            "--log=%s" % (self.path / "var/log/dpkg.log"), "--force-not-root", "--force-bad-path",
            "--force-architecture", "--force-depends", "-i", package,
            env=dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive"),
        )  # fmt: skip
