# SPDX-License-Identifier: Apache-2.0
"""What became of each host of a collection, as one value for programs and people: whoever collects, Ansible or ssh
alone, says in Steps what was done, and gets the same outcome. The words for it are in cli/summary.py."""

import os
import re
import time
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from . import manifest, model
from .archive import atomic_file
from .model import Json
from .stores import given

# What is said of a place where no dump is, or where they were found: nothing is lost there.
NOTHING = re.compile(r"(no dump|no log of a crash|[0-9]+ (found|there)|No such file or directory)\Z")
SCHEMA = "savedump.summary/1"
FILE_NAME = "summary.json"

COMPLETE, GAPS, NO_DUMPS, FAILED, UNREACHABLE = STATUSES = ("complete", "gaps", "no-dumps", "failed", "unreachable")

_OTHER_ID = "%(path)s has another build ID, %(detail)s"
# What came of a place where something was, the most telling first; the rest are places where nothing was.
_TELLING = (
    (model.MISMATCH, "%(path)s is another file: %(detail)s"),
    (model.NO_BUILD_ID, "%(path)s is there, but nothing proves it"),
    (model.UNREADABLE, "%(path)s is unreadable: %(detail)s"),
    (model.REFUSED, "%(path)s was refused: %(detail)s"),
)


class Steps(NamedTuple):
    """What was done for one host, and what came of it. Empty means that a step was not taken, or had nothing to do."""

    unreachable: Optional[str] = None
    """Why the host did not answer at all."""
    broken: Optional[str] = None
    """Why nothing is known of it but that something went wrong at once."""
    dumps: Sequence[Json] = ()
    """As api.find() lists them."""
    looked: Sequence[Json] = ()
    """Where: {"store", "where", "outcome"}."""
    left_out: int = 0
    """Dumps that the filters passed over."""
    made: Sequence[Json] = ()
    """The archives on the host, as Archived.as_json() has them."""
    not_archived: Optional[Sequence[Json]] = None
    """{"dump", "why", "failed"}; None if nothing was to be archived at all."""
    arrived: Mapping[str, Json] = {}
    """By an archive's path on the host: {"path", "sha256", "size", "changed"}, "wire_bytes" and "saved_bytes" if they
    are known; or {"error": why it did not come}."""
    proofs: Mapping[str, Json] = {}
    """By an archive's path here: {"intact", "problems"}."""
    homes: Mapping[str, Json] = {}
    """By an archive's path on the host: the best archive of that dump here, as the module savedump_complete says."""
    senders: Mapping[str, str] = {}
    """Which host a file of the store came from, by its place."""
    removed: Optional[Json] = None
    """Of the dumps on the host: {"removed", "kept", "freed"}."""
    wire_bytes: int = 0
    """That this host sent for the archives of others."""
    errors: Sequence[str] = ()
    """What else went wrong, a sentence each."""


def outcome(steps: Steps) -> Json:
    """{"status", "dumps", "looked", "left_out", "archives", "gaps", "errors", "changed", "wire_bytes", "saved_bytes",
    "removed", "kept", "left"}; docs/summary.md explains each."""
    result: Json = {
        "status": FAILED, "dumps": [], "looked": [], "left_out": 0, "archives": [], "gaps": [], "errors": [],
        "changed": False, "wire_bytes": 0, "saved_bytes": 0, "removed": [], "kept": [], "left": [],
    }  # fmt: skip
    if steps.unreachable is not None:
        return dict(result, status=UNREACHABLE, errors=[steps.unreachable])
    if steps.broken is not None:
        return dict(result, errors=[steps.broken])
    errors: List[str] = result["errors"]
    result.update(dumps=[_dump(each) for each in steps.dumps], looked=list(steps.looked), left_out=steps.left_out)
    for each in steps.made:
        entry = _archive(each, steps.arrived.get(each["path"]), steps.proofs, errors)
        result["archives"].append(_completed(entry, each, steps))
    errors.extend(dict.fromkeys(steps.errors))
    for each in steps.not_archived or ():
        (errors if each["failed"] else result["left"]).append("%s: %s" % (each["dump"], each["why"]))
    result["left"].extend(_not_looked_into(steps, errors))
    if steps.not_archived is not None:
        result["left"].extend(_unfinished(steps))
    result["gaps"].extend(result["left"])
    for each in result["archives"]:
        result["gaps"].extend("%s: %s" % (os.path.basename(each["dump"] or each["path"]), gap) for gap in each["gaps"])
    removed = steps.removed or {}
    result["removed"], result["kept"] = list(removed.get("removed") or ()), list(removed.get("kept") or ())
    result["changed"] = any(each["changed"] for each in result["archives"]) or bool(result["removed"])
    for key in ("wire_bytes", "saved_bytes"):
        result[key] = sum(each[key] for each in result["archives"])
    result["wire_bytes"] += steps.wire_bytes
    nothing = not result["dumps"] and not result["archives"]
    result["status"] = FAILED if errors else NO_DUMPS if nothing else GAPS if result["gaps"] else COMPLETE
    return result


