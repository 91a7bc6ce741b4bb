# SPDX-License-Identifier: Apache-2.0
"""Bring the core to a host by way of a pipe: into memory, and not onto its disk.

COMMAND is a program for ``python3 -c``. It says ``savedump-ready VERSION`` on stdout, on a line of its own whatever a
shell's start-up files have printed before, reads a length (10 digits) and so
many bytes from stdin, which payload() gives, and is then serve.main().
"""

import json
import os
import re
import sys
import zipfile
import zlib
from typing import Dict, Iterator, Optional, Tuple

from ..elf import dwarf

READY = re.compile(rb"^savedump-ready (\d+)\.(\d+)\.\d+\r?\n", re.MULTILINE)
PACKAGE = "savedump_core"
# 0.32 is the last pyelftools for Python 3.6 to 3.9; 0.33 needs 3.10 (its setup.py).
_ELFTOOLS_FOR_OLD = (0, 32)
_OLD_BEFORE = (3, 10)
# What only the near end needs.
_LEFT_HERE = ("cli/", "remote/", "__main__.py")

# For any Python 3, and without a quote of the kind that sh takes: it is one word of a command line.
COMMAND = """
import json, os, sys, zlib
out = chr(10) + ("savedump-ready %d.%d.%d" % sys.version_info[:3]) + chr(10)
os.write(1, out.encode("ascii"))
def get(size):
    parts = []
    while size:
        data = os.read(0, size)
        if not data:
            sys.exit(74)
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
sources = json.loads(zlib.decompress(get(int(get(10)))).decode("ascii"))
from importlib.machinery import ModuleSpec
class Sources:
    def find_spec(self, name, path=None, target=None):
        for key, package in ((name + ".__init__", True), (name, False)):
            if key in sources:
                spec = ModuleSpec(name, self, is_package=package)
                spec.loader_state = key
                return spec
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        key = module.__spec__.loader_state
        exec(compile(sources[key], "<%s>" % key, "exec"), module.__dict__)
sys.meta_path.insert(0, Sources())
from savedump_core.serve import main
main()
"""


def payload(version: Tuple[int, int]) -> bytes:
    """What COMMAND reads on a Python of this version: the core and, where this host has one that runs there,
    pyelftools."""
    sources = {PACKAGE + name: text for name, text in _package(_own_folder())}
    elftools = dwarf.folder()
    if elftools and _runs(dwarf.version() or "", version):
        sources.update(("elftools" + name, text) for name, text in _package(elftools))
    data = zlib.compress(json.dumps(sources).encode("ascii"), 9)
    return b"%010d" % len(data) + data


def _own_folder() -> str:
    package: Optional[str] = sys.modules[__name__].__package__
    return str(sys.modules[(package or "").rpartition(".")[0]].__path__[0])


def _runs(elftools: str, python: Tuple[int, int]) -> bool:
    numbers = tuple(int(part) for part in elftools.split(".")[:2] if part.isdigit())
    return python >= _OLD_BEFORE or numbers <= _ELFTOOLS_FOR_OLD


def _package(folder: str) -> Iterator[Tuple[str, str]]:
    """(".elf.file", source) of each module of a package; a package's own is ".elf.__init__"."""
    for name, text in sorted(_files(folder).items()):
        if not name.startswith(_LEFT_HERE):
            yield "." + name[: -len(".py")].replace("/", "."), text.decode("utf-8")


def _files(folder: str) -> Dict[str, bytes]:
    """The .py files of a package, which may lie in a zip file."""
    found = {}
    if os.path.isdir(folder):
        for where, _folders, names in os.walk(folder):
            for name in names:
                if name.endswith(".py"):
                    path = os.path.join(where, name)
                    with open(path, "rb") as file:
                        found[os.path.relpath(path, folder)] = file.read()
        return found
    archive, inside = folder, ""
    while not os.path.isfile(archive):
        archive, _slash, last = archive.rpartition("/")
        inside = last + "/" + inside
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if name.startswith(inside) and name.endswith(".py"):
                found[name[len(inside) :]] = file.read(name)
    return found
