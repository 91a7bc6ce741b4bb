# SPDX-License-Identifier: Apache-2.0
"""The far end of a session: what the host with the dumps does while a control host asks it over a pipe (wire/frames).
Nothing is written to this host's disk: the code itself came over the pipe (remote/boot), and so go the archives.

    {"verb": "find", "paths", "sysroot", "filters"}
        the document of `find --json`, and "unread": [{"path", "why", "exit_status"}] of what was named and is not there
    {"verb": "stream", "path", "search", "debuginfod_urls", "codecs", "format", "level", "nice", "wait",
     "dry_run"}
        {"waiting": why}          if there is somebody to wait for
        what the archive will be: {"name", "created", "size", "tar_size", "estimated_size", "complete", "missing",
                                   "dump", "codec", "files": [{"sha256", "size", "build_id", "role", "matched_by"}]}
        {"files": [sha256, …]}    a stream: a tar of these files, each under its SHA-256; then ask again
        {"archive": [sha256, …], "after"}
                                  a stream: the archive as a parcel (wire/parcel) for a reader who has these files, and
                                  who has the parcel's beginning from a link that broke
        {}                        nothing more of this dump
"""

import os
import shutil
import tempfile
import threading
from contextlib import contextmanager
from typing import Any, FrozenSet, Iterator, List, Optional

from . import api, archive, compression, lock, nice, space
from .errors import SavedumpError, UsageError, status_of
from .manifest import dump_json, missing_list, moment
from .model import Entry, Json, SearchOptions
from .tarstream.writer import TarWriter
from .wire import frames, parcel

# How often the other end hears that this one lives while it reads and searches.
_ALIVE_EVERY_S = 5.0
# What comes from a package or an archive is unpacked here, in memory; what comes from servers lies there until the dump
# is sent, and not in the cache of the user, which is on disk.
_MEMORY = "/dev/shm"
_FETCHED = "savedump-" + os.urandom(8).hex()
_EX_SOFTWARE = 70


def main() -> None:
    """Answer on stdout what stdin asks until that ends."""
    if os.path.isdir(_MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY
    output = os.dup(1)
    os.dup2(2, 1)  # what else is printed must not get between the frames

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(output, view) :]

    serve(frames.Receiver(lambda size: os.read(0, size)), frames.Sender(write))


def serve(receiver: frames.Receiver, sender: frames.Sender) -> None:
    """Until the other end is gone."""
    with _alive(sender):
        while True:
            try:
                request = receiver.document()
            except frames.Broken:
                return
            if not request:
                continue  # the end of what failed here already
            try:
                _VERBS[request["verb"]](request, receiver, sender)
            except frames.Broken:
                return
            except SavedumpError as error:
                sender.failure(error)
            except BrokenPipeError:
                return
            except OSError as error:
                sender.failure(_named(error))
            except Exception as error:  # what is not said here is lost
                failure = SavedumpError("savedump itself failed there: %s: %s" % (type(error).__name__, error))
                failure.exit_status = _EX_SOFTWARE
                sender.failure(failure)
                raise


def _find(request: Json, _receiver: frames.Receiver, sender: frames.Sender) -> None:
    from .stores import filters

    wanted = filters.make(**request["filters"])
    report = api.find(request["paths"], request["sysroot"], wanted)
    document = report.as_json()
    for entry in document["dumps"]:
        entry["in_progress"] = entry["in_progress"] or lock.being_written(entry["path"])
    document["unread"] = [
        {"path": error.filename, "why": error.strerror or str(error), "exit_status": status_of(error)}
        for error in report.unread
    ]
    sender.document(document)


