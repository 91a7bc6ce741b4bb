# SPDX-License-Identifier: Apache-2.0
"""core_pattern is the kernel's and is never written here: a sysroot gives each case a pattern of its own."""

import errno
import os

import pytest

from savedump_core.stores import core_pattern, given, place
from savedump_core.stores.place import Looked
from savedump_core.sysroot import Sysroot


@pytest.fixture
def host(tmp_path):
    class Host:
        root = str(tmp_path)

        def pattern(self, text):
            self.put("/proc/sys/kernel/core_pattern", (text + "\n").encode())

        def put(self, path, content=b""):
            at = self.root + path
            os.makedirs(os.path.dirname(at), exist_ok=True)
            with open(at, "wb") as file:
                file.write(content)
            return at

        def entries(self):
            items = list(core_pattern.entries(Sysroot(self.root)))
            return [i.path for i in items if not isinstance(i, Looked)], [i for i in items if isinstance(i, Looked)]

    return Host()


@pytest.mark.parametrize(
    "pattern, there, others",
    [
        (
            "/cores/core",
            ["/cores/core", "/cores/core.123", "/cores/core.zst"],
            ["/cores/score", "/cores/core.x", "/core"],
        ),
        ("/cores/core.%e.%p", ["/cores/core.my prog.1", "/cores/core..1"], ["/cores/core.prog.x", "/cores/x/core.a.1"]),
        ("/cores/%%-%h-%t", ["/cores/%-node1-99"], ["/cores/-node1-99"]),
        ("/cores/%e/%E.%p.core", ["/cores/prog/!usr!bin!prog.1.core"], ["/cores/prog/x/1.core"]),
        ("/cores/dump%", ["/cores/dump"], ["/cores/dump%"]),
    ],
)
def test_absolute_pattern(host, pattern, there, others):
    host.pattern(pattern)
    expected = [host.put(path) for path in there]
    for path in others:
        host.put(path)
    assert sorted(host.entries()[0]) == sorted(expected)


def test_relative_pattern_looks_in_customary_folders_and_says_so(host):
    host.pattern("core")
    at = host.put("/var/crash/core.77")
    found, looked = host.entries()
    assert found == [at]
    assert looked[0] == Looked("core_pattern", "core", "relative: each core lies in its process's working directory")
    assert host.root + "/var/crash" in [one.where for one in looked]


def test_relative_pattern_with_a_folder(host):
    host.pattern("cores/core.%p")
    expected = [host.put("/cores/core.1"), host.put("/var/tmp/cores/core.2")]
    host.put("/var/tmp/core.3")
    found, looked = host.entries()
    assert found == expected
    assert [one.where for one in looked[1:]] == [host.root + "/cores", host.root + "/var/tmp/cores"]


def test_relative_pattern_with_a_folder_of_the_process(host):
    host.pattern("cores/%e/core")
    expected = [host.put("/tmp/cores/prog/core")]
    host.put("/tmp/cores/core")
    assert host.entries()[0] == expected


def test_relative_pattern_that_begins_with_a_folder_of_the_process(host):
    host.pattern("%e/core.%p")
    expected = [host.put("/var/crash/prog/core.1")]
    host.put("/var/crash/prog/x/core.2")
    assert host.entries()[0] == expected


def test_relative_folder_behind_a_link_stays_beneath_the_root(host, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "core.1").write_bytes(b"")
    host.pattern("cores/core.%p")
    at = host.put("/cores/core.1")
    os.mkdir(host.root + "/tmp")
    os.symlink(str(outside), host.root + "/tmp/cores")
    assert host.entries()[0] == [at]


def test_setting_that_is_a_fifo_is_not_waited_for(host):
    host.pattern("/cores/core")
    at = host.root + "/proc/sys/kernel/core_pattern"
    os.unlink(at)
    os.mkfifo(at)
    # Else the test that fails would wait, too.
    writer = os.open(at, os.O_RDWR)
    os.write(writer, b"/cores/core\n" * 400)
    try:
        assert core_pattern.pattern_of(Sysroot(host.root)) == "core"
    finally:
        os.close(writer)


