# SPDX-License-Identifier: Apache-2.0
"""Tar headers as bytes: POSIX.1-2017 pax (ustar with extended headers), and GNU's long names.

A name that fits stands in the ustar header as it is; a longer one in a GNU long-name member before it. Both are plain
bytes, restored as they are by GNU tar, bsdtar, busybox and Python, in any locale and without a warning. A pax "path"
is UTF-8 by definition: GNU tar converts it to the locale's encoding, and does not know the "hdrcharset" that would
tell otherwise.
"""

from typing import Dict, Optional

BLOCK = 512
# tar pads an archive to its record size, 20 blocks.
RECORD = 20 * BLOCK

REGULAR, SYMLINK = b"0", b"2"
_PAX, _LONG_NAME, _LONG_LINK = b"x", b"L", b"K"
_NAME_MAX = 100
_OCTAL_MAX = 8**11 - 1


def pad(size: int) -> bytes:
    """Zeros up to the next block."""
    return bytes(-size % BLOCK)


def headers(
    name: bytes, size: int, mode: int, mtime: int, kind: bytes = REGULAR, link: bytes = b"",
    pax: Optional[Dict[str, bytes]] = None,
) -> bytes:  # fmt: skip
    """All the blocks that precede a member's content; `size` is that of the content as stored."""
    records = dict(pax or {})
    if size > _OCTAL_MAX:
        records["size"] = b"%d" % size
        size = 0
    blocks = b""
    if len(name) > _NAME_MAX:
        blocks += _special(_LONG_NAME, b"././@LongLink", name + b"\0")
    if len(link) > _NAME_MAX:
        blocks += _special(_LONG_LINK, b"././@LongLink", link + b"\0")
    if records:
        blocks += _special(_PAX, b"././@PaxHeader", _pax_records(records))
    return blocks + _block(name[:_NAME_MAX], size, mode, mtime, kind, link[:_NAME_MAX])


def sparse_headers(name: bytes, stored: int, size: int, mode: int, mtime: int) -> bytes:
    """As headers(), for a member of `size` bytes that is a GNU.sparse 1.0 map and data, `stored` bytes together. A tar
    that does not know sparse members restores those under a name that tells: GNUSparseFile.0/…, like GNU tar's own."""
    folder, _slash, base = name.rpartition(b"/")
    stand_in = b"%s/GNUSparseFile.0/%s" % (folder or b".", base)
    if len(stand_in) > _NAME_MAX:
        stand_in = b"GNUSparseFile.0/" + base[:80]
    pax = {
        "GNU.sparse.major": b"1",
        "GNU.sparse.minor": b"0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": b"%d" % size,
    }
    return headers(stand_in, stored, mode, mtime, pax=pax)


def _special(kind: bytes, name: bytes, content: bytes) -> bytes:
    return _block(name, len(content), 0o600, 0, kind, b"") + content + pad(len(content))


def _pax_records(records: Dict[str, bytes]) -> bytes:
    """LENGTH KEY=VALUE, where the length counts its own digits."""
    lines = []
    for key, value in sorted(records.items()):
        rest = b" %s=%s\n" % (key.encode("ascii"), value)
        length = len(rest)
        while length != len(rest) + len(str(length)):
            length = len(rest) + len(str(length))
        lines.append(b"%d%s" % (length, rest))
    return b"".join(lines)


def _block(name: bytes, size: int, mode: int, mtime: int, kind: bytes, link: bytes) -> bytes:
    """One ustar header of user and group 0 without names."""
    time = min(max(mtime, 0), _OCTAL_MAX)
    fields = (
        name.ljust(100, b"\0"), b"%07o\0" % (mode & 0o7777), b"0000000\0", b"0000000\0", b"%011o\0" % size,
        b"%011o\0" % time, b"        ", kind, link.ljust(100, b"\0"), b"ustar\x0000", bytes(32), bytes(32),
        b"0000000\0", b"0000000\0", bytes(167),
    )  # fmt: skip
    block = b"".join(fields)
    # The sum of all bytes with the checksum field itself as blanks: six digits, NUL, blank.
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
