# SPDX-License-Identifier: Apache-2.0
"""The kernel's log as text, in the words of makedumpfile --dump-dmesg.

Since 5.10 a ring of descriptors and a ring of text (kernel/printk/printk_ringbuffer.h), from 3.5 to 5.9 records in one
buffer (kernel/printk/printk.c), before that the text itself. makedumpfile's side: printk.c, makedumpfile.c dump_dmesg.
"""

import re
import struct
from collections import deque
from typing import Deque, Iterator, List, NamedTuple, Optional

from .capture import NotDumped
from .memory import Memory
from .vmcoreinfo import Unreadable, Vmcoreinfo

# log_buf_len= goes up to 2 GiB; the newest part of a log is what matters.
MAX_TEXT = 16 << 20
MAX_RECORDS = 1 << 18
# The records of 64 MiB, by their usual length.
_MAX_STEPS = 1 << 20
# The largest bits that a ring is believed to have.
_MAX_BITS = 31
# makedumpfile prints a byte with "%02x" as a char, which is signed on these machines and so becomes \xffffffc3.
_SIGNED = ("x86_64", "i386", "x32", "loongarch64", "mips", "mipsel", "mips64", "mips64el")
_ODD = re.compile(rb"[^\t\x0b\x0c\r -~]")


class Log(NamedTuple):
    """What was read."""

    text: bytes
    missing: int
    """Records that are not in the dump."""
    cut: bool
    """True if older records were left out, for their number."""


class _Record(NamedTuple):
    text: bytes
    nanoseconds: int
    caller: Optional[int]


def read_log(memory: Memory, info: Vmcoreinfo) -> Log:
    """The log, oldest line first. Raises Unreadable or NotDumped."""
    if info.has("SYMBOL(prb)"):
        return _format(memory, _ring(memory, info))
    if not info.has("SYMBOL(log_buf)"):
        raise Unreadable("VMCOREINFO does not say where the log is")
    for name in ("printk_log", "log"):
        if info.has("SIZE(%s)" % name):
            return _format(memory, _buffer(memory, info, name))
    return _plain(memory, info)


def _format(memory: Memory, newest_first: Iterator[Optional[_Record]]) -> Log:
    """None stands for a record that is not in the dump."""
    lines: List[bytes] = []
    missing = size = 0
    sign = 0xFFFFFF00 if memory.capture.machine in _SIGNED else 0
    for number, record in enumerate(newest_first):
        if number >= MAX_RECORDS or size >= MAX_TEXT:
            return Log(b"".join(reversed(lines)), missing, cut=True)
        if record is None:
            missing += 1
            continue
        lines.append(_line(record, sign))
        size += len(lines[-1])
    return Log(b"".join(reversed(lines)), missing, cut=False)


