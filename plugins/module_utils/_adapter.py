# SPDX-License-Identifier: Apache-2.0
"""Between Ansible and the verbs: argument specs in, plain results out.

ansible-core from 2.18 on refuses a result that is not strict UTF-8, and names in dumps are bytes. So an undecodable
byte is written ``\\xff`` in results (see ``_plain``), and understood so in paths that come back.

Some words must not be keys of a result: "skipped" is Ansible's own, "path" and "dest" make AnsibleModule add the owner
and mode of that file.

Nothing here imports ansible, so that the same functions run inside AnsiballZ and inside the zipapp that serves targets
whose Python the controller's ansible-core no longer supports (see _alone.py). A result is what a module returns; its
``warnings`` are sentences for a person, and ``failed`` is there only when it is true.
"""

import contextlib
import errno
import os
import platform
import re
import stat
import sys
import time
import traceback

from .savedump_core import api, errors, lock, manifest, model, nice, remove, space, sysroot, unpack
from .savedump_core.elf import dwarf
from .savedump_core.stores.filters import make as make_filters

# Set by the action plugin: a zip file with pyelftools, carried from the control host for this one run.
CARRIED = "SAVEDUMP_CARRIED"

_SEARCH = {
    "search_paths": {"type": "list", "elements": "path", "default": []},
    "sysroot": {"type": "path", "default": "/"},
    "allow_unverified": {"type": "bool", "default": False},
    "debuginfod_urls": {"type": "list", "elements": "str", "default": []},
}

_FILTERS = {
    "kinds": {"type": "list", "elements": "str", "default": []},
    "executable": {"type": "list", "elements": "str", "default": []},
    "signal": {"type": "list", "elements": "str", "default": []},
    "newer_than": {"type": "str"},
    "older_than": {"type": "str"},
    "min_size": {"type": "str"},
    "max_size": {"type": "str"},
}

ARCHIVE_SPEC = dict(
    _SEARCH,
    **_FILTERS,
    src={"type": "list", "elements": "path"},
    dest={"type": "path"},
    format={"type": "str", "default": "tar.gz", "choices": ["tar.gz", "tar.zst", "tar", "auto"]},
    level={"type": "int"},
    whole_vmlinux={"type": "bool", "default": False},
    gdb_scripts={"type": "bool", "default": False},
    ignore_space={"type": "bool", "default": False},
    nice={"type": "bool", "default": False},
    wait={"type": "int", "default": 0},
)

INFO_SPEC = dict(
    _SEARCH,
    **_FILTERS,
    wait_for_dumps={"type": "int", "default": 0},
    paths={"type": "list", "elements": "path"},
    inspect={"type": "bool", "default": False},
    verify={"type": "bool", "default": False},
)

REMOVE_SPEC = {"archives": {"type": "list", "elements": "dict", "required": True}}

_NOT_PERMITTED = 77
_NO_SUCH_FILE = 66
# Not a dump, or damaged.
_NOT_A_DUMP = (65, _NO_SUCH_FILE)
# Between two looks at dumps that are being written: looking at ten thousand takes 2 s.
_LOOK_AGAIN_S = 5


def archive_dumps(params, check_mode):
    """The module savedump: archive every dump named, or every dump found, and lose none for another's sake."""
    use_carried()
    if params.get("nice"):
        nice.lower()
    dest = params["dest"] or default_dest()
    outcome = {"changed": False, "archives": [], "not_archived": [], "looked": [], "left_out": 0, "warnings": []}
    try:
        output = _nearest_folder(dest) if check_mode else make_private(dest)
        with _one_run(output, params, check_mode) as until:
            sources = _sources(params, outcome)
            _archive_all(params, sources, output, dest, check_mode, until, outcome)
    except (errors.SavedumpError, OSError) as error:
        return _finish(dict(outcome, failed=True, msg=errors.sentence(error)))
    return _finish(_in_words(outcome, dest, check_mode))


@contextlib.contextmanager
def _one_run(output, params, check_mode):
    """One run at a time for each folder of archives. Gives the moment until which to wait for others: one for all
    dumps of a run, for whoever may read a dump can hold its lock."""
    until = time.monotonic() + (params.get("wait") or 0)
    if check_mode:
        yield until
        return
    with lock.claimed(output, until - time.monotonic()):
        yield until


