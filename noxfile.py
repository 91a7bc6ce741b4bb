# SPDX-License-Identifier: Apache-2.0
"""The gates, one session each: `nox` runs all, `nox -l` lists them, `nox -s ruff mypy` runs two.

They run in the environment that ./run-tests makes, with the tools that tools/requirements-test.txt pins. CI runs every
one of them on a clean copy of the checkout (tests/gates), and shows for each on another copy that it can fail.
"""

import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"

ON_TARGETS = ("plugins/module_utils", "plugins/modules")


def run(session, tool, *words, **options):
    """Run a tool of this very environment, not one that PATH happens to have."""
    session.run(str(Path(sys.executable).parent / tool), *words, external=True, **options)


@nox.session
def ruff(session):
    """Style, unused names, likely mistakes."""
    run(session, "ruff", "check", "--no-cache", ".")


@nox.session
def mypy(session):
    """Types of the core."""
    run(session, "mypy", "--no-error-summary")


@nox.session
def vermin(session):
    """What runs on targets needs Python 3.6 and nothing newer: the floor is RHEL 8's platform Python."""
    # compression.zstd (3.14) is tried, and done without.
    exclude = ("--exclude", "compression", "--exclude", "compression.zstd")
    run(session, "vermin", "--target=3.6-", "--violations", "--no-tips", *exclude, *ON_TARGETS)


@nox.session
def yamllint(session):
    """YAML."""
    run(session, "yamllint", "--strict", ".")


@nox.session(name="ansible-lint")
def ansible_lint(session):
    """Playbooks, roles and plugins, by the rules for collections that are certified."""
    run(session, "ansible-lint", "--offline", "--profile", "production", "--strict", "--nocolor")


@nox.session
def shellcheck(session):
    """Shell scripts."""
    scripts = ("collect-dumps", "run-tests", ".ci/run", "tools/bootstrap.sh")
    session.run("shellcheck", "--external-sources", *scripts, external=True)
