# SPDX-License-Identifier: Apache-2.0
"""run-gdb.sh. What it sets was measured with gdb 10.1, 13.1 and 16.3; where versions differ, the line says so."""

from typing import Any, Dict

from . import _shell

NAME = "run-gdb.sh"

# The dump's machine: gdb's own name for it, and the uname -m of hosts whose plain gdb is expected to know it.
_MACHINES = {
    "x86_64": ("i386:x86-64", "x86_64"),
    "x32": ("i386:x64-32", "x86_64"),
    "i386": ("i386", "x86_64|i?86"),
    "aarch64": ("aarch64", "aarch64"),
    "arm": ("arm", "arm*|aarch64"),
    "riscv64": ("riscv:rv64", "riscv64"),
    "riscv32": ("riscv:rv32", "riscv32|riscv64"),
    "ppc64le": ("powerpc:common64", "ppc64le|ppc64"),
    "ppc64": ("powerpc:common64", "ppc64|ppc64le"),
    "ppc": ("powerpc:common", "ppc|ppc64"),
    "s390x": ("s390:64-bit", "s390x"),
    "s390": ("s390:31-bit", "s390|s390x"),
    "mips": ("mips:isa32", "mips|mips64"),
    "mipsel": ("mips:isa32", "mips|mips64"),
    "mips64": ("mips:isa64", "mips64"),
    "mips64el": ("mips:isa64", "mips64"),
    "loongarch64": ("Loongarch64", "loongarch64"),
    "sparc": ("sparc", "sparc|sparc64"),
    "sparc32plus": ("sparc:v8plus", "sparc|sparc64"),
    "sparc64": ("sparc:v9", "sparc64"),
    "alpha": ("alpha", "alpha"),
    "m68k": ("m68k", "m68k"),
    "hppa": ("hppa1.0", "parisc*"),
    "sh": ("sh", "sh*"),
    "ia64": ("ia64-elf64", "ia64"),
}  # fmt: skip
_UNKNOWN = ("auto", "")

_HEAD = r"""
# Opens the dump of this archive in gdb, with the files of the host that it comes from and no others.
#
# Usage: ./run-gdb.sh [GDB ARGUMENT ...]            ./run-gdb.sh -batch -ex 'thread apply all bt'
#
# Works from any directory. gdb starts in the archive and goes back to your directory once the dump is loaded, so
# -x FILE, "source", "cd" and files you write are relative to where you are; only -ix needs a full path. If libraries
# were loaded by different relative names with the same last part, gdb has to stay in .savedump/solib, and says so.
#
# gdb reads no configuration file, asks no debuginfod server, and takes libraries and debug information from this
# archive alone. After loading, what it took is compared with manifest.json, and a file from elsewhere or of another
# build is named on stderr (this needs a gdb with Python). Source files are looked for as ever; see gdb's "directory".
# For thread-local variables gdb loads one library of the archive into itself, .savedump/thread-db/libthread_db.so.1.
#
#   SAVEDUMP_GDB=PROGRAM      the gdb to use, instead of gdb or gdb-multiarch of your PATH
#   SAVEDUMP_AUTO_LOAD=1      also run the pretty printers and other scripts that lie in the archive (NAME-gdb.py)
#   SAVEDUMP_THREAD_DB=0      do not load the archive's libthread_db
#
# SAVEDUMP_ARCHIVE holds the archive's path for your own gdb scripts.
"""

