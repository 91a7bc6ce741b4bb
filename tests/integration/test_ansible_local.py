# SPDX-License-Identifier: Apache-2.0
"""The collection on this very machine: each module, both vehicles, the playbooks in a clone and installed.

What needs other hosts (ssh, sudo, links that break) is in test_play.py and test_fleet.py.
"""

import fnmatch
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
from support import checkout, elfwriter, machine

# Of more than one page, of which the first was dumped: it cannot be rebuilt from the dump.
PROGRAM = elfwriter.elf_file(build_id=b"\x11" * 20, padding=8192)
MODULES = [elfwriter.Mapped(b"/usr/bin/prog", 0x400000, PROGRAM, header_only=True)]

#: A connection like any that savedump has never heard of; it can also do harm while a file is read.
ODD_CONNECTION = """
import os
from ansible.plugins.connection.local import Connection as Local
DOCUMENTATION = '''
name: odd
short_description: As local, under another name
description: [For tests.]
author: [tests]
options:
  pipelining:
    default: false
    type: bool
  become_success_timeout:
    default: 10
    type: int
  become_strip_preamble:
    default: true
    type: bool
'''
class Connection(Local):
    transport = 'odd'
    def exec_command(self, cmd, in_data=None, sudoable=True):
        done = super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if os.environ.get('ODD_APPEND_TO') and ' chunk ' in cmd:
            with open(os.environ['ODD_APPEND_TO'], 'ab') as stream:
                stream.write(b'more')
        shown = os.environ.get('ODD_HIDES_PYTHON')
        if shown and 'savedump-python' in cmd:
            rows = [row for row in done[1].splitlines(True) if row.rstrip().endswith(b'|' + shown.encode())]
            done = done[0], b''.join(rows), done[2]
        return done
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A plain clone; nothing of the collection is installed anywhere."""
    return checkout.copy(tmp_path_factory.mktemp("clone"))


class Here:
    """This machine as the one host of an inventory, a root with a program, and dumps of its processes."""

    def __init__(self, ansible, clone, folder):
        self.ansible, self.clone, self.folder = ansible, clone, folder
        self.root, self.dest, self.home = folder / "root", folder / "archives", folder / "collected"
        (self.root / "usr/bin").mkdir(parents=True)
        (self.root / "usr/bin/prog").write_bytes(PROGRAM)
        self.inventory = folder / "inventory.ini"
        self.inventory.write_text(f"here ansible_connection=local ansible_python_interpreter={sys.executable}\n")

    def dump(self, name="core.77", pid=77):
        path = self.folder / "dumps" / name
        path.parent.mkdir(exist_ok=True)
        elfwriter.process_core(modules=MODULES, pid=pid).write(str(path))
        return path

    def module(self, name, *arguments, **options):
        """One module; (result, what Ansible printed)."""
        more, environ = arguments, options.pop("environ", None)
        run = self.ansible.adhoc(
            self.inventory, "all", "-m", name, "-a", json.dumps(options), *more,
            cwd=self.clone, config=self.clone / "ansible.cfg", environ=environ,
        )  # fmt: skip
        assert run.results, run.output
        return run.results[-1], run.output

    def archive(self, *arguments, **options):
        options = {"src": str(self.dump()), "dest": str(self.dest), "sysroot": str(self.root), **options}
        return self.module("savedump", *arguments, **options)[0]

    def fetch(self, source, *arguments, **options):
        return self.module("savedump_fetch", *arguments, src=str(source), dest=str(self.home), **options)[0]


@pytest.fixture
def here(ansible, clone, tmp_path):
    return Here(ansible, clone, tmp_path)


@pytest.fixture
def big(tmp_path):
    """More than two chunks, and no whole number of them."""
    path = tmp_path / "big file"
    path.write_bytes(os.urandom((9 << 20) + 12345))
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def oldest(here):
    """Have the host use the oldest Python that the core supports."""
    python = machine.interpreter("3.6")
    if python is None:
        pytest.skip("no python3.6 in PATH or under pyenv")
    # Ansible finds the async folder by the user's name, its wrapper by $HOME, which the tests set.
    place = here.folder / "async"
    here.inventory.write_text(
        f"here ansible_connection=local ansible_python_interpreter={python} ansible_async_dir={place}\n"
    )


