# SPDX-License-Identifier: Apache-2.0
"""What every launcher promises, whatever its debugger."""

import os
import re
import shutil
import subprocess

import pytest

from savedump_core.launchers import LAUNCHERS

# For each archive: its launchers, and the debugger that they end in.
CORE = {"run-gdb.sh": "gdb", "run-lldb.sh": "lldb", "run-drgn.sh": "drgn"}
KERNEL = {"run-crash.sh": "crash", "run-drgn.sh": "drgn", "run-sdb.sh": "sdb", "run-pycrash.sh": "drgn"}
KINDS = {"core": CORE, "kdump-compressed": KERNEL}
CASES = [(kind, name) for kind, launchers in KINDS.items() for name in launchers]
case = pytest.mark.parametrize("kind, name", CASES, ids=lambda value: value.replace("run-", "").replace(".sh", ""))
# dash is /bin/sh of Debian and Ubuntu, busybox of Alpine, bash of the rest; mksh closes what "exec 9<" opened before it
# runs a program.
SHELLS = (["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"], ["mksh"])
ODD = "a b'c\"d$(touch pwned)`touch pwned`:e\\f*[x]@1000\n"


def script_of(kind, name, **dump):
    launcher = next(launcher for launcher in LAUNCHERS if launcher.NAME == name)
    return launcher.script({"dump": dict({"kind": kind, "machine": "x86_64"}, **dump)})


def lay_out(host, kind, archive):
    return host.lay_out(archive) if kind == "core" else host.lay_out_kernel(archive)


@pytest.fixture
def archive(host, kind, name):
    """An archive of this kind, and its debugger installed."""
    host.install(KINDS[kind][name])
    return lay_out(host, kind, host.base / "archive")


def names(kind):
    return [launcher.NAME for launcher in LAUNCHERS if launcher.applies_to({"dump": {"kind": kind}})]


def test_which_launcher_is_for_which_dump():
    assert names("core") == list(CORE)
    for kind in ("vmcore-elf", "kdump-compressed", "kdump-flattened", "elf-flattened"):
        assert names(kind) == list(KERNEL)
    assert names("lkcd") == names("vmware-vmss") == ["run-crash.sh"]


@case
def test_no_word_of_the_manifest_stands_in_the_script(kind, name):
    """Machine, comm or path: even a machine's name is only ever a key of the launcher's own table."""
    evil = "$(touch pwned)"
    plain = script_of(kind, name, machine="machine-of-no-table")
    assert "pwned" not in plain
    for version in (evil, [evil, evil], [6, evil], [6], {"6": 12}, ["6", "12"]):
        assert plain == script_of(
            kind, name, machine=evil, bits=evil, endian=evil, kernel_version=version, parts=evil,
            process={"comm": evil}, kernel={"release": evil}, path=evil,
        )  # fmt: skip


@case
def test_nothing_is_left_to_fill_in(kind, name):
    assert re.findall(r"@[A-Z]+@", script_of(kind, name)) == []


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
@case
def test_shellcheck_has_no_complaint(kind, name, tmp_path):
    path = tmp_path / name
    path.write_text(script_of(kind, name, kernel_version=[6, 12], parts=3))
    done = subprocess.run(["shellcheck", "-s", "sh", str(path)], stdout=subprocess.PIPE, universal_newlines=True)
    assert done.stdout == ""


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@case
@pytest.mark.parametrize("folder", ["plain", ODD])
def test_works_in_any_folder_and_from_any_directory(host, kind, name, folder, shell):
    if not shutil.which(shell[0]):
        pytest.skip("no %s here" % shell[0])
    host.install(KINDS[kind][name])
    (host.base / folder).mkdir()
    archive = lay_out(host, kind, host.base / folder / "archive-core.2")
    elsewhere = host.base / "else where"
    elsewhere.mkdir()
    script = os.path.relpath(str(archive / name), str(elsewhere))
    call = host.call([script, "-x", "my file"], cwd=elsewhere, shell=shell)
    assert call.args[-2:] == ["-x", "my file"]
    assert call.debuginfod == "unset"
    assert os.path.basename(call.program) == KINDS[kind][name]
    assert call.archive == (str(archive) if folder == "plain" else "/proc/self/fd/9")
    assert call.archive + "/.savedump/dump" in call.args
    assert not list(host.base.rglob("pwned"))


@case
def test_no_odd_character_reaches_the_debugger(host, kind, name):
    host.install(KINDS[kind][name])
    (host.base / ODD).mkdir()
    archive = lay_out(host, kind, host.base / ODD / "archive-core.2")
    call = host.call([archive / name], cwd=archive)
    assert not [word for word in call.args if "touch" in word or "\\f" in word or "@1000" in word]


@case
def test_called_through_links(host, kind, name, archive):
    (host.base / "one").symlink_to("two")
    (host.base / "two").symlink_to("archive/" + name)
    assert host.call(["./one"]).archive == str(archive)


@case
def test_called_by_its_bare_name(host, kind, name, archive):
    assert host.call([name], cwd=archive, shell=["sh"]).archive == str(archive)


@case
def test_no_debuginfod(host, kind, name, archive):
    assert host.call([archive / name], DEBUGINFOD_URLS="http://127.0.0.1:9/").debuginfod == "unset"


