# SPDX-License-Identifier: Apache-2.0
"""The client against real servers on the loopback: good ones, bad ones, and none."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from savedump_core.model import ABSENT, MISMATCH, REFUSED, UNREADABLE, Attempt
from savedump_core.web import wire
from savedump_core.web.debuginfod import DEBUGINFO, EXECUTABLE, Client, Kept, limits_of
from savedump_core.web.wire import Limits
from support import debuginfod, elfwriter

RIGHT, WRONG = b"\x11" * 20, b"\x22" * 20
FILE = elfwriter.elf_file(build_id=RIGHT, padding=300000)
# Only for tests that have to sit a limit out: a busy machine may need a second for anything.
NOT_THERE = dict(connect_s=1, alive_s=1)
HANGS = dict(answer_s=1, patient_s=1, stall_s=1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Bench:
    """A client with a cache of its own."""

    def __init__(self, top):
        self.cache = str(top / "cache")
        self.served = str(top / "served")
        os.mkdir(self.served)
        self.environ = {"DEBUGINFOD_CACHE_PATH": self.cache, "HOME": str(top)}

    def serve(self, build_id=RIGHT, kind=EXECUTABLE, content=FILE):
        return debuginfod.put(self.served, build_id, kind, content)

    def client(self, *servers, **options):
        urls = tuple(getattr(server, "url", server) for server in servers)
        options.setdefault("limits", Limits())
        return Client(urls, environ=self.environ, **options)

    def look(self, *servers, **options):
        """Everything a fresh client says of RIGHT."""
        client = self.client(*servers, **options)
        try:
            return list(client.look(RIGHT, EXECUTABLE))
        finally:
            client.close()

    def at(self, build_id=RIGHT, kind=EXECUTABLE):
        return os.path.join(self.cache, build_id.hex(), kind)

    def content(self, build_id=RIGHT, kind=EXECUTABLE):
        with open(self.at(build_id, kind), "rb") as file:
            return file.read()

    def files(self):
        """All that has a name in the cache, but for its settings."""
        return sorted(
            os.path.join(os.path.basename(where), name)
            for where, _, names in os.walk(self.cache)
            for name in names
            if where != self.cache
        )


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def only(answers):
    assert len(answers) == 1, answers
    assert isinstance(answers[0], Attempt), answers
    return answers[0]


def misbehave(bench, behave, lively=True, **limits):
    """What a client says of a server that does this with every GET, and the server."""
    with debuginfod.misbehaving(behave, lively) as server:
        attempt = only(bench.look(server, limits=Limits(**limits)))
    assert bench.files() == [], "nothing of a bad answer may stay"
    return attempt, server


# --- good servers -------------------------------------------------------------------------------------------------


def test_static_server(bench):
    bench.serve()
    bench.serve(kind=DEBUGINFO, content=elfwriter.elf_file(build_id=RIGHT))
    with debuginfod.static(bench.served) as server:
        client = bench.client(server)
        assert server.requests == [], "nothing is asked before somebody wants something"
        where = "%s/buildid/%s/" % (server.url, RIGHT.hex())
        assert list(client.look(RIGHT, EXECUTABLE)) == [Kept(RIGHT.hex() + "/executable", where + "executable")]
        assert list(client.look(RIGHT, DEBUGINFO)) == [Kept(RIGHT.hex() + "/debuginfo", where + "debuginfo")]
        client.close()
    assert bench.content() == FILE
    assert bench.content(kind=DEBUGINFO) == elfwriter.elf_file(build_id=RIGHT)


def test_cache_is_as_elfutils_leaves_it(bench):
    served = bench.serve()
    os.utime(served, (1000000000, 1000000000))
    with debuginfod.static(bench.served) as server:
        bench.look(server)
    status = os.stat(bench.at())
    assert stat.S_IMODE(status.st_mode) == 0o400
    assert status.st_mtime == 1000000000
    assert stat.S_IMODE(os.stat(bench.cache).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.dirname(bench.at())).st_mode) == 0o700
    assert bench.files() == [RIGHT.hex() + "/executable"]


def test_second_look_asks_nobody(bench):
    bench.serve()
    with debuginfod.static(bench.served) as server:
        bench.look(server)
        asked = len(server.requests)
        client = bench.client(server)
        assert next(client.look(RIGHT, EXECUTABLE)) == Kept(RIGHT.hex() + "/executable", None)
        assert len(server.requests) == asked


def test_cached_file_that_was_refused_is_fetched_anew(bench):
    """Who asks on after a cached file did not believe it."""
    bench.serve()
    os.makedirs(os.path.dirname(bench.at()), 0o700)
    with open(bench.at(), "wb") as file:
        file.write(b"rotten")
    with debuginfod.static(bench.served) as server:
        first, second = bench.look(server)
    assert first.origin is None and second.origin is not None
    assert bench.content() == FILE


def test_next_server_is_asked_only_on(bench, tmp_path):
    bench.serve()
    (tmp_path / "empty").mkdir()
    with debuginfod.static(str(tmp_path / "empty")) as first, debuginfod.static(bench.served) as second:
        with debuginfod.static(bench.served) as third:
            client = bench.client(first, second, third)
            answers = client.look(RIGHT, EXECUTABLE)
            absent, kept = next(answers), next(answers)
            answers.close()
            client.close()
            assert third.paths() == []
    assert (absent.outcome, kept.origin) == (ABSENT, "%s/buildid/%s/executable" % (second.url, RIGHT.hex()))


def test_one_connection_for_many_files(bench):
    """Names of connections, not of requests: a TLS handshake for each of 400 files would cost more than the files."""
    ports = set()

    def behave(connection, method, path):
        while True:
            ports.add(connection.getpeername()[1])
            connection.sendall(debuginfod.answer("404 Not Found", b"not found", Connection=None))
            if not connection.recv(4096):
                return

    with debuginfod.misbehaving(behave) as server:
        client = bench.client(server)
        for number in range(5):
            assert only(list(client.look(bytes([number] * 20), EXECUTABLE))).outcome == ABSENT
        client.close()
    assert len(ports) == 1


def test_progress(bench):
    seen = []
    bench.serve()
    with debuginfod.static(bench.served) as server:
        bench.look(server, progress=lambda where, done, total: seen.append((where, done, total)))
    where = "%s/buildid/%s/executable" % (server.url, RIGHT.hex())
    assert seen[0] == (server.url, 0, None), "before the server is known to be alive"
    assert (where, 0, None) in seen and (where, 0, len(FILE)) in seen
    assert seen[-2:] == [(where, len(FILE), len(FILE)), ("", 0, None)]
    assert [done for at, done, _ in seen if at == where] == sorted(done for at, done, _ in seen if at == where)


def test_patience_shows_that_it_waits(bench):
    """For a kernel, a server that is alive may take its time before it begins."""
    ticks = []

    def behave(connection, method, path):
        while len(ticks) < 2 and not server.over.wait(0.05):
            pass
        connection.sendall(debuginfod.answer(body=FILE))

    def progress(where, done, total):
        if where.endswith("executable") and total is None and server.paths():
            ticks.append(done)

    with debuginfod.misbehaving(behave) as server:
        client = bench.client(server, progress=progress, limits=Limits(answer_s=1, patient_s=60))
        (kept,) = client.look(RIGHT, EXECUTABLE, patient=True)
        assert isinstance(kept, Kept)


@pytest.mark.parametrize("length", ["said", "X-DEBUGINFOD-SIZE", "chunked", "by the end"])
def test_ways_to_say_how_long(bench, length):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (FILE[:7], FILE[7:])) + b"0\r\n\r\n"
    answer = {
        "said": debuginfod.answer(body=FILE),
        "X-DEBUGINFOD-SIZE": debuginfod.answer(body=FILE, Content_Length=None, X_DEBUGINFOD_SIZE=len(FILE)),
        "chunked": debuginfod.answer(body=chunks, Content_Length=None, Transfer_Encoding="chunked"),
        "by the end": debuginfod.answer(body=FILE, Content_Length=None),
    }[length]
    with debuginfod.misbehaving(lambda connection, method, path: connection.sendall(answer)) as server:
        (kept,) = bench.look(server)
    assert isinstance(kept, Kept) and bench.content() == FILE


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A program, split: (folder, build ID)."""
    folder = tmp_path_factory.mktemp("program")
    if not all(map(shutil.which, ("gcc", "objcopy", "strip", "readelf"))):
        pytest.skip("no gcc and binutils to make a program with")
    (folder / "a.c").write_text("int main(void) { return 0; }\n")
    at = str(folder / "a")
    for words in (
        ["gcc", "-g", "-Wl,--build-id", "-o", at, at + ".c"],
        ["objcopy", "--only-keep-debug", at, at + ".debug"],
        ["strip", at],
    ):
        subprocess.check_call(words)
    notes = subprocess.check_output(["readelf", "-n", at], universal_newlines=True)
    return folder, bytes.fromhex(notes.split("Build ID: ")[1].split()[0])


