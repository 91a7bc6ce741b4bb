# SPDX-License-Identifier: Apache-2.0
"""The stack by drgn: present, absent, failing. The real one is asked in tests/integration/test_kernel_debuggers.py."""

import sys

import pytest

from savedump_core import stack
from savedump_core.model import Dump, Findings, Found, Module, ModuleFiles, Part, Want

DRGN = """
class MissingDebugInfoError(LookupError):
    pass

class Program:
    def set_core_dump(self, path):
        self.words = [path]
    def load_debug_info(self, files):
        self.words += files
        raise MissingDebugInfoError("of a module")
    def crashed_thread(self):
        return self
    def stack_trace(self):
        %s
"""
DUMP = Dump(
    path="/var/crash/vmcore", size=1, stored_size=1, compression=None, kind="vmcore-elf", machine="x86_64", bits=64,
    endian="little", os="linux", complete=True, incomplete_why=None, process=None, modules=(), identity="0" * 16,
    mtime_ns=0, kernel={},
)  # fmt: skip


def findings():
    want = Want(kind="loaded", module="vmlinux", build_id=b"1", paths=())
    vmlinux = Found(want=want, at="/usr/lib/debug/vmlinux", matched_by="build-id", size=1, build_id=b"1", attempts=())
    module = Module(
        name="vmlinux", path=None, names=(), build_id=b"1", build_id_why=None, start=0, end=0, executable=True
    )
    return Findings(files=(ModuleFiles(module=module, file=vmlinux, debug=vmlinux),))


@pytest.fixture
def drgn(tmp_path, monkeypatch):
    """Puts a drgn in place whose stack_trace() is this line."""

    def install(line):
        (tmp_path / "drgn").mkdir()
        (tmp_path / "drgn/__init__.py").write_text(DRGN % line)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("DEBUGINFOD_URLS", "http://127.0.0.1:9")

    return install


def test_drgn_gets_the_dump_and_what_was_proven_and_no_server(drgn):
    drgn("import os; return '\\n'.join(self.words + [str('DEBUGINFOD_URLS' in os.environ)])")
    assert stack.read_stack(DUMP, findings()) == (["/var/crash/vmcore", "/usr/lib/debug/vmlinux", "False"], None)


def test_without_drgn_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    frames, why = stack.read_stack(DUMP, findings())
    assert frames is None and "not installed" in why


@pytest.mark.parametrize(
    "line, words",
    [
        ("raise Exception('not a core dump')", "not a core dump"),
        ("import os; os.kill(os.getpid(), 11)", "status -11"),
        ("import os, sys; sys.stdout.write('{'); sys.stdout.flush(); os._exit(0)", "gave no stack"),
    ],
)
def test_what_drgn_cannot_do_is_said(drgn, line, words):
    drgn(line)
    frames, why = stack.read_stack(DUMP, findings())
    assert frames is None and words in why


def test_a_drgn_that_hangs_is_ended(drgn, monkeypatch):
    monkeypatch.setattr(stack, "_TIMEOUT_S", 0.5)
    drgn("import time; time.sleep(60)")
    assert "more than" in stack.read_stack(DUMP, findings()).why


@pytest.mark.parametrize("changed", [{"parts": (Part(path="b", size=1, mtime_ns=0),)}, {"compression": "gzip"}])
def test_what_drgn_does_not_open_is_not_tried(drgn, changed):
    drgn("return 'frame'")
    assert stack.read_stack(DUMP._replace(**changed), findings()).frames is None


def test_what_a_dump_may_make_it_print_is_bounded(drgn):
    drgn("return '\\n'.join(['x' * 10000] * 10000)")
    frames = stack.read_stack(DUMP, findings()).frames
    assert len(frames) == 256 and {len(frame) for frame in frames} == {512}
