# SPDX-License-Identifier: Apache-2.0
"""Rewrite a .tar.gz so that its bytes say nothing of when, where and by whom it was made.

setuptools and ansible-galaxy both write the time of the build, the first its user, too, the second its files in the
order in which the file system names them; neither takes SOURCE_DATE_EPOCH (setuptools 84, ansible-core 2.21).
"""

import gzip
import hashlib
import io
import json
import os
import tarfile

# The parts of a collection's tarball that name the others. Galaxy wants them first.
MANIFEST, FILES = "MANIFEST.json", "FILES.json"


def rewrite(path, seconds):
    """Rewrite the tarball in place: members by name, owned by root, none younger than `seconds` (Unix time)."""
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member).read() if member.isfile() else b"") for member in archive]
    contents = {member.name: content for member, content in members}
    if FILES in contents:
        contents.update(_in_order(contents))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, _ in sorted(members, key=_place):
            member.mtime, member.pax_headers = seconds, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            # The builder's umask is no business of who unpacks it.
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.size = len(contents[member.name])
            archive.addfile(member, io.BytesIO(contents[member.name]))
    with open(path + ".part", "wb") as stream:
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=9, mtime=seconds) as compressed:
            compressed.write(packed.getvalue())
    os.replace(path + ".part", path)


def _place(pair):
    name = pair[0].name
    return (name != MANIFEST, name != FILES, name)


def _in_order(contents):
    """FILES.json with its files by name, and the MANIFEST.json that holds its hash, as ansible-galaxy writes both."""
    files, manifest = json.loads(contents[FILES]), json.loads(contents[MANIFEST])
    files["files"].sort(key=lambda entry: entry["name"])
    listing = json.dumps(files, indent=True).encode()
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(listing).hexdigest()
    return {FILES: listing, MANIFEST: json.dumps(manifest, indent=True).encode()}
