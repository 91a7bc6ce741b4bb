# SPDX-License-Identifier: Apache-2.0
"""Pages of real kernels that panicked, read as their guests said they were (tests/data/vmcores/make.py made them)."""

import json

import pytest

from savedump_core.dumps import open_dump
from savedump_core.source import open_source
from savedump_core.sysroot import Sysroot
from support.checkout import CHECKOUT

FOLDER = CHECKOUT / "tests/data/vmcores"
NAMES = sorted(path.name[: -len(".json")] for path in FOLDER.glob("*.json"))


def test_there_are_several():
    assert {"oops61", "sysrq61", "sysrq612", "sysrq61arm64"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_what_the_guest_said(name):
    said = json.loads((FOLDER / (name + ".json")).read_text())
    with open_source(str(FOLDER / (name + ".vmcore.xz"))) as source:
        dump = open_dump(source, Sysroot("/"))
    loaded = {module.name: module.build_id.hex() for module in dump.modules}
    assert loaded.pop("vmlinux") == said["build_id"] == dump.kernel["build_id"]
    assert loaded == said["modules"] and dump.modules_why is None
    assert (dump.kernel["release"], dump.kernel["nodename"]) == (said["release"], said["nodename"])
    assert dump.kernel["panic"] == said["panic"]
    assert dump.dmesg.decode("utf-8", "replace").splitlines()[-1] == said["log_ends"]
    assert dump.machine == ("aarch64" if "arm64" in name else "x86_64")
