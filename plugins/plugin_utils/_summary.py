# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the registered results of the role's steps to what became of each host. No I/O.

A step's result is whatever Ansible registered: done, failed, skipped, unreachable or not there at all. What is made of
it, and the words, are in savedump_core/summary.py and cli/summary.py.
"""

from __future__ import annotations

from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import summary
from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.cli import summary as words

_HINT = '-e \'{"collect_paths": ["DIR"]}\''


def outcome(
    found,
    archived=None,
    fetched=None,
    verified=None,
    completed=None,
    senders=None,
    filling=(),
    room=None,
    removed=None,
    coming=False,
    cleared=None,
):
    """One host's steps as one value, that of summary.outcome(): what came, what is missing, what went wrong.

    ``completed`` is what savedump_complete said of the archives here; ``senders`` has the host that a file of the store
    came from, by its place; ``filling`` are the other steps that fill gaps; ``room`` is why nothing was fetched;
    ``removed`` is what savedump_remove said; ``coming`` is true if every archive was to be brought here; ``cleared`` is
    what came of removing archives from the host.
    """
    try:
        result = summary.outcome(
            _steps(found, archived, fetched, verified, completed, senders, filling, room, removed, coming, cleared)
        )
        # What cannot be said must not cost the others their summary: a target can answer whatever it likes.
        lines({"": result})
        summary.document({"": result}, None)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return summary.outcome(summary.Steps(broken="what this host says makes no sense: %s" % error))
    return result


def lines(outcomes, dest=None, here=None, removed_here=(), check_mode=False, width=0, to_come=()):
    """The summary for a person, host by host. ``here`` is the directory to which paths are shown relative; lines longer
    than ``width`` are folded, if that is not 0; ``to_come`` are hosts that had no turn until now."""
    return words.lines(outcomes, dest, here, removed_here, check_mode, _HINT, width, to_come)


def _is_for_all(archived):
    """Whether what went wrong is the host's, and not told of each dump that it concerns."""
    told = any(each["failed"] for each in archived.get("not_archived", ()))
    return "archives" not in archived or archived.get("unreachable") or (archived.get("failed") and not told)


def _steps(found, archived, fetched, verified, completed, senders, filling, room, removed, coming, cleared):
    first = found or archived or verified
    if not first:
        return summary.Steps(broken="nothing was done on this host; an earlier task failed")
    if first.get("unreachable"):
        return summary.Steps(unreachable=_why(first))
    if "looked" not in first:
        return summary.Steps(broken=_why(first))
    errors = []
    if archived and not archived.get("skipped") and _is_for_all(archived):
        errors.append(_why(archived))
    if room:
        errors.append("nothing was fetched: %s" % room)
    errors.extend(_went_wrong((completed,) + tuple(filling)))
    made = (archived or {}).get("archives", [])
    arrived = {
        each["item"]["path"]: each if "sha256" in each else dict(each, error=_why(each))
        for each in (fetched or {}).get("results", [])
        if "item" in each and not each.get("skipped")
    }
    # What was streamed came as it was made.
    arrived.update((each["path"], each) for each in made if "wire_bytes" in each and each["sha256"])
    if first is verified:
        made = verified["archives"]
        arrived = {each["path"]: dict(each, wire_bytes=0, saved_bytes=0) for each in made}
    elif verified and not verified.get("skipped") and "archives" not in verified:
        errors.append("not verified: %s" % _why(verified))
    proofs = {each["path"]: each for each in (verified or {}).get("archives", [])}
    came = {at: each["path"] for at, each in arrived.items() if each.get("sha256")}
    if "archives" in (verified or {}):
        errors.extend("%s was not verified: it is not there" % path for path in came.values() if path not in proofs)
    # Of what came, the proof here speaks.
    errors.extend(
        "%s is damaged on the host: %s" % (each["path"], "; ".join(each["problems"]))
        for each in made
        if each.get("intact") is False and came.get(each["path"], each["path"]) not in proofs
    )
    errors.extend(each["why"] for each in first.get("unread", []))
    homes = {each["on_target"]: each for each in (completed or {}).get("archives", [])}
    if coming and not room:
        here = set(arrived).union(path for path, home in homes.items() if home["better"])
        lost = [each["path"] for each in made if each["sha256"] and each["path"] not in here]
        errors.extend("%s was not fetched: an earlier task failed on this host" % path for path in lost)
    if removed and not removed.get("skipped") and "removed" not in removed:
        errors.append("no dump was removed: %s" % _why(removed))
    errors.extend(_not_cleared(cleared or {}))
    return summary.Steps(
        dumps=first.get("dumps", []),
        looked=first["looked"],
        left_out=first.get("left_out", 0),
        made=made,
        not_archived=(archived or {}).get("not_archived"),
        arrived=arrived,
        proofs=proofs,
        homes=homes,
        senders=senders or {},
        removed=removed if removed and "removed" in removed else None,
        wire_bytes=sum(each.get("wire_bytes") or 0 for step in filling for each in (step or {}).get("results", ())),
        errors=errors,
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


def _not_cleared(cleared):
    """The archives that could not be removed from the host. Without a terminal, rm's words are on stderr."""
    for each in cleared.get("results", ()):
        if not each.get("skipped") and each.get("rc") != 0:
            why = each.get("stdout", "").strip() or each.get("stderr", "").strip()
            yield "%s was not removed from the host: %s" % (each["item"], _why(dict(each, msg=why or each.get("msg"))))


def _why(step):
    """The words of a failed step on one line, without what Ansible puts before them."""
    words = " ".join(str(step.get("msg") or step.get("module_stderr") or "no reason given").split())
    for prefix in ("Task failed: ", "Failed to connect to the host via ssh: "):
        if words.startswith(prefix):
            words = words[len(prefix) :]
    if "sudo password" in words:
        words += " (give it with --ask-become-pass; for your own dumps only: -e collect_become=false)"
    return words
