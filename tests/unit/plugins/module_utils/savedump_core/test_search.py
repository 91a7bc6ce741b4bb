# SPDX-License-Identifier: Apache-2.0
"""Every way to a file, and a decoy beside each: the right name with the wrong build ID is never taken."""

import os
import zlib

import pytest

from savedump_core import search as searching
from savedump_core.model import DEBUG, LOADED, Dump, Found, Missing, Module, SearchOptions
from savedump_core.sysroot import Held, Owner
from support import elfwriter

RIGHT, WRONG = b"\x11" * 20, b"\x22" * 20
DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)


def elf(build_id=RIGHT, sections=(), **kwargs):
    return elfwriter.elf_file(build_id=build_id, sections=list(sections), **kwargs)


def debug(build_id=RIGHT, **kwargs):
    return elf(build_id, [DEBUG_SECTION], **kwargs)


def module(path="/opt/app/libx.so", build_id=RIGHT, names=(), **kwargs):
    values = dict(
        name=path,
        path=path,
        names=names,
        build_id=build_id,
        build_id_why=None,
        start=0x1000,
        end=0x2000,
        executable=False,
    )
    return Module(**dict(values, **kwargs))


def dump(*modules):
    return Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=modules, identity="0" * 16, mtime_ns=0,
    )  # fmt: skip


@pytest.fixture
def root(tmp_path):
    class Root:
        path = str(tmp_path / "root")

        def put(self, where, content):
            at = self.path + where
            os.makedirs(os.path.dirname(at), exist_ok=True)
            with open(at, "wb") as file:
                file.write(content)
            return at

        def search(self, *modules, **options):
            owner = options.pop("owner", None)
            return searching.search(dump(*modules), SearchOptions(sysroot=self.path, **options), Held(), owner)

    os.mkdir(Root.path)
    return Root()


def test_file_as_mapped(root):
    at = root.put("/opt/app/libx.so", elf())
    file = root.search(module()).files[0].file
    assert isinstance(file, Found)
    assert (file.at, file.matched_by, file.build_id) == (at, "build-id", RIGHT)
    assert file.size == os.path.getsize(at)


def test_other_build_id_is_refused_with_both_ids(root):
    root.put("/opt/app/libx.so", elf(WRONG))
    file = root.search(module()).files[0].file
    assert isinstance(file, Missing)
    assert file.status == "mismatch"
    assert file.want.build_id == RIGHT
    assert (file.attempts[0].outcome, file.attempts[0].detail) == ("other-build-id", WRONG.hex())


def test_file_without_build_id_is_no_match_for_one_with(root):
    root.put("/opt/app/libx.so", elf(None))
    file = root.search(module()).files[0].file
    assert isinstance(file, Missing) and file.status == "mismatch" and file.attempts[0].detail == "none"


def test_link_map_name_is_tried_after_the_path(root):
    at = root.put("/new/libx.so", elf())
    root.put("/opt/app/libx.so", elf(WRONG))
    file = root.search(module(names=("./libx.so", "/new/libx.so"))).files[0].file
    assert isinstance(file, Found) and file.at == at
    assert [attempt.outcome for attempt in file.attempts] == ["other-build-id", "match"]


def test_deleted_file_that_is_there_under_its_literal_name(root):
    at = root.put("/opt/app/libx.so (deleted)", elf())
    assert root.search(module(deleted=True)).files[0].file.at == at


@pytest.mark.parametrize("tree", ["/usr/lib/debug/.build-id", "/usr/lib/.build-id"])
def test_loaded_file_by_build_id_tree(root, tree):
    at = root.put("%s/11/%s" % (tree, "11" * 19), elf())
    assert root.search(module()).files[0].file.at == at


def test_debug_file_by_build_id_tree_and_decoy(root):
    root.put("/opt/app/libx.so", elf())
    tree = "/usr/lib/debug/.build-id/11/%s.debug" % ("11" * 19)
    root.put(tree, debug(WRONG))
    assert isinstance(root.search(module()).files[0].debug, Missing)
    at = root.put(tree, debug())
    found = root.search(module()).files[0].debug
    assert isinstance(found, Found) and found.at == at and found.want.kind == DEBUG


