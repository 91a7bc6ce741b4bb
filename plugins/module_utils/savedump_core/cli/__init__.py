# SPDX-License-Identifier: Apache-2.0
"""The command line: one verb per file, each with ``add_arguments(parser)`` and ``run(args) -> exit status``."""
