# SPDX-License-Identifier: Apache-2.0
"""run-sdb.sh. Its calls are those of delphix/sdb's command line (sdb/internal/cli.py, commit 024ab85)."""

from typing import Any, Dict

from . import _shell

NAME = "run-sdb.sh"

_HEAD = r"""
# Opens the kernel dump of this archive in sdb, the Slick Debugger, with the files of the host that it comes from.
#
# Usage: ./run-sdb.sh [SDB ARGUMENT ...]            ./run-sdb.sh -e 'stacks'
#
# Works from any directory, and sdb stays in yours. It takes vmlinux and modules from this archive alone. sdb stands on
# drgn, but cannot be told all that drgn can: dumps that QEMU wrote as kdump files, or without VMCOREINFO, it does not
# open ("ARCH_NAME", "unrecognized QEMU memory dump"). For these use ./run-drgn.sh.
#
#   SAVEDUMP_SDB=PROGRAM      the sdb to use, instead of sdb of your PATH
@FILES@
#
# SAVEDUMP_ARCHIVE holds the archive's path for your own scripts.
"""

_BODY = r"""
sdb=${SAVEDUMP_SDB:-sdb}
install="python3 -m pip install git+https://github.com/delphix/sdb (PyPI's sdb is another program)"
command -v "$sdb" >/dev/null 2>&1 || fail 69 "${SAVEDUMP_SDB:+$SAVEDUMP_SDB: }sdb is not installed: install it with \
$install"
# Several programs have this name.
case $("$sdb" --help 2>&1 </dev/null) in
    *--no-default-symbols*) ;;
    *) fail 69 "$sdb is not the Slick Debugger, or cannot start: $install, or name it in SAVEDUMP_SDB" ;;
esac
one_file sdb
[ -e "$vmlinux" ] || fail 66 "$no_vmlinux. Without it sdb does not start$log"

# Its own option for other folders comes last, so that the user's are searched, too.
[ ! -d "$top/.savedump/modules" ] || set -- -s "$root/.savedump/modules/" "$@"
[ ! -e "$vmlinux_debug" ] || set -- -s "$vmlinux_debug" "$@"
export SAVEDUMP_ARCHIVE="$root"
exec "$sdb" -A "$vmlinux" "$dump" "$@" 9<&9
"""


def applies_to(manifest: Dict[str, Any]) -> bool:
    return _shell.drgn_opens(manifest)


def script(manifest: Dict[str, Any]) -> str:
    """The text of run-sdb.sh: it differs by the number of parts alone."""
    return _shell.compose_kernel(NAME, _HEAD, _shell.ONE_FILE + _BODY, manifest)
