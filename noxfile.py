# SPDX-License-Identifier: Apache-2.0
"""The gates, one session each: `nox` runs all, `nox -l` lists them, `nox -s ruff mypy` runs two.

They run in the environment that ./run-tests makes, with the tools that tools/requirements-test.txt pins. CI runs every
one of them on a clean copy of the checkout (tests/gates), and shows for each on another copy that it can fail.
"""

import shutil
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
    scripts += tuple("tools/packaging/" + name for name in ("rpm/savedump.sh", "debian/postinst", "debian/prerm"))
    session.run("shellcheck", "--external-sources", *scripts, external=True)


@nox.session(name="docs-lint")
def docs_lint(session):
    """Documentation of modules, actions and roles: markup, links, names."""
    words = "--plugin-docs --validate-collection-refs all --disallow-unknown-collection-refs --check-extra-docs-refs"
    run(session, "antsibull-docs", "lint-collection-docs", *words.split(), "--skip-rstcheck", ".")


@nox.session(name="changelog-lint")
def changelog_lint(session):
    """Fragments of the changelog."""
    run(session, "antsibull-changelog", "lint")


@nox.session
def docs(session):
    """The site, without a warning: build/site/index.html."""
    session.run(sys.executable, "tools/make_site.py", "build/site")


def ansible_test(session, *words):
    session.run(sys.executable, "-m", "support.ansible_test", *words, *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def sanity(session):
    """ansible-test sanity: every check that runs here, on every Python that is at hand."""
    ansible_test(session, "sanity")


@nox.session(name="ansible-units")
def ansible_units(session):
    """ansible-test units: the tests of the control side."""
    ansible_test(session, "units", "--python", "%d.%d" % sys.version_info[:2], "tests/unit/plugins/plugin_utils/")


@nox.session(name="ansible-integration")
def ansible_integration(session):
    """ansible-test integration: the modules on this host."""
    ansible_test(session, "integration")


@nox.session(name="galaxy-importer")
def galaxy_importer(session):
    """What Galaxy and Automation Hub run on what is uploaded."""
    shutil.rmtree("build/galaxy", ignore_errors=True)
    run(session, "ansible-galaxy", "collection", "build", "--output-path", "build/galaxy")
    (tarball,) = Path("build/galaxy").glob("*.tar.gz")
    session.run(sys.executable, "tools/packaging/galaxy_import.py", str(tarball))


@nox.session(default=False)
def coverage(session):
    """Which lines of the core the unit tests run: build/coverage/html. No gate; docs/coverage.md says what is not."""
    # Two tests see that they are being measured, and fail.
    words = ("run", "-m", "pytest", "-c", "pyproject.toml", "-q", "-n", "auto", "tests/unit")
    shutil.rmtree("build/coverage", ignore_errors=True)
    session.env["COVERAGE_FILE"] = str(Path("build/coverage/data").absolute())
    run(session, "coverage", *words, success_codes=(0, 1))
    run(session, "coverage", "combine", "-q")
    run(session, "coverage", "html", "-q")
    run(session, "coverage", "report")
