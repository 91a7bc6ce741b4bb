# SPDX-License-Identifier: Apache-2.0
"""What all launchers begin with: where the archive is, and how a debugger can be told without any quoting."""

from typing import Any, Dict

# No "@": crash takes what follows one for the address of a raw memory image.
_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-"

# $0, PWD and every path are only ever used as arguments, never as text of a debugger's command, unless plain() holds.
# 9 is the highest descriptor that POSIX promises to a script; gdb's launcher uses 8 besides.
_PRELUDE = r"""
set -u
unset CDPATH DEBUGINFOD_URLS

note() {
    printf '%s: %s\n' "$me" "$1" >&2
}

fail() {
    note "$2"
    exit "$1"
}

# Debuggers unquote, split at ":" and expand what their settings hold, each version in its own way. A path of these
# characters means itself in all of them. (No ranges: what A-Z covers depends on the locale.)
plain() {
    case $1 in
        *[!@PLAIN@]*) return 1 ;;
    esac
}

# Links in an archive stay inside it. One that was made to lead elsewhere must not be opened.
inside() {
    case $(readlink -f "$top/$1") in
        "$top"/*) ;;
        *) fail 65 "$1 leads outside of this archive: do not trust it" ;;
    esac
}

# The folder that this script really lies in, to the last newline of its name.
self=$0
case $self in
    /*) ;;
    *) self=./$self ;;
esac
if [ -L "$self" ]; then
    self=$(readlink -f "$self") || fail 66 "cannot follow the link $0"
fi
top=$(cd -P "${self%/*}/" && printf '%s.' "$PWD") || fail 66 "cannot enter the archive's folder"
top=${top%.}
exec 9<"$top"
root=$top
if ! plain "$root"; then
    root=/proc/self/fd/9
    [ -d "$root/.savedump" ] || fail 69 "without /proc no debugger can be told of a folder of this name; \
move the archive to a path of letters, digits and /._+- alone"
fi
[ -e "$top/.savedump/dump" ] || fail 66 "the dump is not there: unpack the whole archive \
(savedump open, or tar xf)"
inside .savedump/dump
"""

_USERLAND = r"""
if [ -e "$top/.savedump/executable" ]; then
    inside .savedump/executable
else
    note "the executable is not in this archive (manifest.json says why): its own frames have no names"
fi
"""

# @PARTS@ is a number.
_KERNEL = r"""
for link in vmlinux vmlinux.debug modules vmcoreinfo; do
    [ ! -L "$top/.savedump/$link" ] || inside ".savedump/$link"
done
parts=@PARTS@
part=1
while [ "$parts" -gt 1 ] && [ "$part" -le "$parts" ]; do
    [ -e "$top/.savedump/parts/$part" ] || fail 66 "part $part of the dump's $parts is not there: \
unpack the whole archive (savedump open, or tar xf)"
    inside ".savedump/parts/$part"
    part=$((part + 1))
done
dump=$root/.savedump/dump
if [ -n "${SAVEDUMP_DUMP-}" ]; then
    dump=$SAVEDUMP_DUMP
    parts=1
    [ -e "$dump" ] || fail 66 "$dump, named in SAVEDUMP_DUMP, is not there"
fi
vmlinux=$root/.savedump/vmlinux
vmlinux_debug=$root/.savedump/vmlinux.debug
if [ -n "${SAVEDUMP_VMLINUX-}" ]; then
    vmlinux=$SAVEDUMP_VMLINUX
    vmlinux_debug=
    [ -e "$vmlinux" ] || fail 66 "$vmlinux, named in SAVEDUMP_VMLINUX, is not there"
fi
no_vmlinux="vmlinux is not in this archive (manifest.json says why): \
savedump complete ARCHIVE --search-path DIR adds it from a folder that has it, or name one in SAVEDUMP_VMLINUX"
log=
[ ! -e "$top/dmesg.txt" ] || log="; the kernel's log is in dmesg.txt"

# A line for each module of the archive. What has other than plain characters in its name is no module.
module_files() {
    folder=$root/.savedump/modules/
    [ -d "$folder" ] || return 0
    find "$folder" -type f \( -name '?*.ko' -o -name '?*.ko.debug' \) 9<&9 | sort | while IFS= read -r file; do
        case $file in
            "$folder"*.ko | "$folder"*.ko.debug) ! plain "$file" || printf '%s\n' "$file" ;;
        esac
    done
}
"""


_FILES = r"""
#   SAVEDUMP_DUMP=FILE        the dump to open, instead of the archive's (for one that you have rearranged)
#   SAVEDUMP_VMLINUX=FILE     the vmlinux to use, instead of the archive's
""".strip("\n")

ONE_FILE = r"""
# For debuggers that take one file.
one_file() {
    [ "$parts" -le 1 ] || fail 69 "$1 does not open a split set. ./run-crash.sh does; or join the parts, \
makedumpfile --reassemble .savedump/parts/1 ... .savedump/parts/$parts WHOLE, and start me with SAVEDUMP_DUMP=WHOLE"
}
"""
"""Begins the body of a launcher whose debugger takes no split sets."""


def compose(name: str, head: str, body: str, **words: str) -> str:
    """The script for a process's core: head comment, prelude, body. Each @WORD@ in the body becomes words["WORD"],
    which has to come from a table of the launcher's own."""
    return _script(name, head, _USERLAND + body, words)


def compose_kernel(name: str, head: str, body: str, manifest: Dict[str, Any], **words: str) -> str:
    """The same for a kernel dump, whose body may use what _KERNEL sets."""
    parts = manifest["dump"].get("parts")
    words["PARTS"] = "%d" % parts if isinstance(parts, int) and parts > 1 else "1"
    return _script(name, head.replace("@FILES@", _FILES), _KERNEL + body, words)


def _script(name: str, head: str, body: str, words: Dict[str, str]) -> str:
    for word, value in words.items():
        body = body.replace("@%s@" % word, value)
    prelude = _PRELUDE.replace("@PLAIN@", _PLAIN)
    return "#!/bin/sh\n%s\nme=%s\n%s%s" % (head.strip("\n"), name, prelude, body)


def is_userland_core(manifest: Dict[str, Any]) -> bool:
    """True for the archive of a process's core dump."""
    return bool(manifest["dump"].get("kind") == "core")


def is_kernel_dump(manifest: Dict[str, Any]) -> bool:
    """True for the archive of a kernel's dump, of whatever kind."""
    return not is_userland_core(manifest)


def drgn_opens(manifest: Dict[str, Any]) -> bool:
    """True for kernel dumps of the kinds that drgn, and what is built on it, has a reader for."""
    return manifest["dump"].get("kind") in _DRGN_KINDS


_DRGN_KINDS = ("vmcore-elf", "kdump-compressed", "kdump-flattened", "elf-flattened")
