# SPDX-License-Identifier: Apache-2.0
"""An ssh server on the loopback, in this process: for what sshd does not do for a test, such as asking for passwords
that no account has. It runs the commands it is sent, and forwards."""

import base64
import socket
import subprocess
import threading

import paramiko


class SshServer:
    """A context manager; `port` is where it listens. Of `methods` a login needs one, or with `all_of_them` each."""

    def __init__(self, keys=(), password=None, answers=None, all_of_them=False, host_key=None):
        self.host_key = host_key or paramiko.ECDSAKey.generate()
        self._keys, self._password, self._answers, self._all = list(keys), password, answers, all_of_them
        self.logins = []
        """(user, method) of every one that was let in, or half in."""
        self.tried = []
        self.commands = []
        self._transports = []
        self._socket = socket.create_server(("127.0.0.1", 0)) if hasattr(socket, "create_server") else _server()
        self.port = self._socket.getsockname()[1]

    @property
    def known_hosts(self):
        key = base64.b64encode(self.host_key.asbytes()).decode()
        return "[127.0.0.1]:%d %s %s\n" % (self.port, self.host_key.get_name(), key)

    @property
    def spec(self):
        return "someone@127.0.0.1:%d" % self.port

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception):
        self._socket.close()
        self.hang_up()

    def hang_up(self):
        for transport in self._transports:
            transport.close()

    def _accept(self):
        while True:
            try:
                link, _address = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(link)
            transport.add_server_key(self.host_key)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Server(self, transport), event=threading.Event())
            except paramiko.SSHException:
                pass


class _Server(paramiko.ServerInterface):
    def __init__(self, server, transport):
        self._server, self._transport = server, transport
        self._passed = set()

    def get_allowed_auths(self, username):
        s = self._server
        methods = {"publickey": s._keys, "password": s._password, "keyboard-interactive": s._answers}
        return ",".join(method for method, wanted in methods.items() if wanted and method not in self._passed)

    def _result(self, username, method, right):
        self._server.tried.append((username, method))
        if not right:
            return paramiko.AUTH_FAILED
        self._server.logins.append((username, method))
        self._passed.add(method)
        if self._server._all and self.get_allowed_auths(username):
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        return paramiko.AUTH_SUCCESSFUL

    def check_auth_publickey(self, username, key):
        return self._result(username, "publickey", key.asbytes() in [one.asbytes() for one in self._server._keys])

    def check_auth_password(self, username, password):
        return self._result(username, "password", password == self._server._password)

    def check_auth_interactive(self, username, submethods):
        if not self._server._answers:
            return paramiko.AUTH_FAILED
        return paramiko.InteractiveQuery("", "", *[(question, False) for question in self._server._answers])

    def check_auth_interactive_response(self, responses):
        right = list(responses) == list(self._server._answers.values())
        return self._result("someone", "keyboard-interactive", right)

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        self._server.commands.append(command.decode())
        # Later than the answer to this request, which is sent when this returns.
        threading.Timer(0.05, _run, args=(channel, command)).start()
        return True

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        try:
            link = socket.create_connection(destination, 5)
        except OSError:
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        threading.Thread(target=self._forward, args=(chanid, link), daemon=True).start()
        return paramiko.OPEN_SUCCEEDED

    def _forward(self, chanid, link):
        channel = None
        while channel is None:  # it is there once this request was answered
            channel = self._transport._channels.get(chanid)
        threading.Thread(target=_pump, args=(channel.recv, link.sendall), daemon=True).start()
        _pump(link.recv, channel.sendall)
        channel.close()
        link.close()


def _pump(read, write):
    try:
        for data in iter(lambda: read(1 << 15), b""):
            write(data)
    except OSError:
        pass


def _run(channel, command):
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    threading.Thread(target=_feed, args=(channel, process), daemon=True).start()
    ear = threading.Thread(
        target=_pump, args=(lambda size: process.stderr.read(size), channel.sendall_stderr), daemon=True
    )
    ear.start()
    _pump(process.stdout.read, channel.sendall)
    ear.join()
    status = process.wait()
    try:
        if status >= 0:
            channel.send_exit_status(status)
        channel.shutdown_write()
        channel.close()
    except (OSError, EOFError):
        pass  # nobody is there any more to be told


def _feed(channel, process):
    _pump(channel.recv, process.stdin.write)
    try:
        process.stdin.close()
    except OSError:
        pass


def _server():
    """Python 3.6 has no create_server."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(5)
    return listening
