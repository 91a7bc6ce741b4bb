# SPDX-License-Identifier: Apache-2.0
"""kernel/log.py: the three ways in which kernels have kept their log, as makedumpfile --dump-dmesg writes them."""

import pytest
from savedump_core.kernel import log
from savedump_core.kernel.memory import open_memory
from savedump_core.kernel.vmcoreinfo import Unreadable, parse
from support.kernelmemory import Record, X86Kernel

LINES = [Record(b"line %d" % number, 1_500_000_000 * number, number) for number in range(6)]
TEXT = [b"[    0.000000] line 0", b"[    1.500000] line 1", b"[    3.000000] line 2", b"[    4.500000] line 3",
        b"[    6.000000] line 4", b"[    7.500000] line 5"]  # fmt: skip


def read(kernel, **more):
    capture = kernel.capture(**more)
    info = parse(capture.vmcoreinfo)
    return log.read_log(open_memory(capture, info), info)


def made(how, records, **more):
    kernel = X86Kernel()
    getattr(kernel, how)(records, **more)
    return kernel


def test_ring():
    found = read(made("ring", LINES, caller=False))
    assert found.text.split(b"\n") == TEXT + [b""]
    assert (found.missing, found.cut) == (0, False)


def test_ring_with_callers():
    records = [Record(b"thread", 0, 1234), Record(b"processor", 0, 1 << 31 | 3)]
    assert (
        read(made("ring", records)).text == b"[    0.000000] [   T1234] thread\n[    0.000000] [      C3] processor\n"
    )


@pytest.mark.parametrize("fill", [40, 50], ids=["blocks that end with the ring", "blocks that begin anew"])
def test_ring_that_has_wrapped(fill):
    """Of 100 records the last that fit are there, and the text has gone round."""
    records = [Record(b"record %d " % number + b"x" * fill, 0) for number in range(100)]
    lines = read(made("ring", records, bits=5, size_bits=10, caller=False)).text.decode().split("\n")[:-1]
    assert 10 < len(lines) <= 32
    assert lines == ["[    0.000000] record %d " % number + "x" * fill for number in range(100 - len(lines), 100)]


def test_records_not_yet_committed_or_without_text_are_left_out():
    kernel = made("ring", [Record(b"one"), Record(b""), Record(b"two"), Record(b"three")], caller=False)
    capture = kernel.capture()
    start = (1 << 62) - 64  # the first ID: descriptor 0
    for number, state in ((2, 0), (3, 3)):
        value = state << 62 | start + number
        kernel._write_image(kernel.ring_parts["descs"] + 24 * number, value.to_bytes(8, "little"))
    assert capture
    assert read(kernel).text == b"[    0.000000] one\n"


def test_odd_bytes_are_written_as_makedumpfile_does():
    text = b"tab\there caf\xc3\xa9 \x01 \x7f back\\slash\nsecond"
    found = read(made("ring", [Record(text)], caller=False)).text
    # A char is signed on x86; the next line stands under the first.
    assert found == (
        b"[    0.000000] tab\there caf\\xffffffc3\\xffffffa9 \\x01 \\x7f back\\slash\n               second\n"
    )


def test_a_text_that_claims_more_than_its_block():
    """As makedumpfile: a message that printk cut has the length that it would have had."""
    kernel = made("ring", [Record(b"one 1234"), Record(b"two 5678")], caller=False)
    kernel._write_image(kernel.ring_parts["infos"] + 16, (1000).to_bytes(2, "little"))
    assert read(kernel).text == b"[    0.000000] one 1234\n[    0.000000] two 5678\n"


@pytest.mark.parametrize("part", ["text", "descs", "infos"])
def test_records_that_are_not_in_the_dump_are_counted(part):
    records = [Record(b"x" * 1000 + b" %d" % number) for number in range(10)]
    kernel = made("ring", records, bits=6, size_bits=14, caller=False)
    kernel.lose(kernel.ring_parts[part])
    found = read(kernel)
    # Of the text one page is lost, and with it the records that are in it in part.
    left = [b"%d" % number for number in range(5, 10)] if part == "text" else []
    assert [line.split()[-1] for line in found.text.splitlines()] == left
    # A descriptor that cannot be read may have been of no record: all of the ring are counted.
    assert found.missing == {"text": 5, "descs": 10, "infos": 10}[part]


def test_only_the_newest_of_very_many(monkeypatch):
    monkeypatch.setattr(log, "MAX_RECORDS", 3)
    found = read(made("ring", LINES, caller=False))
    assert found.text.split(b"\n") == TEXT[3:] + [b""] and found.cut
    monkeypatch.setattr(log, "MAX_TEXT", 30)
    assert read(made("ring", LINES, caller=False)).text.split(b"\n") == TEXT[4:] + [b""]


@pytest.mark.parametrize("line", ["OFFSET(prb_desc.state_var)", "SIZE(printk_info)", "OFFSET(prb_data_ring.data)"])
def test_a_line_that_lacks_is_named(line):
    kernel = made("ring", LINES)
    del kernel.info[line]
    with pytest.raises(Unreadable, match="no " + line.split("(")[0]):
        read(kernel)


def test_a_ring_of_a_size_that_none_has():
    kernel = made("ring", LINES, bits=5)
    ring = kernel.symbols["prb"]
    pointer = int.from_bytes(kernel.machine.memory.read(kernel._physical(ring), 8), "little")
    kernel._write_image(pointer, (64).to_bytes(4, "little"))
    with pytest.raises(Unreadable, match="2\\*\\*64"):
        read(kernel)


def test_a_head_that_is_no_descriptor_ends():
    kernel = made("ring", LINES, bits=5)
    pointer = int.from_bytes(kernel.machine.memory.read(kernel._physical(kernel.symbols["prb"]), 8), "little")
    kernel._write_image(pointer + 24, b"\xff" * 8)
    kernel._write_image(pointer + 32, bytes(8))
    assert read(kernel).text == b""


@pytest.mark.parametrize("start, size", [(0, 1024), (888, 1024)])
def test_records_of_3_5_to_5_9(start, size):
    found = read(made("log_records", LINES, size=size, start=start))
    assert found.text.split(b"\n") == TEXT + [b""]


def test_records_of_3_5_to_5_9_that_do_not_end():
    kernel = made("log_records", LINES, size=1024)
    kernel._write_image(kernel.symbols["log_next_idx"], (1023).to_bytes(4, "little"))
    with pytest.raises(Unreadable, match="do not end"):
        read(kernel)


def test_the_name_of_the_struct_before_3_11():
    kernel = made("log_records", LINES, size=1024)
    kernel.info = {key.replace("printk_log", "log"): value for key, value in kernel.info.items()}
    assert read(kernel).text.split(b"\n") == TEXT + [b""]


@pytest.mark.parametrize("length", [100, 255, 256, 1000])
def test_text_before_3_5(length):
    text = bytes(97 + number % 26 for number in range(length))
    found = read(made("log_text", text, size=256))
    assert found.text == text[-256:]


def test_no_log_is_said():
    with pytest.raises(Unreadable, match="where the log is"):
        read(X86Kernel())


def test_a_char_is_unsigned_elsewhere():
    kernel = made("ring", [Record(b"caf\xc3\xa9")], caller=False)
    capture = kernel.capture()
    info = parse(capture.vmcoreinfo)
    memory = open_memory(capture, info)
    memory.capture = capture._replace(machine="aarch64")
    assert log.read_log(memory, info).text == b"[    0.000000] caf\\xc3\\xa9\n"
