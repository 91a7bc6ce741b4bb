# SPDX-License-Identifier: Apache-2.0
"""Every place where debug information that was split off may lie, with a decoy in all other places: the right name and
the wrong ID is never taken, and the right one further down is."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import zlib
from typing import NamedTuple

import pytest

from savedump_core import search as searching
from savedump_core.finders import debug_link
from savedump_core.model import DEBUG, SPLIT, Candidate, Dump, Found, Missing, Module, SearchOptions, Want
from savedump_core.sysroot import Held, Owner
from support import elfwriter

RIGHT, WRONG, SHARED = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
INFO = elfwriter.Section(".debug_info", b"\1" * 64)


def elf(build_id, **how):
    return elfwriter.elf_file(build_id=build_id, **how)


def debug(build_id, **how):
    return elfwriter.elf_file(build_id=build_id, sections=[INFO], **how)


class Root:
    """A host of its own."""

    def __init__(self, path):
        self.path = str(path)
        os.mkdir(self.path)

    def put(self, where, content):
        at = pathlib.Path(self.path + where)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)
        return str(at)

    def link(self, where, target):
        at = pathlib.Path(self.path + where)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.symlink_to(target)

    def search(self, module, **options):
        dump = Dump(
            path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64,
            endian="little", os="linux", complete=True, incomplete_why=None, process=None, modules=(module,),
            identity="0" * 16, mtime_ns=0,
        )  # fmt: skip
        return searching.search(dump, SearchOptions(sysroot=self.path, **options), Held()).files[0]


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


def module(path="/usr/bin/prog", build_id=RIGHT):
    return Module(
        name=path, path=path, names=(), build_id=build_id, build_id_why=None, start=1, end=2, executable=True
    )


# Beside, .debug, the global folder by the file's own: gdb. One leading folder less each time: elfutils.
LINKED = [
    "/usr/bin/name.debug", "/usr/bin/.debug/name.debug", "/usr/lib/debug/usr/bin/name.debug",
    "/usr/lib/debug/bin/name.debug", "/usr/lib/debug/name.debug",
]  # fmt: skip
# What distributions without build IDs lay out, found without any link.
UNLINKED = [
    "/usr/bin/prog.debug", "/usr/bin/.debug/prog.debug", "/usr/lib/debug/usr/bin/prog.debug",
    "/usr/lib/debug/bin/prog.debug", "/usr/lib/debug/usr/bin/prog", "/usr/lib/debug/bin/prog",
]  # fmt: skip


@pytest.mark.parametrize("where", LINKED)
def test_what_gnu_debuglink_names_is_proven_by_its_crc(root, where):
    right = debug(None)
    root.put("/usr/bin/prog", elf(None, debuglink=("name.debug", zlib.crc32(right))))
    for place in LINKED:
        root.put(place, debug(None) + b"another")
    at = root.put(where, right)
    files = root.search(module(build_id=None), allow_unverified=True)
    assert (files.debug.at, files.debug.matched_by) == (at, "crc")
    assert [one.outcome for one in files.debug.attempts] == ["other-build-id"] * LINKED.index(where) + ["match"]


@pytest.mark.parametrize("where", LINKED)
def test_what_gnu_debuglink_names_is_proven_by_its_build_id(root, where):
    root.put("/usr/bin/prog", elf(RIGHT, debuglink=("name.debug", 1)))
    for place in LINKED:
        root.put(place, debug(WRONG))
    at = root.put(where, debug(RIGHT))
    assert root.search(module()).debug.at == at
    root.put(where, debug(WRONG))
    missing = root.search(module()).debug
    assert isinstance(missing, Missing) and missing.status == "mismatch"


@pytest.mark.parametrize("where", UNLINKED)
def test_where_distributions_put_it_unasked(root, where):
    root.put("/usr/bin/prog", elf(RIGHT))
    for place in UNLINKED:
        root.put(place, debug(WRONG))
    at = root.put(where, debug(RIGHT))
    assert root.search(module()).debug.at == at


def test_what_nothing_proves_is_not_even_proposed(root):
    root.put("/usr/bin/prog", elf(None))
    for place in UNLINKED:
        root.put(place, debug(None))
    files = root.search(module(build_id=None), allow_unverified=True)
    assert isinstance(files.file, Found) and isinstance(files.debug, Missing) and files.debug.attempts == ()


def test_a_link_that_was_stripped_off_by_name_still_finds_the_rest(root):
    """objcopy was told of another name than the distribution uses."""
    root.put("/usr/bin/prog", elf(RIGHT, debuglink=("gone.debug", 1)))
    at = root.put("/usr/lib/debug/usr/bin/prog.debug", debug(RIGHT))
    assert root.search(module()).debug.at == at


@pytest.mark.parametrize("where", ["/usr/lib/debug/lib/x/libc.so.debug", "/usr/lib/debug/usr/lib/x/libc.so.debug",
                                   "/usr/lib/debug/lib/x/libc.so", "/usr/lib/x/.debug/libc.so.debug"])  # fmt: skip
@pytest.mark.parametrize("mapped", ["/lib/x/libc.so", "/usr/lib/x/libc.so"])
def test_a_host_with_merged_usr(root, where, mapped):
    """The package still has its debug files for /lib, which is a link by now."""
    root.put("/usr/lib/x/libc.so", elf(RIGHT))
    root.link("/lib", "usr/lib")
    at = root.put(where, debug(RIGHT))
    found = root.search(module(mapped))
    assert found.file.inside == "/usr/lib/x/libc.so"
    assert found.debug.at == at


def test_beside_the_name_it_was_mapped_by_and_beside_where_that_leads(root):
    """gdb looks beside the link, too (PR gdb/9538)."""
    root.put("/opt/app-1.2/lib/liba.so", elf(RIGHT))
    root.link("/opt/app", "app-1.2")
    root.link("/srv/liba.so", "/opt/app/lib/liba.so")
    at = root.put("/srv/liba.so.debug", debug(RIGHT))
    assert root.search(module("/srv/liba.so")).debug.at == at


def test_debug_information_of_a_program_that_is_gone(root):
    at = root.put("/usr/lib/debug/usr/bin/prog.debug", debug(RIGHT))
    files = root.search(module())
    assert isinstance(files.file, Missing) and files.debug.at == at


def test_a_hostile_path_stays_below_the_global_folder(root):
    want = Want(kind=DEBUG, module="/../../etc/passwd", build_id=RIGHT, paths=("x",))
    for one in debug_link.candidates(want, None):
        assert os.path.normpath(one.path).startswith(("/etc/", "/usr/lib/debug/"))
        assert one.named_by_dump or one.path.startswith("/usr/lib/debug/")


def both(root, link):
    """A stripped program, its debug file in a build-ID tree, with a link to a supplementary file."""
    root.put("/usr/bin/prog", elf(RIGHT))
    text = RIGHT.hex()
    root.put("/usr/lib/debug/usr/bin/prog.debug", debug(RIGHT, altlink=(link, SHARED)))
    root.link("/usr/lib/debug/.build-id/%s/%s.debug" % (text[:2], text[2:]), "../../usr/bin/prog.debug")


@pytest.mark.parametrize(
    "link, where",
    [
        ("/usr/lib/debug/.dwz/x86_64/prog.debug", "/usr/lib/debug/.dwz/x86_64/prog.debug"),
        ("../../.dwz/prog-1.2.x86_64", "/usr/lib/debug/.dwz/prog-1.2.x86_64"),
        ("/build/tree/.dwz/prog", "/usr/lib/debug/.dwz/prog"),
        ("../../../../../.dwz/prog", "/usr/lib/debug/.dwz/prog"),
        ("shared", "/usr/lib/debug/usr/bin/shared"),
        ("../share/both.debug", "/usr/share/both.debug"),
    ],
)
def test_supplementary_file(root, link, where):
    both(root, link)
    at = root.put(where, debug(SHARED))
    found = root.search(module())
    assert isinstance(found.debug, Found) and found.supplementary.at == at
    root.put(where, debug(WRONG))
    without = root.search(module())
    assert isinstance(without.supplementary, Missing) and isinstance(without.debug, Missing)
    assert SHARED.hex() in without.debug.attempts[-1].detail


def test_supplementary_file_of_a_debug_file_that_was_moved(root):
    """Fedora's relative name, and the debug file as a plain file in the build-ID tree: what debuginfod hands out."""
    root.put("/usr/bin/prog", elf(RIGHT))
    text = RIGHT.hex()
    root.put(
        "/usr/lib/debug/.build-id/%s/%s.debug" % (text[:2], text[2:]), debug(RIGHT, altlink=("../x/both", SHARED))
    )
    at = root.put("/usr/lib/debug/usr/x/both", debug(SHARED))
    assert root.search(module()).supplementary.at == at


