# SPDX-License-Identifier: Apache-2.0
"""Where members go: names that the dump chose can neither leave the archive nor stand where its own members do."""

import os

import pytest

from savedump_core.model import Dump, Entry, Findings, Found, Missing, Module, ModuleFiles, Want
from savedump_core.plan import make_plan
from savedump_core.plan.names import member_path, safe_name
from savedump_core.sysroot import Sysroot

ID = b"\xaa\xbb" + bytes(18)


def module(path, names=(), build_id=ID, executable=False):
    return Module(
        name=path or names[0], path=path, names=tuple(names), build_id=build_id, build_id_why=None, start=1, end=2,
        executable=executable,
    )  # fmt: skip


def found(at, kind="loaded", build_id=ID, matched_by="build-id", paths=("x",)):
    want = Want(kind=kind, module="m", build_id=build_id, paths=paths)
    return Found(want=want, at=at, matched_by=matched_by, size=10, build_id=build_id, attempts=(), mtime_ns=1)


def files(path, names=(), at=None, build_id=ID, debug=None, executable=False):
    return ModuleFiles(module(path, names, build_id, executable), found(at or path, build_id=build_id), debug)


def plan(*module_files, **options):
    dump = Dump(
        path="/d/core", size=100, stored_size=100, compression=None, kind="core", machine="x86_64", bits=64,
        endian="little", os="linux", complete=True, incomplete_why=None, process=None, modules=(), identity="0" * 16,
        mtime_ns=5,
    )  # fmt: skip
    findings = Findings(files=tuple(module_files), thread_db=options.get("thread_db"))
    return make_plan(
        dump, options.get("name", "core.1"), findings, Sysroot(options.get("sysroot", "/nowhere")),
        options.get("beside", ()),
    )  # fmt: skip


def members(the_plan):
    return {entry.path: entry for entry in the_plan.entries}


def links(the_plan):
    return {entry.path: entry.target for entry in the_plan.entries if entry.role == "link"}


def test_layout_of_an_ordinary_dump():
    debug = found("/usr/lib/debug/x.debug", kind="debug")
    the_plan = plan(files("/usr/bin/prog", executable=True, debug=debug), thread_db=found("/usr/lib/libthread_db.so.1"))
    assert the_plan.name == "archive-core.1"
    by_path = members(the_plan)
    assert by_path["usr/bin/prog"].role == "executable"
    by_id = "usr/lib/debug/.build-id/aa/bb" + "00" * 18
    assert by_path[by_id + ".debug"].role == "debug"
    assert by_path[by_id].target == "../../../../bin/prog"
    assert by_path[".savedump/executable"].target == "../usr/bin/prog"
    assert by_path[".savedump/dump"].target == "../core.1"
    assert by_path[".savedump/thread-db/libthread_db.so.1"].role == "thread-db"
    assert the_plan.entries[-1].path == "core.1" and the_plan.entries[-1].role == "dump"
    assert [entry.role for entry in the_plan.entries if entry.role == "launcher"]
    assert the_plan.size == sum(entry.size for entry in the_plan.entries)


@pytest.fixture
def usr_merged(tmp_path):
    for folder in ("usr/lib/x", "usr/lib64"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "lib64").symlink_to("/usr/lib64")
    return str(tmp_path)


def test_directory_links_of_the_host_are_kept_as_such(usr_merged):
    the_plan = plan(
        files("/usr/lib/x/libc.so.6", ["/lib/x/libc.so.6"]),
        files("/usr/lib/x/ld.so.2", ["/lib64/ld-linux.so.2"], build_id=b"\1" * 20),
        sysroot=usr_merged,
    )
    found_links = links(the_plan)
    assert found_links["lib"] == "usr/lib"
    assert found_links["lib64"] == "usr/lib64"
    assert found_links["usr/lib64/ld-linux.so.2"] == "../lib/x/ld.so.2"
    assert "lib/x/libc.so.6" not in found_links


def test_directory_links_are_kept_though_no_link_map_tells_them(usr_merged):
    assert links(plan(files("/usr/lib/x/libc.so.6"), sysroot=usr_merged))["lib"] == "usr/lib"


def test_link_map_name_of_a_file_link_leads_to_the_file():
    assert links(plan(files("/opt/libx.so.1.2", ["/opt/libx.so.1"])))["opt/libx.so.1"] == "libx.so.1.2"


