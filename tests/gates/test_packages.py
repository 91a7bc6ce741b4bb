# SPDX-License-Identifier: Apache-2.0
"""What is given out works where it arrives: for pip, as one file, for Debian and for rpm."""

import lzma
import re
import sys
import tarfile
import zipfile

import pytest

from support import bareroot, checkout, machine
from support.releases import VERSION

USAGE = 64  # sysexits.h
CORES = checkout.CHECKOUT / "tests/data/cores"


def assert_is_savedump(*command):
    """The command is the CLI: it knows its version and its exit statuses, in a folder that is not the checkout."""
    assert checkout.succeed(*command + ("--version",), cwd="/") == "savedump %s\n" % VERSION
    assert checkout.run(*command + ("verify",), cwd="/").returncode == USAGE


def core_of(names):
    """The core's files among these paths, below savedump_core/."""
    found = (re.search(r"(?:^|/)savedump_core/(.+\.py)$", str(name)) for name in names)
    return sorted(match.group(1) for match in found if match)


def test_pip_install_of_the_checkout(released, core, tmp_path):
    checkout.succeed("python3", "-m", "venv", tmp_path / "venv")
    checkout.succeed(tmp_path / "venv/bin/pip", "install", "--disable-pip-version-check", ".", cwd=str(released.tree))
    assert_is_savedump(tmp_path / "venv/bin/savedump")
    assert_is_savedump(tmp_path / "venv/bin/python", "-m", "savedump_core")
    # It is what the wheel, which was built from the sdist, holds.
    assert core_of((tmp_path / "venv").rglob("savedump_core/**/*.py")) == core


# 3.6 with the pip that came with it, of 2018.
@pytest.mark.parametrize("python", ["this", "3.6"])
def test_wheel(python, dist, tmp_path):
    interpreter = sys.executable if python == "this" else machine.interpreter(python)
    if interpreter is None:
        pytest.skip("no python%s in PATH or under pyenv" % python)
    checkout.succeed(interpreter, "-m", "venv", tmp_path / "venv")
    (wheel,) = dist.glob("savedump-*.whl")
    pip = [tmp_path / "venv/bin/pip", "--disable-pip-version-check", "install", "--no-index"]
    checkout.succeed(*pip + [wheel])
    assert_is_savedump(tmp_path / "venv/bin/savedump")
    for path in ("man/man1/savedump.1", "bash-completion/completions/savedump", "zsh/site-functions/_savedump"):
        assert (tmp_path / "venv/share" / path).is_file()


def test_sdist_and_wheel_hold_the_command_only(dist, core):
    (wheel,) = dist.glob("savedump-*.whl")
    with zipfile.ZipFile(str(wheel)) as archive:
        names = archive.namelist()
        metadata = archive.read("savedump-%s.dist-info/METADATA" % VERSION).decode()
    assert core_of(names) == core
    assert {name.split("/")[0] for name in names} == {
        "savedump_core", "savedump-%s.dist-info" % VERSION, "savedump-%s.data" % VERSION
    }  # fmt: skip
    assert "\nRequires-Python: >=3.6\n" in metadata and "\nLicense-File: LICENSE\n" in metadata
    # On PyPI there is nothing beside the page that a link could lead to.
    page = metadata.partition("\n\n")[2]
    assert not re.search(r"\]\((?!https://)", page)
    with tarfile.open(str(dist / ("savedump-%s.tar.gz" % VERSION))) as archive:
        names = archive.getnames()
    assert core_of(names) == core
    assert not [name for name in names if "/tests/" in name or "/roles/" in name]


@pytest.mark.parametrize("python", ["this", "3.6", "3.13"])
def test_zipapp(python, dist):
    interpreter = sys.executable if python == "this" else machine.interpreter(python)
    if interpreter is None:
        pytest.skip("no python%s in PATH or under pyenv" % python)
    assert_is_savedump(interpreter, dist / "savedump.pyz")
    assert_is_savedump(dist / "savedump.pyz")


