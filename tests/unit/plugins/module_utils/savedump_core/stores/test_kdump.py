# SPDX-License-Identifier: Apache-2.0
"""Trees as the crash kernels of the distributions leave them, beneath a sysroot with each one's own settings."""

import os
import time

import pytest

from savedump_core import stores
from savedump_core.errors import BadDump
from savedump_core.stores import kdump
from savedump_core.stores.place import Log, Looked, Spotted
from savedump_core.sysroot import Sysroot

LONG_AGO = 1000000000

# What each leaves: the settings, what is a dump, what is not.
LAYOUTS = {
    "kdump-tools": (
        {"/etc/default/kdump-tools": 'USE_KDUMP=1\n#KDUMP_COREDIR="/old"\nKDUMP_COREDIR="/srv/my crash" # here\n'},
        ["/srv/my crash/202611230702/dump.202611230702", "/srv/my crash/202611230800/dump.202611230800.gz",
         "/srv/my crash/202611230900/vmcore.202611230900"],
        ["/srv/my crash/202611230702/dmesg.202611230702", "/srv/my crash/kexec_cmd", "/srv/my crash/kdump_lock",
         "/srv/my crash/_usr_bin_prog.0.crash", "/old/202611230702/dump.202611230702"],
    ),
    "a server of kdump-tools": (
        {},
        ["/var/crash/192.0.2.7-202611230702/dump.202611230702.lz4", "/var/crash/db-01-202611230702/dump.202611230702"],
        ["/var/crash/db-01-202611230702/dmesg.202611230702"],
    ),
    "kdump-utils": (
        {"/etc/kdump.conf": "#path /old\npath /data/crash # where\ncore_collector makedumpfile -l -d 31\n"},
        ["/data/crash/127.0.0.1-2026-11-23-07:02:52/vmcore", "/data/crash/2001:db8::7-2026-11-23-07:02:52/vmcore.flat"],
        ["/data/crash/127.0.0.1-2026-11-23-07:02:52/vmcore-dmesg.txt",
         "/data/crash/127.0.0.1-2026-11-23-07:02:52/kexec-dmesg.log"],
    ),
    "SUSE": (
        {"/etc/sysconfig/kdump": 'KDUMP_SAVEDIR="file:///var/log/dump /more"\nKDUMP_CPUS=2\n'},
        ["/var/log/dump/2026-11-23-07-02/vmcore", "/more/2019-11-23-07:02/vmcore1", "/more/2019-11-23-07:02/vmcore2"],
        ["/var/log/dump/2026-11-23-07-02/README.txt", "/var/log/dump/2026-11-23-07-02/dmesg.txt",
         "/var/log/dump/2026-11-23-07-02/vmlinux-6.4.0.gz"],
    ),
    "SONiC and kdumpst": (
        {},
        ["/var/crash/202611230702/kdump.202611230702", "/var/crash/kdumpst/crash/vmcore.202611230702",
         "/var/crash/kdumpst/crash/202611230702/vmcore.compressed"],
        ["/var/crash/kdumpst/logs/kdumpst-202611230702.zip"],
    ),
}  # fmt: skip


class Host:
    def __init__(self, root):
        self.root = str(root)
        self.sysroot = Sysroot(self.root)

    def put(self, path, content="", age=None):
        at = self.root + path
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "w") as file:
            file.write(content)
        os.utime(at, (age, age) if age else None)
        return at

    def of(self, kind):
        return [item for item in kdump.entries(self.sysroot) if isinstance(item, kind)]

    def outcomes(self):
        return {looked.where: looked.outcome for looked in self.of(Looked)}

    def find(self, describe):
        return stores.find((), self.sysroot, describe)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def whole(path, sure):
    return {"complete": True, "incomplete_why": None, "parts": []}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_layout(host, layout):
    settings, dumps, others = LAYOUTS[layout]
    for path, text in settings.items():
        host.put(path, text)
    for path in others:
        host.put(path)
    expected = [Spotted(host.put(path)) for path in dumps]
    assert sorted(host.of(Spotted)) == sorted(expected)
    assert host.of(Log) == []


