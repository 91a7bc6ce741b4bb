# SPDX-License-Identifier: Apache-2.0
"""Debian's own kdump-config, out of its package, saves dumps as in a crash kernel: what it calls them, and which it
deletes. In a mount namespace of its own; makedumpfile, which test_vmcores.py has for real, is played by a function.
"""

import os
import re
import shlex
import subprocess

import pytest
from savedump_core import api
from support import debs, kdumpwriter

SETTINGS = "/etc/default/kdump-tools"
PLAYED = """
makedumpfile() { case $1 in --dump-dmesg) echo log >"$3" ;; *) [ -n "$DUMP" ] && cat "$DUMP" ;; esac; }
date() { echo "$STAMP"; }
logger() { :; }
"""


class Host:
    """A root that kdump-config saves to."""

    def __init__(self, script, folder):
        self.root = folder / "root"
        self.root.joinpath("etc/default").mkdir(parents=True)
        self.script = folder / "kdump-config"
        text = re.sub(r"(?m)^vmcore_file=.*$", "vmcore_file=%s" % (folder / "vmcore"), script.read_text())
        assert "vmcore_file=/proc" not in text
        self.script.write_text(text.replace("\n", "\n" + PLAYED, 1))
        (folder / "vmcore").write_bytes(b"what the kernel shows")
        self.dump = folder / "dump"
        pieces = kdumpwriter.kdump(kdumpwriter.Kdump(memory={0: bytes(range(256)) * 16}))
        self.dump.write_bytes(kdumpwriter.flat(kdumpwriter.as_makedumpfile(pieces)))

    def save(self, stamp, settings="", dump=None):
        """As after a crash at that time."""
        here = self.root / SETTINGS.lstrip("/")
        here.write_text('KDUMP_COREDIR="/var/crash"\n' + settings)
        inside = "mount -t tmpfs tmpfs /etc/default && cp %s /etc/default/ && mount -t tmpfs tmpfs /var && " \
            "mkdir /var/crash && mount --bind %s /var/crash && exec sh %s savecore"  # fmt: skip
        self.root.joinpath("var/crash").mkdir(parents=True, exist_ok=True)
        inside %= tuple(shlex.quote(str(path)) for path in (here, self.root / "var/crash", self.script))
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside],
            env=dict(os.environ, STAMP=stamp, DUMP=str(self.dump if dump is None else dump)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    def found(self):
        return {entry["path"][len(str(self.root)) :]: entry for entry in api.find(sysroot=str(self.root)).entries}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    if os.geteuid():
        pytest.skip("needs root: it runs in a namespace of its own")
    try:
        return debs.unpacked("kdump-tools", tmp_path_factory.mktemp("kdump-tools")) / "usr/sbin/kdump-config"
    except debs.DebsError as error:
        pytest.skip("no kdump-tools to unpack: %s" % error)


@pytest.fixture
def host(script, tmp_path):
    return Host(script, tmp_path)


@pytest.mark.parametrize("packed, suffix, codec", [("", "", None), ("gzip", ".gz", "gzip"), ("xz", ".xz", "xz")])
def test_name(host, packed, suffix, codec):
    host.save("202611230702", "KDUMP_COMPRESSION=%s\n" % packed)
    ((path, entry),) = host.found().items()
    assert path == "/var/crash/202611230702/dump.202611230702" + suffix
    assert (entry["kind"], entry["compression"]) == ("kdump-flattened", codec)
    assert entry["expires"] is None and entry["incomplete_why"] is None


def test_dump_that_makedumpfile_could_not_make(host):
    """kdump-config does not notice, for it asks how the compression ended: the dump is empty and has its final name."""
    host.save("202611230702", dump="")
    report = api.find(sysroot=str(host.root))
    assert report.entries == ()
    path = str(host.root / "var/crash/202611230702/dump.202611230702")
    assert ["empty" in one.outcome for one in report.looked if one.where == path] == [True]


def test_number_that_is_kept(host):
    keep = "KDUMP_NUM_DUMPS=2 # no more\n"
    host.save("202611230702", keep)
    assert [entry["expires"] for entry in host.found().values()] == [None]
    host.save("202611230902", keep)
    entries = host.found()
    doomed = [path for path, entry in entries.items() if entry["expires"]]
    assert len(entries) == 2 and doomed == ["/var/crash/202611230702/dump.202611230702"]
    assert "KDUMP_NUM_DUMPS" in entries[doomed[0]]["expires"]["why"]
    host.save("202611231102", keep)
    assert set(entries) - set(host.found()) == set(doomed)
