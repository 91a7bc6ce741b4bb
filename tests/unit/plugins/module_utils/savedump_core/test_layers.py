# SPDX-License-Identifier: Apache-2.0
"""The house's rules on who may import whom, read off the imports themselves."""

import ast
import os

import savedump_core

PACKAGE = os.path.dirname(savedump_core.__file__)

# Lower may not import higher; a module may import its own level unless it is a folder of SEAMS.
LEVELS = {
    "errors": 0, "model": 0,
    "elf": 1, "kernel": 1, "web": 1, "tarstream": 1, "wire": 1, "sysroot": 1, "manifest": 1, "lock": 1,
    "dumps": 2, "stores": 2, "finders": 2, "launchers": 2, "compression": 2,
    # Between the seams: finders may use it, and it uses the codecs.
    "packages": 2,
    "source": 3, "prove": 3, "scripts": 3, "search": 3, "setout": 3, "beside": 3, "stack": 3, "gaps": 3,
    "plan": 3, "archive": 3, "check": 3, "unpack": 3, "naming": 3, "shelf": 3, "workroom": 3,
    "complete": 3, "store": 3, "landing": 3, "promises": 3,
    "nice": 3, "space": 3, "remove": 3, "retention": 3, "summary": 3,
    "api": 4, "serve": 4, "remote": 4,
    "cli": 5, "__main__": 5,
}  # fmt: skip
SEAMS = ("dumps", "stores", "finders", "launchers", "compression")


def modules():
    for top, _, names in os.walk(os.path.realpath(PACKAGE)):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(top, name)
                yield os.path.relpath(path, os.path.realpath(PACKAGE)), ast.parse(open(path).read())


def room(relative):
    return relative.split(os.sep)[0].replace(".py", "")


def imported_rooms(relative, tree):
    """Rooms of the package that this module imports, relative imports only (checked elsewhere)."""
    depth = relative.count(os.sep)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level - 1 < depth:
                continue
            if node.module:
                yield node.module.split(".")[0]
            else:
                for alias in node.names:
                    yield alias.name


def test_imports_go_downwards_only():
    wrong = []
    for relative, tree in modules():
        own = room(relative)
        if own == "__init__":
            continue
        for other in imported_rooms(relative, tree):
            if other not in LEVELS:
                continue
            if LEVELS[other] > LEVELS[own] or (own != other and own in SEAMS and other in SEAMS):
                wrong.append("%s imports %s" % (relative, other))
    assert wrong == []


def test_imports_are_relative_and_static():
    """AnsiballZ follows static relative imports and nothing else."""
    wrong = []
    for relative, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("savedump"):
                wrong.append("%s: absolute import of %s" % (relative, node.module))
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] in ("importlib", "savedump_core", "ansible"):
                        wrong.append("%s: import %s" % (relative, alias.name))
            if isinstance(node, ast.Name) and node.id in ("__file__", "print"):
                wrong.append("%s: %s" % (relative, node.id))
    assert wrong == []


def test_every_folder_is_a_package():
    for top, _, names in os.walk(os.path.realpath(PACKAGE)):
        if any(name.endswith(".py") for name in names):
            assert "__init__.py" in names, top


def test_only_elf_imports_pyelftools_and_only_remote_paramiko():
    found = set()
    for relative, tree in modules():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            found.update((name.split(".")[0], room(relative)) for name in names)
    assert {where for name, where in found if name == "elftools"} == {"elf"}
    assert {where for name, where in found if name == "paramiko"} == {"remote"}
