# SPDX-License-Identifier: Apache-2.0
"""run-pycrash.sh: crash's commands, by a program in Python. That is drgn's crash mode (measured with drgn 0.3.0), or
pycrash of the crash-python project, whom the script of this name was first made for (its crash.sh, commit c62f497)."""

from typing import Any, Dict

from . import _shell, drgn

NAME = "run-pycrash.sh"

_HEAD = r"""
# Opens the kernel dump of this archive at a prompt that takes the commands of crash, with drgn doing the work: it needs
# no crash that is new enough, reads dumps of other machines, and stacks show inlined functions.
#
# Usage: ./run-pycrash.sh [COMMAND [ARGUMENT ...]]       ./run-pycrash.sh bt -l        echo bt | ./run-pycrash.sh
#
# Works from any directory, and takes files by build ID alone, from this archive's usr/lib/debug/.build-id.
#
#   SAVEDUMP_DRGN=PROGRAM     the drgn to use, instead of drgn of your PATH
#   SAVEDUMP_PYCRASH=PROGRAM  use crash-python's pycrash instead; then the arguments are its own
@FILES@
#
# SAVEDUMP_ARCHIVE holds the archive's path for your own scripts.
"""

_PYCRASH = r"""
if [ -n "${SAVEDUMP_PYCRASH-}" ]; then
    command -v "$SAVEDUMP_PYCRASH" >/dev/null 2>&1 || fail 69 "$SAVEDUMP_PYCRASH: pycrash is not installed: see \
https://github.com/crash-python/crash-python, or leave SAVEDUMP_PYCRASH out to use drgn's crash mode"
    one_file pycrash
    [ -e "$vmlinux" ] || fail 66 "$no_vmlinux. Without it pycrash does not start$log"
    for folder in usr/lib/debug lib/modules; do
        [ ! -d "$top/$folder" ] || set -- -d "$root/$folder" "$@"
    done
    export SAVEDUMP_ARCHIVE="$root"
    exec "$SAVEDUMP_PYCRASH" "$@" "$vmlinux" "$dump" 9<&9
fi
"""

# Runs in drgn's Python. No apostrophe may stand in it: the shell holds it in single quotes.
_ENTER = r"""
# drgn-crash cannot be told where to look for files, so drgn is started, and enters this mode of its own.
too_old="this drgn has no crash mode: install drgn 0.1.0 or newer, or use ./run-drgn.sh"
enter='
import os, sys

def say(error):
    failed.append(error)
    sys.stderr.write("run-pycrash.sh: %s\n" % error)

failed = []
try:
    import drgn.commands._crash
    from drgn.commands import run_command
except ImportError:
    say(os.environ["SAVEDUMP_TOO_OLD"])
    sys.exit(69)
run_command(prog, " ".join(["crash"] + sys.argv[1:]), globals=globals(), onerror=say)
sys.exit(1 if failed else 0)
'
set -- -e "$enter" "$@"
"""

_START = r"""
case $words in
    *"-e CODE"*) ;;
    *) fail 69 "$too_old" ;;
esac
SAVEDUMP_TOO_OLD=$too_old exec "$drgn" -c "$dump" "$@" 9<&9
"""


def applies_to(manifest: Dict[str, Any]) -> bool:
    return _shell.drgn_opens(manifest)


def script(manifest: Dict[str, Any]) -> str:
    """The text of run-pycrash.sh: it differs by kind, machine and number of parts."""
    return _shell.compose_kernel(
        NAME, _HEAD, _shell.ONE_FILE + _PYCRASH + _ENTER + drgn.KERNEL_BODY + _START, manifest,
        ARCHITECTURE=drgn.architecture(manifest),
    )  # fmt: skip