def _archive_all(params, sources, output, dest, check_mode, until, outcome):
    search, debuginfod = _search_options(params), _debuginfod(params)
    for path, named in sources:
        reason = _ours(path, dest)
        if reason:
            _leave_out(outcome, path, reason, None, False)
            continue
        try:
            archived = api.archive(
                path,
                output=output,
                search=search,
                format=params["format"],
                level=params["level"],
                dry_run=check_mode,
                force=output != dest,  # what lies in a folder above has nothing to do with dest
                debuginfod=debuginfod,
                ignore_space=params.get("ignore_space", False),
                wait=max(0.0, until - time.monotonic()),
            )
        except (errors.SavedumpError, OSError) as error:
            status = errors.status_of(error) if isinstance(error, OSError) else error.exit_status
            why = errors.sentence(error)
            if status in _NOT_A_DUMP and ";" not in why:
                why += "; savedump_info lists the dumps that are there"
            # A sweep without root rights meets other people's dumps; only a dump that was asked for by name must open.
            _leave_out(outcome, path, why, status, named or status != _NOT_PERMITTED)
            continue
        document = archived.as_json()
        document["path"] = os.path.join(dest, os.path.basename(archived.path))
        outcome["archives"].append(document)
        outcome["changed"] = outcome["changed"] or archived.changed
        outcome["warnings"].extend(_gaps(path, document))


def describe_dumps(params, check_mode):
    """The module savedump_info: what dumps there are, what they need, whether archives are intact. Changes nothing."""
    use_carried()
    search = _search_options(params)
    outcome = {
        "changed": False, "dumps": [], "archives": [], "looked": [], "unread": [], "left_out": 0, "warnings": [],
    }  # fmt: skip
    paths = [_real_name(path) for path in params["paths"] or ()]
    if params["verify"]:
        for path in paths or [default_dest()]:
            archives = _archives_in(path, outcome)
            outcome["archives"].extend(_verified(archive) for archive in archives)
        outcome["msg"] = "%d of %d archives are intact" % (
            sum(1 for item in outcome["archives"] if item["intact"]),
            len(outcome["archives"]),
        )
        return _finish(outcome)
    try:
        debuginfod = _debuginfod(params)
        report = _when_written(
            lambda: _find(tuple(paths), params), 0 if check_mode else params.get("wait_for_dumps") or 0
        )
    except (errors.SavedumpError, OSError) as error:
        return _finish(dict(outcome, failed=True, msg=errors.sentence(error)))
    outcome.update({key: report[key] for key in ("looked", "left_out", "unread")})
    outcome["warnings"] += [each["why"] for each in report["unread"]]
    for entry in report["dumps"]:
        document = dict(entry)
        if params["inspect"]:
            try:
                document.update(api.inspect(entry["path"], search, debuginfod))
            except (errors.SavedumpError, OSError) as error:
                document["error"] = errors.sentence(error)
                outcome["warnings"].append(errors.sentence(error))
        outcome["dumps"].append(document)
    return _finish(outcome)


def remove_dumps(params, check_mode):
    """The module savedump_remove: unlink dumps that are still the ones whose archives were proven."""
    outcome = {"changed": False, "removed": [], "kept": [], "freed": 0, "warnings": []}
    for archive in params["archives"]:
        dump = archive.get("dump") or {}
        path = _real_name(str(dump.get("path")))
        try:
            if len(dump.get("parts") or ()) > 1:
                raise errors.UsageError("%s is one of several files of a dump" % path, "remove them yourself")
            outcome["freed"] += remove.remove(
                path, str(dump.get("identity")), dump.get("stored_size"), archive.get("created"), dry_run=check_mode
            )
            outcome["removed"].append(path)
        except FileNotFoundError:
            continue
        except (errors.SavedumpError, sysroot.Refused, OSError) as error:
            outcome["kept"].append({"dump": path, "why": errors.sentence(error)})
    outcome["changed"] = bool(outcome["removed"])
    outcome["msg"] = "%s %s: %s" % (
        _dumps(outcome["removed"]),
        "would be removed" if check_mode else "removed",
        in_bytes(outcome["freed"]),
    )
    return _finish(outcome)


VERBS = {
    "savedump": (ARCHIVE_SPEC, archive_dumps),
    "savedump_info": (INFO_SPEC, describe_dumps),
    "savedump_remove": (REMOVE_SPEC, remove_dumps),
}


def perform(verb, params, check_mode):
    """One verb's outcome. A fault of our own is one, too: of a module that dies of an exception ansible-core 2.21 keeps
    nothing under ``failed_when: false``."""
    try:
        return VERBS[verb][1](params, check_mode)
    except Exception as error:  # the last frame before the wire: what is not said here is lost
        return {
            "failed": True,
            "msg": "savedump itself failed: %s: %s" % (type(error).__name__, error),
            "exception": traceback.format_exc(),
            "warnings": [],
        }


def leave(module, outcome):
    """End an AnsibleModule with an outcome of perform()."""
    for text in outcome.pop("warnings"):
        module.warn(text)
    if outcome.get("failed"):
        module.fail_json(**outcome)
    module.exit_json(**outcome)


