# SPDX-License-Identifier: Apache-2.0
"""What is given out works where it arrives: the pip package, the zipapp, the collection's tarball."""

import json
import os
import re
import sys
import tarfile

import pytest

from support import checkout, machine

USAGE = 64  # sysexits.h


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return checkout.copy(tmp_path_factory.mktemp("tree"))


def version():
    galaxy = (checkout.CHECKOUT / "galaxy.yml").read_text(encoding="utf-8")
    return re.search(r"^version: *[\"']?([0-9a-z.+-]+)", galaxy, re.MULTILINE).group(1)


def test_one_version(tree):
    # pip's package reads it from the core at build time; Ansible's is written down in galaxy.yml.
    said = checkout.succeed("python3", "-m", "savedump_core", "--version", cwd=str(tree))
    assert said == "savedump %s\n" % version()


def assert_is_savedump(*command):
    """The command is the CLI: it knows its version and its exit statuses, in a folder that is not the checkout."""
    assert checkout.succeed(*command + ("--version",), cwd="/") == "savedump %s\n" % version()
    assert checkout.run(*command + ("verify",), cwd="/").returncode == USAGE


def test_pip_install(tree, tmp_path):
    checkout.succeed("python3", "-m", "venv", tmp_path / "venv")
    checkout.succeed(tmp_path / "venv/bin/pip", "install", "--disable-pip-version-check", ".", cwd=str(tree))
    assert_is_savedump(tmp_path / "venv/bin/savedump")
    assert_is_savedump(tmp_path / "venv/bin/python", "-m", "savedump_core")


@pytest.mark.parametrize("python", ["this", "3.6", "3.13"])
def test_zipapp(python, tmp_path):
    interpreter = sys.executable if python == "this" else machine.interpreter(python)
    if interpreter is None:
        pytest.skip("no python%s in PATH or under pyenv" % python)
    zipapp = tmp_path / "savedump.pyz"
    checkout.succeed("python3", "tools/make_zipapp.py", zipapp)
    assert_is_savedump(interpreter, zipapp)
    assert_is_savedump(zipapp)


@pytest.fixture(scope="module")
def tarball(tree, tmp_path_factory):
    """The collection as ansible-galaxy builds it."""
    output = tmp_path_factory.mktemp("tarball")
    checkout.succeed(checkout.tool("ansible-galaxy"), "collection", "build", "--output-path", output, cwd=str(tree))
    (path,) = output.glob("savedump-toolkit-*.tar.gz")
    return path


def test_tarball_holds_the_collection_only(tarball):
    with tarfile.open(str(tarball)) as archive:
        names = archive.getnames()
    assert "plugins/module_utils/savedump_core/__init__.py" in names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {".collections", ".git", ".venv", "ansible.cfg"}


def test_readme_installs_the_collection_from_a_clone(tmp_path):
    """Word for word, standing in the clone, whose ansible.cfg would call the collection installed already."""
    clone = tmp_path / "somewhere/savedump"
    clone.mkdir(parents=True)
    checkout.copy(clone)
    readme = (clone / "README.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```\n(ansible-galaxy collection build.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    environment = dict(os.environ, HOME=str(tmp_path), PATH=os.path.dirname(sys.executable) + ":" + os.environ["PATH"])
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH"):
        environment.pop(name, None)
    checkout.succeed("sh", "-ec", commands, cwd=str(clone), env=environment)
    installed = tmp_path / ".ansible/collections/ansible_collections/savedump/toolkit"
    assert (installed / "MANIFEST.json").is_file() and not installed.is_symlink()
    assert checkout.succeed("git", "status", "--short", cwd=str(clone)) == ""


def test_installed_tarball_runs(tarball, tmp_path):
    """Installed in a folder of its own, with no checkout in sight, by module name and by playbook name."""
    collections = tmp_path / "collections"
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(collections), HOME=str(tmp_path))
    environment.pop("ANSIBLE_CONFIG", None)
    place = dict(cwd=str(tmp_path), env=environment)
    checkout.succeed(
        checkout.tool("ansible-galaxy"), "collection", "install", tarball, "-p", collections, "--offline", **place
    )
    nothing = tmp_path / "no dumps here"
    nothing.mkdir()
    output = checkout.succeed(
        checkout.tool("ansible"),
        "localhost",
        "-m",
        "savedump.toolkit.savedump_info",
        "-a",
        json.dumps({"paths": [str(nothing)]}),
        **place
    )
    assert '"dumps": []' in output
    checkout.succeed(checkout.tool("ansible-playbook"), "savedump.toolkit.collect_dumps", "--syntax-check", **place)
