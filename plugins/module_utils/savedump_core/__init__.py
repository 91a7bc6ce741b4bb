# SPDX-License-Identifier: Apache-2.0
"""Make a core dump or a kernel crash dump self-contained, with nothing but Python.

One way through: ``source`` opens the file, ``dumps`` reads it into a ``Dump``, ``search`` turns its modules into
wants and finds and proves a file for each, ``plan`` lays the archive out, ``archive`` writes it in one pass, and
``unpack`` verifies and opens it elsewhere. ``api`` holds the verbs; ``cli`` and the Ansible modules only call those.
The nouns are in ``model``, the failures in ``errors``.
"""

__version__ = "0.1.0"
