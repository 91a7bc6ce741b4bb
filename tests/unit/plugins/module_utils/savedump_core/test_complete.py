# SPDX-License-Identifier: Apache-2.0
"""An archive of a real core from another machine, completed: what of its manifest is believed, and what stays of it.
Real crashes on this machine are in tests/integration/test_complete.py."""

import json
import os
import pathlib
import subprocess
import tarfile

import pytest

from savedump_core import api, workroom
from savedump_core.errors import BadDump, Busy, CannotWrite, UsageError
from savedump_core.model import SearchOptions
from support.archives import Archive

CORES = pathlib.Path(__file__).resolve().parents[4] / "data/cores"


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The files of the machine that the core is of, each below its own path."""
    folder = tmp_path_factory.mktemp("programs")
    subprocess.check_call(["tar", "-xf", str(CORES / "aarch64-programs.tar.xz"), "-C", str(folder)])
    return folder


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    return tmp_path_factory.mktemp("nothing")


@pytest.fixture(scope="module")
def gaps(tmp_path_factory, nothing):
    folder = tmp_path_factory.mktemp("gaps")
    done = api.archive(
        str(CORES / "aarch64-crash.core.xz"), str(folder), SearchOptions(sysroot=str(nothing)), format="tar"
    )
    assert not done.complete
    return pathlib.Path(done.path)


def manifest(path):
    with tarfile.open(str(path)) as tar:
        return json.loads(tar.extractfile(tar.next()).read().decode())


def rewritten(path, folder, change=lambda manifest: None, leave_out=()):
    """The archive with another manifest, sound but for that."""
    with tarfile.open(str(path)) as tar:
        made = None
        for member in tar:
            top, _, name = member.name.partition("/")
            if made is None:
                made = Archive(top)
                document = json.loads(tar.extractfile(member).read().decode())
                continue
            if name == "SHA256SUMS" or name in leave_out:
                continue
            if member.issym():
                made.link(name, member.linkname)
            else:
                made.file(name, tar.extractfile(member).read(), member.mode)
    document["files"] = [one for one in document["files"] if one["path"] not in leave_out]
    change(document)
    made.manifest = document
    return made.write(folder)


def complete(path, programs, **more):
    return api.complete(str(path), search=SearchOptions(search_paths=(str(programs),)), **more)


def test_beside_the_old_one_and_in_its_format(gaps, programs, tmp_path):
    archive = tmp_path / "archive-x.tar"
    archive.write_bytes(gaps.read_bytes())
    done = complete(archive, programs)
    assert done.changed and done.path == str(tmp_path / "archive-x.completed.tar")
    assert api.verify(done.path).intact
    assert archive.read_bytes() == gaps.read_bytes()
    assert done.manifest == manifest(done.path)
    before = manifest(gaps)
    assert len(done.manifest["missing"]) < len(before["missing"])
    assert {key: value for key, value in done.manifest.items() if key in ("host", "tool", "created")} == {
        key: before[key] for key in ("host", "tool", "created")
    }


def test_nothing_of_the_folders_it_worked_in_is_said(gaps, programs, tmp_path):
    done = complete(gaps, programs, output=str(tmp_path / "new.tar"))
    text = json.dumps(done.manifest)
    assert ".work" not in text and str(tmp_path) not in text


def test_what_was_tried_there_stands_before_what_was_tried_here(gaps, nothing, tmp_path):
    done = complete(gaps, nothing, output=str(tmp_path / "new.tar"))
    assert not done.changed and done.path == str(gaps) and list(tmp_path.iterdir()) == []
    for before, after in zip(manifest(gaps)["missing"], done.manifest["missing"]):
        assert after["attempts"][: len(before["attempts"])] == before["attempts"]
        assert all(one["path"].startswith(str(nothing)) for one in after["attempts"][len(before["attempts"]) :])
        assert len(after["attempts"]) > len(before["attempts"])


def test_a_completed_archive_is_completed_again(gaps, programs, nothing, tmp_path):
    first = complete(gaps, programs, output=str(tmp_path / "archive-x.completed.tar"))
    done = complete(first.path, nothing)
    assert not done.changed
    with pytest.raises(UsageError, match="stays as it is"):
        complete(gaps, programs, output=str(gaps))


def test_an_archive_that_is_there_already(gaps, programs, tmp_path):
    first = complete(gaps, programs, output=str(tmp_path / "x.tar"))
    again = complete(gaps, programs, output=str(tmp_path / "x.tar"))
    assert (again.changed, again.path, again.sha256) == (False, first.path, first.sha256)
    assert complete(gaps, programs, output=str(tmp_path / "x.tar"), force=True).changed
    (tmp_path / "y.tar").write_bytes(b"something else")
    with pytest.raises(CannotWrite, match="no archive of this dump"):
        complete(gaps, programs, output=str(tmp_path / "y.tar"))


@pytest.mark.parametrize("keys, value", [
    (("dump", "modules"), 5), (("dump", "modules"), [5]), (("dump", "modules"), [{}]), (("created",), "today"),
    (("created",), None), (("host",), []), (("tool",), 1), (("dump", "complete"), "yes"), (("completed",), {}),
    (("dump", "identity"), None), (("missing", 0, "attempts"), 5), (("dump", "modules", 0, "file"), 5),
    (("dump", "modules", 0, "split"), 5), (("dump", "modules", 0, "name"), None), (("files", 0, "role"), None),
])  # fmt: skip
def test_a_manifest_with_nonsense_in_it(gaps, programs, tmp_path, keys, value):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    path = rewritten(gaps, tmp_path, change)
    with pytest.raises(BadDump):
        complete(path, programs)
    assert os.listdir(str(tmp_path)) == ["archive.tar"]


def test_an_archive_without_a_dump(gaps, programs, tmp_path):
    path = rewritten(gaps, tmp_path, leave_out=("aarch64-crash.core", ".savedump/dump"))
    with pytest.raises(BadDump, match="no dump in it"):
        complete(path, programs)


def test_a_member_that_this_version_knows_nothing_of_stays(gaps, programs, tmp_path):
    def change(document):
        document["of a later version"] = {"x": 1}

    path = rewritten(gaps, tmp_path, change)
    done = complete(path, programs, output=str(tmp_path / "new.tar"))
    assert manifest(done.path)["of a later version"] == {"x": 1}


def test_a_claim_of_a_build_id_is_held_against_the_dump(gaps, programs, tmp_path):
    """The archive says of a file that it is the program: its own build ID is another, and the program stays missing."""
    first = complete(gaps, programs, output=str(tmp_path / "x.tar"))
    document = manifest(first.path)
    found = [one for one in document["dump"]["modules"] if (one["file"] or {}).get("status") == "found"]
    if len(found) < 2:
        pytest.skip("the core has one file only")

    def change(document):
        modules = [one for one in document["dump"]["modules"] if (one["file"] or {}).get("status") == "found"]
        modules[0]["file"]["at"], modules[1]["file"]["at"] = modules[1]["file"]["at"], modules[0]["file"]["at"]
        document["missing"].append(dict(document["missing"][0] if document["missing"] else {}, module="?", kind="debug",
                                        build_id=None, attempts=[], needed=False))  # fmt: skip

    path = rewritten(first.path, tmp_path, change)
    done = complete(path, programs, dry_run=True, output=str(tmp_path / "y.tar"))
    paths = {one["path"]: one["build_id"] for one in done.manifest["files"] if one["build_id"]}
    assert paths == {one["path"]: one["build_id"] for one in document["files"] if one["build_id"]}


class TestWorkroom:
    def test_is_private_and_gone_afterwards(self, tmp_path):
        with workroom.workroom(str(tmp_path / "x.tar")) as room:
            assert os.stat(room).st_mode & 0o777 == 0o700 and os.path.dirname(room) == str(tmp_path)
            os.makedirs(os.path.join(room, "a/b"))
        assert os.listdir(str(tmp_path)) == []

    def test_what_a_killed_run_left_is_thrown_away(self, tmp_path):
        left = tmp_path / ".x.tar.work"
        left.mkdir(0o700)
        (left / "dump").write_bytes(b"x")
        (left / "folder").mkdir()
        with workroom.workroom(str(tmp_path / "x.tar")) as room:
            assert os.listdir(room) == []

    def test_one_at_a_time(self, tmp_path):
        with workroom.workroom(str(tmp_path / "x.tar")):
            with pytest.raises(Busy):
                with workroom.workroom(str(tmp_path / "x.tar")):
                    pass

    @pytest.mark.parametrize("make", [
        lambda path: path.mkdir(0o755), lambda path: path.write_bytes(b""), lambda path: path.symlink_to("/tmp"),
    ], ids=["open to all", "a file", "a link"])  # fmt: skip
    def test_what_is_not_ours_is_left_alone(self, tmp_path, make):
        make(tmp_path / ".x.tar.work")
        with pytest.raises(CannotWrite, match="in the way"):
            with workroom.workroom(str(tmp_path / "x.tar")):
                pass
        assert os.path.lexists(str(tmp_path / ".x.tar.work"))
