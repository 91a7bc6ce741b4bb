# SPDX-License-Identifier: Apache-2.0
"""What run-drgn.sh tells drgn."""


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
    done = host.run([host.archive / "run-drgn.sh"], FAKE_HELP="usage: drgn [-c PATH]")
    assert done.returncode == 69 and "too old" in done.stderr
