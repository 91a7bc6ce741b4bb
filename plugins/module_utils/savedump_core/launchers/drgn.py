# SPDX-License-Identifier: Apache-2.0
"""run-drgn.sh. Measured with drgn 0.0.33 and 0.3.0: they find every file through the archive's build-ID tree. Kernel
dumps with 0.3.0 and, by the names of the files, 0.0.22."""

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

_KERNEL_HEAD = _HEAD.replace("#\n# SAVEDUMP_ARCHIVE", "@FILES@\n#\n# SAVEDUMP_ARCHIVE")

_PROGRAM = r"""
drgn=${SAVEDUMP_DRGN:-drgn}
words=$("$drgn" --help 2>/dev/null </dev/null) || fail 69 "${SAVEDUMP_DRGN:+$SAVEDUMP_DRGN: }drgn is not installed: \
install the package drgn (Fedora) or python3-drgn (Debian, Ubuntu), or python3 -m pip install drgn"
"""

_BODY = (
    _PROGRAM
    + r"""
# These options came with drgn 0.0.32. Without them it would take files of this machine by their path.
case $words in
    *--no-default-debug-link-directories*) ;;
    *) fail 69 "this drgn is too old: install drgn 0.0.32 or newer, or name one in SAVEDUMP_DRGN" ;;
esac

export SAVEDUMP_ARCHIVE="$root"
# shellcheck disable=SC2016 # $ORIGIN is drgn's own
exec "$drgn" -q -c "$root/.savedump/dump" \
    --no-default-debug-directories --debug-directory "$root/usr/lib/debug" \
    --no-default-debug-link-directories --debug-link-directory '$ORIGIN' --debug-link-directory '$ORIGIN/.debug' \
    --no-symbols-by module-name "$@" 9<&9
"""
)

# Sets the arguments that come before the user's. Also what run-pycrash.sh begins with.
KERNEL_BODY = (
    _PROGRAM
    + r"""
one_file drgn
[ -e "$vmlinux" ] || note "$no_vmlinux. Without it drgn knows addresses and bytes alone$log"

if [ "${words#*--no-default-debug-link-directories}" != "$words" ]; then
    set -- --no-default-debug-directories --debug-directory "$root/usr/lib/debug" \
        --no-default-debug-link-directories --no-default-kernel-directories --no-symbols-by module-name "$@"
else
    # drgn before 0.0.32 looks in this machine's folders, unless told each file.
    IFS=$(printf '\nx')
    IFS=${IFS%x}
    for file in $(module_files); do
        set -- -s "$file" "$@"
    done
    unset IFS
    set -- --no-default-symbols "$@"
fi
# By path as well: the dump of a Linux before 5.9 does not hold vmlinux's build ID where drgn looks for it.
for file in "$vmlinux" "$vmlinux_debug"; do
    [ ! -e "$file" ] || set -- -s "$file" "$@"
done
if [ -e "$vmlinux_debug" ]; then
    note "the kernel's debug information is a file of its own here, and then drgn up to 0.3.0 takes per-CPU variables \
of an x86_64 at a wrong address (FaultError). If so: eu-unstrip -o WHOLE .savedump/vmlinux .savedump/vmlinux.debug, \
and SAVEDUMP_VMLINUX=WHOLE"
fi
# QEMU's kdump files name no machine, and drgn 0.3.0 opens them only if told ("KDUMP_ATTR_ARCH_NAME").
architecture=@ARCHITECTURE@
case $words in
    *--architecture*) [ "$architecture" = any ] || set -- --architecture "$architecture" "$@" ;;
esac
if [ -e "$top/.savedump/vmcoreinfo" ]; then
    case $words in
        *--vmcoreinfo*) set -- --vmcoreinfo "$root/.savedump/vmcoreinfo" "$@" ;;
    esac
fi
export SAVEDUMP_ARCHIVE="$root"
"""
)

_START = r"""
exec "$drgn" -c "$dump" "$@" 9<&9
"""

# The dump's machine: drgn.Architecture, of those whose one byte order is what drgn assumes.
_ARCHITECTURES = {
    "x86_64": "x86_64", "i386": "i386", "aarch64": "aarch64", "arm": "arm", "ppc64le": "ppc64", "riscv64": "riscv64",
    "s390x": "s390x",
}  # fmt: skip


def applies_to(manifest: Dict[str, Any]) -> bool:
    return _shell.is_userland_core(manifest) or _shell.drgn_opens(manifest)


def script(manifest: Dict[str, Any]) -> str:
    """The text of run-drgn.sh: the same for every core; for a kernel dump it differs by kind and machine."""
    if _shell.is_userland_core(manifest):
        return _shell.compose(NAME, _HEAD, _BODY)
    return _shell.compose_kernel(
        NAME, _KERNEL_HEAD, _shell.ONE_FILE + KERNEL_BODY + _START, manifest, ARCHITECTURE=architecture(manifest)
    )


def architecture(manifest: Dict[str, Any]) -> str:
    """What a kernel dump's reader has to be told of its machine; "any" for nothing."""
    dump = manifest["dump"]
    return _ARCHITECTURES.get(dump.get("machine"), "any") if str(dump.get("kind")).startswith("kdump-") else "any"