# The module savedump


def test_check_run_and_run_again(here):
    planned = here.archive("--check")
    assert planned.values["changed"] and planned.values["archives"][0]["planned_size"] > 0
    assert not here.dest.exists()

    made = here.archive()
    (archive,) = made.values["archives"]
    assert made.values["changed"] and archive["complete"] and archive["path"] == planned.values["archives"][0]["path"]
    assert os.stat(archive["path"]).st_mode & 0o777 == 0o600

    again = here.archive()
    assert not again.values["changed"] and again.values["archives"][0]["sha256"] == archive["sha256"]
    assert not here.archive("--check").values["changed"]


def test_pyelftools_is_carried(here):
    assert here.archive().values["python"]["pyelftools"] == "0.32"


def test_a_gap_is_a_warning_and_a_bad_dump_a_failure_that_loses_nothing(here):
    (here.root / "usr/bin/prog").unlink()
    (here.folder / "text").write_text("no dump")
    result, output = here.module(
        "savedump", src=[str(here.folder / "text"), str(here.dump())], dest=str(here.dest), sysroot=str(here.root)
    )
    assert result.outcome == "failed"
    assert [each["complete"] for each in result.values["archives"]] == [False]
    assert [each["exit_status"] for each in result.values["not_archived"]] == [65]
    words = " ".join(output.split())
    assert "/usr/bin/prog" in words and "NOT archived" in words


@pytest.mark.parametrize("arguments", [(), ("-B", "60", "-P", "1")], ids=["at once", "async"])
def test_python_36(here, arguments):
    """AnsiballZ under an ansible-core that supports it, the zipapp under one that does not: the same result."""
    oldest(here)
    assert here.archive("--check").values["changed"]
    made = here.archive(*arguments)
    assert made.outcome == "ok", made.values
    assert made.values["python"]["version"].startswith("3.6.")
    assert made.values["python"]["pyelftools"] == "0.32"
    assert made.values["archives"][0]["complete"]
    assert not here.archive(*arguments).values["changed"]
    assert here.module("savedump_info", paths=str(here.dest), verify=True)[0].values["archives"][0]["intact"]


def test_async_without_poll_says_why_not(here):
    oldest(here)
    made = here.archive("-B", "60", "-P", "0")
    if here.ansible.release == "2.16":
        assert "ansible_job_id" in made.values
    else:
        assert made.outcome == "failed" and "Give a poll above 0" in made.values["msg"]


def test_options_are_checked_on_both_ways(here):
    for prepare in (lambda here: None, oldest):
        prepare(here)
        result = here.archive(no_such_option=1)
        assert result.outcome == "failed" and "no_such_option" in result.values["msg"]


def test_a_python_without_its_library_is_named(here, tmp_path):
    """Debian's python3-minimal, as the only Python that the target has."""
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.modules[\'shutil\'] = None; $2"\n')
    python.chmod(0o755)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/odd.py").write_text(ODD_CONNECTION)
    here.inventory.write_text(f"here ansible_connection=odd ansible_python_interpreter={python}\n")
    environ = {"ANSIBLE_CONNECTION_PLUGINS": str(tmp_path / "plugins"), "ODD_HIDES_PYTHON": str(python)}
    result, _output = here.module("savedump", src="/nowhere", environ=environ)
    assert result.outcome == "failed"
    assert f"at {python} without its standard library" in result.values["msg"]
    assert "python3-minimal" in result.values["msg"] and "Install python3" in result.values["msg"]


