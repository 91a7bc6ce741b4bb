# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archives of one host as they lie on the control host: which is the best of each dump, what it lacks, and how it
is completed from the content store.

A host goes on sending the archive that it made, gaps and all. The completed one bears the same name here and has other
bytes, so it is known by the dump's identity, which its manifest holds: nothing else need be remembered between runs.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core import (
    api,
    errors,
    landing,
    manifest,
    model,
    naming,
    setout,
)

_SUFFIXES = (".tar", ".tar.gz", ".tar.zst")


class Home(NamedTuple):
    """One dump's archive on the target, and the best one of the same dump here."""

    on_target: str
    path: str | None
    """None if none is here."""
    manifest: dict[str, Any]
    """Of the archive here. Without one, what the target said of its own: "dump" and "missing"."""
    better: bool
    """True if the one here lacks less than the target's own: it was completed in an earlier run."""

    @property
    def missing(self):
        """As in the manifest."""
        return self.manifest.get("missing") or []

    @property
    def needed(self):
        """Those of the missing files without which the archive is incomplete."""
        return manifest.needed(self.missing)


def homes(archives, dest, host):
    """A Home for each of ``archives``, which is what the module savedump returned on ``host``."""
    known = {}
    for archive in archives:
        place = landing.landing(dest, host, archive["path"])
        if place.folder not in known:
            known[place.folder] = _manifests(place.folder)
        yield _home(archive, place.path, known[place.folder])


def _home(archive, place, known):
    lacks, identity = naming.lacks(archive.get("missing") or ()), (archive.get("dump") or {}).get("identity")
    fitting = [
        (len(naming.lacks(document["missing"])), path != place, path, document)
        for path, document in known.items()
        if identity and document["dump"].get("identity") == identity and naming.lacks(document["missing"]) <= lacks
    ]
    if not fitting:
        said = {"dump": archive.get("dump") or {}, "missing": archive.get("missing") or []}
        return Home(on_target=archive["path"], path=None, manifest=said, better=False)
    count, _elsewhere, path, document = min(fitting, key=lambda each: each[:3])
    return Home(on_target=archive["path"], path=path, manifest=document, better=count < len(lacks))


def _manifests(folder):
    """The manifest of every archive in a folder, by path. It is an archive's first member, so little is read."""
    found = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if name.endswith(_SUFFIXES) and not name.startswith("."):
            try:
                found[path] = naming.manifest_of(path)
            except (errors.SavedumpError, OSError):
                continue  # what is damaged, or no archive, is for the step that verifies
    return found


def wants(home, store):
    """The files to ask other hosts for: all that can be known by a build ID and is not in the store, debug information,
    too; but nothing if no *needed* one is among them, for an archive is not made again for debug information only."""
    asked = [gap for gap in home.missing if place_of(gap) and not in_store(store, gap)]
    needed = {place_of(gap) for gap in home.needed}
    return [_want(gap, home.manifest["dump"]) for gap in asked] if needed & {place_of(gap) for gap in asked} else []


def _want(gap, dump):
    names = {
        name
        for module in dump.get("modules") or ()
        if gap["module"] in (module.get("path"), module.get("name"))
        for name in module.get("names") or ()
        if name.startswith("/")
    }
    want = {"build_id": gap["build_id"], "kind": gap["kind"], "module": gap["module"], "paths": sorted(names)}
    release = (dump.get("kernel") or {}).get("release")
    return dict(want, release=release) if release else want


def place_of(gap):
    """Where the store would hold a file; None for one that no build ID tells, so that it cannot be asked for."""
    try:
        return setout.place_of(str(gap.get("build_id")), str(gap.get("kind")))
    except errors.UsageError:
        return None


def in_store(store, gap):
    """Whether the store holds this file."""
    place = place_of(gap)
    return bool(store and place) and os.path.isfile(os.path.join(store, place))


def can_be_filled(home, store):
    """Whether the store holds a file that this archive needs."""
    return home.path is not None and any(in_store(store, gap) for gap in home.needed)


def complete(home, store):
    """Make the archive again with what the store has of its missing files: (its Home then, its SHA-256 if it is a new
    one, what was filled as entries of "missing").

    The new one takes the old one's name only when it is whole, verified, and lacks less. Raises SavedumpError, OSError.
    """
    folder, name = os.path.split(home.path)
    suffix = next(each for each in reversed(_SUFFIXES) if name.endswith(each))
    draft = os.path.join(folder, ".%s.completed%s" % (name[: -len(suffix)], suffix))
    options = model.SearchOptions(search_paths=(store,))
    try:
        done = api.complete(home.path, output=draft, search=options, format=suffix[1:], force=True)
        if not done.changed:
            return home, None, []
        lacking = naming.lacks(done.manifest["missing"])
        if not lacking < naming.lacks(home.missing):
            return home, None, []
        proof = api.verify(draft)
        if not proof.intact:
            raise errors.BadDump("%s, completed, would be damaged: %s" % (home.path, "; ".join(proof.problems)))
        os.replace(draft, home.path)
    finally:
        if os.path.lexists(draft):
            os.unlink(draft)
    filled = [gap for gap in home.missing if not naming.lacks([gap]) <= lacking]
    return home._replace(manifest=done.manifest, better=True), done.sha256, filled
