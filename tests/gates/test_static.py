# SPDX-License-Identifier: Apache-2.0
"""The gates that read the code without running it: sessions of noxfile.py. Each is run on a copy of the checkout, so
that it sees what a clone would hold; and each is shown, on another copy with a fault planted, to be able to fail.
"""

import json
import re

import pytest

from support import checkout

# gate: (file, text appended to it). Each is a mistake that the gate is there for.
FAULTS = {
    "changelog-lint": ("changelogs/fragments/0.1.0.yml", "\nbugfix:\n  - planted\n"),
    "docs-lint": (
        "roles/collect/meta/argument_specs.yml",
        "\n  planted:\n    short_description: Planted\n    description:\n      - See M(savedump.toolkit.nothing).\n",
    ),
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

# Sessions that have tests of their own, in these files.
ELSEWHERE = {
    "ansible-integration": "test_sanity.py",
    "ansible-units": "test_sanity.py",
    "docs": "test_site.py",
    "galaxy-importer": "test_packaging.py",
    "sanity": "test_sanity.py",
}


def nox(gate, tree):
    return checkout.run(checkout.tool("nox"), "-s", gate, cwd=str(tree))


@pytest.fixture(scope="module")
def clean_tree(tmp_path_factory):
    return checkout.copy(tmp_path_factory.mktemp("clean"))


@pytest.mark.parametrize("gate", sorted(FAULTS))
def test_passes(gate, clean_tree):
    result = nox(gate, clean_tree)
    if result.returncode != 0:
        pytest.fail(result.stdout, pytrace=False)


@pytest.mark.parametrize("gate", sorted(FAULTS))
def test_can_fail(gate, tmp_path):
    tree = checkout.copy(tmp_path)
    name, text = FAULTS[gate]
    with (tree / name).open("a") as stream:
        stream.write(text)
    result = nox(gate, tree)
    assert result.returncode != 0
    # It failed for what was planted, not because the tool would not start.
    assert name in result.stdout


def test_every_gate_is_run_by_a_test():
    sessions = json.loads(checkout.succeed(checkout.tool("nox"), "--list", "--json"))
    assert {session["name"] for session in sessions} == set(FAULTS) | set(ELSEWHERE)


IGNORED = re.compile(r"# (?:type: ignore|pylint: disable|noqa)[^#\n]*$", re.MULTILINE)


def test_nothing_is_ignored_without_its_reason():
    """Which stands behind it, as a comment of its own."""
    files = [name for name in checkout.files() if name.endswith(".py")]
    texts = {name: (checkout.CHECKOUT / name).read_text(encoding="utf-8") for name in files}
    assert sum(text.count("type: ignore[") for text in texts.values()) > 5
    assert {name: found for name, text in texts.items() for found in [IGNORED.findall(text)] if found} == {}
    assert IGNORED.search("import x  # noqa: F401\n") and not IGNORED.search("import x  # noqa: F401  # for its name\n")
