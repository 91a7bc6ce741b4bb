# SPDX-License-Identifier: Apache-2.0
"""Runs inside gdb: what this gdb sees of the loaded dump, as one JSON document at $CRASH_REPORT.

The same words are asked of the gdb on the crashed host and of the one that opened the archive, so that equal answers
mean that a person sees the same in both.
"""

import json
import os
import re

import gdb

VALUES = ("thread_value", "plug_value", "global_value")


# File names are bytes: as ISO-8859-1 each of them comes through, and means the same byte again.
CHARSET = "ISO-8859-1"


def text_of(command):
    """What a command prints. (gdb.execute(to_string=True) of gdb 13 decodes by the locale, not by host-charset.)"""
    output = os.environ["CRASH_REPORT"] + ".text"
    gdb.execute('pipe %s | cat > "$CRASH_REPORT.text"' % command)
    with open(output, encoding=CHARSET) as stream:
        text = stream.read()
    os.unlink(output)
    return text


def value_of(name):
    try:
        return str(gdb.parse_and_eval(name))
    except gdb.error:  # its words hold paths, which differ from place to place
        return "cannot be read"


def frames():
    found = []
    try:
        frame = gdb.newest_frame()
        while frame is not None and len(found) < 100:
            where = frame.find_sal()
            source = where.symtab.filename if where.symtab else None
            found.append([frame.name(), "%#x" % frame.pc(), source, where.line])
            frame = frame.older()
    except gdb.error as error:
        found.append(["error: %s" % error])
    return found


def threads():
    found = []
    for thread in sorted(gdb.selected_inferior().threads(), key=lambda one: one.ptid[1]):
        thread.switch()
        found.append(
            {"lwp": thread.ptid[1], "frames": frames(), "values": dict((name, value_of(name)) for name in VALUES)}
        )
    return found


def libraries():
    """Per library: first and last address of its code, base name, build ID, whether symbols were read."""
    builds = dict((objfile.filename, objfile.build_id) for objfile in gdb.objfiles() if objfile.owner is None)
    found = []
    for line in text_of("info sharedlibrary").splitlines():
        row = re.match(r"(?:(0x[0-9a-f]+) +(0x[0-9a-f]+))? +(Yes|No)(?: \(\*\))? +(.*)", line)
        if row:
            first, last, read, name = row.groups()
            # A name may have a newline in it; where there is an address, gdb tells the name itself.
            name = gdb.solib_name(int(first, 16)) if first else name
            found.append([[first, last] if first else [], os.path.basename(name), builds.get(name), read])
    return found


def opened():
    """Every file that gdb took for a module or its debug information."""
    names = [objfile.filename for objfile in gdb.objfiles() if "system-supplied DSO" not in objfile.filename]
    return [os.path.realpath(name.encode(CHARSET)).decode(CHARSET) for name in names]


gdb.execute("set host-charset " + CHARSET)
report = {
    "threads": threads(),
    "libraries": libraries(),
    "opened": opened(),
    "backtrace": text_of("thread apply all -c bt"),
}
with open(os.environ["CRASH_REPORT"], "w") as stream:
    json.dump(report, stream, indent=1)
