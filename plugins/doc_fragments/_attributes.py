# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible promises of a module, in one place. The leading underscore keeps it private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """The attributes; each module overrides what differs."""

    DOCUMENTATION = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/savedump.toolkit.savedump) in C(module_defaults) to set what is looked for, and where, for
      all modules of that group.
    support: full
    membership:
      - savedump.toolkit.savedump
  async:
    description: Supports being used with the C(async) keyword.
  check_mode:
    description: Can run in C(check_mode) and says what would be done, and with how many bytes, without doing it.
    support: full
  diff_mode:
    description: Returns what has changed, or would change in C(check_mode), as a difference between two texts.
    support: none
  idempotent:
    description: Doing the same again changes nothing.
    support: full
  platform:
    description: What the target must be.
    platforms: linux
    support: full
"""

    # Before the other in a module's list: the first one that has an attribute counts.
    CONTROL = r"""
options: {}
attributes:
  action:
    description: Runs on the control host.
    support: full
  action_group:
    description: Is in no group that C(module_defaults) could name.
    support: none
    membership: []
  async:
    support: none
  bypass_host_loop:
    description: Runs once for each host.
    support: none
  platform:
    details: Nothing is done on the target.
    platforms: posix
"""

    TARGET = r"""
options: {}
notes:
  - The target needs Python 3.6 or newer with its standard library, and nothing else. Nothing is installed there.
  - Where this ansible-core no longer supports the target's Python (3.6 under ansible-core 2.17, for example), the same
    code is sent as a zipapp and run with the best Python that is found. Check mode, C(become) and C(async) with a
    C(poll) above zero work that way too; C(async) with C(poll=0) does not, because M(ansible.builtin.async_status)
    could not read the outcome.
  - If the control host has pyelftools, the action plugin carries it to the target for this one run, where
    RV(python.pyelftools) has its version. Nothing that is found or archived depends on it.
"""
