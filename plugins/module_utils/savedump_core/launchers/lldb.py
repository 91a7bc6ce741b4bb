# SPDX-License-Identifier: Apache-2.0
"""run-lldb.sh. What it sets was measured with lldb 14 and 19."""

from typing import Any, Dict

from . import _shell

NAME = "run-lldb.sh"

_HEAD = r"""
# Opens the dump of this archive in lldb, with the files of the host that it comes from.
#
# Usage: ./run-lldb.sh [LLDB ARGUMENT ...]          ./run-lldb.sh -b -o 'bt all'
#
# Works from any directory, and lldb stays in yours. It reads no configuration file, asks no server, and takes
# executable, libraries and debug information from this archive alone. Source files are looked for as ever; see
# "settings set target.source-map".
#
#   SAVEDUMP_LLDB=PROGRAM     the lldb to use, instead of lldb, or the newest lldb-NN, of your PATH
#   SAVEDUMP_AUTO_LOAD=1      also run the Python scripts that lie beside debug information in the archive
#
# SAVEDUMP_ARCHIVE holds the archive's path for your own scripts.
"""

_BODY = r"""
# The newest lldb-NN of PATH: distributions install lldb under its version alone.
newest() {
    best=0
    IFS=:
    for folder in ${PATH-}; do
        for program in "${folder:-.}"/lldb-[0-9]*; do
            version=${program##*/lldb-}
            case $version in
                *[!0-9]*) continue ;;
            esac
            if [ "$version" -gt "$best" ] && [ -x "$program" ]; then
                best=$version
                lldb=$program
            fi
        done
    done
    unset IFS
}

if [ -n "${SAVEDUMP_LLDB-}" ]; then
    lldb=$SAVEDUMP_LLDB
else
    lldb=lldb
    command -v lldb >/dev/null 2>&1 || newest
fi
command -v "$lldb" >/dev/null 2>&1 || fail 69 "${SAVEDUMP_LLDB:+$SAVEDUMP_LLDB: }lldb is not installed: \
install the package lldb"
version=$(LC_ALL=C "$lldb" --version 2>/dev/null </dev/null)
version=${version#*lldb version }
version=${version%%.*}
case $version in
    '' | *[!0-9]*) ;;
    *) [ "$version" -ge 11 ] || fail 69 "$lldb is older than version 11: install a newer one, \
or name one in SAVEDUMP_LLDB" ;;
esac

# lldb shows the executable under the name it was opened by: the real one reads better, if lldb can be told of it.
if [ -e "$top/.savedump/executable" ]; then
    executable=$(readlink -f "$top/.savedump/executable")
    plain "$executable" || executable=$root/.savedump/executable
    set -- --file "$executable" "$@"
else
    note "without it lldb finds no libraries either: run-gdb.sh shows more"
fi
load_scripts=false
[ "${SAVEDUMP_AUTO_LOAD-}" != 1 ] || load_scripts=true

debug_folders=$root/usr/lib/debug
for link in "$top"/.savedump/dwo/*; do
    link=${link##*/}
    if [ -L "$top/.savedump/dwo/$link" ] && plain "$link"; then
        inside ".savedump/dwo/$link"
        debug_folders="$debug_folders $root/.savedump/dwo/$link"
    fi
done
# Without them it shows lines, but neither arguments nor variables.
if [ -d "$top/.savedump/dwo-elsewhere" ]; then
    note "lldb does not find the .dwo files in $root/.savedump/dwo-elsewhere: join those of a program with \
llvm-dwp FILE.dwo ... -o PROGRAM.dwp, beside the program in this archive"
elif [ -d "$top/.savedump/dwo" ] && [ "${version:-0}" -lt 17 ] 2>/dev/null; then
    note "lldb before version 17 does not find the .dwo files of this archive: run-gdb.sh shows more"
fi

export SAVEDUMP_ARCHIVE="$root"
exec "$lldb" --no-lldbinit \
    -O "settings set symbols.enable-external-lookup false" \
    -O "settings set target.load-script-from-symbol-file $load_scripts" \
    -O "settings set target.debug-file-search-paths $debug_folders" \
    -O "settings set target.exec-search-paths $root/.savedump/solib" \
    -O "platform select remote-linux --sysroot $root" \
    --core "$root/.savedump/dump" "$@" 9<&9
"""


def applies_to(manifest: Dict[str, Any]) -> bool:
    return _shell.is_userland_core(manifest)


def script(manifest: Dict[str, Any]) -> str:
    """The text of run-lldb.sh: the same for every dump."""
    return _shell.compose(NAME, _HEAD, _BODY)
