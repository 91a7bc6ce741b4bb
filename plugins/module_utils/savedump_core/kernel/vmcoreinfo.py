# SPDX-License-Identifier: Apache-2.0
"""VMCOREINFO: the lines by which a kernel tells makedumpfile where things are (kernel/vmcore_info.c, once
kernel/crash_core.c; Documentation/admin-guide/kdump/vmcoreinfo.rst)."""

import time
from typing import Callable, Dict, NamedTuple, Optional

from .capture import Capture, NotDumped

# The kernel gives it one page (VMCOREINFO_BYTES); the largest page of any machine is 64 KiB.
MAX_BYTES = 1 << 16
# A page-aligned search through everything that was dumped: as fast as its pages unpack, so bounded by the clock.
SCAN_SECONDS = 20.0
_SCAN_STEP = 1 << 20
_PAGE = 4096
MASK = (1 << 64) - 1
"""Of an address, whatever the machine."""


class Unreadable(Exception):
    """A fact that cannot be had from this dump. The message is a sentence for a person, saying why."""


class Vmcoreinfo(NamedTuple):
    """The lines, with their values as numbers where asked for; each raises Unreadable for a line that is not there."""

    values: Dict[str, str]
    """Every line "key=value"."""

    def symbol(self, name: str) -> int:
        """Address of a kernel symbol (printed in hexadecimal)."""
        return _number(self._value("SYMBOL", name), 16) & MASK

    def offset(self, name: str) -> int:
        """Byte offset of "struct.member"."""
        return self._small("OFFSET", name)

    def size(self, name: str) -> int:
        """Bytes of a struct; never 0."""
        return self._small("SIZE", name) or self._wrong("SIZE(%s)" % name)

    def number(self, name: str) -> int:
        """A value, printed in decimal (signed) or, with 0x, in hexadecimal."""
        text = self._value("NUMBER", name)
        return _number(text, 16 if text.startswith("0x") else 10)

    def has(self, key: str) -> bool:
        return key in self.values

    def hexadecimal(self, key: str) -> Optional[int]:
        """Of a plain line printed in hexadecimal, such as KERNELOFFSET; None if it is not there."""
        return _number(self.values[key], 16) & MASK if key in self.values else None

    def decimal(self, key: str) -> Optional[int]:
        """Of a plain line printed in decimal, such as PAGESIZE; None if it is not there."""
        return _number(self.values[key], 10) if key in self.values else None

    def _value(self, kind: str, name: str) -> str:
        key = "%s(%s)" % (kind, name)
        if key not in self.values:
            raise Unreadable("VMCOREINFO has no %s" % key)
        return self.values[key]

    def _small(self, kind: str, name: str) -> int:
        number = _number(self._value(kind, name), 10)
        return number if 0 <= number <= _PAGE else self._wrong("%s(%s)" % (kind, name))

    def _wrong(self, key: str) -> int:
        raise Unreadable("VMCOREINFO says %s=%s, which no kernel has" % (key, self.values[key][:32]))


def parse(raw: bytes) -> Vmcoreinfo:
    """Of the note's descriptor. Lines that are not "key=value" are left out."""
    lines = raw[:MAX_BYTES].split(b"\0", 1)[0].decode("utf-8", "surrogateescape").split("\n")
    return Vmcoreinfo(values=dict(line.split("=", 1) for line in lines if "=" in line))  # type: ignore[misc]  # split by one sign: pairs


def scan(capture: Capture, accept: Callable[[Vmcoreinfo], bool]) -> Vmcoreinfo:
    """VMCOREINFO out of memory, for a dump whose headers lack it: QEMU without "-device vmcoreinfo" writes such.

    vmcoreinfo_data is a zeroed page of its own that starts with OSRELEASE= (crash_save_vmcoreinfo_init). A kernel
    that ran before may have left another: `accept` is asked whether what a page says holds, and if it never does, the
    first page is taken. Raises Unreadable if there is none.
    """
    first: Optional[Vmcoreinfo] = None
    seen = 0
    deadline = time.monotonic() + SCAN_SECONDS
    for start, length in capture.stored():
        for at in range(start, start + length, _SCAN_STEP):
            if time.monotonic() > deadline:
                return first or _none(seen, "; the search ended after %d seconds" % SCAN_SECONDS)
            size = min(_SCAN_STEP, start + length - at)
            block = _block(capture, at, size)
            seen += size
            hit = block.find(b"OSRELEASE=")
            while hit >= 0:
                # The whole first page, lest a program's text that names the line be taken for it.
                if (at + hit) % _PAGE == 0 and b"\nPAGESIZE=" in block[hit : hit + _PAGE]:
                    info = parse(block[hit : hit + _PAGE])
                    if accept(info):
                        return info
                    first = first or info
                hit = block.find(b"OSRELEASE=", hit + 1)
    return first or _none(seen, "")


def _none(seen: int, more: str) -> Vmcoreinfo:
    raise Unreadable("the dump has no VMCOREINFO note, nor is it in the %d MiB searched%s" % (seen >> 20, more))


def _block(capture: Capture, at: int, size: int) -> bytes:
    """The bytes there, with zeros for the pages that cannot be read."""
    try:
        return capture.read(at, size)
    except NotDumped:
        if size <= _PAGE:
            return bytes(size)
    return b"".join(_block(capture, at + step, min(_PAGE, size - step)) for step in range(0, size, _PAGE))


def _number(text: str, base: int) -> int:
    try:
        return int(text[:32], base)
    except ValueError:
        raise Unreadable("VMCOREINFO has %r where a number belongs" % text[:32]) from None
