# SPDX-License-Identifier: Apache-2.0
"""What run-pycrash.sh starts: drgn's crash mode, or crash-python if it is named."""

import pytest

from savedump_core.launchers import pycrash


@pytest.fixture
def host(kernel_host):
    kernel_host.install("drgn", "pycrash")
    return kernel_host


def test_enters_the_crash_mode_of_drgn(host):
    top = str(host.archive)
    call = host.call([host.archive / "run-pycrash.sh", "bt", "-l"])
    assert call.program == "drgn"
    assert call.args[:2] == ["-c", top + "/.savedump/dump"]
    assert call.after("--debug-directory") == [top + "/usr/lib/debug"]
    (code,) = call.after("-e")
    assert call.args[-3:] == [code, "bt", "-l"]
    compile(code, "run-pycrash.sh", "exec")


def test_the_code_for_drgn_has_no_apostrophe():
    """The shell holds it in single quotes."""
    code = pycrash._ENTER.split("enter='", 1)[1].split("\n'\n", 1)[0]
    assert "'" not in code and "run_command" in code


def test_a_drgn_without_that_mode(host):
    done = host.run([host.archive / "run-pycrash.sh"], FAKE_HELP="--no-default-debug-link-directories")
    assert done.returncode == 69 and "install drgn 0.1.0 or newer" in done.stderr
    assert not host.record.exists()


def test_crash_python_on_request(host):
    top = str(host.archive)
    (host.archive / "lib/modules").mkdir(parents=True)
    call = host.call([host.archive / "run-pycrash.sh", "--gdb"], SAVEDUMP_PYCRASH="pycrash")
    assert call.program == "pycrash"
    assert call.args == [
        "-d", top + "/lib/modules", "-d", top + "/usr/lib/debug", "--gdb",
        top + "/.savedump/vmlinux", top + "/.savedump/dump",
    ]  # fmt: skip


def test_crash_python_that_is_not_there(host):
    done = host.run([host.archive / "run-pycrash.sh"], SAVEDUMP_PYCRASH="none")
    assert done.returncode == 69 and "none: pycrash is not installed" in done.stderr
