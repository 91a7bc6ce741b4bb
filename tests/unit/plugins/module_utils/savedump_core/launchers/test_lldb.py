# SPDX-License-Identifier: Apache-2.0
"""Which lldb run-lldb.sh takes, and what it tells it."""

ODD = "with 'quotes' and spaces"


def test_reads_the_archive(host):
    host.install("lldb")
    top = str(host.archive)
    call = host.call([host.archive / "run-lldb.sh", "-b"])
    assert call.args == [
        "--no-lldbinit",
        "-O", "settings set symbols.enable-external-lookup false",
        "-O", "settings set target.load-script-from-symbol-file false",
        "-O", "settings set target.debug-file-search-paths %s/usr/lib/debug" % top,
        "-O", "settings set target.exec-search-paths %s/.savedump/solib" % top,
        "-O", "platform select remote-linux --sysroot %s" % top,
        "--core", "%s/.savedump/dump" % top,
        "--file", "%s/usr/bin/prog" % top,
        "-b",
    ]  # fmt: skip
    assert call.directory == str(host.base)


def test_an_executable_of_an_odd_name_goes_by_its_link(host):
    host.install("lldb")
    (host.archive / "usr/bin" / ODD).write_bytes(b"")
    (host.archive / ".savedump/executable").unlink()
    (host.archive / ".savedump/executable").symlink_to("../usr/bin/" + ODD)
    call = host.call([host.archive / "run-lldb.sh"])
    assert call.after("--file") == [str(host.archive / ".savedump/executable")]


def test_takes_the_newest_where_none_is_plain(host):
    host.install("lldb-9", "lldb-14", "lldb-dap-19", "lldb-19.sh")
    assert host.call([host.archive / "run-lldb.sh"]).program == "lldb-14"
    host.install("lldb")
    assert host.call([host.archive / "run-lldb.sh"]).program == "lldb"


def test_an_old_lldb_is_not_used(host):
    host.install("lldb")
    done = host.run([host.archive / "run-lldb.sh"], FAKE_VERSION="7.0.1")
    assert done.returncode == 69 and "older than version 11" in done.stderr


def test_scripts_of_the_archive_run_on_request_only(host):
    host.install("lldb")
    call = host.call([host.archive / "run-lldb.sh"], SAVEDUMP_AUTO_LOAD="1")
    assert "settings set target.load-script-from-symbol-file true" in call.after("-O")
