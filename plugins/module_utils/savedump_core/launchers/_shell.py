# SPDX-License-Identifier: Apache-2.0
"""What all launchers begin with: where the archive is, and how a debugger can be told without any quoting."""

from typing import Any, Dict

_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+@-"

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
move the archive to a path of letters, digits and /._+@- alone"
fi
[ -e "$top/.savedump/dump" ] || fail 66 "the dump is not there: unpack the whole archive \
(savedump open, or tar xf)"
inside .savedump/dump
if [ -e "$top/.savedump/executable" ]; then
    inside .savedump/executable
else
    note "the executable is not in this archive (manifest.json says why): its own frames have no names"
fi
"""


def compose(name: str, head: str, body: str, **words: str) -> str:
    """The whole script: head comment, prelude, body. Each @WORD@ in the body becomes words["WORD"], which has to come
    from a table of the launcher's own."""
    for word, value in words.items():
        body = body.replace("@%s@" % word, value)
    prelude = _PRELUDE.replace("@PLAIN@", _PLAIN)
    return "#!/bin/sh\n%s\nme=%s\n%s%s" % (head.strip("\n"), name, prelude, body)


def is_userland_core(manifest: Dict[str, Any]) -> bool:
    """True for the archive of a process's core dump."""
    return bool(manifest["dump"].get("kind") == "core")
