# SPDX-License-Identifier: Apache-2.0
"""xz: Python's own module, else the xz program (a Python may be built without the module)."""

from typing import IO, Any

from ..errors import ToolMissing
from . import _program
from ._stream import SMALL_FEED, Reader

NAME = "xz"
SUFFIX = ".xz"

# A dictionary may be up to 4 GiB by the file's own word; `xz -9` has 64 MiB, `xz -9e --lzma2=dict=…` more.
MAX_MEMORY = 200 << 20


def sniff(head: bytes) -> bool:
    return head[:6] == b"\xfd7zXZ\0"


def available() -> bool:
    return _module() is not None or _program.have("xz")


def reader(fileobj: IO[bytes]) -> Any:
    """Raises ToolMissing."""
    module = _module()
    if module is not None:
        return Reader(
            fileobj,
            NAME,
            lambda: module.LZMADecompressor(module.FORMAT_XZ, MAX_MEMORY),
            (module.LZMAError,),
            feed=SMALL_FEED,
            padding=True,
        )
    if _program.have("xz"):
        return _program.ProgramReader(fileobj, NAME, ["xz", "-dc"])
    raise ToolMissing("this Python cannot read xz", "install xz (Debian: xz-utils), or unpack the file first")


def _module() -> Any:
    try:
        import lzma
    except ImportError:
        return None
    return lzma
