#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation only: the work is in the action plugin of the same name."""

DOCUMENTATION = r"""
module: savedump_room
version_added: 0.1.0
short_description: See whether all archives fit on the control host before one is fetched
author:
  - The savedump authors (@savedump)
description:
  - Adds up what the step of the role P(savedump.toolkit.collect#role) that archives has made on all hosts and what is
    not on the control host yet, for each of its disks, and says for which hosts that is too much.
  - The role calls it before it fetches. It is of no use without the role.
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
  dest:
    description: The directory on the control host that the archives go to.
    type: str
    required: true
seealso:
  - module: savedump.toolkit.savedump_fetch
"""

EXAMPLES = r"""
- name: Is there room for all archives?
  savedump.toolkit.savedump_room:
    hosts: "{{ ansible_play_batch }}"
    dest: "{{ collect_dest }}"
  run_once: true
"""

RETURN = r"""
refused:
  description: Why the archives of a host are not to be fetched, by its name. Empty if all fit.
  returned: success
  type: dict
needed:
  description: Bytes of all archives that are not here yet.
  returned: success
  type: int
msg:
  description: All of it in one sentence.
  returned: always
  type: str
"""
