#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation only: the work is in the action plugin of the same name."""

DOCUMENTATION = r"""
module: savedump_retention
version_added: 0.1.0
short_description: Remove old archives from the control host
author:
  - The savedump authors (@savedump)
description:
  - Removes archives that savedump made from the directories of hosts below O(dest), the oldest first, as far as the
    limits ask for it. An archive's age is that of its file here.
  - Never removes the newest archive of a host, nor one that this run of the role P(savedump.toolkit.collect#role) has
    fetched or found to be here, because its dump is still on its host, and the next run would bring it again.
  - Nothing else is touched, neither the content store nor files that are no archives of savedump.
attributes:
  bypass_host_loop:
    description: Runs once for each host; use C(run_once).
extends_documentation_fragment:
  - savedump.toolkit._attributes.control
  - savedump.toolkit._attributes
options:
  hosts:
    description: Names of the hosts, as in the inventory.
    type: list
    elements: str
    required: true
  later:
    description: Hosts of later batches of the play. As long as one of them has not had its turn, nothing is removed.
    type: list
    elements: str
    default: []
  dest:
    description: The directory on the control host that the archives went to.
    type: str
    required: true
  keep_days:
    description: Remove archives that are older than so many days. V(0) for no limit.
    type: int
    default: 0
  keep_archives:
    description: Remove what a host has more than so many archives. V(0) for no limit.
    type: int
    default: 0
  keep_bytes:
    description: Remove archives until all together have at most this size, such as V(500G). Empty for no limit.
    type: str
    default: ""
seealso:
  - module: savedump.toolkit.savedump_fetch
"""

EXAMPLES = r"""
- name: Keep what came in the last 90 days, and 2 TiB at most
  savedump.toolkit.savedump_retention:
    hosts: "{{ ansible_play_hosts_all }}"
    dest: "{{ collect_dest }}"
    keep_days: 90
    keep_bytes: 2T
  run_once: true
"""

RETURN = r"""
removed:
  description: The archives that were removed; in check mode, that would be.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    size:
      description: Its bytes.
      type: int
    why:
      description: Which limit it was for.
      type: str
msg:
  description: All of it in one sentence.
  returned: always
  type: str
"""
