# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One command on the target whose output is taken as it comes, through a become that may ask for its password first.

A `Process` of ours (ssh, or sh for the local connection) or a `Channel` of paramiko carries it; `Talk` talks with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import re
import select
import selectors
import socket
import subprocess
import threading
import time

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text

# A pipe of 1 MiB instead of 64 KiB: fewer wake-ups. F_SETPIPE_SZ is in the fcntl module only from Python 3.10 on Linux.
PIPE = 1 << 20
_F_SETPIPE_SZ = 1031
_STDERR_KEPT = 8192
# What a login or sudo may print before the command begins: lectures, messages of the day.
_BEFORE_KEPT = 1 << 18
_TICK_S = 1.0
_END_S = 10

# What ssh says of a link that is down, as opposed to one that is refused.
_LINK = re.compile(r"timed out|timeout|refused|reset by|closed|unreachable|no route|broken pipe|network is down", re.I)
_NO_LINK = re.compile(r"permission denied|verification failed|password|authentication", re.I)


class Refused(Exception):
    """This way does not work here and nothing came; try the next one."""


class Broken(Exception):
    """It worked, and then it broke or stalled; what came is good, try again from there."""


def go_on():
    """Raises AnsibleError in a worker whose ansible-playbook was killed. Nobody tells it, and the next run waits for
    what it has locked."""
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        raise AnsibleError("ansible itself has ended; what came is kept")


class Process:
    """A process of this machine. Raises Refused if it cannot be started."""

    def __init__(self, argv, block):
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, close_fds=True
            )
        except OSError as error:
            raise Refused(str(error)) from error
        self._block = block
        self._ended = False
        os.set_blocking(self._process.stdin.fileno(), False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._process.stdout, _F_SETPIPE_SZ, max(4096, min(block, PIPE)))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._selector.register(self._process.stderr, selectors.EVENT_READ)

    def read(self, seconds):
        """[(is stderr, bytes), ...] that came within ``seconds``, maybe nothing; None when there will be no more."""
        came = []
        for key, _mask in () if self._ended else self._selector.select(seconds):
            data = os.read(key.fd, self._block)
            if data:
                came.append((key.fileobj is self._process.stderr, data))
            else:
                self._selector.unregister(key.fileobj)
                self._ended = self._ended or key.fileobj is self._process.stdout
        return None if self._ended and not came else came

    def write(self, data, stall):
        """To its input; what has ended takes all. Raises Broken if nothing is taken for ``stall`` seconds."""
        view, stdin = memoryview(data), self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            while view:
                if not select.select([], [stdin], [], stall)[1]:
                    raise Broken("no byte taken for %d seconds" % stall)
                view = view[stdin.write(view) or 0 :]

    def end_input(self):
        """There is no more input."""
        self._process.stdin.close()

    def finish(self):
        """(exit status, what it still said on stderr), after its output has ended. A process may live on in the
        background with our stderr, as an ssh that others share does: that is not waited for."""
        words, deadline = b"", time.monotonic() + _END_S
        while self._process.poll() is None and time.monotonic() < deadline:
            words = (words + self._rest(0.05))[-_STDERR_KEPT:]
        words += self._rest(0)
        return (-1 if self._process.returncode is None else self._process.returncode), words

    def _rest(self, seconds):
        for key, _mask in self._selector.select(seconds):
            if key.fileobj is self._process.stderr:
                return os.read(key.fd, _STDERR_KEPT)
        return b""

    def close(self, broken):
        """End it."""
        del broken
        self._selector.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


