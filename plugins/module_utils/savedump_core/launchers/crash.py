# SPDX-License-Identifier: Apache-2.0
"""run-crash.sh. What it does was measured with crash 8.0.2 and 9.0.2 on Linux 6.1."""

from typing import Any, Dict, Tuple

from . import _shell

NAME = "run-crash.sh"

# Since a Linux, a crash older than this does not start at all (crash-utility/crash on GitHub): its pull request 230,
# "no num_gpl_syms", in 9.0.3; issue 194, "page_offset_base"; commit d539e3521464, "module memory layout"; issue 74.
_NEEDS = (((7, 0), "9.0.3"), ((6, 11), "8.0.6"), ((6, 4), "8.0.4"), ((5, 10), "7.3.0"))

# The dump's machine: the build_target of crash --buildinfo, of which a crash has exactly one (its configure.c).
_TARGETS = {
    "x86_64": "X86_64",
    "i386": "X86",
    "aarch64": "ARM64",
    "arm": "ARM",
    "ppc64le": "PPC64",
    "ppc64": "PPC64",
    "ppc": "PPC",
    "s390x": "S390X",
    "s390": "S390",
    "riscv64": "RISCV64",
    "loongarch64": "LOONGARCH64",
    "mips": "MIPS",
    "mipsel": "MIPS",
    "mips64": "MIPS64",
    "mips64el": "MIPS64",
    "sparc64": "SPARC64",
    "alpha": "ALPHA",
    "ia64": "IA64",
}

_HEAD = r"""
# Opens the kernel dump of this archive in crash, with the files of the host that it comes from.
#
# Usage: ./run-crash.sh [CRASH ARGUMENT ...]     ./run-crash.sh -i COMMANDS     echo bt | ./run-crash.sh -s
#
# Works from any directory, and crash stays in yours. It reads no .crashrc (-i ~/.crashrc does), and takes vmlinux and
# modules from this archive alone: each module is loaded by "mod -s NAME FILE", because "mod -S" looks at this machine's
# folders, and hands names out of the dump to a shell. Its gdb reads your own gdbinit file.
#
# If crash gives up before its prompt, it is started again without modules, and then in minimal mode.
#
#   SAVEDUMP_CRASH=PROGRAM    the crash to use, instead of crash of your PATH
@FILES@
#
# ./run-crash.sh --osrelease and --log ask crash about the dump alone. SAVEDUMP_ARCHIVE holds the archive's path.
"""

