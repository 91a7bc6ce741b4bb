# SPDX-License-Identifier: Apache-2.0
"""`savedump store`: its words, its JSON, its exit status."""

import json

from support import archives
from support.archives import BUILD_ID, ELF
from support.command import savedump


def archive(folder, name="one.tar", content=ELF):
    made = archives.Archive("archive-" + name)
    made.file("usr/lib/libx.so", content, build_id=BUILD_ID.hex(), matched_by="build-id")
    (folder / name).write_bytes(made.to_bytes())
    return folder / name


def test_words_and_json(tmp_path):
    path, store = archive(tmp_path), tmp_path / "store"
    would = savedump("store", store, path, "--dry-run", status=0)
    assert would.out == "1 file would be added, 0 known, 0 bytes saved\n"
    assert not store.exists()
    assert savedump("store", store, path, status=0).out == "1 file added, 0 known, 0 bytes saved\n"
    answer = json.loads(savedump("store", store, path, "--json", status=0).out)
    assert answer["added"] == answer["other"] == answer["failed"] == [] and answer["saved"] == len(ELF)
    (known,) = answer["known"]
    assert known["name"] == "buildid/%s/executable" % BUILD_ID.hex() and known["archive"] == str(path)


def test_another_content_is_said(tmp_path):
    store = tmp_path / "store"
    savedump("store", store, archive(tmp_path), status=0)
    done = savedump("store", store, archive(tmp_path, "two.tar", ELF + b"tail"), status=0)
    assert "usr/lib/libx.so of" in done.error and "which stays" in done.error


def test_one_bad_archive_stops_no_other(tmp_path):
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    done = savedump("store", tmp_path / "store", tmp_path / "bad.tar", archive(tmp_path), status=65)
    assert done.out.startswith("1 file added") and "nothing was taken of %s" % (tmp_path / "bad.tar") in done.error


def test_a_store_that_cannot_be_made(tmp_path):
    done = savedump("store", tmp_path / "none/store", archive(tmp_path), status=73)
    assert "cannot write into" in done.last
