# SPDX-License-Identifier: Apache-2.0
"""Which cipher our own ssh asks for, by a stand-in for ssh that says what it would offer."""

import pytest
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _ciphers

DEFAULT = "chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com"
# The same ones.
GCM_FIRST = b"Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr"


class Action:
    """Its target says whether it has instructions for AES."""

    def __init__(self, status=0):
        self.status, self.asked = status, 0

    def _low_level_execute_command(self, command, sudoable):
        assert command == "grep -qsw aes /proc/cpuinfo" and not sudoable
        self.asked += 1
        return {"rc": self.status}


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """Words for an ssh whose configuration offers `offered`, and which without one offers DEFAULT; here is AES."""

    def words(offered, plain=DEFAULT):
        path = tmp_path / "ssh"
        path.write_text(
            '#!/bin/sh\n[ "$1" = -G ] || exit 255\ncase "$*" in *"-F /dev/null"*) set -- %s;; *) set -- %s;; esac\n'
            "printf 'user admin\\nciphers %%s\\nmacs x\\n' $1\n" % (plain, offered)
        )
        path.chmod(0o755)
        return str(path).encode(), b"-o", b"BatchMode=yes", b"web1"

    has_aes(tmp_path, monkeypatch, "flags\t\t: fpu aes avx\n")
    return words


def has_aes(tmp_path, monkeypatch, text):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(_ciphers, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(_ciphers.sys, "platform", "linux")


def test_aes_gcm_comes_first_and_the_target_is_asked_once(ssh):
    action = Action()
    words = ssh(DEFAULT)
    assert [_ciphers.option(action, words) for _time in range(2)] == [GCM_FIRST] * 2
    assert action.asked == 1


@pytest.mark.parametrize(
    "chosen", ["aes256-ctr", "aes256-ctr,aes256-gcm@openssh.com", DEFAULT.replace("aes128-ctr,", "")]
)
def test_what_somebody_has_chosen_stays(ssh, chosen):
    action = Action()
    assert _ciphers.option(action, ssh(chosen)) is None and action.asked == 0


def test_an_ssh_that_prefers_it_is_left_alone(ssh):
    preferring = "aes128-gcm@openssh.com,chacha20-poly1305@openssh.com"
    assert _ciphers.option(Action(), ssh(preferring, preferring)) is None


def test_a_target_without_instructions_for_aes(ssh):
    action = Action(status=1)
    assert _ciphers.option(action, ssh(DEFAULT)) is None and action.asked == 1


@pytest.mark.parametrize("text", ["", "flags\t: fpu\nbugs\t: aes\n", "model name\t: aes\n", "flags\t: fpu vaes\n"])
def test_a_control_host_without_instructions_for_aes(ssh, tmp_path, monkeypatch, text):
    has_aes(tmp_path, monkeypatch, text)
    assert _ciphers.option(Action(), ssh(DEFAULT)) is None


def test_arm_names_them_in_its_own_line(ssh, tmp_path, monkeypatch):
    has_aes(tmp_path, monkeypatch, "Features\t: fp asimd evtstrm aes pmull sha1 sha2\n")
    assert _ciphers.option(Action(), ssh(DEFAULT)) == GCM_FIRST


@pytest.mark.parametrize("body", ["exit 255", "echo usage", "sleep 60"], ids=["fails", "says-nothing", "hangs"])
def test_an_ssh_that_cannot_say(ssh, tmp_path, monkeypatch, body):
    words = ssh(DEFAULT)
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec " + body if body != "exit 255" else "#!/bin/sh\n" + body)
    monkeypatch.setattr(_ciphers, "_WAIT_S", 0.2)
    assert _ciphers.option(Action(), words) is None


def test_no_ssh_here(ssh):
    assert _ciphers.option(Action(), (b"/nowhere/ssh", b"web1")) is None


def test_no_cpuinfo_here(ssh, tmp_path, monkeypatch):
    monkeypatch.setattr(_ciphers, "_CPUINFO", tmp_path / "nowhere")
    assert _ciphers.option(Action(), ssh(DEFAULT)) is None
    monkeypatch.setattr(_ciphers.sys, "platform", "darwin")
    assert _ciphers.option(Action(), ssh(DEFAULT)) == GCM_FIRST
