# SPDX-License-Identifier: Apache-2.0
"""Which sdb run-sdb.sh takes, and what it tells it."""

import pytest


@pytest.fixture
def host(kernel_host):
    kernel_host.install("sdb")
    return kernel_host


def test_reads_the_archive(host):
    own = str(host.archive / ".savedump")
    call = host.call([host.archive / "run-sdb.sh", "-e", "stacks"])
    assert call.args == ["-A", own + "/vmlinux", own + "/dump", "-s", own + "/modules/", "-e", "stacks"]
    assert call.directory == str(host.base)


def test_debug_information_in_a_file_of_its_own(host):
    (host.archive / "vmlinux-6.1.0-test.debug").write_bytes(b"")
    (host.archive / ".savedump/vmlinux.debug").symlink_to("../vmlinux-6.1.0-test.debug")
    own = str(host.archive / ".savedump")
    assert host.call([host.archive / "run-sdb.sh"]).after("-s") == [own + "/vmlinux.debug", own + "/modules/"]


def test_another_program_of_the_name(host):
    """PyPI's sdb keeps passwords, Tizen's talks to phones, Mono's debugs .NET."""
    done = host.run([host.archive / "run-sdb.sh"], FAKE_HELP="usage: sdb [-h] {add,show}")
    assert done.returncode == 69 and "is not the Slick Debugger" in done.stderr
    assert not host.record.exists()
