# SPDX-License-Identifier: Apache-2.0
"""What run-drgn.sh tells drgn."""

import pytest

OLD = "usage: drgn [-h] [-k | -c PATH | -p PID] [-s PATH] [--main-symbols | --no-default-symbols] [-q] [--version] ..."


def test_reads_the_archive(host):
    host.install("drgn")
    top = str(host.archive)
    call = host.call([host.archive / "run-drgn.sh", "script.py", "--flag"])
    assert call.args == [
        "-q", "-c", top + "/.savedump/dump",
        "--no-default-debug-directories", "--debug-directory", top + "/usr/lib/debug",
        "--no-default-debug-link-directories",
        "--debug-link-directory", "$ORIGIN", "--debug-link-directory", "$ORIGIN/.debug",
        "--no-symbols-by", "module-name",
        "script.py", "--flag",
    ]  # fmt: skip
    assert call.directory == str(host.base)


def test_a_drgn_without_these_options_is_not_used(host):
    host.install("drgn")
    done = host.run([host.archive / "run-drgn.sh"], FAKE_HELP=OLD)
    assert done.returncode == 69 and "too old" in done.stderr


def test_kernel_reads_the_archive(kernel_host):
    host = kernel_host
    host.install("drgn")
    top = str(host.archive)
    call = host.call([host.archive / "run-drgn.sh", "script.py", "--flag"])
    assert call.args == [
        "-c", top + "/.savedump/dump",
        "--architecture", "x86_64",
        "-s", top + "/.savedump/vmlinux",
        "--no-default-debug-directories", "--debug-directory", top + "/usr/lib/debug",
        "--no-default-debug-link-directories", "--no-default-kernel-directories", "--no-symbols-by", "module-name",
        "script.py", "--flag",
    ]  # fmt: skip
    assert call.directory == str(host.base)
    assert call.stderr == ""


def test_kernel_with_an_old_drgn_goes_by_the_names_of_the_files(kernel_host):
    host = kernel_host
    host.install("drgn")
    top = str(host.archive)
    modules = top + "/.savedump/modules/"
    call = host.call([host.archive / "run-drgn.sh", "script.py"], FAKE_HELP=OLD)
    assert call.args == [
        "-c", top + "/.savedump/dump",
        "-s", top + "/.savedump/vmlinux",
        "--no-default-symbols",
        "-s", modules + "updates/dkms/my-own-mod.ko.debug",
        "-s", modules + "kernel/crypto/crc32c-intel.ko",
        "script.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "kind, machine, told",
    [
        ("kdump-compressed", "aarch64", ["aarch64"]),
        ("kdump-flattened", "ppc64le", ["ppc64"]),
        ("kdump-compressed", "ppc64", []),
        ("kdump-compressed", "machine-of-no-table", []),
        ("vmcore-elf", "x86_64", []),
        ("elf-flattened", "x86_64", []),
    ],
)
def test_kernel_machine_is_told_where_a_kdump_file_may_not_say_it(kernel_host, kind, machine, told):
    host = kernel_host
    host.install("drgn")
    host.write_kernel_launchers(host.archive, kind=kind, machine=machine)
    assert host.call([host.archive / "run-drgn.sh"]).after("--architecture") == told


def test_kernel_vmcoreinfo_that_the_dump_does_not_name(kernel_host):
    host = kernel_host
    host.install("drgn")
    path = host.archive / ".savedump/vmcoreinfo"
    path.write_text("OSRELEASE=6.1.0-test\n")
    assert host.call([host.archive / "run-drgn.sh"]).after("--vmcoreinfo") == [str(path)]
    assert not host.call([host.archive / "run-drgn.sh"], FAKE_HELP=OLD).after("--vmcoreinfo")


def test_kernel_debug_information_in_a_file_of_its_own(kernel_host):
    host = kernel_host
    host.install("drgn")
    (host.archive / "vmlinux-6.1.0-test.debug").write_bytes(b"")
    (host.archive / ".savedump/vmlinux.debug").symlink_to("../vmlinux-6.1.0-test.debug")
    call = host.call([host.archive / "run-drgn.sh"])
    own = str(host.archive / ".savedump")
    assert call.after("-s") == [own + "/vmlinux.debug", own + "/vmlinux"]
    assert "eu-unstrip -o WHOLE" in call.stderr
