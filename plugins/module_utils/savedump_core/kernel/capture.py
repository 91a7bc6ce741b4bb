# SPDX-License-Identifier: Apache-2.0
"""The face between containers and what is read out of them: the physical memory of a crashed machine."""

from typing import Callable, Iterator, NamedTuple, Optional, Tuple


class NotDumped(Exception):
    """Memory that the dump does not hold. The message is a sentence for a person: excluded by the dump level, cut off
    with the end of the file, damaged, or no memory at all."""


class Utsname(NamedTuple):
    """struct new_utsname, as header fields or memory have it; decoded as UTF-8 with surrogates."""

    sysname: str
    nodename: str
    release: str
    version: str
    machine: str
    domainname: str


class LoadedRange(NamedTuple):
    """Where an ELF vmcore says that a range of physical memory is mapped: a PT_LOAD with an address of the kernel's."""

    vaddr: int
    paddr: int
    size: int


class Capture(NamedTuple):
    """What a container holds. None where its headers do not say."""

    machine: str
    """As elf.header.Header.machine_name: "x86_64", "aarch64", "ppc64le", …"""
    bits: int
    order: str
    """"<" or ">"."""
    read: Callable[[int, int], bytes]
    """read(physical address, size) gives exactly so many bytes, or raises NotDumped."""
    stored: Callable[[], Iterator[Tuple[int, int]]]
    """(physical address, size) of runs of pages that are in the dump, by rising address: for a search through them."""
    page_size: Optional[int] = None
    vmcoreinfo: Optional[bytes] = None
    """The VMCOREINFO note's descriptor, as found in the headers."""
    utsname: Optional[Utsname] = None
    mapped: Tuple[LoadedRange, ...] = ()
    phys_base: Optional[int] = None
    dump_level: Optional[int] = None
    compression: Optional[str] = None
    """Of the pages: "zlib", "lzo", "snappy", "zstd", or None."""
    crash_time: Optional[int] = None
    """Seconds since the epoch; only what the kernel itself wrote down."""
