# SPDX-License-Identifier: Apache-2.0
"""A writer of a crashed x86_64 kernel's memory for tests: a printk ring or an older log, a symbol table, BTF, notes, a
configuration, and a list of modules.

Nothing here reads, and nothing is shared with the code under test, so that one mistake cannot cancel another. Layouts:
Linux kernel/printk/printk_ringbuffer.h, kernel/printk/printk.c, scripts/kallsyms.c, include/linux/module.h.
"""

import gzip
import struct
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from savedump_core.kernel.capture import Capture
from support.kernelbtf import ModuleLayout, module_btf
from support.pagetables import PAGE, X86, Machine, Tables

TEXT = 0xFFFFFFFF81000000
MODULES = 0xFFFFFFFFC0000000
DIRECT = 0xFFFF888000000000
BUILD_ID = bytes(range(1, 21))
RELEASE = "6.1.0-test"
VERSION = "#1 SMP Test 6.1 (2026-11-23)"
BANNER = "Linux version %s (a@b) (gcc) %s" % (RELEASE, VERSION)


class Record(NamedTuple):
    """One line of the log."""

    text: bytes
    nanoseconds: int = 0
    caller: int = 1


def note(name: bytes, kind: int, desc: bytes, order: str = "<") -> bytes:
    name += b"\0"

    def pad(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack(order + "III", len(name), len(desc), kind) + pad(name) + pad(desc)


def build_id_note(build_id: bytes, order: str = "<") -> bytes:
    return note(b"GNU", 3, build_id, order)


def utsname(release: str = RELEASE, version: str = VERSION, nodename: str = "host.example") -> bytes:
    fields = ("Linux", nodename, release, version, "x86_64", "(none)")
    return b"".join(field.encode().ljust(65, b"\0") for field in fields)


class X86Kernel:
    """An x86_64 kernel of two modules, a log, a symbol table and BTF; each part can be left out, lost or changed."""

    def __init__(self, phys_base: int = 0x5000000, tables: Tables = X86) -> None:
        self.phys_base = phys_base
        # The top table is in the image, where SYMBOL(swapper_pg_dir) says.
        self.machine = Machine(tables, root=TEXT + 0x2000 - 0xFFFFFFFF80000000 + phys_base)
        self.machine.memory.write(self._physical(TEXT), bytes(0x2000))
        self._at = TEXT + 0x100000
        self.symbols: Dict[str, int] = {"_stext": TEXT, "swapper_pg_dir": TEXT + 0x2000}
        self.info: Dict[str, object] = {
            "OSRELEASE": RELEASE,
            "BUILD-ID": BUILD_ID.hex(),
            "PAGESIZE": PAGE,
            "NUMBER(phys_base)": phys_base,
            "NUMBER(pgtable_l5_enabled)": int(tables.width == 57),
            "NUMBER(KERNEL_IMAGE_SIZE)": 1 << 30,
            "KERNELOFFSET": "0",
            "SYMBOL(_stext)": "%x" % TEXT,
            "SYMBOL(swapper_pg_dir)": "%x" % (TEXT + 0x2000),
            "OFFSET(uts_namespace.name)": 0,
            "OFFSET(atomic_long_t.counter)": 0,
        }
        self.info["SYMBOL(init_uts_ns)"] = "%x" % self.image("init_uts_ns", utsname())

    def _physical(self, virtual: int) -> int:
        return virtual - 0xFFFFFFFF80000000 + self.phys_base

    def image(self, name: str, data: bytes, writable: bool = True, align: int = 64) -> int:
        """Data in the kernel's image, under a symbol."""
        self._at = (self._at + align - 1) // align * align
        if not writable:
            self._at = (self._at + PAGE - 1) // PAGE * PAGE
        start = self._at
        self.machine.memory.write(self._physical(start), data)
        for page in range(start // PAGE * PAGE, start + len(data), PAGE):
            self.machine.map(page, self._physical(page), writable)
        self._at = start + len(data)
        if not writable:
            self._at = (self._at + PAGE - 1) // PAGE * PAGE
        self.symbols[name] = start
        return start

    def lose(self, virtual: int) -> None:
        """Takes a page of the image out of the dump."""
        del self.machine.memory.pages[self._physical(virtual) // PAGE]

    def ring(self, records: Sequence[Record], bits: int = 5, size_bits: int = 12, caller: bool = True) -> None:
        """The log since 5.10. More records than the rings hold push the oldest out."""
        count, size = 1 << bits, 1 << size_bits
        descs, infos, text = bytearray(24 * count), bytearray(88 * count), bytearray(size)
        first = (1 << 62) - (count << 1)  # as the kernel starts: soon to wrap
        ids = (1 << 62) - 1
        at = 0
        kept: List[Tuple[int, int]] = []
        number = first
        for number, record in enumerate(records, first):
            block = (8 + len(record.text) + 7) // 8 * 8
            # A block that does not fit at the end begins anew, and one may end where the ring does (since 6.19).
            place = at if at % size + block <= size else (at // size + 1) * size
            begin, end = (at, place + block) if record.text else (3, 3)  # NO_LPOS
            if record.text:
                text[place % size : place % size + 8] = struct.pack("<Q", number & ids)
                text[place % size + 8 : place % size + 8 + len(record.text)] = record.text
                at = end
            slot = number % count
            state = 2 << 62 | number & ids
            descs[24 * slot : 24 * slot + 24] = struct.pack("<QQQ", state, begin, end)
            head = struct.pack("<QQHBBI", number - first, record.nanoseconds, len(record.text), 0, 6, record.caller)
            infos[88 * slot : 88 * slot + len(head)] = head
            kept.append((number, begin))
        tail = min(one for one, begin in kept if one > number - count and (begin == 3 or begin >= at - size))
        data, desc, info = (self.image("", bytes(raw), align=PAGE) for raw in (text, descs, infos))
        ring = struct.pack("<IIQQQQQ", bits, 0, desc, info, number & ids, tail & ids, 0)
        ring += struct.pack("<IIQQQ", size_bits, 0, data, 0, 0) + bytes(8)
        self.info["SYMBOL(prb)"] = "%x" % self.image("prb", struct.pack("<Q", self.image("", ring)))
        self.ring_parts = {"text": data, "descs": desc, "infos": info}
        self.info.update({
            "SIZE(printk_ringbuffer)": len(ring), "OFFSET(printk_ringbuffer.desc_ring)": 0,
            "OFFSET(printk_ringbuffer.text_data_ring)": 48, "OFFSET(prb_desc_ring.count_bits)": 0,
            "OFFSET(prb_desc_ring.descs)": 8, "OFFSET(prb_desc_ring.infos)": 16,
            "OFFSET(prb_desc_ring.head_id)": 24, "OFFSET(prb_desc_ring.tail_id)": 32, "SIZE(prb_desc)": 24,
            "OFFSET(prb_desc.state_var)": 0, "OFFSET(prb_desc.text_blk_lpos)": 8,
            "OFFSET(prb_data_blk_lpos.begin)": 0, "OFFSET(prb_data_blk_lpos.next)": 8, "SIZE(printk_info)": 88,
            "OFFSET(printk_info.ts_nsec)": 8, "OFFSET(printk_info.text_len)": 16,
            "OFFSET(prb_data_ring.size_bits)": 0, "OFFSET(prb_data_ring.data)": 8,
        })  # fmt: skip
        if caller:
            self.info["OFFSET(printk_info.caller_id)"] = 20

    def log_records(self, records: Sequence[Record], size: int, start: int = 0) -> None:
        """The log from 3.5 to 5.9: struct printk_log, then the text; the first one at `start`."""
        buffer = bytearray(size)
        at = start
        for record in records:
            length = (16 + len(record.text) + 7) // 8 * 8
            if at + length + 16 > size:
                buffer[at : at + 16] = bytes(16)  # a head of length 0: it goes on at the start
                at = 0
            head = struct.pack("<QHHHBB", record.nanoseconds, length, len(record.text), 0, 0, 6)
            buffer[at : at + 16 + len(record.text)] = head + record.text
            at += length
        self._log_symbols(bytes(buffer), {"log_first_idx": start, "log_next_idx": at, "log_buf_len": size})
        self.info.update({
            "SIZE(printk_log)": 16, "OFFSET(printk_log.ts_nsec)": 0, "OFFSET(printk_log.len)": 8,
            "OFFSET(printk_log.text_len)": 10, "OFFSET(printk_log.dict_len)": 12,
        })  # fmt: skip

    def log_text(self, text: bytes, size: int) -> None:
        """The log before 3.5: the last `size` characters of all that was printed."""
        buffer = bytearray(size)
        for number, byte in enumerate(text):
            buffer[number % size] = byte
        self._log_symbols(bytes(buffer), {"log_end": len(text), "log_buf_len": size, "logged_chars": len(text)})

    def _log_symbols(self, buffer: bytes, numbers: Dict[str, int]) -> None:
        self.info["SYMBOL(log_buf)"] = "%x" % self.image("log_buf", struct.pack("<Q", self.image("", buffer)))
        for name, value in numbers.items():
            self.info["SYMBOL(%s)" % name] = "%x" % self.image(name, struct.pack("<I", value))

    def kallsyms(self, mode: str = "absolute-percpu", filler: int = 300, long_name: bool = False) -> None:
        """The symbol table of all that the image has so far. Modes: "absolute-percpu", "base", "place", "absolute"."""
        names = [(name, address) for name, address in self.symbols.items() if name]
        names += [("filler_%d_function" % number, TEXT + 16 * number) for number in range(filler)]
        if long_name:
            names.append(("_R" + "x" * 300, TEXT + 8))
        names.sort(key=lambda pair: (pair[1], pair[0]))
        tokens = [bytes([byte]) for byte in range(256)]
        tokens[1:8] = [b"tfiller_", b"_function", b"__st", b"art_", b"BTF", b"not", b"D"]
        packed = b"".join(_packed(b"D" + name.encode() if "filler" not in name else b"t" + name.encode(), tokens)
                          for name, _address in names)  # fmt: skip
        table, index = b"", b""
        for token in tokens:
            index += struct.pack("<H", len(table))
            table += (token if token != b"\0" else b"") + b"\0"
        base = TEXT
        put = {"kallsyms_num_syms": struct.pack("<I", len(names)), "kallsyms_names": packed,
               "kallsyms_token_table": table, "kallsyms_token_index": index}  # fmt: skip
        for name, data in put.items():
            self.info["SYMBOL(%s)" % name] = "%x" % self.image("", data)
        addresses = [address for _name, address in names]
        if mode == "absolute":
            raw = struct.pack("<%dQ" % len(names), *addresses)
            self.info["SYMBOL(kallsyms_addresses)"] = "%x" % self.image("", raw)
            return
        start = (self._at + 63) // 64 * 64
        if mode == "place":
            offsets = [address - (start + 4 * number) for number, address in enumerate(addresses)]
        else:
            self_base = {"base": lambda a: a - base, "absolute-percpu": lambda a: a if a < 1 << 31 else base - 1 - a}[
                mode
            ]
            offsets = [self_base(address) for address in addresses]
        raw = b"".join(struct.pack("<I", offset & 0xFFFFFFFF) for offset in offsets)
        assert self.image("", raw) == start
        self.info["SYMBOL(kallsyms_offsets)"] = "%x" % start
        if mode != "place":
            self.info["SYMBOL(kallsyms_relative_base)"] = "%x" % self.image("", struct.pack("<Q", base))

    def btf(self, data: bytes) -> None:
        start = self.image("__start_BTF", data, writable=False)
        self.symbols["__stop_BTF"] = start + len(data)

    def notes(self, build_id: bytes = BUILD_ID) -> None:
        data = note(b"Xen", 6, b"linux\0") + build_id_note(build_id) + note(b"Linux", 0x101, bytes(4))
        start = self.image("__start_notes", data, writable=False)
        self.symbols["__stop_notes"] = start + len(data)

    def config(self, text: bytes) -> None:
        data = b"IKCFG_ST" + gzip.compress(text) + b"IKCFG_ED"
        self.symbols["kernel_config_data"] = self.image("", data, writable=False) + 8

    def modules(self, modules: Sequence["Loaded"], layout: "ModuleLayout") -> None:
        """The list, with the first the newest, each in memory of its own between guard pages."""
        head = self.image("modules", bytes(16))
        places = [module.at or MODULES + 0x20000 * number for number, module in enumerate(modules)]
        # struct module lies in the module's data, behind its text and constants.
        nodes = [place + 0x3000 + 0x80 + layout.list for place in places]
        ring = [head] + nodes
        links = {node: (ring[(number + 1) % len(ring)], ring[number - 1]) for number, node in enumerate(ring)}
        self._write_image(head, struct.pack("<QQ", *links[head]))
        for module, place, node in zip(modules, places, nodes):
            self.machine.put(place, b"\xcc" * PAGE, writable=False, executable=True)
            notes = note(b"Linux", 0x100, bytes(4)) + (build_id_note(module.build_id) if module.build_id else b"")
            self.machine.put(place + 0x1000, bytes(PAGE - 60) + notes + bytes(4000), writable=False)
            attributes = self._attributes(module, place + 0x2000 - 60, len(notes), layout)
            raw = bytearray(layout.size)
            struct.pack_into("<I", raw, 0, module.state)
            struct.pack_into("<QQ", raw, layout.list, *links[node])
            raw[layout.name : layout.name + 56] = module.name.encode("utf-8", "surrogateescape").ljust(56, b"\0")
            struct.pack_into("<Q", raw, layout.taints, module.taints)
            struct.pack_into("<Q", raw, layout.notes_attrs, attributes)
            if module.srcversion:
                string = self.machine.put(place + 0x3F00, module.srcversion.encode() + b"\0")
                struct.pack_into("<Q", raw, layout.srcversion, string)
            for number, (base, size) in enumerate(
                ((place, 0x1000), (place + 0x3000, 0x1000), (place + 0x1000, 0x2000))
            ):
                if layout.kind == "mem":
                    struct.pack_into("<Q", raw, layout.areas + 24 * number, base)
                    struct.pack_into("<I", raw, layout.areas + 24 * number + 8, size)
            if layout.kind == "core_layout":
                struct.pack_into("<Q", raw, layout.areas, place)
                struct.pack_into("<I", raw, layout.areas + 8, 0x4000)
            self.machine.put(node - layout.list, bytes(raw))

    def _attributes(self, module: "Loaded", start: int, size: int, layout: "ModuleLayout") -> int:
        """struct module_notes_attrs: in slab memory, which the direct mapping has."""
        at = DIRECT + 0x100000 * (1 + len(self.machine._entries))
        if not module.build_id:
            return 0
        attribute = struct.pack("<QQQ", 0, start, size)  # attr, private, size
        if layout.pointers:
            self.machine.put(at, struct.pack("<QQ", 0, at + 64))
            self.machine.put(at + 64, struct.pack("<QQ", at + 128, 0))
            self.machine.put(at + 128, attribute)
        else:
            self.machine.put(at, struct.pack("<QI4x", 0, 1) + attribute)
        self.attributes_at = at
        return at

    def _write_image(self, virtual: int, data: bytes) -> None:
        self.machine.memory.write(self._physical(virtual), data)

    def capture(self, **more: object) -> Capture:
        machine = str(more.pop("machine", "x86_64"))
        return self.machine.capture(machine, self.info, **more)


class Loaded(NamedTuple):
    """A module."""

    name: str
    build_id: bytes = b""
    srcversion: str = ""
    taints: int = 0
    state: int = 0
    at: int = 0


def _packed(name: bytes, tokens: List[bytes]) -> bytes:
    """A name with its type before it, in the fewest tokens from the left; lengths over 127 take two bytes."""
    out = b""
    while name:
        best = max(
            (number for number, token in enumerate(tokens) if name.startswith(token)), key=lambda n: len(tokens[n])
        )
        out += bytes([best])
        name = name[len(tokens[best]) :]
    length = len(out)
    head = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
    return head + out


def whole_kernel(layout: Optional[ModuleLayout] = None, symbols: bool = True, **kallsyms: object) -> X86Kernel:
    """A kernel with everything, whose log tells of an oops."""
    layout = layout or ModuleLayout()
    kernel = X86Kernel()
    kernel.btf(module_btf(layout))
    kernel.notes()
    kernel.image("linux_banner", (BANNER + "\n").encode() + b"\0", writable=False)
    line = kernel.image("", b"root=/dev/sda1 quiet\0")
    kernel.image("saved_command_line", struct.pack("<Q", line))
    kernel.image("tainted_mask", struct.pack("<Q", 1 << 12))
    kernel.config(b"CONFIG_TEST=y\n")
    lines = (BANNER, "Command line: root=/dev/sda1 quiet panic=0", "BUG: kernel NULL pointer dereference, address: 0",
             "Oops: 0000 [#1] PREEMPT SMP NOPTI", "CPU: 1 PID: 42 Comm: a b Tainted: G           OE      6.1.0-test #1",
             "Modules linked in: second(OE) first", "Kernel panic - not syncing: Fatal exception")  # fmt: skip
    kernel.ring([Record(line.encode(), 10**9 * number) for number, line in enumerate(lines)])
    kernel.modules(
        [Loaded("second", b"\x22" * 20, taints=1 << 12 | 1 << 13), Loaded("first", b"\x11" * 20, "ABC123")], layout
    )
    if symbols:
        kernel.kallsyms(**kallsyms)
    return kernel
