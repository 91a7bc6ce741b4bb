# SPDX-License-Identifier: Apache-2.0
"""The release command: what it refuses, what it leaves when it fails, and what it has done at the end."""

import os
import re
import sys

import pytest

from support import checkout, releases
from support.releases import VERSION, clone, commit, git, release

REFUSED, FAILED = 64, 1


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the checkout."""
    return checkout.copy(tmp_path_factory.mktemp("tree"))


def test_one_version(tree):
    # The release command writes it to both places; all packages but the collection have the core's.
    galaxy = re.search(r"^version: *(\S+)$", (tree / "galaxy.yml").read_text(encoding="utf-8"), re.MULTILINE).group(1)
    assert checkout.succeed("python3", "-m", "savedump_core", "--version", cwd=str(tree)) == "savedump %s\n" % galaxy


def test_release_is_committed_and_tagged(released):
    tree = released.tree
    me = "%s <%s>" % (releases.NAME, releases.EMAIL)
    said = git(tree, "log", "-1", "--format=%an <%ae>%n%B").splitlines()
    assert said == [me, "Release " + VERSION, "", "Signed-off-by: " + me]
    assert git(tree, "branch", "--show-current") == "main"
    assert git(tree, "describe") == "v" + VERSION
    # A key that signs the tag signs the packages.
    assert (tree / "dist/SHA256SUMS").read_text().strip() in git(tree, "cat-file", "tag", "v" + VERSION)
    assert git(tree, "status", "--short") == ""
    assert len(git(tree, "worktree", "list").splitlines()) == 1


def test_release_is_written_down(released):
    tree = released.tree
    core = tree / "plugins/module_utils/savedump_core/__init__.py"
    assert "version: " + VERSION in (tree / "galaxy.yml").read_text(encoding="utf-8").splitlines()
    assert '__version__ = "%s"' % VERSION in core.read_text(encoding="utf-8").splitlines()
    assert "A change for the test" in (tree / "CHANGELOG.md").read_text(encoding="utf-8")
    # Told, and the folder is left for what comes next.
    assert os.listdir(str(tree / "changelogs/fragments")) == [".gitkeep"]


def test_says_what_is_left_to_do(released):
    for command in ("git push origin main v%s", "ansible-galaxy collection publish dist/savedump-toolkit-%s.tar.gz"):
        assert command % VERSION in released.said


def test_packages_are_there(dist):
    assert sorted(os.listdir(str(dist))) == [
        "SHA256SUMS",
        "savedump-%s-1.noarch.rpm" % VERSION,
        "savedump-%s-py3-none-any.whl" % VERSION,
        "savedump-%s.tar.gz" % VERSION,
        "savedump-toolkit-%s.tar.gz" % VERSION,
        "savedump.pyz",
        "savedump_%s_all.deb" % VERSION,
    ]


def test_anyone_builds_the_same_bytes(released, tmp_path):
    """Elsewhere, at another time, with another umask, from the tag alone."""
    again = clone(released.tree, tmp_path / "clone")
    command = "umask 077; exec %s tools/packaging/build.py ../again" % sys.executable
    checkout.succeed("sh", "-c", command, cwd=str(again))
    assert (tmp_path / "again/SHA256SUMS").read_text() == (released.tree / "dist/SHA256SUMS").read_text()
    checkout.succeed("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=str(tmp_path / "again"))


@pytest.mark.parametrize(
    "version, why",
    [
        (VERSION, "is not newer than"),
        ("98.9.9", "is not newer than"),
        ("1.0", "is no version"),
        ("100.0.0-rc.1", "is no version"),
        ("100.0.0", "changelogs/fragments is empty"),
    ],
)
def test_refuses(version, why, released):
    before = git(released.tree, "rev-parse", "HEAD")
    result = release(released.tree, version)
    assert result.returncode == REFUSED and why in result.stdout, result.stdout
    assert git(released.tree, "rev-parse", "HEAD") == before


def test_refuses_a_version_that_only_the_changelog_knows(released, tmp_path):
    shallow = clone(released.tree, tmp_path / "clone")
    git(shallow, "tag", "--delete", "v" + VERSION)
    result = release(shallow, "98.9.9")
    assert result.returncode == REFUSED and "is not newer than " + VERSION in result.stdout, result.stdout


def test_refuses_what_git_does_not_have(tree, tmp_path):
    dirty = clone(tree, tmp_path / "clone")
    (dirty / "README.md").write_text("changed")
    result = release(dirty, VERSION)
    assert result.returncode == REFUSED and "M README.md" in result.stdout, result.stdout
    git(dirty, "checkout", "--quiet", "README.md")
    git(dirty, "checkout", "--quiet", "--detach")
    result = release(dirty, VERSION)
    assert result.returncode == REFUSED and "HEAD is detached" in result.stdout, result.stdout


def test_refuses_a_wrong_fragment(tree, tmp_path):
    wrong = clone(tree, tmp_path / "clone")
    (wrong / "changelogs/fragments").mkdir(exist_ok=True)
    (wrong / "changelogs/fragments/wrong.yml").write_text("---\nno_such_section:\n  - Words.\n")
    commit(wrong)
    result = release(wrong, VERSION)
    assert result.returncode == REFUSED and "no_such_section" in result.stdout, result.stdout


def test_dry_run_changes_nothing(tree, tmp_path):
    dry = clone(tree, tmp_path / "clone")
    commit(dry)
    result = release(dry, VERSION, "--dry-run")
    assert result.returncode == 0, result.stdout
    assert "./run-tests all" in result.stdout and "git tag v" + VERSION in result.stdout
    assert git(dry, "status", "--short", "--ignored") == git(dry, "tag") == ""


def test_failure_leaves_the_checkout_as_it_was(tree, tmp_path):
    faulty = clone(tree, tmp_path / "clone")
    (faulty / "run-tests").write_text("#!/bin/sh\necho planted; exit 1\n")
    (faulty / "tools/packaging/build.py").write_text("")
    (faulty / "tools/packaging/galaxy_import.py").write_text("")
    (faulty / ".gitignore").write_text("")
    (faulty / "dist").mkdir()
    (faulty / "dist/savedump-toolkit-1.tar.gz").touch()
    commit(faulty)
    before = git(faulty, "rev-parse", "HEAD")
    result = release(faulty, VERSION)
    assert result.returncode == FAILED and "planted" in result.stdout and "as it was" in result.stdout, result.stdout
    assert git(faulty, "rev-parse", "HEAD") == before
    assert git(faulty, "status", "--short") == git(faulty, "tag") == ""
    assert len(git(faulty, "worktree", "list").splitlines()) == 1
