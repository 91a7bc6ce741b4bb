# SPDX-License-Identifier: Apache-2.0
"""gdb's scripts: found where gdb looks, placed where gdb looks, and nobody's but root's or the caller's."""

import os

import pytest

from savedump_core import scripts
from savedump_core.model import BY_CRC, DEBUG, LOADED, Findings, Found, Module, ModuleFiles, Want
from savedump_core.sysroot import Sysroot

ID = bytes(range(20))
PATH = "/usr/lib64/libpython3.12.so.1.0"
HOOK = """
import gdb
pythondir = '/usr/share/gcc-14/python'
libdir = '/usr/lib64/../lib64'
"""


@pytest.fixture
def root(tmp_path):
    class Root:
        path = str(tmp_path / "root")

        def put(self, where, content="pass\n", mode=0o644):
            at = self.path + where
            os.makedirs(os.path.dirname(at), mode=0o755, exist_ok=True)
            with open(at, "w") as file:
                file.write(content)
            os.chmod(at, mode)
            return at

        def found(self, kind, inside, **fields):
            want = Want(kind=kind, module=PATH, build_id=ID, paths=fields.pop("paths", (inside,)))
            at = self.put(inside, "")
            values = dict(want=want, at=at, inside=inside, matched_by="build-id", size=0, build_id=ID, attempts=())
            return Found(**dict(values, **fields))

        def entries(self, path=PATH, debug=None, names=(), **fields):
            file = self.found(LOADED, path, **fields)
            module = Module(
                name=path, path=path, names=names, build_id=ID, build_id_why=None, start=0, end=1, executable=False
            )
            files = ModuleFiles(module=module, file=file, debug=debug)
            found = scripts.entries(Findings(files=(files,)), Sysroot(self.path))
            return {entry.path: entry for entry in found}

    os.mkdir(Root.path, 0o755)
    return Root()


def test_nothing_where_there_is_nothing(root):
    root.put("/usr/lib64/other-gdb.py")
    assert root.entries() == {}


@pytest.mark.parametrize("suffix", ["-gdb.py", "-gdb.gdb", "-gdb.scm"])
@pytest.mark.parametrize("folder", ["", "/usr/share/gdb/auto-load"])
def test_beside_and_below_auto_load(folder, suffix, root):
    at = root.put(folder + PATH + suffix, "x" * 77)
    (entry,) = root.entries().values()
    assert (entry.path, entry.origin, entry.size) == (PATH[1:] + suffix, at, 77)
    assert (entry.role, entry.matched_by) == ("gdb-script", "path")
    assert entry.mtime_ns == os.stat(at).st_mtime_ns and entry.data is None


def test_beside_comes_first(root):
    at = root.put(PATH + "-gdb.py")
    root.put("/usr/share/gdb/auto-load" + PATH + "-gdb.py")
    assert [entry.origin for entry in root.entries().values()] == [at]


def test_auto_load_of_before_usr_was_merged(root):
    """Debian 12's for libc6."""
    at = root.put("/usr/share/gdb/auto-load/lib/x86_64-linux-gnu/libc.so.6-gdb.py")
    entries = root.entries("/usr/lib/x86_64-linux-gnu/libc.so.6")
    assert {path: entry.origin for path, entry in entries.items()} == {"usr/lib/x86_64-linux-gnu/libc.so.6-gdb.py": at}


def test_beside_a_debug_file(root):
    """Fedora's for CPython: in the archive the debug file lies in the build-ID tree, and gdb looks there."""
    inside = "/usr/lib/debug%s-3.12.4-1.fc40.x86_64.debug" % PATH
    debug = root.found(DEBUG, inside)
    at = root.put(inside + "-gdb.py")
    text = ID.hex()
    (entry,) = root.entries(debug=debug).values()
    assert (entry.path, entry.origin) == ("usr/lib/debug/.build-id/%s/%s.debug-gdb.py" % (text[:2], text[2:]), at)


def test_beside_a_debug_file_without_build_id(root):
    debug = root.found(DEBUG, "/usr/lib64/.debug/x.debug", paths=("x.debug",), matched_by=BY_CRC, build_id=None)
    root.put("/usr/lib64/.debug/x.debug-gdb.py")
    assert list(root.entries(debug=debug)) == ["usr/lib64/.debug/x.debug-gdb.py"]


def test_printers_of_libstdcpp_as_far_away_as_on_the_host(root):
    library = "/usr/lib64/libstdc++.so.6.0.33"
    root.put("/usr/share/gdb/auto-load%s-gdb.py" % library, HOOK)
    for name in ("__init__.py", "v6/__init__.py", "v6/printers.py", "v6/printers.pyc", "v6/notes.txt"):
        root.put("/usr/share/gcc-14/python/libstdcxx/" + name)
    root.put("/usr/share/gcc-14/python/other/module.py")
    top = "usr/share/gcc-14/python/libstdcxx/"
    wanted = [top + "__init__.py", top + "v6/__init__.py", top + "v6/printers.py", library[1:] + "-gdb.py"]
    assert sorted(root.entries(library)) == sorted(wanted)


def test_hook_leads_nowhere_else(root):
    """What it names is looked up beneath the sysroot, and only a package of that name is taken."""
    library = "/usr/lib64/libstdc++.so.6"
    root.put(library + "-gdb.py", HOOK.replace("/usr/share/gcc-14/python", "/etc"))
    root.put("/etc/secret.py")
    os.symlink("/etc", root.path + "/etc/libstdcxx")
    assert sorted(root.entries(library)) == [library[1:] + "-gdb.py"]


def test_modules_are_capped(root, monkeypatch):
    library = "/usr/lib64/libstdc++.so.6"
    root.put(library + "-gdb.py", HOOK)
    for number in range(10):
        root.put("/usr/share/gcc-14/python/libstdcxx/m%d.py" % number)
    monkeypatch.setattr(scripts, "MAX_MODULES", 3)
    assert len(root.entries(library)) == 4


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_script_that_others_can_write_to(mode, root):
    root.put(PATH + "-gdb.py", mode=mode)
    assert root.entries() == {}


def test_script_in_a_folder_that_others_can_write_to(root):
    """A link to a file of root's may have been put there."""
    at = root.put("/opt/a/x.so-gdb.py")
    assert len(root.entries("/opt/a/x.so")) == 1
    os.chmod(os.path.dirname(at), 0o1777)
    assert root.entries("/opt/a/x.so") == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a file of another user's")
def test_script_of_another_users(root):
    at = root.put(PATH + "-gdb.py")
    os.chown(at, 4711, 4711)
    assert root.entries() == {}
    os.chown(at, 0, 0)
    os.chown(os.path.dirname(at), 4711, 4711)
    assert root.entries() == {}


def test_no_fifo_no_link_nothing_huge(root):
    base = root.path + PATH
    os.makedirs(os.path.dirname(base), 0o755)
    os.mkfifo(base + "-gdb.py", 0o644)
    os.symlink(root.put("/etc/passwd"), base + "-gdb.gdb")
    root.put(PATH + "-gdb.scm", "x" * (scripts.MAX_SIZE + 1))
    assert root.entries() == {}


def test_file_that_no_path_leads_to_has_none_beside_it(root):
    """It was rebuilt, or taken from another process; the auto-load tree still knows its name."""
    root.put("/usr/share/gdb/auto-load%s-gdb.py" % PATH)
    (entry,) = root.entries(descriptor=7, at="rebuilt from the dump: " + PATH).values()
    assert entry.path == PATH[1:] + "-gdb.py"
