# SPDX-License-Identifier: Apache-2.0
"""docs/schemas against what savedump writes: real documents of every kind pass with no key left over, and each fault
that is planted in one is found. What plays and other tests write is held against them there (support/documents.py)."""

import copy
import json
import lzma
import re
import struct
import subprocess

import pytest
from support import checkout, documents, elfwriter, stores

from savedump_core import __main__, api, compression, dumps, finders, model, summary
from savedump_core import complete as completing
from savedump_core import manifest as manifests
from savedump_core import setout, stores as places
from savedump_core.dumps import flattened, kdump, opaque
from savedump_core.elf import file, sections
from savedump_core.stores import given

DATA = checkout.CHECKOUT / "tests" / "data"
CORES = sorted((DATA / "cores").glob("*.core.xz"))
VMCORES = sorted((DATA / "vmcores").glob("*.vmcore.xz"))
DOCS = checkout.CHECKOUT / "docs"

pytestmark = pytest.mark.skipif(not documents.available, reason="jsonschema is not installed")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A root with nothing in it."""
    return str(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def said(capsys):
    """said("verify", path): the document that the command prints."""

    def run(verb, *words):
        __main__.main([verb, "--json", *map(str, words)])
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The files of the machine that the x86_64 core is of."""
    folder = tmp_path_factory.mktemp("programs")
    subprocess.run(["tar", "-xf", DATA / "cores/x86_64-programs.tar.xz", "-C", folder], check=True)
    return str(folder)


def searching(root, **more):
    return model.SearchOptions(sysroot=root, **more)


# Real documents


@pytest.mark.parametrize("path", CORES + VMCORES, ids=lambda path: path.name.split(".")[0])
def test_inspect(path, empty):
    document = api.inspect(str(path), searching(empty), packages=False)
    documents.check(document, "dump")
    assert document["modules"] or "qemu" in path.name


def test_inspect_what_is_cut_or_not_read(empty, tmp_path):
    whole = lzma.decompress((DATA / "cores/x86_64-tiny.core.xz").read_bytes())
    (tmp_path / "cut").write_bytes(whole[: len(whole) - 4096])
    (tmp_path / "cut.xz").write_bytes((DATA / "vmcores/oops61.vmcore.xz").read_bytes()[:200000])
    (tmp_path / "lime").write_bytes(b"EMiL" + bytes(500))
    (tmp_path / "save").write_bytes(b"Xen saved domain" + bytes(500))
    (tmp_path / "state.vmss").write_bytes(struct.pack("<I", 0xBED2BED2) + bytes(500))
    for path in sorted(tmp_path.iterdir()):
        document = api.inspect(str(path), searching(empty))
        documents.check(document, "dump")
        assert document["complete"] is False and document["incomplete_why"]
    found = api.find([str(tmp_path)]).as_json()
    documents.check(found, "find")
    assert len(found["dumps"]) == 5


def test_find(said, tmp_path):
    documents.check(said("find", DATA), "find")
    core = elfwriter.process_core(uid=4711).to_bytes()
    stores.put(tmp_path, "/proc/sys/kernel/core_pattern", "/cores/core.%p")
    stores.put(tmp_path, "/cores/core.1", core)
    stores.put(tmp_path, "/etc/passwd", "shop:x:4711:4711:::\n")
    stores.put(tmp_path, "/usr/lib/tmpfiles.d/systemd.conf", "d /var/lib/systemd/coredump 0755 root root 3d\n")
    stores.systemd(tmp_path, core, {"SIGNAL": 11}, suffix="")
    stores.put(
        tmp_path, "/var/crash/202311142213/dmesg.202311142213", "[    1.0] Kernel panic - not syncing: no dump\n"
    )
    stores.put(tmp_path, "/var/crash/_usr_bin_prog.1000.crash", stores.report(core))
    stores.abrt(tmp_path, core)
    stores.composed(tmp_path, core)
    found = said("find", "--host-root", tmp_path)
    documents.check(found, "find")
    assert {entry["store"] for entry in found["dumps"]} >= {"core_pattern", "systemd-coredump", "apport", "abrt"}
    assert any(entry["expires"] for entry in found["dumps"]) and found["logs"]