def test_real_debuginfod(bench, program, tmp_path):
    folder, build_id = program
    (tmp_path / "work").mkdir()
    with debuginfod.real(folder, build_id, tmp_path / "work") as server:
        client = bench.client(server)
        for kind, name in ((EXECUTABLE, "a"), (DEBUGINFO, "a.debug")):
            (kept,) = client.look(build_id, kind)
            assert isinstance(kept, Kept)
            assert bench.content(build_id, kind) == (folder / name).read_bytes()
        assert only(list(client.look(WRONG, DEBUGINFO))).outcome == ABSENT
        small = bench.client(server, limits=Limits(max_bytes=100))
        os.unlink(bench.at(build_id))
        attempt = only(list(small.look(build_id, EXECUTABLE)))
        assert (attempt.outcome, "more than 100 bytes" in attempt.detail) == (REFUSED, True)
        client.close()
        small.close()


def test_elfutils_reads_what_we_keep_and_we_what_it_keeps(bench, program, tmp_path):
    folder, build_id = program
    find = shutil.which("debuginfod-find")
    if find is None:
        pytest.skip("no debuginfod-find (Debian's package debuginfod)")
    (tmp_path / "work").mkdir()
    with debuginfod.real(folder, build_id, tmp_path / "work") as server:
        client = bench.client(server)
        assert len(list(client.look(build_id, EXECUTABLE))) == 1
        client.close()
        environ = dict(os.environ, DEBUGINFOD_URLS=server.url, **bench.environ)
        subprocess.check_call([find, "debuginfo", build_id.hex()], env=environ, stdout=subprocess.DEVNULL)
        assert subprocess.call([find, "debuginfo", WRONG.hex()], env=environ, stderr=subprocess.DEVNULL) == 1
    with debuginfod.closed_port() as nobody:
        environ["DEBUGINFOD_URLS"] = nobody
        output = subprocess.check_output([find, "executable", build_id.hex()], env=environ, universal_newlines=True)
        assert output.strip() == bench.at(build_id)
        client = bench.client(nobody)
        assert next(client.look(build_id, DEBUGINFO)) == Kept(build_id.hex() + "/debuginfo", None)
        said = only(list(client.look(WRONG, DEBUGINFO)))
    assert said.outcome == ABSENT and "remove %s to ask again" % bench.at(WRONG, DEBUGINFO) in said.detail


