# SPDX-License-Identifier: Apache-2.0
"""Which crash run-crash.sh takes, what it hands it, and what it does when crash gives up."""

import pytest

from savedump_core.launchers import crash


@pytest.fixture
def host(kernel_host):
    kernel_host.install("crash")
    return kernel_host


def test_reads_the_archive(host):
    call = host.call([host.archive / "run-crash.sh", "-s"])
    own = str(host.archive / ".savedump")
    assert call.args[:2] == ["--no_crashrc", "-i"]
    assert call.args[3:] == [own + "/vmlinux", own + "/dump", "-s"]
    assert call.directory == str(host.base)
    assert call.stderr == ""


def test_each_module_is_loaded_by_its_file(host):
    """ "mod -S" would hand names out of the dump to a shell, and look at this machine's folders."""
    host.call([host.archive / "run-crash.sh"])
    modules = str(host.archive / ".savedump/modules")
    assert host.commands()[1:] == [
        "gdb set debug-file-directory %s/usr/lib/debug > /dev/null" % host.archive,
        "mod -s crc32c_intel %s/kernel/crypto/crc32c-intel.ko > /dev/null" % modules,
        "mod -s my_own_mod %s/updates/dkms/my-own-mod.ko.debug > /dev/null" % modules,
    ]


def test_no_name_of_a_file_becomes_a_command(host):
    folder = host.archive / "usr/lib/debug/lib/modules/6.1.0-test"
    for name in ("a|touch pwned.ko", "b\n!touch pwned\n.ko", "$(touch pwned).ko", "c d.ko"):
        (folder / name).write_bytes(b"")
    (folder / "link.ko").symlink_to("/etc/passwd")
    host.call([host.archive / "run-crash.sh"])
    assert len([line for line in host.commands() if line.startswith("mod -s ")]) == 2
    assert "pwned" not in "\n".join(host.commands())


def test_commands_of_the_user_come_last(host):
    """crash takes one -i, whose name it splits at spaces."""
    (host.base / "my file").write_text("bt\nlog")
    (host.base / "more").write_text("ps\n")
    call = host.call([host.archive / "run-crash.sh", "-si", "my file", "-imore", "-x"])
    assert host.commands()[-4:] == ["bt", "log", "ps", ""]
    assert call.args[-2:] == ["-s", "-x"]
    assert call.args.count("-i") == 1


@pytest.mark.parametrize(
    "words, status, said", [(["-i", "none"], 66, "commands in none"), (["-i"], 64, "needs a file")]
)
def test_no_commands_to_read(host, words, status, said):
    done = host.run([host.archive / "run-crash.sh"] + words)
    assert done.returncode == status and said in done.stderr
    assert not host.record.exists() and not list(host.tmp.iterdir())


def test_nothing_is_left_behind(host):
    host.call([host.archive / "run-crash.sh"])
    host.run([host.archive / "run-crash.sh"], FAKE_STOPS="full --no_modules --minimal")
    assert not list(host.tmp.iterdir())


def test_a_folder_for_temporary_files_that_crash_cannot_be_told(host):
    (host.base / "my tmp").mkdir()
    call = host.call([host.archive / "run-crash.sh"], TMPDIR=str(host.base / "my tmp"))
    assert call.args[2].startswith("/tmp/run-crash.")


@pytest.mark.parametrize("words", [["-v"], ["--version"], ["-h", "bt"], ["--help"], ["--buildinfo"]])
def test_what_crash_answers_by_itself(host, words):
    (host.archive / ".savedump/vmlinux").unlink()
    done = host.run([host.archive / "run-crash.sh"] + words)
    assert done.returncode == 0 and "vmlinux" not in done.stderr


@pytest.mark.parametrize("option", ["--osrelease", "--log"])
def test_what_needs_no_vmlinux(host, option):
    (host.archive / ".savedump/vmlinux").unlink()
    dump = str(host.archive / ".savedump/dump")
    assert host.call([host.archive / "run-crash.sh", option]).args == [option, dump]


def test_end_of_input_is_no_failure(host):
    """crash's exit status is 1 then, as it is when it does not open the dump."""
    assert host.run([host.archive / "run-crash.sh"], FAKE_STATUS="1").returncode == 0
    assert host.run([host.archive / "run-crash.sh"], FAKE_STATUS="3").returncode == 3
    assert host.modes() == ["full", "full"]


@pytest.mark.parametrize(
    "stops, modes, status",
    [
        ("full", ["full", "--no_modules"], 0),
        ("full --no_modules", ["full", "--no_modules", "--minimal"], 0),
        ("full --no_modules --minimal", ["full", "--no_modules", "--minimal"], 69),
    ],
)
def test_when_crash_gives_up_it_is_asked_for_less(host, stops, modes, status):
    (host.base / "mine").write_text("log\n")
    done = host.run([host.archive / "run-crash.sh", "-i", "mine", "-s"], FAKE_STOPS=stops)
    assert done.returncode == status
    assert host.modes() == modes
    assert done.stderr.count("Trying it with") == len(modes) - 1
    assert ("crash 8.0.2 does not open this dump" in done.stderr) is (status == 69)
    if not status:
        assert host.commands()[1:] == ["log", ""]


