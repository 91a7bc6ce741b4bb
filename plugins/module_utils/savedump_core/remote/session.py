# SPDX-License-Identifier: Apache-2.0
"""A session with a host that has dumps, over a pair of pipes to a process there that runs boot.COMMAND: ssh by any
means, a container's exec, or a local process. What serve.py answers is asked here."""

import os
import re
import time
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Union

from .. import archive, compression, landing, naming, promises, space, store
from ..errors import BadDump
from ..model import Json, SearchOptions
from ..tarstream import reader as tar
from ..wire import frames, parcel
from ..wire.frames import Broken, Failed
from . import answers, boot, rebuild

__all__ = ["Broken", "Failed", "Session", "Streamed"]

# Before the first word of ours: banners, and what a shell's start-up files print.
_MAX_NOISE = 1 << 16
_IDENTITY = re.compile(r"[0-9a-f]{1,64}\Z")
# How long a session waits, in all, for files that others have promised to bring; then they are sent once more. A host
# may promise everything for each of a hundred dumps, and keep nothing.
_PATIENCE_S = 900.0
_LOOK_EVERY_S = 0.5
# How long a process there may hold the dump whose link is gone: its sshd hears of that when TCP gives up, after 924 s
# (tcp_retries2 in the kernel's Documentation/networking/ip-sysctl.rst).
PREDECESSOR_S = 1000.0
# An archive that becomes larger than was estimated may not take the last of the disk.
_SPARED = 1 << 28


class Streamed(NamedTuple):
    """What became of one dump: the keys of api.Archived, and what it cost."""

    path: Optional[str]
    """The archive here; in a dry run, where it would be."""
    sha256: Optional[str]
    size: Optional[int]
    planned_size: int
    estimated_size: int
    """Bytes of the archive, by samples of what goes into it."""
    complete: bool
    changed: bool
    """False if an archive of this very dump was here already that lacks no more."""
    missing: List[Json]
    dump: Json
    created: str
    """The dump's last change, as in the manifest."""
    wire_bytes: int
    """That came over the link for it, compressed as they were."""
    saved_bytes: int
    """Of its files, which did not have to come because the store had them already."""

    def as_json(self) -> Json:
        return dict(self._asdict())


Again = Callable[[Broken, int], "Session"]
"""Another session with the same host, after one's link broke when so many bytes of the archive had come. Raises what it
is given, or another reason, when there is none."""


