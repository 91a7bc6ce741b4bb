# SPDX-License-Identifier: Apache-2.0
"""The kernel's configuration, if it carries it (CONFIG_IKCONFIG=y; kernel/configs.c)."""

import zlib

from .memory import Memory
from .vmcoreinfo import Unreadable

START = b"IKCFG_ST"
END = b"IKCFG_ED"
# Distributions' configurations have 40 to 70 KB packed and 150 to 300 KB unpacked.
MAX_PACKED = 1 << 20
MAX_BYTES = 4 << 20


def read_config(memory: Memory, start: int) -> bytes:
    """The text of .config, of the gzip stream at `start`, right behind START. Raises Unreadable if it is none."""
    inflate = zlib.decompressobj(wbits=31)
    text = b""
    for at in range(start, start + MAX_PACKED, 4096):
        try:
            text += inflate.decompress(memory.read(at, 4096), MAX_BYTES - len(text) + 1)
        except zlib.error as error:
            raise Unreadable("the kernel's configuration is damaged: %s" % error) from None
        if len(text) > MAX_BYTES:
            raise Unreadable("the kernel's configuration has more than %d bytes" % MAX_BYTES)
        if inflate.eof:
            return text
    raise Unreadable("the kernel's configuration does not end within %d bytes" % MAX_PACKED)
