# SPDX-License-Identifier: Apache-2.0
"""Connections to a server of our own: host keys, every way to log in, jumps, links that break. The fleet's sshd is
asked in tests/integration/test_collect.py."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

paramiko = pytest.importorskip("paramiko", reason="paramiko is for the control host only")

from savedump_core.errors import UsageError
from savedump_core.remote import login, ssh
from savedump_core.remote.auth import Keyring, _offers
from savedump_core.remote.failures import Lost, Refused, Unreachable
from savedump_core.remote.settings import Wishes, target
from support.sshserver import SshServer

PASSPHRASE = "it's a $secret"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Nothing of the user's own: no config, no keys, no agent."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


@pytest.fixture
def key(home):
    return make_key(home / "key")


def make_key(path, kind="ed25519", passphrase="", *more):
    """The public half of a new key pair."""
    words = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)] + list(more)
    subprocess.check_call(words)
    return paramiko.pkey.PublicBlob.from_file(str(path) + ".pub")


class Public:
    """What a server needs of a key."""

    def __init__(self, blob):
        self._blob = blob

    def asbytes(self):
        return self._blob.key_blob


def config(home, *servers, **settings):
    """The config that knows these servers' host keys."""
    known = home / "known_hosts"
    known.write_text("".join(server.known_hosts for server in servers))
    lines = ["Host *", "UserKnownHostsFile %s" % known, "GlobalKnownHostsFile none", "IdentitiesOnly yes"]
    lines += ["%s %s" % item for item in settings.items()]
    (home / "config").write_text("\n".join(lines) + "\n")
    return Wishes(config=str(home / "config"), timeout_s=10.0)


def says(connection, command="echo hello"):
    process = connection.start(command)
    said = b"".join(iter(lambda: process.stdout.read(1000), b""))
    return said, process.wait(10)


class Asked(list):
    """A person who answers."""

    def __init__(self, *answers):
        super().__init__()
        self._answers = list(answers)

    def __call__(self, prompt):
        self.append(prompt)
        return self._answers.pop(0) if self._answers else None


@pytest.mark.parametrize("kind, more", [("ed25519", ()), ("ecdsa", ()), ("rsa", ()), ("rsa", ("-m", "PEM"))])
def test_a_key(home, kind, more):
    public = make_key(home / "key", kind, "", *more)
    with SshServer(keys=[Public(public)]) as server:
        wishes = config(home, server)._replace(keys=(str(home / "key"),))
        with ssh.connect(server.spec, wishes, Keyring()) as connection:
            assert says(connection) == (b"hello\n", 0)
            assert says(connection, "exit 7") == (b"", 7)
        assert server.logins == [("someone", "publickey")]


@pytest.mark.parametrize("kind, more", [("ed25519", ()), ("ecdsa", ()), ("rsa", ("-m", "PEM"))])
def test_a_passphrase_is_asked_for_once(home, kind, more):
    public = make_key(home / "key", kind, PASSPHRASE, *more)
    asked = Asked(PASSPHRASE)
    keyring = Keyring(asked)
    with SshServer(keys=[Public(public)]) as server:
        wishes = config(home, server)._replace(keys=(str(home / "key"),))
        for _again in range(2):
            with ssh.connect(server.spec, wishes, keyring) as connection:
                assert says(connection)[1] == 0
        assert asked == ["passphrase of the key %s: " % (home / "key")]
        with pytest.raises(Refused, match="passphrase is not its own"):
            ssh.connect(server.spec, wishes, Keyring(Asked("wrong")))
        with pytest.raises(Refused, match="passphrase was not given"):
            ssh.connect(server.spec, wishes, Keyring())


def test_the_usual_keys_and_no_other(home):
    other, usual = make_key(home / "other"), make_key(home / ".ssh" / "id_ed25519")
    with SshServer(keys=[Public(usual)]) as server:
        wishes = config(home, server)
        ssh.connect(server.spec, wishes, Keyring()).close()
        with pytest.raises(Refused) as caught:
            ssh.connect(server.spec, wishes._replace(keys=(str(home / "other"),)), Keyring())
    assert str(home / "other") in caught.value.message and "it takes publickey" in caught.value.message
    assert "-i" in caught.value.hint and other


