# SPDX-License-Identifier: Apache-2.0
"""What the log says of the crash: why, in which task, with which modules. Its words are those of kernel/panic.c,
arch/*/kernel/{traps,dumpstack}.c, lib/dump_stack.c and kernel/module/main.c (print_modules)."""

import re
from typing import List, NamedTuple, Optional, Tuple

# Only the end of a log is about the crash.
_MAX_TEXT = 2 << 20
# From the line that names the cause to the one that counts the oops: x86 prints three or four, arm64 fifteen.
_LEAD_LINES = 24
# From the cause to "CPU: … PID: … Comm: …" and, past registers and a long trace on x86, "Modules linked in:".
_BLOCK_LINES = 400

_TIME = r"^\[ *\d+\.\d+\] (?:\[ *[TC]\d+\] )?"
_PREFIX = re.compile(_TIME)
_PANIC = re.compile(r"Kernel panic - not syncing: ?(.*)")
# A panic that only says that an oops was fatal; the oops says why.
_FATAL = re.compile(r"Fatal exception|Oops|Fatal hardware error!$")
_SYSRQ = re.compile(r"(?:sysrq: )?(?:SysRq : )?Trigger a crash", re.IGNORECASE)
# "Oops: 0000 [#1] PREEMPT SMP", "general protection fault: 0000 [#1] SMP", "Internal error: Oops: 96000004 [#1]".
_DIE = re.compile(r".*\[#\d+\]")
_LEAD = re.compile(
    r"BUG: |kernel BUG at |Unable to handle kernel |general protection fault|Oops: |Internal error: |"
    r"(?:traps: )?PANIC: |double fault|stack segment|divide error|invalid opcode|Kernel access of bad area"
)
# Since 6.11 with the user's ID; RHEL 6 and older write "Pid: 1, comm: sh Not tainted".
_TASK = re.compile(
    r"(?:CPU: (?P<cpu>\d+) (?:UID: \d+ )?PID: (?P<pid>\d+) Comm: |Pid: (?P<old>\d+), comm: )"
    r"(?P<comm>.*?) (?:Kdump: loaded )?(?:(?P<clean>Not tainted)|Tainted: (?P<taint>[A-Z][A-Z ]*))"
)
_MODULES = "Modules linked in:"
_MODULE = re.compile(r"([A-Za-z0-9_][\w.+-]*)(?:\([A-Z+-]+\))?\Z")
_MAX_NAMES = 4096


class Task(NamedTuple):
    """Who was running when the kernel crashed."""

    pid: Optional[int]
    comm: str
    cpu: Optional[int]


class Oops(NamedTuple):
    """What the log says; None for what it does not."""

    panic: Optional[str] = None
    """The line that says why, without its time."""
    task: Optional[Task] = None
    taint: Optional[str] = None
    """The letters; "" if it says "Not tainted"."""
    modules: Optional[Tuple[str, ...]] = None
    """The names of "Modules linked in:", which a panic without an oops does not print."""


def read_oops(text: bytes) -> Oops:
    """Of a log as log.read_log gives it."""
    end = text[-_MAX_TEXT:].decode("utf-8", "surrogateescape")
    lines = [_PREFIX.sub("", line, 1) for line in end.split("\n")]
    at = _cause(lines)
    if at is None:
        return Oops()
    block = lines[at : at + _BLOCK_LINES]
    found = next((match for match in map(_TASK.match, block) if match), None)
    return Oops(
        panic=lines[at].strip(),
        task=_task(found),
        taint=_taint(found),
        modules=_modules(block),
    )


def _cause(lines: List[str]) -> Optional[int]:
    """The number of the line that says why. The kernel panics once: what follows is its own trouble in doing so. With a
    crash kernel loaded an oops goes to it at once and no panic is printed."""
    panic = next((number for number, line in enumerate(lines) if _PANIC.match(line)), None)
    if panic is not None:
        reason = _PANIC.match(lines[panic])
        if reason is None or not _FATAL.match(reason.group(1)):
            return panic
    died = _last(_DIE, lines, 0, len(lines) if panic is None else panic)
    if died is not None:
        # Before 5.8 sysrq-c made the kernel crash by a bad access: the key is the cause, not the access.
        start = max(0, died - _LEAD_LINES)
        key = _last(_SYSRQ, lines, start, died)
        if key is not None:
            return key
        return _lead(lines, start, died)
    return panic if panic is not None else _last(_SYSRQ, lines, 0, len(lines))


def _lead(lines: List[str], start: int, died: int) -> int:
    """The first line of the oops that is counted in line `died`; not one of an oops before it."""
    ended = _last(re.compile(r"---\[ end "), lines, start, died)
    start = start if ended is None else ended + 1
    return next((number for number in range(start, died) if _LEAD.match(lines[number])), died)


def _last(pattern: "re.Pattern[str]", lines: List[str], start: int, end: int) -> Optional[int]:
    return next((number for number in range(end - 1, start - 1, -1) if pattern.match(lines[number])), None)


def _task(found: Optional["re.Match[str]"]) -> Optional[Task]:
    if found is None:
        return None
    pid, cpu = found.group("pid") or found.group("old"), found.group("cpu")
    return Task(pid=int(pid), comm=found.group("comm"), cpu=None if cpu is None else int(cpu))


def _taint(found: Optional["re.Match[str]"]) -> Optional[str]:
    if found is None:
        return None
    return "" if found.group("clean") else found.group("taint").replace(" ", "")


def _modules(block: List[str]) -> Optional[Tuple[str, ...]]:
    """Names of the list, which goes on in the next lines where it is too long for one record."""
    start = next((number for number, line in enumerate(block) if line.startswith(_MODULES)), None)
    if start is None:
        return None
    names: List[str] = []
    for number, line in enumerate(block[start:]):
        words = (line[len(_MODULES) :] if number == 0 else line).split("[last unloaded", 1)[0].split()
        matches = [match for match in map(_MODULE.match, words) if match]
        if len(names) > _MAX_NAMES or (number and (not words or len(matches) < len(words))):
            break
        names.extend(match.group(1) for match in matches)
        if "[last unloaded" in line:
            break
    return tuple(names)


def first_with(text: bytes, start: str) -> Optional[str]:
    """The log's first line that begins so, without its time; None if there is none."""
    found = re.search(_TIME.encode() + b"(" + re.escape(start.encode()) + b".*)$", text, re.MULTILINE)
    return found.group(1).decode("utf-8", "surrogateescape") if found else None
