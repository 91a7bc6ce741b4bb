#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation only: the work is in the action plugin of the same name."""

DOCUMENTATION = r"""
module: savedump_store
version_added: 0.1.0
short_description: Put executables, libraries and debug information into a content store on the control host
author:
  - The savedump authors (@savedump)
description:
  - Keeps files by their build ID in a directory on the control host that is laid out as debuginfod names them,
    C(buildid/HEX/executable) and C(buildid/HEX/debuginfo). Any web server can serve it to debuggers.
  - Takes the proven files of archives, and files that M(savedump.toolkit.savedump_fetch) has brought, once their build
    ID is proven here.
  - What is in the store already is left alone. The store itself is made with mode V(0700); open it to a web server if
    others are to use it.
extends_documentation_fragment:
  - savedump.toolkit._attributes.control
  - savedump.toolkit._attributes
options:
  store:
    description: The directory of the store on the control host. It is made, with mode V(0700), if it is not there.
    type: str
    required: true
  archives:
    description: Archives on the control host whose files to keep.
    type: list
    elements: str
    default: []
  files:
    description: Single files on the control host. They are taken away from where they were.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: str
        required: true
      build_id:
        description: The build ID that it must have, in hex.
        type: str
        required: true
      kind:
        description: V(loaded) for an executable or library, V(debug) for its debug information, V(supplementary) for
          what C(dwz) has split off from that.
        type: str
        choices: [loaded, debug, supplementary]
        required: true
seealso:
  - module: savedump.toolkit.savedump_complete
  - module: savedump.toolkit.savedump_files
"""

EXAMPLES = r"""
- name: Keep the files of all archives that came
  savedump.toolkit.savedump_store:
    store: collected/store
    archives: "{{ fetched.results | map(attribute='path') | list }}"

- name: Keep a file that another host has sent
  savedump.toolkit.savedump_store:
    store: collected/store
    files:
      - path: incoming/node2/executable
        build_id: 5f70bf18a086007016e948b04aed3b82103a36be
        kind: loaded
"""

RETURN = r"""
stored:
  description: The files that came into the store, by their place in it.
  returned: success
  type: list
  elements: str
  sample:
    - buildid/5f70bf18a086007016e948b04aed3b82103a36be/executable
errors:
  description: Why something was not kept, a sentence each. The task then fails after the others are done.
  returned: success, or if something was not kept
  type: list
  elements: str
msg:
  description: All of it in one sentence.
  returned: always
  type: str
"""
