# SPDX-License-Identifier: Apache-2.0
"""kernel/oops.py: the cause, the task and the modules, out of logs as kernels of several ages write them."""

import pytest
from savedump_core.kernel.oops import Oops, Task, first_with, read_oops

START = ["Linux version 6.1.0 (a@b) #1 SMP", "Command line: root=/dev/sda panic=0 oops=panic", "VM user wrote this"]


def text(*lines):
    return "".join("[%5d.%06d] %s\n" % (number, 5, line) for number, line in enumerate(START + list(lines))).encode()


OOPS = (
    "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    "#PF: supervisor read access in kernel mode",
    "#PF: error_code(0x0000) - not-present page",
    "PGD 0 P4D 0 ",
    "Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "CPU: 3 PID: 77 Comm: kworker/u8:2 x Kdump: loaded Tainted: G           OE      6.1.0-56-cloud-amd64 #1  Debian",
    "RIP: 0010:inner+0x1f/0x26 [oopsmod]",
    "Call Trace:",
    " <TASK>",
    " outer+0xa/0x15 [oopsmod]",
    "Modules linked in: oopsmod(OE) xfs nf_conntrack(E+) crc32c-intel [last unloaded: gone]",
    "---[ end trace 0000000000000000 ]---",
)
TASK = Task(pid=77, comm="kworker/u8:2 x", cpu=3)
MODULES = ("oopsmod", "xfs", "nf_conntrack", "crc32c-intel")


def test_an_oops_that_goes_to_the_crash_kernel_has_no_panic():
    assert read_oops(text(*OOPS)) == Oops(panic=OOPS[0], task=TASK, taint="GOE", modules=MODULES)


def test_an_oops_that_was_fatal():
    assert (
        read_oops(text(*(OOPS + ("Kernel panic - not syncing: Fatal exception", "Kernel Offset: 0x1")))).panic
        == OOPS[0]
    )


def test_the_cause_is_the_last_oops():
    earlier = ("kernel BUG at mm/slub.c:4000!", "invalid opcode: 0000 [#1] SMP",
               "CPU: 0 PID: 1 Comm: other Not tainted 6.1", "Modules linked in: stale",
               "---[ end trace 0 ]---")  # fmt: skip
    found = read_oops(text(*(earlier + OOPS)))
    assert (found.panic, found.task, found.modules) == (OOPS[0], TASK, MODULES)
    assert read_oops(text(*earlier)).panic == earlier[0]
    assert read_oops(text(*earlier)).taint == ""


def test_sysrq():
    panic = "Kernel panic - not syncing: sysrq triggered crash"
    lines = ("sysrq: Trigger a crash", panic, "CPU: 0 PID: 1 Comm: init Tainted: G           OE      6.1.0 #1",
             "Call Trace:", "---[ end Kernel panic - not syncing: sysrq triggered crash ]---")  # fmt: skip
    assert read_oops(text(*lines)) == Oops(panic=panic, task=Task(1, "init", 0), taint="GOE", modules=None)


def test_sysrq_before_5_8_crashes_by_a_bad_access():
    lines = ("sysrq: SysRq : Trigger a crash",) + OOPS
    found = read_oops(text(*lines))
    assert (found.panic, found.task) == (lines[0], TASK)


@pytest.mark.parametrize(
    "line", ["sysrq: Trigger a crash", "SysRq : Trigger a crash", "sysrq: SysRq : Trigger a crash"]
)
def test_sysrq_alone(line):
    assert read_oops(text(line)).panic == line


def test_a_panic_says_its_reason_itself():
    panic = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009"
    lines = ("WARNING: CPU: 0 PID: 9 at kernel/x.c:1", "Modules linked in: stale", "---[ end trace 1 ]---", panic,
             "CPU: 1 UID: 0 PID: 1 Comm: systemd Not tainted 6.12.1 #1")  # fmt: skip
    assert read_oops(text(*lines)) == Oops(panic=panic, task=Task(1, "systemd", 1), taint="", modules=None)


