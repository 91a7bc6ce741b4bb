# SPDX-License-Identifier: Apache-2.0
"""The documentation of modules and roles is right: each example runs as it stands, against real hosts that have what it
names; what comes back is what RETURN says; check mode, diff mode and "idempotent" hold; and the roles' argument specs
are those of their defaults and tasks."""

import ast
import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from support import checkout, documents, elfwriter
from support.fleet import Fleet, HostSpec
from support.fleet.controller import CORES, Ansible, environment, python_for
from support.returned import Promises

MODULES = sorted((checkout.CHECKOUT / "plugins/modules").glob("*.py"))
ROLES = sorted(path for path in (checkout.CHECKOUT / "roles").iterdir() if path.is_dir())
OURS = "savedump.toolkit."

#: The build ID that the examples name, and the file that has it: host1, whose dump needs it, has lost it.
BUILD_ID = "5f70bf18a086007016e948b04aed3b82103a36be"
LIBRARY = "/usr/lib/x86_64-linux-gnu/libfoo.so.1"
FOO = elfwriter.elf_file(build_id=bytes.fromhex(BUILD_ID), padding=8192)
NGINX = elfwriter.elf_file(build_id=b"\x33" * 20)

#: Absolute paths on the control host that the examples name, and what stands for each in the folder of the test.
HERE = {"/srv/incidents": "incidents"}
#: The order in which the modules' examples run, each with what the ones before it have left.
ORDER = (
    "savedump_info", "savedump", "savedump_stream", "savedump_fetch", "savedump_room", "savedump_complete",
    "savedump_files", "savedump_store", "savedump_retention", "savedump_summary", "savedump_remove",
)  # fmt: skip
#: Where a module's examples run, if not on host1: that has the dumps, host2 has none and the library that host1 lost.
WHERE = {"savedump_info": ["host1", "host2"], "savedump_files": ["host2"]}
#: host1 has a dump that lacks a file: that this is told is what the example is for.
TOLD = {"savedump: Fail if a file that a debugger needs is missing"}
#: On host2, which has what host1's archives lack: as if both were one play's "completed".
GLUE = {
    "savedump_files": {
        "name": "glue",
        "ansible.builtin.set_fact": {"completed": "{{ hostvars['host1'].completed }}"},
    }
}


def blocks(module):
    """DOCUMENTATION, EXAMPLES and RETURN of a module file, as text."""
    found = {}
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found[node.targets[0].id] = node.value.value
    return found


def examples(text, folder):
    """The tasks of EXAMPLES, or the plays of a README, with a folder of ours for each absolute path that is here."""
    for path, name in HERE.items():
        text = text.replace(path, f"{folder}/{name}")
    return yaml.safe_load(text) or []


