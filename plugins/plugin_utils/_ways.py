# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How bytes come from the target to the control host, best way first.

ssh       one ssh process of our own, its stdout into the file. Ansible's default ssh_args hold -C, which caps the
          stream near 25 MiB/s; no later option undoes it and a multiplexed session inherits it (measured: 24 against
          113-250 MiB/s). So: no -C and ControlPath=none. A host that wants a login password again is read through the
          connection that is open already.
local     the same without ssh.
copy      the connection plugin's fetch_file: docker, podman, kubectl and paramiko without become.
chunks    anything else: one command for each 4 MiB, as base64 because a pty or a plugin may touch the bytes.

Nothing here holds more than a chunk in memory; Ansible's own fetch with become holds eight times the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import shlex
import subprocess

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.utils.collection_loader import resource_from_fqcr

from ansible_collections.savedump.toolkit.plugins.plugin_utils import _far_end

CHUNK = 4 << 20
# A pipe of 1 MiB instead of 64 KiB: fewer wake-ups. F_SETPIPE_SZ is in the fcntl module only from Python 3.10 on Linux.
_PIPE = 1 << 20
_F_SETPIPE_SZ = 1031
_STDERR_KEPT = 8192

# Plugins whose fetch_file does not gather the file in memory. The first ones copy with a daemon's rights, so that
# become does not matter.
_DAEMON_COPIES = frozenset(("docker", "docker_api", "podman", "buildah", "lxd", "incus"))
_COPIES = _DAEMON_COPIES | frozenset(("kubectl", "oc", "paramiko", "paramiko_ssh"))


class Refused(Exception):
    """This way does not work here and nothing came; try the next one."""


class Broken(Exception):
    """It worked, and then it broke or stalled; what came is good, try again from there."""


def ways_for(action):
    """Names of the ways to try for this connection, in order."""
    kind = resource_from_fqcr(action._connection.transport)
    if kind == "ssh" and hasattr(action._connection, "_build_command"):
        password = action._connection.get_option("password") or action._play_context.password
        return ("ssh-shared", "chunks") if password else ("ssh-own", "ssh-shared", "chunks")
    if kind == "local":
        return ("local", "chunks")
    if kind in _DAEMON_COPIES or (kind in _COPIES and not needs_become(action)):
        return ("copy", "chunks")
    return ("chunks",)


def needs_become(action):
    """Whether a command has to be wrapped: the rule of ActionBase._low_level_execute_command.

    Building a become command without need leaves state behind that makes the local plugin of 2.19 wait for a marker.
    """
    become = action._connection.become
    if not become:
        return False
    login, other = action._get_remote_user(), action.get_become_option("become_user")
    return bool(C.BECOME_ALLOW_SAME_USER or other != login or not any((login, other)))


def stream(action, way, command, take, stall):
    """Run ``command`` on the target and give its output to ``take`` as it comes. Raises Refused or Broken."""
    connection = action._connection
    marker = None
    if needs_become(action):
        command = connection.become.build_become_command(command, connection._shell)
        marker = to_bytes(connection.become.success)
    shell = action._play_context.executable or "/bin/sh"
    if way == "local":
        argv = [shell, "-c", command]
    else:
        argv = _ssh_argv(connection, "%s -c %s" % (shell, shlex.quote(command)), own=way == "ssh-own")
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, close_fds=True
        )
    except OSError as error:
        raise Refused(str(error)) from error
    with contextlib.suppress(OSError):
        fcntl.fcntl(process.stdout, _F_SETPIPE_SZ, _PIPE)
    try:
        _Talk(action, process, marker, take, stall).run()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


def chunks(action, far_end, offset, size, take):
    """Pull the rest of the file by commands. ``offset`` is a multiple of _far_end.BLOCK. Raises Refused or Broken."""
    came = False
    while offset < size:
        length = min(CHUNK, size - offset)
        reply = action._low_level_execute_command(far_end.chunk(offset, length))
        data = _far_end.read_chunk(reply["stdout"], length) if reply["rc"] == 0 else None
        if data is None:
            raise (Broken if came else Refused)("no chunk at byte %d: %s" % (offset, _far_end.read_failure(reply)))
        take(data)
        came = True
        offset += length


def copy(action, source, path):
    """The connection plugin's own file transfer, into ``path``. Raises Refused."""
    try:
        action._connection.fetch_file(source, path)
    except AnsibleError as error:
        raise Refused(to_text(error)) from error


def _ssh_argv(connection, command, own):
    """The command line that the ssh plugin would use, for a stream."""
    binary = connection.get_option("ssh_executable")
    argv = [to_bytes(word) for word in connection._build_command(binary, "ssh", connection.host, command)]
    pipe = getattr(connection, "sshpass_pipe", None)
    if pipe:
        # Up to 2.18 the line begins with sshpass and a pipe was opened for it; the open connection needs no password.
        for end in pipe:
            os.close(end)
        connection.sshpass_pipe = None
    argv = argv[argv.index(to_bytes(binary)) :]
    first = [b"-o", b"BatchMode=yes"]
    if own:
        argv = [word for word in argv if word != b"-C"]
        first += [b"-o", b"ControlPath=none", b"-o", b"ControlMaster=no", b"-o", b"Compression=no"]
    return argv[:1] + first + argv[1:]


class _Talk:
    """One process that may ask for a become password first and then prints nothing but the file."""

    def __init__(self, action, process, marker, take, stall):
        self._become = action._connection.become
        self._play_context = action._play_context
        self._process = process
        self._marker = marker
        self._take = take
        self._stall = stall
        self._errors = b""
        self._before = b""
        self._asked = False
        self._came = False

    def run(self):
        """Until the process ends. Raises Refused or Broken."""
        if self._marker is None:
            self._process.stdin.close()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ, self._output)
            selector.register(self._process.stderr, selectors.EVENT_READ, self._error)
            while selector.get_map():
                events = selector.select(self._stall)
                if not events:
                    self._give_up("no byte for %d seconds" % self._stall)
                for key, _mask in events:
                    data = os.read(key.fd, _PIPE)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fileobj)
        status = self._process.wait()
        if status or self._marker is not None:
            self._give_up("exit status %d" % status)

    def _output(self, data):
        if self._marker is not None:
            self._before += data
            at = self._before.find(self._marker)
            end = self._before.find(b"\n", at) if at >= 0 else -1
            if end < 0:
                self._answer(self._before)
                return
            data = self._before[end + 1 :]
            self._marker, self._before = None, b""
            self._process.stdin.close()
        if data:
            self._came = True
            self._take(data)

    def _error(self, data):
        self._errors = (self._errors + data)[-_STDERR_KEPT:]
        if self._marker is not None:
            self._answer(self._errors)

    def _answer(self, heard):
        """Give the become password when it is asked for, once."""
        if self._become.check_incorrect_password(heard) or self._become.check_missing_password(heard):
            self._give_up("no privileges")
        if not self._asked and self._become.check_password_prompt(heard):
            self._asked = True
            password = self._become.get_option("become_pass", playcontext=self._play_context) or ""
            self._process.stdin.write(to_bytes(password) + b"\n")

    def _give_up(self, why):
        words = to_text(self._errors).strip()[-300:]
        raise (Broken if self._came else Refused)("%s: %s" % (why, words) if words else why)