@pytest.mark.parametrize("name", ["dump-incomplete", "dump-incomplete.gz", "vmcore-incomplete", "vmcore.tmp"])
def test_unfinished_dump_is_said_and_one_being_written_told_apart(host, name):
    path = host.put("/var/crash/202611230702/" + name, age=LONG_AGO)
    entry = host.find(whole).entries[0]
    assert entry["path"] == path and entry["complete"] is False and entry["in_progress"] is False
    assert (
        entry["incomplete_why"]
        == "whoever wrote it did not finish: a crash kernel calls it %s until it is whole" % name
    )

    os.utime(path, (time.time(), time.time()))
    entry = host.find(whole).entries[0]
    assert entry["in_progress"] is True and entry["incomplete_why"].startswith("it is being written: ")


def test_unfinished_dump_keeps_what_its_own_bytes_say(host):
    host.put("/var/crash/x/vmcore-incomplete", age=LONG_AGO)
    entry = host.find(
        lambda path, sure: dict(whole(path, sure), complete=False, incomplete_why="the disk was full")
    ).entries[0]
    assert entry["incomplete_why"].endswith("until it is whole; the disk was full")


def test_unfinished_name_is_known_in_a_folder_that_was_given(host):
    path = host.put("/elsewhere/vmcore-incomplete", age=LONG_AGO)
    report = stores.find((host.root + "/elsewhere",), host.sysroot, whole)
    assert [(entry["path"], entry["complete"]) for entry in report.entries] == [(path, False)]


@pytest.mark.parametrize("status, complete", [("saved successfully", True), ("saving failed", False)])
def test_readme_of_suse_has_the_last_word(host, status, complete):
    host.put("/var/crash/2026-11-23-07-02/vmcore")
    host.put("/var/crash/2026-11-23-07-02/README.txt", "Kernel crashdump\n----\nvmcore status: %s\n" % status)
    entry = host.find(whole).entries[0]
    assert entry["complete"] is complete
    assert entry["incomplete_why"] == (None if complete else "README.txt beside it says: vmcore status: saving failed")


def test_dump_that_cannot_be_opened_is_said_with_its_state(host):
    path = host.put("/var/crash/x/dump-incomplete", age=LONG_AGO)

    def fail(path, sure):
        raise BadDump("%s is empty" % path)

    report = host.find(fail)
    assert report.entries == ()
    assert [one.outcome for one in report.looked if one.where == path] == [
        "whoever wrote it did not finish: a crash kernel calls it dump-incomplete until it is whole; %s is empty" % path
    ]


def test_split_set_is_one_entry(host):
    paths = [host.put("/var/crash/x/vmcore%d" % number) for number in (1, 2, 3)]
    asked = []

    def describe(path, sure):
        asked.append(path)
        return dict(whole(path, sure), parts=[other for other in paths if other != path])

    report = host.find(describe)
    assert [entry["path"] for entry in report.entries] == paths[:1]
    # The one that was written last is met first.
    assert asked[-1] == paths[0] and len(asked) <= 2
    assert report.entries[0]["parts"] == paths[1:]
    assert ("1 found") in [one.outcome for one in report.looked]


def test_log_without_a_dump_is_a_log(host):
    log = host.put("/var/crash/127.0.0.1-2026-11-23-07:02:52/vmcore-dmesg-incomplete.txt")
    report = host.find(whole)
    assert report.entries == () and report.logs[0].path == log
    assert report.as_json()["logs"][0]["what"] == "the kernel's log of a crash that no dump was saved of"


