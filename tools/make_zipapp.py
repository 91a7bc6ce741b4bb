#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write savedump.pyz: the command `savedump` in one file, for a host that has Python 3.6 or newer and nothing else.

    python3 tools/make_zipapp.py [FILE]

Not `python3 -m zipapp -m savedump_core.__main__:main`: the start-up code that it writes drops what main() returns,
and with it the exit status. The same sources give the same bytes.
"""

import pathlib
import sys
import zipfile

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "plugins" / "module_utils"
MAIN = "import sys\nfrom savedump_core.__main__ import main\nsys.exit(main())\n"


def write_zipapp(path):
    """Write the zipapp to `path`, executable."""
    with open(str(path), "wb") as stream:
        stream.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(stream, "w") as archive:
            _add(archive, "__main__.py", MAIN)
            for source in sorted((SOURCES / "savedump_core").rglob("*.py")):
                _add(archive, source.relative_to(SOURCES).as_posix(), source.read_text(encoding="utf-8"))
    pathlib.Path(path).chmod(0o755)


def _add(archive, name, text):
    # 1980 is the first year that zip can name.
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    archive.writestr(member, text.encode("utf-8"))


if __name__ == "__main__":
    output = sys.argv[1] if len(sys.argv) > 1 else "savedump.pyz"
    write_zipapp(output)
    sys.stdout.write("wrote %s\n" % output)
