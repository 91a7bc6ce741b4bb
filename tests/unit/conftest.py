# SPDX-License-Identifier: Apache-2.0
"""ansible-test does not read pyproject.toml, where pytest is told where to find what tests import."""

import os
import sys

_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
for _folder in (_TESTS, os.path.join(os.path.dirname(_TESTS), "plugins", "module_utils")):
    if _folder not in sys.path:
        sys.path.append(_folder)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: see pyproject.toml")