class Session:
    """One process on the other host. Not for two threads."""

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], Any]) -> None:
        """`read` gives at most so many bytes and waits for the first, b"" at the end; `write` takes all it is given.
        What they raise passes; OSError becomes Broken."""
        self._read, self._put = read, write
        self._receiver = frames.Receiver(self._get)
        self._sender = frames.Sender(self._send)
        self._patience_s = _PATIENCE_S
        self._earlier = 0  # bytes, over links that broke
        self.noise = ""
        """What was said there in place of a first word of ours."""

    def start(self) -> str:
        """Bring the code there; the version of Python that runs it, such as "3.6". Raises Broken."""
        heard = b""
        while True:
            ready = boot.READY.search(heard)
            if ready:
                break
            data = self._get(_MAX_NOISE)
            heard += data
            if not data or len(heard) > _MAX_NOISE:
                self.noise = " ".join(heard[-300:].decode("utf-8", "replace").split())
                raise Broken("no Python started there%s" % (": " + self.noise if self.noise else ""))
        version = (int(ready.group(1)), int(ready.group(2)))
        self._send(boot.payload(version))
        return "%d.%d" % version

    def find(self, paths: Iterable[str] = (), sysroot: str = "/", filters: Optional[Json] = None) -> Json:
        """As api.find there, as JSON; `filters` are the arguments of stores.filters.make. Raises Broken, Failed."""
        self._sender.document({"verb": "find", "paths": list(paths), "sysroot": sysroot, "filters": filters or {}})
        report = self._receiver.document()
        if not isinstance(report.get("dumps"), list) or not isinstance(report.get("looked"), list):
            raise Broken("a report came that is none")
        return answers.check_report(report)

    def stream(
        self,
        path: str,
        folder: str,
        search: SearchOptions = SearchOptions(),
        format: str = "tar.gz",
        level: Optional[int] = None,
        store_folder: Optional[str] = None,
        debuginfod_urls: Iterable[str] = (),
        nice: bool = True,
        wait: float = 0.0,
        ignore_space: bool = False,
        dry_run: bool = False,
        force: bool = False,
        progress: Optional[Callable[[int, int], None]] = None,
        again: Optional[Again] = None,
        waiting: Callable[[str], None] = lambda why: None,
    ) -> Streamed:
        """Archive the dump at `path` there into the folder `folder` here, which is made with mode 0700. Nothing is
        written there, and nothing here bears its name before it is whole, and what its manifest says. Files that the
        store has are not sent; those that come are kept in it. `wait`: seconds for another run that is at work on this
        dump; `waiting` hears of it. `progress` hears how many of how many bytes the tar has. With `again` a link that
        breaks while the archive comes is replaced, and the archive goes on where it was.

        Raises Failed with the other host's words. After anything else the session is over: Broken if the link was cut,
        or a file of the store was damaged, which comes anew then; BadDump, Busy, CannotWrite, OSError."""
        archive_format = archive.choose_format(format)
        before = self._received()
        request = {
            "verb": "stream", "path": path, "search": search._asdict(), "debuginfod_urls": list(debuginfod_urls),
            "format": archive_format, "level": level, "nice": nice, "wait": wait, "dry_run": dry_run,
            "codecs": [codec.NAME for codec in (compression.zstd, compression.gzip) if codec.is_native()],
        }  # fmt: skip
        plan = self._planned(request, waiting)
        name = landing.safe_name(plan["name"])
        target, existing = os.path.join(folder, "%s.%s" % (name, archive_format)), None
        try:
            room = space.room_of(folder)
            if not ignore_space and room.free is not None and plan["estimated_size"] > room.free:
                raise space.too_small(room, plan["estimated_size"], room.free, "the archive")
            if not dry_run:
                os.makedirs(folder, 0o700, exist_ok=True)
            if os.path.lexists(folder):
                target, existing = naming.target(name, plan["dump"]["identity"], folder, archive_format, force)
        except BaseException:
            self._sender.document({})
            raise
        made = None
        if existing is not None and not naming.lacks(plan["missing"]) < naming.lacks(existing["missing"]):
            made = rebuild.Rebuilt(landing.sha256_of(target).hexdigest(), os.path.getsize(target), 0, existing)
            plan.update({key: existing[key] for key in ("missing", "complete", "created")})
        elif not dry_run:
            replace = force or existing is not None
            existing = None
            new: Set[str] = set()
            broken, had = None, _stored(plan, store_folder)
            try:
                known = self._fill(plan, store_folder, path, new) if store_folder else []
            except Broken as error:
                # What one link could not bring comes in the archive, which goes on where it was.
                known, broken = _stored(plan, store_folder), error
                new.update(set(known).difference(had))
            pieces = self._pieces(request, plan, known, broken, again, waiting)
            try:
                with archive.atomic_file(target, replace) as file:
                    made = rebuild.rebuild(
                        pieces, file, archive_format, level, store_folder, new,
                        lambda done: _passed(done, plan, None if ignore_space else file, folder, progress),
                    )  # fmt: skip
                    _hold(made.manifest, plan)
            except rebuild.Damaged:
                for sha256 in known:
                    store.drop_damaged(store_folder or "", sha256)  # all at once, for the next try
                raise
        self._sender.document({})
        return Streamed(
            path=target, sha256=made and made.sha256, size=made and made.size, planned_size=plan["size"],
            estimated_size=plan["estimated_size"], complete=plan["complete"], changed=existing is None,
            missing=plan["missing"], dump=plan["dump"], created=plan["created"],
            wire_bytes=self._received() - before, saved_bytes=made.saved if made else 0,
        )  # fmt: skip

    def _planned(self, request: Json, waiting: Callable[[str], None]) -> Json:
        self._sender.document(request)
        answer = self._receiver.document()
        if isinstance(answer.get("waiting"), str):
            waiting(answer["waiting"])
            answer = self._receiver.document()
        return _checked(answer)

    def _pieces(
        self, request: Json, plan: Json, known: List[str], broken: Optional[Broken], again: Optional[Again],
        waiting: Callable[[str], None],
    ) -> Iterator[Union[bytes, parcel.Reference]]:  # fmt: skip
        """Those of the archive; `broken` if the link is already. Over another link the host is asked for the archive
        once more: the same dump and files make the same bytes, of which it sends those that did not come."""
        mark, codec = parcel.Mark(), plan["codec"]
        while True:
            if broken is not None:
                if again is None or isinstance(broken, parcel.Changed):
                    raise broken
                self._go_on(again(broken, mark.at))
            try:
                if broken is not None:
                    now = self._planned(dict(request, wait=max(request["wait"], PREDECESSOR_S)), waiting)
                    if any(now[key] != plan[key] for key in ("name", "dump", "files", "missing")):
                        raise parcel.Changed("%s is not what it was before the link broke" % request["path"])
                    codec = now["codec"]
                self._sender.document({"archive": known, "after": mark.at})
                data = self._receiver.stream()
                yield from parcel.records(_decoded(codec, data), mark)
                data.drain()
                return
            except Broken as error:
                broken = error

    def _go_on(self, other: "Session") -> None:
        """The link of another session is this one's, too."""
        self._earlier += self._receiver.received
        self._receiver, self._sender = other._receiver, other._sender
        self._earlier -= self._receiver.received

    def _received(self) -> int:
        return self._earlier + self._receiver.received

    def _fill(self, plan: Json, folder: str, path: str, asked: Set[str]) -> List[str]:
        """Bring what the store lacks of the archive's files, and add to `asked` which that were; the SHA-256s of all
        that it has then. A file that another session is bringing is waited for."""
        wanted = _wanted(plan)
        while True:
            lacking = [sha256 for sha256 in sorted(wanted.keys() - asked) if not _is_stored(folder, wanted[sha256])]
            with promises.promised(folder, lacking) as free:
                mine = [sha256 for sha256 in lacking if sha256 in free and not _is_stored(folder, wanted[sha256])]
                # Without room for them they come in the archive, for which there may be some.
                if mine and _fit(folder, [wanted[sha256].size for sha256 in mine]):
                    self._sender.document({"files": mine})
                    data = self._receiver.stream()
                    members = tar.members(_decoded(plan["codec"], data))  # type: ignore[arg-type]  # reads as a file
                    store.receive(folder, [wanted[sha256] for sha256 in mine], members, path)
                    data.drain()
                asked.update(mine)
            if not mine:
                if not lacking or self._patience_s <= 0:
                    return _stored(plan, folder)
                time.sleep(_LOOK_EVERY_S)
                self._patience_s -= _LOOK_EVERY_S

    def _get(self, size: int) -> bytes:
        try:
            return self._read(size)
        except OSError as error:
            raise Broken("the connection broke: %s" % (error.strerror or error), "try again") from None

    def _send(self, data: bytes) -> None:
        try:
            self._put(data)
        except OSError as error:
            raise Broken("the connection broke: %s" % (error.strerror or error), "try again") from None


