# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of each host, from the registered results of the role's steps, and the words for it. No I/O.

A step's result is whatever Ansible registered: done, failed, skipped, unreachable or not there at all.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone

from ansible_collections.savedump.toolkit.plugins.module_utils._adapter import in_bytes
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import manifest, model
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.cli.say import printable

# How many places, gaps or archives of one host are spelled out; the results hold all.
_SPELLED = 20

_OTHER_ID = "%(path)s has another build ID, %(detail)s"
# What came of a place where something was, the most telling first; the rest are places where nothing was.
_TELLING = (
    (model.MISMATCH, "%(path)s is another file: %(detail)s"),
    (model.NO_BUILD_ID, "%(path)s is there, but nothing proves it"),
    (model.UNREADABLE, "%(path)s is unreadable: %(detail)s"),
    (model.REFUSED, "%(path)s was refused: %(detail)s"),
)


def outcome(found, archived=None, fetched=None, verified=None, completed=None, senders=None, filling=()):
    """One host's steps as one value: what came, what is missing, where it looked, what went wrong.

    ``completed`` is what savedump_complete said of the archives here; ``senders`` has the host that a file of the store
    came from, by its place; ``filling`` are the other steps that fill gaps. ``status``: "unreachable", "failed",
    "no-dumps", "gaps" or "complete".
    """
    result = {"dumps": [], "looked": [], "archives": [], "gaps": [], "errors": [], "changed": False}
    first = found or archived or verified
    if not first:
        return dict(result, status="failed", errors=["nothing was done on this host; an earlier task failed"])
    if first.get("unreachable"):
        return dict(result, status="unreachable", errors=[_why(first)])
    if "looked" not in first:
        return dict(result, status="failed", errors=[_why(first)])
    result["dumps"] = [_dump(each) for each in first.get("dumps", [])]
    result["looked"] = list(first["looked"])
    if archived and not archived.get("skipped") and "archives" not in archived:
        result["errors"].append(_why(archived))
    arrived = {each["item"]["path"]: each for each in (fetched or {}).get("results", []) if "item" in each}
    proofs = {each["path"]: each for each in (verified or {}).get("archives", [])}
    here = {each["on_target"]: each for each in (completed or {}).get("archives", [])}
    for each in (archived or {}).get("archives", []):
        entry = _archive(each, arrived.get(each["path"]), proofs, result["errors"])
        result["archives"].append(_completed(entry, each, here.get(each["path"]), proofs, senders or {}))
    result["errors"].extend(dict.fromkeys(_went_wrong((completed,) + tuple(filling))))
    for each in (archived or {}).get("not_archived", []):
        (result["errors"] if each["failed"] else result["gaps"]).append("%s: %s" % (each["dump"], each["why"]))
    if verified and first is verified:
        result["archives"] = [_archive(each, each, proofs, result["errors"]) for each in verified["archives"]]
    if verified and not verified.get("skipped") and "archives" not in verified:
        result["errors"].append("not verified: %s" % _why(verified))
    for each in result["archives"]:
        result["gaps"].extend("%s: %s" % (os.path.basename(each["dump"] or each["path"]), gap) for gap in each["gaps"])
    result["changed"] = any(each["changed"] for each in result["archives"])
    result["status"] = (
        "failed"
        if result["errors"]
        else "no-dumps"
        if not result["dumps"] and not result["archives"]
        else "gaps"
        if result["gaps"]
        else "complete"
    )
    return result


def lines(outcomes, dest=None, here=None):
    """The summary for a person, host by host, in printable characters whatever names the targets have. ``here`` is the
    directory to which paths are shown relative."""
    text = []
    width = max([len(host) for host in outcomes] + [4])
    for host, each in outcomes.items():
        first, more = _words(each, here)
        text.append("%-*s  %s" % (width, host, first))
        text.extend("%*s  %s" % (width, "", line) for line in more)
    return [printable(line) for line in text + [""] + _total(outcomes, dest, here)]


