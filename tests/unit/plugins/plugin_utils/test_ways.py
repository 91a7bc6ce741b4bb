# SPDX-License-Identifier: Apache-2.0
"""How bytes travel: the ssh command line, and a stream through a become that asks, tested on real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _far_end, _talk, _ways

MARKER = "BECOME-SUCCESS-abc"
PROMPT = "[sudo via ansible, key=abc] password:"


class Become:
    """What an Ansible become plugin shows; the command is this test's own script."""

    success = MARKER

    def __init__(self, script):
        self._script = script

    def build_become_command(self, command, shell):
        return self._script.replace("COMMAND", command)

    def get_option(self, name, playcontext=None):
        return {"become_user": "root", "become_pass": "secret"}[name]

    def check_password_prompt(self, heard):
        return PROMPT.encode() in heard

    def check_incorrect_password(self, heard):
        return b"Sorry, try again" in heard

    def check_missing_password(self, heard):
        return b"a password is required" in heard


class Connection:
    transport = "local"
    host = "web1"
    become = None
    _shell = None
    sshpass_pipe = None
    options = {"ssh_executable": "ssh", "password": None}

    def get_option(self, name):
        return self.options[name]

    def _connect_uncached(self):
        raise AssertionError("not in these tests")

    def _build_command(self, binary, subsystem, *words):
        ours = [b"-C", b"-o", b"ControlMaster=auto", b"-o", b"ControlPersist=60s", b"-o", b'User="admin"']
        ours += [b"-o", b'ControlPath="/tmp/cp"']
        first = []
        if self.options["password"]:
            self.sshpass_pipe = os.pipe()
            first = [b"sshpass", b"-d%d" % self.sshpass_pipe[0]]
        return first + [binary.encode()] + ours + [word.encode() for word in words]


class Action:
    def __init__(self, become=None):
        self._connection = Connection()
        self._connection.become = become
        self._play_context = type("Context", (), {"executable": "/bin/sh", "password": None})

    def _get_remote_user(self):
        return "admin"

    def get_become_option(self, name):
        return self._connection.become.get_option(name)


def pull(command, become=None, stall=20):
    got = []
    _ways.stream(Action(become), "local", command, got.append, stall)
    return b"".join(got)


def test_bytes_come_as_they_are():
    assert pull(r"printf 'a\000\377\r\n'; head -c 3000000 /dev/zero") == b"a\0\xff\r\n" + bytes(3000000)


@pytest.mark.parametrize("become", [False, True], ids=["login", "become"])
def test_a_talk_both_ways(become):
    asks = (
        "printf '%s' '" + PROMPT + '\' >&2; read word; [ "$word" = secret ] || exit 1; '
        "printf 'lecture\\n" + MARKER + "\\n'; COMMAND"
    )
    got = bytearray()
    talk = _ways.talk(Action(Become(asks) if become else None), "local", "cat", got.extend, 20, keeps_input=True)
    try:
        for word in (b"one\n", bytes(30000), b"\xfftwo"):
            talk.write(word)
            while not got.endswith(word):
                assert talk.listen()
        assert got == b"one\n" + bytes(30000) + b"\xfftwo"
    finally:
        talk.close()


@pytest.mark.parametrize("keeps_input", [False, True])
def test_what_the_login_shell_prints_is_no_output_of_the_command(monkeypatch, keeps_input):
    def greeted(action, command, own):
        """As sshd does it: a login shell that reads its .bashrc, and then the command."""
        return ["/bin/sh", "-c", "printf 'Welcome\\nYou have no mail, %s'; %s" % (PROMPT, command)]

    monkeypatch.setattr(_ways, "_ssh_argv", greeted)
    action, got = Action(Become("no become: COMMAND")), []
    monkeypatch.setattr(_ways, "needs_become", lambda action: False)
    talk = _ways.talk(action, "ssh-own", r"printf 'a\000\n\377'; cat", got.append, 20, keeps_input=keeps_input)
    try:
        if keeps_input:
            talk.write(b"heard")
            while b"".join(got) != b"a\0\n\xffheard":
                assert talk.listen()
        else:
            talk.run()
            assert b"".join(got) == b"a\0\n\xff"  # the password that nobody asked for is not answered
    finally:
        talk.close()


def test_a_talk_with_what_takes_nothing():
    talk = _ways.talk(Action(), "local", "sleep 300", None, 1, keeps_input=True)
    try:
        with pytest.raises(_ways.Broken, match="no byte taken for 1 seconds"):
            talk.write(bytes(1 << 20))
    finally:
        talk.close()


def test_a_talk_with_what_has_ended():
    talk = _ways.talk(Action(), "local", "echo why >&2; exit 3", None, 20, keeps_input=True)
    try:
        time.sleep(0.5)
        talk.write(bytes(1 << 20))
        with pytest.raises(_ways.Refused, match="exit status 3: why"):
            while talk.listen():
                pass
    finally:
        talk.close()


