# SPDX-License-Identifier: Apache-2.0
"""The collection by its full name from a plain clone; ansible-test brings its own way and needs none of this.

What runs on the control host needs ansible-core to be imported at all. Where the core's tests run on a Python without
it (3.6 is below every supported control host), those files are not collected.
"""

import importlib.util
import os
import sys

if importlib.util.find_spec("ansible_collections") is None:
    _HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.join(_HERE, os.pardir, os.pardir, os.pardir, ".collections"))

collect_ignore = [] if importlib.util.find_spec("ansible") else ["action", "plugin_utils"]