def test_no_python_at_all_says_what_to_do(here, tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/odd.py").write_text(ODD_CONNECTION)
    here.inventory.write_text("here ansible_connection=odd ansible_python_interpreter=/no/such/python\n")
    environ = {"ANSIBLE_CONNECTION_PLUGINS": str(tmp_path / "plugins"), "ODD_HIDES_PYTHON": "all"}
    result, _output = here.module("savedump", src="/nowhere", environ=environ)
    assert result.outcome == "failed"
    assert "has no Python 3" in result.values["msg"] and "ansible_python_interpreter" in result.values["msg"]


def test_info_says_where_it_looked(here):
    (here.folder / "nothing").mkdir()
    values = here.module("savedump_info", paths=str(here.folder / "nothing"))[0].values
    assert values["dumps"] == [] and values["looked"][0]["where"] == str(here.folder / "nothing")


# The action savedump_fetch


@pytest.mark.parametrize("connection, way", [("local", "local"), ("odd", "chunks")])
def test_fetch(here, big, connection, way, tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/odd.py").write_text(ODD_CONNECTION)
    environ = {"ANSIBLE_CONNECTION_PLUGINS": str(tmp_path / "plugins")}
    here.inventory.write_text(f"../up ansible_connection={connection} ansible_python_interpreter={sys.executable}\n")
    planned = here.fetch(big, "--check", environ=environ)
    assert planned.values["changed"] and planned.values["size"] == big.stat().st_size and not here.home.exists()

    came = here.fetch(big, environ=environ)
    assert (came.values["changed"], came.values["way"], came.values["sha256"]) == (True, way, sha256(big))
    (path,) = [path for path in here.home.rglob("*") if path.is_file()]
    assert path.parent.parent == here.home and path.read_bytes() == big.read_bytes()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    assert not here.fetch(big, environ=environ).values["changed"]
    # With the checksum given, nothing is asked of the target: it may be gone.
    known = sha256(big)
    big.unlink()
    assert not here.fetch(big, checksum=known, environ=environ).values["changed"]


@pytest.mark.parametrize("connection, kept", [("local", 4000001), ("odd", 4000001)])
def test_a_part_that_is_right_is_gone_on_with(here, big, connection, kept, tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/odd.py").write_text(ODD_CONNECTION)
    here.inventory.write_text(f"here ansible_connection={connection} ansible_python_interpreter={sys.executable}\n")
    environ = {"ANSIBLE_CONNECTION_PLUGINS": str(tmp_path / "plugins")}
    place = here.home / "here" / here.fetch(big, "--check", environ=environ).values["path"].rpartition("/")[2]
    place.parent.mkdir(parents=True)
    part = place.with_name(place.name + ".part")
    part.write_bytes(big.read_bytes()[:kept])
    came = here.fetch(big, environ=environ)
    assert came.values["resumed_at"] in (kept, kept - kept % 65536)
    assert place.read_bytes() == big.read_bytes() and not part.exists()


def test_a_part_that_is_wrong_is_begun_anew(here, big):
    place = here.home / "here" / here.fetch(big, "--check").values["path"].rpartition("/")[2]
    place.parent.mkdir(parents=True)
    damaged = bytearray(big.read_bytes()[:4000000])
    damaged[1234] ^= 1
    place.with_name(place.name + ".part").write_bytes(damaged)
    came = here.fetch(big)
    assert came.values["resumed_at"] == 0 and place.read_bytes() == big.read_bytes()


def test_other_bytes_under_the_name_are_kept(here, big):
    first = here.fetch(big).values["path"]
    before = sha256(big)
    big.write_bytes(b"another dump of the same name")
    second = here.fetch(big).values
    assert second["changed"] and second["path"] != first
    with open(first, "rb") as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == before
    assert not here.fetch(big).values["changed"]


def test_a_wrong_checksum_leaves_nothing(here, big):
    came = here.fetch(big, checksum="0" * 64)
    assert came.outcome == "failed" and "0" * 64 in came.values["msg"] and sha256(big) in came.values["msg"]
    assert [path for path in here.home.rglob("*") if path.is_file()] == []


def test_what_lies_in_the_way_here_is_a_failure_of_the_task(here, big):
    (here.home / "here/archive").mkdir(parents=True)
    came, output = here.module("savedump_fetch", src=str(big.rename(big.with_name("archive"))), dest=str(here.home))
    assert came.outcome == "failed" and "Is a directory" in came.values["msg"], output
    assert "Traceback" not in output and came.values["wire_bytes"] == 0


@pytest.mark.parametrize(
    "options, words", [({"bandwidth_limit": 10}, "less than 1K"), ({"stall_timeout": 0}, "less than a second")]
)
@pytest.mark.parametrize("module", ["savedump_fetch", "savedump_stream"])
def test_limits_that_would_let_nothing_move_are_refused(here, module, options, words):
    came, output = here.module(module, src=str(here.dump()), dest=str(here.home), **options)
    assert came.outcome == "failed" and words in came.values["msg"], output


def test_a_file_that_changes_meanwhile_is_noticed(here, big, tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/odd.py").write_text(ODD_CONNECTION)
    here.inventory.write_text(f"here ansible_connection=odd ansible_python_interpreter={sys.executable}\n")
    environ = {"ANSIBLE_CONNECTION_PLUGINS": str(tmp_path / "plugins"), "ODD_APPEND_TO": str(big)}
    came = here.fetch(big, environ=environ)
    assert came.outcome == "failed" and "changed while it was read" in came.values["msg"]
    assert [path for path in here.home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("source", ["/dev/zero", "/no/such/file"])
def test_what_is_no_file_is_not_waited_for(here, source):
    came = here.fetch(source)
    assert came.outcome == "failed" and f"{source} on here cannot be read" in came.values["msg"]


# The playbooks


def play(here, playbook, *arguments, **options):
    """In a folder of its own, without an inventory."""
    cwd = here.folder / "cwd"
    cwd.mkdir(exist_ok=True)
    return here.ansible.run("ansible-playbook", playbook, *arguments, **{"cwd": cwd, **options})


@pytest.fixture(scope="module")
def installed(ansible, clone, tmp_path_factory):
    """The environment in which the collection is installed from its tarball, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    built = ansible.run("ansible-galaxy", "collection", "build", "--output-path", str(folder), cwd=clone)
    assert built.status == 0, built.output
    (tarball,) = folder.glob("savedump-toolkit-*.tar.gz")
    done = ansible.run("ansible-galaxy", "collection", "install", str(tarball), "-p", str(folder), "--offline")
    assert done.status == 0, done.output
    return {"ANSIBLE_COLLECTIONS_PATH": str(folder)}


@pytest.mark.parametrize("name", ["collect-dumps.yml", "savedump.toolkit.collect_dumps"])
def test_the_demo_in_a_clone(here, name):
    """From a real crash to the backtrace; where this machine keeps dumps from us, it has to say exactly that."""
    playbook = str(here.clone / name) if name.endswith(".yml") else name
    run = play(here, playbook, "-e", "savedump_demo=true", config=here.clone / "ansible.cfg")
    _demo_is_right(here, run)


def test_the_demo_installed(here, installed):
    run = play(here, "savedump.toolkit.collect_dumps", "-e", "savedump_demo=true", environ=installed)
    _demo_is_right(here, run)


def _demo_is_right(here, run):
    if "but left no dump" in run.output:
        assert run.status != 0 and re.search(r"the kernel|core dumps are forbidden", run.output)
        return
    assert run.status == 0, run.output
    (archive,) = [path for path in (here.folder / "cwd/collected/localhost").iterdir()]
    assert archive.name.endswith(".tar.gz")
    assert "verified" in run.output
    words = run.output.partition("The backtrace, from nothing but the archive")[2]
    assert re.search(r"#\d+ .*(string_at|abort|raise)", words) or "No debugger is here" in words, run.output


def test_without_an_inventory_it_is_this_machine(here, installed):
    (here.folder / "empty").mkdir()
    paths = json.dumps({"collect_paths": [str(here.folder / "empty")]})
    for run in (
        play(here, "savedump.toolkit.collect_dumps", "-e", paths, environ=installed),
        play(here, str(here.clone / "collect-dumps.yml"), "-e", paths, config=here.clone / "ansible.cfg"),
    ):
        assert run.status == 0, run.output
        assert "localhost  no dumps" in run.output
        assert f"looked in {here.folder}/empty" in run.output


def test_the_summary_waits_for_every_host(here, installed):
    """Whatever strategy is the user's own: one summary, in which nobody still at work is called failed."""
    slow = here.folder / "slow-python"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    two = here.folder / "two.ini"
    words = here.inventory.read_text()
    two.write_text(words + words.replace("here", "slow").replace(sys.executable, str(slow)))
    (here.folder / "empty").mkdir()
    paths = json.dumps({"collect_paths": [str(here.folder / "empty")], "collect_dest": str(here.home)})
    for playbook in ("find_dumps", "archive_dumps", "fetch_dumps", "collect_dumps"):
        run = play(
            here, f"savedump.toolkit.{playbook}", "-i", str(two), "-e", paths,
            environ={**installed, "ANSIBLE_STRATEGY": "free"},
        )  # fmt: skip
        assert run.status == 0 and "FAILED" not in run.output, run.output
        none = "no archives" if playbook == "fetch_dumps" else "no dumps"
        assert [run.output.count(f"{host}  {none}") for host in ("here", "slow")] == [1, 1], run.output


def test_find_archive_fetch_verify(here, installed):
    dump = here.dump()
    variables = json.dumps(
        {
            "collect_paths": [str(dump.parent)],
            "collect_archive_dir": str(here.dest),
            "collect_dest": str(here.home),
            "collect_sysroot": str(here.root),
        }
    )
    said = {}
    for playbook in ("find_dumps", "archive_dumps", "fetch_dumps", "verify_archives", "collect_dumps"):
        run = play(here, f"savedump.toolkit.{playbook}", "-e", variables, environ=installed)
        assert run.status == 0, run.output
        said[playbook] = run.output
    assert str(dump) in said["find_dumps"] and "1 dump found" in said["find_dumps"]
    assert f"{dump} -> {here.dest}" in said["archive_dumps"]
    assert "verified" in said["fetch_dumps"] and "verified" in said["verify_archives"]
    assert "nothing new" in said["collect_dumps"] and "changed=0" in said["collect_dumps"]


# What the demo looks for; on this machine the kernel does only one of these


@pytest.fixture(scope="module")
def crash():
    path = checkout.CHECKOUT / "roles/demo/files/crash.py"
    spec = importlib.util.spec_from_file_location("demo_crash", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "pattern, name",
    [
        ("core", "/home/a [b]/core.77"),
        ("core.%p", "/home/a [b]/core.77"),
        ("/var/cores/%e.%p.%t%%", "/var/cores/python3.77.1700000000%"),
        ("/var/[cores]/core.%h.%P.%p", "/var/[cores]/core.web1.9.77"),
        ("|/lib/systemd/systemd-coredump %P", "/var/lib/systemd/coredump/core.python3.1000.abc.77.170000.zst"),
        ("|/usr/share/apport/apport %p", "/var/lib/apport/coredump/core._usr_bin_python3.1000.abc.77.123"),
        ("|/usr/libexec/abrt-hook-ccpp", "/var/spool/abrt/ccpp-2026-01-01-00:00:00.1-77/coredump"),
    ],
)
def test_where_a_dump_would_be(crash, pattern, name):
    places = crash.places(pattern, "/home/a [b]", 77)
    if pattern == "core" and "77" not in places[0]:
        name = "/home/a [b]/core"  # kernel.core_uses_pid is off here
    assert any(fnmatch.fnmatchcase(name, place) for place in places)
    assert not any(fnmatch.fnmatchcase(name.replace("77", "78"), place) for place in places if "77" in place)


def test_a_dump_that_a_crash_handler_writes_late_is_waited_for(crash, tmp_path, monkeypatch):
    monkeypatch.setattr(crash, "WAIT_S", 60)
    answer = {"core_pattern": "|/usr/lib/handler %p", "pid": 77, "dump": None, "why": None}
    late = subprocess.Popen(["sh", "-c", f"sleep 2; echo dump > {tmp_path}/core.x.77.y"])
    crash.look(answer, [f"{tmp_path}/core.*.77.*"], 0, True)
    late.wait()
    assert answer["dump"] == f"{tmp_path}/core.x.77.y" and answer["why"] is None


def test_a_dump_that_went_elsewhere_is_explained(crash, tmp_path, monkeypatch):
    monkeypatch.setattr(crash, "WAIT_S", 1)
    answer = {"core_pattern": "|/usr/lib/handler %p", "pid": 77, "dump": None, "why": None}
    crash.look(answer, [f"{tmp_path}/core.*.77.*"], 0, True)
    assert "/usr/lib/handler" in answer["why"] and str(tmp_path) in answer["why"] and "on the host" in answer["why"]
