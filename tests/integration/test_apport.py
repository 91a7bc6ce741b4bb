# SPDX-License-Identifier: Apache-2.0
"""What the real apport writes is found, and says what really happened. It runs in a bare Ubuntu; where none can be had,
the unit tests of the store and of the codec, with files written by the format, are all there is.
"""

import hashlib
import os
import tarfile
import time

import pytest
from savedump_core import api
from support import apport, kdumpwriter, stores
from support.apport import ApportError

# The bare Ubuntu is made the first time.
pytestmark = pytest.mark.slow

DAY_NS = 86400 * 10**9
REPORT = "/var/crash/_usr_bin_sleep.1000.crash"
LEFT = "/var/crash/_usr_bin_tail.1000.crash"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    before = time.time()
    try:
        made = apport.crashed(tmp_path_factory.mktemp("ubuntu"))
    except ApportError as error:
        if "no core was written" in str(error):
            pytest.skip("kernel.core_pattern hands cores elsewhere")
        raise
    made.began = before
    return made


def found(host, root=None):
    """Path within the root to entry, of what lies in apport's places."""
    root = str(root or host.root)
    report = api.find(sysroot=root)
    return {entry["path"][len(root) :]: entry for entry in report.entries if entry["store"] == "apport"}, report


def test_report_says_who_died_of_what_and_when(host):
    entry = found(host)[0][REPORT]
    process = entry["process"]
    assert (entry["kind"], entry["compression"], entry["in_progress"]) == ("core", "apport", False)
    # The core is of the process that really died, and its own word goes first.
    assert (process["pid"], process["comm"]) == (host.facts["died"], "sleep")
    assert process["args"] == "/usr/bin/sleep 60"
    assert process["signal"]["name"] == "SIGSEGV" and process["executable"] == "/usr/bin/sleep"
    assert (process["uid"], process["gid"], entry["user"]) == (1000, 1000, "crasher")
    # Its clock is in whole seconds.
    assert int(host.began) <= entry["crashed_ns"] / 1e9 <= time.time()
    assert entry["claimed_size"] == os.path.getsize(host.core) and entry["complete"] is None


def test_core_in_the_report_is_whole_and_the_same(host, tmp_path):
    path = str(host.root) + REPORT
    dump = api.inspect(path)
    assert (dump["complete"], dump["size"]) == (True, os.path.getsize(host.core))
    made = api.archive(path, str(tmp_path), api.SearchOptions(sysroot=str(host.root)), format="tar")
    with tarfile.open(made.path) as archive:
        (name,) = [member for member in archive.getnames() if "_usr_bin_sleep" in os.path.basename(member)]
        archive.extract(name, str(tmp_path), filter="data")
    assert hashlib.sha256((tmp_path / name).read_bytes()).digest() == hashlib.sha256(host.core.read_bytes()).digest()


def test_core_by_the_processs_own_limit(host):
    ((path, entry),) = [item for item in found(host)[0].items() if "/coredump/" in item[0]]
    assert path.startswith("/var/lib/apport/coredump/core._usr_local_bin_own.1000.")
    assert ".%d." % host.facts["owned"] in path
    assert (entry["complete"], entry["size"], entry["compression"]) == (True, os.path.getsize(host.core), None)


def test_report_that_is_being_written(host):
    entries, report = found(host, host.root / "half")
    said = {one.where: one.outcome for one in report.looked}
    said.update({entry["path"]: entry["incomplete_why"] for entry in entries.values() if entry["in_progress"]})
    assert "being written" in said[str(host.root / "half") + LEFT]


def test_report_whose_writer_was_killed(host):
    path = str(host.root) + LEFT
    assert os.stat(path).st_mode & 0o777 == 0
    os.utime(path, (time.time() - 3600,) * 2)
    entries, report = found(host)
    said = {one.where: one.outcome for one in report.looked}
    said.update({entry["path"]: entry["incomplete_why"] for entry in entries.values() if not entry["in_progress"]})
    assert "apport did not finish it" in said[path]


def test_rule_of_its_package_deletes_cores(host):
    """Where systemd applies it: the bare system has none."""
    entries = found(host)[0]
    assert [entry["expires"] for path, entry in entries.items() if "/coredump/" in path] == [None]
    program = stores.put(host.root, "/usr/bin/systemd-tmpfiles")
    try:
        ((path, entry),) = [item for item in found(host)[0].items() if "/coredump/" in item[0]]
    finally:
        os.unlink(program)
    status = os.lstat(str(host.root) + path)
    newest = max(status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
    assert entry["expires"]["at"] == newest + 3 * DAY_NS
    assert "/usr/lib/tmpfiles.d/apport.conf" in entry["expires"]["why"]


def test_its_cron_job_deletes_reports_and_kernel_dumps_when_it_was_said(host):
    """Two of each: one whose time has come, one with a minute left."""
    kernel = kdumpwriter.kdump(kdumpwriter.Kdump(memory={0: bytes(4096)})).to_bytes()
    for name in ("200001010101", "200001010102"):
        stores.put(host.root, "/var/crash/%s/dump.%s" % (name, name), kernel)
    stores.put(host.root, "/var/crash/_usr_bin_later.1000.crash", (host.root / REPORT.lstrip("/")).read_bytes())
    paths = {
        "/var/crash/200001010101": -60, "/var/crash/200001010102": 60, REPORT: -60,
        "/var/crash/_usr_bin_later.1000.crash": 60,
    }  # fmt: skip
    for path, left_s in paths.items():
        os.utime(str(host.root) + path, (time.time() - 8 * 86400 + left_s,) * 2)
    said = {}
    for entry in api.find(sysroot=str(host.root)).entries:
        path = entry["path"][len(str(host.root)) :]
        path = os.path.dirname(path) if "/dump." in path else path
        if path in paths:
            assert "/etc/cron.daily/apport" in entry["expires"]["why"]
            said[path] = round(entry["expires"]["at"] / 1e9 - time.time())
    assert {path: left_s > 0 for path, left_s in said.items()} == {path: left > 0 for path, left in paths.items()}
    host.clean()
    assert {path for path in paths if os.path.exists(str(host.root) + path)} == {
        path for path, left_s in said.items() if left_s > 0
    }


def test_cores_of_this_machine_go_where_they_went(host):
    with open("/proc/sys/kernel/core_pattern") as file:
        assert "apport" not in file.read()
