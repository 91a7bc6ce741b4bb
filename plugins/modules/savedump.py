#!/usr/bin/python
# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archive crash dumps with everything a debugger needs. All the work is in savedump_core."""

DOCUMENTATION = r"""
module: savedump
version_added: 0.1.0
short_description: Archive crash dumps with every file that a debugger needs
author:
  - The savedump authors (@savedump)
description:
  - For each crash dump, makes one archive on the target that holds the dump, the executable and libraries that it had
    mapped, the debug information that is there, and scripts that start a debugger on it anywhere else.
  - Files are matched by build ID. A file that has changed since the crash is never packed; the archive is then
    incomplete and says which file, under which build ID, and where it looked.
  - Needs no second copy of the dump. Nothing lies under the archive's name until it is whole, and its mode is V(0600).
attributes:
  async:
    support: full
extends_documentation_fragment:
  - savedump.toolkit._attributes
  - savedump.toolkit._attributes.target
  - savedump.toolkit._search
  - savedump.toolkit._filters
options:
  src:
    description:
      - The dumps to archive, or directories with dumps.
      - Left out, every dump that M(savedump.toolkit.savedump_info) finds is archived.
      - Of what is found, also in a directory, only what passes the filters is archived (O(kinds), O(executable),
        O(signal), O(newer_than), O(older_than), O(min_size), O(max_size)). A dump that is named itself always is.
      - A dump that was found and may not be read is passed over with a warning. One that is named must be readable.
      - A file that is itself an archive of savedump, or lies in O(dest), is passed over.
    type: list
    elements: path
  dest:
    description:
      - The directory on the target for the archives. It is made, with mode V(0700), if it is not there.
      - A directory below one that everybody may write to must belong to the user that the module runs as, or to root.
      - Left out, it is C(/var/tmp/savedump) for root and C(/var/tmp/savedump-UID) for anybody else.
    type: path
  format:
    description:
      - Container and compression. Every tar opens V(tar.gz).
      - V(tar.zst) is faster by far and needs libzstd or the program zstd on the target.
      - V(auto) takes V(tar.zst) where the target can, else V(tar.gz).
    type: str
    choices: [tar.gz, tar.zst, tar, auto]
    default: tar.gz
  level:
    description: Compression level in the codec's own scale. Left out, a fast one.
    type: int
  gdb_scripts:
    description:
      - Also pack the host's scripts for gdb, such as pretty printers, that belong to the files in the archive. Nothing
        proves them; C(run-gdb.sh) runs them only if C(SAVEDUMP_AUTO_LOAD=1) is set.
    type: bool
    default: false
  ignore_space:
    description:
      - Begin even if the disk seems to be too small. Otherwise an archive that would not fit, by an estimate that is
        made of samples of the dump and its files, is refused before a byte is written.
      - What is kept for root on a disk is left alone; quotas cannot be known.
    type: bool
    default: false
  nice:
    description: Whether to work with the lowest priority for processor and disk.
    type: bool
    default: false
  wait:
    description:
      - Seconds to wait for another run that writes into O(dest) or archives one of the dumps, all together. What it
        made is used then. If it takes longer, that is an error.
    type: int
    default: 0
  whole_vmlinux:
    description:
      - Keep the C(.rela.debug*) sections of a kernel's C(vmlinux), half of it, which no debugger reads.
      - What is left out is listed in the archive's manifest; the build ID stays.
    type: bool
    default: false
seealso:
  - module: savedump.toolkit.savedump_info
  - module: savedump.toolkit.savedump_fetch
"""

EXAMPLES = r"""
- name: Archive one dump
  savedump.toolkit.savedump:
    src: /var/crash/core.1234

- name: Archive every dump of the host, as root, and do not hold the connection open meanwhile
  savedump.toolkit.savedump:
    dest: /srv/dumps
    format: auto
  become: true
  async: 7200
  poll: 10
  register: dumps

- name: Fail if a file that a debugger needs is missing
  ansible.builtin.assert:
    that: dumps.archives | rejectattr('complete') | length == 0

- name: Archive what nginx has left in the last two hours, and nothing above 20 GiB
  savedump.toolkit.savedump:
    executable: nginx*
    newer_than: 2h
    max_size: 20G

- name: Archive the dump of a program whose files lie elsewhere
  savedump.toolkit.savedump:
    src: /srv/app/core
    search_paths:
      - /srv/app/releases/41
      - /srv/app/debug
"""

