# SPDX-License-Identifier: Apache-2.0
"""What is carried: the zip of pyelftools imports, and the zipapp runs on its own."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from ansible import constants
from ansible_collections.savedump.toolkit.plugins.module_utils import _alone
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _carry


@pytest.fixture(autouse=True)
def local_tmp(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return tmp_path


def settings(**changed):
    params = {"paths": None, "inspect": False, "verify": False, "sysroot": "/", "search_paths": []}
    params.update(allow_unverified=False, **changed)
    return {
        "verb": "savedump_info",
        "params": params,
        "check_mode": False,
        "paths": ["paths", "search_paths", "sysroot"],
        "background": False,
    }


def run(path, cwd):
    """The zipapp, isolated from this interpreter's own packages."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(cwd)}
    done = subprocess.run([sys.executable, "-S", "-E", path], cwd=str(cwd), env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def result(text):
    (line,) = [line for line in text.splitlines() if line.startswith(_alone.RESULT)]
    return json.loads(line[len(_alone.RESULT) :])


def test_pyelftools_in_a_zip(tmp_path):
    pytest.importorskip("elftools", reason="this control host has no pyelftools to carry")
    carried = _carry.pyelftools((3, 13))
    code = "import sys; sys.path.insert(0, sys.argv[1]); import elftools.elf.elffile as e; print(e.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", code, carried.path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(carried.path)
    with zipfile.ZipFile(carried.path) as archive:
        assert all(name.endswith(".py") for name in archive.namelist())
    assert _carry.pyelftools((3, 13)).path == carried.path
    assert [name for name in os.listdir(str(tmp_path)) if "elftools" in name] == [os.path.basename(carried.path)]


def test_a_pyelftools_that_the_target_cannot_import_stays_here(monkeypatch):
    monkeypatch.setattr(_carry, "_elftools", lambda: ("/nowhere", "0.33"))
    carried = _carry.pyelftools((3, 9, 2))
    assert carried.path is None
    assert "0.33" in carried.why and "3.9" in carried.why


def test_without_pyelftools(monkeypatch):
    monkeypatch.setattr(_carry, "_elftools", lambda: (None, None))
    carried = _carry.pyelftools((3, 11))
    assert carried.path is None
    assert "pip install pyelftools" in carried.why


def test_the_zipapp_runs_alone(tmp_path):
    (tmp_path / "place").mkdir()
    path = _carry.zipapp(settings(paths=["$HOME/place", "~/none"]), with_elftools=False)
    found = result(run(path, tmp_path))
    assert found["dumps"] == []
    # Both kinds of words were the target's to expand.
    assert {place["where"] for place in found["looked"]} == {str(tmp_path / "place"), str(tmp_path / "none")}
    assert found["python"]["executable"] == sys.executable
    assert found["python"]["pyelftools"] is None


def test_the_zipapp_carries_pyelftools(tmp_path):
    elftools = pytest.importorskip("elftools", reason="this control host has no pyelftools to carry")
    path = _carry.zipapp(settings(paths=["/nonexistent"]), with_elftools=True)
    assert result(run(path, tmp_path))["python"]["pyelftools"] == elftools.__version__


def test_a_bug_comes_back_as_a_result(tmp_path):
    broken = settings()
    del broken["params"]["sysroot"]
    found = result(run(_carry.zipapp(broken, with_elftools=False), tmp_path))
    assert found["failed"] and "KeyError" in found["exception"]
