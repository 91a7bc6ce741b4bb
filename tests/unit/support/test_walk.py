# SPDX-License-Identifier: Apache-2.0
"""How pages are read and held against what their commands print: tests/support/walk.py."""

import pytest

pytest.importorskip("yaml", reason="pages are walked where Ansible is")

from support import walk

PAGE = """\
Some words.

<!-- walk: exit 3 -->
```console
$ savedump inspect core \\
    -v
whole      NO: ...
$ echo 'two
lines'
two
lines
```

```sh
cat > inventory <<'EOF'
web1

EOF
# a remark
ls
```

```text
inventory
```

<!-- walk: on web1; exit 1 -->
```sh
false
```

<!-- not walked: needs a cluster -->
```sh
kubectl get pods
```

<!-- walk: file site.yml -->
```yaml
- hosts: all
```
"""


def test_commands_of_a_page():
    steps = walk.steps(walk.blocks(PAGE))
    assert [(step.command, step.status, step.place) for step in steps] == [
        ("savedump inspect core \\\n    -v", 0, ""),
        ("echo 'two\nlines'", 3, ""),
        ("cat > inventory <<'EOF'\nweb1\n\nEOF", 0, ""),
        ("# a remark", 0, ""),
        ("ls", 0, ""),
        ("false", 1, "web1"),
        ("cat >site.yml <<'END_OF_site_yml'\n- hosts: all\nEND_OF_site_yml", 0, ""),
    ]
    assert [step.claim for step in steps if step.claim] == [("whole      NO: ...",), ("two", "lines"), ("inventory",)]
    assert steps[4].before == 2
    assert walk.untold(walk.blocks(PAGE)) == []


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("```\nls\n```\n", "line 1: a block without an info string"),
        ("```text\n1 archive\n```\n", "line 1: text that follows no sh block"),
        ("```sh\nls\n```\nand then\n\n```text\n1 archive\n```\n", "line 6: text that follows no sh block"),
        ("<!-- not walked: no -->\n```sh\nls\n```\n", "line 2: not walked for no reason"),
        ("<!-- not walked: -->\n```sh\nls\n```\n", "line 2: not walked for no reason"),
        ("```yaml\na: [\n```\n", "line 1: "),
    ],
)
def test_blocks_that_escape_the_walk_are_told(page, words):
    (told,) = walk.untold(walk.blocks(page))
    assert told.startswith(words)


@pytest.mark.parametrize("page", ["```sh\nls\n", "<!-- walk: quickly -->\n```sh\nls\n```\n", "```console\nls\n```\n"])
def test_pages_that_cannot_be_read(page):
    with pytest.raises(walk.WalkError, match=r"^line [12]: "):
        walk.steps(walk.blocks(page))


HOLDS = [
    ("web1  1 archive, 5.1 MiB", "web1  1 archive, 14.0 KiB"),
    ("task  comm init, pid 1, cpu 0", "task  comm init, pid 1, cpu 1"),
    ("pid 31, verified", "pid 12345, verified"),
    ("...\nto look: find", "one\ntwo\nto look: find"),
    ("one\n...", "one"),
    ("build ID e3103c603f624119a9e5c025e4e5dc430f8519b0", "build ID 93ac61ec5a8e"),
    ("a  b", "a b"),
    ("needs ... and more", "needs 5 GiB and more"),
]
FAILS = [
    ("web1  1 archive, 5.1 MiB", "web1  2 archives, 5.1 MiB"),
    ("task  comm init, pid 1, cpu 0", "task  comm init, pid 2, cpu 0"),
    ("web1  1 archive, 5.1 MiB", "web2  1 archive, 5.1 MiB"),
    ("1 archive", "1 archive\nand more"),
    ("1 archive\nand more", "1 archive"),
    ("intact, complete", "intact, with gaps"),
    ("intact", ""),
    ("...\nintact\n...", "broken\nbroken"),
]


@pytest.mark.parametrize(("claim", "output"), HOLDS)
def test_claims_that_hold(claim, output):
    assert walk.differs(claim.splitlines(), output + "\n") is None


@pytest.mark.parametrize(("claim", "output"), FAILS)
def test_claims_that_do_not(claim, output):
    assert "the page claims" in walk.differs(claim.splitlines(), output)
