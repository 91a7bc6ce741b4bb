# SPDX-License-Identifier: Apache-2.0
"""Makes archives of any shape, sound, damaged or hostile, for tests of what reads them."""

import hashlib
import io
import json
import os

from savedump_core.tarstream import sums
from savedump_core.tarstream.sparse import Digest
from savedump_core.tarstream.writer import TarWriter
from support import elfwriter

TOP = "archive-core.1"
BUILD_ID = bytes(range(20))
ELF = elfwriter.elf_file(build_id=BUILD_ID)
NOISE = os.urandom(70000)


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Archive:
    """An archive to be made, sound unless told otherwise."""

    def __init__(self, top=TOP):
        self.top = top
        self.manifest = {
            "schema": "savedump.manifest/1", "dump": {"identity": "0" * 16}, "files": [], "missing": [],
            "complete": True,
        }  # fmt: skip
        self.members = []
        self.sums = []
        self.sums_tail = b""
        self.manifest_bytes = None

    def list(self, path, size=0, **more):
        entry = {"path": path, "size": size, "sha256": None, "build_id": None, "role": "library"}
        entry.update(more)
        self.manifest["files"].append(entry)
        return entry

    def file(self, path, data=b"x", mode=0o600, sum_of=None, member=None, **more):
        self.list(path, len(data), **dict({"sha256": sha(data)}, **more))
        self.members.append(lambda tar: tar.add_bytes(member or self.top + "/" + path, data, mode))
        self.sums.append((path, Digest("sha256", sha(data if sum_of is None else sum_of))))

    def link(self, path, target, **more):
        self.list(path, role="link", **dict({"target": target}, **more))
        self.members.append(lambda tar: tar.add_symlink(self.top + "/" + path, target))

    def core(self, size, extents, stored):
        self.list("core.1", size, role="dump")

        def add(tar):
            self.sums = [line for line in self.sums if line[0] != "core.1"]
            self.sums.append(("core.1", tar.add_sparse(self.top + "/core.1", size, extents, 0o600, [stored])))

        self.members.append(add)

    def to_bytes(self, end=True):
        sink = io.BytesIO()
        tar = TarWriter(sink, 1600000000)
        content = self.manifest_bytes or json.dumps(self.manifest).encode()
        digest = tar.add_bytes(self.top + "/manifest.json", content, 0o600)
        for add in self.members:
            add(tar)
        lines = [sums.sums_line("manifest.json", digest)] + [sums.sums_line(*line) for line in self.sums]
        if end:
            tar.add_bytes(self.top + "/SHA256SUMS", b"".join(lines) + self.sums_tail, 0o600)
        tar.close()
        return sink.getvalue()

    def write(self, folder, **options):
        path = folder / "archive.tar"
        path.write_bytes(self.to_bytes(**options))
        return str(path)


def usual(top=TOP):
    """An archive with something of everything."""
    archive = Archive(top)
    archive.file("run-gdb.sh", b"#!/bin/sh\n", 0o700, role="launcher")
    archive.link("lib", "usr/lib")
    archive.file("usr/lib/libx.so", ELF, build_id=BUILD_ID.hex())
    archive.file(os.fsdecode(b"usr/lib/caf\xc3\xa9\nnew \\line"), NOISE)
    archive.core(5 << 20, [(4096, 8192), (2 << 20, 4096)], NOISE[:12288])
    return archive
