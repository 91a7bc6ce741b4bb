# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where files are looked for, in one place. The leading underscore keeps it private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of every module that looks for the files of a dump."""

    DOCUMENTATION = r"""
options:
  search_paths:
    description:
      - More directories on the target to look into for executables, libraries and debug information.
      - A directory is tried beneath it by the path as mapped, by base name, as a C(.build-id) tree, and by build ID
        over the ELF files in the directory itself, whatever their names.
    type: list
    elements: path
    default: []
  sysroot:
    description: The root in which dumps are looked for and the paths in them are resolved, for a container's tree or a
      mounted image.
    type: path
    default: /
  allow_unverified:
    description:
      - Also count a file as found that nothing but its path speaks for, because it or the dump has no build ID.
      - It is marked so wherever it is listed.
    type: bool
    default: false
  debuginfod_urls:
    description:
      - Debuginfod servers to ask, from the target, for what is not there. V(env) stands for those of the target's
        E(DEBUGINFOD_URLS).
      - Nothing is fetched unless a server is named. What comes is proven by build ID like any other file, and kept in
        the cache that gdb and C(debuginfod-find) use.
    type: list
    elements: str
    default: []
"""