def test_the_agent(home, key, monkeypatch):
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(home / "agent")], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not (home / "agent").exists() and time.monotonic() < until:
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        subprocess.check_call(["ssh-add", "-q", str(home / "key")])
        os.rename(str(home / "key"), str(home / "elsewhere"))
        with SshServer(keys=[Public(key)]) as server:
            wishes = config(home, server, IdentitiesOnly="no")
            (home / "config").write_text((home / "config").read_text().replace("IdentitiesOnly yes\n", ""))
            ssh.connect(server.spec, wishes, Keyring()).close()
            # By the public half of the key that is named, though only such keys may be used.
            wishes = config(home, server)._replace(keys=(str(home / "key"),))
            ssh.connect(server.spec, wishes, Keyring()).close()
            with pytest.raises(Refused):
                ssh.connect(server.spec, config(home, server), Keyring())
            with pytest.raises(Refused):
                ssh.connect(server.spec, config(home, server, IdentityAgent="none"), Keyring())
    finally:
        agent.terminate()
        agent.wait()


def test_a_key_of_which_only_the_agent_has_the_private_half(home, key):
    """IdentityFile may name the public key; and a private one that is locked says in clear which it is."""
    make_key(home / "locked", "ed25519", PASSPHRASE)
    public = paramiko.pkey.PublicBlob.from_file(str(home / "locked.pub"))
    open_key = home / "open"
    open_key.write_bytes((home / "locked").read_bytes())
    open_key.chmod(0o600)
    subprocess.check_call(["ssh-keygen", "-q", "-p", "-P", PASSPHRASE, "-N", "", "-f", str(open_key)])
    with agent_of(home, home / "other", open_key) as agent, SshServer(keys=[Public(public)]) as server:
        wishes = config(home, server, IdentityAgent=agent, IdentityFile=home / "locked.pub")
        ssh.connect(server.spec, wishes, Keyring()).close()
        (home / "locked.pub").unlink()
        wishes = config(home, server, IdentityAgent=agent, IdentityFile=home / "locked")
        asked = Asked()
        ssh.connect(server.spec, wishes, Keyring(asked)).close()
        assert asked == [] and len(server.tried) == 2


@contextlib.contextmanager
def agent_of(home, *keys):
    """The socket of an agent that holds these keys, and their certificates; those that are not there are made."""
    path = home / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as agent:
        try:
            until = time.monotonic() + 20
            while not path.exists() and time.monotonic() < until:
                time.sleep(0.02)
            for each in keys:
                if not each.exists():
                    make_key(each)
                subprocess.check_call(["ssh-add", "-q", str(each)], env=dict(os.environ, SSH_AUTH_SOCK=str(path)))
            yield path
        finally:
            agent.terminate()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("by_agent", [False, True])
def test_a_certificate_and_where_it_is_not_known_the_key(home, kind, by_agent):
    """Beside the key or named by CertificateFile; that of another key is passed over."""
    public = make_key(home / "key", kind)
    for name in ("authority", "other"):
        make_key(home / name)
    for name in ("other", "key"):
        subprocess.check_call(
            ["ssh-keygen", "-q", "-s", str(home / "authority"), "-I", "x", "-n", "someone", str(home / (name + ".pub"))]
        )
    os.rename(str(home / "other-cert.pub"), str(home / "named"))
    with contextlib.ExitStack() as stack:
        agent = stack.enter_context(agent_of(home, home / "key")) if by_agent else "none"
        server = stack.enter_context(SshServer(keys=[Public(public)]))
        for certificate in ("key-cert.pub", "named"):
            settings = {"IdentityAgent": agent, "IdentityFile": home / "key", "CertificateFile": home / "named"}
            where = target(server.spec, config(home, server, **settings))
            tried = []
            offers = list(_offers(paramiko, where, Keyring(), tried))
            words = "%s%s" % (home / "key", " (by the agent)" if by_agent else "")
            assert [offer.words for offer in offers] == ["%s with %s" % (words, home / certificate), words], tried
            blob = paramiko.pkey.PublicBlob.from_file(str(home / certificate))
            assert [offer.key.public_blob for offer in offers] == [blob, None]
            ssh.connect(server.spec, config(home, server, **settings), Keyring()).close()
            if certificate == "key-cert.pub":
                os.rename(str(home / certificate), str(home / "named"))


