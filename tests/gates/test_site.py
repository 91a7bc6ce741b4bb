# SPDX-License-Identifier: Apache-2.0
"""The docs site: it builds without a warning from what a clone holds, every page is in its index, and no link on it or
in the Markdown that GitHub shows leads to nothing.
"""

import html.parser
import json
import os
import pathlib
import re
import sys
import urllib.parse

import pytest

from support import checkout

pytest.importorskip("sphinx", reason="docs/requirements.txt is not installed, or not for this Python")

BLOB = re.compile(r"https://github\.com/savedump/savedump/(?:blob|tree|edit)/main/([^#?]*)")


class Page(html.parser.HTMLParser):
    """What a page links to, what it loads, and what can be linked to in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.update(values[key] for key in ("id", "name") if values.get(key))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        elif tag in ("img", "script", "link", "iframe", "source") and values.get("rel") not in ("next", "prev"):
            self.loads += [values[key] for key in ("src", "href") if values.get(key)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return checkout.copy(tmp_path_factory.mktemp("clone"))


def build(tree, out):
    return checkout.run(sys.executable, "tools/make_site.py", out, tree.parent / "work", cwd=str(tree))


@pytest.fixture(scope="module")
def site(tree, tmp_path_factory):
    """The folder with the pages, {path: Page}, and what the builder said."""
    out = tmp_path_factory.mktemp("site")
    result = build(tree, out)
    assert result.returncode == 0, result.stdout
    return out, {path.relative_to(out).as_posix(): Page(path) for path in sorted(out.rglob("*.html"))}, result.stdout


def test_builds_without_a_word(site):
    out, _pages, said = site
    assert said == "wrote %s\n" % (out / "index.html")


def test_a_clone_stays_as_it_was(site, tree):
    assert checkout.succeed("git", "status", "--short", cwd=str(tree)) == ""


def test_every_module_and_role_has_a_page(site):
    _out, pages, _said = site
    modules = {path.stem for path in (checkout.CHECKOUT / "plugins" / "modules").glob("savedump*.py")}
    roles = {path.parent.parent.name for path in (checkout.CHECKOUT / "roles").glob("*/meta/argument_specs.yml")}
    assert modules and roles
    wanted = {"reference/%s_module.html" % name for name in modules}
    wanted |= {"reference/%s_role.html" % name for name in roles}
    assert wanted <= set(pages)


def test_every_page_is_in_the_index(site):
    _out, pages, _said = site
    linked = {urllib.parse.urldefrag(link).url for link in pages["index.html"].links} | {""}
    # antsibull-docs writes a page of environment variables, whether or not there are any.
    others = {"genindex.html", "search.html", "index.html", "reference/environment_variables.html"}
    assert {page for page in pages if page not in linked} <= others


def test_no_link_leads_to_nothing(site):
    out, pages, _said = site
    assert broken_links(out, pages) == []


def broken_links(out, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links:
            address, anchor = urllib.parse.urldefrag(link)
            inside = BLOB.match(address)
            if inside:
                found = os.path.lexists(str(checkout.CHECKOUT / urllib.parse.unquote(inside.group(1))))
            elif urllib.parse.urlsplit(address).scheme:
                continue
            else:
                target = os.path.normpath(os.path.join(os.path.dirname(name), urllib.parse.unquote(address)))
                target = target if address else name
                known = pages[target].anchors if target in pages else {anchor}
                found = (out / target).exists() and (not anchor or anchor in known)
            if not found:
                broken.append((name, link))
    return broken


def test_a_broken_link_is_seen(tmp_path):
    here = "<h1 id='top'>x</h1><a href='#top'>+</a><a href='#no'>-</a><a href='no.html'>-</a>"
    there = "<a href='https://github.com/savedump/savedump/blob/main/%s'>x</a>"
    (tmp_path / "a.html").write_text(here + there % "README.md" + there % "no.md")
    links = [link for _page, link in broken_links(tmp_path, {"a.html": Page(tmp_path / "a.html")})]
    assert links == ["#no", "no.html", "https://github.com/savedump/savedump/blob/main/no.md"]


def test_nothing_is_loaded_from_elsewhere(site):
    out, pages, _said = site
    loaded = {link for page in pages.values() for link in page.loads}
    assert loaded and not [link for link in loaded if re.match(r"(?:https?:)?//", link)]
    for style in out.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']*", style.read_text(encoding="utf-8"))


def test_benchmarks_are_those_recorded(site):
    out, _pages, _said = site
    text = (out / "benchmarks.html").read_text(encoding="utf-8")
    recorded = json.loads((checkout.CHECKOUT / "tests" / "bench" / "results.json").read_text())["runs"]
    rows = [row for run in recorded.values() for group in run["groups"] for row in group["rows"]]
    assert rows and text.count('<b style="width:') >= len(rows)
    assert all(run["date"] in text for run in recorded.values())


# file: (text that is appended, what the builder says of it). Each is a mistake that the gate is there for.
FAULTS = {
    "docs/principles.md": ("\nSee [there](nowhere.md), [here](#no-such).\n", ("nowhere.md", "no-such")),
    "docs/architecture.md": ("\n```{nonsense}\n```\n", ("nonsense",)),
    "docs/nobody-links-here.md": ("# A page\n\nThat is in no table of contents.\n", ("nobody-links-here",)),
}


def test_can_fail(site, tree, tmp_path):
    """With what the first build left, so that it takes less time."""
    for name, (text, _words) in FAULTS.items():
        with (tree / name).open("a") as stream:
            stream.write(text)
    result = build(tree, tmp_path / "out")
    assert result.returncode != 0
    for _text, words in FAULTS.values():
        assert all(word in result.stdout for word in words), result.stdout


def markdown():
    return [checkout.CHECKOUT / name for name in checkout.files() if name.endswith(".md")]


def anchors(text):
    """Those that GitHub gives to headings: lower case, no punctuation, dashes for blanks, a number for the second."""
    seen, made = {}, set()
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", text, re.MULTILINE):
        heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        made.add("%s-%d" % (slug, seen[slug]) if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return made


def broken_on_github(path, text):
    broken = []
    for link in re.findall(r"\]\(([^()\s]+)\)", re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)):
        address, anchor = urllib.parse.urldefrag(link)
        if urllib.parse.urlsplit(address).scheme:
            continue
        target = pathlib.Path(os.path.normpath(str(path.parent / address))) if address else path
        if not target.exists():
            broken.append(link)
        elif anchor and target.suffix == ".md":
            if anchor not in anchors(text if target == path else target.read_text(encoding="utf-8")):
                broken.append(link)
    return broken


def test_links_in_markdown_resolve_in_the_repository():
    files = markdown()
    assert len(files) > 10
    assert [(str(path), link) for path in files for link in broken_on_github(path, path.read_text("utf-8"))] == []


def test_a_broken_link_in_markdown_is_seen():
    text = "# A heading, here\n[a](#a-heading-here) [b](#nowhere) [c](no.md) [d](docs/index.md#no) [e](docs/index.md)\n"
    assert broken_on_github(checkout.CHECKOUT / "README.md", text) == ["#nowhere", "no.md", "docs/index.md#no"]
