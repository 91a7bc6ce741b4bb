# SPDX-License-Identifier: Apache-2.0
"""Which gdb run-gdb.sh takes, where it starts it, and what it lets it load."""

import pytest

from savedump_core.launchers import gdb


def settings(call):
    return dict(words[4:].rsplit(" ", 1) for words in call.after("-iex"))


def test_reads_the_archive_and_nothing_else(host):
    host.install("gdb")
    call = host.call([host.archive / "run-gdb.sh", "-batch"])
    top = str(host.archive)
    assert "-nx" in call.args
    assert settings(call) == {
        "auto-load": "off",
        "auto-load local-gdbinit": "off",
        "auto-load libthread-db": "on",
        "auto-load safe-path": top + "/.savedump/thread-db",
        "auto-load scripts-directory": top + "/usr/share/gdb/auto-load",
        "libthread-db-search-path": top + "/.savedump/thread-db",
        "sysroot": top,
        "solib-search-path": top + "/.savedump/solib",
        "debug-file-directory": top + "/usr/lib/debug",
        "debuginfod enabled": "off",
    }
    assert call.after("-se") == [top + "/.savedump/executable"]


@pytest.mark.parametrize(
    "machine, uname, installed, lacks, taken",
    [
        ("x86_64", "x86_64", ["gdb", "gdb-multiarch"], "", "gdb"),
        ("x86_64", "x86_64", ["gdb-multiarch"], "", "gdb-multiarch"),
        ("i386", "x86_64", ["gdb", "gdb-multiarch"], "", "gdb"),
        ("aarch64", "x86_64", ["gdb", "gdb-multiarch"], "", "gdb-multiarch"),
        ("aarch64", "x86_64", ["gdb"], "", "gdb"),
        ("x86_64", "aarch64", ["gdb", "gdb-multiarch"], "", "gdb-multiarch"),
        ("riscv64", "riscv64", ["gdb"], "", "gdb"),
        ("machine-of-no-table", "x86_64", ["gdb", "gdb-multiarch"], "", "gdb-multiarch"),
    ],
)
def test_chooses_by_machine(host, machine, uname, installed, lacks, taken):
    host.install(*installed)
    host.uname(uname)
    host.write_launchers(host.archive, machine)
    call = host.call([host.archive / "run-gdb.sh"])
    assert call.program == taken


def test_a_gdb_that_does_not_know_the_machine_is_not_used(host):
    host.install("gdb")
    host.write_launchers(host.archive, "aarch64")
    host.uname("x86_64")
    done = host.run([host.archive / "run-gdb.sh"], FAKE_LACKS="aarch64")
    assert done.returncode == 69
    assert "does not know the machine of this dump (aarch64): install gdb-multiarch" in done.stderr


def test_an_old_gdb_is_not_used(host):
    host.install("gdb")
    done = host.run([host.archive / "run-gdb.sh"], FAKE_VERSION="7.6.1")
    assert done.returncode == 69 and "older than version 8" in done.stderr


def test_no_debuginfod_command_before_gdb_12(host):
    host.install("gdb")
    assert "debuginfod enabled" not in settings(host.call([host.archive / "run-gdb.sh"], FAKE_VERSION="11.2"))


def test_starts_away_from_the_caller_and_goes_back(host):
    """gdb opens the relative name of a library in its working directory before it looks anywhere else."""
    host.install("gdb")
    (host.base / "mine").mkdir()
    call = host.call([host.archive / "run-gdb.sh", "-ex", "bt"], cwd=host.base / "mine")
    assert call.directory == str(host.archive / ".savedump")
    assert call.after("-ex")[-2:] == ["cd %s" % (host.base / "mine"), "bt"]


def test_goes_back_to_a_directory_of_any_name(host):
    host.install("gdb")
    (host.base / "mine\n$x").mkdir()
    call = host.call([host.archive / "run-gdb.sh"], cwd=host.base / "mine\n$x")
    assert call.after("-ex")[-1] == "cd /proc/self/fd/8"


def test_stays_where_libraries_have_relative_names_that_end_alike(host):
    host.install("gdb")
    (host.archive / ".savedump/solib/plugins").mkdir()
    call = host.call([host.archive / "run-gdb.sh"])
    assert call.directory == str(host.archive / ".savedump/solib")
    assert not [words for words in call.after("-ex") if words.startswith("cd ")]
    assert "gdb stays in" in call.stderr


def test_scripts_of_the_archive_run_on_request_only(host):
    host.install("gdb")
    given = settings(host.call([host.archive / "run-gdb.sh"], SAVEDUMP_AUTO_LOAD="1"))
    assert (given["auto-load"], given["auto-load safe-path"]) == ("on", str(host.archive))
    given = settings(host.call([host.archive / "run-gdb.sh"], SAVEDUMP_AUTO_LOAD="0"))
    assert (given["auto-load"], given["auto-load safe-path"]) == ("off", str(host.archive / ".savedump/thread-db"))


def test_libthread_db_only_where_it_works(host):
    host.install("gdb", "gdb-multiarch")

    def thread_db(**env):
        return settings(host.call([host.archive / "run-gdb.sh"], **env))["auto-load libthread-db"]

    assert thread_db() == "on"
    assert thread_db(SAVEDUMP_THREAD_DB="0") == "off"
    host.write_launchers(host.archive, "s390x")
    assert thread_db() == "off"
    host.write_launchers(host.archive, "x86_64")
    (host.archive / ".savedump/executable").unlink()
    assert thread_db() == "off"


def test_without_the_executable_libraries_are_asked_for(host):
    host.install("gdb")
    (host.archive / ".savedump/executable").unlink()
    call = host.call([host.archive / "run-gdb.sh", "-ex", "bt"])
    assert call.after("-ex")[0] == "sharedlibrary"
    assert "-se" not in call.args


def test_what_was_loaded_is_compared(host):
    host.install("gdb")
    call = host.call([host.archive / "run-gdb.sh"])
    code = [words for words in call.after("-ex") if words.startswith("python\n")]
    assert len(code) == 1
    compile(code[0].split("\n", 1)[1], "run-gdb.sh", "exec")


def test_without_python_it_says_what_is_not_compared(host):
    host.install("gdb")
    call = host.call([host.archive / "run-gdb.sh"], FAKE_PYTHON="no")
    assert not [words for words in call.after("-ex") if words.startswith("python")]
    assert "no Python" in call.stderr


def test_the_code_for_gdb_has_no_apostrophe():
    """The shell holds it in single quotes."""
    code = gdb._COMPARE.split("compare='", 1)[1]
    assert code.count("'") == 1 and code.rstrip().endswith("'")