def use_carried():
    """Put the carried pyelftools before what the target may have: one version everywhere."""
    carried = os.environ.pop(CARRIED, "")
    if carried and os.path.isfile(carried):
        sys.path.insert(0, carried)


def default_dest():
    """Root's archives in one place; anybody else's where nobody else has made the folder already."""
    return "/var/tmp/savedump" if os.geteuid() == 0 else "/var/tmp/savedump-%d" % os.geteuid()


def make_private(dest):
    """Make the folder ``dest`` with mode 0700 unless it is there, and return it.

    Anybody can make a folder in /var/tmp before we do, and could then swap an archive under its name. So a folder
    below a place that all may write to must be ours or root's.
    """
    try:
        os.makedirs(dest, 0o700)
    except FileExistsError:
        pass
    found = os.lstat(dest)
    above = os.stat(os.path.dirname(os.path.abspath(dest)))
    if above.st_mode & stat.S_IWOTH and found.st_uid not in (0, os.geteuid()):
        raise errors.CannotWrite(
            "%s belongs to uid %d, who could swap the archives in it" % (dest, found.st_uid),
            "name another folder in dest, or run as that user",
        )
    if not os.path.isdir(dest):
        raise errors.CannotWrite("%s is not a folder" % dest, "name a folder in dest")
    return dest


def _search_options(params):
    return model.SearchOptions(
        search_paths=tuple(params["search_paths"]),
        sysroot=params["sysroot"],
        allow_unverified=params["allow_unverified"],
        whole_vmlinux=params.get("whole_vmlinux", False),
        gdb_scripts=params.get("gdb_scripts", False),
    )


def _debuginfod(params):
    """One client for all dumps of a run, so that a server that is down is waited for once; None without a server."""
    if not params.get("debuginfod_urls"):
        return None
    from .savedump_core.web import debuginfod, url  # dear to import, and few ask for it

    return debuginfod.Client(url.servers(params["debuginfod_urls"], os.environ))


def _sources(params, outcome):
    """[(path, whether it was named itself)]: the dumps given, those in directories given, or all that are found."""
    if params["src"] is None:
        return [(path, False) for path in _found((), params, outcome)]
    sources = []
    for path in map(_real_name, params["src"]):
        if os.path.isdir(path):
            sources.extend((found, False) for found in _found((path,), params, outcome))
        else:
            sources.append((path, True))
    return sources


def _found(paths, params, outcome):
    report = _find(paths, params)
    outcome["looked"].extend(report["looked"])
    outcome["left_out"] += report["left_out"]
    outcome["warnings"] += [each["why"] for each in report["unread"]]
    for entry in report["dumps"]:
        if entry["in_progress"]:
            why = "is still being written; archive it later"
            _leave_out(outcome, entry["path"], why, errors.Busy.exit_status, False)
    return [entry["path"] for entry in report["dumps"] if not entry["in_progress"]]


def _find(paths, params):
    """api.find() under the filters, with "in_progress" also for a core that the kernel is just writing under its final
    name, and "unread": which of the paths could not be read."""
    filters = make_filters(**{name: params[name] for name in _FILTERS if params.get(name)})
    found = api.find(paths=paths, sysroot=params["sysroot"], filters=filters)
    # Not every host has the same folders: what is not there is said in "looked".
    unread = [_unread(error) for error in found.unread if errors.status_of(error) != _NO_SUCH_FILE]
    report = dict(found.as_json(), unread=unread)
    for entry in report["dumps"]:
        entry["in_progress"] = entry["in_progress"] or lock.being_written(entry["path"])
    return report


def _when_written(find, wait_s):
    """What find() says once no dump is being written any more, or so many seconds have gone by."""
    until = time.monotonic() + wait_s
    while True:
        report = find()
        left = until - time.monotonic()
        if left <= 0 or not any(entry["in_progress"] for entry in report["dumps"]):
            return report
        time.sleep(min(_LOOK_AGAIN_S, left))


