# SPDX-License-Identifier: Apache-2.0
"""The lowest priority for processor and disk: whoever shares the host with the crashed service goes first."""

import ctypes
import os
import platform
import struct

_LOWEST = 19
# ioprio_set(2): of this process; class idle in the upper bits (include/uapi/linux/ioprio.h).
_WHO_PROCESS, _IDLE = 1, 3 << 13
# Its number by what uname calls the machine and the size of a pointer (each architecture's syscall.tbl); all others of
# 64 bits have that of include/uapi/asm-generic/unistd.h.
_NUMBERS = {
    ("x86_64", 8): 251, ("x86_64", 4): 289, ("i386", 4): 289, ("i586", 4): 289, ("i686", 4): 289,
    ("ppc64", 8): 273, ("ppc64le", 8): 273, ("s390x", 8): 282, ("armv7l", 4): 314, ("armv8l", 4): 314,
    ("aarch64", 4): 314, ("aarch64", 8): 30, ("riscv64", 8): 30, ("loongarch64", 8): 30,
}  # fmt: skip


def lower() -> None:
    """Make this process, and the threads and programs that it starts from here on, step aside. Never an error: where
    it cannot be had it is done without."""
    try:
        os.nice(_LOWEST)
    except OSError:
        pass
    number = _NUMBERS.get((platform.machine(), struct.calcsize("P")))
    if number is None:
        return
    try:
        # An I/O scheduler without priorities (none, kyber) knows nothing of it, and the call succeeds all the same.
        ctypes.CDLL(None).syscall(number, _WHO_PROCESS, 0, _IDLE)
    except (OSError, AttributeError):
        pass