def test_stripped_file_in_the_place_of_a_debug_file_is_refused(root):
    root.put("/opt/app/libx.so", elf())
    root.put("/usr/lib/debug/.build-id/11/%s.debug" % ("11" * 19), elf())
    missing = root.search(module()).files[0].debug
    assert isinstance(missing, Missing)
    assert [attempt.detail for attempt in missing.attempts if attempt.outcome == "refused"] == [
        "it has the build ID but no debug information"
    ]


CODE = dict(type=elfwriter.SHT_NOBITS, flags=4)  # SHF_EXECINSTR: what objcopy --only-keep-debug leaves of .text


@pytest.mark.parametrize("given", ["stripped-off.debug", "libx.so"])
def test_debug_file_in_the_place_of_the_loaded_file_is_refused(root, given):
    """It has the build ID, and no code."""
    content = elf(RIGHT, [DEBUG_SECTION, elfwriter.Section(".text", b"\x90" * 8, **CODE)])
    at = root.put("/given/" + given, content)
    files = root.search(module(), search_paths=(os.path.dirname(at),)).files[0]
    assert isinstance(files.file, Missing) and isinstance(files.debug, Found)
    assert ("refused", "it holds debug information only") in [(one.outcome, one.detail) for one in files.file.attempts]
    options = SearchOptions(sysroot=root.path, search_paths=(os.path.dirname(at),))
    (missing,) = searching.find_files([files.file.want], options, Held())
    assert isinstance(missing, Missing)


@pytest.mark.parametrize("left", [0x1800, -1])
def test_copy_that_broke_off_is_refused(root, left):
    """Its build ID is in the first page. gdb opens nothing whose section table is not whole."""
    whole = elf(padding=0x2000)
    at = root.put("/opt/app/libx.so", whole)
    assert root.search(module()).files[0].file.at == at
    root.put("/opt/app/libx.so", whole[:left])
    file = root.search(module()).files[0].file
    assert isinstance(file, Missing)
    (outcome,) = [one for one in file.attempts if one.path == at]
    assert outcome.outcome == "refused"
    assert outcome.detail == "it is cut off: it has %d of %d bytes" % (len(whole[:left]), len(whole))


def test_debug_information_in_the_file_itself(root):
    at = root.put("/opt/app/libx.so", debug())
    files = root.search(module()).files[0]
    assert files.file.at == files.debug.at == at


def linked(content, build_id=None, name="libx.so.debug", crc=None):
    return elf(build_id, debuglink=(name, zlib.crc32(content) if crc is None else crc))


@pytest.mark.parametrize(
    "where", ["/opt/app/libx.so.debug", "/opt/app/.debug/libx.so.debug", "/usr/lib/debug/opt/app/libx.so.debug"]
)
def test_debug_link_with_crc(root, where):
    content = debug(None)
    root.put("/opt/app/libx.so", linked(content))
    at = root.put(where, content)
    files = root.search(module(build_id=None), allow_unverified=True).files[0]
    assert files.file.matched_by == "path"
    assert (files.debug.at, files.debug.matched_by) == (at, "crc")


def test_debug_link_with_another_crc_is_refused(root):
    content = debug(None)
    root.put("/opt/app/libx.so", linked(content, crc=1))
    root.put("/opt/app/libx.so.debug", content)
    missing = root.search(module(build_id=None), allow_unverified=True).files[0].debug
    assert isinstance(missing, Missing) and missing.status == "mismatch"
    assert missing.attempts[0].detail == "CRC %08x" % zlib.crc32(content)


def test_debug_link_to_a_file_of_another_build_id_is_refused_though_the_crc_fits(root):
    content = debug(WRONG)
    root.put("/opt/app/libx.so", linked(content, RIGHT))
    root.put("/opt/app/libx.so.debug", content)
    missing = root.search(module()).files[0].debug
    assert isinstance(missing, Missing) and WRONG.hex() in [attempt.detail for attempt in missing.attempts]


