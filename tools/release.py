#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make a release, up to the point where it would leave this machine.

    tools/release.py VERSION [--dry-run] [--skip-tests]

Everything happens in a git worktree of its own: set the version, turn changelogs/fragments into the changelog, commit
with a sign-off, build all packages, have Galaxy's importer look at the collection, run every test. Only when all of
that went well the commit comes onto the branch, with the tag vVERSION, and the packages into dist/. What failed leaves
the checkout as it was. The tag holds the packages' hashes and is signed if git knows a key (user.signingkey).
Nothing is pushed or uploaded; the commands for that are printed at the end.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT / "tools" / "packaging"))

import environment

# The two places of the version: Ansible reads the one, and does not run code for it; the other is in code, because it
# goes to targets, where there is nothing but code. (file, what is before the version, what is after it)
PLACES = (
    ("galaxy.yml", r"^version: ", r"$"),
    ("plugins/module_utils/savedump_core/__init__.py", r'^__version__ = "', r'"$'),
)
# Both semantic (Galaxy) and PEP 440 (PyPI). They spell pre-releases differently, so there are none.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
PROGRAMS = {"dpkg-deb": "dpkg", "git": "git", "rpmbuild": "rpm"}
REFUSED, FAILED = 64, 1


class Refused(Exception):
    """Why there will be no release, and what to do."""


