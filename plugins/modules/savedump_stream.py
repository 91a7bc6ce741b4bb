#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation only: the work is in the action plugin of the same name."""

DOCUMENTATION = r"""
module: savedump_stream
version_added: 0.1.0
short_description: Archive crash dumps straight onto the control host, with nothing written to the target's disk
author:
  - The savedump authors (@savedump)
description:
  - Makes of each dump the same archive as M(savedump.toolkit.savedump), on the control host instead of the target. The
    target's disk is only read, so a target whose disk is full can still be collected from.
  - The code that works on the target comes over the connection, too, and stays in memory.
  - With a O(store), each file is sent once, whichever host has it first. What the store has does not travel again, and
    the archive is still whole, byte by byte the one that the target would have made with this control host's
    compressor. That holds for hosts of one run, side by side, as well.
  - What travels is compressed on the way, and its hashes are compared at both ends. Under its final name an archive is
    whole, with the contents that its own manifest and C(SHA256SUMS) say, or not there.
  - A link that breaks is made anew, and the archive goes on where it was, as long as the task runs. A task that is
    begun anew begins with the dump that it was at. To go on in the middle of that, too, archive it on the target with
    M(savedump.toolkit.savedump) and fetch that with M(savedump.toolkit.savedump_fetch).
attributes:
  action:
    description: Runs on the control host, and a process on the target with it.
    support: full
  action_group:
    description: Use C(group/savedump.toolkit.savedump) in C(module_defaults) to set what is looked for, and
      C(group/savedump.toolkit.transfer) to set how it travels.
    membership:
      - savedump.toolkit.savedump
      - savedump.toolkit.transfer
  async:
    support: none
    details: The transfer is the control host's own work.
  bypass_host_loop:
    description: Runs once for each host.
    support: none
  platform:
    details: The connection must be C(ssh), C(paramiko) or C(local). The target needs Python 3.6 or newer with its
      standard library, and nothing else.
    platforms: linux
extends_documentation_fragment:
  - savedump.toolkit._attributes
  - savedump.toolkit._search
  - savedump.toolkit._filters
options:
  src:
    description:
      - The dumps to archive, or directories with dumps.
      - Left out, every dump that M(savedump.toolkit.savedump_info) finds is archived.
    type: list
    elements: str
  dest:
    description:
      - Directory on the control host. The archives go to C(dest/HOST), with mode V(0600) in a directory with mode
        V(0700).
      - A relative path starts where C(ansible-playbook) was started.
    type: str
    required: true
  store:
    description:
      - The content store on the control host, see M(savedump.toolkit.savedump_store). Empty for none, and then every
        archive's files travel.
    type: str
    default: ""
  format:
    description: As in M(savedump.toolkit.savedump). Compressed on the control host.
    type: str
    choices: [tar.gz, tar.zst, tar, auto]
    default: tar.gz
  level:
    description: Compression level in the codec's own scale. Left out, a fast one.
    type: int
  gdb_scripts:
    description: As in M(savedump.toolkit.savedump).
    type: bool
    default: false
  whole_vmlinux:
    description: As in M(savedump.toolkit.savedump).
    type: bool
    default: false
  nice:
    description: Whether the work on the target has the lowest priority for processor and disk.
    type: bool
    default: true
  wait:
    description: Seconds to wait for another run that is at work on the same dump.
    type: int
    default: 0
  ignore_space:
    description: Begin even if the archive, by an estimate, does not fit on the control host.
    type: bool
    default: false
  stall_timeout:
    description: Seconds without a single byte after which the transfer is broken off and tried again.
    type: int
    default: 60
  retries:
    description: How often to try again, for each dump, when the connection broke and nothing comes any more.
    type: int
    default: 3
  bandwidth_limit:
    description: At most so many bytes a second, such as V(10M). Left out, no limit.
    type: bytes
seealso:
  - module: savedump.toolkit.savedump
  - module: savedump.toolkit.savedump_fetch
  - module: savedump.toolkit.savedump_store
"""

EXAMPLES = r"""
- name: Bring every dump of the host, as an archive, and each library once for all hosts
  savedump.toolkit.savedump_stream:
    dest: collected
    store: collected/store
  become: true

- name: What crashed in the last two hours, over a thin line
  savedump.toolkit.savedump_stream:
    dest: /srv/incidents
    newer_than: 2h
    bandwidth_limit: 2M
  become: true
"""

RETURN = r"""
archives:
  description: One entry for each dump that has an archive here now. In check mode, one for each that would have.
  returned: unless the work on the target could not begin
  type: list
  elements: dict
  contains:
    path:
      description: The archive on the control host, or what it would be called.
      type: str
      sample: /home/me/collected/node1/archive-core.1234.tar.gz
    sha256:
      description: SHA-256 of the archive, in hex. V(null) in check mode for one that is not here, and so is
        RV(archives[].size).
      type: str
      sample: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
    size:
      description: Bytes of the archive, or V(null).
      type: int
      sample: 1482752
    planned_size:
      description: Bytes to be read for it on the target.
      type: int
      sample: 9437184
    changed:
      description: Whether this run made it (in check mode, would make it).
      type: bool
    estimated_size:
      description: Bytes of the archive, by samples of what goes into it.
      type: int
      sample: 1500000
    complete:
      description: Whether every file that a debugger needs is in it.
      type: bool
    created:
      description: When the dump was last changed, in UTC, as in the archive's manifest.
      type: str
      sample: "2026-11-23T10:00:00Z"
    missing:
      description: As in RV(savedump.toolkit.savedump#module:archives[].missing).
      type: list
      elements: dict
    dump:
      description: As in RV(savedump.toolkit.savedump#module:archives[].dump).
      type: dict
    wire_bytes:
      description: Bytes that came over the connection for it.
      type: int
      sample: 1305112
    saved_bytes:
      description: Bytes of its files that did not have to come, because the store had them.
      type: int
      sample: 7340032
not_archived:
  description: As in RV(savedump.toolkit.savedump#module:not_archived).
  returned: unless the work on the target could not begin
  type: list
  elements: dict
looked:
  description: As in RV(savedump.toolkit.savedump#module:looked).
  returned: unless the work on the target could not begin
  type: list
  elements: dict
left_out:
  description: How many dumps were found that the filters passed over.
  returned: unless the work on the target could not begin
  type: int
msg:
  description: All of it in one sentence.
  returned: always
  type: str
"""
