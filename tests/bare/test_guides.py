# SPDX-License-Identifier: Apache-2.0
"""Every command of README.md and of the guides, typed as it stands there, on a bare Debian that is a control host of
three others. The first guide sets the machine up, as it would a newcomer's; the others go on from there.

How a page is read, and how loosely what it claims is held against what came: tests/support/walk.py.
"""

import ast
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from support import bareroot, checkout, vmcores, walk
from support.fleet import Fleet, HostSpec

GUIDES = sorted(str(path.relative_to(checkout.CHECKOUT)) for path in (checkout.CHECKOUT / "docs/guides").glob("*.md"))
PAGES = ["README.md", *GUIDES]
#: Sets the machine up, and the others go on with it.
FIRST = "docs/guides/quick-start.md"
#: The names that the pages give to hosts of a fleet, and whose they are.
NAMES = {"web1": "web1", "web2": "web2", "web3": "web3", "host": "web1", "bastion": "web3"}
PUBLISHED = "https://github.com/savedump/savedump"


def text_of(name):
    return (checkout.CHECKOUT / name).read_text(encoding="utf-8")


def page(name):
    return walk.blocks(text_of(name))


# What holds without running anything.


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_left_out_without_a_reason(name, record_property):
    found = page(name)
    assert walk.untold(found) == []
    left = ["%s:%d: %s" % (name, block.line, block.why_not) for block in found if block.why_not is not None]
    record_property("not walked", left)
    print("\n".join(left))


@pytest.mark.parametrize("name", PAGES)
def test_tests_that_reasons_name_exist(name):
    known = "\n".join(path.read_text() for path in (checkout.CHECKOUT / "tests").rglob("test_*.py"))
    for block in page(name):
        for test in re.findall(r"\btest_\w+", block.why_not or ""):
            assert re.search(r"def %s\(" % test, known) or list((checkout.CHECKOUT / "tests").rglob(test + ".py")), test


@pytest.mark.parametrize("name", GUIDES)
def test_links_lead_somewhere(name):
    text = text_of(name)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        file = (checkout.CHECKOUT / name).parent / path if path else checkout.CHECKOUT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def anchors(text):
    """As GitHub and MyST make them of headings."""
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_manifests_fit_together():
    """A DaemonSet or a Pod of a guide: each volume is mounted and each mount is a volume, host paths are there to read
    only unless something is written there, and every command in it is one of savedump's."""
    seen = 0
    for name in GUIDES:
        for block in page(name):
            for document in yaml.safe_load_all(block.text) if block.kind == "yaml" else ():
                if not isinstance(document, dict) or document.get("kind") not in ("DaemonSet", "Pod"):
                    continue
                seen += 1
                assert {"apiVersion", "kind", "metadata", "spec"} <= set(document)
                pod = document["spec"]
                if document["kind"] == "DaemonSet":
                    assert pod["selector"]["matchLabels"] == pod["template"]["metadata"]["labels"]
                    pod = pod["template"]["spec"]
                volumes = {volume["name"] for volume in pod["volumes"]}
                mounts = {mount["name"] for each in pod["containers"] for mount in each.get("volumeMounts", ())}
                assert volumes == mounts
    assert seen


TROUBLESHOOTING = "docs/guides/troubleshooting.md"
#: What others print: ansible-core, ssh, gdb, tar, the kernel. In quotes of theirs on the page.
OTHERS = (
    "Ansible requires the locale encoding to be UTF-8",
    "Host key verification failed",
    "Missing sudo password",
    "Permission denied",
    "No space left on device",
    "Name or service not known",
    "warning: exec file is newer than core file",
    "core file may not match specified executable file",
    "zstd: Cannot exec",
    "tar:",
    "??",
)


