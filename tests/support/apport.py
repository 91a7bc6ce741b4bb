# SPDX-License-Identifier: Apache-2.0
"""The real apport: Ubuntu's packages in a bare Ubuntu (bareroot.py), unpacked and never installed, for installing them
changes kernel.core_pattern. It is called as the kernel would call it, with the core of a real process on its stdin.
"""

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

from . import bareroot, debs

SYSTEM = "ubuntu2204"
# apport and what its crash handler imports.
_PACKAGES = ("apport", "python3-apport", "python3-problem-report", "python3-apt")
UID = 1000

# No program in there may change the machine's settings, whatever it is called with.
_GUARD = """
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
"""

_FETCH = """
mkdir -p /debs
cd /debs
apt-get -q -oAPT::Sandbox::User= download %s
""" % " ".join(_PACKAGES)

# dpkg-deb -x would replace the link /lib.
_UNPACK = """
for package in /debs/*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -C / -x --keep-directory-symlink; done
# As the packages' own scripts, and systemd-tmpfiles, do.
mkdir -p -m 1777 /var/crash
mkdir -p /var/lib/apport/coredump
useradd --create-home --uid 1000 crasher
"""

_CRASH = """
umask 022
mkdir -m 777 /work
cd /work

# victim PROGRAM ARGUMENT...: a process of the user's, whose number is $pid.
victim() {
    setpriv --reuid 1000 --regid 1000 --clear-groups "$@" &
    pid=$!
    until [ "$(readlink "/proc/$pid/exe")" = "$1" ]; do sleep 0.02; done
}

# The kernel calls it with %p %s %c %d %P %E.
handler() { python3 /usr/share/apport/apport "$1" "$2" "$3" 1 "$1" "$4"; }

victim /usr/bin/sleep 60
kill -SEGV "$pid"
wait "$pid" || true
set -- core*
[ -e "$1" ] || { echo "no core was written"; exit 77; }
mv "$1" /core
died=$pid

# A program of a package, whose process wants no core of its own.
victim /usr/bin/sleep 60
reported=$pid
handler "$pid" 11 0 '!usr!bin!sleep' </core
kill "$pid"

# One that belongs to no package and has no limit.
cp /usr/bin/sleep /usr/local/bin/own
victim /usr/local/bin/own 60
owned=$pid
handler "$pid" 6 18446744073709551615 '!usr!local!bin!own' </core
kill "$pid"

# One of which the core has not all come yet, for a look at what is there; then apport is killed.
mkfifo /pipe
victim /usr/bin/tail -f /dev/null
python3 /usr/share/apport/apport "$pid" 11 0 1 "$pid" '!usr!bin!tail' </pipe &
apport=$!
exec 9>/pipe
head -c 200000 /core >&9
until [ -e /var/crash/_usr_bin_tail.1000.crash ]; do sleep 0.02; done
mkdir -p /half/var
cp -a /var/crash /half/var/crash
kill -KILL "$apport"
wait "$apport" || true
kill "$pid"
printf '{"died": %d, "reported": %d, "owned": %d}' "$died" "$reported" "$owned" >/facts
"""


class ApportError(Exception):
    """It cannot be run here; the message says why."""


class Crashed:
    """A host on which apport dealt with some crashes."""

    def __init__(self, bare):
        self._bare = bare
        self.root = bare.work / "upper"
        self.core = self.root / "core"
        self.facts = json.loads((self.root / "facts").read_text())

    def clean(self):
        """What cron does each day."""
        _run(self._bare, "sh -e /etc/cron.daily/apport")


def crashed(folder):
    """Skips where no Ubuntu can be had (bareroot.py)."""
    bare = bareroot.BareRoot(bareroot.lower(SYSTEM), Path(str(folder)))
    kept = debs.cache() / SYSTEM
    if not kept.is_dir():
        _run(bare, _FETCH)
        with tempfile.TemporaryDirectory(dir=str(debs.cache())) as folder:
            fresh = Path(shutil.copytree(str(bare.work / "upper/debs"), os.path.join(folder, "debs")))
            try:
                fresh.rename(kept)
            except OSError as error:
                # Another run was as quick.
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
    for package in kept.iterdir():
        bare.put("/debs/" + package.name, package.read_bytes())
    _run(bare, _GUARD + _UNPACK + _CRASH)
    return Crashed(bare)


def _run(bare, commands):
    done = bare.run(commands)
    if done.returncode:
        log = bare.work / "upper/var/log/apport.log"
        said = log.read_text() if log.exists() else ""
        raise ApportError("it ended with %d: %s%s" % (done.returncode, done.stdout[-2000:], said[-2000:]))
