# SPDX-License-Identifier: Apache-2.0
"""SEAM: one file per way to find a file. A finder has NAME and ``candidates(want, roots)``, which yields Candidates
lazily, and Attempts where a server said why it has none; it never opens what it proposes, and never decides:
``search`` verifies every one.

To add one: a file with these two names, and a line in CHAIN.
"""

from . import (
    archives,
    as_mapped,
    build_id_tree,
    debug_link,
    debuginfod,
    from_dump,
    kernel_layout,
    other_roots,
    package_cache,
    processes,
    search_path,
)  # fmt: skip

# The order is what costs least and is right most often: the place the dump names, then the trees every host has, then
# what the user gave (asked late, since what lies on the host itself is the process's own), then what runs on this host
# or lies in its containers and snapshots, packages, and servers only for what nothing else had. Rebuilding a file from
# the dump loses what was not loaded of it: the last resort.
CHAIN = (
    as_mapped, kernel_layout, build_id_tree, debug_link, search_path, processes, other_roots,
    package_cache, archives, debuginfod, from_dump,
)  # fmt: skip
