#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation only: the work is in the action plugin of the same name."""

DOCUMENTATION = r"""
module: savedump_summary
version_added: 0.1.0
short_description: Say what the role savedump.toolkit.collect brought, host by host
author:
  - The savedump authors (@savedump)
description:
  - Reads what the steps of the role P(savedump.toolkit.collect#role) registered for each host, prints one block of
    text, and returns it as data; saves it as JSON, too, if told to.
  - The role calls it once at its end. It is of no use without the role.
attributes:
  bypass_host_loop:
    description: Runs once for each host; use C(run_once).
  check_mode:
    description: Says what would be collected.
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
    description: Those of O(hosts) that are in later batches of the play (C(serial)). As long as one has not had its
      turn, it is not named.
    type: list
    elements: str
    default: []
  dest:
    description: The directory on the control host that the archives went to, for the text.
    type: str
  save:
    description:
      - Whether to write RV(report) to C(summary.json) in O(dest), with mode V(0600), in place of the last run's.
      - Not done in check mode.
    type: bool
    default: false
seealso:
  - module: savedump.toolkit.savedump_fetch
"""

EXAMPLES = r"""
- name: Say what came
  savedump.toolkit.savedump_summary:
    hosts: "{{ ansible_play_hosts_all }}"
    dest: "{{ collect_dest }}"
  run_once: true
"""

RETURN = r"""
outcomes:
  description: What became of each host, by its name. C(docs/summary.md) describes it.
  returned: always
  type: dict
  sample:
    node1:
      status: complete
      dumps: []
      looked: []
      left_out: 0
      archives: []
      left: []
      gaps: []
      errors: []
      changed: true
      wire_bytes: 1482752
      saved_bytes: 0
      removed: []
      kept: []
report:
  description: The same with sums, as a document of the schema C(savedump.summary/1).
  returned: always
  type: dict
path:
  description: The file that it was written to.
  returned: O(save=true), not in check mode
  type: str
lines:
  description: The text that was printed.
  returned: always
  type: list
  elements: str
"""