def test_supplementary_file_of_dwarf_5(root):
    """.debug_sup, and a file that nothing but the checksum in there identifies."""
    sup = elfwriter.Section(".debug_sup", b"\5\0\0../shared\0\x14" + SHARED)
    root.put("/usr/bin/prog", elfwriter.elf_file(build_id=RIGHT, sections=[INFO, sup]))
    own = elfwriter.Section(".debug_sup", b"\5\0\1\0\x14" + SHARED)
    at = root.put("/usr/shared", elfwriter.elf_file(sections=[INFO, own]))
    found = root.search(module()).supplementary
    assert (found.at, found.matched_by, found.build_id) == (at, "build-id", SHARED)
    root.put("/usr/shared", elfwriter.elf_file(sections=[INFO, own._replace(data=b"\5\0\1\0\x14" + WRONG)]))
    assert root.search(module()).supplementary.status == "mismatch"


# Split DWARF, by real compilers.


class Split(NamedTuple):
    """A program with two .dwo files, obj/one.dwo and obj/two.dwo below `folder`."""

    folder: pathlib.Path

    def run(self, *words):
        subprocess.run(
            list(map(str, words)), cwd=str(self.folder), check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def read(self, name):
        return (self.folder / name).read_bytes()


def compile_at(folder, mark=1, absolute=False):
    """-DMARK shows in a type: a .dwo's ID is made of what is in it."""
    (folder / "obj").mkdir(parents=True)
    built = Split(folder)
    (folder / "one.c").write_text("char room[MARK]; int one(void) { return sizeof room; }\n")
    (folder / "two.c").write_text("int one(void); char more[MARK]; int main(void) { return one() + sizeof more; }\n")
    names = []
    for name in ("one", "two"):
        names.append((str(folder / "obj" / name) if absolute else "obj/" + name) + ".o")
        built.run("gcc", "-g", "-gdwarf-4", "-gsplit-dwarf", "-DMARK=%d" % mark, "-c", name + ".c", "-o", names[-1])
    built.run("gcc", "-Wl,--build-id=0x" + RIGHT.hex(), "-o", "prog", *names)
    built.run("dwp", "obj/one.dwo", "obj/two.dwo", "-o", "prog.dwp")
    return built


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if shutil.which("dwp") is None:
        pytest.skip("dwp is not installed")
    folder = tmp_path_factory.mktemp("split")
    right, wrong = compile_at(folder / "right"), compile_at(folder / "wrong", 2)
    right.run("objcopy", "--only-keep-debug", "prog", "prog.debug")
    right.run("cp", "prog", "whole")
    right.run("objcopy", "--strip-debug", "prog")
    return right, wrong


PACKAGES = [
    "/usr/bin/prog.dwp", "/usr/bin/.debug/prog.dwp", "/usr/lib/debug/usr/bin/prog.dwp", "/usr/lib/debug/prog.dwp",
]  # fmt: skip


@pytest.mark.parametrize("where", PACKAGES)
def test_package_of_units(root, built, where):
    right, wrong = built
    root.put("/usr/bin/prog", right.read("whole"))
    for place in PACKAGES:
        root.put(place, wrong.read("prog.dwp"))
    at = root.put(where, right.read("prog.dwp"))
    (found,) = root.search(module()).split
    assert (found.at, found.matched_by) == (at, "dwo-id")
    assert "2 of 2 units are not in it" in [one.detail for one in found.attempts] or where == PACKAGES[0]


@pytest.mark.parametrize(
    "where",
    ["/usr/lib/debug/usr/bin/prog.dwp", "/usr/lib/debug/usr/bin/prog.debug.dwp", "/usr/bin/prog.dwp",
     "/usr/bin/prog.debug.dwp"],
)  # fmt: skip
def test_package_of_a_stripped_program(root, built, where):
    right, _wrong = built
    root.put("/usr/bin/prog", right.read("prog"))
    root.put("/usr/lib/debug/usr/bin/prog.debug", right.read("prog.debug"))
    at = root.put(where, right.read("prog.dwp"))
    found = root.search(module())
    assert isinstance(found.debug, Found) and [one.at for one in found.split] == [at]


def test_half_a_package_is_none(root, built):
    right, _wrong = built
    right.run("dwp", "obj/one.dwo", "-o", "half.dwp")
    root.put("/usr/bin/prog", right.read("prog"))
    root.put("/usr/lib/debug/usr/bin/prog.debug", right.read("prog.debug"))
    root.put("/usr/bin/prog.dwp", right.read("half.dwp"))
    found = root.search(module())
    assert isinstance(found.debug, Missing)
    attempts = [one for result in found.split for one in result.attempts]
    assert "1 of 2 units are not in it" in [one.detail for one in attempts]


def units_at(folder):
    """Where obj/one.dwo may lie, for a program built in `folder`."""
    return [
        "%s/obj/one.dwo" % folder, "/usr/bin/obj/one.dwo", "/usr/lib/debug/obj/one.dwo", "/usr/bin/one.dwo",
    ]  # fmt: skip


@pytest.mark.parametrize("place", range(4))
def test_single_units(root, built, place):
    right, wrong = built
    places = units_at(right.folder)
    root.put("/usr/bin/prog", right.read("whole"))
    for where in places:
        root.put(where, wrong.read("obj/one.dwo"))
    at = root.put(places[place], right.read("obj/one.dwo"))
    other = root.put("%s/obj/two.dwo" % right.folder, right.read("obj/two.dwo"))
    found = root.search(module()).split
    assert [(one.at, one.matched_by) for one in found] == [(at, "dwo-id"), (other, "dwo-id")]
    outcomes = [one.outcome for one in found[0].attempts]
    assert outcomes == ["other-build-id"] * place + ["match"]


def test_one_unit_is_lost(root, built):
    right, wrong = built
    root.put("/usr/bin/prog", right.read("prog"))
    root.put("/usr/bin/prog.debug", right.read("prog.debug"))
    root.put("%s/obj/one.dwo" % right.folder, right.read("obj/one.dwo"))
    root.put("%s/obj/two.dwo" % right.folder, wrong.read("obj/two.dwo"))
    found = root.search(module())
    assert isinstance(found.debug, Missing) and found.debug.attempts[-1].outcome == "refused"
    assert "obj/two.dwo" in found.debug.attempts[-1].detail
    assert [isinstance(one, Found) for one in found.split] == [True, False]


def test_absolute_names(root, tmp_path):
    made = compile_at(tmp_path / "absolute", absolute=True)
    root.put("/usr/bin/prog", made.read("prog"))
    expected = [
        root.put("%s/obj/%s.dwo" % (made.folder, name), made.read("obj/%s.dwo" % name)) for name in ("one", "two")
    ]
    assert [one.at for one in root.search(module()).split] == expected


def test_names_that_a_file_chose_are_opened_with_its_owners_rights(root):
    """The file may be the dump owner's own: root must not read for him what he could not."""
    want = Want(
        kind=SPLIT, module="/usr/bin/prog", build_id=None, paths=("/root/x.dwo", "../../root/x.dwo"), dwo_ids=(1,),
        loaded_at="/usr/bin/prog",
    )  # fmt: skip
    proposed = list(debug_link.candidates(want, None))
    assert "/root/x.dwo" in [one.path for one in proposed]
    assert [one for one in proposed if not one.named_by_dump and not one.path.startswith("/usr/bin/")] == []


@pytest.fixture
def open_folder():
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="debug-link-") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