def test_a_password_is_asked_for_once(home):
    asked = Asked("pass word")
    keyring = Keyring(asked)
    with SshServer(password="pass word") as server:
        wishes = config(home, server)
        for _again in range(2):
            ssh.connect(server.spec, wishes, keyring).close()
        assert asked == ["password of %s: " % server.spec.replace("ssh://", "")]
        ssh.connect(server.spec, wishes, Keyring(None, "pass word")).close()
        with pytest.raises(Refused, match="a password"):
            ssh.connect(server.spec, wishes, Keyring(None, "wrong"))
        with pytest.raises(Refused, match="no key and no password; it takes password"):
            ssh.connect(server.spec, wishes, Keyring())


def test_questions(home):
    with SshServer(answers={"Password: ": "one", "Code\x1b[2J: ": "two"}) as server:
        asked = Asked("one", "two")
        ssh.connect(server.spec, config(home, server), Keyring(asked)).close()
        assert asked == ["password of %s: " % server.spec, "%s asks: Code[2J: " % server.spec]


def test_what_is_not_asked_for_is_not_asked_here(home):
    """A host that wants a code, and no password; and where nobody can be asked, no answer that counts as wrong."""
    with SshServer(answers={"Verification code: ": "123"}) as server:
        asked = Asked("123")
        ssh.connect(server.spec, config(home, server), Keyring(asked)).close()
        assert asked == ["%s asks: Verification code: " % server.spec] and len(server.tried) == 1
        with pytest.raises(Refused, match="it takes keyboard-interactive"):
            ssh.connect(server.spec, config(home, server), Keyring())
        assert len(server.tried) == 1


def test_a_key_and_a_password(home, key):
    with SshServer(keys=[Public(key)], password="word", all_of_them=True) as server:
        wishes = config(home, server)._replace(keys=(str(home / "key"),))
        ssh.connect(server.spec, wishes, Keyring(Asked("word"))).close()
        assert [method for _user, method in server.logins] == ["publickey", "password"]
        with pytest.raises(Refused, match="it takes password"):
            ssh.connect(server.spec, wishes, Keyring())


def test_an_unknown_host_is_told_nothing(home, key):
    with SshServer(keys=[Public(key)]) as server:
        wishes = config(home)._replace(keys=(str(home / "key"),))
        with pytest.raises(Refused, match=r"\[127.0.0.1\]:%d is not known" % server.port) as caught:
            ssh.connect(server.spec, wishes, Keyring())
        assert server.tried == []
        print(caught.value)
        assert "SHA256:" in caught.value.message and "ssh -p %d someone@127.0.0.1" % server.port in caught.value.hint
        assert (home / "known_hosts").read_text() == ""

        ssh.connect(server.spec, wishes._replace(accept_new=True), Keyring()).close()
        assert (home / "known_hosts").read_text() == server.known_hosts
        ssh.connect(server.spec, wishes, Keyring()).close()


@pytest.mark.parametrize("accept_new", [False, True])
def test_a_changed_host_key_is_refused(home, key, accept_new):
    with SshServer(keys=[Public(key)]) as server, SshServer(host_key=paramiko.RSAKey.generate(2048)) as other:
        wishes = config(home, server)._replace(keys=(str(home / "key"),), accept_new=accept_new)
        was = server.known_hosts
        swapped = " ".join([was.split()[0]] + other.known_hosts.split()[1:]) + "\n"
        for text, words in ((swapped, "HAS CHANGED"), (was + "@revoked " + was, "is revoked")):
            (home / "known_hosts").write_text(text)
            with pytest.raises(Refused, match=words) as caught:
                ssh.connect(server.spec, wishes, Keyring())
            assert (home / "known_hosts").read_text() == text and server.tried == []
        assert caught.value.exit_status == 77