# gdb 7.5 brought -iex and the auto-load safe path; 8 is the oldest that a distribution still keeps (RHEL 8 has 8.2).
_BODY = r"""
# A gdb that does not know the dump's machine says nonsense or crashes, so each is asked before it is used.
newline='
'
problem=
usable() {
    command -v "$1" >/dev/null 2>&1 || return 1
    facts=$(LC_ALL=C "$1" -nx -batch -ex 'python print("has python")' -ex 'set architecture @MACHINE@' \
        -ex 'show version' 2>&1 </dev/null) || return 1
    version=${facts#*GNU gdb}
    version=${version%%"$newline"*}
    version=${version##* }
    version=${version%%[!0-9]*}
    case $facts in
        *"GNU gdb"*) ;;
        *) return 1 ;;
    esac
    if [ "${version:-0}" -lt 8 ]; then
        problem="$1 is older than version 8: install a newer gdb, or name one in SAVEDUMP_GDB"
        return 1
    fi
    case $facts in
        *'ndefined item: "@MACHINE@"'* | *'mbiguous item "@MACHINE@"'*)
            problem="$1 does not know the machine of this dump (@NAME@): install gdb-multiarch (Debian, Ubuntu) \
or a gdb built for all targets"
            return 1
            ;;
    esac
    python=no
    case $facts in
        *"has python"*) python=yes ;;
    esac
}

native=no
case $(uname -m) in
    @HOSTS@) native=yes ;;
esac
if [ -n "${SAVEDUMP_GDB-}" ]; then
    candidates=
    gdb=$SAVEDUMP_GDB
    usable "$gdb" || fail 69 "${problem:-SAVEDUMP_GDB ($gdb) is no gdb that can be run}"
elif [ "$native" = yes ]; then
    candidates="gdb gdb-multiarch"
else
    candidates="gdb-multiarch gdb"
fi
for name in $candidates; do
    if usable "$name"; then
        gdb=$name
        break
    fi
done
[ -n "${gdb-}" ] || fail 69 "${problem:-gdb is not installed: install the package gdb\
 (gdb-multiarch for dumps of another machine)}"

auto_load=off
safe_path=$root/.savedump/thread-db
if [ "${SAVEDUMP_AUTO_LOAD-}" = 1 ]; then
    auto_load=on
    safe_path=$root
fi
# gdb 13 aborts on an internal error when a thread-local is read by libthread_db and there is no executable.
thread_db=off
if [ "$native" = yes ] && [ -e "$top/.savedump/executable" ] && [ -d "$top/.savedump/thread-db" ] &&
    [ "${SAVEDUMP_THREAD_DB-1}" != 0 ]; then
    thread_db=on
fi

# gdb opens a library's relative name as it stands before it looks in solib-search-path, where it takes the last part
# only. So it is not started in the caller's directory, where another file may have that name.
stay=no
for folder in "$top"/.savedump/solib/*/; do
    [ ! -d "$folder" ] || stay=yes
done
if [ "$stay" = yes ]; then
    cd -P "$top/.savedump/solib" || fail 66 "cannot enter .savedump/solib"
    exec 8</dev/null
    note "gdb stays in $root/.savedump/solib, where libraries lie that have relative names"
else
    back=${PWD-}
    plain "$back" && [ -d "$back" ] || back=/proc/self/fd/8
    if [ -r . ]; then
        exec 8<.
    else
        exec 8</dev/null
    fi
    cd -P "$top/.savedump" || fail 66 "cannot enter .savedump"
    set -- -ex "cd $back" "$@"
fi

# Folders with .dwo files, by links with a number for a name. gdb 13 looks beside the file that needs one, too.
debug_folders=$root/usr/lib/debug
for link in "$top"/.savedump/dwo/*; do
    link=${link##*/}
    if [ -L "$top/.savedump/dwo/$link" ] && plain "$link"; then
        inside ".savedump/dwo/$link"
        debug_folders=$debug_folders:$root/.savedump/dwo/$link
    fi
done
if [ -d "$top/.savedump/dwo-elsewhere" ]; then
    note "gdb does not find the .dwo files in $root/.savedump/dwo-elsewhere by itself: join those of a program with \
llvm-dwp FILE.dwo ... -o PROGRAM.dwp, beside the program in this archive"
fi

export SAVEDUMP_ARCHIVE="$root"
if [ "$python" = yes ]; then
    set -- -ex "$compare" "$@"
else
    note "this gdb has no Python, so what it loads is not compared with manifest.json"
fi
if [ -e "$top/.savedump/executable" ]; then
    set -- -se "$root/.savedump/executable" -core "$root/.savedump/dump" "$@"
else
    # Without an executable gdb knows of the libraries, but reads their symbols only when told to.
    set -- -core "$root/.savedump/dump" -ex sharedlibrary "$@"
fi
# The command appeared with gdb 12; before that, DEBUGINFOD_URLS alone decides.
[ "$version" -lt 12 ] || set -- -iex "set debuginfod enabled off" "$@"
exec "$gdb" -nx -q \
    -iex "set auto-load $auto_load" \
    -iex "set auto-load local-gdbinit off" \
    -iex "set auto-load libthread-db $thread_db" \
    -iex "set auto-load safe-path $safe_path" \
    -iex "set auto-load scripts-directory $root/usr/share/gdb/auto-load" \
    -iex "set libthread-db-search-path $root/.savedump/thread-db" \
    -iex "set sysroot $root" \
    -iex "set solib-search-path $root/.savedump/solib" \
    -iex "set debug-file-directory $debug_folders" \
    "$@" 8<&8 9<&9
"""

