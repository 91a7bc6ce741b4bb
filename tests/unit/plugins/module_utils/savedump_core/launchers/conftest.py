# SPDX-License-Identifier: Apache-2.0
"""A laid-out archive and debuggers that record how they are called: what a launcher decides shows in that call."""

import os
import shutil
import subprocess

import pytest

from savedump_core.launchers import LAUNCHERS

# What the scripts themselves need of a host, besides the shell.
TOOLS = ("printf", "readlink", "uname")

RECORDER = """#!/bin/sh
case " $* " in
    *" --version "*) echo "lldb version ${FAKE_VERSION-14.0.6}"; exit 0 ;;
    *" --help "*) echo "${FAKE_HELP---no-default-debug-link-directories}"; exit 0 ;;
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
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.record = base / "record"
        self.env = {"PATH": str(self.bin), "RECORD": str(self.record), "FAKE_LACKS": "", "HOME": str(base)}
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

    def write_launchers(self, archive, machine):
        for launcher in LAUNCHERS:
            path = archive / launcher.NAME
            path.write_text(launcher.script({"dump": {"kind": "core", "machine": machine}}))
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


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)