def test_an_alias_has_no_port(home, key):
    with SshServer(keys=[Public(key)]) as server, SshServer(host_key=paramiko.RSAKey.generate(2048)) as other:
        wishes = config(home, server, HostKeyAlias="TheBox")._replace(keys=(str(home / "key"),))
        its_key, another = (" ".join(one.known_hosts.split()[1:]) for one in (server, other))
        # By the name with the port, or without the alias, nothing is looked up.
        (home / "known_hosts").write_text("%s[thebox]:%d %s\n" % (server.known_hosts, server.port, its_key))
        with pytest.raises(Refused, match="^thebox is not known"):
            ssh.connect(server.spec, wishes, Keyring())
        (home / "known_hosts").write_text("thebox %s\n" % another)
        with pytest.raises(Refused, match="THE KEY OF thebox HAS CHANGED"):
            ssh.connect(server.spec, wishes._replace(accept_new=True), Keyring())
        assert (home / "known_hosts").read_text() == "thebox %s\n" % another
        (home / "known_hosts").write_text("")
        ssh.connect(server.spec, wishes._replace(accept_new=True), Keyring()).close()
        assert (home / "known_hosts").read_text() == "thebox %s\n" % its_key
        ssh.connect(server.spec, wishes, Keyring()).close()


def test_a_key_that_is_known_by_the_plain_name(home, key):
    with SshServer(keys=[Public(key)]) as server, SshServer(host_key=paramiko.RSAKey.generate(2048)) as other:
        wishes = config(home)._replace(keys=(str(home / "key"),))
        its_key, another = (" ".join(one.known_hosts.split()[1:]) for one in (server, other))
        (home / "known_hosts").write_text("127.0.0.1 %s\n" % its_key)
        ssh.connect(server.spec, wishes, Keyring()).close()
        assert (home / "known_hosts").read_text() == "127.0.0.1 %s\n" % its_key
        (home / "known_hosts").write_text("127.0.0.1 %s\n@revoked 127.0.0.1 %s\n" % (its_key, its_key))
        with pytest.raises(Refused, match="is revoked"):
            ssh.connect(server.spec, wishes._replace(accept_new=True), Keyring())
        # The plain name's key may be that of another server on the same host.
        (home / "known_hosts").write_text("127.0.0.1 %s\n" % another)
        with pytest.raises(Refused, match=r"\[127.0.0.1\]:%d is not known" % server.port):
            ssh.connect(server.spec, wishes, Keyring())
        ssh.connect(server.spec, wishes._replace(accept_new=True), Keyring()).close()
        assert (home / "known_hosts").read_text() == "127.0.0.1 %s\n%s" % (another, server.known_hosts)


@pytest.mark.parametrize(
    "chosen, first, offered",
    [
        (None, "aes128-gcm@openssh.com", None),
        ("+3des-cbc", "aes128-gcm@openssh.com", None),
        ("aes256-ctr,aes128-ctr,chacha20-poly1305@openssh.com", "aes256-ctr", {"aes256-ctr", "aes128-ctr"}),
        ("^aes192-ctr", "aes192-ctr", None),
        ("-aes128-*,*cbc", "aes256-gcm@openssh.com", {"aes256-gcm@openssh.com", "aes192-ctr", "aes256-ctr"}),
    ],
)
def test_ciphers_are_those_of_the_config(home, key, chosen, first, offered):
    more = {} if chosen is None else {"Ciphers": chosen}
    with SshServer(keys=[Public(key)]) as server:
        wishes = config(home, server, **more)._replace(keys=(str(home / "key"),))
        with ssh.connect(server.spec, wishes, Keyring()) as there:
            transport = there._hops[-1].transport
            assert transport.remote_cipher == first
            assert offered is None or set(transport.get_security_options().ciphers) == offered


def test_ciphers_that_are_not_there_are_told(home, key):
    with SshServer(keys=[Public(key)]) as server:
        wishes = config(home, server, Ciphers="chacha20-poly1305@openssh.com")._replace(keys=(str(home / "key"),))
        with pytest.raises(UsageError, match="leaves none that paramiko has"):
            ssh.connect(server.spec, wishes, Keyring())