def _unfinished(steps: Steps) -> List[str]:
    """Dumps that are still being written, unless that is said already."""
    said = {each["dump"] for each in steps.not_archived or ()}
    said.update((each["dump"] or {}).get("path") for each in steps.made)
    late = [each["path"] for each in steps.dumps if each.get("in_progress") and each["path"] not in said]
    return ["%s: is still being written; archive it later" % path for path in late]


def _not_looked_into(steps: Steps, errors: Sequence[str]) -> List[str]:
    """What was named and could not be read: the dump that is wanted may be there. What is said already is left out."""
    said = list(errors) + [each["dump"] + ":" for each in steps.not_archived or ()]
    return [
        each["outcome"] if each["outcome"].startswith(each["where"]) else "%s: %s" % (each["where"], each["outcome"])
        for each in steps.looked
        if each["store"] == given.NAME and not NOTHING.match(each["outcome"])
        and not any(one.startswith((each["where"] + ":", each["where"] + " ")) for one in said)
    ]  # fmt: skip


def document(
    outcomes: Mapping[str, Json], dest: Optional[str], check_mode: bool = False, removed_here: Iterable[Json] = (),
    now: Optional[float] = None, to_come: Iterable[str] = (),
) -> Json:  # fmt: skip
    """The whole collection: outcomes by host, and their sums. `to_come` are hosts that had no turn until now."""
    archives = [archive for each in outcomes.values() for archive in each["archives"]]
    home = [archive for archive in archives if archive["path"]]
    return {
        "schema": SCHEMA,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "tool": manifest.TOOL,
        "check_mode": check_mode,
        "dest": dest,
        "hosts": dict(outcomes),
        "totals": {
            "hosts": len(outcomes),
            "by_status": {
                status: sum(1 for each in outcomes.values() if each["status"] == status) for status in STATUSES
            },
            "archives": len(home),
            "bytes": sum(archive["size"] or 0 for archive in home),
            "incomplete": sum(1 for archive in archives if archive["gaps"]),
            "wire_bytes": sum(each["wire_bytes"] for each in outcomes.values()),
            "saved_bytes": sum(each["saved_bytes"] for each in outcomes.values()),
        },
        "removed_here": list(removed_here),
        "to_come": list(to_come),
    }


def save(folder: str, report: Json) -> str:
    """Write summary.json, mode 0600, in one step; a folder that is not there is made with mode 0700. Its path. Raises
    OSError, CannotWrite, and Busy if another run is writing it."""
    path = os.path.join(folder, FILE_NAME)
    try:
        os.makedirs(folder, 0o700)
    except FileExistsError:
        pass
    with atomic_file(path) as file:
        file.write(manifest.to_bytes(report))
    return path