def files_of(archive):
    """What `bsdtar` lists, without folders."""
    return {name.lstrip("./") for name in archive.splitlines() if not name.endswith("/")}


# What an administrator types first: how it is called, who it belongs to, a real dump with the files that it needs.
COMMANDS = """
umask 022
savedump --version
mkdir files && tar -xf programs.tar -C files
savedump archive core --search-path files -o out.tar.gz && savedump verify out.tar.gz
ls /usr/share/man/man1/savedump-archive.1.gz /usr/share/bash-completion/completions/savedump
"""


def bare(tmp_path, package):
    """A Debian with python3, in which the package, a core and its programs lie in root's home."""
    root = bareroot.BareRoot(bareroot.lower("debian12"), tmp_path)
    root.put("/root/" + package.name, package.read_bytes())
    root.put("/root/core", lzma.decompress((CORES / "x86_64-tiny.core.xz").read_bytes()))
    root.put("/root/programs.tar", lzma.decompress((CORES / "x86_64-programs.tar.xz").read_bytes()))
    return root


def test_deb(dist, core, tmp_path):
    (package,) = dist.glob("savedump_*_all.deb")
    assert package.name == "savedump_%s_all.deb" % VERSION
    root = bare(tmp_path, package)
    done = root.run(
        "dpkg -i %s\n%s\n"
        "dpkg --verify savedump\n"
        "find /usr/lib/python3/dist-packages/savedump_core -name '*.pyc' | grep -c . >&2\n"
        "dpkg -P savedump\n"
        "! find / -xdev -path '*savedump*' -not -path '/root/*' -not -path '/var/*' | grep ." % (package.name, COMMANDS)
    )
    assert done.returncode == 0, done.stdout
    assert "savedump %s\n" % VERSION in done.stdout and "out.tar.gz: intact, complete" in done.stdout
    fields = checkout.succeed("dpkg-deb", "--field", package, "Depends", "Architecture")
    assert fields == "Depends: python3 (>= 3.6)\nArchitecture: all\n"
    assert core_of(files_of(checkout.succeed("sh", "-c", 'dpkg-deb --fsys-tarfile "$0" | tar -t', package))) == core


def test_rpm(dist, core, tmp_path):
    (package,) = dist.glob("savedump-*.rpm")
    assert package.name == "savedump-%s-1.noarch.rpm" % VERSION
    names = checkout.succeed("rpm", "-qp", "--list", package).splitlines()
    assert core_of(names) == core and "/usr/bin/savedump" in names
    needs = checkout.succeed("rpm", "-qp", "--requires", package).splitlines()
    assert [need for need in needs if not need.startswith("rpmlib(")] == ["/bin/sh", "/bin/sh", "python(abi) >= 3.6"]
    # Not with rpm, which that Debian has not: its files, and then its scripts as rpm would call them.
    root = bare(tmp_path, package)
    checkout.succeed("bsdtar", "-xf", package, "-C", tmp_path / "upper")
    for name in ("POSTIN", "PREUN"):
        root.put("/root/" + name, checkout.succeed("rpm", "-qp", "--qf", "%%{%s}" % name, package).encode())
    # Without /usr/bin/python3, as on RHEL 8, only the last is left.
    done = root.run(
        "sh POSTIN 1\n%s\n"
        "find /usr/share/savedump -name '*.pyc' | grep -q main\n"
        "mkdir -p /usr/libexec && ln -s $(readlink -f /usr/bin/python3) /usr/libexec/platform-python\n"
        "rm /usr/bin/python3; savedump --version\n"
        "sh PREUN 0; ! find /usr/share/savedump -name '*.pyc' | grep .\n"
        "rm /usr/libexec/platform-python; savedump --version || echo status $?" % COMMANDS
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("savedump %s\n" % VERSION) == 2 and "out.tar.gz: intact, complete" in done.stdout
    assert "install python3" in done.stdout and "status 69" in done.stdout
