# SPDX-License-Identifier: Apache-2.0
"""run-drgn.sh. Measured with drgn 0.0.33 and 0.3.0: they find every file through the archive's build-ID tree."""

from typing import Any, Dict

from . import _shell

NAME = "run-drgn.sh"

_HEAD = r"""
# Opens the dump of this archive in drgn, with the files of the host that it comes from and no others.
#
# Usage: ./run-drgn.sh [DRGN ARGUMENT ...] [SCRIPT [ARGUMENT ...]]      ./run-drgn.sh -e 'prog.crashed_thread()'
#
# Works from any directory, and drgn stays in yours. It takes files by build ID alone, from this archive's
# usr/lib/debug/.build-id, and asks no debuginfod server.
#
#   SAVEDUMP_DRGN=PROGRAM     the drgn to use, instead of drgn of your PATH
#
# SAVEDUMP_ARCHIVE holds the archive's path for your own scripts.
"""

_BODY = r"""
set -- -q -c "$root/.savedump/dump" \
    --no-default-debug-directories --debug-directory "$root/usr/lib/debug" \
    --no-default-debug-link-directories --debug-link-directory '$ORIGIN' --debug-link-directory '$ORIGIN/.debug' \
    --no-symbols-by module-name "$@"
drgn=${SAVEDUMP_DRGN:-drgn}
words=$("$drgn" --help 2>/dev/null) || fail 69 "${SAVEDUMP_DRGN:+$SAVEDUMP_DRGN: }drgn is not installed: \
install the package drgn (Fedora) or python3-drgn (Debian, Ubuntu), or python3 -m pip install drgn"
# These options came with drgn 0.0.33. Without them it would take files of this machine by their path.
case $words in
    *--no-default-debug-link-directories*) ;;
    *) fail 69 "this drgn is too old: install drgn 0.0.33 or newer, or name one in SAVEDUMP_DRGN" ;;
esac

export SAVEDUMP_ARCHIVE="$root"
exec "$drgn" "$@" 9<&9
"""


def applies_to(manifest: Dict[str, Any]) -> bool:
    return _shell.is_userland_core(manifest)


def script(manifest: Dict[str, Any]) -> str:
    """The text of run-drgn.sh: the same for every dump."""
    return _shell.compose(NAME, _HEAD, _BODY)
