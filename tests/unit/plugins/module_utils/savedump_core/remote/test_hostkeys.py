# SPDX-License-Identifier: Apache-2.0
"""known_hosts, held against what ssh-keygen makes and finds."""

import base64
import os
import shutil
import stat
import subprocess

import pytest

from savedump_core.errors import CannotWrite
from savedump_core.remote import hostkeys

KEY, OTHER = b"\0\0\0\x0bssh-ed25519\0\0\0 " + b"k" * 32, b"\0\0\0\x0bssh-ed25519\0\0\0 " + b"o" * 32


def line(names, key=KEY, kind="ssh-ed25519"):
    return "%s %s %s a comment\n" % (names, kind, base64.b64encode(key).decode())


def known(tmp_path, name, *lines):
    (tmp_path / "known").write_text("".join(lines))
    return hostkeys.known(name, [str(tmp_path / "known"), str(tmp_path / "none")])


@pytest.mark.parametrize(
    "names, host, matches",
    [
        ("web1", "web1", True),
        ("Web1", "web1", True),
        ("web1", "web11", False),
        ("web1,192.0.2.7", "192.0.2.7", True),
        ("*.example.org", "a.example.org", True),
        ("*.example.org,!a.example.org", "a.example.org", False),
        ("!a.example.org,*.example.org", "a.example.org", False),
        ("web?", "web1", True),
        ("[web1]:2222", "[web1]:2222", True),
        ("[web1]:2222", "web1", False),
        ("[web*]:2222", "[web1]:2222", True),
        ("[web1]:2222", "w", False),  # no class of letters
        ("2001:db8::7", "2001:db8::7", True),
    ],
)
def test_names(tmp_path, names, host, matches):
    assert (hostkeys.verdict(known(tmp_path, host, line(names)), KEY) == hostkeys.SAME) is matches


def test_a_changed_key_is_never_a_new_one(tmp_path):
    assert hostkeys.verdict(known(tmp_path, "web1"), KEY) == hostkeys.NEW
    assert hostkeys.verdict(known(tmp_path, "web1", line("web1", OTHER)), KEY) == hostkeys.CHANGED
    assert hostkeys.verdict(known(tmp_path, "web1", line("*", OTHER)), KEY) == hostkeys.CHANGED
    # Of another type: ssh would take it for new.
    assert hostkeys.verdict(known(tmp_path, "web1", line("web1", OTHER, "ssh-rsa")), KEY) == hostkeys.CHANGED
    both = known(tmp_path, "web1", "# web1\n\n", line("web1", OTHER), "web1 ssh-ed25519\n", line("web1"))
    assert hostkeys.verdict(both, KEY) == hostkeys.SAME
    assert both.where == ("%s:3" % (tmp_path / "known"), "%s:5" % (tmp_path / "known"))


def test_the_plain_name_vouches_for_a_new_name_with_port_only(tmp_path):
    def found(*lines):
        plain = known(tmp_path, "web1", *lines)
        return hostkeys.verdict(known(tmp_path, "[web1]:2222", *lines), KEY, plain)

    assert found(line("web1")) == hostkeys.SAME
    assert found(line("web1", OTHER)) == hostkeys.NEW
    assert found() == hostkeys.NEW
    assert found(line("web1"), line("[web1]:2222", OTHER)) == hostkeys.CHANGED
    assert found(line("web1"), "@revoked " + line("[web1]:2222")) == hostkeys.REVOKED
    assert found(line("web1"), "@revoked " + line("web1")) == hostkeys.REVOKED


def test_markers(tmp_path):
    assert hostkeys.verdict(known(tmp_path, "web1", "@revoked " + line("*"), line("web1")), KEY) == hostkeys.REVOKED
    authority = known(tmp_path, "web1", "@cert-authority " + line("*"))
    assert authority.by_authority and hostkeys.verdict(authority, KEY) == hostkeys.NEW
    assert hostkeys.verdict(known(tmp_path, "web1", "web1 ssh-ed25519 no-base64!\n"), KEY) == hostkeys.NEW


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen, the reference")
@pytest.mark.parametrize("name", ["web1", "[web1]:2222"])
def test_as_ssh_keygen_has_it(tmp_path, name):
    made = tmp_path / "key"
    subprocess.check_call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)])
    kind, text = (tmp_path / "key.pub").read_text().split()[:2]
    key = base64.b64decode(text)
    assert hostkeys.fingerprint(key) in subprocess.check_output(["ssh-keygen", "-lf", str(made) + ".pub"]).decode()

    path = tmp_path / "known"
    path.write_text("%s %s %s\n" % (name, kind, text))
    subprocess.check_output(["ssh-keygen", "-H", "-f", str(path)], stderr=subprocess.STDOUT)
    assert path.read_text().startswith("|1|")
    assert hostkeys.verdict(hostkeys.known(name, [str(path)]), key) == hostkeys.SAME
    assert hostkeys.verdict(hostkeys.known("web2", [str(path)]), key) == hostkeys.NEW

    for hashed in (False, True):
        ours = tmp_path / ("ours%d" % hashed)
        hostkeys.remember(str(ours), name, kind, key, hashed)
        found = subprocess.check_output(["ssh-keygen", "-F", name, "-f", str(ours)]).decode()
        assert text in found
        assert hostkeys.verdict(hostkeys.known(name, [str(ours)]), key) == hostkeys.SAME
        assert (name in ours.read_text()) is not hashed


def test_remembering(tmp_path):
    path = tmp_path / ".ssh" / "known_hosts"
    hostkeys.remember(str(path), "web1", "ssh-ed25519", KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.write_text("web0 ssh-ed25519 AAAA")  # no line's end
    hostkeys.remember(str(path), "web1", "ssh-ed25519", KEY)
    assert path.read_text().splitlines()[0] == "web0 ssh-ed25519 AAAA" and len(path.read_text().splitlines()) == 2
    with pytest.raises(CannotWrite, match="cannot be remembered"):
        hostkeys.remember(os.path.join(str(path), "below a file"), "web1", "ssh-ed25519", KEY)
