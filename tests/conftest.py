# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: how they are spread over processors, and the loop of the quick ones."""

import functools
import os
import signal
import sys

import pytest

# ansible-test does not read pyproject.toml, where pytest is told where to find what tests import.
TESTS = os.path.dirname(os.path.abspath(__file__))
for folder in (TESTS, os.path.join(os.path.dirname(TESTS), "plugins", "module_utils")):
    if folder not in sys.path:
        sys.path.append(folder)

from support import documents

# Seconds. Two thirds of the unit tests are below it, and take half a minute together.
QUICK = 0.1
SECONDS = "savedump/seconds"


def pytest_addoption(parser):
    parser.addoption(
        "--quick",
        action="store_true",
        help="only tests that took less than %s s when they last ran here, and those that never did" % QUICK,
    )


def pytest_configure(config):
    # A shell starts what is in the background deaf to it, and all that this starts in turn.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "slow: see pyproject.toml")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Stopwatch(config), "savedump-seconds")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With --dist loadscope. Not xdist_group: of pytest-xdist 3.8.0 that does nothing with pytest 9.2."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Spread(LoadScopeScheduling):
        """One process has all tests with a fleet's hosts; what else takes long to set up stays together by file."""

        def _split_scope(self, nodeid):
            name = nodeid.split("::")[0]
            if _has_hosts(name):
                return "hosts"
            return name if name.startswith("tests/integration/") else nodeid

    return Spread(config, log)


@functools.lru_cache(maxsize=None)
def _has_hosts(name):
    """Whether the tests in this file of the checkout use a fleet's hosts."""
    with open(os.path.join(os.path.dirname(TESTS), name), encoding="utf-8") as stream:
        return "support.fleet" in stream.read()


def pytest_collection_modifyitems(config, items):
    if config.getoption("--quick"):
        seconds = config.cache.get(SECONDS, {})
        slow = [item for item in items if seconds.get(item.nodeid, 0) >= QUICK]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if seconds.get(item.nodeid, 0) < QUICK]


@pytest.fixture(autouse=True, scope="session")
def described():
    """Every document that a test makes in this process is held against docs/schemas."""
    with documents.watched():
        yield


class Stopwatch:
    """Keeps, in pytest's cache, how long each test took when it last passed."""

    def __init__(self, config):
        self._cache = getattr(config, "cache", None)
        self._seconds = {}

    def pytest_runtest_logreport(self, report):
        # xdist adds the group's name to the identifier.
        name = report.nodeid.split("@")[0]
        self._seconds[name] = self._seconds.get(name, 0) + report.duration

    def pytest_sessionfinish(self):
        if self._cache is not None and self._seconds:
            self._cache.set(SECONDS, dict(self._cache.get(SECONDS, {}), **self._seconds))