def git(*words, cwd=CHECKOUT):
    """What git prints. subprocess.CalledProcessError when it fails."""
    done = subprocess.run(["git", *words], cwd=str(cwd), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def numbers(version):
    return tuple(int(part) for part in version.split("."))


def written_version(place, text):
    """The version in one of PLACES."""
    name, before, after = place
    found = re.search("(?:%s)(%s)(?:%s)" % (before, VERSION.pattern, after), text, re.MULTILINE)
    if found is None:
        raise Refused("%s holds no version" % name)
    return found.group(1)


def check(version):
    """The branch that the release goes onto. Refused, if there is a reason against it."""
    if not VERSION.fullmatch(version):
        raise Refused("%s is no version; it takes three numbers, as in 1.4.0, and no pre-release" % version)
    missing = sorted(PROGRAMS[name] for name in PROGRAMS if not shutil.which(name))
    if missing:
        raise Refused("packages cannot be built here; run: apt-get install %s" % " ".join(missing))
    branch = git("branch", "--show-current")
    if not branch:
        raise Refused("HEAD is detached; git switch to the branch that the release goes onto")
    dirty = git("status", "--porcelain")
    if dirty:
        raise Refused("the checkout holds what is not committed; commit or stash it:\n%s" % dirty)
    newest = max(released(), key=numbers, default=None)
    if newest is not None and numbers(version) <= numbers(newest):
        raise Refused("%s is not newer than %s, which was released" % (version, newest))
    written = max((written_version(place, _read(CHECKOUT / place[0])) for place in PLACES), key=numbers)
    if numbers(version) < numbers(written):
        raise Refused("%s is older than %s, which galaxy.yml or the core says already" % (version, written))
    fragments = sorted((CHECKOUT / "changelogs" / "fragments").glob("*.y*ml"))
    if not fragments:
        raise Refused("changelogs/fragments is empty, so nothing changed that a user would notice; write one")
    _lint_fragments()
    return branch


def released():
    """The versions that were given out: on any branch, and also where a clone was made without its tags."""
    tags = [tag[1:] for tag in git("tag", "--list", "v*").split()]
    changelog = re.findall(r"^  (%s):$" % VERSION.pattern, _read(CHECKOUT / "changelogs/changelog.yaml"), re.MULTILINE)
    return {version for version in tags + [found[0] for found in changelog] if VERSION.fullmatch(version)}


def _lint_fragments():
    done = subprocess.run(
        ["antsibull-changelog", "lint"], cwd=str(CHECKOUT), env=environment.environ(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Refused("a changelog fragment is wrong:\n%s" % done.stdout.strip())


def _read(path):
    return path.read_text(encoding="utf-8")


def set_version(tree, version):
    for place in PLACES:
        name, before, after = place
        text = _read(tree / name)
        old = written_version(place, text)
        pattern = "(%s)%s(%s)" % (before, re.escape(old), after)
        text = re.sub(pattern, lambda match: match.group(1) + version + match.group(2), text, flags=re.MULTILINE)
        (tree / name).write_text(text, encoding="utf-8")


def make_changelog(tree, version):
    run(tree, ["antsibull-changelog", "release", "--version", version], environment.environ())
    # Its own cache, which it makes anew for each version; and git would lose the folder for what comes next.
    (tree / "changelogs" / ".plugin-cache.yaml").unlink(missing_ok=True)
    (tree / "changelogs" / "fragments").mkdir(exist_ok=True)
    (tree / "changelogs" / "fragments" / ".gitkeep").touch()


def commit(tree, version):
    git("add", "--all", cwd=tree)
    git("commit", "--quiet", "--signoff", "-m", "Release %s" % version, cwd=tree)


def build(tree):
    run(tree, [sys.executable, "tools/packaging/build.py", "dist"])


def galaxy(tree):
    (tarball,) = (tree / "dist").glob("savedump-toolkit-*.tar.gz")
    run(tree, [sys.executable, "tools/packaging/galaxy_import.py", str(tarball)])


def run_tests(tree):
    # With this checkout's environment, rather than one that is made for an hour.
    venv = os.environ.get("SAVEDUMP_VENV", str(CHECKOUT / ".venv"))
    run(tree, ["./run-tests", "all"], dict(os.environ, SAVEDUMP_VENV=venv))


def finish(tree, version):
    """The tag onto the commit, the commit onto the branch, the packages into dist/."""
    made = git("rev-parse", "HEAD", cwd=tree)
    hashes = _read(tree / "dist" / "SHA256SUMS")
    key = subprocess.run(["git", "config", "user.signingkey"], cwd=str(CHECKOUT), stdout=subprocess.PIPE, check=False)
    signed = "--sign" if key.stdout.strip() else "--annotate"
    git("tag", signed, "-m", "savedump %s\n\n%s" % (version, hashes), "v" + version, made)
    try:
        # Refuses, if something was committed or changed here meanwhile.
        git("merge", "--quiet", "--ff-only", made)
    except subprocess.CalledProcessError:
        git("tag", "--delete", "v" + version)
        raise
    shutil.rmtree(str(CHECKOUT / "dist"), ignore_errors=True)
    shutil.copytree(str(tree / "dist"), str(CHECKOUT / "dist"))


def run(tree, command, env=None):
    """Run a command in the worktree, its words shown as they come. subprocess.CalledProcessError when it fails."""
    sys.stdout.flush()
    subprocess.run(command, cwd=str(tree), env=env, stdin=subprocess.DEVNULL, check=True)


def steps(version, branch, skip_tests):
    """[(what it does, the function of the worktree that does it)], in order."""
    made = [
        ("set the version in %s" % " and ".join(place[0] for place in PLACES), lambda tree: set_version(tree, version)),
        ("antsibull-changelog release --version %s" % version, lambda tree: make_changelog(tree, version)),
        ("git commit --signoff -m 'Release %s'" % version, lambda tree: commit(tree, version)),
        ("tools/packaging/build.py dist", build),
        ("tools/packaging/galaxy_import.py dist/savedump-toolkit-%s.tar.gz" % version, galaxy),
        ("./run-tests all", run_tests),
        ("git tag v%s, %s to it, fill dist/" % (version, branch), lambda tree: finish(tree, version)),
    ]
    return [step for step in made if not (skip_tests and step[1] is run_tests)]


def left_to_do(version, branch):
    return """
Released here, and nowhere else yet. What is left to do:
  git show v{version}; cat CHANGELOG.md                     # as it should be?
  git push origin {branch} v{version}
  ansible-galaxy collection publish dist/savedump-toolkit-{version}.tar.gz
  twine upload dist/savedump-{version}.tar.gz dist/savedump-{version}-py3-none-any.whl
  then add all files of dist/ to the release on GitHub
To take it back before the push:  git tag -d v{version} && git reset --keep HEAD~1
""".format(version=version, branch=branch)


def release(version, dry_run, skip_tests):
    branch = check(version)
    todo = steps(version, branch, skip_tests)
    for number, (words, _) in enumerate(todo, 1):
        sys.stdout.write("%d. %s\n" % (number, words))
    if dry_run:
        return
    folder = pathlib.Path(tempfile.mkdtemp(prefix="savedump-release-"))
    # Tests run in it as other users, too.
    folder.chmod(0o755)
    tree = folder / "savedump"
    try:
        git("worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
        for number, (words, step) in enumerate(todo, 1):
            sys.stdout.write("\n== %d. %s\n" % (number, words))
            step(tree)
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)
        git("worktree", "prune")
    sys.stdout.write(left_to_do(version, branch))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", metavar="VERSION")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, or why it would be refused")
    parser.add_argument("--skip-tests", action="store_true", help="leave ./run-tests all out; it takes half an hour")
    arguments = parser.parse_args()
    try:
        release(arguments.version, arguments.dry_run, arguments.skip_tests)
    except Refused as error:
        sys.stderr.write("release: %s\n" % error)
        return REFUSED
    except subprocess.CalledProcessError as error:
        words = error.cmd if isinstance(error.cmd, str) else " ".join(error.cmd)
        sys.stderr.write("release: exit status %d of: %s\n" % (error.returncode, words))
        sys.stderr.write("Nothing was released; the checkout is as it was.\n")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
