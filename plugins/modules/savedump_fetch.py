#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation only: the work is in the action plugin of the same name."""

DOCUMENTATION = r"""
module: savedump_fetch
version_added: 0.1.0
short_description: Fetch one large file from a target in constant memory and prove it
author:
  - The savedump authors (@savedump)
description:
  - Brings one file, as a rule an archive made by M(savedump.toolkit.savedump), from the target to the control host.
  - Unlike M(ansible.builtin.fetch) with C(become), memory stays the same whatever the size, on both sides.
  - The file is streamed through C(become) over an ssh connection of its own without compression, with all else that
    Ansible's own has (known hosts, keys, jump hosts), or over a session of the paramiko connection. Containers use
    their plugin's file transfer, and anything else is read in chunks.
  - Where neither the user nor the system has chosen ciphers for ssh, and both processors have instructions for AES,
    that ssh connection asks for AES-GCM before OpenSSH's default, which costs both ends nearly twice as much.
  - What came is compared with the SHA-256 that was given or that the target computes, and only then gets its name. A
    file that changes while it is read is noticed.
  - There is no time limit but one on standing still. A transfer that broke goes on where it ended, in this run or a
    later one. What an earlier run left is first compared, in chunks of 4 MiB (more from 256 GiB on), with hashes that
    the target makes of its file; what differs or is missing comes again, and nothing else.
  - Of a transfer that takes long a line tells after ten seconds, and then ever more seldom.
  - The file lies under a directory of the host's name, with mode V(0600) in a directory with mode V(0700). Neither
    name can lead anywhere else, whatever the target says.
attributes:
  action:
    description: Runs on the control host.
    support: full
  action_group:
    description: Use C(group/savedump.toolkit.transfer) in C(module_defaults) to set how files travel.
    membership:
      - savedump.toolkit.transfer
  async:
    support: none
    details: The transfer is the control host's own work.
  bypass_host_loop:
    description: Runs once for each host.
    support: none
  platform:
    details: The target needs a POSIX shell. With Python of any version, or sha256sum, it needs nothing else.
    platforms: posix
extends_documentation_fragment:
  - savedump.toolkit._attributes
options:
  src:
    description: The file on the target.
    type: str
    required: true
  dest:
    description:
      - Directory on the control host. The file goes to C(dest/HOST/NAME), where NAME is the last part of O(src).
      - Characters other than letters, digits and C(._+@=-) become C(_) in both, and a name that ends like an unfinished
        file's (C(.part), C(.copy)) gets a C(_); a name so changed gets eight hex digits of its SHA-256, so that two
        names never become one.
      - A file that is there under that name with other bytes is kept; the new one then gets eight hex digits of its own
        SHA-256 in its name.
      - A relative path starts where C(ansible-playbook) was started.
    type: str
    required: true
  checksum:
    description:
      - SHA-256 that the file must have, in hex, such as RV(savedump.toolkit.savedump#module:archives[].sha256).
      - If the file is here with it, nothing is asked of the target at all.
      - Left out, the target computes it.
    type: str
  stall_timeout:
    description: Seconds without a single byte after which the transfer is broken off and tried again.
    type: int
    default: 60
  retries:
    description:
      - How often to go on after a transfer broke, within this task. What came is kept either way.
      - A try that brought at least 4 MiB is not counted. With V(0), the first break is the end.
    type: int
    default: 3
  bandwidth_limit:
    description:
      - Bytes per second, such as V(10M) for 10 MiB, that this file may take; at least V(1K). Hosts that are fetched
        from at the same time have as much each.
      - Left out or V(0), there is no limit.
    type: bytes
seealso:
  - module: savedump.toolkit.savedump
  - module: ansible.builtin.fetch
"""

EXAMPLES = r"""
- name: Archive the dumps
  savedump.toolkit.savedump:
  become: true
  register: dumps

- name: Bring the archives home
  savedump.toolkit.savedump_fetch:
    src: "{{ item.path }}"
    checksum: "{{ item.sha256 }}"
    dest: collected
  become: true
  loop: "{{ dumps.archives }}"
  loop_control:
    label: "{{ item.path }}"
  when: item.sha256 is not none  # in check mode nothing is there yet
  register: fetched

- name: Any big file that only root may read
  savedump.toolkit.savedump_fetch:
    src: /var/log/journal.export
    dest: /srv/incidents
    stall_timeout: 300
    bandwidth_limit: 20M
  become: true
"""

RETURN = r"""
path:
  description: The file on the control host, or where it would be.
  returned: success
  type: str
  sample: /home/me/collected/node1/archive-core.1234.tar.gz
sha256:
  description: Its SHA-256, in hex. V(null) in check mode if O(checksum) was not given.
  returned: success
  type: str
  sample: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
size:
  description: Its bytes.
  returned: success
  type: int
  sample: 1482752
wire_bytes:
  description: How many of the file's bytes travelled in this run.
  returned: always, unless the host cannot be reached
  type: int
  sample: 1482752
kept_bytes:
  description: How many bytes an earlier run had left that were right.
  returned: always, unless the host cannot be reached
  type: int
  sample: 0
repaired_bytes:
  description: How many bytes were here and wrong, in whole chunks; they are part of RV(wire_bytes), too.
  returned: always, unless the host cannot be reached
  type: int
  sample: 0
resumed_at:
  description: The first byte that was missing or wrong here.
  returned: changed, not in check mode
  type: int
  sample: 0
way:
  description: How it travelled, one of V(ssh-own), V(ssh-shared), V(paramiko), V(local), V(copy) and V(chunks).
  returned: changed, not in check mode
  type: str
  sample: ssh-own
seconds:
  description: How long the transfer took.
  returned: changed, not in check mode
  type: float
  sample: 1.5
msg:
  description: All of it in one sentence.
  returned: always
  type: str
"""