def test_debug_link_with_a_slash_is_no_link(root):
    content = debug(None)
    root.put("/opt/app/libx.so", linked(content, name="../../etc/x"))
    root.put("/etc/x", content)
    missing = root.search(module(build_id=None), allow_unverified=True).files[0].debug
    assert isinstance(missing, Missing) and not any("etc" in attempt.path for attempt in missing.attempts)


@pytest.mark.parametrize(
    "where",
    ["opt/app/libx.so", "libx.so", "11/" + "11" * 19, ".build-id/11/" + "11" * 19, "any name at all",
     "usr/lib/debug/.build-id/11/" + "11" * 19],
)  # fmt: skip
def test_search_path(root, tmp_path, where):
    folder = tmp_path / "found here"
    at = folder / where
    at.parent.mkdir(parents=True)
    at.write_bytes(elf())
    (folder / "decoy").write_bytes(elf(WRONG))
    file = root.search(module(), search_paths=(str(folder),)).files[0].file
    assert isinstance(file, Found) and file.at == str(at)


def test_search_path_cannot_be_left_by_a_path_of_the_dump(root, tmp_path):
    (tmp_path / "secret").write_bytes(elf())
    (tmp_path / "folder").mkdir()
    file = root.search(module("/../secret"), search_paths=(str(tmp_path / "folder"),)).files[0].file
    assert isinstance(file, Missing)


def test_without_build_id_nothing_is_taken_unless_the_user_insists(root):
    at = root.put("/opt/app/libx.so", elf())
    wanted = module(build_id=None, build_id_why="not dumped")
    file = root.search(wanted).files[0].file
    assert isinstance(file, Missing) and file.status == "unverified"
    file = root.search(wanted, allow_unverified=True).files[0].file
    assert (file.at, file.matched_by) == (at, "path")


def test_unverified_file_for_another_machine_is_refused(root):
    root.put("/opt/app/libx.so", elf(abi=elfwriter.ABIS["aarch64"]))
    file = root.search(module(build_id=None), allow_unverified=True).files[0].file
    assert isinstance(file, Missing) and file.attempts[0].detail == "a file for aarch64"


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "/dev/zero", "/fifo", "/folder", "/nul\0byte", "relative/x", "/" + "x" * 5000]
)
def test_hostile_paths_get_nothing(root, path):
    root.put("/etc/shadow", b"root:secret\n")
    os.mkfifo(root.path + "/fifo")
    os.mkdir(root.path + "/folder")
    file = root.search(module(path, build_id=None), allow_unverified=True).files[0].file
    assert isinstance(file, Missing)


def test_absolute_link_out_of_the_sysroot_is_resolved_inside(root, tmp_path):
    (tmp_path / "outside").write_bytes(elf())
    os.makedirs(root.path + "/opt/app")
    os.symlink(str(tmp_path / "outside"), root.path + "/opt/app/libx.so")
    assert isinstance(root.search(module()).files[0].file, Missing)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's rights")
