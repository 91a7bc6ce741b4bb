# SPDX-License-Identifier: Apache-2.0
"""What makedumpfile makes of a guest's memory, in every format that it has; and what others do to its output."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
from pathlib import Path

from .base import VmcoresError, call
from .packages import Programs

#: Debian 12's, which knows zlib and lzo, and Debian 13's, which knows zstd, too. Debian has none that knows snappy.
OLD, NEW = "usr/bin/makedumpfile", "zstd/usr/bin/makedumpfile"

_FORMATS = {
    "zlib.d31": ("-c", "-d", "31"),
    "lzo.d31": ("-l", "-d", "31"),
    "zstd.d31": ("-z", "-d", "31"),
    "none.d31": ("-d", "31"),
    "elf.d31": ("-E", "-d", "31"),
    "zlib.d0": ("-c", "-d", "0"),
    "zlib.d1": ("-c", "-d", "1"),
}
_FLATTENED = ("zlib.d31", "lzo.d31", "zstd.d31", "elf.d31")


def convert(programs: Programs, guest: str, folder: Path, program: str) -> None:
    """Every format of `folder`/GUEST.qemu-elf, by the makedumpfile OLD or NEW."""
    elf = folder / f"{guest}.elf"
    _move_program_headers(folder / f"{guest}.qemu-elf", elf)

    def makedumpfile(*words: str, output: Path | None = None) -> None:
        which = NEW if "-z" in words else program
        call(*programs.argv(which, *words), cwd=folder, output=output)

    for name, options in _FORMATS.items():
        target = f"{guest}.mdf.{name}"
        makedumpfile(*options, elf.name, target)
        if name in _FLATTENED:
            makedumpfile(*options, "-F", elf.name, output=folder / (target + ".flat"))
    # Memory is shared out by blocks; of 1 GiB unless one asks, so that all of it would be in the first part.
    parts = [f"{guest}.mdf.split{number}" for number in (1, 2, 3)]
    makedumpfile("-c", "-d", "31", "--splitblock-size", "1024", "--split", elf.name, *parts)
    makedumpfile("--dump-dmesg", elf.name, f"{guest}.mdf.dmesg")


def compress(path: Path) -> None:
    """As kdump-tools with KDUMP_COMPRESSION: the flattened stream through a compressor."""
    content = path.read_bytes()
    for suffix, packed in (
        (".gz", gzip.compress(content, 1, mtime=0)),
        (".bz2", bz2.compress(content, 1)),
        (".xz", lzma.compress(content, preset=0)),
    ):
        Path(f"{path}{suffix}").write_bytes(packed)
    call("lz4", "-q", "-1", str(path), f"{path}.lz4")
    call("zstd", "-q", "-1", str(path), "-o", f"{path}.zst")


def cut(path: Path, target: Path, size: int) -> None:
    """The first bytes of a dump: whoever wrote it was killed, or the copy broke off."""
    if path.stat().st_size <= size:
        raise VmcoresError(f"{path.name} has less than {size} bytes, nothing to cut")
    target.parent.mkdir(exist_ok=True)
    with path.open("rb") as file:
        target.write_bytes(file.read(size))


def _move_program_headers(source: Path, target: Path) -> None:
    """QEMU from 7.2 on puts section headers at 64 and program headers at 192, with e_ehsize 8. makedumpfile up to
    1.7.9 takes them to begin at 64 (get_elf64_phdr, elf_info.c). So: program headers to 64, no sections."""
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        header = bytearray(file.read(64))
        (at,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(at)
        table = file.read(size * count)
        (data,) = struct.unpack_from("<Q", table, 8)
        if 64 + len(table) > data:
            raise VmcoresError(f"{source.name}: no room for {count} program headers before offset {data}")
        struct.pack_into("<QQ", header, 32, 64, 0)
        struct.pack_into("<HHHHHH", header, 52, 64, size, count, 0, 0, 0)
        file.seek(0)
        file.write(header + table + bytes(data - 64 - len(table)))