def test_time_between_two_listenings_is_no_silence():
    talk = _ways.talk(Action(), "local", "sleep 1.5; echo x", [].append, 1, keeps_input=True)
    try:
        time.sleep(1.6)
        while talk.listen():
            pass
    finally:
        talk.close()


def test_behind_a_become_that_asks_for_a_password():
    asks = (
        "printf '%s' '" + PROMPT + '\' >&2; read word; [ "$word" = secret ] || exit 1; '
        "printf 'lecture\\n" + MARKER + "\\n'; COMMAND"
    )
    assert pull(r"printf '\n\nBECOME-SUCCESS-abc\n'", Become(asks)) == b"\n\nBECOME-SUCCESS-abc\n"


def test_behind_a_become_that_does_not_ask():
    assert pull("printf x", Become("echo " + MARKER + "; COMMAND")) == b"x"


@pytest.mark.parametrize("words", ["Sorry, try again.", "sudo: a password is required"])
def test_a_wrong_password_is_refused_at_once(words):
    # No process that hangs on is waited for: the sleep is longer than any test may last.
    with pytest.raises(_ways.Refused, match="no privileges"):
        pull("printf x", Become("echo '%s' >&2; exec sleep 3000; COMMAND" % words))


def test_failure_before_the_first_byte_is_refused():
    with pytest.raises(_ways.Refused, match="exit status 3.*no such"):
        pull("echo no such >&2; exit 3")


def test_failure_after_some_bytes_is_broken():
    with pytest.raises(_ways.Broken, match="exit status 3"):
        pull("echo some; exit 3")


def test_standing_still_is_broken():
    with pytest.raises(_ways.Broken, match="no byte for 1 seconds"):
        pull("echo some; exec sleep 300", stall=1)


def test_words_on_stderr_are_no_progress():
    with pytest.raises(_ways.Broken, match="no byte for 1 seconds"):
        pull("echo some; while sleep 0.1; do echo still here >&2; done", stall=1)


def test_time_that_we_take_is_no_silence_of_theirs():
    """As under a bandwidth limit: what was sent waits for us, and who sends waits, too."""
    got = []

    def slowly(data):
        got.append(data)
        time.sleep(0.3)

    _ways.stream(Action(), "local", "head -c 40000 /dev/zero", slowly, 1, block=4096)
    assert len(b"".join(got)) == 40000 and max(map(len, got)) == 4096


def test_what_is_not_taken_is_not_sent(tmp_path):
    """Back-pressure: the sender gets no further than the pipes hold."""

    class Enough(Exception):
        pass

    def once(data):
        time.sleep(1)
        raise Enough

    count = "i=0; while :; do i=$((i+1)); echo $i > %s; head -c 65536 /dev/zero; done" % (tmp_path / "sent")
    with pytest.raises(Enough):
        _ways.stream(Action(), "local", count, once, 20, block=4096)
    assert int((tmp_path / "sent").read_text()) <= 4


def test_a_background_process_that_holds_our_stderr_is_not_waited_for():
    """As the ssh that becomes the one others share."""
    assert pull("sleep 300 > /dev/null & printf x") == b"x"


def test_endless_words_after_the_output_are_not_kept(monkeypatch):
    monkeypatch.setattr(_talk, "_END_S", 0.5)
    source = _talk.Process(["/bin/sh", "-c", "exec >&-; exec cat /dev/zero >&2"], 4096)
    try:
        while source.read(5) is not None:
            pass
        assert len(source.finish()[1]) <= 2 * _talk._STDERR_KEPT
    finally:
        source.close(True)


def test_endless_words_before_the_command_begins():
    with pytest.raises(_ways.Refused, match="no end of words"):
        pull("printf x", Become("cat /dev/zero; COMMAND"))


@pytest.mark.parametrize(
    "words, expected",
    [
        ("ssh: connect to host 198.51.100.1 port 22: Connection timed out", _ways.Broken),
        ("ssh: connect to host web1 port 22: Connection refused", _ways.Broken),
        ("kex_exchange_identification: Connection closed by remote host", _ways.Broken),
        ("admin@web1: Permission denied (publickey,password).", _ways.Refused),
        ("Host key verification failed.", _ways.Refused),
    ],
)
def test_a_link_that_is_down_is_no_way_that_is_wrong(words, expected):
    with pytest.raises(expected):
        pull("echo '%s' >&2; exit 255" % words)


