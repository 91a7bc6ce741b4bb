# SPDX-License-Identifier: Apache-2.0
"""One release for all tests of what is given out."""

import shutil

import pytest

from support import checkout, releases


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """A release of a copy of this checkout, without the tests that the command would run."""
    for program in ("dpkg-deb", "rpmbuild"):
        if not shutil.which(program):
            pytest.skip("%s is not installed" % program)
    tree = checkout.copy(tmp_path_factory.mktemp("released"))
    releases.commit(tree)
    result = releases.release(tree, releases.VERSION, "--skip-tests")
    if result.returncode:
        pytest.fail(result.stdout, pytrace=False)
    return releases.Released(tree, result.stdout)


@pytest.fixture(scope="session")
def dist(released):
    """The folder of its packages."""
    return released.tree / "dist"


@pytest.fixture(scope="session")
def core(released):
    """What belongs to the core, below savedump_core/."""
    folder = released.tree / "plugins/module_utils/savedump_core"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.py"))
