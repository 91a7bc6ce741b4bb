# SPDX-License-Identifier: Apache-2.0
"""bzip2: Python's own module, else the bzip2 program (a Python may be built without the module)."""

from typing import IO, Any

from ..errors import ToolMissing
from . import _program
from ._stream import SMALL_FEED, Reader

NAME = "bzip2"
SUFFIX = ".bz2"

# "BZh", the block size, then the magic of a first block (pi) or of the end of an empty stream (the root of pi).
_BLOCKS = (bytes.fromhex("314159265359"), bytes.fromhex("177245385090"))


def sniff(head: bytes) -> bool:
    return head[:3] == b"BZh" and head[3:4] in b"123456789" and head[4:10] in _BLOCKS


def available() -> bool:
    return _module() is not None or _program.have("bzip2")


def reader(fileobj: IO[bytes]) -> Any:
    """Raises ToolMissing."""
    module = _module()
    if module is not None:
        return Reader(fileobj, NAME, module.BZ2Decompressor, (OSError, ValueError), feed=SMALL_FEED)
    if _program.have("bzip2"):
        return _program.ProgramReader(fileobj, NAME, ["bzip2", "-dc"])
    raise ToolMissing("this Python cannot read bzip2", "install bzip2, or unpack the file first")


def _module() -> Any:
    try:
        import bz2
    except ImportError:
        return None
    return bz2