def test_what_the_dumps_owner_cannot_read_is_not_read_for_him(root, tmp_path):
    for folder in [tmp_path] + list(tmp_path.parents)[:-2]:
        os.chmod(str(folder), 0o755)
    at = root.put("/opt/app/libx.so", elf())
    os.chmod(at, 0o600)

    def search():
        return searching.search(dump(module(at)), SearchOptions(), Held(), Owner(65534, 65534)).files[0].file

    missing = search()
    assert isinstance(missing, Missing) and missing.attempts[0].outcome == "unreadable"
    os.chmod(at, 0o644)
    assert isinstance(search(), Found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's rights")
def test_sysroot_is_the_callers_word_and_read_with_his_rights(root):
    at = root.put("/opt/app/libx.so", elf())
    os.chmod(at, 0o600)
    assert isinstance(root.search(module(), owner=Owner(65534, 65534)).files[0].file, Found)


def test_thread_db_of_a_static_program_is_the_hosts(root):
    at = root.put("/usr/lib/x86_64-linux-gnu/libthread_db.so.1", elf(WRONG))
    root.put("/usr/lib/aarch64-linux-gnu/libthread_db.so.1", elf(WRONG, abi=elfwriter.ABIS["aarch64"]))
    assert root.search(module("/bin/static")).thread_db.at == at


ALT_ID = b"\x33" * 20


def test_supplementary_file_by_link_and_by_build_id(root):
    root.put("/opt/app/libx.so", elf())
    root.put("/usr/lib/debug/.build-id/11/%s.debug" % ("11" * 19), debug(altlink=("../dwz/x.debug", ALT_ID)))
    at = root.put("/usr/lib/debug/.build-id/dwz/x.debug", debug(ALT_ID))
    files = root.search(module()).files[0]
    assert isinstance(files.debug, Found) and files.supplementary.at == at
    os.unlink(at)
    at = root.put("/usr/lib/debug/.build-id/33/%s.debug" % ("33" * 19), debug(ALT_ID))
    assert root.search(module()).files[0].supplementary.at == at


def test_debug_file_is_left_out_without_its_supplementary_file(root):
    root.put("/opt/app/libx.so", elf())
    root.put("/usr/lib/debug/.build-id/11/%s.debug" % ("11" * 19), debug(altlink=("../dwz/x.debug", ALT_ID)))
    root.put("/usr/lib/debug/.build-id/dwz/x.debug", debug(WRONG))
    findings = root.search(module())
    files = findings.files[0]
    assert isinstance(files.debug, Missing) and isinstance(files.supplementary, Missing)
    assert ALT_ID.hex() in files.debug.attempts[-1].detail
    assert findings.missing == [files.debug, files.supplementary]
    assert findings.gaps == [], "as where no debug information is to be had"


def test_half_of_the_debug_information_that_is_packed_is_a_gap(root):
    root.put("/opt/app/libx.so", debug(altlink=("../dwz/x.debug", ALT_ID)))
    findings = root.search(module())
    assert findings.gaps == [findings.files[0].supplementary]


def test_gaps_are_loaded_files_and_not_debug_files(root):
    root.put("/opt/app/libx.so", elf())
    findings = root.search(module(), module("/gone.so", build_id=WRONG))
    assert [missing.want.kind for missing in findings.missing] == [DEBUG, LOADED, DEBUG]
    assert [missing.want.paths for missing in findings.gaps] == [("/gone.so",)]


def test_vdso_needs_no_file(root):
    files = root.search(module(name="[vdso]", path=None)).files[0]
    assert files.file is None and files.results == []


def test_thread_db_beside_the_libc(root):
    root.put("/lib/libc.so.6", elf())
    at = root.put("/lib/libthread_db.so.1", elf(WRONG))
    assert root.search(module("/lib/libc.so.6")).thread_db.at == at
    os.chmod(at, 0o666)
    assert root.search(module("/lib/libc.so.6")).thread_db is None, "anybody could have put it there"


def test_thread_db_of_a_32_bit_program_is_the_debuggers(root):
    """A 64-bit gdb opens the dump: it cannot load the 32-bit library that lies beside the libc."""
    i386 = elfwriter.ABIS["i386"]
    root.put("/lib32/libc.so.6", elf(abi=i386))
    root.put("/lib32/libthread_db.so.1", elf(WRONG, abi=i386))
    at = root.put("/usr/lib/x86_64-linux-gnu/libthread_db.so.1", elf(WRONG))
    dump_i386 = dump(module("/lib32/libc.so.6"))._replace(machine="i386", bits=32)
    assert searching.search(dump_i386, SearchOptions(sysroot=root.path), Held()).thread_db.at == at


def test_same_file_mapped_twice_is_looked_for_once(root, monkeypatch):
    root.put("/opt/app/libx.so", elf())
    opened = []
    open_regular = searching.open_regular
    monkeypatch.setattr(searching, "open_regular", lambda path: opened.append(path) or open_regular(path))
    root.search(module(), module(start=0x9000, end=0xA000))
    assert len([path for path in opened if path.endswith("/libx.so")]) == 1