class Channel:
    """A session of its own in the connection that Ansible's paramiko plugin holds. Raises Refused or Broken."""

    def __init__(self, connection, command, block, stall):
        from paramiko import SSHException  # it is there if the connection is

        self._block = block
        self._connection = connection
        connection._connect()
        self._transport = connection.ssh.get_transport()
        if self._transport is None or not self._transport.is_active():
            connection.reset()  # an AnsibleConnectionFailure says why there is none
            self._transport = connection.ssh.get_transport()
        # exec_command waits for the answer without any limit of its own.
        watch = threading.Timer(stall, self._transport.close)
        watch.start()
        try:
            self._channel = self._transport.open_session(timeout=stall)
            self._channel.exec_command(to_bytes(command))
        except (SSHException, EOFError, OSError) as error:
            raise Broken("no session: %s" % (error or type(error).__name__)) from error
        finally:
            watch.cancel()

    def read(self, seconds):
        """As Process.read."""
        came = []
        self._channel.settimeout(min(seconds, 0.2))
        with contextlib.suppress(socket.timeout):
            data = self._channel.recv(self._block)
            if not data:
                return None
            came.append((False, data))
        if self._channel.recv_stderr_ready():
            came.append((True, self._channel.recv_stderr(_STDERR_KEPT)))
        return came

    def write(self, data, stall):
        """As Process.write."""
        self._channel.settimeout(stall)
        try:
            self._channel.sendall(data)
        except socket.timeout:
            raise Broken("no byte taken for %d seconds" % stall) from None
        except OSError:
            pass  # it has ended; its output says why

    def end_input(self):
        """As Process.end_input."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()

    def finish(self):
        """As Process.finish. A transport that died is an end of output like any other, without an exit status."""
        deadline = time.monotonic() + _END_S
        while not self._channel.exit_status_ready() and self._transport.is_active() and time.monotonic() < deadline:
            time.sleep(0.02)
        words = self._channel.recv_stderr(_STDERR_KEPT) if self._channel.recv_stderr_ready() else b""
        return (self._channel.recv_exit_status() if self._channel.exit_status_ready() else -1), words

    def close(self, broken):
        """End it; the whole connection, too, if it no longer moves, so that what comes next begins a new one."""
        self._channel.close()
        if broken:
            self._connection.close()


class Talk:
    """What is said with one command. ``marker`` begins the line after which the command's output comes; ``become`` is
    the plugin whose question for a password is answered before that, or None.

    ``take`` is given what the command prints, as it comes; with ``keeps_input`` the command hears what is written.
    """

    def __init__(self, action, source, become, marker, take, stall, keeps_input=False):
        self._become = become
        self._play_context = action._play_context
        self._source = source
        self._marker = marker
        self._take = take
        self._stall = stall
        self._keeps_input = keeps_input
        self._silent = 0.0
        self._ended = self._broken = False
        self._errors = b""
        self._before = b""
        self._asked = False
        self._came = False

    def run(self):
        """Until the output ends. Raises Refused or Broken."""
        try:
            while self.listen():
                pass
        finally:
            self.close()

    def listen(self):
        """Take what comes within a second; False when the output has ended as it should. Raises Refused or Broken."""
        if self._ended:
            return False
        begun = time.monotonic()
        came = self._source.read(min(_TICK_S, self._stall))
        # Only this: what we take our time for in between is no silence of theirs.
        self._silent += time.monotonic() - begun
        if came is None:
            status, words = self._source.finish()
            self._errors += words
            if status or self._marker is not None:
                self._give_up("exit status %d" % status)
            self._ended = True
            return False
        go_on()
        for is_error, data in came:
            if is_error:
                self._error(data)
            else:
                self._silent = 0.0
                self._output(data)
        if self._silent >= self._stall:
            self._give_up("no byte for %d seconds" % self._stall)
        return True

    def write(self, data):
        """To the command's input, as soon as it runs. Raises Refused or Broken."""
        while self._marker is not None:
            self.listen()
        try:
            self._source.write(data, self._stall)
        except Broken:
            self._broken = True
            raise
        self._silent = 0.0

    def close(self):
        """End it, whatever it is at."""
        self._source.close(self._broken)

    def _output(self, data):
        if self._marker is not None:
            self._before += data
            at = self._before.find(self._marker)
            end = self._before.find(b"\n", at) if at >= 0 else -1
            if end < 0:
                if len(self._before) > _BEFORE_KEPT:
                    self._give_up("no end of words before the command began")
                self._answer(self._before)
                return
            data = self._before[end + 1 :]
            self._marker, self._before = None, b""
            if not self._keeps_input:
                self._source.end_input()
        if data:
            self._came = True
            self._take(data)

    def _error(self, data):
        self._errors = (self._errors + data)[-_STDERR_KEPT:]
        if self._marker is not None:
            self._answer(self._errors)

    def _answer(self, heard):
        """Give the become password when it is asked for, once."""
        if self._become is None:
            return
        if self._become.check_incorrect_password(heard) or self._become.check_missing_password(heard):
            self._give_up("no privileges")
        if not self._asked and self._become.check_password_prompt(heard):
            self._asked = True
            password = self._become.get_option("become_pass", playcontext=self._play_context) or ""
            self._source.write(to_bytes(password) + b"\n", self._stall)

    def _give_up(self, why):
        self._broken = True
        words = to_text(self._errors).strip()[-300:]
        link_is_down = self._came or (_LINK.search(words) and not _NO_LINK.search(words))
        raise (Broken if link_is_down else Refused)("%s: %s" % (why, words) if words else why)
