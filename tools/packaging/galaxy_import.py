#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Would Galaxy and Automation Hub import this tarball? Neither an error nor a warning is let pass.

    tools/packaging/galaxy_import.py savedump-toolkit-VERSION.tar.gz

galaxy-importer is the program that both run on what is uploaded.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

import environment

CONFIG = environment.HERE / "galaxy-importer.cfg"


def complaints(said):
    """The lines with which galaxy-importer complains; it ends with status 0 all the same when they are warnings."""
    return re.findall(r"^(?:WARNING|ERROR|CRITICAL).*$", said, re.MULTILINE)


def import_collection(tarball):
    """(whether Galaxy would take it without a word, all that galaxy-importer said)."""
    # It writes its result into the working folder, and ansible-doc and ansible-lint write to HOME.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["python", "-m", "galaxy_importer.main", str(tarball.resolve())],
            cwd=folder, env=environment.environ(GALAXY_IMPORTER_CONFIG=str(CONFIG), HOME=folder),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    return done.returncode == 0 and not complaints(done.stdout), done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tarball", type=pathlib.Path)
    arguments = parser.parse_args()
    taken, said = import_collection(arguments.tarball)
    sys.stdout.write(said)
    return 0 if taken else 1


if __name__ == "__main__":
    sys.exit(main())