_BODY = r"""
crash=${SAVEDUMP_CRASH:-crash}
newline='
'
words=$(LC_ALL=C "$crash" --version 2>/dev/null </dev/null) || fail 69 "${SAVEDUMP_CRASH:+$SAVEDUMP_CRASH: }crash \
is not installed: install the package crash$log"
case $words in
    "crash "* | *"${newline}crash "*) ;;
    *) fail 69 "$crash is not the crash utility: name that in SAVEDUMP_CRASH" ;;
esac
version=${words#*"crash "}
version=${version%%[!0-9.]*}

# drgn reads dumps of fewer kinds, but of all machines, and of newer kernels.
drgn=
[ ! -e "$top/run-drgn.sh" ] || drgn=", or use ./run-drgn.sh"

# What crash answers by itself, or from the dump without vmlinux.
rungs="full --no_modules --minimal"
left=$#
for word in "$@"; do
    left=$((left - 1))
    case $word in
        -h* | --help* | -v | --version | --buildinfo) exec "$crash" "$@" 9<&9 ;;
        --osrelease | --log) [ "$left" -gt 0 ] || exec "$crash" "$word" "$dump" 9<&9 ;;
        --minimal | --no_modules) rungs=given ;;
    esac
done

facts=$(LC_ALL=C "$crash" --buildinfo 2>/dev/null </dev/null)
case $facts in
    *"build_target: "*)
        target=${facts#*"build_target: "}
        target=${target%%"$newline"*}
        case $target in
            @TARGET@) ;;
            *) fail 69 "$crash reads dumps of $target alone, and this one is of another machine (@MACHINE@): name a \
crash that is built for it in SAVEDUMP_CRASH (make target=@TARGET@)$drgn$log" ;;
        esac
        ;;
esac
[ -e "$vmlinux" ] || fail 66 "$no_vmlinux. Without it crash does not start, \
but ./run-crash.sh --osrelease works$log"
for file in "$vmlinux" "$dump"; do
    plain "$file" || fail 69 "crash hands names to a shell, and takes an @ for an address: put $file in a path of \
letters, digits and /._+- alone"
done

number() {
    IFS=.
    # shellcheck disable=SC2086 # split it
    set -- $1
    echo $((${1:-0} * 10000 + ${2:-0} * 100 + ${3:-0}))
}
old=
if [ "$(number "$version")" -lt "$(number @NEEDED@)" ]; then
    old="this kernel (@KERNEL@) needs crash @NEEDED@ or newer, and yours is $version: install a newer one or name \
it in SAVEDUMP_CRASH$drgn"
    note "$old. Trying it all the same"
fi

# crash takes the name of a command file, and opens no other from there: so all commands come from one. It goes by a
# shell in places, and splits at spaces.
folder=${TMPDIR:-/tmp}
plain "$folder" || folder=/tmp
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 143' TERM
# crash has its own use for these.
trap : INT QUIT
work=$(mktemp -d "$folder/run-crash.XXXXXX") || fail 73 "cannot make a folder for crash's commands in $folder"
: >"$work/own"

# The file may not end its last line.
own() {
    { cat <"$1" && echo; } >>"$work/own" || fail 66 "cannot read the commands in $1"
}

left=$#
while [ "$left" -gt 0 ]; do
    word=$1
    shift
    left=$((left - 1))
    case $word in
        -i | -si)
            [ "$left" -gt 0 ] || fail 64 "$word needs a file of commands"
            own "$1"
            shift
            left=$((left - 1))
            [ "$word" = -i ] || set -- "$@" -s
            ;;
        -i*) own "${word#-i}" ;;
        *) set -- "$@" "$word" ;;
    esac
done

load_modules() {
    module_files | while IFS= read -r file; do
        name=${file##*/}
        name=${name%.debug}
        name=${name%.ko}
        while :; do
            case $name in
                *-*) name=${name%%-*}_${name#*-} ;;
                *) break ;;
            esac
        done
        printf 'mod -s %s %s > /dev/null\n' "$name" "$file"
    done
}

# The first command leaves a file behind, for crash's status is 1 at the end of its input, too.
run() {
    mode=$1
    shift
    {
        printf 'eval 1 > %s/open\n' "$work"
        if [ "$mode" = full ]; then
            printf 'gdb set debug-file-directory %s > /dev/null\n' "$root/usr/lib/debug"
            load_modules
        fi
        cat "$work/own"
    } >"$work/commands"
    case $mode in
        --*)
            note "crash ended before its prompt (status $status). Trying it with $mode"
            set -- "$mode" "$@"
            ;;
    esac
    "$crash" --no_crashrc -i "$work/commands" "$@" 9<&9
    status=$?
}

if [ "$parts" -gt 1 ]; then
    part=$parts
    while [ "$part" -gt 0 ]; do
        set -- "$root/.savedump/parts/$part" "$@"
        part=$((part - 1))
    done
else
    set -- "$dump" "$@"
fi
[ ! -e "$vmlinux_debug" ] || set -- "$vmlinux_debug" "$@"
export SAVEDUMP_ARCHIVE="$root"
for mode in $rungs; do
    run "$mode" "$vmlinux" "$@"
    if [ -e "$work/open" ]; then
        [ "$status" != 1 ] || status=0
        exit "$status"
    fi
    # It has answered (-t), or was told to end.
    case $status in
        0 | 129 | 130 | 143) exit "$status" ;;
    esac
done
flat=@FLAT@
if [ "$flat" = yes ]; then
    note "crash up to 9.0.2 reads no flattened ELF dump: makedumpfile -R WHOLE <.savedump/dump, then \
SAVEDUMP_DUMP=WHOLE ./run-crash.sh"
fi
[ -z "$old" ] || note "$old"
fail 69 "crash $version does not open this dump (what it said, if anything, is above). See how far it comes with \
-d1, try --zero_excluded if the dump was cut short$drgn$log"
"""


def applies_to(manifest: Dict[str, Any]) -> bool:
    return _shell.is_kernel_dump(manifest)


def script(manifest: Dict[str, Any]) -> str:
    """The text of run-crash.sh: it differs by machine, kernel version, number of parts, and for flattened ELF."""
    dump = manifest["dump"]
    machine = dump.get("machine")
    target = _TARGETS.get(machine, "*")
    kernel, needed = _needs(manifest)
    return _shell.compose_kernel(
        NAME, _HEAD, _BODY, manifest,
        TARGET=target, MACHINE=machine if machine in _TARGETS else "unknown",
        KERNEL=kernel, NEEDED=needed, FLAT="yes" if dump.get("kind") == "elf-flattened" else "no",
    )  # fmt: skip


def _needs(manifest: Dict[str, Any]) -> Tuple[str, str]:
    """("6.12", "8.0.6"), or ("", "0") where any crash will do or nothing is known."""
    version = manifest["dump"].get("kernel_version")
    if isinstance(version, (list, tuple)) and len(version) == 2 and all(isinstance(part, int) for part in version):
        for since, needed in _NEEDS:
            if tuple(version) >= since:
                return "%d.%d" % tuple(version), needed
    return "", "0"