# --- what is not there --------------------------------------------------------------------------------------------


def test_absent_is_remembered_for_all_clients(bench):
    with debuginfod.static(bench.served) as server:
        assert only(bench.look(server)) == Attempt(
            "debuginfod", "%s/buildid/%s/executable" % (server.url, RIGHT.hex()), ABSENT, ""
        )
        assert os.path.getsize(bench.at()) == 0
        asked = len(server.requests)
        again = only(bench.look(server))
        assert len(server.requests) == asked
    assert again.outcome == ABSENT and bench.at() in again.detail


@pytest.mark.parametrize("mode", [0o644, 0])
def test_absence_grows_old(bench, mode):
    bench.serve()
    os.makedirs(os.path.dirname(bench.at()), 0o700)
    open(bench.at(), "w").close()
    os.chmod(bench.at(), mode)
    with debuginfod.static(bench.served) as server:
        assert only(bench.look(server)).outcome == ABSENT
        with open(os.path.join(bench.cache, "cache_miss_s"), "w") as file:
            file.write("30")
        os.utime(bench.at(), (time.time() - 40,) * 2)
        (kept,) = bench.look(server)
    assert isinstance(kept, Kept) and bench.content() == FILE


def test_absence_speaks_only_for_who_was_asked(bench, tmp_path):
    """The wrong URL first, then the right one: that must not take ten minutes."""
    try:
        os.setxattr(bench.served, "user.savedump.asked", b"x")
    except OSError:
        pytest.skip("no user attributes on the file system of %s" % tmp_path)
    bench.serve()
    (tmp_path / "empty").mkdir()
    with debuginfod.static(str(tmp_path / "empty")) as wrong, debuginfod.static(bench.served) as right:
        assert only(bench.look(wrong)).outcome == ABSENT
        first, second = bench.look(wrong, right)
        assert first.outcome == ABSENT and isinstance(second, Kept)
        assert len(wrong.paths()) == 1


