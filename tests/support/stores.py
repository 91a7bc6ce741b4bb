# SPDX-License-Identifier: Apache-2.0
"""What crash handlers leave on a host, written by their formats, beneath a root of the test's own.

systemd src/coredump/coredump-submit.c; apport problem_report.py (write) and apport/fileutils.py (get_core_path);
abrt src/hooks/abrt-hook-ccpp.c; IBM core-dump-composer/src/config.rs and main.rs.
"""

import base64
import json
import lzma
import os
import struct
import subprocess
import zipfile
import zlib

BOOT = "7b08d0ef58504cc1bedbbdaa2f8df2aa"
SECONDS = 1700000000


def put(root, path, content=b"", mode=None):
    """The file `path` beneath `root`; returns where it is."""
    at = os.path.join(str(root), path.lstrip("/"))
    os.makedirs(os.path.dirname(at), exist_ok=True)
    with open(at, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    if mode is not None:
        os.chmod(at, mode)
    return at


def zstd(data):
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


def lz4(data):
    return subprocess.run(["lz4", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


PACK = {"": lambda data: data, ".zst": zstd, ".lz4": lz4, ".xz": lzma.compress}


def systemd_name(comm="prog", uid=0, pid=77, seconds=SECONDS, suffix=".zst"):
    escaped = "".join(char if char not in "./ \\\n" else "\\x%02x" % ord(char) for char in comm)
    return "core.%s.%d.%s.%d.%d000000%s" % (escaped, uid, BOOT, pid, seconds, suffix)


def systemd(root, packed, attributes=None, **name):
    """A file of systemd-coredump's, `packed` as the suffix of its name says; attributes without "user.coredump."."""
    at = put(root, "/var/lib/systemd/coredump/" + systemd_name(**name), packed)
    for key, value in (attributes or {}).items():
        os.setxattr(at, "user.coredump." + key, str(value).encode())
    return at


def report(core, signal=11, executable="/usr/bin/prog", date="Tue Nov 14 22:13:20 2023", chunk=1 << 20, before=""):
    """An apport report; `core` None for one without."""
    text = "ProblemType: Crash\nArchitecture: amd64\nDate: %s\n%sExecutablePath: %s\n" % (date, before, executable)
    text += "ProcCmdline: %s --serve\nProcEnviron:\n SECRET=hunter2\nProcMaps:\n" % executable
    text += "".join(" %08x-%08x r-xp 00000000 fd:00 77 %s\n" % (n << 12, (n + 1) << 12, executable) for n in range(40))
    text += "ProcStatus:\n Name:\tprog\n Pid:\t77\n Uid:\t1000\t1000\t1000\t1000\n Gid:\t1001\t1001\t1001\t1001\n"
    text += "Signal: %d\nSignalName: SIGSEGV\nUname: Linux 6.8\n_HooksRun: no\n" % signal
    return text.encode() + (b"" if core is None else field("CoreDump", gzip_chunks("CoreDump", core, chunk)))


def gzip_chunks(key, data, chunk=1 << 20):
    """As ProblemReport.write makes them: the header, what each megabyte gives, and the end."""
    yield b"\x1f\x8b\x08\x08\0\0\0\0\x02\xff" + key.encode() + b"\0"
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    for at in range(0, len(data), chunk):
        piece = deflate.compress(data[at : at + chunk])
        if piece:
            yield piece
    yield deflate.flush() + struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def field(key, chunks):
    return key.encode() + b": base64\n" + b"".join(b" " + base64.b64encode(chunk) + b"\n" for chunk in chunks)


def abrt(root, core, name="ccpp-2023-11-14-22:13:20.123456-77", place="/var/spool/abrt", file="coredump", **facts):
    """A problem of abrt's; returns the core's path."""
    said = {
        "type": "CCpp", "executable": "/usr/bin/prog", "cmdline": "prog --serve", "pid": "77", "uid": "1000",
        "time": str(SECONDS), "reason": "prog killed by SIGSEGV", "hostname": "crashed.example.org",
    }  # fmt: skip
    for key, value in dict(said, **facts).items():
        put(root, "%s/%s/%s" % (place, name, key), value)
    return put(root, "%s/%s/%s" % (place, name, file), core) if core is not None else None


def composed_name(comm="prog", host="pod-7", pid=77, signal=11, seconds=SECONDS, number=0):
    uuid = "c8c89865-57ab-4530-abc2-%012x" % number
    return "%s-dump-%d-%s-%s-%d-%d" % (uuid, seconds, host, comm, pid, signal)


def composed(root, core, place="/var/mnt/core-dump-handler/cores", **name):
    """A zip file of IBM's core-dump-handler."""
    template = composed_name(**name)
    at = put(root, "%s/%s.zip" % (place, template))
    info = {
        "uuid": template[:36], "dump_file": template + ".core", "timestamp": str(name.get("seconds", SECONDS)),
        "hostname": name.get("host", "pod-7"), "exe": name.get("comm", "prog"), "real_pid": str(name.get("pid", 77)),
        "signal": str(name.get("signal", 11)), "node_hostname": "node1", "path": "!usr!bin!prog",
    }  # fmt: skip
    with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(template + "-dump-info.json", json.dumps(info))
        out.writestr(template + ".core", core)
        out.writestr(template + "-pod-info.json", "{}")
    return at
