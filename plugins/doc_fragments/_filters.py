# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which dumps are meant, in one place. The leading underscore keeps it private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of every module that looks for dumps: the words of C(savedump find)."""

    DOCUMENTATION = r"""
options:
  kinds:
    description: Only dumps of these kinds, which are V(userland), V(kernel), or a kind as
      RV(savedump.toolkit.savedump_info#module:dumps[].kind) names it.
    type: list
    elements: str
    default: []
  executable:
    description:
      - Only dumps of these programs. Each is a pattern of the shell for the path or, without a C(/), for its last part.
      - Where a dump tells no more than the process's name, that is compared.
    type: list
    elements: str
    default: []
  signal:
    description: Only of processes that one of these signals killed, such as V(SEGV), V(SIGSEGV) or V(11).
    type: list
    elements: str
    default: []
  newer_than:
    description:
      - Only of processes that died since then. Either an age, such as V(2h) or V(3d), or a date and time, such as
        V(2026-11-23T10:00Z).
      - If nothing tells when a process died, the file's last change counts.
    type: str
  older_than:
    description: Only of processes that died before that, written like O(newer_than).
    type: str
  min_size:
    description: Only dumps of at least this size, decompressed, such as V(10M) or V(1.5G).
    type: str
  max_size:
    description: Only dumps of at most this size.
    type: str
"""
