# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How bytes come from the target to the control host, best way first.

ssh-own     one ssh process of our own, its stdout into the file. Ansible's default ssh_args hold -C, which caps the
            stream near 25 MiB/s; no later option undoes it and a multiplexed session inherits it (measured: 24 against
            113-250 MiB/s). So: no -C, ControlPath=none and a fast cipher (_ciphers). All else of Ansible's command line
            stays: known hosts, keys, jump hosts.
ssh-shared  through the connection that is open already: for a host that wants a login password again.
paramiko    a session in the connection that Ansible's paramiko plugin holds.
local       the same without ssh.
copy        the connection plugin's fetch_file: docker, podman, and kubectl without become.
chunks      anything else: one command for each 4 MiB, as base64 because a pty or a plugin may touch the bytes.

Nothing here holds more than a chunk in memory; Ansible's own fetch with become holds eight times the file.
"""

from __future__ import annotations

import os
import secrets
import shlex

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.utils.collection_loader import resource_from_fqcr

from ansible_collections.savedump.toolkit.plugins.plugin_utils import _ciphers, _far_end
from ansible_collections.savedump.toolkit.plugins.plugin_utils._talk import (
    PIPE,
    Broken,
    Channel,
    Process,
    Refused,
    Talk,
)

CHUNK = 4 << 20
# The ways on which a command's output comes as it is printed.
STREAMS = frozenset(("ssh-own", "ssh-shared", "local", "paramiko"))

_PARAMIKO = frozenset(("paramiko", "paramiko_ssh"))
# Plugins whose fetch_file does not gather the file in memory. The first ones copy with a daemon's rights, so that
# become does not matter.
_DAEMON_COPIES = frozenset(("docker", "docker_api", "podman", "buildah", "lxd", "incus"))
_COPIES = _DAEMON_COPIES | frozenset(("kubectl", "oc"))


def ways_for(action):
    """Names of the ways to try for this connection, in order."""
    kind = resource_from_fqcr(action._connection.transport)
    if kind == "ssh" and hasattr(action._connection, "_build_command"):
        password = action._connection.get_option("password") or action._play_context.password
        return ("ssh-shared", "chunks") if password else ("ssh-own", "ssh-shared", "chunks")
    if kind == "local":
        return ("local", "chunks")
    if kind in _PARAMIKO and hasattr(action._connection, "_connect_uncached"):
        return ("paramiko", "chunks")
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


def stream(action, way, command, take, stall, block=PIPE):
    """Run ``command`` on the target and give its output to ``take`` as it comes, at most ``block`` bytes at once.

    What is not taken is not sent: the sender waits. Raises Refused or Broken; that after ``stall`` seconds of silence.
    """
    talk(action, way, command, take, stall, block).run()


def talk(action, way, command, take, stall, block=PIPE, keeps_input=False):
    """The same, begun: a Talk, which goes on while it is listened to. Raises Refused or Broken."""
    connection = action._connection
    become = connection.become if needs_become(action) else None
    if become:
        command = become.build_become_command(command, connection._shell)
        marker = become.success
    else:
        # A login shell may print a greeting, which is none of the command's output.
        marker = "savedump-begins-" + secrets.token_hex(16)
        command = "echo %s; %s" % (marker, command)
    shell = action._play_context.executable or "/bin/sh"
    whole = "%s -c %s" % (shell, shlex.quote(command))
    if way == "paramiko":
        source = Channel(connection, whole, block, stall)
    elif way == "local":
        source = Process([shell, "-c", command], block)
    else:
        source = Process(_ssh_argv(action, whole, own=way == "ssh-own"), block)
    return Talk(action, source, become, to_bytes(marker), take, stall, keeps_input)


def chunks(action, far_end, offset, size, take, length=CHUNK):
    """Pull the bytes from ``offset`` to ``size`` by commands of ``length`` each, a multiple of _far_end.BLOCK.

    Raises Refused or Broken.
    """
    came = False
    while offset < size:
        # Chunks begin at whole blocks, for dd.
        over = offset % _far_end.BLOCK
        wanted = min(length, size - offset + over)
        reply = action._low_level_execute_command(far_end.chunk(offset - over, wanted))
        data = _far_end.read_chunk(reply["stdout"], wanted) if reply["rc"] == 0 else None
        if data is None:
            raise (Broken if came else Refused)("no chunk at byte %d: %s" % (offset, _far_end.read_failure(reply)))
        take(data[over:])
        came = True
        offset += wanted - over


def copy(action, source, path):
    """The connection plugin's own file transfer, into ``path``. Raises Refused."""
    try:
        action._connection.fetch_file(source, path)
    except AnsibleError as error:
        raise Refused(to_text(error)) from error


def _ssh_argv(action, command, own):
    """The command line that the ssh plugin would use, for a stream."""
    connection = action._connection
    binary = connection.get_option("ssh_executable")
    argv = [to_bytes(word) for word in connection._build_command(binary, "ssh", connection.host, command)]
    pipe = getattr(connection, "sshpass_pipe", None)
    if pipe:
        # Up to 2.18 the line begins with sshpass and a pipe was opened for it; the open connection needs no password.
        for end in pipe:
            os.close(end)
        connection.sshpass_pipe = None
    argv = argv[argv.index(to_bytes(binary)) :]
    # Whatever the user's files say, and behind his -tt: a terminal changes bytes.
    argv.insert(-2, b"-T")
    first = [b"-o", b"BatchMode=yes"]
    if own:
        argv = [word for word in argv if word != b"-C"]
        first += [b"-o", b"ControlPath=none", b"-o", b"ControlMaster=no", b"-o", b"Compression=no"]
        ciphers = _ciphers.option(action, tuple(argv[:-1]))
        if ciphers:
            first += [b"-o", ciphers]
    return argv[:1] + first + argv[1:]