def test_through_other_hosts(home, key):
    with SshServer(keys=[Public(key)]) as far, SshServer(keys=[Public(key)]) as near, SshServer(password="p") as first:
        wishes = config(home, far, near, first)._replace(
            keys=(str(home / "key"),), jump="%s,%s" % (first.spec, near.spec)
        )
        with ssh.connect(far.spec, wishes, Keyring(Asked("p"))) as connection:
            assert says(connection, "head -c 3000000 /dev/zero") == (bytes(3000000), 0)
        assert [len(server.logins) for server in (first, near, far)] == [1, 1, 1]
        # Each host's key is checked, not only the last one's.
        config(home, far, first)
        with pytest.raises(Refused, match=r"\[127.0.0.1\]:%d is not known" % near.port):
            ssh.connect(far.spec, wishes, Keyring(Asked("p")))
        # The password for the hosts to be collected from is none of the jump host's business.
        config(home, far, near, first)
        with pytest.raises(Refused, match="it takes password"):
            ssh.connect(far.spec, wishes, Keyring(None, "p"))
        gone = socket.socket()
        gone.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="cannot reach 127.0.0.1 port %d" % gone.getsockname()[1]):
            ssh.connect("127.0.0.1:%d" % gone.getsockname()[1], wishes, Keyring(Asked("p")))
        gone.close()


RELAY = """
import socket, sys, threading
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def pump(read, write):
    for data in iter(lambda: read(65536), b""):
        write(data)
threading.Thread(target=pump, args=(link.recv, lambda data: open(1, "wb", 0, closefd=False).write(data))).start()
pump(lambda size: open(0, "rb", 0, closefd=False).read(size), link.sendall)
link.shutdown(socket.SHUT_RDWR)
"""


def test_a_proxy_command(home, key):
    (home / "relay.py").write_text(RELAY)
    with SshServer(keys=[Public(key)]) as server:
        wishes = config(home, server, ProxyCommand="%s %s %%h %%p" % (sys.executable, home / "relay.py"))
        wishes = wishes._replace(keys=(str(home / "key"),))
        with ssh.connect(server.spec, wishes, Keyring()) as connection:
            assert says(connection, "head -c 3000000 /dev/zero") == (bytes(3000000), 0)
        config(home, server, ProxyCommand="false")
        with pytest.raises(Unreachable, match="does not answer as an ssh server"):
            ssh.connect(server.spec, wishes, Keyring())


def test_a_way_that_never_ends(home):
    (home / "config").write_text("Host *\nProxyJump web1\n")
    with pytest.raises(UsageError, match="more than 8 hosts"):
        ssh.route("web1", Wishes(config=str(home / "config")))


