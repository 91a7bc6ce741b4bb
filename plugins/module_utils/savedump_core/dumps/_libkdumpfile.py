# SPDX-License-Identifier: Apache-2.0
"""Pages of the formats that are not read here, by libkdumpfile's Python binding if the host has it; never needed.

There are two of them by one name: the one that libkdumpfile up to 0.5.4 brought along (Debian 12:
python3-libkdumpfile), with a class kdumpfile, and pykdumpfile, with a class Context.
"""

from typing import Any, Iterator, Optional, Tuple

from ..kernel.capture import Capture, NotDumped, Utsname
from . import _kernel

# What it reads besides ELF and diskdump (libkdumpfile src/kdumpfile/open.c).
KINDS = ("lkcd", "s390-dump", "sadump")

# A read of any size is done in pieces, for the binding takes all its memory first.
_PIECE = 1 << 16
_MACHINES = {"ia32": "i386"}
_FIELDS = ("sysname", "nodename", "release", "version", "machine", "domainname")


def open_container(source: Any) -> Optional[_kernel.Container]:
    """None without the library, or if it cannot read this file."""
    try:
        import kdumpfile  # type: ignore[import-not-found]  # no stubs
    except ImportError:
        return None
    if source.descriptor is None:
        return None
    library = _Library(kdumpfile)
    try:
        library.open(source.descriptor)
    except library.errors:
        return None
    machine, order = library.attribute("arch.name"), "<" if library.attribute("arch.byte_order") else ">"
    if machine is None:
        return None
    if machine == "ppc64" and order == "<":
        machine = "ppc64le"
    fields = [library.attribute("linux.uts." + name) or "" for name in _FIELDS]
    capture = Capture(
        machine=_MACHINES.get(machine, machine),
        bits=8 * (library.attribute("arch.ptr_size") or 8),
        order=order,
        read=library.read,
        stored=library.stored,
        page_size=library.attribute("arch.page_size"),
        vmcoreinfo=library.blob("linux.vmcoreinfo.raw"),
        utsname=Utsname(*fields) if any(fields) else None,
        phys_base=_signed(library.attribute("linux.phys_base")),
    )
    return _kernel.Container(
        capture=capture,
        incomplete_why="it is read by libkdumpfile, which does not say whether it is whole",
    )


def _signed(value: Optional[int]) -> Optional[int]:
    return value - (1 << 64) if value is not None and value >> 63 else value


class _Library:
    """Either of the two, with one face."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._old = not hasattr(module, "Context")
        self._context: Any = None
        base = module.exceptions.KDumpBaseException if self._old else module.KdumpfileError
        self.errors: Tuple[Any, ...] = (base, OSError)
        self._space = module.KDUMP_MACHPHYSADDR if self._old else module.MACHPHYSADDR

    def open(self, descriptor: int) -> None:
        if self._old:
            # It takes a path only. This is the very file that was opened, whatever lies at its path by now.
            self._context = self._module.kdumpfile("/proc/self/fd/%d" % descriptor)
        else:
            self._context = self._module.Context()
            self._context.open_fd(descriptor)

    def attribute(self, name: str) -> Any:
        """None if the dump does not have it."""
        try:
            return self._context.attr[name]
        except (KeyError,) + self.errors:
            return None

    def blob(self, name: str) -> Optional[bytes]:
        value = self.attribute(name)
        if value is None:
            return None
        return bytes(value) if self._old else bytes(value.get())

    def read(self, address: int, size: int) -> bytes:
        """Capture.read."""
        parts = []
        if address + size > 1 << 64:
            raise _kernel.no_memory(address)
        while size > 0:
            try:
                part = bytes(self._context.read(self._space, address, min(size, _PIECE)))
            except self.errors as error:
                raise NotDumped("the memory at 0x%x: %s (libkdumpfile)" % (address, error)) from None
            parts.append(part)
            address += len(part)
            size -= len(part)
        return b"".join(parts)

    def stored(self) -> Iterator[Tuple[int, int]]:
        """Capture.stored."""
        pages, size = self.attribute("file.pagemap"), self.attribute("arch.page_size")
        end = self.attribute("max_pfn") or 0
        frame = 0
        while pages is not None and size and frame < end:
            try:
                first = pages.find_set(frame)
                frame = pages.find_clear(first)
            except self.errors:
                return
            if frame <= first:
                return
            yield first * size, (min(frame, end) - first) * size
