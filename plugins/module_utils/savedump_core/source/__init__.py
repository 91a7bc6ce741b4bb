# SPDX-License-Identifier: Apache-2.0
"""The dump file as bytes: plain or compressed, read in any order or straight through, never written, never unpacked to
disk. What is not data in it (holes of a sparse file, runs of zeros in a compressed one) is known as such."""

import os
from typing import Optional

from .. import compression, dumps
from ..errors import BadDump, Reading, ToolMissing
from ..sysroot import Refused, open_regular
from .packed import CompressedSource
from .plain import CHUNK, Source

__all__ = ["CHUNK", "CompressedSource", "Source", "may_be_dump", "open_source"]


def open_source(path: str, opened: Optional[int] = None) -> Source:
    """Open a dump for reading; `opened` is a descriptor on it, if there is one. Raises OSError, BadDump if it is no
    regular file, ToolMissing without its codec."""
    try:
        descriptor = open_regular(os.path.realpath(path)) if opened is None else os.dup(opened)
    except Refused as error:
        raise BadDump("%s is %s" % (path, error)) from None
    try:
        with Reading(path):
            codec = compression.sniff(os.pread(descriptor, compression.HEAD, 0))
        if codec is None:
            return Source(path, descriptor)
        if not codec.available():
            raise ToolMissing(
                "%s is compressed with %s, which this host cannot read" % (path, codec.NAME),
                "install lib%s or the %s program, or unpack the dump first" % (codec.NAME, codec.NAME),
            )
        return CompressedSource(path, descriptor, codec)
    except BaseException:
        os.close(descriptor)
        raise


def may_be_dump(path: str) -> bool:
    """By the first bytes, those inside a compressed file, too: a dump of any format known. True for what is compressed
    and cannot be looked into here, False for what cannot be read."""
    try:
        descriptor = open_regular(path)
    except (OSError, Refused):
        return False
    try:
        codec = compression.sniff(os.pread(descriptor, compression.HEAD, 0))
        if codec is None:
            return dumps.sniff(Source(path, descriptor)) is not None
        if not codec.available():
            return True
        source = CompressedSource(path, descriptor, codec)
        try:
            return dumps.sniff(source) is not None or bool(source.damage)
        finally:
            source.end()
    except OSError:
        return False
    finally:
        os.close(descriptor)