RETURN = r"""
archives:
  description: One entry for each dump that has an archive now. In check mode, one for each that would have.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The archive on the target, or what it would be called.
      type: str
      sample: /var/tmp/savedump/archive-core.1234.tar.gz
    sha256:
      description:
        - SHA-256 of the archive, in hex. Give it to O(savedump.toolkit.savedump_fetch#module:checksum).
        - V(null) in check mode for an archive that is not there yet, and so is RV(archives[].size).
      type: str
      sample: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
    size:
      description: Bytes of the archive, or V(null).
      type: int
      sample: 1482752
    planned_size:
      description: Bytes to be read for it, before compression and without the dump's holes taken off.
      type: int
      sample: 9437184
    estimated_size:
      description: Bytes that the archive was expected to have. V(null) unless in check mode, or if the disk is short.
      type: int
      sample: 1510000
    created:
      description: When the dump was last changed, in UTC, as in the archive's manifest; V(null) in check mode.
      type: str
      sample: "2026-11-23T10:00:00Z"
    changed:
      description: Whether this run made it (in check mode, would make it). V(false) if it was there, intact.
      type: bool
    complete:
      description: Whether every file that a debugger needs is in it. Debug information that is not installed on the
        target is listed in RV(archives[].missing) but is no gap.
      type: bool
    missing:
      description: The files that were not found or not accepted, each with the places that were tried.
      type: list
      elements: dict
      contains:
        module:
          description: Executable or library on whose behalf it was looked for.
          type: str
        kind:
          description: V(loaded) for what was mapped, V(debug), V(supplementary) or V(split) for debug information.
          type: str
        build_id:
          description: The build ID that the dump asks for, in hex, or V(null).
          type: str
        status:
          description: V(missing), V(mismatch) if another file is at its place, or V(unverified) if nothing proves the
            one that is.
          type: str
        needed:
          description: Whether the archive is incomplete without it.
          type: bool
        package:
          description: The package that would hold it, with its C(name), C(version) and C(kind), or V(null).
          type: dict
        command:
          description: What to type to fill the gap, or V(null).
          type: str
        attempts:
          description: Where it looked, and what came of it.
          type: list
          elements: dict
          contains:
            finder:
              description: The way that led there.
              type: str
              sample: as-mapped
            path:
              description: The place, in words where it is no path.
              type: str
            outcome:
              description: V(match), V(absent), V(other-build-id), V(no-build-id), V(unreadable) or V(refused).
              type: str
            detail:
              description: The build ID that was found, or why it was not taken. May be empty.
              type: str
    dump:
      description: What the dump is, the keys of RV(savedump.toolkit.savedump_info#module:dumps[]) from C(path) to
        C(warnings), and C(modules_why) if it was archived.
      type: dict
not_archived:
  description: Every dump that has no archive now, and why.
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
    exit_status:
      description: What the command C(savedump) would have exited with (sysexits.h), or V(null) if it was passed over.
      type: int
    failed:
      description: Whether it should have been archived. One such entry makes the task fail, after the others are done.
      type: bool
looked:
  description: Where dumps were looked for. Empty if O(src) names nothing but dumps.
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
left_out:
  description: How many dumps were found that the filters passed over.
  returned: always
  type: int
msg:
  description: All of it in one sentence.
  returned: always
  type: str
  sample: "archived 2 dumps in /var/tmp/savedump: 14.3 MiB"
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
    module = AnsibleModule(argument_spec=_adapter.ARCHIVE_SPEC, supports_check_mode=True)
    _adapter.leave(module, _adapter.perform("savedump", module.params, module.check_mode))


if __name__ == "__main__":
    main()
