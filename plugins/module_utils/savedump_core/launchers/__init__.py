# SPDX-License-Identifier: Apache-2.0
"""SEAM: one file per debugger. A launcher has NAME, ``applies_to(manifest)`` and ``script(manifest)``.

``manifest`` is manifest.json's document, of which a launcher may rely on ``manifest["dump"]`` with ``kind``,
``machine``, ``bits``, ``endian`` and, of a kernel dump, ``kernel_version`` ([6, 12], or None) and ``parts`` (how many
files the dump is), and on nothing else. ``script`` returns a POSIX shell script that

- holds no word of the manifest: from these values it picks words of its own tables, and takes numbers as numbers, so
  that no name out of a dump can become code on the machine of the person who opens the archive;
- works from any directory, through a link, and in any folder, whatever characters its path has;
- hands its arguments on to the debugger, and reads nothing outside the archive that its head comment does not name;
- says what to install and leaves with 69 (EX_UNAVAILABLE) when there is no debugger to be had.

What it finds in the archive stands under fixed names in ``.savedump/`` (plan/ lays them out). To add one: a file with
these three names, and a line in LAUNCHERS.
"""

from . import crash, drgn, gdb, lldb, pycrash, sdb

# The order of the archive's members, of the words to a user, and of what "open" takes: gdb first, which knows the most
# kinds of core; for kernel dumps crash, which knows the most kinds of those.
LAUNCHERS = (gdb, lldb, crash, drgn, sdb, pycrash)
