#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of these files has this host? All the work is in savedump_core."""

DOCUMENTATION = r"""
module: savedump_files
version_added: 0.1.0
short_description: Find single files by build ID and set them out to be fetched
author:
  - The savedump authors (@savedump)
description:
  - Looks on a host for executables, libraries and debug information that the archive of another host's dump lacks. A
    host that still has the old package is the best symbol server there is.
  - Looks wherever M(savedump.toolkit.savedump) would. Only a file with the very build ID counts, whatever its name.
  - Copies what it finds into a directory that nobody else may read, from where M(savedump.toolkit.savedump_fetch) can
    bring it. In check mode, only says what is there.
attributes:
  action_group:
    description: Is in no group that C(module_defaults) could name.
    support: none
    membership: []
  async:
    support: full
  idempotent:
    support: partial
    details: With O(dest), doing the same again changes nothing. Without, each run has a directory of its own.
extends_documentation_fragment:
  - savedump.toolkit._attributes
  - savedump.toolkit._attributes.target
options:
  wants:
    description:
      - The files to look for, such as the entries of RV(savedump.toolkit.savedump#module:archives[].missing) that have
        a build ID, or RV(savedump.toolkit.savedump_complete#module:wants).
      - What C(dwz) has split off from the debug information that is found comes along by itself.
    type: list
    elements: dict
    required: true
    suboptions:
      build_id:
        description: The build ID, in hex.
        type: str
        required: true
      kind:
        description: V(loaded) for an executable or library, V(debug) for its debug information, V(supplementary) for
          what C(dwz) has split off from that.
        type: str
        choices: [loaded, debug, supplementary]
        required: true
      module:
        description: The executable or library on whose behalf it is looked for. If it is an absolute path, a file that
          was V(loaded) is looked for there, too.
        type: str
      paths:
        description: More paths where a file that was V(loaded) may be.
        type: list
        elements: str
        default: []
      release:
        description: Of a kernel's files, the release as C(uname -r) prints it.
        type: str
  dest:
    description:
      - Directory on the target for the copies. It is made, with mode V(0700), if it is not there.
      - Left out, a new one in C(/var/tmp), which is yours to remove; RV(folder) names it.
    type: path
  search_paths:
    description: More directories on the target to look into.
    type: list
    elements: path
    default: []
  sysroot:
    description: The root in which files are looked for.
    type: path
    default: /
seealso:
  - module: savedump.toolkit.savedump
  - module: savedump.toolkit.savedump_complete
  - module: savedump.toolkit.savedump_fetch
"""

EXAMPLES = r"""
- name: Who has the library that the crashed program had loaded?
  savedump.toolkit.savedump_files:
    wants:
      - build_id: 5f70bf18a086007016e948b04aed3b82103a36be
        kind: loaded
        module: /usr/lib/x86_64-linux-gnu/libfoo.so.1
  become: true
  check_mode: true
  register: offered

- name: Set out all that an archive of another host lacks
  savedump.toolkit.savedump_files:
    wants: "{{ completed.wants }}"
  become: true
  register: set_out

- name: Bring it
  savedump.toolkit.savedump_fetch:
    src: "{{ item.path }}"
    checksum: "{{ item.sha256 }}"
    dest: incoming
  become: true
  loop: "{{ set_out.files }}"
  loop_control:
    label: "{{ item.at }}"

- name: Remove the copies
  ansible.builtin.file:
    path: "{{ set_out.folder }}"
    state: absent
  become: true
  when: set_out.folder is not none
"""

RETURN = r"""
files:
  description: The files that are here.
  returned: always
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
      description: On whose behalf it was looked for.
      type: str
    name:
      description: Its place in a directory that is laid out as debuginfod names files.
      type: str
      sample: buildid/5f70bf18a086007016e948b04aed3b82103a36be/executable
    at:
      description: Where it was found, in words where no path leads to it.
      type: str
    path:
      description: The copy on the target, or V(null) in check mode.
      type: str
    size:
      description: Bytes of the copy. In check mode, of the file.
      type: int
    sha256:
      description: SHA-256 of the copy, in hex, or V(null) in check mode.
      type: str
    want:
      description: What it answers, to be given to O(wants) again.
      type: dict
missing:
  description: The files that are not here, each with the places that were tried.
  returned: always
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
      description: On whose behalf it was looked for.
      type: str
    paths:
      description: The paths that were asked for.
      type: list
      elements: str
    release:
      description: The kernel's release that was asked for, or V(null).
      type: str
    attempts:
      description: As in RV(savedump.toolkit.savedump#module:archives[].missing[].attempts).
      type: list
      elements: dict
folder:
  description: The directory with the copies, or V(null) if there are none.
  returned: always
  type: str
  sample: /var/tmp/savedump-files-x7q1c_2a
msg:
  description: All of it in one sentence.
  returned: always
  type: str
  sample: "1 of 3 files are here: 1.9 MiB"
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

from ansible_collections.savedump.toolkit.plugins.module_utils import _adapter, _files


def main():
    """Words in, one verb, words out."""
    module = AnsibleModule(argument_spec=_files.FILES_SPEC, supports_check_mode=True)
    _adapter.leave(module, _files.perform("savedump_files", module.params, module.check_mode))


if __name__ == "__main__":
    main()