def _archive(made, arrived, proofs, errors):
    """One archive's way: made on the target, fetched, verified."""
    dump = _dump(made["dump"] or {})
    entry = {
        "dump": dump["path"],
        "what": dump["what"],
        "opener": "run-crash.sh" if (made["dump"] or {}).get("kernel") else "run-gdb.sh",
        "path": None,
        "on_target": made["path"],
        "top": _top(made),
        "sha256": made["sha256"],
        "size": made["size"],
        "planned_size": made["planned_size"],
        "complete": made["complete"],
        "changed": made["changed"],
        "verified": None,
        "gaps": _gaps(dump, made.get("missing")),
        "filled": [],
    }
    if arrived is None or arrived.get("skipped"):
        return entry
    if "sha256" not in arrived:
        errors.append("%s was not fetched: %s" % (made["path"], _why(arrived)))
        return entry
    entry["path"] = arrived["path"]
    entry["changed"] = entry["changed"] or arrived["changed"]
    proof = proofs.get(arrived["path"])
    if proof:
        entry["verified"] = bool(proof["intact"])
        if not proof["intact"]:
            errors.append("%s is damaged: %s" % (arrived["path"], "; ".join(proof["problems"])))
    return entry


def _completed(entry, made, home, proofs, senders):
    """The same, where an archive of this dump is here that lacks less than the host's own: then that is what counts."""
    if home is None or not home["better"]:
        return entry
    proof = proofs.get(home["path"]) or {}
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
        filled=["%s, from %s" % (gap["module"], senders.get(gap["place"], "the store")) for gap in home["filled"]],
    )


def _went_wrong(steps):
    """Why steps that fill gaps failed, those that were taken."""
    for step in steps:
        if not step or step.get("skipped"):
            continue
        if "results" in step:
            yield from _went_wrong(step["results"])
        elif "errors" in step:
            yield from step["errors"]
        elif "files" not in step and "sha256" not in step:
            yield "no gap was filled: %s" % _why(step)


def _gaps(dump, missing):
    gaps = [_gap(gap) for gap in manifest.needed(missing or ())]
    return (["the dump itself is not whole: %s" % dump["truncated"]] if dump["truncated"] else []) + gaps


def _top(made):
    """The folder in an archive: the file's name without what tells it from another of the same name."""
    name = os.path.basename(made["path"]).rpartition(".tar")[0]
    for mark in ((made["dump"] or {}).get("identity"), (made["sha256"] or "")[:8]):
        if mark and name.endswith("-" + mark):
            name = name[: -len(mark) - 1]
    return name


def _dump(document):
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
    }


def _gap(gap):
    """A missing file in one sentence: what, and the most telling of the places tried."""
    attempts = gap.get("attempts") or ()
    words = str(gap.get("module"))
    if gap.get("build_id"):
        words += " (build ID %s)" % gap["build_id"]
    for outcome, told in _TELLING:
        for each in attempts:
            if each.get("outcome") == outcome:
                told = _OTHER_ID if manifest.has_other_id(each) else told
                return "%s: %s" % (words, told % {"path": each.get("path"), "detail": each.get("detail")})
    tried = [str(each.get("path")) for each in attempts]
    if tried:
        return "%s: not in %s%s" % (words, ", ".join(tried[:3]), ", ..." if len(tried) > 3 else "")
    return "%s: missing" % words


def _words(each, here):
    """(the line beside the host's name, more lines below it)."""
    if each["status"] == "unreachable":
        return "NOT REACHED: %s" % each["errors"][0], []
    more = []
    if not each["dumps"] and not each["archives"]:
        if each["errors"]:
            return "FAILED: %s" % each["errors"][0], ["FAILED: %s" % error for error in each["errors"][1:]]
        return "no dumps", _looked(each["looked"])
    if not each["archives"]:
        first = "%s found" % _count(each["dumps"], "dump")
        more = ["%s  %s" % (dump["path"], _about(dump)) for dump in each["dumps"][:_SPELLED]]
    else:
        size = sum(archive["size"] or archive["planned_size"] or 0 for archive in each["archives"])
        planned = any(archive["sha256"] is None for archive in each["archives"])
        first = "%s%s%s" % (
            _count(each["archives"], "archive"),
            " would be made, reading " if planned else ", ",
            in_bytes(size),
        )
        if not each["changed"]:
            first += ", nothing new"
        for archive in each["archives"][:_SPELLED]:
            more.extend(_archive_words(archive, here))
    more.extend("FAILED: %s" % error for error in each["errors"])
    return first, more