def _archive(made: Json, arrived: Optional[Json], proofs: Mapping[str, Json], errors: List[str]) -> Json:
    """One archive's way: made on the target, fetched, verified."""
    dump = _dump(made["dump"] or {})
    entry: Json = {
        "dump": dump["path"],
        "what": dump["what"],
        "opener": "run-crash.sh" if (made["dump"] or {}).get("kernel") else "run-gdb.sh",
        "path": None,
        "on_target": made["path"],
        "top": _top(made),
        "sha256": made["sha256"],
        "size": made["size"],
        "planned_size": made["planned_size"],
        "estimated_size": made.get("estimated_size"),
        "complete": made["complete"],
        "changed": made["changed"],
        "verified": None,
        "gaps": _gaps(dump, made.get("missing")),
        "filled": [],
        "wire_bytes": 0,
        "saved_bytes": 0,
    }
    if arrived is None:
        return entry
    if "error" in arrived:
        errors.append("%s was not fetched: %s" % (made["path"], arrived["error"]))
        entry["wire_bytes"] = arrived.get("wire_bytes") or 0
        return entry
    entry["path"] = arrived["path"]
    entry["changed"] = entry["changed"] or arrived["changed"]
    size = made["size"] or arrived.get("size") or 0
    wire = arrived.get("wire_bytes")
    entry["wire_bytes"] = wire if wire is not None else size if arrived["changed"] else 0
    saved = arrived.get("saved_bytes")
    entry["saved_bytes"] = saved if saved is not None else max(0, size - entry["wire_bytes"])
    proof = proofs.get(arrived["path"])
    if proof:
        entry["verified"] = bool(proof["intact"])
        if not proof["intact"]:
            errors.append("%s is damaged: %s" % (arrived["path"], "; ".join(proof["problems"])))
    return entry


def _completed(entry: Json, made: Json, steps: Steps) -> Json:
    """The same, where an archive of this dump is here that lacks less than the host's own: then that is what counts."""
    home = steps.homes.get(made["path"])
    if home is None or not home["better"]:
        return entry
    proof = steps.proofs.get(home["path"]) or {}
    senders = [steps.senders.get(gap["place"], "the store") for gap in home["filled"]]
    return dict(
        entry,
        path=home["path"],
        top=_top(dict(made, path=home["path"])),
        sha256=home.get("sha256") or proof.get("sha256"),
        size=home["size"],
        complete=home["complete"],
        changed=entry["changed"] or bool(home["filled"]),
        verified=True if home["filled"] else proof.get("intact", entry["verified"]),
        gaps=_gaps(_dump(made["dump"] or {}), home["missing"]),
        filled=["%s, from %s" % (gap["module"], sender) for gap, sender in zip(home["filled"], senders)],
        saved_bytes=entry["saved_bytes"] if entry["path"] else made["size"] or 0,
    )


def _gaps(dump: Json, missing: Optional[Iterable[Json]]) -> List[str]:
    gaps = [gap_in_words(gap) for gap in manifest.needed(missing or ())]
    return (["the dump itself is not whole: %s" % dump["truncated"]] if dump["truncated"] else []) + gaps


def _top(made: Json) -> str:
    """The folder in an archive: the file's name without what tells it from another of the same name."""
    name = os.path.basename(made["path"]).rpartition(".tar")[0]
    for mark in ((made["dump"] or {}).get("identity"), (made["sha256"] or "")[:8]):
        if mark and name.endswith("-" + mark):
            name = name[: -len(mark) - 1]
    return name


def _dump(document: Json) -> Json:
    """What a person needs to know one dump from another."""
    process = document.get("process") or {}
    kernel = document.get("kernel") or {}
    signal = (process.get("signal") or {}).get("name")
    who = process.get("executable") or process.get("comm") or kernel.get("release")
    words = [str(word) for word in (who or document.get("kind") or "unknown", signal, kernel.get("panic")) if word]
    if process.get("pid"):
        words.append("pid %d" % process["pid"])
    whole = document.get("complete")
    return {
        "path": document.get("path"),
        "size": document.get("stored_size", document.get("size")),
        "mtime_ns": document.get("mtime_ns"),
        "what": ", ".join(words),
        "truncated": (document.get("incomplete_why") or "no reason known") if whole is False else None,
        "in_progress": bool(document.get("in_progress")),
    }


def gap_in_words(gap: Json) -> str:
    """A missing file, as a manifest has it, in one sentence: what, and the most telling of the places tried."""
    attempts: Sequence[Dict[str, Any]] = gap.get("attempts") or ()
    words = str(gap.get("module"))
    if gap.get("build_id"):
        words += " (build ID %s)" % gap["build_id"]
    for kind, told in _TELLING:
        for each in attempts:
            if each.get("outcome") == kind:
                told = _OTHER_ID if manifest.has_other_id(each) else told
                return "%s: %s" % (words, told % {"path": each.get("path"), "detail": each.get("detail")})
    tried = [str(each.get("path")) for each in attempts]
    if tried:
        return "%s: not in %s%s" % (words, ", ".join(tried[:3]), ", ..." if len(tried) > 3 else "")
    return "%s: missing" % words
