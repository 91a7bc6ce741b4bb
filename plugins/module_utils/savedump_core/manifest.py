# SPDX-License-Identifier: Apache-2.0
"""Values to JSON: the documents of ``inspect --json`` and of manifest.json (docs/archive-format.md)."""

import json
import os
import re
import sys
import time
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional

from . import __version__
from .model import DEBUG, MISMATCH, Dump, Entry, Findings, Json, Missing, ModuleFiles, Plan, Result
from .sysroot import Sysroot, os_release

DUMP_SCHEMA = "savedump.dump/1"
MANIFEST_SCHEMA = "savedump.manifest/1"

# What wrote a document.
TOOL: Json = {"name": "savedump", "version": __version__}

# 9999-12-31T23:59:59Z
_YEAR_9999 = 253402300799
_ID = re.compile(r"(none|([0-9a-f]{2})+)\Z")


class Host(NamedTuple):
    """The host on which an archive is made."""

    nodename: str
    machine: str
    release: str
    os_release: Dict[str, str]
    """ID, VERSION_ID and PRETTY_NAME of os-release(5), those that are there."""


def host_of(sysroot: Sysroot) -> Host:
    """This host, with the os-release of the given root."""
    name, said = os.uname(), os_release(sysroot)
    kept: Dict[str, str] = {key: said[key] for key in ("ID", "VERSION_ID", "PRETTY_NAME") if key in said}
    return Host(name.nodename, name.machine, name.release, kept)


def dump_json(dump: Dump) -> Json:
    """A Dump without its modules."""
    process: Optional[Json] = None
    if dump.process is not None:
        signal = dump.process.signal
        process = dump.process._asdict()
        process["signal"] = None if signal is None else dict(signal._asdict(), address=_address(signal.address))
    return {
        "path": dump.path,
        "size": dump.size,
        "stored_size": dump.stored_size,
        "compression": dump.compression,
        "kind": dump.kind,
        "machine": dump.machine,
        "bits": dump.bits,
        "endian": dump.endian,
        "os": dump.os,
        "complete": dump.complete,
        "incomplete_why": dump.incomplete_why,
        "process": None if process is None else dict(process),
        "kernel": dump.kernel,
        "parts": [part.path for part in dump.parts],
        "identity": dump.identity,
        "warnings": list(dump.warnings),
    }


def inspect_json(dump: Dump, findings: Findings) -> Json:
    """The document of `inspect --json`."""
    document: Json = {"schema": DUMP_SCHEMA}
    document.update(_with_modules(dump, findings))
    document["archive_complete"] = Plan(name="", dump=dump, findings=findings, entries=()).complete
    return document


def _with_modules(dump: Dump, findings: Findings) -> Json:
    document = dump_json(dump)
    document["modules"] = [_module_json(files) for files in findings.files]
    document["modules_why"] = dump.modules_why
    return document


def _module_json(files: ModuleFiles) -> Json:
    module = files.module
    return {
        "name": module.name,
        "path": module.path,
        "names": list(module.names),
        "build_id": _hex(module.build_id),
        "build_id_why": module.build_id_why,
        "go_build_id": module.go_build_id.decode("ascii", "replace") if module.go_build_id else None,
        "start": _address(module.start),
        "end": _address(module.end),
        "executable": module.executable,
        "deleted": module.deleted,
        "file": _result_json(files.file),
        "debug": _result_json(files.debug),
        "supplementary": _result_json(files.supplementary),
        "split": [_result_json(result) for result in files.split],
    }


def _result_json(result: Optional[Result]) -> Optional[Json]:
    if result is None:
        return None
    attempts = _attempts_json(result)
    if isinstance(result, Missing):
        return {
            "status": result.status,
            "at": None,
            "matched_by": None,
            "package": _package_json(result),
            "command": result.command,
            "attempts": attempts,
        }
    return {
        "status": "found",
        "at": result.at,
        "matched_by": result.matched_by,
        "features": list(result.features),
        "package": _package_json(result),
        "attempts": attempts,
    }