def test_directory_link_gives_way_to_files_that_lie_below_its_name(usr_merged):
    the_plan = plan(
        files("/lib/y/libb.so", build_id=b"\1" * 20),
        files("/usr/lib/x/liba.so", ["/lib/x/liba.so"]),
        sysroot=usr_merged,
    )
    assert "lib" not in links(the_plan) and "lib/y/libb.so" in members(the_plan)


@pytest.mark.parametrize("name", ["./plug.so", "a/plug.so", "../plug.so", "a/../plug.so"])
def test_relative_name_stands_flat_in_solib(name):
    assert links(plan(files("/srv/app/x.so", [name])))[".savedump/solib/plug.so"] == "../../srv/app/x.so"


def test_relative_names_that_end_alike_keep_their_folders():
    the_plan = plan(
        files("/srv/a/p.so", ["plugins/a/p.so"]),
        files("/srv/b/p.so", ["./plugins/b/p.so", "../p.so"], build_id=b"\1" * 20),
    )
    solib = {path: target for path, target in links(the_plan).items() if path.startswith(".savedump/solib/")}
    assert solib == {
        ".savedump/solib/plugins/a/p.so": "../../../../srv/a/p.so",
        ".savedump/solib/plugins/b/p.so": "../../../../srv/b/p.so",
    }


@pytest.mark.parametrize(
    "path",
    ["/manifest.json", "/SHA256SUMS", "/run-gdb.sh", "/.savedump/dump", "/.savedump/solib/x",
     "/../../etc/cron.d/x", "//", "/."],
)  # fmt: skip
def test_file_that_would_stand_in_for_the_archives_own_is_displaced(path):
    the_plan = plan(files(path, executable=True))
    entry = next(entry for entry in the_plan.entries if entry.role == "executable")
    assert entry.path.startswith(".savedump/files/" + ID.hex())
    assert members(the_plan)[".savedump/executable"].target == os.path.relpath("/" + entry.path, "/.savedump")
    assert members(the_plan)["run-gdb.sh"].role == "launcher"


@pytest.mark.parametrize("name", ["/run-gdb.sh", "/manifest.json", "/.savedump/executable", "/.savedump/solib/../dump"])
def test_link_from_the_dump_cannot_stand_in_for_the_archives_own(name):
    the_plan = plan(files("/opt/evil.so", [name]))
    assert links(the_plan)[".savedump/dump"] == "../core.1"
    assert members(the_plan)["run-gdb.sh"].role == "launcher"
    assert "manifest.json" not in links(the_plan) and ".savedump/executable" not in links(the_plan)


def test_two_files_of_one_path_are_both_kept():
    the_plan = plan(files("/opt/libx.so"), files("/opt/libx.so", at="/srv/old/libx.so", build_id=b"\1" * 20))
    paths = [entry.path for entry in the_plan.entries if entry.role == "library"]
    assert sorted(paths) == [".savedump/files/" + "01" * 20 + "/libx.so", "opt/libx.so"]


def test_one_file_of_two_modules_is_written_once():
    the_plan = plan(files("/opt/libx.so"), files("/opt/libx.so"))
    assert [entry.path for entry in the_plan.entries if entry.role == "library"] == ["opt/libx.so"]


def test_file_below_another_file_is_displaced():
    the_plan = plan(files("/opt/x"), files("/opt/x/y", build_id=b"\1" * 20))
    assert sorted(entry.path for entry in the_plan.entries if entry.role == "library")[1] == "opt/x"


def test_nothing_is_written_below_a_link_and_no_name_twice(usr_merged):
    the_plan = plan(
        files("/usr/lib/x/a.so", ["/lib/x/a.so", "/lib", "/usr", "/lib/x", "x/y", "x"]),
        files("/lib/x/b.so", ["/usr/lib/x/a.so", "/lib64"], build_id=b"\1" * 20),
        sysroot=usr_merged,
    )
    paths = [entry.path for entry in the_plan.entries]
    assert len(paths) == len(set(paths))
    for link in links(the_plan):
        assert not any(path.startswith(link + "/") for path in paths), link


