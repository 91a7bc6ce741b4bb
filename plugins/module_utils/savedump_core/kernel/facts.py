# SPDX-License-Identifier: Apache-2.0
"""Everything read here of a crashed kernel's memory, each with the reason where it could not be had."""

import struct
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ..elf.notes import build_id as build_id_of
from ..errors import SavedumpError
from . import image, kallsyms, log, memory, modulelayout, modules, oops, vmcoreinfo
from .btf import MAX_BYTES as MAX_BTF
from .btf import Btf
from .capture import Capture, NotDumped, Utsname
from .config import read_config
from .memory import Memory
from .modules import KernelModule
from .oops import Task
from .vmcoreinfo import Unreadable, Vmcoreinfo

# The whole .notes section of a kernel has less than 1 KiB.
_MAX_NOTES = 1 << 16
_MAX_BANNER = 1024
_MAX_COMMAND_LINE = 4096
_UTSNAME = 6 * 65

_SYMBOLS = ("modules", "__start_BTF", "__stop_BTF", "__start_notes", "__stop_notes", "linux_banner")
# Taken along if they come before those.
_OTHER_SYMBOLS = ("kernel_config_data", "saved_command_line")

# What hostile bytes may raise on the way: a read that is not there, a page that is damaged or has no decoder here, a
# number that is no place.
_FAILURES = (NotDumped, Unreadable, SavedumpError, struct.error, ValueError, IndexError, OverflowError, zlib.error)


class Facts(NamedTuple):
    """What the dump says of its kernel; None for what it does not, with the reason in `unknown`."""

    release: Optional[str] = None
    version: Optional[str] = None
    nodename: Optional[str] = None
    machine: Optional[str] = None
    banner: Optional[str] = None
    """linux_banner without its newline; surrogates stand for bytes that are no UTF-8."""
    build_id: Optional[bytes] = None
    crash_time: Optional[int] = None
    """Seconds since the epoch; only what the kernel itself wrote down."""
    panic: Optional[str] = None
    """The line of the log that says why."""
    crashing_task: Optional[Task] = None
    """From the log."""
    kaslr_offset: Optional[int] = None
    page_size: Optional[int] = None
    taint: Optional[str] = None
    """Letters (Documentation/admin-guide/tainted-kernels.rst); "" if it is not tainted."""
    modules_linked_in: Optional[Tuple[str, ...]] = None
    """From the log."""
    modules: Optional[Tuple[KernelModule, ...]] = None
    """Newest first. If `unknown` has "modules" as well, these are not all."""
    dmesg: Optional[bytes] = None
    """The log as makedumpfile --dump-dmesg writes it."""
    vmcoreinfo: Optional[Dict[str, str]] = None
    command_line: Optional[str] = None
    config: Optional[bytes] = None
    unknown: Dict[str, str] = {}
    """Name of a fact to the reason why it is None or not whole."""
    warnings: Tuple[str, ...] = ()


def read_facts(capture: Capture) -> Facts:
    """All that this dump says. Raises nothing but OSError for what the dump has or lacks."""
    return _Reading(capture).facts()


