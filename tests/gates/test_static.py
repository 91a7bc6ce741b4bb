# SPDX-License-Identifier: Apache-2.0
"""Gates that read the code without running it. Each is run on a copy of the checkout, so that it sees what a clone
would hold; and each is shown, on another copy with a fault planted, to be able to fail.
"""

import pytest

from support import checkout

ON_TARGETS = ("plugins/module_utils", "plugins/modules")

GATES = {
    # The floor is RHEL 8's platform Python. compression.zstd (3.14) is tried, and done without.
    "vermin": ("vermin", "--target=3.6-", "--violations", "--no-tips")
    + ("--exclude", "compression", "--exclude", "compression.zstd")
    + ON_TARGETS,
    "ruff": ("ruff", "check", "--no-cache", "."),
    "mypy": ("mypy", "--no-error-summary"),
    "yamllint": ("yamllint", "--strict", "."),
    "ansible-lint": ("ansible-lint", "--offline", "--profile", "production", "--strict", "--nocolor"),
    "shellcheck": ("shellcheck", "--external-sources", "collect-dumps", "run-tests", ".ci/run", "tools/bootstrap.sh"),
}

# gate: (file, text appended to it). Each is a mistake that the gate is there for.
FAULTS = {
    "vermin": ("plugins/module_utils/savedump_core/errors.py", "\nif (n := 1):\n    pass\n"),
    "ruff": ("plugins/module_utils/savedump_core/errors.py", "\nimport os, undefined_module\n"),
    "mypy": ("plugins/module_utils/savedump_core/errors.py", "\n\ndef _planted() -> int:\n    return 'text'\n"),
    "shellcheck": ("collect-dumps", "\nrm -rf $HOME/$planted\n"),
    "yamllint": ("playbooks/collect-dumps.yml", "\n# planted\nkey:    value\nkey: again\n"),
    "ansible-lint": (
        "playbooks/collect-dumps.yml",
        "\n- name: Planted\n  hosts: all\n  tasks:\n    - shell: echo no name, no FQCN\n",
    ),
}


def command(gate, tree):
    return checkout.run(*GATES[gate], cwd=str(tree))


@pytest.fixture(scope="module")
def clean_tree(tmp_path_factory):
    return checkout.copy(tmp_path_factory.mktemp("clean"))


@pytest.mark.parametrize("gate", sorted(GATES))
def test_passes(gate, clean_tree):
    result = command(gate, clean_tree)
    if result.returncode != 0:
        pytest.fail(result.stdout, pytrace=False)


@pytest.mark.parametrize("gate", sorted(GATES))
def test_can_fail(gate, tmp_path):
    tree = checkout.copy(tmp_path)
    name, text = FAULTS[gate]
    with (tree / name).open("a") as stream:
        stream.write(text)
    result = command(gate, tree)
    assert result.returncode != 0
    # It failed for what was planted, not because the tool would not start.
    assert name in result.stdout
