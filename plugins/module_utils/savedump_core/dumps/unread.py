# SPDX-License-Identifier: Apache-2.0
"""What a file is that is no dump savedump reads: named as exactly as its first bytes allow."""

from typing import Tuple

from ..elf.header import ET_DYN, ET_EXEC, ET_REL, parse_header

_WINDBG = "open it with WinDbg on Windows"
# (magic, offset, what it is, hint). Sources: Windows minidumpapiset.h, Mach-O loader.h, apport's problem_report.py.
_MAGIC = (
    (b"PAGEDU64", 0, "a Windows crash dump", _WINDBG),
    (b"PAGEDUMP", 0, "a Windows crash dump", _WINDBG),
    (b"MDMP", 0, "a Windows minidump", _WINDBG),
    (b"\xcf\xfa\xed\xfe", 0, "a Mach-O file (macOS)", "open it with lldb on macOS"),
    (b"\xfe\xed\xfa\xcf", 0, "a Mach-O file (macOS)", "open it with lldb on macOS"),
    (b"ProblemType:", 0, "an apport crash report", "unpack it with apport-unpack and give the file CoreDump"),
    (b"#!", 0, "a script", ""),
    (b"ustar", 257, "a tar archive", "unpack it, and give the dump in it"),
)

_ELF_TYPES = {ET_REL: "an ELF object file", ET_EXEC: "an ELF executable", ET_DYN: "an ELF executable or library"}


def explain(path: str, head: bytes) -> Tuple[str, str]:
    """(message, hint) for a file that no format claims."""
    what, hint = name(head)
    return "%s is not a dump: it is %s" % (path, what), hint


def name(head: bytes) -> Tuple[str, str]:
    """What the file is that begins so, and what to do about that."""
    if not head:
        return "an empty file", "the process may have had no room or no right to write its core"
    for magic, offset, what, hint in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return what, hint
    header = parse_header(head)
    if header is not None:
        what = _ELF_TYPES.get(header.type, "an ELF file of type %d" % header.type)
        return what + ", not a core", "give the core that it left when it died"
    if head[:4] == b"\x7fELF":
        return "an ELF file with a damaged or cut header", "if it was copied, copy it again"
    if not head.strip(b"\0"):
        return "nothing but zeros at its start", "it may have been lost in a power cut or on a full disk"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return "no format that savedump knows", ""
    return "a text file", ""
