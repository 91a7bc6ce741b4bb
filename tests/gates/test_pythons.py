# SPDX-License-Identifier: Apache-2.0
"""The unit tests on other Pythons than the one that runs this: 3.6 has the last word on what the core may use."""

import os

import pytest

from support import checkout, machine

# The floor and the newest; what lies between is held by the play's own test, which has hosts of every Python.
VERSIONS = ("3.6", "3.13")


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
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
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    output = checkout.succeed(
        tmp_path / "venv/bin/python", "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", "tests/unit",
        env=environment,
    )  # fmt: skip
    assert " passed" in output.splitlines()[-1], output
