# SPDX-License-Identifier: Apache-2.0
"""What proves a file that has no build ID, held against what the dump holds of it."""

import os

import pytest

from savedump_core.elf.file import describe
from savedump_core.model import (
    BY_DUMP,
    BY_GO_BUILD_ID,
    BY_HEADER,
    BY_PAGES,
    BY_PATH,
    LOADED,
    MATCH,
    MISMATCH,
    NO_BUILD_ID,
    Piece,
    Want,
)  # fmt: skip
from savedump_core.prove import Case, judge
from savedump_core.sysroot import OnDisk, identity
from support import elfwriter

# Where the dump of these tests has the file's first byte.
AT = 0x5000
FILE = elfwriter.elf_file(padding=3 << 20)
RIGHT, WRONG = b"\x11" * 20, b"\x22" * 20
GO = elfwriter.Note(b"Go", 4, b"action/content")


@pytest.fixture
def verdict(tmp_path):
    """verdict(pieces, file=…, dumped=…): the judgement on a file that is open."""

    def judged(pieces, file=FILE, dumped=FILE, machine="x86_64", unverified=False, rebuilt=False, **want):
        path = str(tmp_path / "file")
        with open(path, "wb") as stream:
            stream.write(file)
        elf = describe(lambda at, size: file[at : at + size], len(file))
        dump = bytes(AT) + dumped
        case = Case(machine=machine, dump=lambda at, size: dump[at : at + size], unverified=unverified)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            on_disk = OnDisk(path, identity(status), elf, status.st_uid, status.st_mode)
            asked = dict(dict(kind=LOADED, module="prog", build_id=None, paths=()), **want)
            return judge(Want(pieces=tuple(pieces), **asked), on_disk, descriptor, case, rebuilt)
        finally:
            os.close(descriptor)

    return judged


def piece(offset, size, writable=False):
    return Piece(offset, AT + offset, size, writable)


def changed(content, at, byte=0xEE):
    return content[:at] + bytes([byte]) + content[at + 1 :]


def test_file_that_is_the_same_wherever_it_was_dumped(verdict):
    got = verdict([piece(0, 4096), piece(0x2000, 0x1000)])
    assert (got.outcome, got.matched_by) == (MATCH, BY_PAGES)
    assert got.detail == "8192 bytes of it are in the dump, and the same"


@pytest.mark.parametrize("machine, size, way", [
    ("x86_64", 4096, BY_HEADER), ("x86_64", 4097, BY_PAGES), ("aarch64", 65536, BY_HEADER),
    ("aarch64", 65537, BY_PAGES),
])  # fmt: skip
def test_no_more_than_a_page_is_no_more_than_a_header(machine, size, way, verdict):
    file = elfwriter.elf_file(elfwriter.ABIS[machine], padding=1 << 20)
    assert verdict([piece(0, size)], file, file, machine=machine).matched_by == way


@pytest.mark.parametrize("at", [100, 4095, 1 << 20, (2 << 20) + 12345])
def test_one_byte_that_differs_is_named_by_its_offset(at, verdict):
    got = verdict([piece(0, 3 << 20)], file=changed(FILE, at))
    assert (got.outcome, got.detail) == (MISMATCH, "it differs from the dump at offset 0x%x" % at)


def test_breakpoint_is_named(verdict):
    got = verdict([piece(0, 1 << 20)], dumped=changed(FILE, 0x2000, 0xCC))
    assert got.detail == "it differs from the dump at offset 0x2000 (a debugger's breakpoint is there)"


def test_what_the_process_could_write_to_says_nothing(verdict):
    pieces = [piece(0, 4096), piece(0x2000, 0x1000, writable=True)]
    assert verdict(pieces, file=changed(FILE, 0x2000)).matched_by == BY_HEADER
    assert verdict(pieces[1:]).outcome == NO_BUILD_ID
    assert verdict(pieces[1:], unverified=True).matched_by == BY_PATH


def test_insisting_does_not_help_a_file_that_differs(verdict):
    assert verdict([piece(0, 1 << 20)], file=changed(FILE, 0x2000), unverified=True).outcome == MISMATCH


def test_rest_of_a_last_page_is_zeros_in_memory(verdict):
    """mmap(2): behind the file's end its last page reads as zeros."""
    file = FILE[: 0x2000 + 100]
    assert verdict([piece(0, 0x3000)], file, file.ljust(0x3000, b"\0")).matched_by == BY_PAGES
    got = verdict([piece(0, 0x3000)], file, file.ljust(0x3000, b"\1"))
    assert got.detail == "it differs from the dump at offset 0x%x" % len(file)


def test_file_that_is_too_short(verdict):
    got = verdict([piece(0, 0x1000), piece(0x8000, 0x1000)], FILE[:0x3000], FILE[:0x3000].ljust(0x9000, b"\0"))
    assert (got.outcome, got.detail) == (MISMATCH, "it ends at 0x3000, and the process had more of it mapped")


def test_only_what_could_be_read_is_said_to_be_compared(verdict):
    """Of a dump that is cut."""
    pieces = [piece(0, 4096), piece(0x100000, 0x1000)]
    assert verdict(pieces, dumped=FILE[:0x80000]).matched_by == BY_HEADER
    assert verdict(pieces[1:], dumped=FILE[:0x80000]).outcome == NO_BUILD_ID


def test_file_for_another_machine(verdict):
    assert verdict([piece(0, 4096)], machine="aarch64").detail == "a file for x86_64"


def test_go_build_id_and_decoy(verdict):
    right = elfwriter.elf_file(notes=[GO])
    wrong = elfwriter.elf_file(notes=[GO._replace(desc=b"action/other")])
    assert verdict([], right, go_build_id=GO.desc).matched_by == BY_GO_BUILD_ID
    got = verdict([], wrong, go_build_id=GO.desc)
    assert (got.outcome, got.detail) == (MISMATCH, "action/other")
    assert verdict([], FILE, go_build_id=GO.desc).detail == "none"


def test_rebuilt_file_is_always_marked_and_has_to_have_the_id(verdict):
    right = elfwriter.elf_file(build_id=RIGHT)
    assert verdict([], right, rebuilt=True, build_id=RIGHT).matched_by == BY_DUMP
    assert verdict([], right, rebuilt=True).matched_by == BY_DUMP
    got = verdict([], right, rebuilt=True, build_id=WRONG)
    assert (got.outcome, got.detail) == (MISMATCH, RIGHT.hex())
    assert verdict([], right, rebuilt=True, go_build_id=GO.desc).outcome == MISMATCH
    assert verdict([], right, rebuilt=True, machine="i386").outcome == MISMATCH
