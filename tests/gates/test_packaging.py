# SPDX-License-Identifier: Apache-2.0
"""The collection's tarball, as it is released: what is in it, that Galaxy would take it, that it runs installed."""

import hashlib
import io
import json
import os
import posixpath
import re
import sys
import tarfile

import pytest
import yaml

from support import checkout
from support.releases import VERSION


@pytest.fixture(scope="module")
def tarball(dist):
    """The collection as ansible-galaxy builds it."""
    return dist / ("savedump-toolkit-%s.tar.gz" % VERSION)


@pytest.fixture(scope="module")
def unpacked(tarball, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    checkout.succeed("tar", "-xf", tarball, "-C", folder)
    return folder


# All that is for who uses the collection. What else appears in the checkout belongs into galaxy.yml's build_ignore, or
# here.
CONTENT = {
    "CHANGELOG.md", "CONTRIBUTING.md", "FILES.json", "LICENSE", "LICENSES", "MANIFEST.json", "README.md", "changelogs",
    "docs", "meta", "playbooks", "plugins", "roles", "tests",
}  # fmt: skip


def test_tarball_holds_the_collection_only(unpacked):
    assert set(os.listdir(str(unpacked))) == CONTENT
    assert os.listdir(str(unpacked / "tests")) == ["config.yml"]  # what ansible-test has to know
    assert {path.suffix for path in (unpacked / "docs").rglob("*") if path.is_file()} <= {".md", ".json", ".yml"}
    assert (unpacked / "plugins/module_utils/savedump_core/__init__.py").is_file()
    # 0.5 MB as of 0.1.0. Most is code; what is twice that is no code.
    assert sum(path.stat().st_size for path in unpacked.rglob("*") if path.is_file()) < 4000000


_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def links(text):
    """Where a page of Markdown leads to, without what is in code."""
    return re.findall(r"\]\(([^)\s#]+)[^)]*\)", _CODE.sub("", text))


def broken_links(folder):
    """(page, link) of all that leads nowhere, and links in the file system that do."""
    dangling = (path for path in folder.rglob("*") if path.is_symlink() and not path.exists())
    found = [(str(path.relative_to(folder)), os.readlink(str(path))) for path in dangling]
    for page in folder.rglob("*.md"):
        for link in links(page.read_text(encoding="utf-8")):
            target = posixpath.normpath(posixpath.join(str(page.parent), link))
            if not re.match("[a-z]+:", link) and not os.path.exists(target):
                found.append((str(page.relative_to(folder)), link))
    return sorted(found)


def test_tarball_has_no_link_that_leads_nowhere(unpacked):
    assert broken_links(unpacked) == []


def test_broken_links_can_fail(tmp_path):
    (tmp_path / "a.md").write_text("[b](b.md) [c](https://example.org) [a](a.md#x) `[d](d.md)`\n```\n[e](e.md)\n```\n")
    assert broken_links(tmp_path) == [("a.md", "b.md")]


def galaxy_import(tarball):
    return checkout.run(sys.executable, checkout.CHECKOUT / "tools/packaging/galaxy_import.py", tarball)


def test_galaxy_would_import_it(released):
    """The release command asked galaxy-importer, and would have stopped."""
    assert "Importer processing completed successfully" in released.said


def test_galaxy_importer_can_fail(tarball, tmp_path):
    faulty = tmp_path / tarball.name
    with tarfile.open(str(tarball)) as old, tarfile.open(str(faulty), "w:gz") as new:
        for member in old:
            content = old.extractfile(member).read() if member.isfile() else b""
            if member.name == "MANIFEST.json":
                manifest = json.loads(content)
                manifest["collection_info"]["tags"] = ["planted"]
                content = json.dumps(manifest).encode()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    result = galaxy_import(faulty)
    assert result.returncode == 1 and "At least one tag required" in result.stdout, result.stdout


def test_hashes_are_those_of_the_files(unpacked):
    """What Galaxy checks when it is uploaded, and ansible-galaxy verify later."""
    entries = json.loads((unpacked / "FILES.json").read_text())["files"]
    assert [entry["name"] for entry in entries] == sorted(entry["name"] for entry in entries)
    for entry in entries:
        if entry["ftype"] == "file":
            content = (unpacked / entry["name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == entry["chksum_sha256"], entry["name"]


def test_readme_installs_the_collection_from_a_clone(tmp_path):
    """Word for word, standing in the clone, whose ansible.cfg would call the collection installed already."""
    clone = tmp_path / "somewhere/savedump"
    clone.mkdir(parents=True)
    checkout.copy(clone)
    readme = (clone / "README.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```sh\n(ansible-galaxy collection build.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    environment = dict(os.environ, HOME=str(tmp_path), PATH=os.path.dirname(sys.executable) + ":" + os.environ["PATH"])
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH"):
        environment.pop(name, None)
    checkout.succeed("sh", "-ec", commands, cwd=str(clone), env=environment)
    installed = tmp_path / ".ansible/collections/ansible_collections/savedump/toolkit"
    assert (installed / "MANIFEST.json").is_file() and not installed.is_symlink()
    assert checkout.succeed("git", "status", "--short", cwd=str(clone)) == ""


@pytest.fixture(scope="module")
def collections(tarball, tmp_path_factory):
    """(folder of collections, how to run in it): the tarball installed, with no checkout in sight."""
    home = tmp_path_factory.mktemp("home")
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(home / "collections"), HOME=str(home))
    environment.pop("ANSIBLE_CONFIG", None)
    place = dict(cwd=str(home), env=environment)
    galaxy = [checkout.tool("ansible-galaxy"), "collection", "install", "-p", home / "collections", "--offline"]
    checkout.succeed(*galaxy + [tarball], **place)
    return home / "collections", place


def test_installed_tarball_runs(collections, tmp_path):
    """By module name and by playbook name."""
    _, place = collections
    output = checkout.succeed(
        checkout.tool("ansible"),
        "localhost",
        "-m",
        "savedump.toolkit.savedump_info",
        "-a",
        json.dumps({"paths": [str(tmp_path)]}),
        **place
    )
    assert '"dumps": []' in output
    checkout.succeed(checkout.tool("ansible-playbook"), "savedump.toolkit.collect_dumps", "--syntax-check", **place)


def builder(*arguments, **options):
    """ansible-builder, of the environment in which the packages are made."""
    program = "import sys; sys.path.insert(0, 'tools/packaging'); import environment; print(environment.programs())"
    programs = checkout.succeed(sys.executable, "-c", program).strip()
    return checkout.succeed(os.path.join(programs, "ansible-builder"), *arguments, **options)


def test_execution_environment_gets_what_the_control_side_needs(collections):
    folder, _ = collections
    needs = yaml.safe_load(builder("introspect", folder))
    origin = "  # from collection savedump.toolkit"
    assert needs == {
        "python": ["pyelftools>=0.29,<0.33" + origin],
        "system": ["openssh-clients [platform:rpm]" + origin, "openssh-client [platform:dpkg]" + origin],
    }


def test_execution_environments_of_the_guide(tmp_path):
    """ansible-builder takes both definitions; that a container is made of them is not shown here."""
    page = (checkout.CHECKOUT / "docs/execution-environment.md").read_text(encoding="utf-8")
    galaxy, air_gapped = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    air_gapped = galaxy[: galaxy.index("dependencies:")] + air_gapped
    (tmp_path / "savedump-toolkit.tar.gz").touch()
    for text, name in ((galaxy, "savedump.toolkit"), (air_gapped, "/build/collections/savedump-toolkit.tar.gz")):
        (tmp_path / "execution-environment.yml").write_text(text)
        builder("create", "--context", tmp_path / "context", cwd=str(tmp_path))
        requirements = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text())
        assert [collection["name"] for collection in requirements["collections"]] == [name]
    # _build is /build in the container.
    assert (tmp_path / "context/_build/collections/savedump-toolkit.tar.gz").is_file()
    (recipe,) = (tmp_path / "context").glob("*file")
    assert re.search("^(ADD|COPY) _build /build$", recipe.read_text(), re.MULTILINE)