def _line(record: _Record, sign: int) -> bytes:
    seconds, rest = divmod(record.nanoseconds, 10**9)
    prefix = "[%5d.%06d] " % (seconds, rest // 1000)
    if record.caller is not None:
        # printk_info.caller_id: a thread's, or a processor's with the top bit set.
        prefix += "[%8s] " % ("%s%d" % ("C" if record.caller >> 31 else "T", record.caller & 0x7FFFFFFF))

    def odd(match: "re.Match[bytes]") -> bytes:
        byte = match.group()[0]
        if byte == 10:
            return b"\n" + b" " * len(prefix)
        return b"\\x%02x" % (byte | sign if byte > 127 else byte)

    return prefix.encode() + _ODD.sub(odd, record.text) + b"\n"


def _ring(memory: Memory, info: Vmcoreinfo) -> Iterator[Optional[_Record]]:
    """Records of the ring, newest first: those between head and tail whose descriptor is committed or finalized."""
    prb = memory.word(info.symbol("prb"))
    word, long_size = memory.word, memory.word_size
    descs_at = prb + info.offset("printk_ringbuffer.desc_ring")
    texts_at = prb + info.offset("printk_ringbuffer.text_data_ring")
    counter = info.offset("atomic_long_t.counter")
    count = _power(memory.u32(descs_at + info.offset("prb_desc_ring.count_bits")))
    size = _power(memory.u32(texts_at + info.offset("prb_data_ring.size_bits")))
    descs = word(descs_at + info.offset("prb_desc_ring.descs"))
    infos = word(descs_at + info.offset("prb_desc_ring.infos"))
    texts = word(texts_at + info.offset("prb_data_ring.data"))
    tail = word(descs_at + info.offset("prb_desc_ring.tail_id") + counter)
    head = word(descs_at + info.offset("prb_desc_ring.head_id") + counter)
    fields = _Fields(info, counter)
    shift = memory.bits - 2  # DESC_FLAGS_SHIFT: the state is in the two upper bits of state_var
    ids = (1 << shift) - 1
    number = head & ids
    for _index in range(count):
        slot = number % count
        try:
            desc = memory.read(descs + slot * fields.desc_size, fields.desc_size)
            state = _unpack(memory, desc, fields.state)
            if state & ids == number and state >> shift in (1, 2):
                begin, end = _unpack(memory, desc, fields.begin) % size, _unpack(memory, desc, fields.next) % size
                # A record without text has the same, odd, numbers here.
                if begin != end:
                    head_of = memory.read(infos + slot * fields.info_size, fields.info_size)
                    if begin > end:  # a block that does not fit at the end begins anew; it may end with the ring
                        begin, end = (0, end) if end else (begin, size)
                    begin += long_size  # its descriptor's ID comes first
                    length = struct.unpack_from(memory.order + "H", head_of, fields.length)[0]
                    text = memory.read(texts + begin, max(0, min(length, end - begin)))
                    yield _record(memory, text, head_of, fields.time, fields.caller)
        except NotDumped:
            yield None
        if number == tail & ids:
            return
        number = (number - 1) & ids


class _Fields:
    """Offsets within prb_desc and printk_info."""

    def __init__(self, info: Vmcoreinfo, counter: int) -> None:
        text = info.offset("prb_desc.text_blk_lpos")
        self.desc_size = info.size("prb_desc")
        self.info_size = info.size("printk_info")
        self.state = info.offset("prb_desc.state_var") + counter
        self.begin = text + info.offset("prb_data_blk_lpos.begin")
        self.next = text + info.offset("prb_data_blk_lpos.next")
        self.time = info.offset("printk_info.ts_nsec")
        self.length = info.offset("printk_info.text_len")
        self.caller = _caller(info, "printk_info")


def _buffer(memory: Memory, info: Vmcoreinfo, name: str) -> Iterator[Optional[_Record]]:
    """Records of the buffer, newest first. They can only be walked from the oldest one on, so that their places are
    noted first."""
    size = memory.u32(info.symbol("log_buf_len"))
    at, end = memory.u32(info.symbol("log_first_idx")), memory.u32(info.symbol("log_next_idx"))
    buffer = memory.word(info.symbol("log_buf"))
    header, length_at = info.size(name), info.offset(name + ".len")
    text_at, time_at = info.offset(name + ".text_len"), info.offset(name + ".ts_nsec")
    caller_at = _caller(info, name)
    places: Deque[int] = deque(maxlen=MAX_RECORDS + 1)
    wrapped = False
    for _count in range(_MAX_STEPS):
        if at == end:
            break
        length = struct.unpack(memory.order + "H", memory.read(buffer + at + length_at, 2))[0] if at < size else 0
        if length == 0:  # the rest was too short for a record: it goes on at the start
            if wrapped:
                raise Unreadable("the log's records do not end")
            wrapped, at = True, 0
            continue
        places.append(at)
        at += length
    else:
        raise Unreadable("the log has more than %d records" % _MAX_STEPS)
    for place in reversed(places):
        try:
            head = memory.read(buffer + place, header)
            length = struct.unpack_from(memory.order + "H", head, text_at)[0]
            yield _record(memory, memory.read(buffer + place + header, length), head, time_at, caller_at)
        except NotDumped:
            yield None


def _plain(memory: Memory, info: Vmcoreinfo) -> Log:
    """Before 3.5: a ring of characters, log_end counts them all."""
    size = memory.u32(info.symbol("log_buf_len"))
    end = memory.u32(info.symbol("log_end"))
    buffer = memory.word(info.symbol("log_buf"))
    if not 0 < size <= MAX_TEXT:
        raise Unreadable("the log claims %d bytes" % size)
    if end < size:
        return Log(memory.read(buffer, end), 0, cut=False)
    at = end % size
    return Log(memory.read(buffer + at, size - at) + memory.read(buffer, at), 0, cut=False)


def _record(memory: Memory, text: bytes, head: bytes, time_at: int, caller_at: Optional[int]) -> _Record:
    caller = None if caller_at is None else struct.unpack_from(memory.order + "I", head, caller_at)[0]
    return _Record(text, struct.unpack_from(memory.order + "Q", head, time_at)[0], caller)


def _caller(info: Vmcoreinfo, name: str) -> Optional[int]:
    return info.offset(name + ".caller_id") if info.has("OFFSET(%s.caller_id)" % name) else None


def _unpack(memory: Memory, raw: bytes, at: int) -> int:
    return struct.unpack_from(memory.order + ("Q" if memory.bits == 64 else "I"), raw, at)[0]


def _power(bits: int) -> int:
    if bits > _MAX_BITS:
        raise Unreadable("the log's ring claims 2**%d entries" % bits)
    return 1 << bits
