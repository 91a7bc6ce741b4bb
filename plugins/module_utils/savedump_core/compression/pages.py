# SPDX-License-Identifier: Apache-2.0
"""The pages of a kernel dump, each compressed on its own: zlib, LZO1X, snappy, zstd. Unlike a codec's stream, a page
has a size that is known before, and nothing but exactly this size is right.

LZO and snappy are decoded here, since no Python has them; 4 KiB take half a millisecond. Formats: Linux
Documentation/staging/lzo.rst; snappy's format_description.txt.
"""

import io
import zlib

from ..errors import BadDump
from . import zstd

ZLIB, LZO, SNAPPY, ZSTD = "zlib", "lzo", "snappy", "zstd"


class _Damaged(Exception):
    """The page does not decode; the message says why."""


def unpack(method: str, data: bytes, size: int) -> bytes:
    """The `size` bytes that `data` holds. Raises BadDump if it does not, ToolMissing if nothing here decodes zstd."""
    try:
        page = _METHODS[method](data, size)
    except IndexError:
        raise BadDump("a page's %s data is cut" % method) from None
    except _Damaged as error:
        raise BadDump("a page's %s data is corrupt (%s)" % (method, error)) from None
    if len(page) != size:
        raise BadDump("a page's %s data holds %d bytes instead of %d" % (method, len(page), size))
    return page


def _zlib(data: bytes, size: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        page = inflate.decompress(data, size + 1)
    except zlib.error as error:
        raise _Damaged(error) from None
    if len(page) == size and not inflate.eof:
        raise _Damaged("it is cut")
    return page


def _copy(out: bytearray, distance: int, length: int, size: int) -> None:
    """Repeat `length` bytes from `distance` back; the two may overlap."""
    start = len(out) - distance
    if start < 0 or distance == 0 or len(out) + length > size:
        raise _Damaged("a copy from nowhere, or too long")
    if distance >= length:
        out += out[start : start + length]
    else:
        out += (bytes(out[start:]) * (length // distance + 1))[:length]


def _lzo(data: bytes, size: int) -> bytes:
    """LZO1X, as every level of it writes. `literals` counts what the last instruction copied: 0 to 3, or 4 for more."""
    out = bytearray()
    at = 0
    literals = 0

    def run(minimum: int) -> int:
        """A length that did not fit its bits: 255 for each zero byte, and the byte that follows them."""
        nonlocal at
        start = at
        while data[at] == 0:
            at += 1
        length = minimum + 255 * (at - start) + data[at]
        at += 1
        return length

    def take(length: int) -> None:
        nonlocal at
        if at + length > len(data):
            raise _Damaged("it is cut")
        if len(out) + length > size:
            raise _Damaged("too long")
        out.extend(data[at : at + length])
        at += length

    if data[0] > 17:
        at = 1
        take(data[0] - 17)
        literals = min(data[0] - 17, 4)
    while True:
        code = data[at]
        at += 1
        if code >= 64:
            distance, length, literals = (code >> 2 & 7) + (data[at] << 3) + 1, (code >> 5) + 1, code & 3
            at += 1
        elif code >= 16:
            short = 31 if code >= 32 else 7
            length = 2 + (code & short or run(short))
            low = data[at] | data[at + 1] << 8
            at += 2
            distance, literals = (low >> 2) + 1, low & 3
            if code < 32:
                distance += ((code & 8) << 11) + 0x3FFF
                if distance == 0x4000:
                    return bytes(out)
        elif literals == 0:
            take(3 + (code or run(15)))
            literals = 4
            continue
        else:
            far = literals == 4
            distance, length = (code >> 2) + (data[at] << 2) + (2049 if far else 1), 3 if far else 2
            at += 1
            literals = code & 3
        _copy(out, distance, length, size)
        take(literals)


def _snappy(data: bytes, size: int) -> bytes:
    out = bytearray()
    at = claimed = shift = 0
    while True:
        byte = data[at]
        at += 1
        claimed |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 28:
            break
    if claimed != size:
        raise _Damaged("it claims %d bytes" % claimed)
    while at < len(data):
        tag = data[at]
        at += 1
        kind, length = tag & 3, (tag >> 2) + 1
        if kind == 0:
            if length > 60:
                more = length - 60
                length = int.from_bytes(data[at : at + more], "little") + 1
                at += more
            if at + length > len(data) or len(out) + length > size:
                raise _Damaged("it is cut, or too long")
            out += data[at : at + length]
            at += length
            continue
        if kind == 1:
            length, distance = (tag >> 2 & 7) + 4, tag >> 5 << 8 | data[at]
            at += 1
        else:
            width = 2 if kind == 2 else 4
            distance = int.from_bytes(data[at : at + width], "little")
            at += width
        _copy(out, distance, length, size)
    if at > len(data):
        raise _Damaged("it is cut")
    return bytes(out)


def _zstd(data: bytes, size: int) -> bytes:
    reader = zstd.reader(io.BytesIO(data))
    try:
        page: bytes = reader.read(size + 1)
        # What comes before damage is given first.
        reader.read(1)
        return page
    except BadDump as error:
        raise _Damaged(error.message) from None
    finally:
        reader.close()


_METHODS = {ZLIB: _zlib, LZO: _lzo, SNAPPY: _snappy, ZSTD: _zstd}
