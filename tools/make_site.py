#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build the docs site. A warning is an error.

    python3 tools/make_site.py OUTDIR [WORKDIR]

The pages are plain Markdown that reads as well on GitHub. They are gathered in a folder (docs/, README.md,
CONTRIBUTING.md, the roles' README.md), with what is generated: the Ansible reference by antsibull-docs, the command
line from the parser, the changelog, the benchmarks. Links between them are made to fit; a link to any other file of the
repository becomes one to GitHub; a link to nothing stays, and Sphinx complains. The table of contents is the list of
links in docs/index.md. WORKDIR keeps what was gathered and read, so that a second build is quick. Needs
docs/requirements.txt and ansible-core, and no network.
"""

import os
import pathlib
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import zlib

import site_bench

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins" / "module_utils"))

from savedump_core.__main__ import make_parser

GITHUB = "https://github.com/savedump/savedump/blob/main/"
_OURS = re.compile(r"https://github\.com/savedump/savedump/(?:blob|tree)/main/")

_LINK = re.compile(r"(?<=\]\()[^()\s]+(?=\))|(?<=\]: )\S+$")
_GENERATED = re.compile(r"<!-- begin ([a-z-]+) -->\n.*?<!-- end \1 -->\n", re.DOTALL)
_FENCE = re.compile(r" *(```|~~~)")


def pages():
    """{path in the repository: path of its page below the site's sources}. Those in .rst are generated there."""
    made = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md"}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        made[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT / "docs").as_posix()
    made["docs/reference/README.md"] = "reference/index.rst"
    for path in sorted((ROOT / "roles").glob("*/README.md")):
        role = path.parent.name
        made["roles/%s/README.md" % role] = "roles/%s.md" % role
        made["roles/%s/meta/argument_specs.yml" % role] = "reference/%s_role.rst" % role
    for path in sorted((ROOT / "plugins" / "modules").glob("savedump*.py")):
        made["plugins/modules/" + path.name] = "reference/%s_module.rst" % path.stem
    return made


def stage(source):
    """Write the sources of the site to the folder `source`; of a page that is there with the same text nothing."""
    staged = pages()
    for origin, page in staged.items():
        if page.endswith(".md"):
            text = (ROOT / origin).read_text(encoding="utf-8")
            text = _GENERATED.sub(lambda mark: GENERATED[mark.group(1)]() + "\n", text)
            text = relink(text, origin, staged)
            _write(source / page, text + contents(text, staged.values()) if page == "index.md" else text)
    reference = _antsibull_docs()
    for name, text in reference.items():
        _write(source / "reference" / name, text)
    (source / "ansible.inv").write_bytes(_inventory("".join(reference.values())))


def _write(path, text):
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def relink(text, origin, staged):
    """The text of the file `origin` with its links, all but those in code blocks, made to fit its page's place."""
    here = posixpath.dirname(staged[origin])

    def replaced(match):
        link = match.group()
        address, mark, anchor = _OURS.sub("/", link).partition("#")
        if not address or re.match(r"[a-z]+:", address):
            return link
        path = posixpath.normpath(posixpath.join("/", posixpath.dirname(origin), address))[1:]
        if path in staged:
            return posixpath.relpath(staged[path], here or ".") + mark + anchor
        return GITHUB + path + mark + anchor if os.path.lexists(str(ROOT / path)) else link

    lines, fenced = text.splitlines(keepends=True), False
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            lines[number] = _LINK.sub(replaced, line)
    return "".join(lines)


def contents(index, staged):
    """Hidden tables of contents: under each heading of the index the pages that it links to; under "Guides" all."""
    made = []
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        caption, _, body = section.partition("\n")
        named = re.findall(r"^- \[([^]]+)\]\(([^)#:]+)\.(?:md|rst)\)", body, re.MULTILINE)
        entries = ["%s <%s>" % each for each in named]
        if caption == "Guides":
            guides = {page[: -len(".md")] for page in staged if page.startswith("guides/")}
            entries += sorted(guides - {page for _title, page in named})
        made.append("```{toctree}\n:hidden:\n:caption: %s\n\n%s\n```\n" % (caption, "\n".join(entries)))
    return "\n" + "\n".join(made)


def _run(name, *words, **options):
    """Run a tool that is beside this very Python, else in PATH."""
    beside = pathlib.Path(sys.executable).parent / name
    argv = [str(beside if beside.exists() else name)] + [str(word) for word in words]
    run = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options)
    if run.returncode:
        sys.exit("%s: exit status %d\n%s" % (" ".join(argv), run.returncode, run.stdout.decode()))


def _collection(folder):
    """The parts of the collection that its documentation is made of, where Ansible finds them; and the environment that
    says so. A copy: through a link antsibull's tools would look at all of the repository.
    """
    at = pathlib.Path(folder, "ansible_collections", "savedump", "toolkit")
    at.mkdir(parents=True)
    for name in ("plugins", "roles", "meta", "changelogs", "docs/docsite"):
        shutil.copytree(str(ROOT / name), str(at / name), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(str(ROOT / "galaxy.yml"), str(at))
    settings = pathlib.Path(folder, "ansible.cfg")  # not those of whoever builds
    settings.touch()
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(folder), ANSIBLE_CONFIG=str(settings))
    environment["PATH"] = "%s:%s" % (pathlib.Path(sys.executable).parent, os.environ.get("PATH", ""))
    return at, environment


def _antsibull_docs():
    """{file name: text} of the pages of the modules and roles."""
    with tempfile.TemporaryDirectory() as folder:
        _at, environment = _collection(folder)
        target = pathlib.Path(folder, "reference")
        target.mkdir(mode=0o700)  # it takes no folder that others may write to
        words = ["--use-current", "--squash-hierarchy", "--fail-on-error", "--dest-dir", target]
        _run("antsibull-docs", "collection", *words, "savedump.toolkit", env=environment, cwd=folder)
        return {page.name: _tidied(page.read_text(encoding="utf-8")) for page in sorted(target.glob("*.rst"))}


# Names in the table of contents. Beside them the full ones, "savedump.toolkit.savedump module -- Archive …", are long.
_SHORT = {"module": r"    \1 <\1_module>", "role": r"    role \1 <\1_role>"}


def _tidied(text):
    """A page of antsibull-docs in a site of one collection, whose theme shows each page's own contents beside it."""
    text = re.sub(r"^\.\. contents::\n(?: +:.*\n)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\.\. seealso::\n\n +List of :ref:`collections <.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(savedump\.toolkit\.\w+ (?:module|role)) -- ", "\\1 \u2013 ", text, flags=re.MULTILINE)
    text = re.sub(r"^(\* :ansplugin:.*?|Entry point .*?) -- ", "\\1 \u2013 ", text, flags=re.MULTILINE)
    text = re.sub(r"^ +(\w+)_(module|role)$", lambda name: name.expand(_SHORT[name.group(2)]), text, flags=re.MULTILINE)
    return text.replace("Savedump.Toolkit\n================", "Ansible modules and roles\n=========================", 1)


# Where labels that antsibull-docs uses are, below docs.ansible.com/ansible/latest.
_ANSIBLE = {
    "action_plugins": "plugins/action.html#action-plugins",
    "ansible_configuration_settings": "reference_appendices/config.html#ansible-configuration-settings",
    "common_return_values": "reference_appendices/common_return_values.html#common-return-values",
}


def _inventory(reference):
    """An inventory of Sphinx, version 2, of what the reference refers to in Ansible's documentation: a download would
    need the network. That the modules exist is for antsibull-docs' lint to see.
    """
    labels = dict(_ANSIBLE)
    for module in re.findall(r"\bansible\.builtin\.(\w+)", reference):
        module = re.sub("_module$", "", module)
        where = "collections/ansible/builtin/%s_module.html" % module
        labels["ansible_collections.ansible.builtin.%s_module" % module] = where
    lines = ["%s std:label -1 %s -" % each for each in sorted(labels.items())]
    head = "# Sphinx inventory version 2\n# Project: Ansible\n# Version: \n# The rest is compressed with zlib.\n"
    return head.encode() + zlib.compress("\n".join(lines + [""]).encode())


def changelog():
    """What the next release's changelog would say, if it were made now, and those of earlier ones."""
    with tempfile.TemporaryDirectory() as folder:
        at, environment = _collection(folder)
        version = re.search(r"^version: *(\S+)", (at / "galaxy.yml").read_text(), re.MULTILINE).group(1)
        config = at / "changelogs" / "config.yaml"
        config.write_text(config.read_text().replace("vcs: git", "vcs: none"))  # the copy is no clone
        released = "\n  %s:" % version in (at / "changelogs" / "changelog.yaml").read_text()
        words = ["generate"] if released else ["release", "--date", "2000-01-01"]
        _run("antsibull-changelog", *words, cwd=str(at), env=environment)
        text = (at / "CHANGELOG.md").read_text(encoding="utf-8")
    text = re.sub(r'^<a id=".*"></a>\n', "", text[text.index("\n## ") :], flags=re.MULTILINE)
    return text if released else re.sub(r"^(## .*)$", r"\1, not released yet", text, count=1, flags=re.MULTILINE)


def command_line():
    """The help of every verb."""
    os.environ.update(COLUMNS="90", NO_COLOR="1")
    whole = make_parser()
    verbs = next(action.choices for action in whole._actions if action.dest == "verb")
    parsers = {"savedump": whole, **{"savedump " + verb: parser for verb, parser in verbs.items()}}
    return "\n".join("## %s\n\n```text\n%s```\n" % (name, parser.format_help()) for name, parser in parsers.items())


GENERATED = {"benchmarks": site_bench.page, "changelog": changelog, "command-line": command_line}


def build(out, work):
    """Sphinx's exit status."""
    source = work / "source"
    source.mkdir(mode=0o700, parents=True, exist_ok=True)
    stage(source)
    doctrees = work / "doctrees"
    words = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-d", doctrees, "-c", ROOT / "docs", source, out]
    status = subprocess.run([sys.executable, "-m", "sphinx"] + [str(word) for word in words], check=False).returncode
    if status:
        shutil.rmtree(str(doctrees), ignore_errors=True)  # or the next build would not look at the same pages again
    return status


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1]).absolute()
    if len(sys.argv) == 3:
        status = build(out, pathlib.Path(sys.argv[2]).absolute())
    else:
        with tempfile.TemporaryDirectory(prefix="savedump-site-") as work:
            status = build(out, pathlib.Path(work))
    if not status:
        sys.stdout.write("wrote %s\n" % (out / "index.html"))
    return status


if __name__ == "__main__":
    sys.exit(main())