def test_elfutils_absence_speaks_for_its_own_servers(bench):
    """What gdb did not find at the servers of $DEBUGINFOD_URLS may be at another one."""
    bench.serve()
    os.makedirs(os.path.dirname(bench.at()), 0o700)
    open(bench.at(), "w").close()
    with debuginfod.closed_port() as theirs, debuginfod.static(bench.served) as ours:
        bench.environ["DEBUGINFOD_URLS"] = theirs
        first, second = bench.look(theirs, ours)
    assert first.outcome == ABSENT and isinstance(second, Kept)


def test_absence_is_not_told_to_those_who_ask_others(bench):
    with debuginfod.closed_port() as theirs, debuginfod.static(bench.served) as ours:
        bench.environ["DEBUGINFOD_URLS"] = theirs
        assert only(bench.look(ours)).outcome == ABSENT
        assert bench.files() == []
        assert [attempt.outcome for attempt in bench.look(ours, theirs)] == [ABSENT, UNREADABLE]
        assert bench.files() == []


# --- servers that are out -----------------------------------------------------------------------------------------


def many(bench, servers, count=5, **limits):
    """All that a client says of several files."""
    client = bench.client(*servers, limits=Limits(**limits))
    told = [list(client.look(bytes([number] * 20), EXECUTABLE)) for number in range(count)]
    client.close()
    assert all(isinstance(one, Attempt) for answers in told for one in answers)
    return told


def test_nobody_listens(bench):
    with debuginfod.closed_port() as url:
        told = many(bench, [url])
    assert [answers[0].outcome for answers in told] == [UNREADABLE] * 5
    assert told[0][0].detail == "127.0.0.1: Connection refused"
    assert told[4][0].detail == "not asked: 127.0.0.1: Connection refused"
    assert bench.files() == []


def test_servers_that_swallow_everything(bench):
    with debuginfod.black_hole() as one, debuginfod.black_hole() as two:
        told = many(bench, [one, two], count=50, **NOT_THERE)
    assert all("timed out" in one.detail or "no connection" in one.detail for answers in told for one in answers)
    assert all(one.detail.startswith("not asked: ") for answers in told[1:] for one in answers)


def test_servers_are_proven_alive_all_at_once(bench):
    """Each of the three answers when all of them were asked: one after the other, that is never."""
    meeting = threading.Barrier(3, timeout=20)

    def behave(connection, method, path):
        if method == "HEAD":
            meeting.wait()
        connection.sendall(debuginfod.answer("404 Not Found"))

    with debuginfod.misbehaving(behave, lively=False) as one, debuginfod.misbehaving(behave, lively=False) as two:
        with debuginfod.misbehaving(behave, lively=False) as three:
            told = many(bench, [one, two, three], alive_s=20)
    assert all(one.outcome == ABSENT for answers in told for one in answers)


def test_server_that_accepts_and_says_nothing(bench):
    with debuginfod.misbehaving(lambda *_: server.over.wait(10), lively=False) as server:
        told = many(bench, [server], **NOT_THERE)
        assert told[0][0].detail == "no answer within 1 s"
        assert told[1][0].detail == "not asked: no answer within 1 s"
        assert server.paths() == [], "it did not even answer the first question"