def test_debug_file_by_crc_stands_where_gdb_looks():
    debug = found("/x/prog.debug", kind="debug", build_id=None, matched_by="crc", paths=("prog.debug",))
    the_plan = plan(files("/usr/bin/prog", build_id=None, debug=debug))
    assert members(the_plan)["usr/bin/.debug/prog.debug"].matched_by == "crc"


@pytest.mark.parametrize("name", ["usr", "manifest.json", "run-gdb.sh", "SHA256SUMS"])
def test_dump_of_a_name_that_is_taken(name):
    the_plan = plan(files("/usr/bin/prog"), name=name)
    assert the_plan.entries[-1].path == "dump-" + name
    assert links(the_plan)[".savedump/dump"] == "../dump-" + name


def test_dump_that_does_not_say_its_program_is_not_complete():
    assert not plan(files("/usr/lib/libx.so")).complete
    assert plan(files("/usr/lib/libx.so"), files("/usr/bin/prog", executable=True, build_id=b"\1" * 20)).complete


def test_deep_missing_file_needs_no_member():
    missing = Missing(want=Want("loaded", "m", ID, ()), status="missing", attempts=())
    the_plan = plan(ModuleFiles(module("/opt/gone"), missing))
    assert not the_plan.complete
    assert [entry.role for entry in the_plan.entries if entry.role in ("library", "executable")] == []


@pytest.mark.parametrize(
    "name, safe",
    [("core.1234", "core.1234"), ("core.$(reboot) x", "core.__reboot__x"), ("a\nb\x1b[2J", "a_b__2J"),
     ("--help", "help"),
     (".hidden", "hidden"), ("\udcff", "_"), ("...", "dump"), ("é" * 300, "_" * 180)],
)  # fmt: skip
def test_safe_name(name, safe):
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    "path, member",
    [
        ("/a/b", "a/b"),
        ("//a//./b/", "a/b"),
        ("/a/../b", None),
        ("..", None),
        ("/", None),
        ("/a\0b", None),
        ("/a\nb", "a\nb"),
    ],
)
def test_member_path(path, member):
    assert member_path(path) == member


def unit(name, at=None, folder="/build"):
    """A .dwo, as its skeleton names it."""
    paths = (name,) if name.startswith("/") else ("%s/%s" % (folder, name), name)
    return found(at or paths[0], kind="split", build_id=None, matched_by="dwo-id", paths=paths)


def package(at, name="prog.dwp"):
    return found(at, "split", None, "dwo-id", (name,))._replace(features=("dwp",))


def of_role(the_plan, role):
    return [entry.path for entry in the_plan.entries if entry.role == role]


def test_units_stand_beside_their_file_by_the_name_it_has_for_them():
    whole = files("/usr/bin/prog", executable=True)
    the_plan = plan(whole._replace(debug=whole.file, split=(unit("obj/a.dwo"), unit("b.dwo"))))
    assert of_role(the_plan, "dwo") == ["usr/bin/b.dwo", "usr/bin/obj/a.dwo"]
    assert links(the_plan)[".savedump/dwo/1"] == "../../usr/bin"


def test_units_of_a_debug_file_stand_beside_that():
    whole = files("/usr/bin/prog", debug=found("/d/prog.debug", kind="debug"))
    the_plan = plan(whole._replace(split=(unit("obj/a.dwo"),)))
    assert of_role(the_plan, "dwo") == ["usr/lib/debug/.build-id/aa/obj/a.dwo"]
    assert links(the_plan)[".savedump/dwo/1"] == "../../usr/lib/debug/.build-id/aa"


def test_units_of_one_name():
    """In two folders each stands in its own; in one, only the first can be found, and the others are kept."""
    one = files("/opt/a/liba.so")
    two = files("/opt/b/libb.so", build_id=b"\1" * 20)
    three = files("/opt/b/libc.so", build_id=b"\2" * 20)
    the_plan = plan(
        *(
            whole._replace(debug=whole.file, split=(unit("obj/a.dwo", folder="/build/%d" % number),))
            for number, whole in enumerate((one, two, three))
        )
    )
    assert of_role(the_plan, "dwo") == [
        ".savedump/dwo-elsewhere/build/2/obj/a.dwo", "opt/a/obj/a.dwo", "opt/b/obj/a.dwo",
    ]  # fmt: skip
    assert [links(the_plan)[".savedump/dwo/%d" % number] for number in (1, 2)] == ["../../opt/a", "../../opt/b"]