def test_setting_behind_a_link_is_not_read_outside_the_root(host, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "pattern"
    outside.write_text("/outside/core\n")
    host.pattern("/cores/core")
    at = host.root + "/proc/sys/kernel/core_pattern"
    os.unlink(at)
    os.symlink(str(outside), at)
    assert core_pattern.pattern_of(Sysroot(host.root)) == "core"
    os.unlink(at)
    host.put("/etc/pattern", b"/cores/core \n")
    os.symlink("/etc/pattern", at)
    assert core_pattern.pattern_of(Sysroot(host.root)) == "/cores/core "


def test_setting_of_this_host_is_read_though_its_size_is_0():
    with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as file:
        assert core_pattern.pattern_of(Sysroot("/")) == (file.read().rstrip("\n") or "core")


@pytest.mark.parametrize(
    "pattern, name, there",
    [("%e", "e" * 15, True), ("%e", "e" * 16, False), ("%h", "h" * 64, True), ("%h", "h" * 65, False),
     ("%f", "f" * 255, True), ("%f", "f" * 256, False), ("%E", "E" * 255, True), ("%E", "E" * 256, False),
     ("%t", "1" * 20, True), ("%t", "1" * 21, False), ("core.%h-%e.%p", "core.box-a.b.12.zst", True),
     ("core.%e.%h.%f.%E.%p", "core" + "." * 248 + "x", False), ("core.%e.%h.%f.%E.%p", "core....." + "1" * 20, True),
     ("core.%e.%E", "core.prog.!bin!prog.12", True)],
)  # fmt: skip
def test_no_name_is_longer_than_the_kernels(pattern, name, there):
    assert bool(core_pattern.regex_of(pattern).match(name)) is there


@pytest.mark.parametrize(
    "pattern, who",
    [
        (
            "|/usr/lib/systemd/systemd-coredump %P",
            "systemd-coredump; its files are listed as those of",
        ),
        ("@@/run/systemd/coredump.socket", "systemd-coredump"),
        ("|/usr/share/apport/apport -p%p -s%s -- %E", "apport"),
        ("|/usr/libexec/abrt-hook-ccpp %s %c", "abrt"),
        ("|/var/mnt/core-dump-handler/cdc -c=%c -d=/x", "core-dump-handler"),
        ("|/opt/own/apport-like %p", "a program; look in its own store"),
        ("@/run/own.socket", "a program; look in its own store"),
    ],
)
def test_pattern_that_hands_cores_on_is_said(host, pattern, who):
    host.pattern(pattern)
    found, looked = host.entries()
    assert found == [] and looked[0].where == pattern and who in looked[0].outcome


def test_every_letter_that_the_kernel_knows(host):
    """fs/coredump.c, format_corename; what it does not know prints nothing, and nor does a lone "%" at the end."""
    host.pattern("/cores/%p-%P-%i-%I-%u-%g-%d-%s-%t-%c-%C-%F-%h-%e-%f-%E-%%-%z%")
    at = host.put(
        "/cores/12-13-12-13-1000-1001-1-11-1700000000-18446744073709551615-3-9-box-my prog-prog-!usr!bin!p-%-"
    )
    host.put("/cores/12-13-12-13-1000-x-1-11-1700000000-18446744073709551615-3-9-box-my prog-prog-!usr!bin!p-%-")
    items = [item for item in core_pattern.entries(Sysroot(host.root)) if not isinstance(item, Looked)]
    assert [item.path for item in items] == [at]
    told = items[0].tell(items[0].path, False)
    assert (told.pid, told.uid, told.gid, told.signal, told.host) == (12, 1000, 1001, 11, "box")
    assert told.executable == "/usr/bin/p" and told.when_ns == 1700000000 * 10**9


@pytest.mark.parametrize(
    "pattern, name, there",
    [("core", "core.12", True), ("core.%p", "core.12", True), ("core.%p", "core.12.12", False),
     ("core.%P", "core.12.13", True), ("core.%%p", "core.%p.12", True), ("%", ".12", True)],
)  # fmt: skip
def test_core_uses_pid(pattern, name, there):
    """It appends the number where no %p is, and was on when the core was written, or was not."""
    assert bool(core_pattern.regex_of(pattern).match(name)) is there


def test_folder_behind_a_link_stays_beneath_the_root(host):
    host.pattern("/cores/core.%p")
    at = host.put("/srv/core.12")
    os.symlink("/srv", host.root + "/cores")
    assert host.entries()[0] == [at]
    os.unlink(host.root + "/cores")
    os.symlink("/../../../../tmp", host.root + "/cores")
    assert host.entries()[0] == []


def test_core_in_tmp_expires(host):
    host.pattern("/tmp/core.%p")
    host.put("/usr/bin/systemd-tmpfiles")
    host.put("/usr/lib/tmpfiles.d/tmp.conf", b"q /tmp 1777 root root 10d\n")
    at = host.put("/tmp/core.12")
    (item,) = [item for item in core_pattern.entries(Sysroot(host.root)) if not isinstance(item, Looked)]
    assert item.path == at and item.expires(at)["at"] == os.lstat(at).st_ctime_ns + 10 * 86400 * 10**9


def test_folder_that_is_not_there_is_said(host):
    host.pattern("/nowhere/core")
    assert host.entries()[1][-1].outcome == "No such file or directory"


def test_working_directory_of_a_running_process_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in core_pattern._working_folders(Sysroot("/"))[0]


def test_processes_that_do_not_show_their_working_directory_are_said(monkeypatch):
    def readlink(_path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(core_pattern, "pattern_of", lambda _sysroot: "core.%p")
    monkeypatch.setattr(core_pattern, "_processes", lambda: ["1", "22"])
    monkeypatch.setattr(os, "readlink", readlink)
    looked = [item for item in core_pattern.entries(Sysroot("/")) if isinstance(item, Looked)]
    assert Looked("core_pattern", "/proc/*/cwd", "Permission denied (processes: 2)") in looked


def test_host_without_proc(monkeypatch):
    def listdir(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr(os, "listdir", listdir)
    folders, hidden = core_pattern._working_folders(Sysroot("/"))
    assert "/tmp" in folders and hidden == 0


def test_no_folder_is_searched_deeper_than_the_pattern_goes(host, monkeypatch):
    host.pattern("/%h/cores/core.%p")
    expected = [host.put("/node/cores/core.1")]
    host.put("/home/cores/of/core.2")
    listed = []

    def listing(where, links):
        listed.append(where)
        return place_listing(where, links)

    place_listing = place.listing
    monkeypatch.setattr(place, "listing", listing)
    assert host.entries()[0] == expected
    assert host.root + "/home/cores" in listed and host.root + "/home/cores/of" not in listed


def test_cron_job_of_apport_deletes_all_files_of_its_folder(host):
    host.pattern("/var/crash/core.%p")
    host.put("/etc/cron.daily/apport", b"find /var/crash/. ! -name . -prune -type f -mtime +7 -exec rm -f {} +\n")
    at = host.put("/var/crash/core.1")
    for entries in (core_pattern.entries(Sysroot(host.root)), given.entries((host.root,), Sysroot(host.root))):
        (item,) = [item for item in entries if not isinstance(item, Looked) and item.path == at]
        assert item.expires(at)["at"] == os.lstat(at).st_mtime_ns + 8 * 86400 * 10**9
        assert item.expires(at + "/x/core") is None