def test_nobody_there(home):
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot reach 127.0.0.1 port %d: Connection refused" % port) as caught:
        ssh.connect("127.0.0.1:%d" % port, config(home), Keyring())
    assert caught.value.exit_status == 75
    closed.listen(1)
    threading.Thread(target=_answer, args=(closed, b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True).start()
    with pytest.raises(Unreachable, match="does not answer as an ssh server"):
        ssh.connect("127.0.0.1:%d" % port, config(home), Keyring())
    closed.close()


def _packet(kind, *strings, before=b""):
    """Of RFC 4253, 6, before there are keys."""
    payload = bytes([kind]) + before + b"".join(struct.pack(">I", len(each)) + each for each in strings)
    payload += bytes(5) if kind == 20 else b""
    padding = 8 + -(len(payload) + 5) % 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


@pytest.mark.parametrize(
    "words",
    [
        _packet(20, *[b"\xff\xfe"] * 10, before=bytes(16)),
        _packet(
            20, b"curve25519-sha256@libssh.org", b"ssh-ed25519", *[b"aes128-ctr"] * 2, *[b"hmac-sha2-256"] * 2,
            *[b"none"] * 2, b"", b"", before=bytes(16),
        ) + _packet(31, b"no key", b"no point", b"no signature"),
    ],
    ids=["names that are no text", "a point that is on no curve"],
)  # fmt: skip
def test_what_paramiko_stumbles_over(home, words):
    """It raises UnicodeDecodeError, ValueError and the like of what a broken server sends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_answer, args=(listening, b"SSH-2.0-x\r\n" + words), daemon=True).start()
        with pytest.raises(Unreachable, match="does not answer as an ssh server"):
            ssh.connect("127.0.0.1:%d" % listening.getsockname()[1], config(home), Keyring())


def _answer(listening, words):
    link, _address = listening.accept()
    link.sendall(words)
    link.shutdown(socket.SHUT_WR)
    with link:
        while link.recv(1 << 16):  # what is closed with bytes unread is reset, and so may be what was sent
            pass


@pytest.fixture
def connected(home, key):
    with SshServer(keys=[Public(key)]) as server:
        wishes = config(home, server, ServerAliveInterval=1, ServerAliveCountMax=1)
        with ssh.connect(server.spec, wishes._replace(keys=(str(home / "key"),)), Keyring()) as connection:
            yield server, connection


def test_pipes(connected):
    _server, connection = connected
    process = connection.start("cat; echo words >&2; exit 3")
    sent = os.urandom(5 << 20)
    threading.Thread(target=lambda: (process.stdin.write(sent), process.stdin.flush(), process.stdin.close())).start()
    came = b"".join(iter(lambda: process.stdout.read(1 << 20), b""))
    assert came == sent
    assert (process.wait(10), process.stderr()) == (3, "words\n")
    # What is never read on stderr holds nothing up, and only its end is kept.
    process = connection.start("head -c 9000000 /dev/zero | tr '\\0' x >&2; echo end >&2; echo out")
    assert process.stdout.read(100) == b"out\n" and process.stdout.read(100) == b""
    assert process.wait(10) == 0 and process.stderr().endswith("xend\n") and len(process.stderr()) < 10000


def test_a_server_that_hangs_up(connected):
    server, connection = connected
    process = connection.start("echo first; sleep 60")
    assert process.stdout.read(100) == b"first\n"
    threading.Timer(0.2, server.hang_up).start()
    with pytest.raises(Lost, match="was closed"):
        process.stdout.read(100)
    with pytest.raises(Lost):
        process.stdin.write(b"x" * 100)
    with pytest.raises(Unreachable):
        connection.start("echo")


def test_closing_ends_what_waits(connected):
    _server, connection = connected
    process = connection.start("sleep 60")
    threading.Timer(0.2, connection.close).start()
    with pytest.raises(Lost, match="closed here"):
        process.stdout.read(100)
    assert process.wait(5) == -1


def test_a_silent_host_is_given_up(connected):
    server, connection = connected
    assert says(connection, "sleep 3; echo late") == (b"late\n", 0)  # quiet for long, but there
    process = connection.start("sleep 60")
    for transport in server._transports:  # it hears nothing more, and the link stays
        transport.packetizer.read_message = lambda: time.sleep(60)
    with pytest.raises(Lost, match="has not answered for"):
        process.stdout.read(100)


def test_sudo_is_told_the_password_when_it_asks(connected, tmp_path, monkeypatch):
    """A sudo that asks twice: the right answer is enough, and a wrong one is not given twice."""
    _server, connection = connected
    sudo = tmp_path / "bin" / "sudo"
    sudo.parent.mkdir()
    sudo.write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do [ "$1" = -p ] && prompt=$2; shift; done; shift\n'
        'for turn in 1 2 3; do printf %s "$prompt" >&2; read -r word || break; [ "$word" = right ] && exec "$@"; '
        'echo "Sorry, try again." >&2; done; echo "sudo: 1 incorrect password attempt" >&2; exit 1\n'
    )
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (sudo.parent, os.environ["PATH"]))
    program = "import sys; sys.stdout.write(sys.stdin.readline())"
    process = login.start_python(connection, program, login.Become(password="right"))
    time.sleep(0.3)
    process.stdin.write(b"for the program\n")
    assert process.stdout.read(100) == b"for the program\n"
    assert process.wait(10) == 0

    become = login.Become(password="wrong")
    process = login.start_python(connection, program, become)
    assert process.stdout.read(100) == b""
    why = login.why_not(connection, process, become)
    assert isinstance(why, Refused) and "does not take the password" in str(why)
    # What sudo says after the question is on the same line.
    sudo.write_text('#!/bin/sh\nprintf %s "$3" >&2; read -r word; echo "admin may not." >&2; exit 1\n')
    process = login.start_python(connection, program, become)
    why = login.why_not(connection, process, become)
    assert str(why) == "sudo on %s says no: admin may not." % connection.where.words
    # A login shell that lets nobody in says so on stdout.
    sudo.write_text("#!/bin/sh\necho This account is not available.; exit 1\n")
    process = login.start_python(connection, program, become)
    why = login.why_not(connection, process, become, process.stdout.read(100).decode().strip())
    assert "no Python started on" in str(why) and str(why).endswith(": This account is not available.")
    # Who is that user already needs no sudo.
    process = login.start_python(connection, "print('ran')", login.Become(user="someone"))
    assert process.stdout.read(100) == b"ran\n"
