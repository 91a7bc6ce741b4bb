# SPDX-License-Identifier: Apache-2.0
"""`python -m support.ansible_test sanity|units|integration ARGUMENT...`: ansible-test, on a copy of the checkout that
lies where it wants a collection to be, with what it downloads kept for the next time.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from . import checkout, machine

# ansible-test asks for one of these by the version of pip that it pins: ansible-core 2.16-2.17, 2.18-2.19, 2.20 on.
GET_PIP = ("get_pip_23_1_2.py", "get_pip_24_2.py", "get_pip_25_2.py")

# What Ansible loads or Galaxy reads. The links of a plain clone (.collections, savedump_core) are no part of that.
COLLECTION = ("plugins/", "roles/", "playbooks/", "meta/", "changelogs/", "galaxy.yml", "README.md")
COLLECTION += (".gitignore", "tests/config.yml")
TESTS = COLLECTION + ("tests/conftest.py", "tests/unit/", "tests/support/", "tests/data/", "tests/integration/targets/")


def home():
    """A home folder whose caches make the second run quick.

    ansible-test hands HOME and PATH on to what it starts, and none of pip's variables: so pip's settings are put
    where pip looks for them in a home.
    """
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    home = cache / "savedump" / "ansible-test"
    get_pip = home / ".ansible" / "test" / "cache"
    get_pip.mkdir(parents=True, exist_ok=True)
    for name in GET_PIP:
        shutil.copy(str(checkout.CHECKOUT / "tools" / "ansible_test_get_pip.py"), str(get_pip / name))
    pip = home / ".config" / "pip"
    pip.mkdir(parents=True, exist_ok=True)
    (pip / "pip.conf").write_text(machine.pip_conf(machine.pip_settings()), encoding="utf-8")
    return home


def path_with_interpreters():
    """PATH with every interpreter at hand in front: real ones, because ansible-test cannot use pyenv's shims."""
    pythons = [machine.interpreter(version) for version in machine.VERSIONS]
    folders = [os.path.dirname(python) for python in pythons if python]
    kept = [folder for folder in os.environ["PATH"].split(os.pathsep) if not folder.endswith("/shims")]
    return os.pathsep.join([os.path.dirname(checkout.tool("ansible-test"))] + folders + kept)


def main(command, *words):
    with tempfile.TemporaryDirectory() as folder:
        # It refuses any other place than ansible_collections/NAMESPACE/NAME.
        tree = pathlib.Path(folder) / "ansible_collections" / "savedump" / "toolkit"
        checkout.copy(tree, only=COLLECTION if command == "sanity" else TESTS)
        environment = dict(os.environ, HOME=str(home()), PATH=path_with_interpreters())
        for name in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH"):
            environment.pop(name, None)
        # Sanity gets environments of ansible-test's own, on every Python; the others run in this one.
        where = ("--venv",) if command == "sanity" else ("--local",)
        argv = (checkout.tool("ansible-test"), command, "--color", "no") + where + words
        return subprocess.call(argv, cwd=str(tree), env=environment)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
