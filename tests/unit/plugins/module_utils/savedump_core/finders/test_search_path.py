# SPDX-License-Identifier: Apache-2.0
"""Where a folder of --search-path is looked into, for each kind of file."""

import pytest

from savedump_core.finders import search_path
from savedump_core.model import DEBUG, LOADED, SPLIT, SUPPLEMENTARY, SearchOptions, Want
from savedump_core.search import find_files
from savedump_core.sysroot import Held, Roots, Sysroot
from support import elfwriter

ID, OTHER = b"\x5a" * 20, b"\xa5" * 20
DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)


def want(kind, **more):
    return Want(**dict(dict(kind=kind, module="x", build_id=ID, paths=()), **more))


def places(wanted, folder="/f"):
    return [one.path for one in search_path.candidates(wanted, Roots(Sysroot("/"), (folder,)))]


@pytest.mark.parametrize("top", ["buildid/", ""])
@pytest.mark.parametrize("kind, name", [(LOADED, "executable"), (DEBUG, "debuginfo"), (SUPPLEMENTARY, "debuginfo")])
def test_debuginfods_own_layout(tmp_path, top, kind, name):
    """As servers publish it, and as their clients cache it. A file of another build ID in that place is refused."""
    place = tmp_path / (top + ID.hex()) / name
    place.parent.mkdir(parents=True)
    sections = [] if kind == LOADED else [DEBUG_SECTION]
    place.write_bytes(elfwriter.elf_file(build_id=OTHER, sections=sections))
    options = SearchOptions(search_paths=(str(tmp_path),), sysroot=str(tmp_path / "nothing"))
    with Held() as held:
        (missing,) = find_files([want(kind)], options, held)
        assert [one.detail for one in missing.attempts if one.path == str(place)] == [OTHER.hex()]
        place.write_bytes(elfwriter.elf_file(build_id=ID, sections=sections))
        (found,) = find_files([want(kind)], options, held)
        assert found.at == str(place) and found.matched_by == "build-id"


def test_program_and_debug_file_of_odd_names_are_both_found(tmp_path):
    """They have one build ID."""
    stripped, debug = elfwriter.elf_file(build_id=ID), elfwriter.elf_file(build_id=ID, sections=[
        DEBUG_SECTION, elfwriter.Section(".text", b"\x90" * 8, type=elfwriter.SHT_NOBITS, flags=4)])  # fmt: skip
    for first, second in ((stripped, debug), (debug, stripped)):
        (tmp_path / "1 first").write_bytes(first)
        (tmp_path / "2 second").write_bytes(second)
        options = SearchOptions(search_paths=(str(tmp_path),), sysroot=str(tmp_path / "nothing"))
        with Held() as held:
            found = find_files([want(LOADED), want(DEBUG)], options, held)
        assert [open(one.at, "rb").read() for one in found] == [stripped, debug]


def test_what_the_compiler_split_off_lies_as_it_was_named_or_by_its_base_name():
    tried = places(want(SPLIT, build_id=None, paths=("/build/src/obj/a.dwo", "obj/a.dwo"), dwo_ids=(1,)))
    assert tried == ["build/src/obj/a.dwo", "a.dwo", "obj/a.dwo", "a.dwo"]


def test_a_path_never_leaves_the_folder():
    assert places(want(SPLIT, build_id=None, paths=("../../etc/x.dwo",), dwo_ids=(1,))) == ["etc/x.dwo", "x.dwo"]