# Runs in gdb's Python, 2.7 or 3. No apostrophe may stand in it: the shell holds it in single quotes. gdb 13 takes any
# file for a library whose last part of the name fits, whatever its build ID. Names are bytes; Python gets them by way
# of host-charset, and ISO-8859-1 lets every byte through.
_COMPARE = r"""
# What gdb took for each module, held against the manifest by address and build ID.
compare='python
import gdb, json, os, sys

def savedump_compare():
    top = os.path.realpath(os.environ["SAVEDUMP_ARCHIVE"]).encode("utf-8", "surrogateescape")
    warned = set()

    def warn(text):
        if text not in warned:
            warned.add(text)
            sys.stderr.write("savedump: WARNING: %s\n" % text)
            sys.stderr.flush()

    def show(name):
        return repr(name.decode("utf-8", "replace"))

    def in_bytes(function, *args):
        charset = gdb.parameter("host-charset")
        gdb.execute("set host-charset ISO-8859-1")
        try:
            function(*args)
        finally:
            gdb.execute("set host-charset " + charset)

    def name_of(objfile):
        return (objfile.filename or "").encode("iso-8859-1")

    def look(objfile):
        name = name_of(objfile)
        if name and b"system-supplied DSO" not in name:
            real = os.path.realpath(name)
            if not real.startswith(top + b"/"):
                warn("gdb took %s, which is not in this archive" % show(real))

    def taken(module, start, end, ranges):
        if module.get("executable"):
            return gdb.current_progspace().filename
        # A library may leave a hole that another one fills: aarch64 aligns segments to 64 KiB.
        inside = [(first, last) for first, last in ranges if start < first < end]
        for address in range(start, end, max(1, (end - start) // 64)):
            if not any(first <= address < last for first, last in inside):
                name = gdb.solib_name(address)
                if name:
                    return name

    def compare():
        with open(os.path.join(top, b"manifest.json"), "rb") as stream:
            document = json.loads(stream.read().decode("utf-8"))
        loaded = dict((os.path.realpath(name_of(objfile)), objfile.build_id) for objfile in gdb.objfiles()
                      if objfile.owner is None)
        modules = [(int(module["start"], 16), int(module["end"], 16), module) for module in document["dump"]["modules"]]
        ranges = [(start, end) for start, end, module in modules]
        for start, end, module in modules:
            if module["build_id"]:
                name = os.path.realpath((taken(module, start, end, ranges) or "").encode("iso-8859-1"))
                if loaded.get(name, module["build_id"]) != module["build_id"]:
                    warn("gdb took %s (build ID %s) for %r, which has build ID %s in the dump: its frames are wrong"
                         % (show(name), loaded[name], module["name"], module["build_id"]))

    def look_at_all():
        for objfile in gdb.objfiles():
            look(objfile)
        try:
            compare()
        except (EnvironmentError, AttributeError, KeyError, TypeError, ValueError, gdb.error) as error:
            warn("what gdb loaded could not be compared with manifest.json: %s" % error)

    in_bytes(look_at_all)
    gdb.events.new_objfile.connect(lambda event: in_bytes(look, event.new_objfile))

savedump_compare()'
"""


def applies_to(manifest: Dict[str, Any]) -> bool:
    return _shell.is_userland_core(manifest)


def script(manifest: Dict[str, Any]) -> str:
    """The text of run-gdb.sh for the machine of this dump; a machine that is not in the table is left for gdb to find
    out."""
    machine = manifest["dump"].get("machine")
    known = machine in _MACHINES
    gdb_name, hosts = _MACHINES[machine] if known else _UNKNOWN
    return _shell.compose(
        NAME,
        _HEAD,
        _COMPARE + _BODY,
        MACHINE=gdb_name,
        HOSTS=hosts or "none",
        NAME=machine if known else "unknown",
    )