def _package_json(result: Result) -> Optional[Json]:
    return None if result.package is None else dict(result.package._asdict())


def _attempts_json(result: Result) -> List[Json]:
    return [dict(attempt._asdict()) for attempt in result.attempts]


def missing_list(findings: Findings) -> List[Json]:
    """Everything that was not found, each with whether the archive is incomplete without it."""
    gaps = findings.gaps
    return [_missing_json(missing, missing in gaps) for missing in findings.missing]


def needed(missing: Iterable[Json]) -> List[Json]:
    """Of a manifest's "missing", the files without which the archive is not complete. Only a manifest of an older
    version does not say of each whether it is."""
    return [gap for gap in missing if gap.get("needed", gap.get("kind") != DEBUG)]


def has_other_id(attempt: Json) -> bool:
    """True of an attempt, as a manifest has it, if the file there has another build ID, or none: its `detail` is that.
    Of any other file that is not the one, `detail` says what differs."""
    detail = str(attempt.get("detail") or "")
    return attempt.get("outcome") == MISMATCH and _ID.match(detail) is not None


def _missing_json(missing: Missing, is_needed: bool) -> Json:
    want = missing.want
    return {
        "module": want.module,
        "kind": want.kind,
        "build_id": _hex(want.build_id),
        "status": missing.status,
        "needed": is_needed,
        "package": _package_json(missing),
        "command": missing.command,
        "attempts": _attempts_json(missing),
    }


def manifest_json(plan: Plan, digests: Mapping[str, Optional[str]], host: Host) -> Json:
    """manifest.json. `digests` has the SHA-256 of every member that was hashed beforehand, by path.

    "created" is the dump's own last change, not the clock: the same inputs give the same bytes."""
    return {
        "schema": MANIFEST_SCHEMA,
        "created": moment(plan.dump.mtime_ns),
        "tool": TOOL,
        "host": dict(host._asdict()),
        "dump": _with_modules(plan.dump, plan.findings),
        "files": [_entry_json(entry, digests.get(entry.path)) for entry in plan.entries],
        "missing": missing_list(plan.findings),
        "complete": plan.complete,
    }


def _entry_json(entry: Entry, sha256: Optional[str]) -> Json:
    document: Json = {
        "path": entry.path,
        "size": entry.size,
        "sha256": sha256,
        "build_id": _hex(entry.build_id),
        "role": entry.role,
        "origin": entry.origin,
        "matched_by": entry.matched_by,
    }
    if entry.target is not None:
        document["target"] = entry.target
    if entry.cuts:
        document["left_out"] = [{"section": cut.name, "size": cut.size} for cut in entry.cuts]
    return document


def to_bytes(document: Any) -> bytes:
    """JSON as it is written everywhere: ASCII, so that undecodable bytes of paths survive as escapes. A path's text is
    its bytes read as UTF-8, whatever this host's own encoding is, so that it names the same member everywhere."""
    if sys.getfilesystemencoding() not in ("utf-8", "ascii"):
        document = _as_utf8(document)
    return (json.dumps(document, ensure_ascii=True, indent=1) + "\n").encode("ascii")


def _as_utf8(value: Any) -> Any:
    """The same with each string, as os.fsdecode made it here, as it would have made it where UTF-8 is the encoding."""
    if isinstance(value, dict):
        return {key: _as_utf8(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_utf8(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return os.fsencode(value).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # No path: words of savedump's own, with a character that this host's encoding does not have.
        return value


def _hex(build_id: Optional[bytes]) -> Optional[str]:
    return None if build_id is None else build_id.hex()


def _address(value: Optional[int]) -> Optional[str]:
    return None if value is None else "0x%x" % value


def moment(nanoseconds: int) -> str:
    """A time of last change as "created" has it: ISO 8601 in UTC, to the second, from 1970 to the last of four digits;
    tmpfs keeps any that somebody gives his file."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(nanoseconds // 10**9, 0), _YEAR_9999)))