def _nearest_folder(path):
    """The nearest folder above ``path`` that is there: check mode makes none."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _ours(path, dest):
    """Why a file is no dump but an archive of ours, or None."""
    real, folder = os.path.realpath(path), os.path.realpath(dest)
    if real.startswith(folder.rstrip("/") + "/"):
        return "lies in %s, where the archives go" % dest
    try:
        if unpack.is_archive(path):
            return "is an archive made by savedump already"
    except (errors.SavedumpError, OSError):
        pass  # api.archive says it better
    return None


def _leave_out(outcome, path, why, status, failed):
    outcome["not_archived"].append({"dump": path, "why": why, "exit_status": status, "failed": failed})
    if status is not None and not failed:  # else the message says it
        outcome["warnings"].append("not archived: %s" % _why(outcome["not_archived"][-1]))


def _why(item):
    """Why a dump was not archived, with its path."""
    return item["why"] if item["dump"] in item["why"] else "%s: %s" % (item["dump"], item["why"])


def _gaps(path, document):
    """What a person must know about an archive that was made."""
    sentences = []
    dump = document.get("dump") or {}
    if dump.get("complete") is False:
        sentences.append(
            "%s: the dump itself is not whole: %s" % (path, dump.get("incomplete_why") or "no reason known")
        )
    gaps = manifest.needed(document.get("missing") or ())
    if gaps:
        names = ", ".join(str(gap.get("module")) for gap in gaps[:5]) + (", ..." if len(gaps) > 5 else "")
        sentences.append(
            "%s: %d of the files it needs %s not found: %s (the result's 'missing' says where it looked)"
            % (path, len(gaps), "was" if len(gaps) == 1 else "were", names)
        )
    return sentences


def _archives_in(path, outcome):
    """The archives in and below a directory, in order; anything else is itself the archive that is meant. What could
    not be looked into is in "unread"."""
    shut, found = [], [path] if os.path.lexists(path) and not os.path.isdir(path) else []
    for folder, _folders, names in os.walk(path, onerror=shut.append) if os.path.isdir(path) else ():
        found += [os.path.join(folder, name) for name in names if name.endswith((".tar", ".tar.gz", ".tar.zst"))]
    words = "%d there" % len(found) if os.path.lexists(path) else os.strerror(errno.ENOENT)
    outcome["looked"].append({"store": "archives", "where": path, "outcome": words})
    outcome["unread"] += [_unread(error) for error in shut]
    return sorted(found)


def _unread(error):
    return {"path": error.filename, "why": errors.sentence(error), "exit_status": errors.status_of(error)}


def _verified(path):
    """api.verify as data, with what the summary wants to know of an archive. Raises nothing that one can name."""
    try:
        proof = api.verify(path)
    except (errors.SavedumpError, OSError) as error:
        return {
            "path": path, "intact": False, "complete": False, "problems": [errors.sentence(error)], "sha256": None,
            "size": None, "missing": [], "dump": None, "changed": False, "planned_size": None, "estimated_size": None,
            "created": None,
        }  # fmt: skip
    document = proof.manifest or {}
    dump = document.get("dump")
    return dict(
        {key: value for key, value in proof.as_json().items() if key != "manifest"},
        missing=document.get("missing", []),
        dump=dump and {key: value for key, value in dump.items() if key != "modules"},
        changed=False,
        planned_size=None,
        estimated_size=None,
        created=document.get("created"),
    )


def _in_words(outcome, dest, check_mode):
    """Add ``msg``, and ``failed`` if a dump that should have been archived was not."""
    archives, left = outcome["archives"], outcome["not_archived"]
    new = [item for item in archives if item["changed"]]
    failed = [item for item in left if item["failed"]]
    parts = []
    if new and check_mode:
        parts.append(
            "would archive %s, reading %s; it would be about %s"
            % (_dumps(new), in_bytes(_sum(new, "planned_size")), in_bytes(_sum(new, "estimated_size")))
        )
    elif new:
        parts.append("archived %s in %s: %s" % (_dumps(new), dest, in_bytes(sum(item["size"] for item in new))))
    if len(archives) > len(new):
        parts.append("%s archived already" % _dumps(archives[len(new) :]))
    if len(left) > len(failed):
        parts.append("%d passed over" % (len(left) - len(failed)))
    if outcome["left_out"]:
        parts.append("%d more not asked for" % outcome["left_out"])
    if failed:
        parts.append("%s NOT archived: %s" % (_dumps(failed), _why(failed[0])))
        outcome["warnings"].extend("not archived: %s" % _why(item) for item in failed[1:])
        outcome["failed"] = True
    outcome["msg"] = "; ".join(parts) or "no dumps found"
    return outcome


def _dumps(items):
    return "1 dump" if len(items) == 1 else "%d dumps" % len(items)


def _sum(items, key):
    return sum(item[key] or 0 for item in items)


in_bytes = space.in_words


def _finish(outcome):
    """Say with what the work was done, in nothing but UTF-8."""
    outcome["python"] = {
        "executable": sys.executable,
        "version": platform.python_version(),
        "pyelftools": dwarf.version(),
    }
    return _plain(outcome)


def _plain(value):
    """The same without surrogates: each byte that os.fsdecode could not decode as \\xNN."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
            return value
        except UnicodeEncodeError:
            pass
        try:
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # a lone surrogate that stands for no byte
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _real_name(path):
    """The file that a path of our results means. A name that is there as it stands (systemd's hold a literal \\x2d)
    means itself."""
    if os.path.lexists(path) or "\\x" not in path:
        return path
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes((int(found.group(1), 16),)), os.fsencode(path))
    return os.fsdecode(raw) if os.path.lexists(raw) else path
