# SPDX-License-Identifier: Apache-2.0
"""The README's two commands, typed on a machine that has nothing but python3 and git."""

import re
import subprocess

import pytest

from support import bareroot, checkout

pytestmark = pytest.mark.slow

CLONE = "git clone -q /srv/savedump.bundle 'save dump' && cd 'save dump'\n"
# The archive that came, verified once more: not by the play that brought it, but as a user would.
VERIFY = """
for archive in ~+/collected/localhost/archive-*; do
    echo "verifying $archive"
    (cd ~/'save dump' && python3 -m savedump_core verify "$archive")
done
"""


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The checkout as one file that any user can clone, whoever owns it."""
    folder = tmp_path_factory.mktemp("bundle")
    tree = checkout.copy(folder / "tree")
    made = folder / "savedump.bundle"
    subprocess.check_call(["git", "bundle", "create", "-q", str(made), "HEAD", "main"], cwd=str(tree))
    return made.read_bytes()


@pytest.fixture
def bare(request, tmp_path, bundle):
    """bare("debian12"): that system, fresh, with the bundle to clone from."""

    def make(name):
        root = bareroot.BareRoot(bareroot.lower(name), tmp_path)
        root.put("/srv/savedump.bundle", bundle)
        return root

    return make


def assert_demo_worked(result):
    assert result.returncode == 0, result.stdout
    assert re.search(r"^verifying .*\n.*intact, complete", result.stdout, re.MULTILINE), result.stdout
    assert re.search(r"^ *\W*#0 ", result.stdout, re.MULTILINE), "no backtrace in:\n" + result.stdout


@pytest.mark.parametrize("name", sorted(bareroot.SYSTEMS))
def test_demo_as_root(bare, name):
    root = bare(name)
    fresh = root.run("python3 -c 'import ensurepip' || command -v gdb || command -v sudo")
    assert fresh.returncode != 0, "this is no bare system: " + fresh.stdout
    assert_demo_worked(root.run(CLONE + "./collect-dumps --demo\n" + VERIFY))


def test_demo_as_user(bare):
    root = bare("debian12")
    # Without rights to install what is missing: the command that somebody with rights has to run, word for word.
    refused = root.run(CLONE + "./collect-dumps --demo", user="newcomer")
    assert refused.returncode == 77, refused.stdout
    (command,) = re.findall(r"^savedump: run as root: (.*)$", refused.stdout, re.MULTILINE)
    installed = root.run(command)
    assert installed.returncode == 0, installed.stdout
    # A relative name, and a working directory that is not the checkout.
    assert_demo_worked(root.run("'save dump/collect-dumps' --demo\n" + VERIFY, user="newcomer"))


def test_no_dump_says_where_it_looked(bare):
    result = bare("debian12").run(CLONE + "./collect-dumps")
    assert result.returncode == 0, result.stdout
    assert "no dumps" in result.stdout
    # Its core_pattern is this machine's; the folders are its own.
    assert re.search(r"looked in .*\S: ", result.stdout)


def test_tests_start_from_bare(bare):
    """All that they need is set up; a few of each kind are run."""
    result = bare("debian12").run(CLONE + "./run-tests fast -k 'ruff or shellcheck or layers or writers'")
    assert result.returncode == 0, result.stdout[-5000:]
    assert re.search(r"\d+ passed", result.stdout.splitlines()[-1])