def test_a_unit_that_the_dumps_owner_cannot_read(open_folder):
    if os.geteuid():
        pytest.skip("needs root, who reads for others")
    secret, prog = open_folder / "secret", open_folder / "prog"
    made = compile_at(secret, absolute=True)
    secret.chmod(0o700)
    prog.write_bytes(made.read("prog"))
    dump = Dump(
        path="core", size=1, stored_size=1, compression=None, kind="core", machine="x86_64", bits=64, endian="little",
        os="linux", complete=True, incomplete_why=None, process=None, modules=(module(str(prog)),), identity="0" * 16,
        mtime_ns=0,
    )  # fmt: skip
    found = searching.search(dump, SearchOptions(), Held(), Owner(65534, 65534)).files[0].split
    assert "unreadable" in [one.outcome for result in found for one in result.attempts]
    assert not any(isinstance(one, Found) for one in found)
    assert all(isinstance(one, Found) for one in searching.search(dump, SearchOptions(), Held()).files[0].split)


@pytest.mark.parametrize("kind, paths", [(DEBUG, ("x.debug",)), (SPLIT, ("prog.dwp",)), (SPLIT, ("obj/x.dwo",))])
def test_what_was_found_in_another_root_is_looked_for_there(kind, paths):
    want = Want(
        kind=kind, module="/usr/bin/prog", build_id=None, paths=paths, crc=1 if kind == DEBUG else None,
        loaded_at="/usr/bin/prog", loaded_in="/proc/12/root", dwo_ids=(1,) if kind == SPLIT else (),
    )  # fmt: skip
    proposed = [one for one in debug_link.candidates(want, None) if isinstance(one, Candidate)]
    assert proposed[0].path.startswith("/usr/bin/") and proposed[0].root == "/proc/12/root"
    # The host's own global folder may have it, too.
    assert {one.root for one in proposed if one.path.startswith("/usr/lib/debug/")} == {"/proc/12/root", None}


def test_what_was_found_below_a_search_path_is_no_path_of_the_host():
    want = Want(kind=DEBUG, module="./x.so", build_id=RIGHT, paths=("x.debug",), loaded_at="lib/x.so")
    assert list(debug_link.candidates(want, None)) == []
