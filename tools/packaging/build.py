#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build what is given out, from what is committed (HEAD): nothing else that lies in the checkout gets in.

    tools/packaging/build.py OUTDIR [KIND ...]

    collection   savedump-toolkit-VERSION.tar.gz, for Ansible
    python       savedump-VERSION.tar.gz and savedump-VERSION-py3-none-any.whl, for pip
    zipapp       savedump.pyz: one file that is the command
    deb          savedump_VERSION_all.deb
    rpm          savedump-VERSION-1.noarch.rpm

Without a KIND, all, and SHA256SUMS of all. The same commit gives the same bytes with the same tools: every time in them
is SOURCE_DATE_EPOCH, or the commit's. Needs git, dpkg-deb and rpmbuild (Debian: dpkg, rpm), and on the first call a
package index, for requirements.txt.
"""

import argparse
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import environment
import tarballs

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
HERE = "tools/packaging"
KINDS = ("collection", "python", "zipapp", "deb", "rpm")


class Build:
    """One build of one commit."""

    def __init__(self, work, output, seconds):
        self.work = work
        self.output = output
        self.seconds = seconds
        self.tree = work / "savedump"
        self.env = environment.environ(
            SOURCE_DATE_EPOCH=str(seconds), HOME=str(work), TZ="UTC", PYTHONDONTWRITEBYTECODE="1"
        )
        self.version = ""

    def run(self, *argv, cwd=None):
        """Run a command quietly; what it said is shown when it fails."""
        words = [str(word) for word in argv]
        done = subprocess.run(
            words, cwd=str(cwd or self.tree), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit("%s: exit status %d\n%s" % (" ".join(words), done.returncode, done.stdout))
        return done.stdout

    def export(self):
        """The commit's files, and beside them the man pages and completions that its parser gives."""
        self.tree.mkdir()
        archive = self.work / "tree.tar"
        git("archive", "--output=%s" % archive, "HEAD")
        self.run("tar", "-xf", archive)
        _plain_modes(self.tree)
        core = (self.tree / "plugins/module_utils/savedump_core/__init__.py").read_text(encoding="utf-8")
        self.version = re.search(r'^__version__ = "(.+)"$', core, re.MULTILINE).group(1)

    def pages(self):
        if (self.tree / "share").exists():
            return
        self.run("python", "tools/make_man.py", self.tree)
        _plain_modes(self.tree / "share")

    def collection(self):
        self.run("ansible-galaxy", "collection", "build", "--force", "--output-path", self.output)
        tarballs.rewrite(str(self.output / ("savedump-toolkit-%s.tar.gz" % self.version)), self.seconds)

    def python(self):
        self.pages()
        self.run("python", "-m", "build", "--no-isolation", "--sdist", "--outdir", self.output)
        sdist = self.output / ("savedump-%s.tar.gz" % self.version)
        tarballs.rewrite(str(sdist), self.seconds)
        # From the sdist, as whoever takes that will do.
        unpacked = self.work / "sdist"
        unpacked.mkdir()
        self.run("tar", "-xf", sdist, "-C", unpacked)
        (source,) = unpacked.iterdir()
        self.run("python", "-m", "build", "--no-isolation", "--wheel", "--outdir", self.output, cwd=source)
        self.run("twine", "check", "--strict", sdist, *self.output.glob("savedump-%s-*.whl" % self.version))

    def zipapp(self):
        self.run("python", "tools/make_zipapp.py", self.output / "savedump.pyz")

    def deb(self):
        self.pages()
        root = self.work / "deb"
        self._package(root, "usr/lib/python3/dist-packages")
        _write(root / "usr/bin/savedump", _read(self.tree / HERE / "debian/savedump"), 0o755)
        # Policy 12.1 and 12.7: manual pages and changelogs are compressed, without time stamps.
        for page in sorted((root / "usr/share/man/man1").iterdir()):
            _compress(page)
        documents = root / "usr/share/doc/savedump"
        _write(documents / "copyright", _read(self.tree / HERE / "debian/copyright"))
        date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(self.seconds))
        changelog = _read(self.tree / HERE / "debian/changelog.in")
        _write(documents / "changelog", changelog.replace("@VERSION@", self.version).replace("@DATE@", date))
        _compress(documents / "changelog")
        files = sorted(path for path in root.rglob("*") if path.is_file())
        kib = sum((path.stat().st_size + 1023) // 1024 for path in files)
        sums = ["%s  %s\n" % (_md5(path), path.relative_to(root)) for path in files]
        control = _read(self.tree / HERE / "debian/control.in")
        _write(root / "DEBIAN/control", control.replace("@VERSION@", self.version).replace("@SIZE@", str(kib)))
        _write(root / "DEBIAN/md5sums", "".join(sums))
        for script in ("postinst", "prerm"):
            _write(root / "DEBIAN" / script, _read(self.tree / HERE / "debian" / script), 0o755)
        # xz: dpkg before 1.21.18 (Debian 11, Ubuntu 20.04) knows no zstd.
        self.run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, self.output)

    def rpm(self):
        self.pages()
        root = self.work / "rpm"
        self._package(root, "usr/share/savedump")
        _write(root / "usr/bin/savedump", _read(self.tree / HERE / "rpm/savedump.sh"), 0o755)
        _write(root / "usr/share/savedump/savedump", _read(self.tree / HERE / "rpm/savedump"), 0o755)
        _write(root / "usr/share/licenses/savedump/LICENSE", _read(self.tree / "LICENSE"))
        top = self.work / "rpmbuild"
        defines = {
            "_topdir": top,
            "_rpmdir": self.work / "rpms",
            "savedump_version": self.version,
            "savedump_tree": root,
            # The same bytes on every machine and at any time.
            "_buildhost": "localhost",
            "clamp_mtime_to_source_date_epoch": "1",
            "use_source_date_epoch_as_buildtime": "1",
        }
        words = [word for name, value in defines.items() for word in ("--define", "%s %s" % (name, value))]
        # --nodeps: there is no rpm database where rpm is a package of another distribution.
        self.run("rpmbuild", "-bb", "--nodeps", "--target", "noarch", *words, self.tree / HERE / "rpm/savedump.spec")
        (package,) = (self.work / "rpms").rglob("*.rpm")
        shutil.copyfile(str(package), str(self.output / package.name))

    def _package(self, root, packages):
        """The core below the folder `packages` of root, and the pages and completions below usr/share."""
        core = self.tree / "plugins/module_utils/savedump_core"
        shutil.copytree(str(core), str(root / packages / "savedump_core"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(str(self.tree / "share"), str(root / "usr/share"), dirs_exist_ok=True)
        _plain_modes(root)


def git(*words):
    """What git says of the checkout."""
    # safe.directory: CI often runs as another user than the one who cloned.
    return subprocess.check_output(["git", "-c", "safe.directory=*", *words], cwd=str(CHECKOUT), text=True).strip()


def _read(path):
    return path.read_text(encoding="utf-8")


def _write(path, text, mode=0o644):
    for folder in reversed([above for above in path.parents if not above.exists()]):
        folder.mkdir()
        folder.chmod(0o755)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _plain_modes(tree):
    """What git knows of modes, and nothing of the caller's umask."""
    tree.chmod(0o755)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _compress(path):
    with open(str(path) + ".gz", "wb") as stream:
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=9, mtime=0) as compressed:
            compressed.write(path.read_bytes())
    pathlib.Path(str(path) + ".gz").chmod(0o644)
    path.unlink()


def _md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def sums(folder):
    """The text of SHA256SUMS for the files of a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    return "".join("%s  %s\n" % (hashlib.sha256(path.read_bytes()).hexdigest(), path.name) for path in files)


def build(output, kinds=KINDS):
    """Build these kinds of HEAD into the folder `output`. SystemExit, with what the tool said, when one fails."""
    output.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)  # a wheel holds the modes of files that were just made
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as work:
        one = Build(pathlib.Path(work), output.resolve(), seconds)
        one.export()
        for kind in KINDS:  # the collection before there is anything but the commit's files
            if kind in kinds:
                getattr(one, kind)()
    if set(kinds) == set(KINDS):
        (output / "SHA256SUMS").write_text(sums(output))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUTDIR", type=pathlib.Path)
    parser.add_argument("kinds", metavar="KIND", nargs="*", help=", ".join(KINDS))
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.kinds) - set(KINDS))
    if unknown:
        parser.error("no such kind: %s" % ", ".join(unknown))
    build(arguments.output, arguments.kinds or KINDS)
    for path in sorted(arguments.output.iterdir()):
        sys.stdout.write("%9d  %s\n" % (path.stat().st_size, path.name))


if __name__ == "__main__":
    main()
