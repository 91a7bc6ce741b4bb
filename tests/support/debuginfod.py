# SPDX-License-Identifier: Apache-2.0
"""Servers of files by build ID, all on the loopback: a real debuginfod, a plain static web server, a proxy, and servers
that misbehave in every way a network allows."""

import contextlib
import ctypes
import http.server
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

HOST = "127.0.0.1"
_CLONE_NEWNET = 0x40000000  # linux/sched.h


def put(folder, build_id, kind, content):
    """Lay out FOLDER/buildid/HEX/KIND, as any web server can serve it."""
    at = os.path.join(str(folder), "buildid", build_id.hex(), kind)
    os.makedirs(os.path.dirname(at), exist_ok=True)
    with open(at, "wb") as file:
        file.write(content)
    return at


class Running:
    """A server that runs: its URL, and (method, path, headers) of every request that came."""

    def __init__(self, port, scheme="http"):
        self.port = port
        self.url = "%s://%s:%d" % (scheme, HOST, port)
        self.requests = []

    def paths(self, method="GET"):
        return [path for how, path, _ in self.requests if how == method]


class _Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that went away is what many tests are about."""


@contextlib.contextmanager
def _serving(handler, running_of, wrap=None):
    server = _Threads((HOST, 0), handler)
    if wrap is not None:
        server.socket = wrap(server.socket)
    server.running = running_of(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Static(http.server.SimpleHTTPRequestHandler):
    folder = ""

    def translate_path(self, path):
        return os.path.join(self.folder, path.lstrip("/"))

    def parse_request(self):
        well = super().parse_request()
        if well:
            self.server.running.requests.append((self.command, self.path, dict(self.headers)))
        return well

    def log_message(self, *words):
        pass


@contextlib.contextmanager
def static(folder, certificate=None):
    """`python -m http.server` over a folder that put() filled; with `certificate` (file of key and chain) over TLS."""

    def wrap(sock):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if hasattr(ssl, "PROTOCOL_TLS_SERVER") else ssl.PROTOCOL_TLS)
        context.load_cert_chain(certificate)
        return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    handler = type("Static", (_Static,), {"folder": str(folder)})
    scheme = "https" if certificate else "http"
    with _serving(handler, lambda port: Running(port, scheme), wrap if certificate else None) as running:
        yield running


def certificate(folder, name=HOST):
    """A key with a certificate for this address that nobody signed; the file is its own CA file, too."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    at = os.path.join(str(folder), "certificate.pem")
    subprocess.check_call(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", at,
         "-out", at + ".crt", "-addext", "subjectAltName=IP:" + name],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with open(at, "a") as file, open(at + ".crt") as chain:
        file.write(chain.read())
    return at


class _Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self._note()
        request = urllib.request.Request(self.path, headers={"X-Via": "proxy"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            answer = opener.open(request)
        except urllib.error.HTTPError as error:
            answer = error
        body = answer.read()
        self.send_response(answer.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def do_CONNECT(self):
        self._note()
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join(5)
        self.close_connection = True

    def _note(self):
        self.server.running.requests.append((self.command, self.path, dict(self.headers)))

    def log_message(self, *words):
        pass


def _pump(source, sink):
    with contextlib.suppress(OSError):
        for data in iter(lambda: source.recv(65536), b""):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxy():
    """An HTTP proxy, with CONNECT."""
    with _serving(_Proxy, Running) as running:
        yield running


@contextlib.contextmanager
def misbehaving(behave, lively=True):
    """A server that calls behave(connection, method, path) for each request. With `lively` it answers HEAD as it
    should, like a server that is there but cannot do the one thing; otherwise HEAD is treated like everything else."""
    over = threading.Event()
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen(16)
    listener.settimeout(0.05)
    running = Running(listener.getsockname()[1])
    running.over = over
    threads = []

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(4096)
                if not data:
                    return
                head += data
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            running.requests.append((method, path, headers))
            if method == "HEAD" and lively:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            else:
                behave(connection, method, path)

    def accept():
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except socket.timeout:
                continue
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield running
    finally:
        over.set()
        acceptor.join()
        listener.close()
        for thread in threads:
            thread.join(10)


def answer(status="200 OK", body=b"", **headers):
    """An answer's bytes; a header given as None is left out. Underscores stand for "-"."""
    fields = {"Content_Length": len(body), "Connection": "close"}
    fields.update(headers)
    lines = ["%s: %s" % (name.replace("_", "-"), value) for name, value in fields.items() if value is not None]
    return ("HTTP/1.1 %s\r\n%s\r\n\r\n" % (status, "\r\n".join(lines))).encode("latin-1") + body


@contextlib.contextmanager
def black_hole():
    """A port whose host never answers: a listener whose queue of connections is full drops every further SYN
    (net.ipv4.tcp_abort_on_overflow is 0 wherever nobody changed it)."""
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen(0)
    waiting = []
    try:
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        time.sleep(0.1)
        yield "http://%s:%d" % listener.getsockname()
    finally:
        for sock in waiting + [listener]:
            sock.close()


@contextlib.contextmanager
def closed_port():
    """A port at which nobody listens, kept from everybody else meanwhile."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        yield "http://%s:%d" % sock.getsockname()


@contextlib.contextmanager
def real(folder, build_id, work):
    """elfutils' own server over the ELF files in `folder`, once it knows `build_id`; `work` is an empty folder for it.

    Before elfutils 0.192 it listens on all interfaces and knows no other way. So it runs in a network namespace of its
    own, and a port of the loopback leads into that."""
    program = shutil.which("debuginfod")
    if program is None:
        pytest.skip("no debuginfod (Debian's package of that name)")
    if os.geteuid() != 0:
        pytest.skip("not root: no network namespace to run debuginfod in")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DEBUGINFOD")}
    environment.update(HOME=str(work), TMPDIR=str(work))
    words = [program, "-F", "-t", "0", "-g", "0", "-d", os.path.join(str(work), "db"), str(folder)]
    with open(os.path.join(str(work), "log"), "wb") as log:
        process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"] + words,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    try:
        with _door(process.pid, 8002) as running:
            _await(running.url + "/buildid/%s/executable" % build_id.hex(), process)
            yield running
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _door(pid, port):
    """A port of the loopback here for a port of the loopback in the network namespace of a process."""

    class Door(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                inside = _connect_inside(pid, port)
            except OSError:
                return  # not up yet
            with inside:
                back = threading.Thread(target=_pour, args=(inside, self.request), daemon=True)
                back.start()
                _pour(self.request, inside)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((HOST, 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield Running(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _connect_inside(pid, port):
    """A connection made by a thread that has entered the namespace: a socket stays where it was made."""
    made = []

    def enter_and_connect():
        with open("/proc/%d/ns/net" % pid) as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                return
        made.append(socket.socket())
        if made[0].connect_ex((HOST, port)):
            made.pop().close()

    thread = threading.Thread(target=enter_and_connect)
    thread.start()
    thread.join()
    if not made:
        raise ConnectionRefusedError
    return made[0]


def _pour(source, sink):
    with contextlib.suppress(OSError):
        for data in iter(lambda: source.recv(1 << 16), b""):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _await(url, process):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, "debuginfod left with status %s" % process.returncode
        try:
            with opener.open(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("debuginfod does not serve %s" % url)