class _Reading:
    """The facts of one dump, while they are gathered."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._unknown: Dict[str, str] = {}
        self._warnings: List[str] = []
        self._info = Vmcoreinfo({})
        self._memory: Optional[Memory] = None
        self._symbols: Dict[str, Tuple[int, ...]] = {}
        self._image: Optional[image.Image] = None

    def facts(self) -> Facts:
        self._try("vmcoreinfo", self._read_vmcoreinfo)
        self._memory = self._try("memory", self._open_memory)
        self._symbols = self._try("symbols", self._read_symbols) or {}
        uts = self._try("release", self._utsname)
        dmesg = self._try("dmesg", self._log)
        crash = oops.read_oops(dmesg or b"")
        # BTF before what a search may find as well, so that the image is searched once.
        layout = self._try("btf", self._layout)
        found = Facts(
            release=(uts.release if uts else "") or self._info.values.get("OSRELEASE"),
            version=uts.version if uts else None,
            nodename=uts.nodename if uts else None,
            machine=(uts.machine if uts else "") or self._machine() or None,
            build_id=self._try("build_id", self._build_id),
            banner=self._try("banner", lambda: self._banner(dmesg, uts)),
            crash_time=self._try("crash_time", self._crash_time),
            panic=crash.panic,
            crashing_task=crash.task,
            kaslr_offset=self._try("kaslr_offset", lambda: self._line("KERNELOFFSET", self._info.hexadecimal)),
            page_size=self._try("page_size", self._page_size),
            taint=crash.taint if crash.taint is not None else self._try("taint", self._taint),
            modules_linked_in=crash.modules,
            modules=self._try("modules", lambda: self._modules(layout)),
            dmesg=dmesg,
            vmcoreinfo=dict(self._info.values) or None,
            command_line=self._try("command_line", lambda: self._command_line(dmesg)),
            config=self._try("config", self._config),
        )
        return found._replace(unknown=self._reasons(found), warnings=tuple(self._warnings))

    def _try(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` gives; None with the reason noted if the dump does not let it."""
        try:
            return read()
        except _FAILURES as error:
            self._unknown[name] = str(error) or type(error).__name__
            return None

    def _reasons(self, found: Facts) -> Dict[str, str]:
        log_only = "the log does not say it"
        if found.dmesg is None:
            log_only = "the log could not be read: %s" % self._unknown.get("dmesg")
        for name in ("panic", "crashing_task"):
            self._unknown.setdefault(name, log_only)
        self._unknown.setdefault("modules_linked_in", log_only + " (only an oops does)" * (found.dmesg is not None))
        for name in ("version", "nodename"):
            self._unknown.setdefault(name, self._unknown.get("release", "the dump does not say it"))
        self._unknown.setdefault("machine", "the dump does not say it")
        partly = ("modules", "dmesg")
        return {
            name: why
            for name, why in self._unknown.items()
            if name in partly or (name in Facts._fields and getattr(found, name) is None)
        }

    def _machine(self) -> str:
        """QEMU's kdump files do not name it; VMCOREINFO's lines give it away."""
        if self._capture.machine and self._capture.machine != "unknown":
            return self._capture.machine
        for key, machine in (("NUMBER(kimage_voffset)", "aarch64"), ("NUMBER(phys_base)", "x86_64"),
                             ("NUMBER(va_kernel_pa_offset)", "riscv64")):  # fmt: skip
            if self._info.has(key):
                return machine
        return ""

    def _read_vmcoreinfo(self) -> None:
        if self._capture.vmcoreinfo:
            self._info = vmcoreinfo.parse(self._capture.vmcoreinfo)
        if not self._info.values:
            self._info = vmcoreinfo.scan(self._capture, self._holds)
            self._warnings.append("the dump has no VMCOREINFO note; it was found by a search through memory")

    def _holds(self, info: Vmcoreinfo) -> bool:
        self._info = info
        try:
            opened = memory.open_memory(self._capture._replace(machine=self._machine()), info)
            return memory.proven(opened, info)
        except _FAILURES:
            return False
        finally:
            self._info = Vmcoreinfo({})

    def _open_memory(self) -> Memory:
        if not self._info.values:
            raise Unreadable(self._unknown.get("vmcoreinfo", "the dump has no VMCOREINFO"))
        capture = self._capture._replace(machine=self._machine())
        return memory.open_memory(capture, self._info)

    def _opened(self) -> Memory:
        if self._memory is None:
            raise Unreadable(self._unknown["memory"])
        return self._memory

    def _read_symbols(self) -> Dict[str, Tuple[int, ...]]:
        return kallsyms.find(self._opened(), self._info, _SYMBOLS, _OTHER_SYMBOLS)

    def _symbol(self, name: str) -> int:
        if name not in self._symbols and "symbols" not in self._unknown:
            self._symbols.update(kallsyms.find(self._opened(), self._info, (name,)))
        if name not in self._symbols:
            raise Unreadable(self._unknown.get("symbols", "the kernel's symbol table does not have %s" % name))
        return self._symbols[name][0]

    def _searched(self) -> image.Image:
        if self._image is None:
            self._image = image.search(self._opened(), self._info, ("btf", "build_ids", "banners"))
        return self._image

    def _utsname(self) -> Utsname:
        uts = self._capture.utsname
        if uts is not None and uts.release and uts.nodename:
            return uts
        raw = self._opened().read(memory.utsname_at(self._info), _UTSNAME)
        fields = [_text(raw[at : at + 65].split(b"\0", 1)[0]) for at in range(0, _UTSNAME, 65)]
        if fields[0] != "Linux":
            raise Unreadable("struct new_utsname is not where VMCOREINFO says that it is")
        return Utsname(*fields)

    def _log(self) -> bytes:
        found = log.read_log(self._opened(), self._info)
        if found.missing or found.cut:
            why = "%d records of the log are not in the dump" % found.missing
            self._unknown["dmesg"] = "older records of the log were left out" if found.cut else why
        return found.text

    def _layout(self) -> modulelayout.Layout:
        opened = self._opened()
        if "__start_BTF" in self._symbols and "__stop_BTF" in self._symbols:
            start, end = self._symbol("__start_BTF"), self._symbol("__stop_BTF")
        else:
            place = self._searched().btf
            if place is None:
                raise Unreadable("the kernel's image has no BTF")
            start, end = place
        if not 0 < end - start <= MAX_BTF:
            raise Unreadable("the kernel's BTF claims %d bytes" % (end - start))
        return modulelayout.layout(Btf(lambda at, size: opened.read(start + at, size), end - start, opened.order))

    def _build_id(self) -> bytes:
        said = self._info.values.get("BUILD-ID", "")
        if said:
            return bytes.fromhex(said[:128])
        opened = self._opened()
        if "__start_notes" in self._symbols and "__stop_notes" in self._symbols:
            start, end = self._symbol("__start_notes"), self._symbol("__stop_notes")
            found = build_id_of(opened.read(start, min(max(end - start, 0), _MAX_NOTES)), opened.order, 4)
            if found:
                return found
        ids = self._searched().build_ids
        if len(ids) == 1:
            return ids[0]
        raise Unreadable(
            "VMCOREINFO does not give it (it does since 5.9) and %s" % (
                "the kernel's image has %d" % len(ids) if ids else "no note of it is in the kernel's image"
            )
        )  # fmt: skip

    def _banner(self, dmesg: Optional[bytes], uts: Optional[Utsname]) -> str:
        if "linux_banner" in self._symbols:
            return _text(self._opened().string(self._symbol("linux_banner"), _MAX_BANNER).rstrip(b"\n"))
        for one in self._image.banners if self._image is not None and uts is not None else ():
            if uts is not None and _text(one).endswith(" " + uts.version):
                return _text(one)
        line = oops.first_with(dmesg or b"", "Linux version ")
        if line is None:
            raise Unreadable(self._unknown.get("symbols", "no symbol leads to it and the log does not have it"))
        return line

    def _crash_time(self) -> int:
        said = self._info.decimal("CRASHTIME")
        if said is None:
            said = self._capture.crash_time
        if not said:
            raise Unreadable("the kernel did not write it down: it does when it goes to a crash kernel")
        return said

    def _page_size(self) -> int:
        said = self._info.decimal("PAGESIZE")
        said = self._capture.page_size if said is None else said
        if not said:
            raise Unreadable("neither VMCOREINFO nor the headers say it")
        return said

    def _line(self, key: str, read: Callable[[str], Optional[int]]) -> int:
        value = read(key)
        if value is None:
            raise Unreadable("VMCOREINFO has no %s" % key)
        return value

    def _taint(self) -> str:
        return modules.taint_letters(self._opened().word(self._symbol("tainted_mask")))

    def _modules(self, layout: Optional[modulelayout.Layout]) -> Tuple[KernelModule, ...]:
        heads = self._symbols.get("modules", ())
        try:
            listing = modules.read_modules(self._opened(), self._info, heads, layout)
        except (NotDumped, Unreadable) as error:
            if heads or "symbols" not in self._unknown or self._memory is None:
                raise
            raise Unreadable("no symbol leads to them (%s), and %s" % (self._unknown["symbols"], error)) from None
        if listing.why:
            self._unknown["modules"] = listing.why
        return listing.modules

    def _command_line(self, dmesg: Optional[bytes]) -> str:
        if "saved_command_line" not in self._symbols:
            # A line of the log is cut at 1 KiB or so.
            for start in ("Kernel command line: ", "Command line: "):
                line = oops.first_with(dmesg or b"", start)
                if line is not None:
                    return line[len(start) :].strip()
        opened = self._opened()
        pointer = opened.word(self._symbol("saved_command_line"))
        return _text(opened.string(pointer, _MAX_COMMAND_LINE)).strip()

    def _config(self) -> bytes:
        opened = self._opened()
        if "kernel_config_data" in self._symbols:
            return read_config(opened, self._symbol("kernel_config_data"))
        if self._image is not None and self._image.config is not None:
            return read_config(opened, self._image.config)
        raise Unreadable("the kernel does not carry it, or no symbol leads to it")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