@pytest.mark.parametrize(
    "lines",
    [
        ("Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000", "Mem abort info:",
         "  ESR = 0x96000006", "  EC = 0x25: DABT (current EL), IL = 32 bits", "  SET = 0, FnV = 0",
         "  EA = 0, S1PTW = 0", "  FSC = 0x06: level 2 translation fault", "Data abort info:",
         "  ISV = 0, ISS = 0x00000006", "  CM = 0, WnR = 0",
         "user pgtable: 4k pages, 48-bit VAs, pgdp=0000000042d2f000", "[0000000000000000] pgd=0800000042d30003",
         "Internal error: Oops: 0000000096000006 [#1] SMP"),
        ("general protection fault, probably for non-canonical address 0xdead: 0000 [#1] PREEMPT SMP",),
        ("kernel BUG at fs/inode.c:10!", "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI"),
        ("BUG: Kernel NULL pointer dereference on read at 0x00000000", "Faulting instruction address: 0xc0",
         "Oops: Kernel access of bad area, sig: 11 [#1]"),
        ("Unable to handle kernel pointer dereference in virtual kernel address space", "Failing address: 0",
         "Oops: 0004 ilc:2 [#1] SMP"),
    ],
    ids=["arm64", "x86 gpf", "BUG()", "ppc64", "s390x"],
)  # fmt: skip
def test_how_machines_begin(lines):
    assert read_oops(text(*lines)).panic == lines[0]


def test_modules_over_several_records():
    names = ["module_%d" % number for number in range(60)]
    lines = ("Oops: 0000 [#1]", "Modules linked in: " + " ".join(names[:30]), " " + " ".join(names[30:59]),
             " module_59(O) [last unloaded: x]",
             " not_a_module", "CPU: 0 PID: 5 Comm: sh Not tainted 5.4.0 #1")  # fmt: skip
    assert read_oops(text(*lines)).modules == tuple(names)


def test_what_follows_the_modules_is_no_module():
    lines = (
        "Oops: 0000 [#1]",
        "Modules linked in: one two",
        "CPU: 0 PID: 5 Comm: sh Not tainted 5.4.0 #1",
        "CR2: 0000",
    )
    assert read_oops(text(*lines)).modules == ("one", "two")


def test_old_words():
    lines = ("BUG: unable to handle kernel NULL pointer dereference at (null)", "Oops: 0002 [#1] SMP", "CPU 3 ",
             "Modules linked in: autofs4 ext4", "Pid: 2201, comm: bash Not tainted 2.6.32-754.el6 #1")  # fmt: skip
    assert read_oops(text(*lines)) == Oops(lines[0], Task(2201, "bash", None), "", ("autofs4", "ext4"))


def test_letters_of_red_hat_and_a_new_line_of_taints():
    line = "CPU: 0 PID: 5 Comm: sh Kdump: loaded Tainted: P           OE    --------- -  - 4.18.0-80.el8 #1"
    assert read_oops(text("Oops: 0000 [#1]", line)).taint == "POE"
    line = "CPU: 0 UID: 0 PID: 5 Comm: sh Tainted: G           OE      6.12.1 #1 PREEMPT(lazy)"
    assert read_oops(text("Oops: 0000 [#1]", line, "Tainted: [O]=OOT_MODULE, [E]=UNSIGNED_MODULE")).taint == "GOE"


def test_a_log_without_a_crash():
    assert read_oops(text("systemd[1]: a Kernel panic - not syncing was long ago")) == Oops()
    assert read_oops(b"") == Oops()


def test_prefixes_with_callers():
    log = b"[    1.000000] [    T12] Kernel panic - not syncing: X\n"
    log += b"[    1.000000] [C1] CPU: 0 PID: 5 Comm: sh Not tainted 6\n"
    assert read_oops(log) == Oops("Kernel panic - not syncing: X", Task(5, "sh", 0), "", None)


def test_any_bytes():
    for log in (
        b"\xff" * 1000,
        b"[" * 100000,
        b"CPU: " * 1000,
        b"Oops: [#1]\n" * 1000,
        b"Modules linked in:" + b" a" * 20000,
    ):
        read_oops(log)
        read_oops(b"[    0.000000] Oops: 0 [#1]\n[    0.000000] " + log)


def test_first_with():
    assert first_with(text(), "Linux version ") == START[0]
    assert first_with(text(), "nothing") is None
