# SPDX-License-Identifier: Apache-2.0
"""JSON names the same files on every host."""

import json
import os
import subprocess
import sys

import pytest

from savedump_core import manifest
from savedump_core.model import DEBUG, LOADED, Dump, Findings, Missing, Module, ModuleFiles, Want
from support.checkout import CHECKOUT

NAME = b"caf\xc3\xa9\xff"


def test_bytes_of_a_path_survive_in_json():
    """Undecodable ones are surrogates."""
    assert json.loads(manifest.to_bytes([os.fsdecode(NAME)]).decode("ascii")) == ["café\udcff"]


@pytest.mark.parametrize("charmap", ["ISO-8859-1", "ISO-8859-15", "KOI8-R"])
def test_a_host_of_another_encoding_names_the_same_path(charmap, tmp_path):
    """A manifest written under Latin-1 is read under UTF-8."""
    made = subprocess.run(
        ["localedef", "--no-archive", "-c", "-i", "en_US", "-f", charmap, str(tmp_path / "xx_XX")],
        stderr=subprocess.PIPE,
    )
    assert (tmp_path / "xx_XX" / "LC_CTYPE").is_file(), made.stderr
    program = (
        "import os, sys; from savedump_core import manifest; assert sys.getfilesystemencoding() != 'utf-8'; "
        "sys.stdout.write(manifest.to_bytes([os.fsdecode(%r)]).decode('ascii'))" % NAME
    )
    environment = dict(os.environ, PYTHONPATH=str(CHECKOUT), LOCPATH=str(tmp_path), LC_ALL="xx_XX", PYTHONUTF8="0")
    written = subprocess.check_output([sys.executable, "-c", program], env=environment)
    assert json.loads(written.decode("ascii")) == ["café\udcff"]


def test_what_is_needed_is_what_the_manifest_says():
    """Older ones do not say it."""
    said = [{"kind": "loaded", "needed": False}, {"kind": "debug", "needed": True}]
    assert manifest.needed(said) == said[1:]
    unsaid = [{"kind": "loaded"}, {"kind": "debug"}, {"kind": "supplementary"}]
    assert manifest.needed(unsaid) == [unsaid[0], unsaid[2]]


def test_inspect_says_whether_an_archive_would_be_complete():
    module = Module(
        name="/bin/x", path="/bin/x", names=(), build_id=None, build_id_why=None, start=0, end=1, executable=True
    )
    dump = Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=(module,), identity="0" * 16, mtime_ns=0,
    )  # fmt: skip

    def said(missing, **changed):
        want = Want(kind=missing, module="/bin/x", build_id=None, paths=())
        files = ModuleFiles(module=module, file=None, debug=Missing(want, "missing", ()))
        return manifest.inspect_json(dump._replace(**changed), Findings(files=(files,)))["archive_complete"]

    assert said(DEBUG) and not said(LOADED)
    assert not said(DEBUG, complete=False) and not said(DEBUG, modules_why="the list is damaged")
    assert not manifest.inspect_json(dump, Findings(files=()))["archive_complete"]


@pytest.mark.parametrize(
    "seconds, words",
    [
        (-1, "1970-01-01T00:00:00Z"),
        (0, "1970-01-01T00:00:00Z"),
        (253402300799, "9999-12-31T23:59:59Z"),
        (253402300800, "9999-12-31T23:59:59Z"),
        (10**20, "9999-12-31T23:59:59Z"),
    ],
)
def test_times_have_the_form_that_is_promised(seconds, words):
    assert manifest.moment(seconds * 10**9) == words
