# SPDX-License-Identifier: Apache-2.0
"""What every launcher promises, whatever its debugger."""

import os
import re
import shutil

import pytest

from savedump_core.launchers import LAUNCHERS

DEBUGGERS = {"run-gdb.sh": "gdb", "run-lldb.sh": "lldb", "run-drgn.sh": "drgn"}
NAMES = sorted(DEBUGGERS)
# Those that are here: dash is /bin/sh of Debian and Ubuntu, busybox of Alpine, bash of the rest; mksh closes what
# "exec 9<" opened before it runs a program.
ALL_SHELLS = (["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"], ["mksh"])
SHELLS = [shell for shell in ALL_SHELLS if shutil.which(shell[0])]
ODD = "a b'c\"d$(touch pwned)`touch pwned`:e\\f*[x]\n"


def script_of(name, **dump):
    launcher = next(launcher for launcher in LAUNCHERS if launcher.NAME == name)
    return launcher.script({"dump": dict({"kind": "core", "machine": "x86_64"}, **dump)})


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: launcher.NAME)
def test_only_userland_cores_are_for_these(launcher):
    assert launcher.applies_to({"dump": {"kind": "core"}})
    assert not launcher.applies_to({"dump": {"kind": "kdump-compressed"}})


@pytest.mark.parametrize("name", NAMES)
def test_no_word_of_the_manifest_stands_in_the_script(name):
    """Machine, comm or path: even a machine's name is only ever a key of the launcher's own table."""
    evil = "$(touch pwned)"
    plain = script_of(name, machine="machine-of-no-table")
    assert plain == script_of(name, machine=evil, bits=evil, endian=evil, process={"comm": evil}, path=evil)
    assert "pwned" not in plain


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_fill_in(name):
    assert re.findall(r"@[A-Z]+@", script_of(name)) == []


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", ["plain", ODD])
def test_works_in_any_folder_and_from_any_directory(host, name, folder, shell):
    host.install(DEBUGGERS[name])
    (host.base / folder).mkdir()
    archive = host.lay_out(host.base / folder / "archive-core.2")
    elsewhere = host.base / "else where"
    elsewhere.mkdir()
    script = os.path.relpath(str(archive / name), str(elsewhere))
    call = host.call([script, "-x", "my file"], cwd=elsewhere, shell=shell)
    assert call.args[-2:] == ["-x", "my file"]
    assert call.debuginfod == "unset"
    assert os.path.basename(call.program) == DEBUGGERS[name]
    assert call.archive == (str(archive) if folder == "plain" else "/proc/self/fd/9")
    assert call.archive + "/.savedump/dump" in call.args
    assert not list(host.base.rglob("pwned"))


@pytest.mark.parametrize("name", NAMES)
def test_no_odd_character_reaches_the_debugger(host, name):
    host.install(DEBUGGERS[name])
    (host.base / ODD).mkdir()
    archive = host.lay_out(host.base / ODD / "archive-core.2")
    call = host.call([archive / name], cwd=archive)
    assert not [word for word in call.args if "touch" in word or "\\f" in word]


@pytest.mark.parametrize("name", NAMES)
def test_called_through_links(host, name):
    host.install(DEBUGGERS[name])
    (host.base / "one").symlink_to("two")
    (host.base / "two").symlink_to("archive-core.1/" + name)
    assert host.call(["./one"]).archive == str(host.archive)


@pytest.mark.parametrize("name", NAMES)
def test_called_by_its_bare_name(host, name):
    host.install(DEBUGGERS[name])
    assert host.call([name], cwd=host.archive, shell=["sh"]).archive == str(host.archive)


@pytest.mark.parametrize("name", NAMES)
def test_no_debuginfod(host, name):
    host.install(DEBUGGERS[name])
    assert host.call([host.archive / name], DEBUGINFOD_URLS="http://127.0.0.1:9/").debuginfod == "unset"


@pytest.mark.parametrize("name", NAMES)
def test_no_debugger_is_a_sentence(host, name):
    done = host.run([host.archive / name])
    assert done.returncode == 69
    assert done.stdout == ""
    assert "%s is not installed: install" % DEBUGGERS[name] in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_another_debugger_can_be_named(host, name):
    host.install(DEBUGGERS[name])
    other = host.base / "other bin"
    other.mkdir()
    shutil.copy(str(host.bin / DEBUGGERS[name]), str(other / "mine"))
    variable = "SAVEDUMP_" + DEBUGGERS[name].upper()
    assert host.call([host.archive / name], **{variable: str(other / "mine")}).program == "mine"
    done = host.run([host.archive / name], **{variable: str(other / "none")})
    assert done.returncode == 69 and str(other / "none") in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_without_its_dump(host, name):
    host.install(DEBUGGERS[name])
    (host.archive / "core.1").unlink()
    done = host.run([host.archive / name])
    assert done.returncode == 66 and "the dump is not there" in done.stderr


@pytest.mark.parametrize("link", ["dump", "executable"])
@pytest.mark.parametrize("name", NAMES)
def test_a_link_out_of_the_archive_is_refused(host, name, link):
    host.install(DEBUGGERS[name])
    (host.base / "outside").write_bytes(b"")
    (host.archive / ".savedump" / link).unlink()
    (host.archive / ".savedump" / link).symlink_to("../../outside")
    done = host.run([host.archive / name])
    assert done.returncode == 65 and "leads outside" in done.stderr
    assert not host.record.exists()


@pytest.mark.parametrize("name", NAMES)
def test_without_the_executable(host, name):
    host.install(DEBUGGERS[name])
    (host.archive / ".savedump/executable").unlink()
    call = host.call([host.archive / name])
    assert "the executable is not in this archive" in call.stderr
    assert not [word for word in call.args if word.endswith("/executable")]
