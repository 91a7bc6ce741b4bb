# SPDX-License-Identifier: Apache-2.0
"""The man pages and the shell completion that tools/make_man.py makes: formatters read the pages, a real bash uses the
other.
"""

import os
import pty
import re
import select
import shutil
import sys

import pytest

from support import checkout

sys.path.insert(0, str(checkout.CHECKOUT / "plugins" / "module_utils"))

from savedump_core.__main__ import VERBS

pytest.importorskip("shtab", reason="docs/requirements.txt is not installed, or not for this Python")

# What complains of a page that is wrong, and says nothing of one that is right.
FORMATTERS = {
    "groff": ("groff", "-ww", "-z", "-man", "-Tutf8"),
    "mandoc": ("mandoc", "-T", "lint", "-W", "warning"),
}


@pytest.fixture(scope="module")
def share(tmp_path_factory):
    out = tmp_path_factory.mktemp("man")
    checkout.succeed(sys.executable, "tools/make_man.py", out)
    return out / "share"


def test_a_page_for_each_verb(share):
    pages = {path.name for path in (share / "man" / "man1").iterdir()}
    assert pages == {"savedump.1"} | {"savedump-%s.1" % verb for verb in VERBS}
    whole = (share / "man" / "man1" / "savedump.1").read_text()
    for verb in VERBS:
        assert "savedump\\-%s (1)" % verb in whole


@pytest.mark.parametrize("formatter", sorted(FORMATTERS))
def test_formatters_read_the_pages(formatter, share):
    if not shutil.which(formatter):
        pytest.skip("%s is not installed" % formatter)
    for page in sorted((share / "man" / "man1").iterdir()):
        assert checkout.succeed(*FORMATTERS[formatter], page) == ""


@pytest.mark.parametrize("formatter", sorted(FORMATTERS))
def test_formatters_can_fail(formatter, share, tmp_path):
    if not shutil.which(formatter):
        pytest.skip("%s is not installed" % formatter)
    page = tmp_path / "savedump.1"
    page.write_text((share / "man" / "man1" / "savedump.1").read_text() + ".SH\n.planted macro\n")
    assert checkout.run(*FORMATTERS[formatter], page).stdout != ""


def test_pages_say_what_help_says(share):
    page = (share / "man" / "man1" / "savedump-archive.1").read_text().replace("\\-", "-")
    options = re.findall(r" (--[a-z-]+)", checkout.succeed(sys.executable, "-m", "savedump_core", "archive", "--help"))
    assert len(set(options)) > 10
    assert [option for option in options if option not in page and option != "--help"] == []
    assert "EXAMPLES" in page


class Bash:
    """A bash that somebody types into. `savedump` is a function there that prints its arguments, each in brackets."""

    def __init__(self, completion, folder):
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.chdir(str(folder))
            os.environ.update(PS1="$ ", TERM="dumb", INPUTRC="/dev/null", HISTFILE="")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        # The choice at the first TAB: whether a second one comes at once or late is for bash to guess.
        self.typed("bind 'set show-all-if-ambiguous on'\n")
        self.typed("savedump() { printf '[%s]' \"$@\"; echo; }; source '%s'\n" % ("%s", completion))

    def typed(self, keys):
        """What the terminal shows of these keys, up to the prompt that follows a mark typed after them: what is typed
        before that prompt is edited by the kernel, to which TAB is a blank, and not by bash.
        """
        os.write(self.terminal, keys.encode())
        mark = b"end of %d\r\n$ " % len(keys)
        os.write(self.terminal, b"\x15echo 'end of' %d\n" % len(keys))
        shown = b""
        while mark not in shown:
            ready, _, _ = select.select([self.terminal], [], [], 30)
            assert ready, "bash hangs after %r: %r" % (keys, shown)
            shown += os.read(self.terminal, 65536)
        return shown.decode()

    def close(self):
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def bash(share, tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    (folder / "core.1234").touch()
    (folder / "archives").mkdir()
    shell = Bash(share / "bash-completion" / "completions" / "savedump", folder)
    yield shell
    shell.close()


@pytest.mark.parametrize(
    "keys, arguments",
    [
        ("arch\t", "[archive]"),
        ("archive --form\ttar.z\t", "[archive][--format][tar.zst]"),
        ("archive --search-path arc\t core.1\t", "[archive][--search-path][archives/][core.1234]"),
        ("coll\t--beco\t", "[collect][--become]"),
        ("core.\t", "[core.1234]"),
    ],
)
def test_bash_completes(keys, arguments, bash):
    assert arguments in re.sub(r"\]\s*\[", "][", bash.typed("savedump %s\n" % keys))


def test_bash_shows_the_choice(bash):
    shown = bash.typed("savedump archive --for\t")
    assert "--force" in shown and "--format" in shown


def test_without_the_script_bash_completes_nothing(tmp_path):
    shell = Bash("/dev/null", tmp_path)
    try:
        assert "[arch]" in shell.typed("savedump arch\t\n")
    finally:
        shell.close()
