# SPDX-License-Identifier: Apache-2.0
"""Where IBM's core-dump-handler for Kubernetes leaves cores on a node: UUID-dump-TIME-HOST-COMM-PID-SIGNAL.zip, in the
folder that core_pattern names with -d (charts/core-dump-handler, core-dump-composer/src/config.rs). Its agent uploads
and deletes each, so what lies there is new, or could not be sent.
"""

import json
import os
import re
import struct
import zlib
from typing import Any, Dict, Iterator, Union

from ..model import Json
from ..sysroot import Refused, Sysroot, regular_file
from .core_pattern import pattern_of
from .place import Looked, Spotted, Told, leave_atime, listing, number, resolved

NAME = "core-dump-handler"

# values.yaml: daemonset.hostDirectory, coreDirectory. Bottlerocket and OpenShift have other values of the first.
_PLACES = (
    "/var/mnt/core-dump-handler/cores", "/var/mnt/core-dump-handler/core", "/mnt/core-dump-handler/cores",
    "/home/core-dump-handler/cores",
)  # fmt: skip
_PROGRAM = re.compile(r"\|\S*/(?:cdc|core-dump-composer)\s")
_FOLDER = re.compile(r"\s-d[= ]?(/\S+)")
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ZIP = re.compile(
    _UUID + r"-dump-(?P<time>[0-9]+)-(?P<host_comm>.*)-(?P<pid>[0-9]+)-(?P<signal>[0-9]+)\.zip\Z", re.DOTALL
)
_MAX_INFO = 1 << 16


def entries(sysroot: Sysroot) -> Iterator[Union[Looked, Spotted]]:
    pattern = pattern_of(sysroot)
    named = _FOLDER.search(pattern) if _PROGRAM.match(pattern) else None
    seen = set()
    for place in ((named.group(1),) if named else ()) + _PLACES:
        where = resolved(NAME, sysroot, place)
        if isinstance(where, Looked):
            if named and place == named.group(1):
                yield where
            continue
        if where in seen:
            continue
        seen.add(where)
        try:
            names, _folders = listing(where)
        except OSError as error:
            yield Looked(NAME, where, error.strerror or str(error))
            continue
        for name in names:
            if name.endswith(".zip"):
                path = os.path.join(where, name)
                yield Spotted(path, tell=tell_of, expires=_expires)
        yield Looked(NAME, where, "")


def tell_of(path: str, brief: bool) -> Told:
    """By the dump-info.json that comes first in the zip file; without it, by the name."""
    said = _info(path)
    match = _ZIP.match(os.path.basename(path))
    found: Dict[str, str] = match.groupdict() if match else {}
    when = number(said.get("timestamp") or found.get("time"))
    return Told(
        pid=number(said.get("real_pid") or found.get("pid")),
        comm=said.get("exe") or None,
        # %E: the path with "!" for "/".
        executable=(said.get("path") or "").replace("!", "/") or None,
        signal=number(said.get("signal") or found.get("signal")),
        when_ns=None if when is None else when * 10**9,
        host=said.get("hostname") or said.get("node_hostname") or None,
    )


def _expires(path: str) -> Json:
    """agent/src/main.rs, process_file; the agent may have no credentials, or none may run."""
    return {"at": None, "why": "the agent of core-dump-handler deletes it as soon as it has uploaded it"}


def _info(path: str) -> Dict[str, str]:
    """The first member of the zip file, by the header before it (APPNOTE.TXT 4.3.7)."""
    try:
        with regular_file(path) as file:
            leave_atime(file.fileno())
            raw = file.read(30).ljust(30, b"\0")
            magic, method, names, extras = struct.unpack("<4s4xH16xHH", raw)
            name = file.read(names)
            file.read(extras)
            data = file.read(_MAX_INFO)
    except (OSError, Refused):
        return {}
    if magic != b"PK\x03\x04" or not name.endswith(b"-dump-info.json"):
        return {}
    packed = struct.unpack_from("<I", raw, 18)[0]
    try:
        text = zlib.decompressobj(-15).decompress(data, _MAX_INFO) if method == 8 else data[:packed]
        found: Any = json.loads(text.decode("utf-8", "replace"))
    except (zlib.error, ValueError, RecursionError):
        # RecursionError: brackets, nested deeper than json goes.
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: str(value) for key, value in found.items() if isinstance(value, (str, int))}