@pytest.mark.parametrize(
    "settings, text, where, outcome",
    [
        ("/etc/kdump.conf", "ssh kdump@vault\n", "/etc/kdump.conf: ssh kdump@vault", "dumps go to that host"),
        ("/etc/kdump.conf", "raw /dev/vg/lv\n", "/etc/kdump.conf: raw /dev/vg/lv", "a bare device"),
        ("/etc/kdump.conf", "nfs vault:/export\n", "/etc/kdump.conf: nfs vault:/export", "not mounted here"),
        ("/etc/kdump.conf", 'dracut_args --add x --mount "/dev/vg/c /kd ext4 rw"\n', "/etc/kdump.conf: mount /dev/vg/c",
         "not mounted here"),
        ("/etc/default/kdump-tools", 'SSH="<user at server>"\n', "/etc/default/kdump-tools: SSH <user at server>",
         "dumps go to that host"),
        ("/etc/default/kdump-tools", "KDUMP_COREDIR=$(touch /pwned)\n", "/etc/default/kdump-tools: $(touch",
         "the shell works this out"),
        ("/etc/sysconfig/kdump", 'KDUMP_SAVEDIR="ftp://me:secret@vault/d"\n', "/etc/sysconfig/kdump: ftp vault",
         "dumps go to that host"),
        ("/etc/sysconfig/kdump", 'KDUMP_TRANSFER="send --password secret"\n', "/etc/sysconfig/kdump: KDUMP_TRANSFER",
         "a command of the host's own saves dumps"),
    ],
)  # fmt: skip
def test_place_that_is_not_on_this_host_is_said(host, settings, text, where, outcome):
    host.put(settings, text)
    found = host.outcomes()
    assert where in found and found[where].startswith(outcome)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "conf, mounts, folder",
    [
        ("nfs vault:/export/\npath /d", "vault:/export /mnt/my\\040crash nfs4 rw 0 0", "/mnt/my crash/d"),
        ("xfs UUID=12-34\npath /", "/dev/mapper/vg-crash /crash xfs rw 0 0", "/crash"),
        ("ext4 /dev/vg/crash", "/dev/mapper/vg-crash /crash ext4 rw 0 0", "/crash/var/crash"),
        ("virtiofs tag\npath d", "tag /crash virtiofs rw 0 0", "/crash/d"),
    ],
)
def test_mounted_target(host, conf, mounts, folder):
    host.put("/etc/kdump.conf", conf + "\n")
    host.put("/proc/mounts", "proc /proc proc rw 0 0\n%s\n" % mounts)
    host.put("/dev/mapper/vg-crash")
    for link in ("/dev/disk/by-uuid/12-34", "/dev/vg/crash"):
        os.makedirs(os.path.dirname(host.root + link), exist_ok=True)
        os.symlink("/dev/mapper/vg-crash", host.root + link)
    path = host.put(folder + "/127.0.0.1-2026-11-23-07:02:52/vmcore")
    assert host.of(Spotted) == [Spotted(path)]


@pytest.mark.parametrize("target", ["raw /dev/vg/lv", "nfs vault:/export", "ssh kdump@vault", "ext4 LABEL=crash"])
def test_folder_of_the_root_is_searched_besides_the_target(host, target):
    """kdumpctl saves there what lay on a bare device, the crash kernel what the target did not take."""
    host.put("/etc/kdump.conf", "%s\npath /dumps\nfailure_action dump_to_rootfs\n" % target)
    path = host.put("/dumps/2026-11-23-07:02/vmcore")
    assert host.of(Spotted) == [Spotted(path)]
    said = host.outcomes()["/etc/kdump.conf: " + target]
    assert ("in /dumps at the next start" in said) is target.startswith("raw")


def test_whole_root_is_not_searched_besides_a_target(host):
    host.put("/etc/kdump.conf", "nfs vault:/export\npath /\n")
    host.put("/home/max/vmcore")
    assert host.of(Spotted) == []


def test_path_without_a_slash_is_below_the_root(host):
    host.put("/etc/kdump.conf", "path dumps\n")
    path = host.put("/dumps/127.0.0.1-2026-11-23-07:02:52/vmcore")
    assert host.of(Spotted) == [Spotted(path)]


@pytest.mark.parametrize(
    "url, mounts, folder",
    [
        ("nfs://srv/export/dumps", "srv:/export/dumps /mnt/d nfs4 rw 0 0", "/mnt/d"),
        ("nfs://me:secret@Srv:2049/export/dumps/", "srv:/ /all nfs4 rw 0 0\nsrv:/export /mnt/e nfs rw 0 0\n"
         "srv:/exp /mnt/x nfs rw 0 0", "/mnt/e/dumps"),
        ("nfs://srv/export/dumps", "srv:/ /all nfs4 rw 0 0\nother:/export /mnt/e nfs rw 0 0", "/all/export/dumps"),
        ("nfs://[2001:db8::7]/export", "[2001:db8::7]:/export /mnt/6 nfs4 rw 0 0", "/mnt/6"),
    ],
)  # fmt: skip
def test_mounted_share_of_suse(host, url, mounts, folder):
    host.put("/etc/sysconfig/kdump", 'KDUMP_SAVEDIR="%s"\n' % url)
    host.put("/proc/mounts", mounts + "\n")
    path = host.put(folder + "/2026-11-23-07-02/vmcore")
    assert host.of(Spotted) == [Spotted(path)]


