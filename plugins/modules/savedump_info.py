#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What crash dumps are there, and what they need. All the work is in savedump_core."""

DOCUMENTATION = r"""
module: savedump_info
version_added: 0.1.0
short_description: Find crash dumps, say what they are and what a debugger needs for them
author:
  - The savedump authors (@savedump)
description:
  - Lists the crash dumps of a host or those in given places, and says where it looked.
  - With O(inspect=true) it also says, for every executable and library in a dump, whether the very file is still
    there. That is what M(savedump.toolkit.savedump) would pack.
  - With O(verify=true) it proves archives of savedump instead.
  - Changes nothing.
attributes:
  async:
    support: full
extends_documentation_fragment:
  - savedump.toolkit._attributes
  - savedump.toolkit._attributes.target
  - savedump.toolkit._search
  - savedump.toolkit._filters
options:
  paths:
    description:
      - Dumps, or directories with dumps.
      - Left out, every place that dumps are known to lie in on this host.
      - With O(verify=true), archives, or directories with archives in or below them. Left out, the directory that
        M(savedump.toolkit.savedump) writes to by default.
    type: list
    elements: path
  inspect:
    description: Whether to look for the files that each dump needs. Takes the options O(search_paths), O(sysroot) and
      O(allow_unverified) as M(savedump.toolkit.savedump) does.
    type: bool
    default: false
  verify:
    description: Whether O(paths) are archives of savedump, of which every byte is to be read and compared with the
      hashes that the archive holds. They come back in RV(archives), and RV(dumps) stays empty.
    type: bool
    default: false
  wait_for_dumps:
    description:
      - Seconds to wait, at most, as long as a dump that is asked for is still being written. RV(dumps[].in_progress)
        tells which were not done then.
      - Check mode does not wait.
    type: int
    default: 0
seealso:
  - module: savedump.toolkit.savedump
"""

EXAMPLES = r"""
- name: Which dumps are on this host?
  savedump.toolkit.savedump_info:
  become: true
  register: found

- name: And if there is none, where did it look?
  ansible.builtin.debug:
    var: found.looked
  when: found.dumps | length == 0

- name: Would an archive of this dump be complete?
  savedump.toolkit.savedump_info:
    paths: /var/crash/core.1234
    inspect: true
    search_paths: /srv/app/releases/41

- name: Prove all archives on the control host
  savedump.toolkit.savedump_info:
    paths: "{{ lookup('ansible.builtin.env', 'PWD') }}/collected"
    verify: true
  delegate_to: localhost
"""

RETURN = r"""
dumps:
  description: The dumps, in the order they were found.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The dump.
      type: str
      sample: /var/crash/core.1234
    size:
      description: Bytes of the dump, decompressed. V(null) if it would have to be read for that.
      type: int
    stored_size:
      description: Bytes of the file.
      type: int
    compression:
      description: What the file is compressed with, or V(null).
      type: str
      sample: zstd
    kind:
      description: V(core), or a kind of kernel dump.
      type: str
      sample: core
    machine:
      description: The machine it is of.
      type: str
      sample: x86_64
    bits:
      description: The width of its addresses.
      type: int
      sample: 64
    endian:
      description: Its byte order.
      type: str
      sample: little
    os:
      description: Its operating system.
      type: str
      sample: linux
    complete:
      description: Whether the dump itself is whole. V(null) if it would have to be read for that.
      type: bool
    incomplete_why:
      description: Why it is not, or V(null).
      type: str
    process:
      description: The process that died, with C(pid), C(comm), C(executable), C(signal) and more, or V(null).
      type: dict
    kernel:
      description: The kernel that crashed, with C(release), C(nodename), C(crash_time) and more, or V(null).
      type: dict
    parts:
      description: The other files of a dump that is in several.
      type: list
      elements: str
    identity:
      description: Sixteen hex digits that tell it from any other of the same name. V(null) without O(inspect=true).
      type: str
    warnings:
      description: What is odd in it, a sentence each.
      type: list
      elements: str
    store:
      description: The kind of place it was found in.
      type: str
    claimed_size:
      description: Bytes that its headers say it has, if RV(dumps[].size) is not known, or V(null).
      type: int
    mtime_ns:
      description: When the file was last changed, in nanoseconds since the epoch.
      type: int
    crashed_ns:
      description: When the process died, or the kernel crashed, in nanoseconds since the epoch, or V(null).
      type: int
    in_progress:
      description: Whether it is still being written.
      type: bool
    user:
      description: Name of the user that the process was of, or V(null).
      type: str
    unit:
      description: The systemd unit that it ran in, or V(null).
      type: str
    host:
      description: The host or container that it ran on, or V(null).
      type: str
    expires:
      description: When it will be deleted, C(at) in nanoseconds since the epoch or V(null), and C(why); V(null) if
        nothing is known to delete it.
      type: dict
    schema:
      description: C(savedump.dump/1), which C(docs/json.md) leads to.
      returned: O(inspect=true)
      type: str
    modules:
      description: Executable and libraries; each with C(file) and C(debug), which say whether it was found, where, and
        all places tried.
      returned: O(inspect=true)
      type: list
      elements: dict
    modules_why:
      description: Why RV(dumps[].modules) are not all, or V(null).
      returned: O(inspect=true)
      type: str
    archive_complete:
      description: Whether an archive made of it now would be complete.
      returned: O(inspect=true)
      type: bool
    error:
      description: Why it could not be inspected.
      returned: O(inspect=true) and it failed
      type: str
left_out:
  description: How many dumps were found that the filters passed over.
  returned: always
  type: int
archives:
  description: What came of O(verify=true), one entry for each archive. Empty without it.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The archive.
      type: str
    intact:
      description: Whether every byte is as it was written.
      type: bool
    complete:
      description: Whether every file that a debugger needs is in it.
      type: bool
    problems:
      description: What is wrong with it, a sentence each.
      type: list
      elements: str
    sha256:
      description: SHA-256 of the archive, in hex, or V(null) if it could not be read.
      type: str
    size:
      description: Bytes of the archive.
      type: int
    missing:
      description: As in RV(savedump.toolkit.savedump#module:archives[].missing).
      type: list
      elements: dict
    dump:
      description: What the dump in it is, as in RV(savedump.toolkit.savedump#module:archives[].dump), or V(null).
      type: dict
    created:
      description: When the dump was last changed, in UTC, as in the archive's manifest.
      type: str
    changed:
      description: Always V(false), as are the next two V(null). They are there so that an archive that was found can be
        given to whatever takes one that was made.
      type: bool
    planned_size:
      description: See RV(archives[].changed).
      type: int
    estimated_size:
      description: See RV(archives[].changed).
      type: int
msg:
  description: All of it in one sentence.
  returned: O(verify=true), and on failure
  type: str
unread:
  description: Of O(paths), the files that are there and could not be read; with O(verify=true), the folders.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    why:
      description: Why not, and what to do about it.
      type: str
    exit_status:
      description: The number that C(savedump) would exit with.
      type: int
looked:
  description: Where dumps or archives were looked for, and what was there.
  returned: always
  type: list
  elements: dict
  contains:
    store:
      description: The kind of place.
      type: str
    where:
      description: The place itself.
      type: str
    outcome:
      description: What was there.
      type: str
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
    module = AnsibleModule(argument_spec=_adapter.INFO_SPEC, supports_check_mode=True)
    _adapter.leave(module, _adapter.perform("savedump_info", module.params, module.check_mode))


if __name__ == "__main__":
    main()