def readme_plays(role):
    """The YAML blocks of a role's README."""
    text = (role / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def uses(task):
    """The module of a task."""
    return next((key for key in task if "." in key), None)


# What is documented at all


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_every_module_has_examples_of_itself(module):
    text = blocks(module)
    tasks = examples(text["EXAMPLES"], Path("/here"))
    assert any(uses(task) == OURS + module.stem for task in tasks), "no example of it"
    assert len({task["name"] for task in tasks}) == len(tasks)
    assert all(uses(task).count(".") == 2 for task in tasks)  # by full names
    options = yaml.safe_load(text["DOCUMENTATION"]).get("options") or {}
    assert all(re.fullmatch(r"\S.*\.", _last(each["description"])) for each in options.values())


def _last(description):
    return " ".join(description if isinstance(description, list) else [description])


def test_none_is_left_out():
    assert sorted(ORDER) == [path.stem for path in MODULES]
    every = "".join(blocks(path)["EXAMPLES"] for path in MODULES) + "".join(
        text for role in ROLES for text in readme_plays(role)
    )
    assert [path for path in HERE if path not in every] == []
    assert len(readme_plays(checkout.CHECKOUT / "roles/collect")) == 1


# Run for real


@pytest.fixture(scope="module")
def fleet(fleet_folder):
    """host1 with dumps, host2 without, both with the machine's tree."""
    with Fleet(fleet_folder / "x", [HostSpec("host1"), HostSpec("host2")]) as running:
        one, two = running.hosts["host1"], running.hosts["host2"]
        _dumps(one)
        two.path(LIBRARY).write_bytes(FOO)
        one.run("head -c 300000 /dev/urandom > /var/log/journal.export; chmod 600 /var/log/journal.export")
        yield running


def _dumps(host):
    """What the examples name, and a dump that lacks a library. Those that are read without become are the user's."""
    for folder, program, name in (("/var/crash", "report", "core.1234"), ("/srv/app", "shop", "core")):
        core = host.crash(folder, program).core
        host.run(f"[ {core} = {folder}/{name} ] || mv {core} {folder}/{name}")
    host.run("mkdir -p /srv/app/releases/41 /srv/app/debug && mv /opt/shop/*/* /srv/app/releases/41")
    host.path("/usr/sbin/nginx").write_bytes(NGINX)
    modules = [elfwriter.Mapped(b"/usr/sbin/nginx", 0x400000, NGINX)]
    elfwriter.process_core(modules=modules, pid=80, comm=b"nginx").write(str(host.path("/var/crash/core.80")))
    modules.append(elfwriter.Mapped(os.fsencode(LIBRARY), 0x500000, FOO, header_only=True))
    elfwriter.process_core(modules=modules, pid=81).write(str(host.path("/var/crash/core.81")))
    host.run("chown admin /var/crash/core.1234 /srv/app/core /var/crash/core.80; chmod 600 /var/crash/core.81")


class Controller:
    """The newest ansible-core that runs here, in a clone, with a folder to work in and an inventory that also has the
    host that the examples name."""

    def __init__(self, fleet, tmp):
        release = next(release for release in sorted(CORES, reverse=True) if python_for(release))
        environment(release)
        self.ansible = Ansible(release, tmp / "home")
        (tmp / "home").mkdir()
        self.clone, self.folder, self.fleet = checkout.copy(tmp / "clone"), tmp / "work", fleet
        self.folder.mkdir()
        known = json.loads(fleet.inventory.read_text())
        old = {**known["fleet"]["vars"], **known["fleet"]["hosts"]["host2"]}
        known["others"] = {"hosts": {"old.example.org": old}}
        self.inventory = tmp / "inventory.yml"
        self.inventory.write_text(json.dumps(known))

    def play(self, name, plays, *arguments):
        book = self.folder.parent / f"{name}.yml"
        book.write_text(yaml.safe_dump(plays, sort_keys=False))
        return self.ansible.play(
            self.inventory, str(book), "--limit", "fleet,localhost", *arguments,
            cwd=self.folder, config=self.clone / "ansible.cfg", environ={"ANSIBLE_PIPELINING": "1"},
        )  # fmt: skip

    def state(self):
        """Every file here and on the hosts, with what would change if it did."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
        find = (
            "find /opt /root /srv /usr/lib /var /tmp -xdev -not -path '/root/.ansible*' -not -path '/var/lib/sudo/*'"
            r" -not -path '/var/log/*' -not -path /root -not -path /tmp -printf '%p %y %m %U %i %s %T@\n'"
        )
        for host in self.fleet.hosts.values():
            found[host.name] = set(host.run(find).stdout.splitlines())
        return found


@pytest.fixture(scope="module")
def controller(fleet, tmp_path_factory):
    made = Controller(fleet, tmp_path_factory.mktemp("control"))
    sent = made.folder / "incoming/node2/executable"
    sent.parent.mkdir(parents=True)
    sent.write_bytes(FOO)
    return made


@pytest.fixture(scope="module")
def promises():
    return Promises({path.stem: yaml.safe_load(blocks(path)["RETURN"]) for path in MODULES})


def _tasks(folder):
    """Every example as a task of one play, named after its module; and what stands between them."""
    for module in ORDER:
        where = f"inventory_hostname in {WHERE.get(module, ['host1'])}"
        if module in GLUE:
            yield {**GLUE[module], "when": where}
        for task in examples(blocks(checkout.CHECKOUT / f"plugins/modules/{module}.py")["EXAMPLES"], folder):
            more = {"ignore_errors": True} if uses(task) == "ansible.builtin.assert" else {}
            conditions = [where, *([task["when"]] if "when" in task else [])]
            yield {**task, "name": f"{module}: {task['name']}", "when": conditions, **more}


@pytest.fixture(scope="module")
def ran(controller):
    """(every example as a task, their run): those of the roles' READMEs first, with whose results some modules work."""
    readmes = [play for role in ROLES for text in readme_plays(role) for play in examples(text, controller.folder)]
    dest = readmes[0]["roles"][0]["vars"]["collect_dest"]
    tasks = list(_tasks(controller.folder))
    play = {"name": "examples", "hosts": "fleet", "gather_facts": False, "vars": {"collect_dest": dest}, "tasks": tasks}
    return tasks, controller.play("examples", [*readmes, play])


def _modules_of(tasks):
    """Task name, as results have it, to the module of ours that it uses; the role's own steps, too."""
    named = [("", task) for task in tasks]
    for role in ROLES:
        for path in (role / "tasks").glob("*.yml"):
            named += [(f"{OURS}{role.name} : ", task) for task in yaml.safe_load(path.read_text(encoding="utf-8"))]
    found = {prefix + task["name"]: uses(task) or "" for prefix, task in named}
    return {name: module[len(OURS) :] for name, module in found.items() if module.startswith(OURS)}


def _returned(promises, tasks, run):
    """What is wrong with any result of our modules, and the modules that gave one."""
    modules, wrong, seen = _modules_of(tasks), [], set()
    for result in run.results:
        module = modules.get(result.task)
        if module is None or result.outcome in ("skipped", "unreachable"):
            continue
        for each in result.values["results"] if "results" in result.values else [result.values]:
            if not each.get("skipped"):
                seen.add(module)
                wrong += promises.problems(module, each, failed=bool(each.get("failed")))
    return sorted(set(wrong)), seen


def test_each_example_runs(ran):
    tasks, run = ran
    by_outcome = {outcome: set() for outcome in ("ok", "failed", "unreachable", "skipped")}
    for result in run.results:
        by_outcome[result.outcome].add(result.task)
    assert by_outcome["failed"] == TOLD and not by_outcome["unreachable"], str(run)
    assert {task["name"] for task in tasks} - by_outcome["ok"] - TOLD == set(), str(run)
    assert run.status == 0, str(run)


def test_the_role_of_the_readme_collects(ran, controller):
    (role,) = checkout.CHECKOUT.glob("roles/collect")
    (play,) = examples(readme_plays(role)[0], controller.folder)
    dest = Path(play["roles"][0]["vars"]["collect_dest"])
    report = json.loads((dest / "summary.json").read_text())
    documents.check(report, "summary")
    status = {host: each["status"] for host, each in report["hosts"].items()}
    assert status == {"host1": "complete", "host2": "no-dumps"}


def test_what_examples_return_is_what_is_documented(ran, promises):
    tasks, run = ran
    wrong, seen = _returned(promises, tasks, run)
    assert not wrong, "\n".join(wrong)
    assert seen == {path.stem for path in MODULES}


# Check mode, and the same again


def _changing(controller):
    """For each module a task that changes something once; archives are those that the examples have left."""
    here, there = controller.folder, "/var/tmp"
    archives = sorted(map(str, (here / "collected/host1").glob("*.tar*")))
    as_root = {"become": True}
    yield "savedump_info", {"paths": ["/srv/dumps"], "verify": True}, {**as_root, "register": "there"}
    sources = ["/srv/app/core", "/var/tmp/savedump/archive-core.81.tar.gz"]  # the second is no dump
    yield "savedump", {"src": sources, "dest": f"{there}/other"}, {**as_root, "register": "made"}
    yield "savedump_stream", {"src": ["/srv/app/core"], "dest": f"{here}/streamed"}, as_root
    yield "savedump_fetch", {"src": "/var/log/journal.export", "dest": f"{here}/fetched"}, as_root
    wanted = {"wants": [{"build_id": BUILD_ID, "kind": "loaded", "module": LIBRARY}], "dest": f"{there}/set-out"}
    yield "savedump_files", wanted, {**as_root, "delegate_to": "host2"}
    yield "savedump_store", {"store": f"{here}/another", "archives": archives}, {}
    yield "savedump_room", {"hosts": ["host1"], "dest": f"{here}/roomy"}, {}
    completing = {"archives": "{{ there.archives }}", "dest": f"{here}/collected", "store": f"{here}/collected/store"}
    yield "savedump_complete", completing, {}
    yield "savedump_retention", {"hosts": ["host1"], "dest": f"{here}/collected", "keep_archives": 1}, {}
    yield "savedump_summary", {"hosts": ["host1"], "dest": f"{here}/summed", "save": True}, {}
    other = "{{ [{'dump': {'path': '/var/log/journal.export', 'identity': '0'}}] + made.archives }}"
    yield "savedump_remove", {"archives": other}, as_root


#: Modules that never change anything.
NEVER = {"savedump_info", "savedump_room", "savedump_summary"}
#: Dear, and done twice by test_play.py and test_stream.py already.
NOT_AGAIN = NEVER | {"savedump", "savedump_stream", "savedump_fetch"}


def _play(tasks, times=("once",)):
    named = [
        {"name": f"{module} {number} {time}", OURS + module: options, **more}
        for number, (module, options, more) in enumerate(tasks)
        for time in times[: 1 if module in NOT_AGAIN else None]
    ]
    return named, [{"name": "each", "hosts": "host1", "gather_facts": False, "tasks": named}]


def test_check_mode_changes_nothing_and_says_what_would(ran, controller, promises):
    tasks, plays = _play(_changing(controller))
    before = controller.state()
    run = controller.play("checked", plays, "--check", "--diff")
    after = controller.state()
    assert run.status == 0, str(run)
    assert {name: before[name] ^ after[name] for name in controller.fleet.hosts} == {"host1": set(), "host2": set()}
    assert before == after
    assert {result.task.split()[0] for result in run.results if result.values["changed"]} == set(ORDER) - NEVER
    assert not any("diff" in result.values for result in run.results)  # the attribute diff_mode is "none"
    wrong, _seen = _returned(promises, tasks, run)
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def twice(ran, controller):
    """The same for real, twice; and modules that get options from their groups."""
    tasks, plays = _play(_changing(controller), ("once", "again"))
    own = {"savedump_fetch": {"src": "/etc/hostname"}}
    grouped = [
        {"name": f"group {module}", OURS + module: own.get(module, {})}
        for module in sorted(set().union(*groups().values()))
    ]
    given = {f"group/{OURS}{group}": each for group, each in _words(controller.folder).items()}
    play = {"hosts": "host1", "gather_facts": False, "module_defaults": given, "tasks": grouped}
    return tasks, controller.play("twice", [*plays, play])


def test_the_same_again_changes_nothing_and_nothing_that_is_promised_is_never_returned(ran, twice, promises):
    tasks, run = twice
    assert run.status == 0, str(run)
    changed = {result.task for result in run.results if result.values["changed"] and "group" not in result.task}
    assert {name for name in changed if name.endswith("again")} == set()
    assert {name.split()[0] for name in changed} == set(ORDER) - NEVER
    wrong, _seen = _returned(promises, tasks, run)
    assert not wrong, "\n".join(wrong)
    _returned(promises, *ran)
    assert set(promises.unseen()) == UNSEEN


#: Promised for what does not happen here: a dump that cannot be inspected or, by root, read, files of a kernel's dump.
UNSEEN = {"savedump_info: dumps.error", "savedump_complete: wants.release"} | {
    "savedump_info: unread." + key for key in ("path", "why", "exit_status")
}


# Attributes and groups


#: In a process of its own: the loaders take what was imported before for all there is.
_ASK = """
import json, sys
from ansible.plugins import loader
from ansible.utils import plugin_docs
loader.init_plugin_loader([sys.argv[1] + "/.collections"])
said = {}
for module in sys.argv[2:]:
    path = "%s/plugins/modules/%s.py" % (sys.argv[1], module)
    doc = plugin_docs.get_docstring(path, loader.fragment_loader, is_module=True, collection_name="savedump.toolkit")[0]
    nothing = dict.fromkeys(("task", "connection", "play_context", "loader", "templar", "shared_loader_obj"))
    action = loader.action_loader.get("savedump.toolkit." + module, **nothing)
    said[module] = [doc["attributes"], action._supports_check_mode, action._supports_async, action.BYPASS_HOST_LOOP]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def code():
    """{module: [its documented attributes, what its action says: check mode, async, bypass_host_loop]}"""
    pytest.importorskip("ansible.plugins.loader")
    return json.loads(checkout.succeed(sys.executable, "-c", _ASK, checkout.CHECKOUT, *[path.stem for path in MODULES]))


@pytest.mark.parametrize("module", [path.stem for path in MODULES])
def test_attributes_are_those_of_the_code(module, code):
    documented, checks, background, once = code[module]
    attributes = {name: each["support"] for name, each in documented.items()}
    assert attributes["check_mode"] == ("full" if checks else "none")
    assert attributes["async"] == ("full" if background else "none")
    assert attributes.get("bypass_host_loop", "none") == ("full" if once else "none")
    assert attributes["diff_mode"] == "none"
    mine = sorted(OURS + group for group, names in groups().items() if module in names)
    assert sorted(documented["action_group"]["membership"]) == mine
    assert attributes["action_group"] == ("full" if mine else "none")


def _options(module):
    """The names of a module's options, fragments included."""
    text = yaml.safe_load(blocks(checkout.CHECKOUT / f"plugins/modules/{module}.py")["DOCUMENTATION"])
    names = set(text.get("options") or {})
    for fragment in text["extends_documentation_fragment"]:
        name = fragment.split(".")[2]
        source = (checkout.CHECKOUT / f"plugins/doc_fragments/{name}.py").read_text(encoding="utf-8")
        names |= set(yaml.safe_load(re.search(r'DOCUMENTATION = r"""(.*?)"""', source, re.DOTALL)[1])["options"])
    return names


def groups():
    return yaml.safe_load((checkout.CHECKOUT / "meta/runtime.yml").read_text())["action_groups"]


def _words(folder):
    """Options for each group, such as a play would give."""
    return {
        "savedump": {"kinds": ["kernel"], "sysroot": "/nowhere", "search_paths": ["/x"], "newer_than": "1h"},
        "transfer": {"dest": str(folder / "by-group"), "stall_timeout": 50, "retries": 1},
    }


def test_the_modules_of_a_group_share_its_words(twice, controller):
    """A default of a group goes to all of its modules, and fails where there is no such option."""
    for group, given in _words(controller.folder).items():
        shared = set.intersection(*map(_options, groups()[group]))
        assert set(given) <= shared
        assert len(shared) > 3
    assert set(groups()) == set(_words(controller.folder))
    done = {result.task: result for result in twice[1].results if result.task.startswith("group ")}
    assert {name: result.outcome for name, result in done.items()} == {
        f"group {module}": "ok" for module in set().union(*groups().values())
    }
    assert (controller.folder / "by-group/host1/hostname").is_file()
    assert done["group savedump_info"].values["dumps"] == []  # nothing is in that root


# Roles


def _variables(path, prefix):
    return set(re.findall(rf"\b{prefix}_[a-z_]+\b", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_argument_specs_are_those_of_defaults_and_tasks(role):
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    readme = (role / "README.md").read_text(encoding="utf-8")
    set_here = {"collect_result"}
    used = set()
    for path in [*(role / "tasks").glob("*.yml"), *(role / "vars").glob("*.yml"), role / "defaults/main.yml"]:
        used |= _variables(path, role.name) - set_here
    for entry, spec in specs.items():
        assert (role / f"tasks/{entry}.yml").is_file()
        assert spec["short_description"] and spec["description"]
        options = spec["options"]
        assert set(options) == set(defaults) == used
        for name, each in options.items():
            assert re.fullmatch(r"[A-Z].*\.", _last(each["description"]), re.DOTALL), name
            assert f"`{name}`" in readme, name
            default = defaults[name]
            if default is None or (isinstance(default, str) and "{{" in default):
                assert "default" not in each, name  # worked out when it is needed, and described in words
                continue
            assert each["default"] == default and type(each["default"]) is type(default), name
            assert isinstance(default, {"list": list, "int": int, "bool": bool}.get(each["type"], str)), name
    entries = {path.stem for path in (role / "tasks").glob("*.yml")}
    assert set(specs) == {name for name in entries if not name.startswith("step_")} - {"summary"}


def test_choices_and_defaults_of_the_role_are_those_of_the_modules():
    """A variable that is handed on by the same name has the type, choices and default of the module's option."""
    role = yaml.safe_load((checkout.CHECKOUT / "roles/collect/meta/argument_specs.yml").read_text())
    ours = {name[len("collect_") :]: each for name, each in role["argument_specs"]["main"]["options"].items()}
    checked = 0
    for module in ("savedump", "savedump_stream", "savedump_retention"):
        options = yaml.safe_load(blocks(checkout.CHECKOUT / f"plugins/modules/{module}.py")["DOCUMENTATION"])["options"]
        for name in sorted(set(options) & set(ours) - {"dest", "store", "bandwidth_limit", "nice"}):
            assert ours[name]["type"] == options[name]["type"], name
            assert ours[name].get("choices") == options[name].get("choices"), name
            assert ours[name].get("default") == options[name].get("default"), name
            checked += 1
    assert checked > 8


# That they can fail


def test_promises_can_be_broken(promises):
    right = {"changed": False, "removed": ["/x"], "kept": [], "freed": 1, "msg": "m", "python": {
        "executable": "/p", "version": "3", "pyelftools": None}}  # fmt: skip

    def wrong(**changed):
        result = {key: value for key, value in {**right, **changed}.items() if value != "left out"}
        return promises.problems("savedump_remove", result)

    assert wrong() == []
    assert "more is returned" in wrong(more=1)[0]
    assert "freed is promised" in wrong(freed="left out")[0]
    assert "freed is of type str" in wrong(freed="1")[0]
    assert "msg is null" in wrong(msg=None)[0]
    assert "element of type int" in wrong(removed=[1])[0]
    assert "kept.why is promised" in wrong(kept=[{"dump": "/x"}])[0]
    assert "kept.who is returned" in wrong(kept=[{"dump": "/x", "why": "y", "who": "z"}])[0]
    assert "python.version is null" in wrong(python={**right["python"], "version": None})[0]
