# SPDX-License-Identifier: Apache-2.0
"""`savedump complete`: words that do not fit, and files that are no archive."""

from support import archives, elfwriter
from support.command import savedump


def test_nowhere_to_look(tmp_path):
    path = archives.usual().write(tmp_path)
    done = savedump("complete", path, status=64)
    assert "--search-path DIR, --debuginfod URL or --archives DIR" in done.last


def test_nothing_is_missing(tmp_path):
    path = archives.usual().write(tmp_path)
    done = savedump("complete", path, "--search-path", tmp_path)
    assert done == (0, "", "savedump: nothing is missing, nothing was written\n")
    assert [one.name for one in tmp_path.iterdir()] == ["archive.tar"]


def test_no_archive(tmp_path):
    (tmp_path / "x").write_bytes(elfwriter.elf_file())
    assert savedump("complete", tmp_path / "x", "--search-path", tmp_path, status=65).out == ""
    assert "No such file" in savedump("complete", tmp_path / "y", "--search-path", tmp_path, status=66).last


def test_a_folder_of_archives_that_is_not_there(tmp_path):
    path = archives.usual().write(tmp_path)
    assert "none" in savedump("complete", path, "--archives", tmp_path / "none", status=66).last


def test_no_folder_to_write_into(tmp_path):
    archive = archives.usual()
    archive.manifest["missing"] = [{"module": "/x", "kind": "loaded"}]
    path = archive.write(tmp_path)
    done = savedump("complete", path, "--search-path", tmp_path, "-o", tmp_path / "none/x.tar", status=73)
    assert "there is no folder" in done.last