def _wanted(plan: Json) -> Dict[str, store.Announced]:
    """By their SHA-256s, the archive's files that a store takes."""
    return {one.sha256: one for one in map(store.announced, plan["files"]) if one is not None}


def _stored(plan: Json, folder: Optional[str]) -> List[str]:
    """Those of them that it has."""
    return [sha256 for sha256, one in sorted(_wanted(plan).items()) if folder and _is_stored(folder, one)]


def _checked(plan: Json) -> Json:
    """What the other host says that the archive will be, as far as it is used here. Raises Broken."""
    try:
        fits = (
            isinstance(plan["name"], str) and isinstance(plan["size"], int) and isinstance(plan["estimated_size"], int)
            and isinstance(plan["tar_size"], int) and isinstance(plan["created"], str)
            and isinstance(plan["complete"], bool) and isinstance(plan["files"], list)
            and all(isinstance(entry, dict) for entry in plan["files"])
            and _IDENTITY.match(plan["dump"]["identity"]) and plan["codec"] in ("zstd", "gzip")
            and naming.lacks(plan["missing"]) is not None
        )  # fmt: skip
        answers.check_dump(plan["dump"])
        answers.check_missing(plan["missing"])
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise Broken("the other host says nothing that can be understood of the archive")
    return plan


def _hold(manifest: Json, plan: Json) -> None:
    """Raises BadDump unless an archive is the one that was announced: what is told of it is what is in it."""
    told = plan["dump"]["identity"], plan["complete"], naming.lacks(plan["missing"])
    if told != (manifest["dump"].get("identity"), manifest["complete"], naming.lacks(manifest["missing"])):
        raise BadDump("what came is not the archive that the other host announced")


def _passed(
    done: int, plan: Json, file: Optional[IO[bytes]], folder: str, progress: Optional[Callable[[int, int], None]]
) -> None:
    """So many bytes of the tar came. One host that sends without end must not fill the disk for all: raises Broken if
    they are more than was announced, CannotWrite if the archive in `file` takes more than was estimated, and the last
    of the disk."""
    if done > plan["tar_size"]:
        raise Broken("more came than the %d bytes that the other host announced" % plan["tar_size"])
    if file is not None and file.tell() > plan["estimated_size"] + _SPARED:
        free = os.fstatvfs(file.fileno())
        if free.f_blocks and free.f_bavail * free.f_frsize < _SPARED:
            raise space.too_small(space.room_of(folder), file.tell() + _SPARED, file.tell(), "the archive")
    if progress is not None:
        progress(done, plan["size"])


def _decoded(name: str, data: Any) -> Any:
    return (compression.zstd if name == "zstd" else compression.gzip).reader(data)


def _fit(folder: str, sizes: List[int]) -> bool:
    free = space.room_of(folder).free
    return free is None or sum(sizes) + _SPARED <= free


def _is_stored(folder: str, one: store.Announced) -> bool:
    file = store.open_content(folder, one.sha256, one.size)
    if file is None:
        return False
    file.close()
    return True