def test_archive_complete_verify_and_store(said, programs, empty, tmp_path):
    core, lacking = DATA / "cores/x86_64-crash.core.xz", tmp_path / "lacking"
    for folder in (lacking, tmp_path / "whole", tmp_path / "filled"):
        folder.mkdir()
    for words in (["--dry-run"], [], []):  # the second time it is there already
        without = said("archive", core, "-o", lacking, "--sysroot", empty, *words)
        documents.check(without, "archive")
    whole = said("archive", core, "-o", tmp_path / "whole", "--sysroot", empty, "--search-path", programs)
    documents.check(whole, "archive")
    assert len(whole["missing"]) < len(without["missing"])
    (made,) = lacking.iterdir()
    fill = ("complete", made, "--search-path", programs, "-o", tmp_path / "filled")
    for words in (["--dry-run"], []):
        documents.check(said(*fill, *words), "archive")
    (filled,) = (tmp_path / "filled").iterdir()
    for path in (made, whole["path"], filled):
        proof = said("verify", path)
        documents.check(proof, "verify")
        documents.check(proof["manifest"], "manifest")
        documents.check(said("inspect", path), "manifest")
        assert proof["intact"]
    assert "completed" in proof["manifest"] and "completed" not in said("inspect", made)
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(filled.read_bytes()[:-2000])
    documents.check(said("verify", damaged), "verify")
    for _twice in range(2):
        documents.check(said("store", tmp_path / "store", filled, damaged), "store")


def test_archives_of_kernel_dumps(said, empty, tmp_path):
    made = said("archive", VMCORES[0], "-o", tmp_path, "--sysroot", empty)
    documents.check(made, "archive")
    manifest = said("inspect", made["path"])
    documents.check(manifest, "manifest")
    assert {"dmesg", "dump", "link", "launcher"} <= {entry["role"] for entry in manifest["files"]}


def test_what_is_rebuilt_from_the_dump_or_proven_by_it(said, tmp_path):
    """No build ID: rebuilt, another file at its path, one that nothing proves, and one that is gone."""
    contents = [elfwriter.elf_file(padding=8192, soname=name) for name in ("a", "b", "c")]
    modules = [
        elfwriter.Mapped(b"/usr/bin/prog", 0x400000, contents[0]),
        elfwriter.Mapped(b"/usr/lib/pages.so", 0x500000, contents[1], header_only=True),
        elfwriter.Mapped(b"/usr/lib/path.so", 0x600000, contents[2], dumped=False),
        elfwriter.Mapped(b"/usr/lib/gone.so", 0x700000, elfwriter.elf_file(build_id=b"\x22" * 20), dumped=False),
    ]
    root = tmp_path / "root"
    elfwriter.process_core(modules=modules).write(str(tmp_path / "core.1"))
    stores.put(root, "/usr/lib/pages.so", contents[1])
    stores.put(root, "/usr/lib/path.so", contents[2])
    for words in ([], ["--allow-unverified"]):
        documents.check(said("inspect", tmp_path / "core.1", "--sysroot", root, *words), "dump")
    made = said("archive", tmp_path / "core.1", "-o", tmp_path, "--sysroot", root, "--allow-unverified")
    manifest = said("inspect", made["path"])
    documents.check(manifest, "manifest")
    assert {entry["matched_by"] for entry in manifest["files"]} >= {"dump", "path", None}
    assert [gap["status"] for gap in manifest["missing"] if gap["needed"]] == ["mismatch", "missing"]


def test_summaries(empty, tmp_path):
    made = api.archive(str(CORES[0]), str(tmp_path), searching(empty)).as_json()
    found = api.find([str(DATA / "cores")]).as_json()
    arrived = {made["path"]: {**made, "wire_bytes": 7, "saved_bytes": 0}}
    steps = {
        "down": summary.Steps(unreachable="no route to host"),
        "broken": summary.Steps(broken="an earlier task failed"),
        "empty": summary.Steps(looked=found["looked"], left_out=3),
        "found": summary.Steps(dumps=found["dumps"], looked=found["looked"]),
        "whole": summary.Steps(
            dumps=found["dumps"], made=[made], not_archived=[{"dump": "/x", "why": "y", "failed": False}],
            arrived=arrived, proofs={made["path"]: {"intact": True, "problems": []}},
            removed={"removed": ["/x"], "kept": [{"dump": "/y", "why": "z"}], "freed": 1},
        ),
    }  # fmt: skip
    outcomes = {host: summary.outcome(each) for host, each in steps.items()}
    report = summary.document(outcomes, "/dest", False, [{"path": "/a", "size": 1, "why": "b"}])
    documents.check(report, "summary")
    assert {host: each["status"] for host, each in outcomes.items()} == {
        "down": "unreachable", "broken": "failed", "empty": "no-dumps", "found": "complete", "whole": "gaps"
    }  # fmt: skip


