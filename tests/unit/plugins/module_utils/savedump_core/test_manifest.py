# SPDX-License-Identifier: Apache-2.0
"""JSON names the same files on every host."""

import json
import os
import subprocess
import sys

import pytest

from savedump_core import manifest
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