def printed():
    """Every piece of text in the product: strings of Python, joined as Python does, and shell scripts."""
    for path in checkout.files():
        file = checkout.CHECKOUT / path
        if path.endswith(".py") and path.startswith("plugins/"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield from re.split(r"%[-+0-9.]*[sdrgx]|%\(\w+\)s|%%", node.value.replace("\\\n", ""))
        elif path in ("collect-dumps", "tools/bootstrap.sh"):
            yield re.sub(r'" \\\n\s*"', " ", file.read_text(encoding="utf-8"))


def messages(text):
    """The first column of the page's tables of messages, without what differs."""
    for table in re.findall(
        r"^\| (?:message|it says|`savedump inspect` says) \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE
    ):
        for row in table.splitlines():
            for quoted in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
                yield from (piece.strip(" ;:,") for piece in quoted.split("..."))


def unknown(text):
    product = "\n".join(printed())
    return sorted({piece for piece in messages(text) if piece and piece not in product and piece not in OTHERS})


def test_messages_that_are_explained_are_printed():
    text = text_of(TROUBLESHOOTING)
    assert len(list(messages(text))) > 60
    assert unknown(text) == []
    assert unknown(text.replace("another run is at work on", "another ran is at work on")) == [
        "another ran is at work on"
    ]


# The walk.


class Machine:
    """The clean machine, its network and its hosts."""

    def __init__(self, folder, fleet):
        self.fleet = fleet
        self._root = bareroot.BareRoot(bareroot.lower("debian12"), folder)
        self._root.put("/srv/savedump.bundle", _bundle(folder))
        insteadof = '[url "/srv/savedump.bundle"]\n\tinsteadOf = %s\n' % PUBLISHED
        self._root.put("/etc/gitconfig", insteadof.encode())
        self._walked = folder / "upper"
        self.run_as_it_is(_ACCOUNT.format(login="admin", **self._ssh()))

    def _ssh(self):
        addresses = {host.name: host.address for host in self.fleet.hosts.values()}
        config = "".join("Host %s\n  HostName %s\n  User admin\n" % (n, addresses[h]) for n, h in NAMES.items())
        known = (self.fleet.directory / "known_hosts").read_text()
        return {"config": config, "known": known, "key": (self.fleet.directory / "id").read_text()}

    def run_as_it_is(self, commands):
        """Prepare something; it has to succeed."""
        done = self._root.run(commands)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def put(self, path, content):
        self._root.put(path, content)

    def bind(self, path):
        """Show a folder of this machine there, at the same place, for reading only."""
        binds = self._root.work / "binds"
        binds.write_text("%s%s\n" % (binds.read_text(), path))

    def run(self, script, place):
        """What a bash script prints on a terminal there."""
        if place in ("", "offline"):
            self._root.put("/srv/walk", script.encode())
            on_terminal = "script -qec 'bash /srv/walk' /dev/null"
            return self._root.run("%s %s" % ("unshare --net" if place else "", on_terminal)).stdout
        on_terminal = ["script", "-qec", "bash -c " + shlex.quote(script), "/dev/null"]
        return self.fleet.hosts[place].run(*on_terminal, check=False).stdout


_ACCOUNT = """
mkdir -p -m 700 ~/.ssh
cat >~/.ssh/config <<'CONFIG'
{config}
CONFIG
cat >~/.ssh/known_hosts <<'KNOWN'
{known}
KNOWN
(umask 077; cat >~/.ssh/id_ed25519 <<'KEY'
{key}
KEY
)
"""


def _bundle(folder):
    """The checkout as one file to clone from."""
    tree = checkout.copy(folder / "tree")
    made = folder / "savedump.bundle"
    subprocess.check_call(["git", "bundle", "create", "-q", str(made), "HEAD", "main"], cwd=str(tree))
    return made.read_bytes()


def walked(machine, name, text, begin):
    """Run all commands of a page, in order: ([what is wrong, in words], whether it came to the page's end). A claim
    that does not hold stops nobody; a status that is not the page's does."""
    todo = walk.steps(walk.blocks(text))
    token, printed, wrong = "walk-" + secrets.token_hex(8), [], []
    keep = "/var/tmp/" + token
    if begin:
        machine.run_as_it_is("cat >%s <<'BEGIN'\n%s\nBEGIN" % (keep, begin))
    at = 0
    while at < len(todo):
        end = at
        while end < len(todo) and todo[end].place == todo[at].place:
            end += 1
        output = machine.run(walk.script(todo[at:end], token, keep), todo[at].place)
        done = walk.outcomes(output, token, end - at)
        for step, one in zip(todo[at:end], done):
            where = "%s:%d: %s" % (name, step.line, step.command)
            print("%s\n%s[%s, at %d s]" % (where, one.output, one.status, one.at_s))
            printed.append(one.output)
            if one.status != step.status:
                return [*wrong, "%s\nexit status %s, not %d:\n%s" % (where, one.status, step.status, one.output)], False
            differs = step.claim and walk.differs(step.claim, "".join(printed[-1 - step.before :]))
            if differs:
                wrong.append("%s\n%s" % (where, differs))
        if len(done) < end - at:
            line = todo[at + len(done)].line
            return [*wrong, "%s:%d: the shell ended before it: %s" % (name, line, output[-2000:])], False
        at = end
    return wrong, True


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Just installed, with the three hosts beside it."""
    folder = Path(tempfile.mkdtemp(prefix="walk-"))  # short: ssh's control sockets lie in it
    try:
        with Fleet(folder / "f", [HostSpec(name) for name in ("web1", "web2", "web3")]) as fleet:
            yield Machine(tmp_path_factory.mktemp("bare"), fleet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def machine(fresh):
    """As the quick start leaves it. What went wrong on that way is for test_quick_start to tell."""
    _dumps(fresh, web1=1, web2=1)
    fresh.wrong, fresh.ready = walked(fresh, FIRST, text_of(FIRST), "")
    return fresh


def _dumps(machine, **count):
    """So many crashes on each host, and nothing of earlier ones."""
    for name, host in machine.fleet.hosts.items():
        host.run("rm -rf /var/crash/* /var/tmp/* /root/* /home/admin/*")
        for number in range(count.get(name, 0)):
            host.crash(program="report" if not number else "report%d" % number)


#: The clone and the command, as the quick start leaves them.
_READY = "cd ~/savedump && . .venv/bin/activate\n"
#: No dump, no archive, nothing of an earlier page.
_CLEAN = """
cd ~/savedump && git clean -qfdx -e .venv -e inventory
rm -rf ~/.ansible ~/site ~/collected ~/archive-* ~/kdump-host* /app /host /srv/builds /srv/debug /srv/store
rm -rf /tmp/* /var/tmp/* /var/crash /var/lib/containerd /var/mnt && mkdir -p /var/crash
"""
#: And then /app/worker has crashed in /var/crash.
_CRASH = (
    _CLEAN
    + """
mkdir /app
cp /usr/bin/sleep /app/worker
cd /var/crash
ulimit -c unlimited
/app/worker 100 &
sleep 0.3
kill -SEGV $!
wait || true
test -e core
"""
)
#: The worker was a container's, of which a layer is left, on this machine and on the node below /host; and the dump is
#: in core-dump-handler's folder, too.
_CONTAINER = (
    _CRASH
    + """
for node in "" /host; do
    layer=$node/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs
    mkdir -p $layer/lib64 $layer/usr/lib/x86_64-linux-gnu $node/var/crash
    cp -r /app $layer/
    cp /lib64/ld-linux-x86-64.so.2 $layer/lib64/
    cp /lib/x86_64-linux-gnu/libc.so.6 $layer/usr/lib/x86_64-linux-gnu/
done
rm -r /app
cp /var/crash/core /host/var/crash/
name=0f2f1f6c-1111-4222-8333-123456789abc-dump-1700000000-web-0-worker-1-11
mkdir -p /var/mnt/core-dump-handler/cores && cd /var/mnt/core-dump-handler/cores
cp /var/crash/core $name.core
python3 -m zipfile -c $name.zip $name.core
rm $name.core
cd ~/savedump && python3 tools/make_zipapp.py ~/savedump.pyz
"""
)
#: A dump as kdump-tools leaves it, and what its kernel's packages hold.
_KERNEL = (
    _CLEAN
    + """
mkdir -p /var/crash/202611230838
cp {dump} /var/crash/202611230838/dump.202611230838
ln -s {root} /srv/debug
"""
)


@pytest.mark.slow
def test_quick_start(machine):
    tell(machine.wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```sh\nsavedump find --newer-then 2h\n```", "exit status 64, not 0"),
        ("```console\n$ savedump --version\nsavedump version 0.1.0\n```", "the page claims"),
        (
            "```sh\nsavedump find /srv\n```\n```text\n...\nto look somewhere else: savedump find DIR\n```",
            "the page claims",
        ),
        ("<!-- walk: exit 3 -->\n```sh\ntrue\n```", "exit status 0, not 3"),
        ("```sh\nexit 0\n```", "exit status None, not 0"),
        ("<!-- walk: on web1 -->\n```console\n$ hostname\nweb2\n```", "the page claims"),
        ("<!-- walk: offline -->\n```sh\nssh -o ConnectTimeout=5 web1 true\n```", "exit status 255, not 0"),
    ],
)
def test_a_wrong_page_is_told(machine, text, words):
    wrong, _ended = walked(machine, "page", text, _READY)
    assert len(wrong) == 1 and words in wrong[0], wrong


@pytest.mark.slow
def test_incident_runbook(machine):
    _dumps(machine, web1=1, web2=1)
    assert_walks(machine, "docs/guides/incident-runbook.md", _CLEAN, "cd ~/savedump")


@pytest.mark.slow
def test_containers(machine):
    assert_walks(machine, "docs/guides/containers.md", _CONTAINER, _READY + "cd ~")


@pytest.mark.slow
def test_air_gapped(machine):
    begin = _CRASH + "mkdir -p /srv/builds && mv /app/worker /srv/builds/"
    assert_walks(machine, "docs/guides/air-gapped.md", begin, "cd ~/savedump")


@pytest.mark.slow
def test_storage_and_retention(machine):
    _dumps(machine, web1=1, web2=1)
    assert_walks(machine, "docs/guides/storage-and-retention.md", _CRASH, _READY)


@pytest.mark.slow
def test_security(machine):
    assert_walks(machine, "docs/guides/security.md", _CRASH, _READY)


@pytest.mark.slow
def test_troubleshooting(machine):
    assert_walks(machine, "docs/guides/troubleshooting.md", _CRASH, _READY)


@pytest.mark.slow
def test_kernel_dumps(machine):
    if vmcores.why_not():
        pytest.skip("no dumps of kernels: " + vmcores.why_not())
    made = vmcores.vmcores()
    machine.bind(str(made.folder))
    begin = _KERNEL.format(dump=made.kdump("debian"), root=made.root())
    assert_walks(machine, "docs/guides/kernel-dumps.md", begin, _READY + "cd ~")


@pytest.mark.slow
def test_readme(machine):
    _dumps(machine, web1=1, web2=1)
    machine.fleet.hosts["web1"].run("cp /var/crash/core /var/crash/core.1234")
    begin = _CRASH.replace("/app/worker 100", "sleep 100") + "mv core ~/savedump/core.1234"
    assert_walks(machine, "README.md", begin, _READY)


def assert_walks(machine, name, setup, begin):
    if not machine.ready:
        pytest.fail("the quick start did not come to its end; see test_quick_start", pytrace=False)
    machine.run_as_it_is(setup)
    wrong, _ended = walked(machine, name, text_of(name), begin)
    tell(wrong)


def tell(wrong):
    if wrong:
        pytest.fail("\n\n".join(wrong), pytrace=False)