def test_it_ends_with_the_ansible_that_asked_for_it(tmp_path):
    """A worker of an ansible-playbook that was killed goes on by itself: it must not hold the .part any longer."""
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import multiprocessing, os, signal, sys, time\n"
        "sys.path[:0] = %r\n"
        "import test_ways\n"
        "def worker():\n"
        "    try:\n"
        "        test_ways.pull('echo $$ > %s; exec sleep 300', stall=300)\n"
        "    except BaseException as error:\n"
        "        open('%s', 'w').write(str(error))\n"
        "multiprocessing.get_context('fork').Process(target=worker).start()\n"
        "while not os.path.exists('%s'): time.sleep(0.05)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
        % (sys.path + [os.path.dirname(__file__)], tmp_path / "pid", tmp_path / "said", tmp_path / "pid")
    )
    assert subprocess.run([sys.executable, str(parent)], check=False, timeout=60).returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while not (tmp_path / "said").exists() or not (tmp_path / "said").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "ansible itself has ended" in (tmp_path / "said").read_text()
    assert not os.path.exists("/proc/%d" % int((tmp_path / "pid").read_text()))


def test_going_slowly_is_not_standing_still():
    assert pull("for i in 1 2 3 4 5 6 7; do echo $i; sleep 0.5; done", stall=3) == b"1\n2\n3\n4\n5\n6\n7\n"


@pytest.mark.parametrize("ciphers", [None, b"Ciphers=a,b"])
def test_an_ssh_of_our_own_has_no_compression_and_no_multiplexing(monkeypatch, ciphers):
    asked = []
    monkeypatch.setattr(_ways._ciphers, "option", lambda action, argv: asked.append(argv) or ciphers)
    argv = _ways._ssh_argv(Action(), "cat x", own=True)
    assert [each[-1] for each in asked] == [b"web1"] and (b"Ciphers=a,b" in argv) == (ciphers is not None)
    assert argv[0] == b"ssh" and argv[-2:] == [b"web1", b"cat x"]
    assert b"-C" not in argv
    # Behind a -tt of the user's, and before what his files say: the last such word wins in ssh.
    assert argv[-3] == b"-T"
    assert not [word for word in argv if b"HostKey" in word or b"KnownHosts" in word]  # Ansible's, whatever they are
    # The first of two equal options wins in ssh.
    assert argv.index(b"ControlPath=none") < argv.index(b'ControlPath="/tmp/cp"')


def test_a_login_password_goes_through_the_open_connection(monkeypatch):
    monkeypatch.setitem(Connection.options, "password", "secret")
    action = Action()
    connection = action._connection
    argv = _ways._ssh_argv(action, "cat x", own=False)
    assert argv[0] == b"ssh" and b"sshpass" not in argv and b'ControlPath="/tmp/cp"' in argv
    assert connection.sshpass_pipe is None  # closed, or each archive would leave two descriptors


@pytest.mark.parametrize(
    "transport, become, expected",
    [
        ("local", False, ("local", "chunks")),
        ("ssh", True, ("ssh-own", "ssh-shared", "chunks")),
        ("ansible.builtin.ssh", False, ("ssh-own", "ssh-shared", "chunks")),
        ("community.docker.docker", True, ("copy", "chunks")),
        ("containers.podman.podman", True, ("copy", "chunks")),
        ("kubernetes.core.kubectl", False, ("copy", "chunks")),
        ("kubernetes.core.kubectl", True, ("chunks",)),
        ("paramiko", False, ("paramiko", "chunks")),
        ("ansible.builtin.paramiko_ssh", True, ("paramiko", "chunks")),
        ("community.aws.aws_ssm", False, ("chunks",)),
    ],
)
def test_ways(transport, become, expected):
    action = Action(Become("") if become else None)
    action._connection.transport = transport
    assert _ways.ways_for(action) == expected


class Chunked(Action):
    """Answers each command by running it here; `cut` lets it fail from that call on."""

    def __init__(self, cut=None):
        super().__init__()
        self._left = cut

    def _low_level_execute_command(self, command):
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                return {"rc": 255, "stdout": "", "stderr": "link is down"}
        with os.popen(command) as stream:
            return {"rc": 0, "stdout": stream.read(), "stderr": ""}


def test_chunks(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(os.urandom(_ways.CHUNK + 5))
    got = []
    _ways.chunks(Chunked(), _far_end.FarEnd(str(path), None), 0, _ways.CHUNK + 5, got.append)
    assert b"".join(got) == path.read_bytes()


def test_chunks_from_the_middle_of_a_block(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(os.urandom(300000))
    got = []
    _ways.chunks(Chunked(), _far_end.FarEnd(str(path), None), 65537, 299999, got.append, _far_end.BLOCK)
    assert b"".join(got) == path.read_bytes()[65537:299999]
    assert list(map(len, got)) == [65535, 65536, 65536, 299999 - 4 * 65536]


@pytest.mark.parametrize("cut, expected", [(0, _ways.Refused), (1, _ways.Broken)])
def test_chunks_that_end_early(tmp_path, cut, expected):
    path = tmp_path / "f"
    path.write_bytes(os.urandom(_ways.CHUNK + 5))
    with pytest.raises(expected, match="link is down"):
        _ways.chunks(Chunked(cut), _far_end.FarEnd(str(path), None), 0, _ways.CHUNK + 5, lambda data: None)
