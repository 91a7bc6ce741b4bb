# SPDX-License-Identifier: Apache-2.0
"""Words and ssh_config, held against what ssh itself makes of them (ssh -G)."""

import os
import shutil
import subprocess

import pytest

pytest.importorskip("paramiko", reason="paramiko is for the control host only")

from savedump_core.errors import UsageError
from savedump_core.remote import settings
from savedump_core.remote.settings import Wishes, parse, target


@pytest.mark.parametrize(
    "spec, parts",
    [
        ("web1", (None, "web1", None)),
        ("admin@web1", ("admin", "web1", None)),
        ("admin@web1:2222", ("admin", "web1", 2222)),
        ("user@corp.example@web1", ("user@corp.example", "web1", None)),
        ("ssh://admin@web1:2222/", ("admin", "web1", 2222)),
        ("2001:db8::7", (None, "2001:db8::7", None)),
        ("admin@2001:db8::7", ("admin", "2001:db8::7", None)),
        ("admin@[2001:db8::7]:2222", ("admin", "2001:db8::7", 2222)),
        ("[2001:db8::7]", (None, "2001:db8::7", None)),
    ],
)
def test_specs(spec, parts):
    assert parse(spec) == parts


@pytest.mark.parametrize("spec", ["", "@", "admin@", "-oProxyCommand=x", "web 1", "web1:99999", "web\x1b1", "a@-b"])
def test_no_specs(spec):
    with pytest.raises(UsageError, match="is no host"):
        parse(spec)


