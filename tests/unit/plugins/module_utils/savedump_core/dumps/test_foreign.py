# SPDX-License-Identifier: Apache-2.0
"""Real cores of foreign machines, each against what the program and its kernel said of themselves outside the core.

tests/support/foreign/README.md tells how cores and truth were made.
"""
import json
import lzma
import os

import pytest

from savedump_core import api
from savedump_core.model import SearchOptions

CORES = os.path.join(os.path.dirname(__file__), *[os.pardir] * 5, "data", "cores")
AT_SYSINFO_EHDR = 33

# What the support matrix promises; a core that goes missing must be noticed.
PROMISED = {
    "x86_64", "i386", "i386-compat", "x32", "aarch64", "arm", "arm-compat", "riscv64", "ppc64le", "ppc64", "s390x",
}  # fmt: skip


def _truths():
    names = sorted(name for name in os.listdir(CORES) if name.endswith(".json"))
    return [json.loads(open(os.path.join(CORES, name)).read()) for name in names]


EVERY = {truth["core"].split(".")[0]: truth for truth in _truths()}
TRUTHS = {name: truth for name, truth in EVERY.items() if truth["made_by"] == "kernel"}
EMULATED = sorted(name for name, truth in EVERY.items() if truth["made_by"] == "qemu-user")
DYNAMIC = sorted(name for name in TRUTHS if name.endswith("-crash"))
TINY = sorted(name for name in TRUTHS if name.endswith("-tiny"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A sysroot that has nothing in it."""
    return str(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def reports(empty):
    """Name to inspect()'s document, read from the compressed file."""
    made = {}

    def report(name):
        if name not in made:
            path = os.path.join(CORES, EVERY[name]["core"])
            made[name] = api.inspect(path, SearchOptions(sysroot=empty))
        return made[name]

    return report


def by_path(report):
    return {module["path"]: module for module in report["modules"]}


def test_every_promised_machine_is_there():
    assert PROMISED <= {name[: -len("-crash")] for name in DYNAMIC}
    assert PROMISED <= {name[: -len("-tiny")] for name in TINY}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_machine(name, reports):
    truth, report = EVERY[name], reports(name)
    for key in ("machine", "bits", "endian", "os"):
        assert report[key] == truth[key], key
    assert report["kind"] == "core"
    assert report["size"] == truth["core_size"]
    assert report["compression"] == "xz"
    assert report["complete"] is True and report["incomplete_why"] is None


@pytest.mark.parametrize("name", sorted(TRUTHS))
def test_nothing_to_complain_of(name, reports):
    assert reports(name)["warnings"] == []


@pytest.mark.parametrize("name", sorted(EVERY))
def test_process(name, reports):
    truth, process = EVERY[name], reports(name)["process"]
    assert process["pid"] == truth["pid"]
    assert process["threads"] == truth["threads"]
    if truth["uid"] is not None:
        assert (process["uid"], process["gid"]) == (truth["uid"], truth["gid"])
    assert process["comm"] == truth["comm"]
    assert process["args"] == " ".join(truth["arguments"])
    assert process["signal"] == dict({"code": None, "address": None, "name": "SIGSEGV"}, **truth["signal"])


@pytest.mark.parametrize("name", sorted(TRUTHS))
def test_modules_and_build_ids(name, reports):
    truth, report = TRUTHS[name], reports(name)
    wanted = {one["path"]: (one["build_id"], int(one["start"], 16)) for one in truth["files"]}
    seen = {path: (one["build_id"], int(one["start"], 16)) for path, one in by_path(report).items() if path}
    assert seen == wanted


@pytest.mark.parametrize("name", sorted(TRUTHS))
def test_vdso(name, reports):
    truth, report = TRUTHS[name], reports(name)
    wanted = [int(value, 16) for tag, value in truth["auxv"] if tag == AT_SYSINFO_EHDR]
    assert [int(one["start"], 16) for one in report["modules"] if one["path"] is None] == wanted


@pytest.mark.parametrize("name", DYNAMIC)
def test_executable_and_the_name_it_was_run_by(name, reports):
    truth, process = TRUTHS[name], reports(name)["process"]
    assert process["executable"] == next(one["path"] for one in truth["files"] if one["path"].endswith("/crash"))
    assert process["execfn"] == truth["execfn"] == "./crash"


@pytest.mark.parametrize("name", TINY)
def test_executable_when_no_memory_but_headers_was_dumped(name, reports):
    truth, process = TRUTHS[name], reports(name)["process"]
    assert process["executable"] == truth["files"][0]["path"]
    assert process["execfn"] is None, "the stack was not dumped, so the name is unknown"


@pytest.mark.parametrize("name", DYNAMIC)
def test_both_names_of_each_library(name, reports):
    """The link map has `/lib/...` and `./plug.so` where the kernel has real paths; alone.so came by dlmopen."""
    truth, report = TRUTHS[name], reports(name)
    starts = {one["start"]: one["path"] for one in truth["files"]}
    loaded = [one for one in truth["link_map"] + truth["namespaces"] if one["address"] in starts and one["name"]]
    assert len(loaded) >= 4, "libc, the dynamic linker, plug.so and alone.so"
    for one in loaded:
        module = by_path(report)[starts[one["address"]]]
        assert one["name"] in [module["name"], module["path"]] + module.get("names", []), one["name"]


@pytest.mark.parametrize("name", ["ppc64-crash", "arm-crash"])
def test_plain_and_compressed_are_the_same_dump(name, reports, empty, tmp_path):
    """One machine of each word size and byte order."""
    with lzma.open(os.path.join(CORES, TRUTHS[name]["core"])) as packed:
        tmp_path.joinpath("core").write_bytes(packed.read())
    plain = api.inspect(str(tmp_path / "core"), SearchOptions(sysroot=empty))
    differing = ("path", "stored_size", "compression", "mtime")
    packed_report = reports(name)
    assert {key: plain[key] for key in plain if key not in differing} == {
        key: packed_report[key] for key in packed_report if key not in differing
    }