def test_name_that_is_never_looked_up(bench, monkeypatch):
    """The resolver's own timeouts add up to half a minute and more; it cannot be interrupted, only left."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    try:
        told = many(bench, ["http://debuginfod.invalid"], **NOT_THERE)
    finally:
        over.set()
    assert told[0][0].detail == "no connection within 2 s"


def test_name_that_is_none(bench):
    attempt = only(bench.look("http://debuginfod.invalid"))
    assert attempt.outcome == UNREADABLE and "debuginfod.invalid" in attempt.detail


def test_others_are_asked_though_one_is_out(bench):
    bench.serve()
    with debuginfod.closed_port() as nobody, debuginfod.static(bench.served) as server:
        first, second = bench.look(nobody, server)
    assert first.outcome == UNREADABLE and isinstance(second, Kept)


# --- servers that misbehave ---------------------------------------------------------------------------------------


def test_no_answer_to_the_question(bench):
    with debuginfod.misbehaving(lambda *_: server.over.wait(10)) as server:
        told = many(bench, [server], **HANGS)
        assert told[0][0].detail == "no answer within 1 s"
        assert len(server.paths()) == 1, "a server that hangs is not asked again"


def test_stall(bench):
    def behave(connection, method, path):
        connection.sendall(debuginfod.answer(body=FILE)[:100000])
        server.over.wait(10)

    with debuginfod.misbehaving(behave) as server:
        told = many(bench, [server], **HANGS)
        assert told[0][0].detail == "stalled: less than 16 KiB within 1 s"
        assert told[1][0].detail.startswith("not asked: stalled")
        assert len(server.paths()) == 1
    assert bench.files() == []


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", debuginfod.answer(Content_Length=1 << 20)])
def test_trickle(bench, head):
    """A byte now and then keeps every single read short."""

    def behave(connection, method, path):
        connection.sendall(head)
        while not server.over.wait(0.2):
            connection.sendall(b"H")

    with debuginfod.misbehaving(behave) as server:
        assert " within 1 s" in only(bench.look(server, limits=Limits(**HANGS))).detail
    assert bench.files() == []


def test_slow_but_steady_ends_at_the_total(bench):
    def behave(connection, method, path):
        connection.sendall(debuginfod.answer(Content_Length=1 << 30))
        while not server.over.wait(0.1):
            connection.sendall(bytes(32 << 10))

    with debuginfod.misbehaving(behave) as server:
        assert only(bench.look(server, limits=Limits(total_s=2))).detail == "not done within 2 s"


def test_closes_early(bench):
    cut = debuginfod.answer(body=FILE)[:-1000]
    attempt, server = misbehave(bench, lambda connection, *_: connection.sendall(cut))
    assert (attempt.outcome, attempt.detail) == (
        UNREADABLE, "ended after %d of %d bytes" % (len(FILE) - 1000, len(FILE))
    )  # fmt: skip
    assert len(server.paths()) == 2, "a second try may go better"


def test_second_try_may_go_better(bench):
    def behave(connection, method, path):
        whole = debuginfod.answer(body=FILE)
        connection.sendall(whole if len(server.paths()) > 1 else whole[:-1000])

    with debuginfod.misbehaving(behave) as server:
        (kept,) = bench.look(server)
    assert isinstance(kept, Kept) and bench.content() == FILE


def test_three_broken_files_are_enough(bench):
    with debuginfod.misbehaving(lambda connection, *_: connection.sendall(debuginfod.answer(body=FILE)[:-1])) as server:
        told = many(bench, [server])
        assert len(server.paths()) == 2 * 3
    assert told[2][0].detail.startswith("ended after")
    assert told[3][0].detail.startswith("not asked: 3 answers in a row were of no use")


def test_closes_without_an_answer(bench):
    attempt, _server = misbehave(bench, lambda *_: None)
    assert attempt.outcome == UNREADABLE and attempt.detail.startswith("closed without an answer")


@pytest.mark.parametrize(
    "headers, words",
    [
        ({"Content_Length": len(FILE) - 1000, "X_DEBUGINFOD_SIZE": len(FILE)}, "it says both"),
        ({"Content_Length": len(FILE) - 100}, "cut short"),
        ({"Content_Length": None, "X_DEBUGINFOD_SIZE": len(FILE) - 1}, "more than the"),
        ({"Content_Encoding": "gzip"}, "packed as gzip"),
        ({"Content_Length": 9 << 30}, "more than 8589934592 bytes"),
        ({"Content_Length": 10**18}, "more than 8589934592 bytes"),
    ],
)
def test_lengths_that_do_not_fit(bench, headers, words):
    """A file that ends too early may well hold its build ID."""
    answer = debuginfod.answer(body=FILE, **headers)
    attempt, _server = misbehave(bench, lambda connection, *_: connection.sendall(answer))
    assert attempt.outcome == REFUSED and words in attempt.detail


def test_ends_early_where_no_length_was_said(bench):
    answer = debuginfod.answer(body=FILE[:-100], Content_Length=None)
    attempt, _server = misbehave(bench, lambda connection, *_: connection.sendall(answer))
    assert attempt.outcome == REFUSED and "cut short" in attempt.detail


def test_no_room(bench, monkeypatch):
    monkeypatch.setattr("savedump_core.web.cache.Cache.free", lambda _: len(FILE))
    answer = debuginfod.answer(body=FILE)
    attempt, _server = misbehave(bench, lambda connection, *_: connection.sendall(answer))
    assert attempt.outcome == REFUSED and attempt.detail.startswith("no room in " + bench.cache)


def test_endless_answer(bench):
    def behave(connection, method, path):
        connection.sendall(debuginfod.answer(Content_Length=None, body=FILE))
        while True:
            connection.sendall(bytes(1 << 20))

    attempt, _server = misbehave(bench, behave, max_bytes=8 << 20)
    assert attempt.outcome == REFUSED
    assert "more than 8388608 bytes" in attempt.detail and "DEBUGINFOD_MAXSIZE" in attempt.detail


@pytest.mark.parametrize("endless", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-More: 1\r\n", b"x" * 4096])
def test_endless_head(bench, endless):
    def behave(connection, method, path):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" if endless.startswith(b"X") else b"")
        while True:
            connection.sendall(endless)

    attempt, _server = misbehave(bench, behave, **HANGS)
    assert attempt.outcome == UNREADABLE


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc def\r\n\r\n"])
def test_garbage_instead_of_http(bench, garbage):
    attempt, _server = misbehave(bench, lambda connection, *_: connection.sendall(garbage))
    assert attempt.outcome == UNREADABLE


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"", FILE[:20]])
def test_something_else_instead_of_a_file(bench, body):
    answer = debuginfod.answer(body=body)
    attempt, _server = misbehave(bench, lambda connection, *_: connection.sendall(answer))
    assert attempt.outcome == REFUSED


@pytest.mark.parametrize("build_id", [WRONG, None])
def test_other_build_id(bench, build_id):
    answer = debuginfod.answer(body=elfwriter.elf_file(build_id=build_id))
    attempt, _server = misbehave(bench, lambda connection, *_: connection.sendall(answer))
    assert (attempt.outcome, attempt.detail) == (MISMATCH, build_id.hex() if build_id else "none")


@pytest.mark.parametrize("status", ["500 Internal Server Error", "400 Bad Request", "204 No Content", "206 Partial"])
def test_errors_of_one_file(bench, status):
    with debuginfod.misbehaving(lambda connection, *_: connection.sendall(debuginfod.answer(status))) as server:
        told = many(bench, [server])
        assert len(server.paths()) == 3
    assert (told[0][0].outcome, told[0][0].detail) == (UNREADABLE, "HTTP " + status)
    assert bench.files() == []


@pytest.mark.parametrize("status", ["503 Service Unavailable", "401 Unauthorized", "429 Too Many Requests"])
def test_errors_of_the_server(bench, status):
    with debuginfod.misbehaving(lambda connection, *_: connection.sendall(debuginfod.answer(status))) as server:
        told = many(bench, [server])
        assert len(server.paths()) == 1
    assert told[4][0].detail == "not asked: HTTP " + status


def test_forbidden_is_not_there_but_not_remembered(bench):
    with debuginfod.misbehaving(lambda connection, *_: connection.sendall(debuginfod.answer("403 No"))) as server:
        told = many(bench, [server])
        assert len(server.paths()) == 5
    assert (told[4][0].outcome, told[4][0].detail) == (ABSENT, "HTTP 403 No")
    assert bench.files() == []


# --- redirects, passwords, proxies, TLS ---------------------------------------------------------------------------


def redirecting(location, status="302 Found"):
    return lambda connection, method, path: connection.sendall(
        debuginfod.answer(status, Location=location(path) if callable(location) else location)
    )


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_redirect_without_the_password(bench, status):
    bench.serve()
    with debuginfod.static(bench.served) as far:
        with debuginfod.misbehaving(redirecting(lambda path: far.url + path, status)) as near:
            (kept,) = bench.look(near.url.replace("//", "//user:secret@"))
    assert isinstance(kept, Kept) and kept.origin.startswith(near.url + "/")
    assert near.requests[-1][2]["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
    assert far.paths() and all("Authorization" not in headers for _, _, headers in far.requests)


def test_redirect_on_the_same_host_keeps_the_password(bench):
    def behave(connection, method, path):
        moved = path.startswith("/moved")
        connection.sendall(debuginfod.answer(body=FILE) if moved else debuginfod.answer("302 F", Location="/moved"))

    with debuginfod.misbehaving(behave) as server:
        (kept,) = bench.look(server.url.replace("//", "//user:secret@"))
        assert isinstance(kept, Kept)
        assert all(headers["Authorization"] for _, _, headers in server.requests)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "http://[", "http://:80/", "\xe9", None]
)
def test_redirect_to_no_place_for_a_file(bench, location):
    attempt, server = misbehave(bench, redirecting(location))
    assert attempt.outcome == REFUSED and attempt.detail.startswith("redirected to ")


def test_redirects_without_end(bench):
    attempt, server = misbehave(bench, redirecting(lambda path: path))
    assert (attempt.outcome, attempt.detail) == (REFUSED, "redirected more than 5 times")
    assert len(server.paths()) == 6


def test_password_is_never_shown(bench):
    seen = []
    with debuginfod.closed_port() as url:
        secret = url.replace("//", "//user:secret@")
        attempt = only(bench.look(secret, progress=lambda *words: seen.append(words)))
        wrong = only(bench.look("gopher://user:secret@host/"))
    assert "secret" not in repr((attempt, wrong, seen))
    assert wrong.outcome == UNREADABLE and "https://HOST" in wrong.detail


def test_proxy_of_the_environment(bench, monkeypatch):
    bench.serve()
    with debuginfod.static(bench.served) as server, debuginfod.proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:mine@"))
        (kept,) = bench.look(server)
        assert isinstance(kept, Kept)
        assert proxy.paths() == ["%s/buildid/%s/executable" % (server.url, RIGHT.hex())]
        assert proxy.requests[-1][2]["Proxy-Authorization"] == "Basic bWU6bWluZQ=="
        assert all("Proxy-Authorization" not in headers for _, _, headers in server.requests)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        os.unlink(bench.at())
        (kept,) = bench.look(server)
        assert isinstance(kept, Kept) and len(proxy.paths()) == 1


def test_tls(bench, tmp_path, monkeypatch):
    bench.serve()
    certificate = debuginfod.certificate(tmp_path)
    with debuginfod.static(bench.served, certificate) as server:
        attempt = only(bench.look(server))
        assert attempt.outcome == UNREADABLE and "certificate" in attempt.detail.lower()
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        (kept,) = bench.look(server)
        assert isinstance(kept, Kept)
        os.unlink(bench.at())
        with debuginfod.proxy() as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            (kept,) = bench.look(server)
            assert isinstance(kept, Kept)
            assert {method for method, _, _ in proxy.requests} == {"CONNECT"}


def test_tls_certificate_of_another_host(bench, tmp_path, monkeypatch):
    certificate = debuginfod.certificate(tmp_path, "127.0.0.2")
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    with debuginfod.static(bench.served, certificate) as server:
        assert "127.0.0.1" in only(bench.look(server)).detail


def test_tls_with_a_server_that_has_none(bench):
    with debuginfod.static(bench.served) as server:
        assert only(bench.look(server.url.replace("http:", "https:"))).outcome == UNREADABLE


def test_redirect_from_https_to_http_is_refused(bench, tmp_path):
    client = wire.Wire(Limits())
    with pytest.raises(wire.Declined, match="from https to http"):
        client._next(wire.parse_url("https://host/x"), "http://host/x")


# --- the rest -----------------------------------------------------------------------------------------------------


def test_build_ids_that_no_server_has(bench):
    with debuginfod.static(bench.served) as server:
        client = bench.client(server)
        assert list(client.look(b"", EXECUTABLE)) == []
        assert list(client.look(b"x" * 64, EXECUTABLE)) == []
        assert server.requests == []


def test_settings_of_elfutils():
    assert limits_of({"DEBUGINFOD_TIMEOUT": "7", "DEBUGINFOD_MAXTIME": "0", "DEBUGINFOD_MAXSIZE": "x"}) == Limits(
        answer_s=7, patient_s=7, stall_s=7
    )
    assert limits_of({"DEBUGINFOD_MAXTIME": "9", "DEBUGINFOD_MAXSIZE": "5"}) == Limits(total_s=9, max_bytes=5)


def test_cache_that_cannot_be_written(bench):
    """The first file says why, and nobody is asked for the others."""
    with open(bench.cache, "w"):
        pass
    with debuginfod.static(bench.served) as server:
        attempt = only(bench.look(server))
        assert (attempt.outcome, attempt.path, server.requests) == (REFUSED, bench.cache, [])
    os.unlink(bench.cache)
    bench.serve()
    os.mkdir(bench.cache, 0o700)
    with open(os.path.join(bench.cache, RIGHT.hex()), "w"):
        pass
    with debuginfod.static(bench.served) as server:
        client = bench.client(server)
        attempt = only(list(client.look(RIGHT, EXECUTABLE)))
        assert attempt.outcome == UNREADABLE and attempt.detail.startswith("cannot write to " + bench.cache)
        asked = len(server.requests)
        assert only(list(client.look(WRONG, EXECUTABLE))).detail.startswith("not asked: cannot write")
        assert len(server.requests) == asked
        client.close()


def test_killed_while_fetching(bench):
    """Nothing partial has its name, and the next run is not in the way of the rest."""

    def behave(connection, method, path):
        if len(server.paths()) > 1:
            connection.sendall(debuginfod.answer(body=FILE))
        else:
            connection.sendall(debuginfod.answer(body=FILE)[:200000])
            server.over.wait(20)

    program = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "from savedump_core.web.debuginfod import Client\n"
        "list(Client((sys.argv[1],)).look(bytes.fromhex(sys.argv[2]), 'executable'))\n"
    )
    with debuginfod.misbehaving(behave) as server:
        words = [sys.executable, "-c", program, server.url, RIGHT.hex()] + sys.path
        child = subprocess.Popen(words, env=dict(os.environ, **bench.environ))
        end = time.monotonic() + 20
        while time.monotonic() < end and not any(
            os.path.getsize(os.path.join(bench.cache, name)) for name in bench.files()
        ):
            time.sleep(0.02)
        child.kill()
        child.wait()
        (partial,) = bench.files()
        assert partial.startswith(RIGHT.hex() + "/executable.")
        assert os.stat(os.path.join(bench.cache, partial)).st_mode & 0o777 == 0o600
        (kept,) = bench.look(server)
    assert isinstance(kept, Kept) and bench.content() == FILE


def test_two_at_once(bench):
    """Both fetch, both publish; whoever is last replaces the file by the same one."""
    meeting = threading.Barrier(2, timeout=20)

    def behave(connection, method, path):
        whole = debuginfod.answer(body=FILE)
        connection.sendall(whole[:100000])
        meeting.wait()
        connection.sendall(whole[100000:])

    results = []
    with debuginfod.misbehaving(behave) as server:
        threads = [threading.Thread(target=lambda: results.extend(bench.look(server))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 2 and all(isinstance(one, Kept) for one in results)
    assert bench.files() == [RIGHT.hex() + "/executable"] and bench.content() == FILE


def test_memory_does_not_grow_with_the_file(bench):
    """A quarter of a GiB through a child whose peak is looked at from outside."""
    size = 256 << 20

    def behave(connection, method, path):
        connection.sendall(debuginfod.answer(Content_Length=size) + FILE)
        block, left = bytes(1 << 20), size - len(FILE)
        while left:
            connection.sendall(block[:left])
            left -= min(left, len(block))

    program = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "from savedump_core.web.debuginfod import Client\n"
        "(kept,) = Client((sys.argv[1],)).look(bytes.fromhex(sys.argv[2]), 'executable')\n"
        "assert kept.origin\n"
        # ru_maxrss would be at least what this very process had when it forked.
        "status = open('/proc/self/status').read()\n"
        "sys.stdout.write(status.split('VmHWM:')[1].split()[0])\n"
    )
    with debuginfod.misbehaving(behave) as server:
        words = [sys.executable, "-c", program, server.url, RIGHT.hex()] + sys.path
        peak = subprocess.check_output(words, env=dict(os.environ, **bench.environ))
    assert int(peak) < 64 << 10, "KiB"
    assert os.path.getsize(bench.at()) == size