@case
def test_no_debugger_is_a_sentence(host, kind, name):
    archive = lay_out(host, kind, host.base / "archive")
    done = host.run([archive / name])
    assert done.returncode == 69
    assert done.stdout == ""
    assert "%s is not installed: install" % KINDS[kind][name] in done.stderr
    assert len(done.stderr.splitlines()) == 1


@case
def test_another_debugger_can_be_named(host, kind, name, archive):
    debugger = KINDS[kind][name]
    other = host.base / "other bin"
    other.mkdir()
    shutil.copy(str(host.bin / debugger), str(other / "mine"))
    variable = "SAVEDUMP_" + debugger.upper()
    assert host.call([archive / name], **{variable: str(other / "mine")}).program == "mine"
    done = host.run([archive / name], **{variable: str(other / "none")})
    assert done.returncode == 69 and str(other / "none") in done.stderr


@case
def test_an_archive_without_its_dump(host, kind, name, archive):
    (archive / os.readlink(str(archive / ".savedump/dump")).replace("../", "")).unlink()
    done = host.run([archive / name])
    assert done.returncode == 66 and "the dump is not there" in done.stderr


@pytest.mark.parametrize(
    "kind, name, link",
    [("core", name, link) for name in CORE for link in ("dump", "executable")]
    + [("kdump-compressed", name, link) for name in KERNEL for link in ("dump", "vmlinux", "modules")],
)
def test_a_link_out_of_the_archive_is_refused(host, kind, name, link, archive):
    (host.base / "outside").write_bytes(b"")
    (archive / ".savedump" / link).unlink()
    (archive / ".savedump" / link).symlink_to("../../outside")
    done = host.run([archive / name])
    assert done.returncode == 65 and "leads outside" in done.stderr
    assert not host.record.exists()


@pytest.mark.parametrize("name", sorted(CORE))
def test_without_the_executable(host, name):
    host.install(CORE[name])
    (host.archive / ".savedump/executable").unlink()
    call = host.call([host.archive / name])
    assert "the executable is not in this archive" in call.stderr
    assert not [word for word in call.args if word.endswith("/executable")]


@pytest.mark.parametrize("name", sorted(KERNEL))
def test_without_vmlinux(kernel_host, name):
    """It is said what to do, and where the log is. drgn alone can do something without."""
    host = kernel_host
    host.install(KERNEL[name])
    (host.archive / ".savedump/vmlinux").unlink()
    done = host.run([host.archive / name])
    assert done.returncode == (0 if KERNEL[name] == "drgn" else 66)
    assert "vmlinux is not in this archive" in done.stderr and "savedump complete ARCHIVE" in done.stderr
    assert "dmesg.txt" not in done.stderr
    assert host.record.exists() is (KERNEL[name] == "drgn")
    (host.archive / "dmesg.txt").write_text("")
    assert "the kernel's log is in dmesg.txt" in host.run([host.archive / name]).stderr


@pytest.mark.parametrize("name", sorted(KERNEL))
def test_another_vmlinux_and_another_dump_can_be_named(kernel_host, name):
    host = kernel_host
    host.install(KERNEL[name])
    (host.archive / ".savedump/vmlinux").unlink()
    for mine in ("my.vmlinux", "my.dump"):
        (host.base / mine).write_bytes(b"")
    call = host.call([host.archive / name], SAVEDUMP_VMLINUX="my.vmlinux", SAVEDUMP_DUMP="my.dump")
    assert "my.vmlinux" in call.args and "my.dump" in call.args
    assert not [word for word in call.args if word.endswith("/.savedump/dump")]
    for variable in ("SAVEDUMP_VMLINUX", "SAVEDUMP_DUMP"):
        done = host.run([host.archive / name], **{variable: "none"})
        assert done.returncode == 66 and "none, named in %s, is not there" % variable in done.stderr


@pytest.mark.parametrize("name", sorted(KERNEL))
def test_split_sets(host, name):
    """crash takes all parts; the others say how to join them."""
    host.install(KERNEL[name])
    archive = host.lay_out_kernel(host.base / "archive-split", parts=12)
    if name == "run-crash.sh":
        call = host.call([archive / name])
        paths = ["%s/.savedump/parts/%d" % (archive, part) for part in range(1, 13)]
        assert [word for word in call.args if "/parts/" in word] == paths
        assert "%s/.savedump/dump" % archive not in call.args
    else:
        done = host.run([archive / name])
        assert done.returncode == 69
        assert "does not open a split set" in done.stderr
        assert "makedumpfile --reassemble .savedump/parts/1 ... .savedump/parts/12 WHOLE" in done.stderr
        (host.base / "WHOLE").write_bytes(b"")
        assert "WHOLE" in host.call([archive / name], SAVEDUMP_DUMP="WHOLE").args


@pytest.mark.parametrize("name", sorted(KERNEL))
def test_a_split_set_that_is_not_whole(host, name):
    host.install(KERNEL[name])
    archive = host.lay_out_kernel(host.base / "archive-split", parts=3)
    (archive / "vmcore.2").unlink()
    done = host.run([archive / name])
    assert done.returncode == 66 and "part 2 of the dump's 3 is not there" in done.stderr
    (host.base / "outside").write_bytes(b"")
    (archive / ".savedump/parts/2").unlink()
    (archive / ".savedump/parts/2").symlink_to("../../../outside")
    done = host.run([archive / name])
    assert done.returncode == 65 and "leads outside" in done.stderr
