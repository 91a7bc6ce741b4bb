# SPDX-License-Identifier: Apache-2.0
"""What a file is that is no dump savedump reads: named as exactly as its first bytes allow."""

from typing import Tuple

from ..elf.header import ET_DYN, ET_EXEC, ET_REL, parse_header

# (magic, offset, what it is, hint). Sources: Windows minidumpapiset.h, Mach-O loader.h, apport's problem_report.py.
_MAGIC = (
    (b"PAGEDU64", 0, "a Windows crash dump", ""),
    (b"PAGEDUMP", 0, "a Windows crash dump", ""),
    (b"MDMP", 0, "a Windows minidump", ""),
    (b"\xcf\xfa\xed\xfe", 0, "a Mach-O file (macOS)", ""),
    (b"\xfe\xed\xfa\xcf", 0, "a Mach-O file (macOS)", ""),
    (b"ProblemType:", 0, "an apport crash report", "unpack it with apport-unpack and give the file CoreDump"),
    (b"#!", 0, "a script", ""),
    (b"ustar", 257, "a tar archive", ""),
)

_ELF_TYPES = {ET_REL: "an ELF object file", ET_EXEC: "an ELF executable", ET_DYN: "an ELF executable or library"}


def explain(path: str, head: bytes) -> Tuple[str, str]:
    """(message, hint) for a file that no format claims."""
    what, hint = _name(head)
    return "%s is not a dump: it is %s" % (path, what), hint


def _name(head: bytes) -> Tuple[str, str]:
    if not head:
        return "an empty file", "the process may have had no room or no right to write its core"
    for magic, offset, what, hint in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return what, hint
    header = parse_header(head)
    if header is not None:
        return _ELF_TYPES.get(header.type, "an ELF file of type %d" % header.type) + ", not a core", ""
    if head[:4] == b"\x7fELF":
        return "an ELF file with a damaged or cut header", ""
    if not head.strip(b"\0"):
        return "nothing but zeros at its start", "it may have been lost in a power cut or on a full disk"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return "no format that savedump knows", ""
    return "a text file", ""
