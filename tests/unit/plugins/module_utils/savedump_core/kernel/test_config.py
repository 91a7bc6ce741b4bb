# SPDX-License-Identifier: Apache-2.0
"""kernel/config.py: a gzip stream in memory."""

import gzip
import os

import pytest
from savedump_core.kernel import config
from savedump_core.kernel.capture import NotDumped
from savedump_core.kernel.memory import open_memory
from savedump_core.kernel.vmcoreinfo import Unreadable, parse
from support.kernelmemory import X86Kernel

TEXT = b"".join(b"CONFIG_%s=y\n" % os.urandom(8).hex().encode() for _ in range(2000))


def read(packed, lose=False):
    kernel = X86Kernel()
    at = kernel.image("data", packed + b"IKCFG_ED" + bytes(4096), writable=False)
    if lose:
        kernel.lose(at + 8192)
    capture = kernel.capture()
    return config.read_config(open_memory(capture, parse(capture.vmcoreinfo)), at)


def test_over_many_pages():
    assert len(gzip.compress(TEXT)) > 3 * 4096
    assert read(gzip.compress(TEXT)) == TEXT


def test_damage():
    packed = bytearray(gzip.compress(TEXT))
    packed[5000] ^= 0xFF
    with pytest.raises(Unreadable, match="damaged"):
        read(bytes(packed))
    with pytest.raises(Unreadable, match="damaged"):
        read(b"not gzip at all")


def test_a_lost_page():
    with pytest.raises(NotDumped):
        read(gzip.compress(TEXT), lose=True)


def test_a_bomb():
    with pytest.raises(Unreadable, match="more than"):
        read(gzip.compress(bytes(config.MAX_BYTES + 1)))
