# SPDX-License-Identifier: Apache-2.0
"""Cut a real kernel dump down to the pages that its facts are read from: `python3 tests/data/vmcores/make.py`.

Takes the dumps that tests/support/vmcores makes, and writes NAME.vmcore.xz, an ELF vmcore of some 3 MiB, and NAME.json,
what the guest itself said of its kernel and modules on its console before it died.
"""

import json
import lzma
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "tests")]

from savedump_core.dumps import vmcore
from savedump_core.elf.header import parse_header
from savedump_core.kernel.facts import read_facts
from savedump_core.source import open_source
from support.vmcores import vmcores

PAGE = 4096
DUMPS = (("6.1", "sysrq61"), ("6.1", "oops61"), ("6.12", "sysrq612"), ("6.1-arm64", "sysrq61arm64"))


def extract(path):
    """The bytes of an ELF vmcore with the pages that read_facts asks for, and the facts."""
    with open_source(str(path)) as source:
        header = parse_header(source.read_at(0, 64))
        capture = vmcore.open_elf(source, source).capture
        pages = {}

        def read(address, size):
            data = capture.read(address, size)
            for number in range(address // PAGE, (address + size - 1) // PAGE + 1):
                pages[number] = number
            return data

        facts = read_facts(capture._replace(read=read))
        runs = []
        for number in sorted(pages):
            if runs and runs[-1][0] + runs[-1][1] == number:
                runs[-1][1] += 1
            else:
                runs.append([number, 1])
        note = struct.pack("<III", 11, len(capture.vmcoreinfo), 0) + b"VMCOREINFO\0\0" + capture.vmcoreinfo
        note += bytes(-len(note) % 4)
        at = 64 + 56 * (1 + len(runs))
        headers = struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(note), len(note), 4)
        at += len(note)
        for number, count in runs:
            headers += struct.pack(
                "<IIQQQQQQ", 1, 7, at, 0, number * PAGE, count * PAGE, count * PAGE, 0
            )  # fmt: skip
            at += count * PAGE
        ident = b"\x7fELF\x02\x01\x01" + bytes(9)
        top = ident + struct.pack(
            "<HHIQQQIHHHHHH", 4, header.machine, 1, 0, 64, 0, 0, 64, 56, 1 + len(runs), 0, 0, 0
        )
        body = b"".join(capture.read(number * PAGE, count * PAGE) for number, count in runs)
    return top + headers + note + body, facts


def main():
    for kernel, guest in DUMPS:
        made = vmcores(kernel)
        content, facts = extract(made.dumps / (guest + ".elf"))
        said = made.said(guest)
        (HERE / (guest + ".vmcore.xz")).write_bytes(lzma.compress(content, preset=9))
        truth = {
            "release": said.release,
            "build_id": said.build_id,
            "modules": {name: module.build_id for name, module in said.modules.items()},
            "panic": facts.panic,
            "nodename": facts.nodename,
            "log_ends": facts.dmesg.decode("utf-8", "replace").splitlines()[-1],
        }
        (HERE / (guest + ".json")).write_text(json.dumps(truth, indent=1) + "\n")
        sys.stdout.write("%s: %d bytes\n" % (guest, len(content)))


if __name__ == "__main__":
    main()