@pytest.mark.parametrize("option", ["--minimal", "--no_modules"])
def test_the_user_may_ask_for_less(host, option):
    call = host.call([host.archive / "run-crash.sh", option])
    assert call.args[-1] == option and call.args.count(option) == 1
    assert len(host.commands()) == 1
    done = host.run([host.archive / "run-crash.sh", option], FAKE_STOPS=option)
    assert done.returncode == 69 and "Trying" not in done.stderr


@pytest.mark.parametrize("status", [0, 130])
def test_crash_that_has_answered_or_was_interrupted_is_not_started_again(host, status):
    done = host.run([host.archive / "run-crash.sh", "-t"], FAKE_STOPS="full", FAKE_STATUS=str(status))
    assert done.returncode == status and host.modes() == ["full"] and done.stderr == ""


@pytest.mark.parametrize(
    "kernel, version, needed",
    [
        ([6, 12], "8.0.2", "8.0.6"),
        ([6, 11], "8.0.5", "8.0.6"),
        ([6, 12], "8.0.6-1ubuntu2", None),
        ([6, 12], "9.0.0++", None),
        ([6, 10], "8.0.5", None),
        ([6, 4], "8.0.3", "8.0.4"),
        ([7, 2], "9.0.2", "9.0.3"),
        ([7, 2], "10.0", None),
        ([5, 10], "7.2.9", "7.3.0"),
        ([5, 4], "7.2.5-2.el8", None),
        (None, "6.0.0", None),
    ],
)
def test_a_crash_that_is_too_old_for_the_kernel(host, kernel, version, needed):
    host.write_kernel_launchers(host.archive, kernel_version=kernel)
    call = host.call([host.archive / "run-crash.sh"], FAKE_CRASH=version)
    if needed:
        sentence = "this kernel (%d.%d) needs crash %s or newer, and yours is " % (kernel[0], kernel[1], needed)
        assert sentence in call.stderr and "SAVEDUMP_CRASH" in call.stderr
        done = host.run([host.archive / "run-crash.sh"], FAKE_CRASH=version, FAKE_STOPS="full --no_modules --minimal")
        assert done.returncode == 69 and done.stderr.count(sentence) == 2
    else:
        assert call.stderr == ""


def test_another_program_of_the_name(host):
    (host.bin / "crash").write_text("#!/bin/sh\necho 'Crash Bandicoot 1.0'\n")
    done = host.run([host.archive / "run-crash.sh"])
    assert done.returncode == 69 and "is not the crash utility" in done.stderr


@pytest.mark.parametrize("machine, target", [("aarch64", "ARM64"), ("ppc64", "PPC64"), ("s390x", "S390X")])
def test_a_crash_for_another_machine(host, machine, target):
    host.write_kernel_launchers(host.archive, machine=machine)
    done = host.run([host.archive / "run-crash.sh"])
    assert done.returncode == 69 and not host.record.exists()
    assert "reads dumps of X86_64 alone" in done.stderr
    assert "(%s)" % machine in done.stderr and "make target=%s" % target in done.stderr
    assert "run-drgn.sh" in done.stderr
    assert host.call([host.archive / "run-crash.sh"], FAKE_TARGET=target).stderr == ""


@pytest.mark.parametrize("machine, target", [("x86_64", ""), ("machine-of-no-table", "X86_64")])
def test_what_is_not_known_of_the_machine_is_no_mismatch(host, machine, target):
    host.write_kernel_launchers(host.archive, machine=machine)
    assert host.call([host.archive / "run-crash.sh"], FAKE_TARGET=target or "X86_64").stderr == ""


def test_debug_information_in_a_file_of_its_own(host):
    (host.archive / "vmlinux-6.1.0-test.debug").write_bytes(b"")
    (host.archive / ".savedump/vmlinux.debug").symlink_to("../vmlinux-6.1.0-test.debug")
    own = str(host.archive / ".savedump")
    assert host.call([host.archive / "run-crash.sh"]).args[3:] == [
        own + "/vmlinux", own + "/vmlinux.debug", own + "/dump",
    ]  # fmt: skip


def test_without_modules(host):
    (host.archive / ".savedump/modules").unlink()
    host.call([host.archive / "run-crash.sh"])
    assert not [line for line in host.commands() if line.startswith("mod ")]


def test_flattened_elf(host):
    host.write_kernel_launchers(host.archive, kind="elf-flattened")
    assert host.call([host.archive / "run-crash.sh"]).stderr == ""
    done = host.run([host.archive / "run-crash.sh"], FAKE_STOPS="full --no_modules --minimal")
    assert "makedumpfile -R WHOLE" in done.stderr and done.returncode == 69


@pytest.mark.parametrize("variable", ["SAVEDUMP_VMLINUX", "SAVEDUMP_DUMP"])
def test_a_file_that_crash_cannot_be_told(host, variable):
    (host.base / "my file").write_bytes(b"")
    done = host.run([host.archive / "run-crash.sh"], **{variable: "my file"})
    assert done.returncode == 69 and "put my file in a path of" in done.stderr


def test_no_word_of_drgn_where_it_has_no_launcher(host):
    stops = "full --no_modules --minimal"
    assert "run-drgn.sh" in host.run([host.archive / "run-crash.sh"], FAKE_STOPS=stops).stderr
    (host.archive / "run-drgn.sh").unlink()
    assert "run-drgn.sh" not in host.run([host.archive / "run-crash.sh"], FAKE_STOPS=stops).stderr


def test_the_needs_are_in_order():
    assert list(crash._NEEDS) == sorted(crash._NEEDS, reverse=True)
