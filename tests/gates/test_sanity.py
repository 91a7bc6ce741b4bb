# SPDX-License-Identifier: Apache-2.0
"""What every collection on Galaxy is held to: ansible-test's checks, on every Python that is at hand, and its ways to
run tests.
"""

import pytest

from support import checkout

pytestmark = pytest.mark.slow


def test_sanity():
    checkout.succeed(checkout.tool("nox"), "-s", "sanity")


def test_sanity_can_fail(tmp_path):
    tree = checkout.copy(tmp_path)
    module = tree / "plugins/modules/savedump_info.py"
    module.write_text(module.read_text().replace("\noptions:\n", "\noptions:\n  planted: {description: Nothing.}\n"))
    name = str(module.relative_to(tree))
    result = checkout.run(
        checkout.tool("nox"), "-s", "sanity", "--", "--test", "validate-modules", name, cwd=str(tree)
    )
    assert result.returncode != 0 and "planted" in result.stdout, result.stdout


def test_units():
    assert " passed" in checkout.succeed(checkout.tool("nox"), "-s", "ansible-units")


def test_integration():
    assert "All assertions passed" in checkout.succeed(checkout.tool("nox"), "-s", "ansible-integration")