CONFIG = """\
Include more/*.conf
Host web1
    HostName web1.example.org
    Port 2201
    User admin
    ProxyJump op@bastion:2022,inner
    StrictHostKeyChecking accept-new
    HostKeyAlias the-first
    ServerAliveInterval 7
    ServerAliveCountMax 2
Match host web2
    User two
Host web*
    User last
    IdentityFile ~/keys/web
    UserKnownHostsFile ~/known /etc/other
    IdentityAgent none
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".ssh" / "more").mkdir(parents=True)
    (home / ".ssh" / "config").write_text(CONFIG)
    (home / ".ssh" / "more" / "a.conf").write_text("Host inc\n  HostName included.example.org\n  Port 99\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(settings, "SYSTEM_CONFIG", str(tmp_path / "none"))
    return home


def test_config(config):
    found = target("web1", Wishes())
    assert (found.name, found.host, found.port, found.user) == ("web1", "web1.example.org", 2201, "admin")
    assert found.jumps == ("op@bastion:2022", "inner") and found.policy == settings.ACCEPT_NEW
    assert found.alias == "the-first" and found.agent is None
    assert found.keys == (str(config / "keys/web"),) and found.default_keys == ()
    assert found.known_hosts == (str(config / "known"), "/etc/other")
    assert (found.alive_s, found.lost_s) == (7, 21)
    assert target("web2", Wishes()).user == "two" and target("web3", Wishes()).user == "last"
    included = target("inc", Wishes())
    assert (included.host, included.port) == ("included.example.org", 99)
    assert included.policy == settings.STRICT and included.known_hosts[0] == str(config / ".ssh/known_hosts")
    # After the included file nothing of it holds for others.
    other = target("other", Wishes())
    assert (other.port, other.alias) == (22, None)


def test_words_come_before_the_config(config):
    wishes = Wishes(user="me", port=2, jump="none", keys=("/k",), accept_new=True)
    found = target("web1", wishes)
    assert (found.user, found.port, found.jumps) == ("me", 2, ())
    assert found.keys == ("/k", str(config / "keys/web"))
    assert (target("you@web1:3", wishes).user, target("you@web1:3", wishes).port) == ("you", 3)
    jump = target("web3", wishes, via_jump=True)
    assert (jump.user, jump.port) == ("last", 22) and jump.keys[0] == "/k"
    assert target("web1", wishes._replace(config="none")).host == "web1"


def test_bad_config(config):
    (config / ".ssh/config").write_text("Host web1\nPort many\n")
    with pytest.raises(UsageError, match="port"):
        target("web1", Wishes())
    (config / ".ssh/config").write_text("Match nonsense\n")
    with pytest.raises(UsageError, match="cannot make sense of .*config"):
        target("web1", Wishes())
    with pytest.raises(FileNotFoundError):
        target("web1", Wishes(config=str(config / "nowhere")))


@pytest.mark.parametrize(
    "word, seconds",
    [("90", 90), ("1m", 60), ("1M30S", 90), ("1h30m", 5400), ("1h5", 3605), ("2d", 172800), ("1w", 604800)],
)
def test_times(config, word, seconds):
    (config / ".ssh/config").write_text("ServerAliveInterval %s\nConnectTimeout %s\n" % (word, word))
    found = target("web1", Wishes())
    assert (found.alive_s, found.lost_s, found.timeout_s) == (seconds, 4 * seconds, seconds)
    if shutil.which("ssh"):
        words = ["ssh", "-G", "-F", str(config / ".ssh/config"), "web1"]
        told = subprocess.check_output(words, stdin=subprocess.DEVNULL).decode().splitlines()
        assert "serveraliveinterval %d" % seconds in told and "connecttimeout %d" % seconds in told


@pytest.mark.parametrize("word", ["none", "0", "0s"])
def test_no_time_is_the_usual_one(config, word):
    (config / ".ssh/config").write_text("ServerAliveInterval %s\nConnectTimeout %s\n" % (word, word))
    found = target("web1", Wishes(timeout_s=12.0))
    assert (found.alive_s, found.timeout_s) == (15, 12)


def test_a_time_is_never_longer_than_a_socket_can_wait(config):
    (config / ".ssh/config").write_text("ConnectTimeout 3000w\n")
    assert 2000000 <= target("web1", Wishes()).timeout_s < (1 << 31) / 1000


@pytest.mark.parametrize(
    "line",
    ["ConnectTimeout soon", "ConnectTimeout 1x", "ConnectTimeout m", "ServerAliveInterval -1", "Port 1m",
     "ServerAliveCountMax 1m", "ServerAliveCountMax none"],
)  # fmt: skip
def test_no_times(config, line):
    (config / ".ssh/config").write_text(line + "\n")
    with pytest.raises(UsageError, match=line.split()[0].lower()):
        target("web1", Wishes())


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh, the reference")
@pytest.mark.parametrize("name", ["web1", "web2", "web3", "inc", "other"])
def test_as_ssh_reads_it(config, name):
    # ssh takes the home folder from the user database, not from $HOME: name the included files in full.
    path = config / "full"
    path.write_text(CONFIG.replace("more/", str(config / ".ssh/more/")))
    told = subprocess.check_output(["ssh", "-G", "-F", str(path), name], stdin=subprocess.DEVNULL).decode()
    ssh = dict(row.split(" ", 1) for row in told.splitlines() if " " in row)
    found = target(name, Wishes(config=str(path)))
    assert (found.host, str(found.port), found.user) == (ssh["hostname"], ssh["port"], ssh["user"])
    assert ",".join(found.jumps) == ssh.get("proxyjump", "")
    assert (found.policy == settings.ACCEPT_NEW) == (ssh["stricthostkeychecking"] == "accept-new")
    assert os.path.basename(found.known_hosts[0]) == os.path.basename(ssh["userknownhostsfile"].split()[0])


def test_the_command_line_has_the_first_word_on_how_long_to_wait(config):
    (config / ".ssh/config").write_text("ConnectTimeout 3\n")
    assert target("web1", Wishes()).timeout_s == 3
    assert target("web1", Wishes(timeout_s=60.0)).timeout_s == 60
    (config / ".ssh/config").write_text("")
    assert target("web1", Wishes()).timeout_s == 20
