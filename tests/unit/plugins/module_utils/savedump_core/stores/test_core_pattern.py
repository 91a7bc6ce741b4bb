# SPDX-License-Identifier: Apache-2.0
"""core_pattern is the kernel's and is never written here: a sysroot gives each case a pattern of its own."""

import os

import pytest

from savedump_core.stores import core_pattern
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
            return [i for i in items if not isinstance(i, Looked)], [i for i in items if isinstance(i, Looked)]

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


@pytest.mark.parametrize("pattern", ["|/usr/lib/systemd/systemd-coredump %P", "@/run/coredump.socket"])
def test_piped_pattern_is_said(host, pattern):
    host.pattern(pattern)
    found, looked = host.entries()
    assert found == [] and looked[0].where == pattern and "program" in looked[0].outcome


def test_folder_that_is_not_there_is_said(host):
    host.pattern("/nowhere/core")
    assert host.entries()[1][-1].outcome == "No such file or directory"


def test_working_directory_of_a_running_process_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in core_pattern._working_folders(Sysroot("/"))