def test_a_unit_that_two_modules_share_is_there_for_both():
    shared = unit("obj/a.dwo")
    one, two = files("/opt/a/liba.so"), files("/opt/b/libb.so", build_id=b"\1" * 20)
    the_plan = plan(*(whole._replace(debug=whole.file, split=(shared,)) for whole in (one, two)))
    assert of_role(the_plan, "dwo") == ["opt/a/obj/a.dwo"]
    assert links(the_plan)["opt/b/obj/a.dwo"] == "../../a/obj/a.dwo"


def test_units_called_by_an_absolute_name_are_kept_where_no_debugger_looks():
    whole = files("/usr/bin/prog")
    the_plan = plan(whole._replace(debug=whole.file, split=(unit("/build/a.dwo"),)))
    assert of_role(the_plan, "dwo") == [".savedump/dwo-elsewhere/build/a.dwo"]
    assert not [link for link in links(the_plan) if link.startswith(".savedump/dwo/")]


@pytest.mark.parametrize(
    "name", ["../../manifest.json", "../../.savedump/executable", "../../../../run-gdb.sh", "../../SHA256SUMS", "prog",
             "../../usr", ".."],
)  # fmt: skip
def test_a_unit_takes_no_place_of_another_member(name):
    whole = files("/usr/bin/prog", executable=True)
    the_plan = plan(whole._replace(debug=whole.file, split=(unit(name),)))
    (path,) = of_role(the_plan, "dwo")
    assert path.startswith((".savedump/dwo-elsewhere/", ".savedump/files/"))
    assert members(the_plan)["usr/bin/prog"].role == "executable"
    assert links(the_plan)[".savedump/executable"] == "../usr/bin/prog"


def test_a_module_of_the_dump_cannot_stand_among_the_units():
    the_plan = plan(files("/.savedump/dwo-elsewhere/x"), files("/.savedump/dwo/1", build_id=b"\1" * 20))
    assert [path for path in of_role(the_plan, "library") if not path.startswith(".savedump/files/")] == []


def test_package_of_units():
    whole = files("/usr/bin/prog", executable=True)
    the_plan = plan(whole._replace(debug=whole.file, split=(package("/x/prog.dwp"),)))
    assert of_role(the_plan, "dwp") == ["usr/bin/prog.dwp"]


def test_package_of_units_of_a_stripped_program():
    """gdb 13 asks for executable.dwp beside the debug file, the name that it was started with; lldb 14 for prog.dwp
    beside the program; others by the debug file's own name."""
    whole = files("/usr/bin/prog", executable=True, debug=found("/d/prog.debug", kind="debug"))
    the_plan = plan(whole._replace(split=(package("/x/prog.dwp"),)))
    folder = "usr/lib/debug/.build-id/aa"
    (path,) = of_role(the_plan, "dwp")
    assert path == "%s/bb%s.debug.dwp" % (folder, "00" * 18)
    for name in ("executable.dwp", "prog.dwp"):
        assert links(the_plan)["%s/%s" % (folder, name)] == os.path.basename(path)
    assert links(the_plan)["usr/bin/prog.dwp"] == os.path.relpath(path, "usr/bin")


def test_units_of_debug_information_that_is_not_packed_are_not_either():
    missing = Missing(want=found("/d", kind="debug").want, status="missing", attempts=())
    the_plan = plan(files("/usr/bin/prog", debug=missing)._replace(split=(unit("a.dwo"),)))
    assert of_role(the_plan, "dwo") == []


def test_what_belongs_beside_gives_way_to_files():
    script = Entry(path="usr/share/gdb/auto-load/usr/lib/libx.so-gdb.py", role="gdb-script", size=3, data=b"x=1")
    taken = Entry(path="usr/bin/prog", role="gdb-script")
    names = ("../x", ".savedump/x", "manifest.json", "usr/bin/prog/x")
    hostile = [Entry(path=path, role="gdb-script") for path in names]
    the_plan = plan(files("/usr/bin/prog"), beside=[script, taken, *hostile])
    assert of_role(the_plan, "gdb-script") == [script.path]
    assert members(the_plan)["usr/bin/prog"].role == "library"