# That they can fail


def _faults(document, where="$", free=("vmcoreinfo", "unknown", "hosts", "os_release", "manifest")):
    """(place, what is wrong, the same document with that fault), for each object in the document."""
    if isinstance(document, list):
        seen = set()
        for number, each in enumerate(document):
            if not isinstance(each, dict) or frozenset(each) in seen:
                continue
            seen.add(frozenset(each))
            for place, what, changed in _faults(each, f"{where}[{number}]"):
                yield place, what, [*document[:number], changed, *document[number + 1 :]]
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        at = f"{where}.{key}"
        if key in free:
            continue
        yield at, "left out", {name: each for name, each in document.items() if name != key}
        yield at, "another type", {**document, key: {"of": "no such type"} if not isinstance(value, dict) else "text"}
        yield at, "unknown", {**document, key + "_too": value}
        for place, what, changed in _faults(value, at):
            yield place, what, {**document, key: changed}


#: Keys that need not be there.
OPTIONAL = re.compile(r".*\.(stack|completed|left_out)$|archive\$\.dump\.modules_why$")


@pytest.mark.parametrize("name", ["dump", "kernel", "manifest", "find", "archive", "verify", "store", "summary"])
def test_each_planted_fault_is_found(name, said, programs, empty, tmp_path):
    core = DATA / "cores/x86_64-tiny.core.xz"
    if name == "dump":
        document = said("inspect", core, "--sysroot", programs)
    elif name == "kernel":
        document = said("inspect", VMCORES[0], "--sysroot", empty)
        document["modules"] = []
    elif name == "find":
        document = said("find", core)
    elif name == "summary":
        document = summary.document({}, "/dest")
    else:
        document = said("archive", core, "-o", tmp_path, "--sysroot", empty)
        made = document["path"]
        if name == "verify":
            document = {**said("verify", made), "manifest": {}}
        elif name == "manifest":
            document = said("inspect", made)
        elif name == "store":
            document = said("store", tmp_path / "store", made)
    schema = {"kernel": "dump"}.get(name, name)
    assert documents.problems(document, schema) == []
    passed, count = [], 0
    for place, what, changed in _faults(document):
        count += 1
        wrong = documents.problems(changed, schema)
        if not wrong and not (what == "left out" and OPTIONAL.match(name + place)):
            passed.append((place, what))
        if what == "unknown" and count < 20:
            assert documents.problems(changed, schema, closed=False) == []  # the contract: keys may be added
    assert passed == []
    assert count > 14


def test_values_are_minded(empty):
    document = api.inspect(str(CORES[-2]), searching(empty))
    assert document["process"]["signal"]["address"] is not None and document["modules"][0]["build_id"]
    for path, value in (
        (("process", "signal", "address"), 4096),
        (("process", "signal", "address"), "1000"),
        (("modules", 0, "build_id"), "ABCD"),
        (("modules", 0, "build_id"), "abc"),
        (("modules", 0, "start"), 4194304),
        (("modules", 0, "file", "status"), "lost"),
        (("modules", 0, "file", "at"), "/bin/sh"),
        (("modules", 0, "file", "attempts", 0, "outcome"), "gone"),
        (("modules", 0, "file", "attempts", 0, "finder"), "luck"),
        (("kind",), "corefile"),
        (("identity",), "0"),
        (("size",), -1),
        (("size",), None),
        (("schema",), "savedump.dump/2"),
    ):
        changed = copy.deepcopy(document)
        at = changed
        for step in path[:-1]:
            at = at[step]
        assert at[path[-1]] != value
        at[path[-1]] = value
        assert documents.problems(changed, "dump"), (path, value)


# What the schemas say against the code and the pages


def test_they_are_schemas_and_each_property_has_its_line():
    import jsonschema

    assert sorted(documents.schemas()) == [
        name + ".schema.json"
        for name in ("archive", "common", "dump", "find", "manifest", "store", "summary", "verify")
    ]
    for name, schema in documents.schemas().items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$id"].endswith("/docs/schemas/" + name)
        assert documents.undescribed(schema) == []
    bare = {"properties": {"x": {"type": "string"}, "y": {"description": "No full stop"}}}
    assert documents.undescribed(bare) == ["$.properties.x", "$.properties.y"]


