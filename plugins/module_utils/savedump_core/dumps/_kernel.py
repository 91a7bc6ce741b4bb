# SPDX-License-Identifier: Apache-2.0
"""What the formats of kernel dumps share: from a container that was opened to the Dump."""

from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Tuple

from ..kernel.capture import Capture, NotDumped, Utsname
from ..model import VMLINUX, Dump, Json, Module, Part

if TYPE_CHECKING:
    from ..kernel.facts import Facts

MAX_WARNINGS = 32

# The keys of Dump.kernel, which every kernel dump has; None where it is not known.
_FACTS = ("release", "version", "nodename", "machine", "banner", "crash_time", "panic", "page_size", "taint",
          "command_line")  # fmt: skip


class Container(NamedTuple):
    """A dump's container, opened."""

    capture: Capture
    incomplete_why: Optional[str] = None
    """What lacks, as a sentence; None if nothing does."""
    warnings: Tuple[str, ...] = ()
    parts: Tuple[Part, ...] = ()
    """The other files of a set."""


def kernel_dump(source: Any, kind: str, container: Container) -> Dump:
    """The Dump, with all that the kernel's memory says. `identity` is left to the caller."""
    from ..kernel.facts import read_facts  # a quarter of all imports, which a process's core does without

    capture = container.capture
    # A stream's damage is known when it was read to its end, and that has to be before the facts are.
    why = incomplete(source, container.incomplete_why)
    facts = read_facts(capture)
    kernel: Json = {name: getattr(facts, name) for name in _FACTS}
    kernel.update(
        build_id=facts.build_id.hex() if facts.build_id else None,
        kaslr_offset=None if facts.kaslr_offset is None else "0x%x" % facts.kaslr_offset,
        dump_level=capture.dump_level,
        compression=capture.compression,
        modules_linked_in=None if facts.modules_linked_in is None else list(facts.modules_linked_in),
        crashing_task=None if facts.crashing_task is None else dict(facts.crashing_task._asdict()),
        vmcoreinfo=facts.vmcoreinfo,
        unknown=dict(facts.unknown),
    )
    modules = [_vmlinux(facts)]
    for one in facts.modules or ():
        modules.append(
            Module(
                name=one.name, path=None, names=(), build_id=one.build_id, build_id_why=one.build_id_why,
                start=one.start, end=one.start + (one.size or 0), executable=False,
            )
        )  # fmt: skip
    why_not_all = facts.unknown.get("modules")
    if facts.modules is None and not why_not_all:
        why_not_all = "the list of loaded modules could not be read"
    return _dump(source, kind, capture, why, container)._replace(
        modules=tuple(modules),
        kernel=kernel,
        modules_why=why_not_all,
        dmesg=facts.dmesg,
        vmcoreinfo=_found_vmcoreinfo(capture, facts),
        config=facts.config,
        warnings=_some(container.warnings + tuple(facts.warnings) + ((source.exhausted,) if source.exhausted else ())),
    )


def opaque_dump(source: Any, kind: str, what: str, container: Container) -> Dump:
    """The Dump of a kernel's memory in a format that is not read, with what its headers say; `what` names it."""
    capture = container.capture
    uts = capture.utsname
    kernel: Json = {name: None for name in _FACTS}
    for name in ("release", "version", "nodename", "machine"):
        kernel[name] = (getattr(uts, name) or None) if uts is not None else None
    kernel.update(
        page_size=capture.page_size, crash_time=capture.crash_time, build_id=None, kaslr_offset=None, dump_level=None,
        compression=None, modules_linked_in=None, crashing_task=None, vmcoreinfo=None,
        unknown={},
    )  # fmt: skip
    why = "%s: this format is not read, so what is in it and whether it is whole is unknown" % what
    dump = _dump(source, kind, capture, incomplete(source, why), container)
    unknown = "%s is not read" % what
    modules: Tuple[Module, ...] = ()
    if kernel["release"]:
        modules = (_module(VMLINUX, kernel["release"], None, unknown),)
    return dump._replace(modules=modules, kernel=kernel, modules_why=unknown, warnings=_some(container.warnings))


def incomplete(source: Any, why: Optional[str]) -> Optional[str]:
    """What lacks, a compressed file's own damage included."""
    size = source.size
    if not source.damage:
        return why
    damage = "%s; %d bytes could be read" % (source.damage, size)
    return "%s; %s" % (damage, why) if why else damage


def not_read(address: int, size: int) -> bytes:
    """Capture.read of what is not read."""
    raise NotDumped("this dump's format is not read")


def left_out(address: int) -> NotDumped:
    return NotDumped("the page at 0x%x was left out by the dump level" % address)


def no_memory(address: int) -> NotDumped:
    return NotDumped("there was no memory at 0x%x" % address)


def cut_off(source: Any, address: int) -> NotDumped:
    """For a page that should be in the file and is not."""
    if source.exhausted:
        return NotDumped(source.exhausted)
    return NotDumped("the page at 0x%x is cut off with the end of the file" % address)


def part_of(source: Any) -> Part:
    return Part(path=source.path, size=source.stored_size, mtime_ns=source.mtime_ns)


def utsname(fields: List[bytes]) -> Optional[Utsname]:
    """Of the six strings of struct new_utsname; None if there is neither a release nor a machine in them."""
    text = [field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape") for field in fields]
    found = Utsname(*text)
    return found if found.release or found.machine else None


def _dump(source: Any, kind: str, capture: Capture, why: Optional[str], container: Container) -> Dump:
    return Dump(
        path=source.path,
        size=source.size,
        stored_size=source.stored_size,
        compression=source.compression,
        kind=kind,
        machine=capture.machine,
        bits=capture.bits,
        endian={"<": "little", ">": "big"}.get(capture.order, "unknown"),
        os="linux",
        complete=why is None,
        incomplete_why=why,
        process=None,
        modules=(),
        identity="",
        mtime_ns=source.mtime_ns,
        parts=container.parts,
    )


def _found_vmcoreinfo(capture: Capture, facts: "Facts") -> Optional[bytes]:
    if capture.vmcoreinfo is not None or not facts.vmcoreinfo:
        return None
    lines = ["%s=%s\n" % item for item in facts.vmcoreinfo.items()]
    return "".join(lines).encode("utf-8", "surrogateescape")


def _vmlinux(facts: "Facts") -> Module:
    why = None if facts.build_id else facts.unknown.get("build_id") or "the dump does not say it"
    return _module(VMLINUX, facts.release, facts.build_id, why)


def _module(name: str, release: Optional[str], build_id: Optional[bytes], why: Optional[str]) -> Module:
    return Module(
        name=name, path=None, names=("%s-%s" % (name, release),) if release else (), build_id=build_id,
        build_id_why=why, start=0, end=0, executable=True,
    )  # fmt: skip


def _some(warnings: Tuple[str, ...]) -> Tuple[str, ...]:
    more = len(warnings) - MAX_WARNINGS
    return warnings[:MAX_WARNINGS] + (("%d more like these" % more,) if more > 0 else ())