def _archive_words(archive, here):
    if archive["path"]:
        where = _near(archive["path"], here)
    else:
        where = "%s -> %s" % (archive["dump"], archive["on_target"])
    state = [archive["what"]]
    if archive["verified"]:
        state.append("verified")
    elif archive["verified"] is False:
        state.append("DAMAGED")
    if archive["gaps"]:
        state.append("INCOMPLETE")
    filled = ["  filled: %s" % words for words in archive["filled"][:_SPELLED]]
    return ["%s  (%s)" % (where, ", ".join(state))] + filled + [
        "  lacks %s" % gap if "not whole" not in gap else "  %s" % gap for gap in archive["gaps"][:_SPELLED]
    ]


def _looked(looked):
    """Places with the same outcome on one line: a sweep looks into dozens of folders."""
    by_outcome = {}
    for place in looked:
        by_outcome.setdefault(str(place["outcome"]), []).append(str(place["where"]))
    return [
        "looked in %s%s: %s"
        % (
            ", ".join(places[:_SPELLED]),
            " and %d more" % (len(places) - _SPELLED) if len(places) > _SPELLED else "",
            outcome,
        )
        for outcome, places in by_outcome.items()
    ]


def _about(dump):
    words = [dump["what"]]
    if dump["size"] is not None:
        words.append(in_bytes(dump["size"]))
    if dump["mtime_ns"]:
        when = datetime.fromtimestamp(dump["mtime_ns"] // 10**9, timezone.utc)
        words.append(when.strftime("%Y-%m-%d %H:%M:%S UTC"))
    if dump["truncated"]:
        words.append("NOT WHOLE: %s" % dump["truncated"])
    return "(%s)" % ", ".join(words)


def _total(outcomes, dest, here):
    archives = [archive for each in outcomes.values() for archive in each["archives"]]
    home = [archive for archive in archives if archive["path"]]
    parts = []
    if home:
        parts.append(
            "%s in %s (%s)"
            % (_count(home, "archive"), _near(dest, here), in_bytes(sum(archive["size"] for archive in home)))
        )
    gaps = [archive for archive in archives if archive["gaps"]]
    if gaps:
        parts.append("%d incomplete" % len(gaps))
    for status, words in (("no-dumps", "without dumps"), ("unreachable", "not reached"), ("failed", "failed")):
        number = sum(1 for each in outcomes.values() if each["status"] == status)
        if number:
            parts.append("%d of %s %s" % (number, _count(outcomes, "host"), words))
    text = ["%s." % "; ".join(parts)] if parts else []
    if any(each["status"] == "no-dumps" for each in outcomes.values()):
        text.append('To look in another folder:  -e \'{"collect_paths": ["DIR"]}\'')
    if home:
        first = _near(home[0]["path"], here)
        text.append("To open one:  tar -xf %s && %s/%s" % (first, home[0]["top"], home[0]["opener"]))
    return text


def _near(path, here):
    """``path`` relative to ``here`` if it lies below it."""
    if path and here and path.startswith(here.rstrip("/") + "/"):
        return os.path.relpath(path, here)
    return path


def _count(items, noun):
    return "%d %s%s" % (len(items), noun, "" if len(items) == 1 else "s")


def _why(step):
    """The words of a failed step on one line, without what Ansible puts before them."""
    words = " ".join(str(step.get("msg") or step.get("module_stderr") or "no reason given").split())
    for prefix in ("Task failed: ", "Failed to connect to the host via ssh: "):
        if words.startswith(prefix):
            words = words[len(prefix) :]
    if "sudo password" in words:
        words += " (give it with --ask-become-pass; for your own dumps only: -e collect_become=false)"
    return words
