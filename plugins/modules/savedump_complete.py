#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation only: the work is in the action plugin of the same name."""

DOCUMENTATION = r"""
module: savedump_complete
version_added: 0.1.0
short_description: Complete a host's archives on the control host from the content store
author:
  - The savedump authors (@savedump)
description:
  - For each archive that M(savedump.toolkit.savedump) made on a host, looks on the control host for the best archive of
    the same dump, and makes that again with the files that it lacks and the store holds.
  - The completed archive takes the place of the one with gaps only when it is whole, verified, and lacks less.
  - Also says which files are still to be asked for, and which archives need not be fetched again because what is here
    is better than what the host has. Without O(store), it does no more than that.
  - An archive that lacks debug information only is not made again.
extends_documentation_fragment:
  - savedump.toolkit._attributes.control
  - savedump.toolkit._attributes
options:
  archives:
    description: What M(savedump.toolkit.savedump) returned on this host as
      RV(savedump.toolkit.savedump#module:archives), or M(savedump.toolkit.savedump_info) as
      RV(savedump.toolkit.savedump_info#module:archives).
    type: list
    elements: dict
    required: true
  dest:
    description: The directory on the control host that M(savedump.toolkit.savedump_fetch) brought them to, the host's
      own directory below it not included.
    type: str
    required: true
  store:
    description: The content store on the control host, as M(savedump.toolkit.savedump_store) fills it.
    type: str
seealso:
  - module: savedump.toolkit.savedump_files
  - module: savedump.toolkit.savedump_store
  - module: savedump.toolkit.savedump_fetch
"""

EXAMPLES = r"""
- name: Complete what came from this host
  savedump.toolkit.savedump_complete:
    archives: "{{ dumps.archives }}"
    dest: collected
    store: collected/store
  register: completed

- name: Which of the files that are still missing does the old machine have?
  savedump.toolkit.savedump_files:
    wants: "{{ completed.wants }}"
  delegate_to: old.example.org
  become: true
  check_mode: true
  when: completed.wants | length > 0
"""

RETURN = r"""
archives:
  description: One entry for each of O(archives) of which there is one here.
  returned: success
  type: list
  elements: dict
  contains:
    on_target:
      description: The archive on the target.
      type: str
    path:
      description: The best archive of the same dump on the control host.
      type: str
    sha256:
      description: Its SHA-256, in hex, if this run made it; else V(null).
      type: str
    size:
      description: Its bytes.
      type: int
    complete:
      description: Whether every file that a debugger needs is in it.
      type: bool
    missing:
      description: As in RV(savedump.toolkit.savedump#module:archives[].missing).
      type: list
      elements: dict
    better:
      description: Whether it lacks less than the one on the target.
      type: bool
    filled:
      description: The files that it lacked before this run and holds now; in check mode, would hold.
      type: list
      elements: dict
      contains:
        module:
          description: The executable or library on whose behalf it was missing.
          type: str
        kind:
          description: V(loaded), V(debug) or V(supplementary).
          type: str
        build_id:
          description: The build ID, in hex.
          type: str
        place:
          description: Its place in the store.
          type: str
          sample: buildid/5f70bf18a086007016e948b04aed3b82103a36be/executable
wants:
  description:
    - The files to ask other hosts for, to be given to O(savedump.toolkit.savedump_files#module:wants).
    - Empty if no archive lacks anything that makes it incomplete and that a build ID tells. Else debug information is
      among them, too.
  returned: success
  type: list
  elements: dict
  contains:
    build_id:
      description: The build ID, in hex.
      type: str
    kind:
      description: V(loaded), V(debug) or V(supplementary).
      type: str
    module:
      description: The executable or library on whose behalf it is missing.
      type: str
    paths:
      description: The paths that it was loaded by.
      type: list
      elements: str
    release:
      description: The kernel's release.
      returned: for files of a kernel dump
      type: str
errors:
  description: Why an archive could not be completed, a sentence each. The task then fails after the others are done.
  returned: success, or if an archive could not be completed
  type: list
  elements: str
msg:
  description: All of it in one sentence.
  returned: always
  type: str
  sample: "1 gap filled"
"""
