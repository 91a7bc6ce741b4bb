#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove dumps whose archives are proven elsewhere. All the work is in savedump_core."""

DOCUMENTATION = r"""
module: savedump_remove
version_added: 0.1.0
short_description: Remove crash dumps that are safe elsewhere
author:
  - The savedump authors (@savedump)
description:
  - Removes a dump from its host if it is still the very one that was archived, by its identity, its size and the time
    of its last change. One that is not, that somebody writes to or archives just now, or that is a link, is kept.
  - Does not ask whether there is an archive. The role P(savedump.toolkit.collect#role) calls it, if told to, for dumps
    whose archives it has verified on the control host.
  - Of a dump in a file that holds more, such as a crash report of apport, and of one in several files, nothing is
    removed.
attributes:
  action_group:
    description: Is in no group that C(module_defaults) could name.
    support: none
    membership: []
  async:
    support: full
extends_documentation_fragment:
  - savedump.toolkit._attributes
  - savedump.toolkit._attributes.target
options:
  archives:
    description: The archives of the dumps, as M(savedump.toolkit.savedump) returned them on this host.
    type: list
    elements: dict
    required: true
seealso:
  - module: savedump.toolkit.savedump
"""

EXAMPLES = r"""
- name: Remove the dumps of which an archive is complete
  savedump.toolkit.savedump_remove:
    archives: "{{ dumps.archives | selectattr('complete') | list }}"
  become: true
"""

RETURN = r"""
removed:
  description: The dumps that were removed; in check mode, that would be.
  returned: always
  type: list
  elements: str
kept:
  description: The dumps that are there still, and why.
  returned: always
  type: list
  elements: dict
  contains:
    dump:
      description: Its path.
      type: str
    why:
      description: One sentence.
      type: str
freed:
  description: Bytes on disk that the removed dumps had.
  returned: always
  type: int
msg:
  description: All of it in one sentence.
  returned: always
  type: str
  sample: "1 dump removed: 9.0 MiB"
python:
  description: With what the work was done on the target.
  returned: always
  type: dict
  contains:
    executable:
      description: The Python interpreter.
      type: str
      sample: /usr/bin/python3
    version:
      description: Its version.
      type: str
      sample: 3.6.8
    pyelftools:
      description: Version of pyelftools that was there to be used, or V(null).
      type: str
      sample: "0.32"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.savedump.toolkit.plugins.module_utils import _adapter


def main():
    """Words in, one verb, words out."""
    module = AnsibleModule(argument_spec=_adapter.REMOVE_SPEC, supports_check_mode=True)
    _adapter.leave(module, _adapter.perform("savedump_remove", module.params, module.check_mode))


if __name__ == "__main__":
    main()