def _stream(request: Json, receiver: frames.Receiver, sender: frames.Sender) -> None:
    options = dict(request["search"], search_paths=tuple(request["search"].get("search_paths", ())))
    codec = next((codec for codec in _codecs(request["codecs"]) if codec.can_write()), None)
    if codec is None:
        raise UsageError("the control host reads none of the codecs that this host writes")
    if request["nice"]:
        nice.lower()
    with _debuginfod(request) as debuginfod, api.alone(
        request["path"], request["dry_run"], request["wait"], lambda why: sender.document({"waiting": why})
    ), api.planned(request["path"], SearchOptions(**options), debuginfod) as ready:
        digests = archive.digests_of(ready.plan)
        copied = [entry for entry in ready.plan.entries if archive.is_copied(entry)]
        announced = _announced(ready, copied, digests)
        announced.update(codec=codec.NAME, estimated_size=_estimate(ready, request))
        announced.update(tar_size=space.tar_size(ready.plan, ready.sources, ready.host))
        sender.document(announced)
        while True:
            wish = receiver.document()
            if not wish:
                return
            with archive.coded(codec, sender) as sink:
                if "files" in wish:
                    _send_files(sink, copied, digests, frozenset(wish["files"]))
                else:
                    _send_archive(sink, ready, digests, frozenset(wish["archive"]), wish["after"])
            sender.end()


_VERBS = {"find": _find, "stream": _stream}


def _codecs(names: List[str]) -> List[Any]:
    by_name = {codec.NAME: codec for codec in (compression.zstd, compression.gzip)}
    return [by_name[name] for name in names if name in by_name]


def _announced(ready: api.Planned, copied: List[Entry], digests: archive.Digests) -> Json:
    plan = ready.plan
    files = {}
    for entry in copied:
        sha256 = digests[entry.path]
        if sha256 is not None:
            files[sha256] = {
                "sha256": sha256, "size": entry.size, "role": entry.role, "matched_by": entry.matched_by,
                "build_id": None if entry.build_id is None else entry.build_id.hex(),
            }  # fmt: skip
    return {
        "name": plan.name, "created": moment(plan.dump.mtime_ns), "size": plan.size, "complete": plan.complete,
        "dump": dict(dump_json(plan.dump), modules_why=plan.dump.modules_why),
        "missing": missing_list(plan.findings), "files": list(files.values()),
    }  # fmt: skip


def _estimate(ready: api.Planned, request: Json) -> int:
    """Bytes of the archive in the control host's format, or what this host can try in its place."""
    here = "tar.gz" if request["format"] == "tar.zst" and not compression.zstd.can_write() else request["format"]
    return space.estimate(ready.plan, ready.sources, here, request["level"], ready.host)


def _send_files(sink: Any, copied: List[Entry], digests: archive.Digests, wanted: FrozenSet[str]) -> None:
    tar = TarWriter(sink, mtime=0)
    left = set(wanted)
    for entry in copied:
        sha256 = digests[entry.path]
        if sha256 is not None and sha256 in left:
            left.remove(sha256)
            archive.add(tar, sha256, entry, {}, lambda done: None)
    tar.close()


def _send_archive(
    sink: Any, ready: api.Planned, digests: archive.Digests, known: FrozenSet[str], after: int
) -> None:  # fmt: skip
    tar = parcel.Writer(sink, after)
    archive.write_tar(ready.plan, ready.sources, tar, ready.host, digests, known)
    tar.close()


@contextmanager
def _debuginfod(request: Json) -> Iterator[Optional[Any]]:
    if not request.get("debuginfod_urls"):
        yield None
        return
    from .web import debuginfod, url

    fetched = _fetched()
    os.mkdir(fetched, 0o700)
    try:
        environ = dict(os.environ, DEBUGINFOD_CACHE_PATH=fetched)
        yield debuginfod.Client(url.servers(request["debuginfod_urls"], environ), environ=environ)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)


def _fetched() -> str:
    return os.path.join(tempfile.gettempdir(), _FETCHED)


@contextmanager
def _alive(sender: frames.Sender) -> Iterator[None]:
    """Say so now and then: reading a large dump and looking for its files takes minutes in which nothing is sent. If
    nobody listens any more, there is nothing left to do."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(_ALIVE_EVERY_S):
            try:
                sender.alive()
            except OSError:
                shutil.rmtree(_fetched(), ignore_errors=True)
                os._exit(1)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _named(error: OSError) -> SavedumpError:
    words = error.strerror or str(error)
    failure = SavedumpError("%s: %s" % (error.filename, words) if error.filename else words)
    failure.exit_status = status_of(error)
    return failure
