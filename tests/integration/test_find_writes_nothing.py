# SPDX-License-Identifier: Apache-2.0
"""`savedump find` leaves the host as it is: nothing in its stores changes, not even when a file was last read, and no
system call of its could have changed anything."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from support import elfwriter, kdumpwriter, stores
from support.command import environment

# Those that make, change or remove something by name, and how files are opened to be written.
WRITERS = (
    "creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,"
    "truncate,ftruncate,chmod,fchmod,fchmodat,chown,lchown,fchown,fchownat,utime,utimes,utimensat,setxattr,lsetxattr,"
    "fsetxattr,removexattr,lremovexattr,fremovexattr,mount,umount2"
)
OPENED = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE")
# Ten dumps and a log, in lines.
FOUND = 11
NO_FILE = re.compile(r'"/dev/null"|"/dev/tty"')


@pytest.fixture
def host(tmp_path):
    """A dump in each kind of store, one of each that is packed."""
    core = elfwriter.process_core(pid=77, uid=1000).to_bytes()
    root = tmp_path / "host"
    for suffix, pack in stores.PACK.items():
        stores.systemd(root, pack(core), {"comm": "prog"}, suffix=suffix, pid=len(suffix))
    stores.put(root, "/proc/sys/kernel/core_pattern", "/cores/core.%e.%p\n")
    stores.put(root, "/cores/core.prog.77", core)
    stores.put(root, "/var/crash/_usr_bin_prog.1000.crash", stores.report(core))
    stores.put(root, "/var/lib/apport/coredump/core._bin_x.0.%s.7.9" % "12345678-1234-1234-1234-123456789abc", core)
    stores.abrt(root, core)
    stores.composed(root, core)
    kernel = kdumpwriter.kdump(kdumpwriter.Kdump(memory={0: bytes(4096)})).to_bytes()
    stores.put(root, "/var/crash/202611230702/dump.202611230702", kernel)
    stores.put(root, "/sys/fs/pstore/dmesg-efi-1", "Panic#1 Part1\nwords")
    for top, folders, names in os.walk(str(root)):
        for name in folders + names:
            # Read long ago, so that the kernel would note that it is read now (mount(8), relatime).
            os.utime(os.path.join(top, name), (1000000000, 1500000000))
    return root


def words(root):
    return [sys.executable, "-m", "savedump_core", "find", "-q", "--host-root", str(root)]


def state(root):
    """Path to what a trace would change; of folders not when they were read, for listing them does that."""
    found = {}
    for top, folders, names in os.walk(str(root)):
        for name in folders + names:
            path = os.path.join(top, name)
            status = os.lstat(path)
            read = status.st_atime_ns if name in names else None
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, read)
    return found


def test_dumps_are_not_even_marked_as_read(host, tmp_path):
    before = state(host)
    named = re.compile(r"/core\.[^/]*\Z|\.crash\Z|/coredump\Z|\.zip\Z|/dump\.")
    dumps = [path for path in before if named.search(path) and os.path.isfile(path)]
    (tmp_path / "other").write_text("text")
    os.utime(str(tmp_path / "other"), (1000000000, 1500000000))
    (tmp_path / "other").read_text()
    if os.stat(str(tmp_path / "other")).st_atime == 1000000000:
        pytest.skip("no file here is marked as read")
    done = subprocess.run(words(host), env=environment(), stdout=subprocess.PIPE, check=True)
    assert len(done.stdout.splitlines()) == FOUND, done.stdout.decode()
    after = state(host)
    assert {path: after[path][:4] for path in after} == {path: before[path][:4] for path in before}
    assert len(dumps) == 10 and [path for path in dumps if after[path] != before[path]] == []


def test_no_system_call_writes(host, tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    calls = "trace=%s,open,openat" % ",".join("?" + name for name in WRITERS.split(","))
    command = ["strace", "-f", "-o", str(log), "-e", calls] + words(host)
    without = dict(environment(), PYTHONDONTWRITEBYTECODE="1")
    subprocess.run(command, env=without, stdout=subprocess.PIPE, check=True)
    lines = log.read_text().splitlines()
    opened = [line for line in lines if re.search(r"\bopen(at)?\(", line)]
    assert any("_usr_bin_prog.1000.crash" in line for line in opened)
    others = [line for line in lines if line not in opened and re.match(r"\d+ +\w+\(", line)]
    written = [line for line in opened if OPENED.search(line) and not NO_FILE.search(line)]
    assert (others, written) == ([], [])


def test_host_that_cannot_be_written_to(host):
    """As an image that was mounted for a look."""
    if os.geteuid():
        pytest.skip("needs root: it mounts")
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && ! touch "$1/x" 2>&- && shift && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(host)]
    done = subprocess.run(command + words(host), env=environment(), stdout=subprocess.PIPE, check=True)
    plain = subprocess.run(words(host), env=environment(), stdout=subprocess.PIPE, check=True)
    assert done.stdout == plain.stdout and len(done.stdout.splitlines()) == FOUND