@pytest.mark.parametrize("mounts", ["other:/export /mnt nfs rw 0 0", "srv:/exp /mnt nfs rw 0 0"])
def test_share_of_suse_that_is_not_mounted(host, mounts):
    host.put("/etc/sysconfig/kdump", 'KDUMP_SAVEDIR="nfs://srv/export nfs://[srv/export"\n')
    host.put("/proc/mounts", mounts + "\n")
    assert host.outcomes()["/etc/sysconfig/kdump: nfs srv"].startswith("dumps go to that host")


def test_links_lead_nowhere_out_of_the_sysroot(host, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "vmcore").write_text("secret")
    host.put("/var/crash/x/other")
    os.symlink(str(outside), host.root + "/var/crash/folder")
    os.symlink(str(outside / "vmcore"), host.root + "/var/crash/x/vmcore")
    host.put("/etc/kdump.conf", "path /link\n")
    os.symlink(str(outside), host.root + "/link")
    assert host.of(Spotted) == []


def test_folder_is_looked_into_once_whoever_names_it(host):
    path = host.put("/var/crash/1/vmcore")
    os.symlink("/var/crash", host.root + "/crash")
    host.put("/etc/kdump.conf", "path /var/crash\n")
    host.put("/etc/sysconfig/kdump", "KDUMP_SAVEDIR=file:///crash\n")
    assert host.of(Spotted) == [Spotted(path)]
    assert host.of(Looked) == [Looked("kdump", host.root + "/var/crash", "")]


def test_settings_that_are_no_settings_do_no_harm(host):
    for at in ("/etc/kdump.conf", "/etc/default/kdump-tools", "/etc/sysconfig/kdump"):
        host.put(at, 'path\nKDUMP_COREDIR="\nKDUMP_SAVEDIR=\nnfs\n=\n\0\ndracut_args --mount\n')
    assert list(host.outcomes().values()) == [
        "not mounted here: mount it, and give the path", "No such file or directory",
    ]  # fmt: skip


def test_nothing_there_is_said(host):
    assert host.outcomes() == {host.root + "/var/crash": "No such file or directory"}


def test_depth_and_number_of_folders_are_bounded(host, monkeypatch):
    host.put("/var/crash/1/2/3/vmcore")
    host.put("/var/crash/1/2/3/4/vmcore")
    assert [os.path.relpath(one.path, host.root) for one in host.of(Spotted)] == ["var/crash/1/2/3/vmcore"]
    monkeypatch.setattr(kdump, "MAX_FOLDERS", 1)
    assert host.of(Spotted) == [] and "too many folders" in host.of(Looked)[0].outcome


