# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Sourced by ./collect-dumps and ./run-tests: from a bare Debian or Ubuntu (python3 and git) to a virtual environment
# in the checkout. POSIX sh. The caller sets $checkout. Words go to stderr; exit statuses are those of sysexits.h.

say() { printf 'savedump: %s\n' "$*" >&2; }

# die STATUS WORDS...: what, where and what next.
die() {
    _status=$1
    shift
    say "$@"
    exit "$_status"
}

# $venv is in the checkout, except when the checkout's path holds white space: ansible-core up to 2.18
# puts the interpreter's path unquoted into a command line when it runs a module on this very machine.
choose_venv() {
    venv=${SAVEDUMP_VENV:-$checkout/.venv}
    case $venv in
        *[[:space:]]*)
            venv=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/savedump/venv-$(printf %s "$checkout" | cksum | cut -d' ' -f1) ;;
    esac
    case $venv in
        /*) ;;
        *) venv=$PWD/$venv ;;
    esac
}

# apt_install PACKAGE...: install what is missing, as root or through sudo; else say the exact command. Services that
# come with a package are not started (policy-rc.d, status 101 "not allowed").
apt_install() {
    _as_root=
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || { [ -t 0 ] && [ -t 2 ]; }; }; then
            _as_root=sudo
        fi
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        say "this system needs what Debian calls: $*. There is no apt-get here; please install it by your own means."
        return 69
    fi
    if [ "$(id -u)" != 0 ] && [ -z "$_as_root" ]; then
        say "these packages are missing, and this user may not install them: $*"
        say "run as root: apt-get update && apt-get install -y --no-install-recommends $*"
        return 77
    fi
    say "installing with apt-get: $*"
    _log=$(mktemp "${TMPDIR:-/tmp}/savedump-apt.XXXXXX")
    # The package lists of a fresh system are empty or stale, so a first failure is answered with an update.
    if $_as_root sh -s -- "$@" >"$_log" 2>&1 <<'ROOT'
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
fi
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
install "$@" || { apt-get update -q </dev/null && install "$@"; }
ROOT
    then
        rm -f "$_log"
        return 0
    fi
    tail -n 15 "$_log" >&2
    rm -f "$_log"
    say "apt-get could not install: $* (its last words are above)"
    return 69
}

# Run it, because pyenv leaves a shim for every version, also for those that are switched off.
_is_supported() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# What $PYTHON names is what is wanted: nothing else is taken in its place.
check_wish() {
    [ -z "${PYTHON:-}" ] || _is_supported "$PYTHON" ||
        die 69 "PYTHON is $PYTHON, which does not run here or is older than Python 3.10. Unset it, or name another."
}

# Sets $python: $PYTHON, or the first interpreter that ansible-core supports.
choose_python() {
    for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11 python3.10; do
        if _is_supported "$python"; then
            return
        fi
    done
    _have=$(python3 --version 2>&1) || _have="no python3"
    die 69 "the control host needs Python 3.10 or newer, and there is $_have in PATH. Install one, or set PYTHON to it." \
        "(Target hosts need Python 3.6 or newer.)"
}

# stamp NAME: what an up-to-date environment has written in its file NAME.
_stamp() {
    printf '%s\n' "$venv"
    readlink -f -- "$venv/bin/python"
    cat "$checkout"/tools/requirements-run.txt "$checkout"/tools/requirements-optional.txt
    [ "$1" = run ] || cat "$checkout/tools/requirements-$1.txt" "$checkout/docs/requirements.txt"
}

_is_fresh() {
    [ -x "$venv/bin/python" ] && [ -r "$venv/stamp-$1" ] && [ "$(_stamp "$1")" = "$(cat "$venv/stamp-$1")" ]
}

# pip, quiet; its words are kept and shown when it fails.
_pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >"$venv/pip.log" 2>&1
}

_pip_or_die() {
    _pip_install "$@" && return
    tail -n 15 "$venv/pip.log" >&2
    die 69 "pip could not install what is named in $checkout/tools (its last words are above; all are in $venv/pip.log)." \
        "Is the package index reachable? PIP_INDEX_URL and pip.conf are honoured."
}

_make_venv() {
    choose_python
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian and Ubuntu keep ensurepip in a package of its own.
        apt_install "$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')" || exit $?
        "$python" -c 'import ensurepip, venv' || die 69 "$python still cannot make virtual environments (no ensurepip)."
    fi
    # --clear empties the folder, so it must be ours, and a link's may be another checkout's.
    [ ! -L "$venv" ] || die 73 "$venv is a link. Remove it, or set SAVEDUMP_VENV to a folder of this checkout's own."
    if [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A -- "$venv" 2>/dev/null)" ]; then
        die 73 "$venv is in the way: not empty, and no virtual environment. Set SAVEDUMP_VENV to another folder."
    fi
    say "making a virtual environment of $("$python" --version) in $venv"
    mkdir -p -- "$venv" 2>/dev/null || true
    [ -w "$venv" ] || die 73 "cannot write $venv. Make it writable, or set SAVEDUMP_VENV to a folder that is."
    "$python" -m venv --clear "$venv" || die 69 "$python -m venv failed for $venv (its words are above)."
}

# ensure_environment run|test: $venv holds what tools/requirements-run.txt (and -test.txt) name. At once when it does.
ensure_environment() {
    [ "$(uname -s)" = Linux ] || die 69 "the control host must be Linux; this is $(uname -s)."
    check_wish
    choose_venv
    _is_fresh "$1" && return
    # Two first runs at once: the second waits, then finds everything done. The lock is on the folder of the checkout.
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$checkout"
        flock 9 || true
    fi
    if ! _is_fresh run; then
        _make_venv
        say "installing from PyPI: $(sed -n 's/^\([a-z][a-z-]*\).*/\1/p' "$checkout/tools/requirements-run.txt" | sort -u | tr '\n' ' ')"
        _pip_or_die -r "$checkout/tools/requirements-run.txt"
        _pip_install --only-binary :all: -r "$checkout/tools/requirements-optional.txt" ||
            say "drgn has no wheel for this platform; gdb, when it is there, shows backtraces."
        _stamp run >"$venv/stamp-run"
    fi
    if ! _is_fresh "$1"; then
        say "installing from PyPI: the tools of tools/requirements-$1.txt"
        _pip_or_die -r "$checkout/tools/requirements-run.txt" -r "$checkout/tools/requirements-$1.txt" \
            -r "$checkout/docs/requirements.txt"
        _stamp "$1" >"$venv/stamp-$1"
    fi
    exec 9<&-
}

# Ansible as this checkout configures it, from any working directory. A configuration named by the caller stays in
# force and is only taught where the collection lies.
ansible_environment() {
    PATH=$venv/bin:$PATH
    export PATH
    if [ -n "${ANSIBLE_CONFIG:-}" ]; then
        ANSIBLE_COLLECTIONS_PATH=$checkout/.collections:${ANSIBLE_COLLECTIONS_PATH:-$HOME/.ansible/collections:/usr/share/ansible/collections}
        export ANSIBLE_COLLECTIONS_PATH
    else
        ANSIBLE_CONFIG=$checkout/ansible.cfg
        export ANSIBLE_CONFIG
    fi
    # Ansible refuses to start under an encoding other than UTF-8, and a bare system has no locale set.
    case $(locale charmap 2>/dev/null) in
        UTF-8) ;;
        *) LC_ALL=C.UTF-8; export LC_ALL ;;
    esac
}