def _enum(*path):
    found = documents.schemas()[path[0] + ".schema.json"]
    for step in path[1:]:
        found = found[step]
    return [each for each in found["enum"] if each is not None]


def test_words_are_those_of_the_code():
    """A finder, a store, a format or a codec that is new has to be in its list."""
    verdict = ("common", "$defs", "verdict", "properties")
    by = [value for name, value in vars(model).items() if name.startswith("BY_")]
    assert sorted(_enum(*verdict, "matched_by")) == sorted(by)
    assert sorted(_enum("manifest", "$defs", "file", "properties", "matched_by")) == sorted(by)
    attempt = ("common", "$defs", "attempt", "properties")
    outcomes = {model.MATCH, model.ABSENT, model.MISMATCH, model.UNREADABLE, model.REFUSED, model.NO_BUILD_ID}
    assert set(_enum(*attempt, "outcome")) == outcomes
    names = {each.NAME for each in finders.CHAIN} | {setout.NAME, completing.NAME, "search", "archives", "from-dump"}
    assert set(_enum(*attempt, "finder")) == names | {"search-path"}
    stored = {each.NAME for each in places.STORES} | {given.NAME}
    assert set(_enum("find", "$defs", "entry", "properties", "store")) == stored
    kinds = {each.KIND for each in (*dumps.FORMATS_OF_ELF, kdump, flattened)} | {kdump.DISKDUMP_KIND}
    kinds |= {each.kind for each in opaque._FORMATS} | {flattened.ELF_KIND, "vmware-vmsn"}
    assert set(_enum("common", "$defs", "kind")) == kinds
    packed = {each.NAME for each in compression.CODECS} | {each.NAME for each in compression.CONTAINERS}
    assert set(_enum("common", "$defs", "facts", "properties", "compression")) == packed
    features = documents.schemas()["common.schema.json"]["$defs"]["verdict"]["properties"]["features"]["items"]["enum"]
    known = {file.MINI_DEBUG_INFO, file.PACKAGE_OF_UNITS, file.SPLIT_UNKNOWN, "split-dwarf"}
    assert set(features) == known | {sections.ZLIB, sections.ZLIB_GNU, sections.ZSTD}
    assert set(_enum("summary", "$defs", "host", "properties", "status")) == set(summary.STATUSES)
    wanted = {model.LOADED, model.DEBUG, model.SUPPLEMENTARY, model.SPLIT}
    assert set(_enum("common", "$defs", "wanted")) == wanted


def _rows(text, heading=None):
    """The words in backticks in the first column of the first table behind `heading`."""
    text = text[text.index(heading) :] if heading else text
    rows = re.search(r"^\| (?:key|value).*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)[1]
    return {word for row in rows.splitlines() for word in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_pages_have_the_same_keys():
    page, every = (DOCS / "archive-format.md").read_text(), documents.schemas()
    manifest = every["manifest.schema.json"]
    assert _rows(page, "## manifest.json") == set(manifest["properties"]) - {"schema"}
    said = set(re.findall(r"`([\w-]+)`", page[page.index("## manifest.json") :]))
    for part in ("file", "host"):
        assert set(manifest["$defs"][part]["properties"]) <= said
    assert set(_enum("manifest", "$defs", "file", "properties", "role")) <= said
    missing = every["common.schema.json"]["$defs"]["missing"]["items"]["properties"]
    assert set(missing) <= said
    page, short = (DOCS / "summary.md").read_text(), every["summary.schema.json"]
    assert _rows(page) == set(short["properties"])
    assert _rows(page, "Of each host:") == set(short["$defs"]["host"]["properties"])
    assert _rows(page, "Of each archive:") == set(short["$defs"]["archive"]["properties"])
    for name in every:
        assert f"schemas/{name}" in "".join(each.read_text() for each in DOCS.glob("*.md")), name


def test_watched_notices_what_nobody_described(tmp_path, monkeypatch):
    """As every test's own documents are (tests/conftest.py)."""
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "this one")
    before = manifests.to_bytes
    with documents.watched():
        document = summary.document({}, "/dest")
        summary.save(str(tmp_path), document)
        with pytest.raises(AssertionError, match="unheard"):
            summary.save(str(tmp_path), {**document, "unheard": 1})
        found = api.find([str(CORES[0])])
        assert found.as_json()["dumps"]
        with pytest.raises(AssertionError, match="looked.0..outcome"):
            found._replace(looked=(places.Looked("given", "x", None),)).as_json()
    assert manifests.to_bytes is before  # nothing stays replaced
