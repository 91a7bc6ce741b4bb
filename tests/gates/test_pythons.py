# SPDX-License-Identifier: Apache-2.0
"""The unit tests on other Pythons than the one that runs this: 3.6 has the last word on what the core may use."""

import os
import pathlib
import tempfile

import pytest

from support import checkout, machine

_CORE = "tests/unit/plugins/module_utils/savedump_core/"
# The floor with all but what hostile input costs, the newest with the rooms that lean on the standard library. What
# lies between is held by the play's own test, which has hosts of every Python, and by sanity, which imports every
# module on each.
TESTS = {
    "3.6": ["tests/unit", "-k", "not hostile"],
    "3.13": [_CORE + room for room in ("cli", "compression", "remote", "stores", "web", "wire", "test_main.py")],
}


@pytest.mark.slow
@pytest.mark.parametrize("version", sorted(TESTS))
def test_unit_tests(version, tmp_path):
    python = machine.interpreter(version)
    if python is None:
        pytest.skip("no python%s in PATH or under pyenv" % version)
    checkout.succeed(python, "-m", "venv", tmp_path / "venv")
    pip = [tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if version == "3.6":
        # The pip that came with 3.6 takes the newest release of everything, for whatever Python it is.
        checkout.succeed(*pip + ["pip==21.3.1"])
    checkout.succeed(*pip + ["pytest", "pytest-xdist", "pyelftools==0.32"])
    # Python 3.6 knows no other place for bytecode than beside the source. pytest's own folders are for their owner
    # only, and some tests run the code as another user.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        clone = checkout.copy(pathlib.Path(folder) / "clone")
        output = checkout.succeed(
            tmp_path / "venv/bin/python", "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", *TESTS[version],
            cwd=str(clone),
        )  # fmt: skip
    assert " passed" in output.splitlines()[-1], output