class TestExpiry:
    """What each service, and what else tidies the folder, deletes."""

    def expires(self, host):
        return {
            os.path.relpath(entry["path"], host.root + "/var/crash").split("/")[0]: entry["expires"]
            for entry in host.find(whole).entries
        }

    def doomed(self, host):
        return sorted(name for name, expires in self.expires(host).items() if expires)

    @pytest.mark.parametrize(
        "settings, doomed",
        [("KDUMP_NUM_DUMPS=3", ["202611230702"]),
         ("KDUMP_NUM_DUMPS=1", ["202611230702", "202611230703", "202611231702"]),
         ("KDUMP_NUM_DUMPS=4", []), ("KDUMP_NUM_DUMPS=0", []), ("", []), ("KDUMP_NUM_DUMPS=$(reboot)", []),
         ("KDUMP_NUM_DUMPS=1\nNFS=vault:/x", []), ("KDUMP_NUM_DUMPS=1\nSSH=root@vault", [])],
    )  # fmt: skip
    def test_kdump_tools_keeps_a_number(self, host, settings, doomed):
        host.put("/etc/default/kdump-tools", settings + "\n")
        for name in ("202611230702", "202611230703", "202611231702", "kept"):
            host.put("/var/crash/%s/dump.202611230702" % name)
        assert self.doomed(host) == doomed
        assert all("KDUMP_NUM_DUMPS" in self.expires(host)[name]["why"] for name in doomed)

    def test_folder_with_a_digit_that_is_no_number(self, host):
        host.put("/etc/default/kdump-tools", "KDUMP_NUM_DUMPS=1\n")
        host.put("/var/crash/202611230702/dump.202611230702")
        os.mkdir(host.root + "/var/crash/2\u00b2")
        assert self.doomed(host) == ["202611230702"]

    @pytest.mark.parametrize(
        "settings, doomed",
        [("KDUMP_KEEP_OLD_DUMPS=2", ["2026-11-23-07-02"]), ("KDUMP_KEEP_OLD_DUMPS=3", []),
         ("KDUMP_KEEP_OLD_DUMPS=0", []),
         ("KDUMP_KEEP_OLD_DUMPS=-1", ["2026-11-23-07-02", "2026-11-23-07-03", "2026-11-24-07-02"]),
         ("KDUMP_KEEP_OLD_DUMPS=1\nKDUMP_SAVEDIR=nfs://vault/x", [])],
    )  # fmt: skip
    def test_suse_keeps_a_number(self, host, settings, doomed):
        host.put("/etc/sysconfig/kdump", 'KDUMP_SAVEDIR="file:///var/crash"\n%s\n' % settings)
        for name in ("2026-11-23-07-02", "2026-11-23-07-03", "2026-11-24-07-02", "mine"):
            host.put("/var/crash/%s/vmcore" % name)
        assert self.doomed(host) == doomed
        assert all("KDUMP_KEEP_OLD_DUMPS" in self.expires(host)[name]["why"] for name in doomed)

    def test_cron_job_of_apport_deletes_folders_of_kernel_dumps(self, host):
        host.put(
            "/etc/cron.daily/apport",
            "find /var/crash/. ! -name . -prune -type f -mtime +3 -exec rm -f -- '{}' \\;\n"
            "find /var/crash/. ! -name . -prune -type d -regextype posix-extended -regex '.*/[0-9]{12}$' "
            "\\( -mtime +7 \\) -exec rm -Rf -- '{}' \\;\n",
        )
        host.put("/var/crash/202611230702/dump.202611230702")
        host.put("/var/crash/moved/vmcore")
        host.put("/var/crash/vmcore", age=LONG_AGO)
        os.utime(host.root + "/var/crash/202611230702", (LONG_AGO, LONG_AGO))
        found = self.expires(host)
        assert found["moved"] is None
        assert found["vmcore"]["at"] == (LONG_AGO + 4 * 86400) * 10**9
        assert found["202611230702"]["at"] == (LONG_AGO + 8 * 86400) * 10**9
        assert "/etc/cron.daily/apport" in found["202611230702"]["why"]

    def test_rule_of_tmpfiles_and_a_number_together(self, host):
        host.put("/usr/bin/systemd-tmpfiles")
        host.put("/usr/lib/tmpfiles.d/crash.conf", "d /var/crash 0755 root root m:30d\n")
        host.put("/etc/default/kdump-tools", "KDUMP_NUM_DUMPS=1\n")
        host.put("/var/crash/202611230702/dump.202611230702", age=LONG_AGO)
        found = self.expires(host)["202611230702"]
        assert found["at"] == (LONG_AGO + 30 * 86400) * 10**9
        assert "crash.conf" in found["why"] and "KDUMP_NUM_DUMPS" in found["why"]


def test_suses_first_readme_says_that_the_dump_is_not_there_yet(host):
    """dracut/kdump-save writes it before the dump, which has its final name from the first byte."""
    path = host.put("/var/crash/2026-11-23-07-02/vmcore", age=LONG_AGO)
    readme = "This file will be overwritten when the dump is finished.\nIf you see this text the crash dump is likely"
    host.put("/var/crash/2026-11-23-07-02/README.txt", readme + " incomplete.\n\nDump time: x\n")
    (entry,) = host.find(whole).entries
    assert (entry["complete"], entry["in_progress"]) == (False, False)
    assert entry["incomplete_why"] == "kdump did not finish it: README.txt beside it was not overwritten yet"
    os.utime(path, None)
    (entry,) = host.find(whole).entries
    assert entry["in_progress"] is True and entry["incomplete_why"].startswith("it is being written")
