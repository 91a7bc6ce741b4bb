# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the get-pip.py that ansible-test downloads: ensurepip, then the version of pip that was asked for,
from the index that pip is configured for. Put into ansible-test's cache by tests/gates/test_sanity.py, because
ansible-test's own download takes no proxy, mirror or certificate setting.
"""

import ensurepip
import os
import subprocess
import sys

# ensurepip.bootstrap() points PIP_CONFIG_FILE at /dev/null and drops PIP_*, in this very process.
environment = dict(os.environ)
ensurepip.bootstrap()
# get-pip's own options, which `pip install` does not know.
arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
sys.exit(subprocess.call(command + arguments, env=environment))
