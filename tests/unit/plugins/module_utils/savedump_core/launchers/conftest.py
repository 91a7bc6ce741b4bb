# SPDX-License-Identifier: Apache-2.0
"""Laid-out archives and debuggers that record how they are called: what a launcher decides shows in that call."""

import os
import shutil
import subprocess

import pytest

from savedump_core.launchers import LAUNCHERS

# What the scripts themselves need of a host, besides the shell.
TOOLS = ("cat", "find", "mktemp", "printf", "readlink", "rm", "sort", "uname")

# A crash gets to its prompt, where it reads its command file, unless FAKE_STOPS names the mode that it is started in.
RECORDER = """#!/bin/sh
case " $* " in
    *" --version "*)
        echo "lldb version ${FAKE_VERSION-14.0.6}"
        echo "crash ${FAKE_CRASH-8.0.2-1+b2}"
        exit 0
        ;;
    *" --buildinfo "*)
        echo "   build_command: crash"
        echo "    build_target: ${FAKE_TARGET-X86_64}"
        echo "   build_version: 8.0.2"
        exit 0
        ;;
    *" --help "*)
        echo "${FAKE_HELP---no-default-debug-link-directories --architecture --vmcoreinfo -e CODE --no-default-symbols}"
        exit 0
        ;;
    *"show version"*)
        echo "GNU gdb (Debian ${FAKE_VERSION-13.1}-3) ${FAKE_VERSION-13.1}"
        [ "${FAKE_PYTHON-yes}" = no ] || echo "has python"
        for machine in $FAKE_LACKS; do
            case $* in *"set architecture $machine "*) echo "Undefined item: \\"$machine\\"." ;; esac
        done
        exit 0 ;;
esac
{
    printf '%s\\0' "${0##*/}" "$(/bin/pwd)" "${SAVEDUMP_ARCHIVE-}" "${DEBUGINFOD_URLS-unset}"
    printf '%s\\0' "$@"
} >"$RECORD"
[ "$1" = --no_crashrc ] || exit 0
mode=full
case " $* " in *" --no_modules "*) mode=--no_modules ;; *" --minimal "*) mode=--minimal ;; esac
printf '%s\\n' "$mode" >>"$RECORD.modes"
case " ${FAKE_STOPS-} " in *" $mode "*) exit "${FAKE_STATUS-1}" ;; esac
cat "$3" >"$RECORD.commands"
read -r line <"$3"
: >"${line##* }"
exit "${FAKE_STATUS-1}"
"""


class Call:
    """How a recording debugger was called."""

    def __init__(self, raw):
        words = [os.fsdecode(word) for word in raw.split(b"\0")[:-1]]
        self.program, self.directory, self.archive, self.debuginfod = words[:4]
        self.args = words[4:]

    def after(self, word):
        """The arguments that follow each `word`."""
        return [value for flag, value in zip(self.args, self.args[1:]) if flag == word]


class Host:
    """An analysis host: an archive, and programs on a PATH of its own."""

    def __init__(self, base):
        self.base = base
        self.bin = base / "bin"
        self.bin.mkdir()
        self.tmp = base / "tmp"
        self.tmp.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.record = base / "record"
        self.env = {
            "PATH": str(self.bin), "RECORD": str(self.record), "FAKE_LACKS": "", "HOME": str(base),
            "TMPDIR": str(self.tmp),
        }  # fmt: skip
        self.archive = self.lay_out(base / "archive-core.1")

    def lay_out(self, archive, machine="x86_64"):
        own = archive / ".savedump"
        for folder in (own / "solib", own / "thread-db", archive / "usr/bin"):
            folder.mkdir(parents=True)
        (archive / "core.1").write_bytes(b"")
        (archive / "usr/bin/prog").write_bytes(b"")
        (own / "dump").symlink_to("../core.1")
        (own / "executable").symlink_to("../usr/bin/prog")
        self.write_launchers(archive, machine)
        return archive

    def lay_out_kernel(self, archive, parts=1, **dump):
        """As plan/kernel.py does: a dump, of which a set has `parts`, vmlinux, and two modules."""
        own = archive / ".savedump"
        modules = archive / "usr/lib/debug/lib/modules/6.1.0-test"
        for folder in (own, modules / "kernel/crypto", modules / "updates/dkms"):
            folder.mkdir(parents=True)
        for name in ("kernel/crypto/crc32c-intel.ko", "updates/dkms/my-own-mod.ko.debug", "modules.order"):
            (modules / name).write_bytes(b"")
        (archive / "vmlinux-6.1.0-test").write_bytes(b"")
        (own / "vmlinux").symlink_to("../vmlinux-6.1.0-test")
        (own / "modules").symlink_to("../usr/lib/debug/lib/modules/6.1.0-test")
        (archive / "vmcore").write_bytes(b"")
        (own / "dump").symlink_to("../vmcore")
        if parts > 1:
            (own / "parts").mkdir()
            for part in range(1, parts + 1):
                (archive / ("vmcore.%d" % part)).write_bytes(b"")
                (own / "parts" / str(part)).symlink_to("../../vmcore.%d" % part)
        self.write_kernel_launchers(archive, parts=parts, **dump)
        return archive

    def write_launchers(self, archive, machine):
        self._write(archive, {"kind": "core", "machine": machine})

    def write_kernel_launchers(self, archive, **dump):
        facts = {"kind": "kdump-compressed", "machine": "x86_64", "kernel_version": [6, 1], "parts": 1}
        self._write(archive, dict(facts, **dump))

    def _write(self, archive, dump):
        for launcher in LAUNCHERS:
            if launcher.applies_to({"dump": dump}):
                path = archive / launcher.NAME
                path.write_text(launcher.script({"dump": dump}))
                path.chmod(0o700)

    def install(self, *names):
        for name in names:
            path = self.bin / name
            path.write_text(RECORDER)
            path.chmod(0o755)

    def uname(self, machine):
        (self.bin / "uname").unlink()
        (self.bin / "uname").write_text("#!/bin/sh\necho %s\n" % machine)
        (self.bin / "uname").chmod(0o755)

    def run(self, command, cwd=None, shell=None, **env):
        """The finished process; command[0] is a path of a launcher."""
        words = ([shutil.which(shell[0])] + list(shell[1:]) if shell else []) + [str(word) for word in command]
        return subprocess.run(
            words, cwd=str(cwd or self.base), env=dict(self.env, **env), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
        )  # fmt: skip

    def call(self, command, **kwargs):
        """How the debugger was called that the launcher ended in."""
        done = self.run(command, **kwargs)
        assert done.returncode == 0, done.stderr
        call = Call(self.record.read_bytes())
        call.stderr = done.stderr
        return call

    def commands(self):
        """The lines of the command file that crash read last."""
        return (self.base / "record.commands").read_text().splitlines()

    def modes(self):
        """The modes that crash was started in, in order."""
        return (self.base / "record.modes").read_text().split()


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def kernel_host(host):
    """A host whose archive is that of a kernel dump."""
    host.archive = host.lay_out_kernel(host.base / "archive-vmcore")
    return host
